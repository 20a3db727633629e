//! fill - operators that make or repeat elements: ConstantOfShape, Range, Expand, Tile.

use nnc_ir::{
    dtype::{DType, Scalar},
    extent::Extent,
    graph::ValueId,
};

use crate::import::{
    Outcome, Problem, constant,
    cx::{OpCx, one},
    known,
    table::{Row, row},
    value::{Imported, MAX_KNOWN},
};

pub(crate) const ROWS: &[Row] = &[
    row("ConstantOfShape", 9, 1..=1, constant_of_shape),
    row("Range", 11, 3..=3, range),
    row("Expand", 8, 2..=2, expand),
    row("Tile", 6, 2..=2, tile),
];

fn constant_of_shape(cx: &mut OpCx<'_>) -> Outcome {
    let shape = cx.input(0)?;
    let shape = cx.read_extents(&shape)?;
    if let Some(bad) = shape.iter().filter_map(Extent::as_const).find(|d| *d < 0) {
        return cx.error(224, format!("ConstantOfShape with extent {bad}"));
    }
    let (dtype, value) = match cx.tensor("value")? {
        None => (DType::F32, Scalar::f32(0.0)),
        Some(tensor) => {
            let constant = constant::constant(tensor)?;
            if constant.elements() != 1 {
                return cx.error(205, "ConstantOfShape needs one element as its value");
            }
            (constant.dtype(), constant.element(0))
        }
    };
    cx.elements(&shape)?;
    let id = cx.full(value, dtype, &shape)?;
    let count = match &shape[..] {
        [] => Some(1),
        [n] => n.as_const().and_then(|n| usize::try_from(n).ok()).filter(|&n| n <= MAX_KNOWN),
        _ => None,
    };
    let known = count.and_then(|n| Some(vec![Extent::Const(known::whole(value)?); n]));
    one(Imported { id, known })
}

fn range(cx: &mut OpCx<'_>) -> Outcome {
    let (start, limit, delta) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let dtype = cx.same_dtype(&[start.id, limit.id, delta.id])?;
    cx.need_dtype(0, start.id, "numbers", dtype != DType::Bool)?;
    let count = count(cx, &start, &limit, &delta)?;
    let positions = cx.iota(vec![count.clone()], 0, dtype)?;
    let known = match (&start.known, &delta.known, count.as_const()) {
        (Some(s), Some(d), Some(n)) if usize::try_from(n).is_ok_and(|n| n <= MAX_KNOWN) => {
            Some((0..n).map(|i| &s[0] + &d[0].scale(i)).collect::<Vec<_>>())
        }
        _ => None,
    };
    if let Some(values) = known {
        return one(cx.extents(values, dtype, 1)?);
    }
    let scalar = |cx: &mut OpCx<'_>, v: &Imported| cx.reshape(v.id, vec![]);
    let (step, first) = (scalar(cx, &delta)?, scalar(cx, &start)?);
    let is = |v: &Imported, x: i64| v.ints().is_some_and(|v| v == [x]);
    let scaled = if is(&delta, 1) { positions } else { cx.mul(positions, step)? };
    one(if is(&start, 0) { scaled } else { cx.add(scaled, first)? })
}

/// `max(0, ceil((limit - start) / delta))`.
fn count(cx: &mut OpCx<'_>, start: &Imported, limit: &Imported, delta: &Imported) -> Result<Extent, Problem> {
    if let (Some(s), Some(l), Some([d])) = (&start.known, &limit.known, delta.ints().as_deref()) {
        let distance = match d {
            0 => return cx.error(807, "Range with step 0"),
            1.. => &l[0] - &s[0],
            _ => &s[0] - &l[0],
        };
        let count = distance.ceil_div(&Extent::Const(d.saturating_abs()));
        let natural = known::is_natural(cx.module(), &count);
        return Ok(if natural { count } else { count.max_with(&Extent::ZERO) });
    }
    let number = |v: &Imported| cx.floats_of(v.id).or_else(|| Some(vec![*v.ints()?.first()? as f64]));
    if let (Some(s), Some(l), Some(d)) = (number(start), number(limit), number(delta)) {
        let count = ((l[0] - s[0]) / d[0]).ceil().max(0.0);
        if !count.is_finite() || count > 9.0e15 {
            return cx.error(807, format!("Range from {} to {} by {}", s[0], l[0], d[0]));
        }
        return Ok(Extent::Const(count as i64));
    }
    let wide = |cx: &mut OpCx<'_>, v: &Imported| {
        let v = cx.reshape(v.id, vec![])?;
        cx.cast(v, DType::F64)
    };
    let (s, l, d) = (wide(cx, start)?, wide(cx, limit)?, wide(cx, delta)?);
    let distance = cx.sub(l, s)?;
    let steps = cx.div(distance, d)?;
    let steps = cx.ceil(steps)?;
    let zero = cx.number(DType::F64, 0.0);
    let steps = cx.max(steps, zero)?;
    let steps = cx.cast(steps, DType::I64)?;
    Ok(cx.read_extents(&steps.into())?.remove(0))
}

fn expand(cx: &mut OpCx<'_>) -> Outcome {
    let (x, shape) = (cx.input(0)?, cx.input(1)?);
    let target = cx.read_extents(&shape)?;
    if let Some(bad) = target.iter().filter_map(Extent::as_const).find(|d| *d < 0) {
        return cx.error(224, format!("Expand to extent {bad}"));
    }
    let shape = cx.broadcast_shapes(&[cx.shape(x.id), target])?;
    cx.elements(&shape)?;
    let id = cx.broadcast_to(x.id, &shape)?;
    let known = match (&x.known, &shape[..]) {
        (Some(k), []) => Some(k.clone()),
        (Some(k), [n]) => n.as_const().and_then(|n| usize::try_from(n).ok()).and_then(|n| match k.len() {
            len if len == n => Some(k.clone()),
            1 if n <= MAX_KNOWN => Some(vec![k[0].clone(); n]),
            _ => None,
        }),
        _ => None,
    };
    one(Imported { id, known })
}

fn tile(cx: &mut OpCx<'_>) -> Outcome {
    let (x, repeats) = (cx.value(0)?, cx.input(1)?);
    let repeats = cx.read_extents(&repeats)?;
    if repeats.len() != cx.rank(x) {
        return cx.error(212, format!("Tile has {} repeats for {}", repeats.len(), cx.ty(x)));
    }
    one(tile_by(cx, x, &repeats)?)
}

/// The tensor repeated along each axis.
pub(crate) fn tile_by(cx: &mut OpCx<'_>, x: ValueId, repeats: &[Extent]) -> Result<ValueId, Problem> {
    let shape = cx.shape(x);
    let (mut apart, mut repeated, mut joint) = (Vec::new(), Vec::new(), Vec::new());
    for (extent, repeat) in shape.iter().zip(repeats) {
        if !repeat.is(1) {
            apart.push(Extent::ONE);
            repeated.push(repeat.clone());
        }
        apart.push(extent.clone());
        repeated.push(extent.clone());
        joint.push(extent * repeat);
    }
    cx.elements(&joint)?;
    let x = cx.reshape(x, apart)?;
    let x = cx.broadcast_to(x, &repeated)?;
    cx.reshape(x, joint)
}
