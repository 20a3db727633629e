//! pick - operators that read or write elements at places that tensors of indices name.

use nnc_ir::{
    dtype::{DType, Scalar},
    extent::Extent,
    form::ScatterCombine,
    graph::ValueId,
    ops,
};

use crate::import::{
    Outcome, Problem,
    cx::{OpCx, one},
    table::{Row, row},
    value::Imported,
};

pub(crate) const ROWS: &[Row] = &[
    row("GatherElements", 11, 2..=2, gather_elements),
    row("GatherND", 11, 2..=2, gather_nd),
    row("Scatter", 9, 3..=3, scatter_elements),
    row("ScatterElements", 11, 3..=3, scatter_elements),
    row("ScatterND", 11, 3..=3, scatter_nd),
    row("TensorScatter", 24, 2..=3, tensor_scatter),
    row("OneHot", 9, 3..=3, one_hot),
    row("ReverseSequence", 10, 2..=2, reverse_sequence),
];

fn need_indices(cx: &OpCx<'_>, i: usize, indices: ValueId) -> Result<(), Problem> {
    cx.need_dtype(i, indices, "integers", cx.dtype(indices).is_int())
}

fn gather_elements(cx: &mut OpCx<'_>) -> Outcome {
    let (x, indices) = (cx.value(0)?, cx.value(1)?);
    need_indices(cx, 1, indices)?;
    let axis = cx.int_or("axis", 0)?;
    let axis = cx.axis(axis, cx.rank(x))?;
    one(cx.emit(ops::GatherElements { axis }, &[x, indices])?)
}

fn gather_nd(cx: &mut OpCx<'_>) -> Outcome {
    let (x, indices) = (cx.value(0)?, cx.value(1)?);
    need_indices(cx, 1, indices)?;
    let batch = cx.int_or("batch_dims", 0)?;
    let Ok(batch_dims) = usize::try_from(batch) else {
        return cx.error(205, format!("attribute 'batch_dims' is {batch}"));
    };
    one(cx.emit(ops::GatherNd { batch_dims }, &[x, indices])?)
}

/// How a scatter writes.
fn combine(cx: &OpCx<'_>) -> Result<ScatterCombine, Problem> {
    Ok(match cx.choice("reduction", &["none", "add", "mul", "max", "min"])? {
        "add" => ScatterCombine::Add,
        "mul" => ScatterCombine::Mul,
        "max" => ScatterCombine::Max,
        "min" => ScatterCombine::Min,
        _ => ScatterCombine::Replace,
    })
}

fn scatter_elements(cx: &mut OpCx<'_>) -> Outcome {
    let (x, indices, updates) = (cx.value(0)?, cx.value(1)?, cx.value(2)?);
    need_indices(cx, 1, indices)?;
    let axis = cx.int_or("axis", 0)?;
    let axis = cx.axis(axis, cx.rank(x))?;
    let combine = combine(cx)?;
    one(cx.emit(ops::ScatterElements { axis, combine }, &[x, indices, updates])?)
}

fn scatter_nd(cx: &mut OpCx<'_>) -> Outcome {
    let (x, indices, updates) = (cx.value(0)?, cx.value(1)?, cx.value(2)?);
    need_indices(cx, 1, indices)?;
    let combine = combine(cx)?;
    one(cx.emit(ops::ScatterNd { combine }, &[x, indices, updates])?)
}

/// Writes `update` into a cache along `axis`, from a position that each member of the batch gives.
fn tensor_scatter(cx: &mut OpCx<'_>) -> Outcome {
    let (cache, update) = (cx.value(0)?, cx.value(1)?);
    cx.same_dtype(&[cache, update])?;
    let rank = cx.rank(cache);
    cx.need_rank(1, update, rank)?;
    let axis = cx.int_or("axis", -2)?;
    let axis = cx.axis(axis, rank)?;
    if axis == 0 {
        return cx.error(211, "TensorScatter writes along axis 0, which is the batch");
    }
    let circular = cx.choice("mode", &["linear", "circular"])? == "circular";
    let (room, shape) = (cx.shape(cache)[axis].clone(), cx.shape(update));
    let mut steps = vec![Extent::ONE; rank];
    steps[axis] = shape[axis].clone();
    let mut at = cx.iota(steps, axis, DType::I64)?;
    if let Some(start) = cx.optional_value(2)? {
        need_indices(cx, 2, start)?;
        cx.need_rank(2, start, 1)?;
        let mut aligned = vec![Extent::ONE; rank];
        aligned[0] = shape[0].clone();
        let start = cx.cast(start, DType::I64)?;
        let start = cx.reshape(start, aligned)?;
        at = cx.add(at, start)?;
    }
    if circular {
        let room = cx.extents(vec![room], DType::I64, 0)?;
        let (a, b) = cx.broadcast_pair(at, room.id)?;
        at = cx.emit(ops::Rem { floored: true }, &[a, b])?;
    }
    let at = cx.broadcast_to(at, &shape)?;
    one(cx.emit(ops::ScatterElements { axis, combine: ScatterCombine::Replace }, &[cache, at, update])?)
}

/// One extent of operand `i`, a scalar of any number type.
pub(crate) fn scalar_extent(cx: &mut OpCx<'_>, i: usize) -> Result<Extent, Problem> {
    let mut value = cx.input(i)?;
    if value.known.is_none() && !cx.dtype(value.id).is_int() {
        value = Imported::from(cx.cast(value.id, DType::I64)?);
    }
    match &cx.read_extents(&value)?[..] {
        [extent] => Ok(extent.clone()),
        all => cx.error(212, format!("input {i} of {} has {} elements, needs one", cx.op(), all.len())),
    }
}

fn one_hot(cx: &mut OpCx<'_>) -> Outcome {
    let (indices, values) = (cx.value(0)?, cx.value(2)?);
    let depth = scalar_extent(cx, 1)?;
    if depth.as_const().is_some_and(|d| d < 0) {
        return cx.error(224, format!("OneHot of depth {depth}"));
    }
    cx.need_rank(2, values, 1)?;
    let axis = cx.int_or("axis", -1)?;
    let rank = cx.rank(indices) + 1;
    let axis = cx.axis(axis, rank)?;
    let (off, on) = (cx.index_axis(values, 0, 0)?, cx.index_axis(values, 0, 1)?);
    let at = cx.cast(indices, DType::I64)?;
    let at = cx.unsqueeze(at, axis)?;
    let zero = cx.int_scalar(DType::I64, 0);
    let end = cx.extents(vec![depth.clone()], DType::I64, 0)?;
    let negative = cx.lt(at, zero)?;
    let from_end = cx.add(at, end.id)?;
    let at = cx.select(negative, from_end, at)?;
    let mut positions = vec![Extent::ONE; rank];
    positions[axis] = depth;
    let positions = cx.iota(positions, axis, DType::I64)?;
    let hit = cx.eq(at, positions)?;
    one(cx.select(hit, on, off)?)
}

/// The first `lens[b]` slices of each batch member turned round.
fn reverse_sequence(cx: &mut OpCx<'_>) -> Outcome {
    let (x, lens) = (cx.value(0)?, cx.value(1)?);
    cx.need_min_rank(0, x, 2)?;
    cx.need_rank(1, lens, 1)?;
    need_indices(cx, 1, lens)?;
    let (time, batch) = (cx.int_or("time_axis", 0)?, cx.int_or("batch_axis", 1)?);
    let (rank, shape) = (cx.rank(x), cx.shape(x));
    let (time, batch) = (cx.axis(time, rank)?, cx.axis(batch, rank)?);
    if time == batch {
        return cx.error(211, format!("time and batch are both axis {time}"));
    }
    let along = |axis: usize| {
        let mut aligned = vec![Extent::ONE; rank];
        aligned[axis] = shape[axis].clone();
        aligned
    };
    let lens = cx.cast(lens, DType::I64)?;
    let lens = cx.reshape(lens, along(batch))?;
    let at = cx.iota(along(time), time, DType::I64)?;
    let unit = cx.int_scalar(DType::I64, 1);
    let last = cx.sub(lens, unit)?;
    let mirrored = cx.sub(last, at)?;
    let inside = cx.lt(at, lens)?;
    let from = cx.select(inside, mirrored, at)?;
    let from = cx.broadcast_to(from, &shape)?;
    one(cx.emit(ops::GatherElements { axis: time }, &[x, from])?)
}

/// A scalar zero of an element type.
pub(crate) fn zero_of(cx: &mut OpCx<'_>, dtype: DType) -> Result<ValueId, Problem> {
    cx.full(Scalar::zero(dtype), dtype, &[])
}
