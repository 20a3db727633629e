//! attention - Attention and RotaryEmbedding.

use nnc_ir::{
    constant::Constant,
    dtype::{DType, Scalar},
    extent::Extent,
    graph::ValueId,
    ops::{self, PadMode},
};

use super::softmax::softmax_of;
use crate::import::{
    Outcome, Problem, constant,
    cx::{OpCx, one},
    table::{Row, row},
    value::Binding,
};
use crate::model::OnnxType;

pub(crate) const ROWS: &[Row] =
    &[row("Attention", 23, 3..=7, attention), row("RotaryEmbedding", 23, 3..=4, rotary)];

/// `[batch, length, heads * size]` as `[batch, heads, length, size]`; a tensor of rank 4 as it is.
fn split_heads(cx: &mut OpCx<'_>, i: usize, attr: &str) -> Result<ValueId, Problem> {
    let x = cx.value(i)?;
    cx.need_float(i, x)?;
    let shape = cx.shape(x);
    match &shape[..] {
        [_, _, _, _] => Ok(x),
        [batch, length, hidden] => {
            let heads = cx.int(attr)?;
            let heads = cx.required(attr, heads)?;
            if heads < 1 {
                return cx.error(205, format!("attribute '{attr}' is {heads}"));
            }
            let size = hidden.floor_div(&Extent::Const(heads));
            cx.need_equal(212, hidden, &size.scale(heads), || format!("{heads} heads of {hidden} elements"))?;
            let x = cx.reshape(x, vec![batch.clone(), length.clone(), Extent::Const(heads), size])?;
            cx.transpose(x, &[0, 2, 1, 3])
        }
        _ => cx.error(212, format!("input {i} of {} has rank {}, needs 3 or 4", cx.op(), shape.len())),
    }
}

/// Operand `past` and `x` joined along the length.
fn with_past(cx: &mut OpCx<'_>, past: usize, x: ValueId) -> Result<ValueId, Problem> {
    match cx.optional_value(past)? {
        None => Ok(x),
        Some(past) => {
            cx.same_dtype(&[past, x])?;
            cx.concat(&[past, x], 2)
        }
    }
}

fn attention(cx: &mut OpCx<'_>) -> Outcome {
    let in_rows = cx.rank(cx.value(0)?) == 3;
    let q = split_heads(cx, 0, "q_num_heads")?;
    let (k, v) = (split_heads(cx, 1, "kv_num_heads")?, split_heads(cx, 2, "kv_num_heads")?);
    cx.skip_attrs(&["q_num_heads", "kv_num_heads"]);
    let (present_k, present_v) = (with_past(cx, 4, k)?, with_past(cx, 5, v)?);
    let (qs, ks, vs) = (cx.shape(q), cx.shape(present_k), cx.shape(present_v));
    let [batch, heads, length, size] = [0, 1, 2, 3].map(|i| qs[i].clone());
    let (groups, total) = (ks[1].clone(), ks[2].clone());
    let each = heads.floor_div(&groups);
    cx.need_equal(212, &heads, &(&each * &groups), || format!("{heads} query heads for {groups} of keys"))?;
    cx.need_equal(212, &size, &ks[3], || format!("queries of size {size}, keys of size {}", ks[3]))?;

    let scale = match (cx.float("scale")?, size.as_const()) {
        (Some(scale), _) => f64::from(scale),
        (None, Some(size)) => 1.0 / (size as f64).sqrt(),
        (None, None) => return cx.unsupported("Attention without scale for heads of unknown size"),
    };
    let scale = cx.number_like(q, scale)?;
    let scaled = cx.mul(q, scale)?;
    // Query heads that share a key head are further rows of one product.
    let rows = &each * &length;
    let scaled = cx.reshape(scaled, vec![batch.clone(), groups.clone(), rows.clone(), size])?;
    let keys = cx.transpose(present_k, &[0, 1, 3, 2])?;
    let scores = cx.emit(ops::MatMul {}, &[scaled, keys])?;
    let raw = cx.reshape(scores, vec![batch.clone(), heads.clone(), length.clone(), total.clone()])?;

    let past = &total - &cx.shape(k)[2];
    let biased = masked(cx, raw, &past)?;
    let capped = softcap(cx, biased)?;
    let dtype = cx.dtype(q);
    let precision = match cx.int_or("softmax_precision", 0)? {
        0 => dtype,
        n => match OnnxType::from_number(n) {
            Some(onnx) => constant::dtype(onnx)?,
            None => return cx.error(235, format!("attribute 'softmax_precision' is {n}")),
        },
    };
    let wide = cx.cast(capped, precision)?;
    let weights = softmax_of(cx, wide, &[3])?;
    let weights = cx.cast(weights, dtype)?;
    let shown = match cx.int_or("qk_matmul_output_mode", 0)? {
        0 => raw,
        1 => biased,
        2 => capped,
        3 => weights,
        mode => return cx.error(205, format!("attribute 'qk_matmul_output_mode' is {mode}")),
    };
    let weights = cx.reshape(weights, vec![batch.clone(), groups, rows, total])?;
    let y = cx.emit(ops::MatMul {}, &[weights, present_v])?;
    let y = cx.reshape(y, vec![batch.clone(), heads.clone(), length.clone(), vs[3].clone()])?;
    let y = if in_rows {
        let y = cx.transpose(y, &[0, 2, 1, 3])?;
        cx.reshape(y, vec![batch, length, &heads * &vs[3]])?
    } else {
        y
    };
    Ok([y, present_k, present_v, shown].map(Binding::from).to_vec())
}

/// Scores with mask, causal mask and padding; what a mask excludes becomes minus infinity.
fn masked(cx: &mut OpCx<'_>, scores: ValueId, past: &Extent) -> Result<ValueId, Problem> {
    let shape = cx.shape(scores);
    let (batch, length, total) = (shape[0].clone(), shape[2].clone(), shape[3].clone());
    let dtype = cx.dtype(scores);
    let least = cx.number(dtype, f64::NEG_INFINITY);
    let mut y = scores;
    if let Some(mask) = cx.optional_value(3)? {
        let is_bool = cx.dtype(mask) == DType::Bool;
        let mask_shape = cx.shape(mask);
        let Some(covered) = mask_shape.last().cloned() else {
            return cx.error(212, "the mask of Attention is a scalar");
        };
        // A mask that ends early excludes the rest.
        let mut after = vec![Extent::ZERO; mask_shape.len()];
        let missing = &total - &covered;
        let mask = if covered.is(1) || missing.is(0) {
            mask
        } else {
            if let Some(last) = after.last_mut() {
                *last = missing;
            }
            let filler = if is_bool { Scalar::bool(false) } else { Scalar::lowest(dtype) };
            cx.pad(mask, vec![Extent::ZERO; mask_shape.len()], after, PadMode::Constant(filler))?
        };
        y = if is_bool {
            cx.select(mask, y, least)?
        } else {
            let mask = cx.cast(mask, dtype)?;
            cx.add(y, mask)?
        };
    }
    if cx.flag_or("is_causal", false)? {
        let rows = cx.iota(vec![length, Extent::ONE], 0, DType::I64)?;
        let columns = cx.iota(vec![Extent::ONE, total.clone()], 1, DType::I64)?;
        let past = cx.extents(vec![past.clone()], DType::I64, 0)?;
        let last = cx.add(rows, past.id)?;
        let seen = cx.le(columns, last)?;
        y = cx.select(seen, y, least)?;
    }
    if let Some(lens) = cx.optional_value(6)? {
        cx.need_rank(6, lens, 1)?;
        let lens = cx.cast(lens, DType::I64)?;
        let lens = cx.reshape(lens, vec![batch, Extent::ONE, Extent::ONE, Extent::ONE])?;
        let columns = cx.iota(vec![Extent::ONE, Extent::ONE, Extent::ONE, total], 3, DType::I64)?;
        let filled = cx.lt(columns, lens)?;
        y = cx.select(filled, y, least)?;
    }
    Ok(y)
}

/// `cap * tanh(x / cap)`.
fn softcap(cx: &mut OpCx<'_>, x: ValueId) -> Result<ValueId, Problem> {
    let cap = cx.float_or("softcap", 0.0)?;
    if cap <= 0.0 {
        return Ok(x);
    }
    let cap = cx.number_like(x, cap.into())?;
    let y = cx.div(x, cap)?;
    let y = cx.tanh(y)?;
    cx.mul(y, cap)
}

/// Elements `from`, `from + step`, .. of the last axis, `count` of them.
/// `x` turned by angles of which cosines and sines are given, in pairs of one element of the first half of the last axis
/// and one of the second.
///
/// `x cos + (the other of the pair) (-1 or 1) sin` in one piece: nothing is cut out and joined again.
fn turned_halves(cx: &mut OpCx<'_>, x: ValueId, [cos, sin]: [ValueId; 2]) -> Result<ValueId, Problem> {
    let (shape, dtype) = (cx.shape(x), cx.dtype(x));
    let axis = shape.len() - 1;
    let two = Extent::Const(2);
    let split = [&shape[..axis], &[two.clone(), shape[axis].floor_div(&two)]].concat();
    let pairs = cx.reshape(x, split.clone())?;
    let (mut starts, mut steps) = (vec![Extent::ZERO; split.len()], vec![1; split.len()]);
    (starts[axis], steps[axis]) = (Extent::ONE, -1);
    let others = cx.emit(ops::Slice { starts, steps, shape: split }, &[pairs])?;
    let signs = [-1.0, 1.0].map(|s| Scalar::float(dtype, s));
    let signs = cx.constant_value(Constant::from_scalars(dtype, &[2, 1], &signs));
    let (cos, sin) = (cx.unsqueeze(cos, axis)?, cx.unsqueeze(sin, axis)?);
    let kept = cx.mul(pairs, cos)?;
    let others = cx.mul(others, signs)?;
    let crossed = cx.mul(others, sin)?;
    let y = cx.add(kept, crossed)?;
    cx.reshape(y, shape)
}

/// Likewise, in pairs of neighbours. A nest over pairs would have the two as its last axis, too short for lanes; so both
/// parts are computed by themselves.
fn turned_pairs(cx: &mut OpCx<'_>, x: ValueId, [cos, sin]: [ValueId; 2]) -> Result<ValueId, Problem> {
    let shape = cx.shape(x);
    let axis = shape.len() - 1;
    let mut part = |from: Extent| {
        let (mut starts, mut steps) = (vec![Extent::ZERO; shape.len()], vec![1; shape.len()]);
        (starts[axis], steps[axis]) = (from, 2);
        let half = [&shape[..axis], &[shape[axis].floor_div(&Extent::Const(2))]].concat();
        cx.emit(ops::Slice { starts, steps, shape: half }, &[x])
    };
    let (a, b) = (part(Extent::ZERO)?, part(Extent::ONE)?);
    let (ca, sb) = (cx.mul(cos, a)?, cx.mul(sin, b)?);
    let (sa, cb) = (cx.mul(sin, a)?, cx.mul(cos, b)?);
    let (real, imaginary) = (cx.sub(ca, sb)?, cx.add(sa, cb)?);
    let parts = [cx.unsqueeze(real, axis + 1)?, cx.unsqueeze(imaginary, axis + 1)?];
    let y = cx.concat(&parts, axis + 1)?;
    cx.reshape(y, shape)
}

fn rotary(cx: &mut OpCx<'_>) -> Outcome {
    let input = cx.value(0)?;
    cx.need_float(0, input)?;
    let given = cx.shape(input);
    let interleaved = cx.flag_or("interleaved", false)?;
    let heads = cx.int_or("num_heads", 0)?;
    // `[batch, heads, length, size]`, or `[batch, length, heads, size]` where heads lie in the last axis.
    let (x, head_axis) = match given.len() {
        4 => (input, 1),
        3 if heads > 0 => {
            let size = given[2].floor_div(&Extent::Const(heads));
            let shape = vec![given[0].clone(), given[1].clone(), Extent::Const(heads), size];
            (cx.reshape(input, shape)?, 2)
        }
        3 => return cx.error(204, "RotaryEmbedding of rank 3 needs the attribute 'num_heads'"),
        rank => return cx.error(212, format!("input 0 has rank {rank}, RotaryEmbedding needs 3 or 4")),
    };
    let size = cx.shape(x)[3].clone();
    let turned_size = match cx.int_or("rotary_embedding_dim", 0)? {
        0 => size.clone(),
        n => Extent::Const(n),
    };
    let half = turned_size.floor_div(&Extent::Const(2));
    let mut caches = [cx.value(1)?, cx.value(2)?];
    let positions = cx.optional_value(3)?;
    for cache in &mut caches {
        if let Some(positions) = positions {
            *cache = cx.gather(*cache, positions, 0)?;
        }
        cx.need_rank(1, *cache, 3)?;
        let has = cx.shape(*cache)[2].clone();
        cx.need_equal(212, &has, &half, || format!("caches have {has} columns, need {half}"))?;
        *cache = cx.unsqueeze(*cache, head_axis)?;
    }
    let turned = if interleaved { turned_pairs } else { turned_halves };
    if turned_size == size {
        let y = turned(cx, x, caches)?;
        return one(cx.reshape(y, given)?);
    }
    let part = cx.slice_axis(x, 3, Extent::ZERO, turned_size.clone())?;
    let part = turned(cx, part, caches)?;
    let rest = cx.slice_axis(x, 3, turned_size.clone(), &size - &turned_size)?;
    let y = cx.concat(&[part, rest], 3)?;
    one(cx.reshape(y, given)?)
}
