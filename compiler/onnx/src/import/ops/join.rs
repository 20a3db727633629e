//! join - operators that take tensors apart and put them together: Concat, Split, Slice, Gather, Pad.

use nnc_ir::{
    dtype::{DType, Scalar},
    extent::Extent,
    graph::{ConstraintKind, ValueId},
    ops::{self, PadMode},
};

use crate::import::{
    Outcome, Problem,
    cx::{OpCx, one},
    known,
    table::{MANY, Row, row},
    value::{Binding, Imported, MAX_KNOWN},
};

pub(crate) const ROWS: &[Row] = &[
    row("Concat", 1, 1..=MANY, concat),
    row("Split", 1, 1..=2, split),
    row("Slice", 1, 1..=5, slice),
    row("Gather", 1, 2..=2, gather),
    row("Pad", 1, 1..=4, pad),
];

fn concat(cx: &mut OpCx<'_>) -> Outcome {
    let inputs = cx.all_inputs()?;
    let ids: Vec<ValueId> = inputs.iter().map(|v| v.id).collect();
    let dtype = cx.same_dtype(&ids)?;
    let rank = cx.rank(ids[0]);
    let axis = cx.int("axis")?;
    let axis = if cx.opset() < 4 { axis.unwrap_or(1) } else { cx.required("axis", axis)? };
    let axis = cx.axis(axis, rank)?;
    for (i, &id) in ids.iter().enumerate() {
        cx.need_rank(i, id, rank)?;
        for at in (0..rank).filter(|&at| at != axis) {
            let (a, b) = (cx.shape(ids[0])[at].clone(), cx.shape(id)[at].clone());
            cx.need_equal(229, &a, &b, || format!("Concat along axis {axis}: axis {at} is {a} and {b}"))?;
        }
    }
    let known: Option<Vec<&Vec<Extent>>> = inputs.iter().map(|v| v.known.as_ref()).collect();
    if let Some(known) = known.filter(|_| axis == 0) {
        let all: Vec<Extent> = known.into_iter().flatten().cloned().collect();
        if all.len() <= MAX_KNOWN {
            let shape = joint_shape(cx, &ids);
            return one(cx.extents_of_shape(all, dtype, &shape)?);
        }
    }
    one(cx.concat(&ids, axis)?)
}

/// Shape of tensors of known shapes joined along the first axis.
fn joint_shape(cx: &OpCx<'_>, parts: &[ValueId]) -> Vec<Extent> {
    let mut shape = cx.shape(parts[0]);
    shape[0] = parts.iter().fold(Extent::ZERO, |n, &v| &n + &cx.ty(v).shape[0]);
    shape
}

fn split(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let axis = cx.int_or("axis", 0)?;
    let axis = cx.axis(axis, cx.rank(x.id))?;
    let extent = cx.shape(x.id)[axis].clone();
    let count = i64::try_from(cx.n_outputs()).unwrap_or(1);
    if let Some(n) = cx.int("num_outputs")?
        && n != count
    {
        return cx.error(221, format!("num_outputs is {n}, node has {count} outputs"));
    }
    let given = match cx.opset() {
        ..13 => cx.ints("split")?.map(|s| s.into_iter().map(Extent::Const).collect()),
        _ => match cx.optional(1)? {
            Some(sizes) => Some(cx.read_extents(&sizes)?),
            None => None,
        },
    };
    let sizes: Vec<Extent> = match given {
        Some(sizes) => sizes,
        None => equal_parts(cx, &extent, count)?,
    };
    let parts = i64::try_from(sizes.len()).unwrap_or(0);
    if parts != count || sizes.iter().any(|s| s.as_const().is_some_and(|c| c < 0)) {
        return cx.error(221, format!("Split into {sizes:?} with {count} outputs"));
    }
    let sum = sizes.iter().fold(Extent::ZERO, |a, b| &a + b);
    cx.need_equal(221, &sum, &extent, || format!("Split into {sizes:?}: sum {sum}, axis is {extent}"))?;
    let mut start = Extent::ZERO;
    let mut results: Vec<Binding> = Vec::with_capacity(sizes.len());
    for size in sizes {
        let next = &start + &size;
        let part = match (&x.known, start.as_const(), next.as_const()) {
            (Some(all), Some(a), Some(b)) if cx.rank(x.id) == 1 => {
                let range = usize::try_from(a).unwrap_or(0)..usize::try_from(b).unwrap_or(0);
                let values = all.get(range).unwrap_or(&[]).to_vec();
                let dtype = cx.dtype(x.id);
                cx.extents(values, dtype, 1)?
            }
            _ => cx.slice_axis(x.id, axis, start, size)?.into(),
        };
        results.push(part.into());
        start = next;
    }
    Ok(results)
}

/// `count` parts, the last of which may be smaller.
fn equal_parts(cx: &OpCx<'_>, extent: &Extent, count: i64) -> Result<Vec<Extent>, Problem> {
    let n = Extent::Const(count);
    let part = extent.ceil_div(&n);
    if let (Some(e), Some(p)) = (extent.as_const(), part.as_const()) {
        if cx.opset() < 18 && e % count != 0 {
            return cx.error(221, format!("Split of {e} elements into {count} equal parts"));
        }
        let at = |i: i64| (e - i * p).clamp(0, p);
        return Ok((0..count).map(|i| Extent::Const(at(i))).collect());
    }
    let mut parts = vec![extent.floor_div(&n); usize::try_from(count).unwrap_or(0)];
    if cx.opset() >= 18 && !extent.modulo(&n).is(0) {
        let before = part.scale(count - 1);
        parts.fill(part);
        if let Some(last) = parts.last_mut() {
            *last = extent - &before;
        }
    }
    Ok(parts)
}

/// One axis of a Slice.
struct Cut {
    axis: usize,
    start: Extent,
    end: Extent,
    step: i64,
}

fn slice(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let shape = cx.shape(x.id);
    let cuts = cuts(cx, shape.len())?;
    let mut starts = vec![Extent::ZERO; shape.len()];
    let mut steps = vec![1; shape.len()];
    let mut result = shape.clone();
    for cut in cuts {
        let (start, len) = clamp(cx, &cut, &shape[cut.axis])?;
        starts[cut.axis] = start;
        steps[cut.axis] = cut.step.clamp(-(1 << 31), 1 << 31);
        result[cut.axis] = len;
    }
    let ints = |v: &[Extent]| v.iter().map(Extent::as_const).collect::<Option<Vec<i64>>>();
    if let (Some(all), Some(first), Some(dims), Some(lens)) =
        (&x.known, ints(&starts), ints(&shape), ints(&result))
    {
        let from = |at: &[i64]| (0..at.len()).map(|i| first[i] + at[i] * steps[i]).collect();
        if let Some(values) = known::moved(all, &dims, &lens, from) {
            let dtype = cx.dtype(x.id);
            return one(cx.extents_of_shape(values, dtype, &result)?);
        }
    }
    if result == shape && steps.iter().all(|&s| s == 1) {
        return one(x);
    }
    one(cx.emit(ops::Slice { starts, steps, shape: result }, &[x.id])?)
}

/// What a Slice takes, from attributes (before opset 10) or operands.
fn cuts(cx: &mut OpCx<'_>, rank: usize) -> Result<Vec<Cut>, Problem> {
    let constants = |v: Vec<i64>| -> Vec<Extent> { v.into_iter().map(Extent::Const).collect() };
    let (starts, ends, axes, steps) = if cx.opset() < 10 {
        let (starts, ends) = (cx.ints("starts")?, cx.ints("ends")?);
        let (starts, ends) = (cx.required("starts", starts)?, cx.required("ends", ends)?);
        (constants(starts), constants(ends), cx.ints("axes")?, None)
    } else {
        let (starts, ends) = (cx.input(1)?, cx.input(2)?);
        let (starts, ends) = (cx.read_extents(&starts)?, cx.read_extents(&ends)?);
        (starts, ends, cx.optional_ints(3)?, cx.optional_ints(4)?)
    };
    let n = starts.len();
    let axes = match axes {
        Some(axes) => axes.iter().map(|&a| cx.axis(a, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..n).collect(),
    };
    let steps = steps.unwrap_or_else(|| vec![1; n]);
    if ends.len() != n || axes.len() != n || steps.len() != n || axes.iter().any(|&a| a >= rank) {
        return cx.error(212, format!("Slice has {n} starts, {} ends for rank {rank}", ends.len()));
    }
    if steps.contains(&0) {
        return cx.error(226, "Slice with step 0");
    }
    let cuts = starts.into_iter().zip(ends).zip(axes.into_iter().zip(steps));
    Ok(cuts.map(|((start, end), (axis, step))| Cut { axis, start, end, step }).collect())
}

/// First element and number of elements of a cut of an axis of `extent`.
fn clamp(cx: &OpCx<'_>, cut: &Cut, extent: &Extent) -> Result<(Extent, Extent), Problem> {
    let module = cx.module();
    // Positions count from the end where they are negative.
    let wrap = |at: &Extent| -> Result<Extent, Problem> {
        match known::bounds(module, at) {
            (low, _) if low >= 0 => Ok(at.clone()),
            (_, high) if high < 0 => Ok(at + extent),
            _ => cx.unsupported(format!("Slice at {at}, which may or may not be negative")),
        }
    };
    let min = |a: Extent, b: Extent| match known::bounds(module, &(&b - &a)) {
        (low, _) if low >= 0 => a,
        (_, high) if high <= 0 => b,
        _ => a.min_with(&b),
    };
    let max = |a: Extent, b: Extent| match known::bounds(module, &(&b - &a)) {
        (low, _) if low >= 0 => b,
        (_, high) if high <= 0 => a,
        _ => a.max_with(&b),
    };
    let (start, end) = (wrap(&cut.start)?, wrap(&cut.end)?);
    let step = Extent::Const(cut.step.saturating_abs());
    // A start beyond the end gives no element, so only the other sides are clamped.
    Ok(if cut.step > 0 {
        let (start, end) = (max(start, Extent::ZERO), min(end, extent.clone()));
        let len = max((&end - &start).ceil_div(&step), Extent::ZERO);
        (start, len)
    } else {
        let (start, end) = (min(start, extent - &Extent::ONE), max(end, Extent::Const(-1)));
        let len = max((&start - &end).ceil_div(&step), Extent::ZERO);
        (start, len)
    })
}

fn gather(cx: &mut OpCx<'_>) -> Outcome {
    let (x, indices) = (cx.input(0)?, cx.input(1)?);
    cx.need_dtype(1, indices.id, "integers", cx.dtype(indices.id).is_int())?;
    cx.need_min_rank(0, x.id, 1)?;
    let axis = cx.int_or("axis", 0)?;
    let axis = cx.axis(axis, cx.rank(x.id))?;
    let extent = cx.shape(x.id)[axis].clone();
    let constants = cx.ints_of(&indices);
    if let (Some(ints), Some(n)) = (&constants, extent.as_const())
        && let Some(bad) = ints.iter().find(|&&i| i < -n || i >= n)
    {
        return cx.error(227, format!("index {bad} not in [-{n}, {}]", n - 1));
    }
    if let (Some(all), Some(ints)) = (&x.known, &constants)
        && cx.rank(indices.id) <= 1
        && cx.rank(x.id) == 1
    {
        let n = i64::try_from(all.len()).unwrap_or(0);
        let at =
            |i: &i64| usize::try_from(if *i < 0 { i + n } else { *i }).ok().and_then(|i| all.get(i).cloned());
        if let Some(values) = ints.iter().map(at).collect() {
            let (dtype, rank) = (cx.dtype(x.id), cx.rank(indices.id));
            return one(cx.extents(values, dtype, rank)?);
        }
    }
    if let (Some([i]), 0) = (constants.as_deref(), cx.rank(indices.id)) {
        let at = if *i < 0 { &extent + &Extent::Const(*i) } else { Extent::Const(*i) };
        let needed = Extent::Const(if *i < 0 { i.saturating_neg() } else { i.saturating_add(1) });
        if extent.as_const().is_none() {
            cx.constrain(ConstraintKind::AtMost(needed, extent));
        }
        let part = cx.slice_axis(x.id, axis, at, Extent::ONE)?;
        return one(cx.squeeze(part, axis)?);
    }
    let id = cx.gather(x.id, indices.id, axis)?;
    one(id)
}

fn pad(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let (rank, dtype) = (cx.rank(x.id), cx.dtype(x.id));
    let mode = cx.choice("mode", &["constant", "reflect", "edge", "wrap"])?;
    let (pads, value) = if cx.opset() < 11 {
        let name = if cx.opset() < 2 { "paddings" } else { "pads" };
        let pads = cx.ints(name)?;
        let pads = cx.required(name, pads)?.into_iter().map(Extent::Const).collect();
        (pads, Scalar::float(dtype, cx.float_or("value", 0.0)?.into()))
    } else {
        let pads = cx.input(1)?;
        (cx.read_extents(&pads)?, pad_value(cx, dtype)?)
    };
    let axes = match cx.optional_ints(3)? {
        Some(axes) => axes.iter().map(|&a| cx.axis(a, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return cx.error(216, format!("{} pads for {} axes", pads.len(), axes.len()));
    }
    let (mut before, mut after) = (vec![Extent::ZERO; rank], vec![Extent::ZERO; rank]);
    for (i, &axis) in axes.iter().enumerate() {
        before[axis] = pads[i].clone();
        after[axis] = pads[i + axes.len()].clone();
    }
    let mode = match mode {
        "constant" => PadMode::Constant(value),
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        _ => PadMode::Wrap,
    };
    let id = cx.pad(x.id, before, after, mode).map_err(|mut p| {
        p.code = nnc_ir::diag::Code(216);
        p
    })?;
    one(Imported { id, known: None })
}

fn pad_value(cx: &OpCx<'_>, dtype: DType) -> Result<Scalar, Problem> {
    let Some(value) = cx.optional_value(2)? else { return Ok(Scalar::zero(dtype)) };
    match cx.constant(value) {
        Some(constant) if constant.dtype() != dtype => {
            cx.error(209, format!("Pad of {dtype} with {}", constant.dtype()))
        }
        Some(constant) if constant.elements() == 1 => Ok(constant.element(0)),
        Some(_) => cx.error(212, "Pad needs one value to pad with"),
        None => cx.unsupported("Pad with a value decided by data"),
    }
}
