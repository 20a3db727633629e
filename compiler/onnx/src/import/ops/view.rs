//! view - operators that give the same elements another shape or order.

use nnc_ir::{
    dtype::DType,
    extent::{Extent, product},
    graph::ValueId,
    ops::ReduceKind,
};

use crate::import::{
    Outcome, Problem,
    cx::{OpCx, one},
    known,
    table::{Row, row},
    value::Imported,
};

pub(crate) const ROWS: &[Row] = &[
    row("Reshape", 1, 1..=2, reshape),
    row("Flatten", 1, 1..=1, flatten),
    row("Squeeze", 1, 1..=2, squeeze),
    row("Unsqueeze", 1, 1..=2, unsqueeze),
    row("Transpose", 1, 1..=1, transpose),
    row("DepthToSpace", 1, 1..=1, depth_to_space),
    row("SpaceToDepth", 1, 1..=1, space_to_depth),
];

fn reshape(cx: &mut OpCx<'_>) -> Outcome {
    cx.skip_attrs(&["consumed_inputs"]);
    let x = cx.input(0)?;
    let allow_zero = cx.flag_or("allowzero", false)?;
    let target = if cx.opset() < 5 {
        let shape = cx.ints("shape")?;
        cx.required("shape", shape)?.into_iter().map(Extent::Const).collect()
    } else {
        let shape = cx.input(1)?;
        if cx.rank(shape.id) > 1 {
            return cx.error(212, format!("Reshape needs a vector as its shape, has {}", cx.ty(shape.id)));
        }
        if shape.known.is_none() && cx.ints_of(&shape).is_none() {
            return reshape_by_data(cx, &x, &shape, allow_zero);
        }
        cx.read_extents(&shape)?
    };
    let shape = target_shape(cx, &cx.shape(x.id), target, allow_zero)?;
    let id = cx.reshape(x.id, shape)?;
    one(Imported { id, known: x.known })
}

/// A Reshape whose target data decide: open and kept axes are worked out by nodes before extents are read.
fn reshape_by_data(cx: &mut OpCx<'_>, x: &Imported, target: &Imported, allow_zero: bool) -> Outcome {
    let have = cx.shape(x.id);
    let mut target = cx.cast(target.id, DType::I64)?;
    let Some(rank) = cx.ty(target).elements().as_const().and_then(|n| usize::try_from(n).ok()) else {
        return cx.unsupported("Reshape to a rank that data decide");
    };
    let (zero, open, unit) =
        (cx.int_scalar(DType::I64, 0), cx.int_scalar(DType::I64, -1), cx.int_scalar(DType::I64, 1));
    if !allow_zero {
        let mut kept = have.clone();
        kept.resize(rank, Extent::ZERO);
        let kept = cx.extents(kept, DType::I64, 1)?;
        let is_kept = cx.eq(target, zero)?;
        target = cx.select(is_kept, kept.id, target)?;
    }
    let is_open = cx.eq(target, open)?;
    let others = cx.select(is_open, unit, target)?;
    let given = cx.reduce(ReduceKind::Product, others, &[0], false)?;
    let all = cx.elements(&have)?;
    let all = cx.extents(vec![all.clone()], DType::I64, 0)?;
    let rest = cx.div(all.id, given)?;
    let target = cx.select(is_open, rest, target)?;
    let shape = cx.read_extents(&target.into())?;
    let (all, given) = (cx.elements(&have)?, cx.elements(&shape)?);
    cx.need_equal(222, &all, &given, String::new)?;
    one(cx.reshape(x.id, shape)?)
}

/// The shape that a Reshape target means.
fn target_shape(
    cx: &mut OpCx<'_>,
    have: &[Extent],
    target: Vec<Extent>,
    allow_zero: bool,
) -> Result<Vec<Extent>, Problem> {
    let mut shape = target.clone();
    let mut open = None;
    for (i, extent) in shape.iter_mut().enumerate() {
        match extent.as_const() {
            Some(0) if !allow_zero => match have.get(i) {
                Some(kept) => *extent = kept.clone(),
                None => return cx.error(222, format!("target {target:?} keeps axis {i} of {have:?}")),
            },
            Some(-1) if open.is_none() => open = Some(i),
            Some(-1) => return cx.error(222, format!("target {target:?} leaves two axes open")),
            Some(n) if n < -1 => return cx.error(222, format!("target {target:?} has extent {n}")),
            _ => {}
        }
    }
    let all = cx.elements(have)?;
    let Some(open) = open else {
        let given = cx.elements(&shape)?;
        cx.need_equal(222, &all, &given, || {
            format!("cannot reshape {have:?} ({all} elements) to {target:?} ({given})")
        })?;
        return Ok(shape);
    };
    let given: Vec<Extent> =
        shape.iter().enumerate().filter(|(i, _)| *i != open).map(|(_, e)| e.clone()).collect();
    if cx.elements(&given)?.is(0) {
        return cx
            .error(222, format!("cannot reshape {have:?} to {target:?}: any extent fits the open axis"));
    }
    let (rest, divisor) = cancelled(have, given);
    let (rest, divisor) = (cx.elements(&rest)?, cx.elements(&divisor)?);
    let quotient = rest.floor_div(&divisor);
    let reached = &quotient * &divisor;
    cx.need_equal(222, &rest, &reached, || {
        format!("cannot reshape {have:?} ({all} elements) to {target:?}")
    })?;
    shape[open] = quotient;
    Ok(shape)
}

/// Both lists without the extents they share.
fn cancelled(have: &[Extent], mut given: Vec<Extent>) -> (Vec<Extent>, Vec<Extent>) {
    let mut rest = Vec::new();
    for extent in have {
        match given.iter().position(|g| g == extent && !g.is(0)) {
            Some(i) => drop(given.swap_remove(i)),
            None => rest.push(extent.clone()),
        }
    }
    (rest, given)
}

fn flatten(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.value(0)?;
    let shape = cx.shape(x);
    let axis = cx.int_or("axis", 1)?;
    let rank = i64::try_from(shape.len()).unwrap_or(0);
    let at = if axis < 0 { axis.saturating_add(rank) } else { axis };
    let Some(at) = usize::try_from(at).ok().filter(|&a| a <= shape.len()) else {
        return cx.error(211, format!("axis {axis} not in [-{rank}, {rank}]"));
    };
    one(cx.reshape(x, vec![product(&shape[..at]), product(&shape[at..])])?)
}

/// Axes from input 1 (opset 13 and later) or the attribute.
pub(crate) fn axes_operand(cx: &OpCx<'_>, since: i64) -> Result<Option<Vec<i64>>, Problem> {
    if cx.opset() < since { cx.ints("axes") } else { cx.optional_ints(1) }
}

fn squeeze(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let shape = cx.shape(x.id);
    let axes = match axes_operand(cx, 13)? {
        Some(axes) => cx.axes(&axes, shape.len())?,
        None => {
            if shape.iter().any(|e| e.as_const().is_none() && !cx.is_single(e)) {
                cx.warn(405, format!("Squeeze without axes keeps every unknown extent of {shape:?}"));
            }
            (0..shape.len()).filter(|&i| cx.is_single(&shape[i])).collect()
        }
    };
    for &axis in &axes {
        cx.need_equal(222, &shape[axis], &Extent::ONE, || {
            format!("Squeeze of axis {axis}, which has extent {}", shape[axis])
        })?;
    }
    let kept = (0..shape.len()).filter(|i| !axes.contains(i)).map(|i| shape[i].clone()).collect();
    let id = cx.reshape(x.id, kept)?;
    one(Imported { id, known: x.known })
}

fn unsqueeze(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let Some(axes) = axes_operand(cx, 13)? else { return cx.error(204, "Unsqueeze needs axes") };
    let mut rest = cx.shape(x.id).into_iter();
    let rank = rest.len() + axes.len();
    let axes = cx.axes(&axes, rank)?;
    let shape: Vec<Extent> = (0..rank)
        .map(|i| if axes.contains(&i) { Extent::ONE } else { rest.next().unwrap_or(Extent::ONE) })
        .collect();
    let id = cx.reshape(x.id, shape)?;
    one(Imported { id, known: x.known })
}

fn transpose(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let rank = cx.rank(x.id);
    let perm = match cx.ints("perm")? {
        None => (0..rank).rev().collect(),
        Some(perm) => {
            let found: Vec<usize> = perm.iter().filter_map(|&p| usize::try_from(p).ok()).collect();
            let mut sorted = found.clone();
            sorted.sort_unstable();
            if perm.len() != rank || !sorted.into_iter().eq(0..rank) {
                return cx.error(213, format!("perm {perm:?} does not permute {rank} axes"));
            }
            found
        }
    };
    if let (Some(all), Some(dims)) = (&x.known, cx.ty(x.id).dims()) {
        let result: Vec<i64> = perm.iter().map(|&p| dims[p]).collect();
        let from = |at: &[i64]| {
            let mut position = vec![0; at.len()];
            perm.iter().zip(at).for_each(|(&p, &i)| position[p] = i);
            position
        };
        if let Some(values) = known::moved(all, &dims, &result, from) {
            let shape: Vec<Extent> = result.into_iter().map(Extent::Const).collect();
            let dtype = cx.dtype(x.id);
            return one(cx.extents_of_shape(values, dtype, &shape)?);
        }
    }
    one(cx.transpose(x.id, &perm)?)
}

/// `[N, C, H, W]`, and the block size, at least 1.
fn blocks(cx: &mut OpCx<'_>) -> Result<(ValueId, [Extent; 4], Extent), Problem> {
    let x = cx.value(0)?;
    cx.need_rank(0, x, 4)?;
    let block = cx.int("blocksize")?;
    let block = cx.required("blocksize", block)?;
    if !(1..=1 << 15).contains(&block) {
        return cx.error(220, format!("blocksize {block}"));
    }
    let shape = cx.shape(x);
    Ok((x, [0, 1, 2, 3].map(|i| shape[i].clone()), Extent::Const(block)))
}

fn depth_to_space(cx: &mut OpCx<'_>) -> Outcome {
    let (x, [n, c, h, w], b) = blocks(cx)?;
    let mode = cx.choice("mode", &["DCR", "CRD"])?;
    let depth = c.floor_div(&(&b * &b));
    let all = &(&depth * &b) * &b;
    cx.need_equal(220, &c, &all, || format!("{c} channels are no multiple of the block's {b} * {b}"))?;
    let (shape, perm) = match mode {
        "DCR" => {
            (vec![n.clone(), b.clone(), b.clone(), depth.clone(), h.clone(), w.clone()], [0, 3, 4, 1, 5, 2])
        }
        _ => (vec![n.clone(), depth.clone(), b.clone(), b.clone(), h.clone(), w.clone()], [0, 1, 4, 2, 5, 3]),
    };
    let x = cx.reshape(x, shape)?;
    let x = cx.transpose(x, &perm)?;
    one(cx.reshape(x, vec![n, depth, &h * &b, &w * &b])?)
}

fn space_to_depth(cx: &mut OpCx<'_>) -> Outcome {
    let (x, [n, c, h, w], b) = blocks(cx)?;
    let (rows, columns) = (h.floor_div(&b), w.floor_div(&b));
    cx.need_equal(220, &h, &(&rows * &b), || format!("height {h} is no multiple of the block {b}"))?;
    cx.need_equal(220, &w, &(&columns * &b), || format!("width {w} is no multiple of the block {b}"))?;
    let shape = vec![n.clone(), c.clone(), rows.clone(), b.clone(), columns.clone(), b.clone()];
    let x = cx.reshape(x, shape)?;
    let x = cx.transpose(x, &[0, 3, 5, 1, 2, 4])?;
    one(cx.reshape(x, vec![n, &(&c * &b) * &b, rows, columns])?)
}
