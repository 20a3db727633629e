//! fold-padding - explicit padding becomes part of what reads it.
//!
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[1,1,5]) {
//!   %1 = pad %0 {before=[0,0,1], after=[0,0,1], mode=constant(0.0:f32)} : f32[1,1,7] loc("pad")
//!   %2 = constant {value=f32[1,1,3]=splat(1.0:f32)} : f32[1,1,3] loc("conv")
//!   %3 = conv %1, %2 {groups=1, strides=[1], dilations=[1], pads_before=[0], spatial=[5]} : f32[1,1,5] loc("conv")
//!   return %3 "y"
//! }
//! ```
//! becomes
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[1,1,5]) {
//!   %1 = pad %0 {before=[0,0,1], after=[0,0,1], mode=constant(0.0:f32)} : f32[1,1,7] loc("pad")
//!   %2 = constant {value=f32[1,1,3]=splat(1.0:f32)} : f32[1,1,3] loc("conv")
//!   %3 = conv %0, %2 {groups=1, strides=[1], dilations=[1], pads_before=[1], spatial=[5]} : f32[1,1,5] loc("conv","pad")
//!   return %3 "y"
//! }
//! ```
//!
//! Zeros around the data of a convolution or a sum, least values around that of a maximum, greatest around that of a
//! minimum are what these take for what lies outside anyway. A mean over padding counts it: it becomes a sum that is
//! divided. Reshapes and transposes in between are looked through. Padding of padding becomes one; what a slice takes off
//! again was not needed.
//!
//! Left alone: other modes and values; padding along other axes than windows slide over; padding known only when running;
//! where a crop hides elements that a window would see; and where something else needs the padded tensor. Exact.

mod padding;

use nnc_ir::{
    Module,
    constant::Constant,
    dtype::{DType, Scalar},
    extent::Extent,
    graph::{NodeId, ValueId},
    ops::{Broadcast, ConstantOp, Conv, Div, Op, Pad, PadMode, Pool, PoolKind, Slice},
};
use rustc_hash::FxHashSet;

use crate::{
    pass::{Bug, Exactness, PassCx, Rule},
    rewrite::{Action, Cursor, rewrite},
};
use padding::Padding;

pub(crate) const RULES: &[&Rule] =
    &[&PAD_INTO_CONV, &PAD_INTO_POOL, &PAD_INTO_MEAN, &MERGE_PADS, &SLICE_OF_PAD];

static PAD_INTO_CONV: Rule = Rule {
    name: "pad-into-conv",
    law: "conv(pad(x, a, 0), W, pads p) = conv(x, W, pads p + a)",
    source: "definition: elements outside of the input are zero",
    exactness: Exactness::Exact,
};
static PAD_INTO_POOL: Rule = Rule {
    name: "pad-into-pool",
    law: "pool(pad(x, a, v), pads p) = pool(x, pads p + a), v being -inf for max, inf for min, 0 for sum",
    source: "definition: what lies outside does not count, which is as if it were v",
    exactness: Exactness::Exact,
};
static PAD_INTO_MEAN: Rule = Rule {
    name: "pad-into-mean",
    law: "mean(pad(x, a, 0)) = sum(x, pads a) / taps, where every window lies in the padded tensor",
    source: "ONNX AveragePool with count_include_pad; the quotient is rounded once in both",
    exactness: Exactness::Exact,
};
static MERGE_PADS: Rule = Rule {
    name: "merge-pads",
    law: "pad(pad(x, a, v), b, v) = pad(x, a + b, v), where no end is cropped before it is padded",
    source: "both put v where x has no element",
    exactness: Exactness::Exact,
};
static SLICE_OF_PAD: Rule = Rule {
    name: "slice-of-pad",
    law: "slice(pad(x, a, v), s, n) = pad(x, a - s, v) of extent n; a slice of x where nothing of the padding is left",
    source: "a slice of step 1 is a padding by negative numbers",
    exactness: Exactness::Exact,
};

pub(crate) fn run(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    let needed = needed(module);
    rewrite(module, "fold-padding", &mut |cursor: &mut Cursor<'_>, node| {
        if !cx.has_fuel() {
            return Ok(Action::Keep);
        }
        let Some(padding) = padding_above(cursor.module, node) else { return Ok(Action::Keep) };
        let folded = match cursor.module.node(node).op.clone() {
            _ if needed.contains(&padding.padded) => Err("something else reads the padded tensor".into()),
            Op::Conv(conv) => into_conv(cursor, node, &conv, &padding)?,
            Op::Pool(pool) => into_pool(cursor, node, &pool, &padding)?,
            Op::Pad(pad) => merge_pads(cursor, node, &pad, &padding)?,
            Op::Slice(slice) => slice_of_pad(cursor, node, &slice, &padding)?,
            _ => return Ok(Action::Keep),
        };
        match folded {
            Ok((rule, value)) => {
                cx.fired(rule, &cursor.module.node(node).loc);
                Ok(Action::Replace(vec![value]))
            }
            Err(why) => {
                cx.miss(cursor.module, node, format!("the padding before it stays: {why}"));
                Ok(Action::Keep)
            }
        }
    })
}

/// What a rule makes, or why it does not apply.
type Folded = Result<(&'static Rule, ValueId), String>;

/// Padded tensors that are read by something that no rule is about.
fn needed(module: &Module) -> FxHashSet<ValueId> {
    let is_pad = |v: &ValueId| module.defined_by::<Pad>(*v).is_some();
    let mut needed = FxHashSet::default();
    for region in module.nested_regions(module.body()) {
        let region = module.region(region);
        needed.extend(region.results.iter().copied().filter(is_pad));
        for &node in &region.nodes {
            let node = module.node(node);
            let about = matches!(
                node.op,
                Op::Conv(_) | Op::Pool(_) | Op::Pad(_) | Op::Slice(_) | Op::Reshape(_) | Op::Transpose(_)
            );
            needed.extend(node.operands.iter().copied().filter(|v| !about && is_pad(v)));
        }
    }
    needed
}

/// The padding that operand 0 of a node comes from.
fn padding_above(module: &Module, node: NodeId) -> Option<Padding> {
    let this = module.node(node);
    let data = *this.operands.first()?;
    match this.op {
        Op::Conv(_) | Op::Pool(_) => Padding::above(module, data),
        Op::Pad(_) | Op::Slice(_) => Padding::of(module, data),
        _ => None,
    }
}

/// Windows that slide over the last axes.
struct Windows<'a> {
    kernel: &'a [Extent],
    strides: &'a [i64],
    dilations: &'a [i64],
    pads_before: &'a [i64],
    spatial: &'a [Extent],
}

impl Windows<'_> {
    /// Pads with the padding in them; `shape` is the padded tensor's.
    fn with(&self, padding: &Padding, shape: &[Extent]) -> Result<Vec<i64>, String> {
        let lead = shape.len() - self.kernel.len();
        if padding.axes().any(|axis| axis < lead) {
            return Err("it pads an axis that windows do not slide over".into());
        }
        (0..self.kernel.len()).map(|i| self.along(i, padding, &shape[lead + i], lead + i)).collect()
    }

    fn along(&self, i: usize, padding: &Padding, extent: &Extent, axis: usize) -> Result<i64, String> {
        let known = |e: &Extent| e.as_const().ok_or("its extent is known only when running");
        let (before, after) = (known(&padding.before[axis])?, known(&padding.after[axis])?);
        if before < 0 && self.pads_before[i] > 0 || after < 0 && !self.ends_inside(i, extent) {
            return Err("it crops, and windows reach over the border".into());
        }
        let pad = self.pads_before[i].saturating_add(before);
        if pad.unsigned_abs() > 1 << 31 { Err("there is too much of it".into()) } else { Ok(pad) }
    }

    /// Whether no window reaches beyond the end of an axis of this extent.
    fn ends_inside(&self, i: usize, extent: &Extent) -> bool {
        let one = Extent::ONE;
        let reach = &(&self.kernel[i] - &one).scale(self.dilations[i]) + &one;
        let end = &(&self.spatial[i] - &one).scale(self.strides[i])
            + &(&reach - &Extent::Const(self.pads_before[i]));
        (&end - extent).as_const().is_some_and(|beyond| beyond <= 0)
    }

    fn inside(&self, shape: &[Extent]) -> bool {
        let lead = shape.len() - self.kernel.len();
        (0..self.kernel.len()).all(|i| self.pads_before[i] <= 0 && self.ends_inside(i, &shape[lead + i]))
    }
}

fn into_conv(cursor: &mut Cursor<'_>, node: NodeId, conv: &Conv, padding: &Padding) -> Result<Folded, Bug> {
    let this = cursor.module.node(node).clone();
    let (data, weight) =
        (cursor.module.ty(this.operands[0]).clone(), cursor.module.ty(this.operands[1]).clone());
    if padding.value != Scalar::zero(data.dtype) {
        return Ok(Err(format!("it pads with {:?}, a convolution with zero", padding.value)));
    }
    let windows = Windows {
        kernel: &weight.shape[2..],
        strides: &conv.strides,
        dilations: &conv.dilations,
        pads_before: &conv.pads_before,
        spatial: &conv.spatial,
    };
    let pads_before = match windows.with(padding, &data.shape) {
        Ok(pads) => pads,
        Err(why) => return Ok(Err(why)),
    };
    let mut operands = this.operands;
    operands[0] = padding.without(cursor)?;
    let loc = padding.loc_with(cursor.module, &this.loc);
    let value = cursor.emit1(Conv { pads_before, ..conv.clone() }, &operands, &loc)?;
    Ok(Ok((&PAD_INTO_CONV, value)))
}

fn into_pool(cursor: &mut Cursor<'_>, node: NodeId, pool: &Pool, padding: &Padding) -> Result<Folded, Bug> {
    let this = cursor.module.node(node).clone();
    let data = cursor.module.ty(this.operands[0]).clone();
    let kernel: Vec<Extent> = pool.kernel.iter().map(|&k| Extent::Const(k)).collect();
    let windows = Windows {
        kernel: &kernel,
        strides: &pool.strides,
        dilations: &pool.dilations,
        pads_before: &pool.pads_before,
        spatial: &pool.spatial,
    };
    let neutral = match pool.kind {
        PoolKind::Max => Scalar::lowest(data.dtype),
        PoolKind::Min => Scalar::highest(data.dtype),
        PoolKind::Sum | PoolKind::Mean => Scalar::zero(data.dtype),
    };
    if padding.value != neutral {
        return Ok(Err(format!("it pads with {:?}, only {neutral:?} does not count", padding.value)));
    }
    let is_mean = pool.kind == PoolKind::Mean;
    if is_mean && !(windows.inside(&data.shape) && matches!(data.dtype, DType::F32 | DType::F64)) {
        return Ok(Err("the mean does not count what lies outside of it".into()));
    }
    let pads_before = match windows.with(padding, &data.shape) {
        Ok(pads) => pads,
        Err(why) => return Ok(Err(why)),
    };
    let loc = padding.loc_with(cursor.module, &this.loc);
    let kind = if is_mean { PoolKind::Sum } else { pool.kind };
    let data = padding.without(cursor)?;
    let value = cursor.emit1(Pool { kind, pads_before, ..pool.clone() }, &[data], &loc)?;
    if !is_mean {
        return Ok(Ok((&PAD_INTO_POOL, value)));
    }
    let ty = cursor.module.ty(value).clone();
    let taps = pool.kernel.iter().fold(1i64, |n, &k| n.saturating_mul(k));
    let count = Constant::scalar(ty.dtype, Scalar::int(ty.dtype, taps));
    let count = cursor.emit1(ConstantOp { value: count }, &[], &loc)?;
    let count = cursor.emit1(Broadcast { shape: ty.shape.to_vec() }, &[count], &loc)?;
    Ok(Ok((&PAD_INTO_MEAN, cursor.emit1(Div {}, &[value, count], &loc)?)))
}

fn merge_pads(cursor: &mut Cursor<'_>, node: NodeId, pad: &Pad, inner: &Padding) -> Result<Folded, Bug> {
    let PadMode::Constant(value) = pad.mode else { return Ok(Err("the outer one repeats elements".into())) };
    let adds = |e: &Extent| e.as_const().is_none_or(|e| e > 0);
    let outer = || pad.before.iter().chain(&pad.after);
    if value != inner.value && outer().any(adds) && inner.amounts().any(adds) {
        return Ok(Err("the two pad with different values".into()));
    }
    if inner.amounts().zip(outer()).any(|(a, b)| a.as_const().is_none_or(|a| a < 0) && adds(b)) {
        return Ok(Err("an end is cropped, then padded".into()));
    }
    let sum = |a: &[Extent], b: &[Extent]| a.iter().zip(b).map(|(a, b)| a + b).collect();
    let value = if outer().any(adds) { value } else { inner.value };
    let (before, after) = (sum(&inner.before, &pad.before), sum(&inner.after, &pad.after));
    let loc = inner.loc_with(cursor.module, &cursor.module.node(node).loc.clone());
    let op = Pad { before, after, mode: PadMode::Constant(value) };
    Ok(Ok((&MERGE_PADS, cursor.emit1(op, &[inner.source], &loc)?)))
}

fn slice_of_pad(cursor: &mut Cursor<'_>, node: NodeId, slice: &Slice, pad: &Padding) -> Result<Folded, Bug> {
    if slice.steps.iter().any(|&s| s != 1) || pad.amounts().any(|a| a.as_const().is_none_or(|a| a < 0)) {
        return Ok(Err("the slice has steps, or the padding is not known to add".into()));
    }
    let source = cursor.module.ty(pad.source).shape.clone();
    let before: Vec<Extent> = pad.before.iter().zip(&slice.starts).map(|(a, s)| a - s).collect();
    let after: Vec<Extent> =
        (0..before.len()).map(|i| &slice.shape[i] - &(&before[i] + &source[i])).collect();
    let Some(net): Option<Vec<i64>> = before.iter().chain(&after).map(Extent::as_const).collect() else {
        return Ok(Err("what is left of it is known only when running".into()));
    };
    if slice.shape.iter().any(|e| e.is(0)) {
        return Ok(Err("nothing is left".into()));
    }
    let loc = pad.loc_with(cursor.module, &cursor.module.node(node).loc.clone());
    let op: Op = if net.iter().all(|&n| n <= 0) {
        Slice { starts: before.iter().map(|b| b.scale(-1)).collect(), ..slice.clone() }.into()
    } else {
        Pad { before, after, mode: PadMode::Constant(pad.value) }.into()
    };
    Ok(Ok((&SLICE_OF_PAD, cursor.emit1(op, &[pad.source], &loc)?)))
}
