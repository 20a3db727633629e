//! fold-affine - scales and shifts by constants become part of constant weights and of each other.
//!
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[1,2,4]) {
//!   %1 = constant {value=f32[2,2,1]=[1.0:f32,2.0:f32,3.0:f32,4.0:f32]} : f32[2,2,1] loc("conv")
//!   %2 = conv %0, %1 {groups=1, strides=[1], dilations=[1], pads_before=[0], spatial=[4]} : f32[1,2,4] loc("conv")
//!   %3 = constant {value=f32[2,1]=[10.0:f32,0.5:f32]} : f32[2,1] loc("norm")
//!   %4 = broadcast %3 {shape=[1,2,4]} : f32[1,2,4] loc("norm")
//!   %5 = mul %2, %4 : f32[1,2,4] loc("norm")
//!   return %5 "y"
//! }
//! ```
//! becomes
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[1,2,4]) {
//!   %1 = constant {value=f32[2,2,1]=[1.0:f32,2.0:f32,3.0:f32,4.0:f32]} : f32[2,2,1] loc("conv")
//!   %2 = conv %0, %1 {groups=1, strides=[1], dilations=[1], pads_before=[0], spatial=[4]} : f32[1,2,4] loc("conv")
//!   %3 = constant {value=f32[2,1]=[10.0:f32,0.5:f32]} : f32[2,1] loc("norm")
//!   %4 = broadcast %3 {shape=[1,2,4]} : f32[1,2,4] loc("norm")
//!   %5 = constant {value=f32[2,2,1]=[10.0:f32,20.0:f32,1.5:f32,2.0:f32]} : f32[2,2,1] loc("conv","norm")
//!   %6 = conv %0, %5 {groups=1, strides=[1], dilations=[1], pads_before=[0], spatial=[4]} : f32[1,2,4] loc("conv","norm")
//!   return %6 "y"
//! }
//! ```
//!
//! A step is a product, quotient, sum or difference of a tensor and a constant, or a negation. After a product with a
//! constant weight (conv, matmul, contract; transposed convolutions are these too) a scale becomes part of the weight, a
//! shift part of the shift that is there. Before it, a scale becomes part of the weight too, and a shift goes behind it.
//! What lies between and commutes (movements, concat, sums; relu and max pooling with positive scales) is looked through.
//! The affine form of a batch norm is the main customer.
//!
//! Left alone: what another reader reads as it is; a shift before padding; a weight that others read too, unless its
//! copy costs less than the step; what ends up rounded to an integer, but for weights, as a last bit may change that by
//! one; and where a constant would become infinite, NaN or denormal. Rounding: products and sums associate otherwise.

mod coefficient;
mod data;
mod linear;
mod plan;
mod scaled;
mod step;

use nnc_ir::{
    Module,
    constant::{Constant, Payload},
    dtype::{DType, Scalar},
    graph::{NodeId, ValueId, merge_locs},
    ops::{Add, Mul, Op},
};

use crate::{
    pass::{Bug, Exactness, PassCx, Rule},
    readers::Readers,
    rewrite::{Action, Cursor, rewrite},
};
use coefficient::{Consts, number};
use linear::Linear;
use plan::{Plan, Search, apply, build, with_weight};

use step::{Step, step};

pub(crate) const RULES: &[&Rule] = &[
    &SCALE_INTO_WEIGHT,
    &DATA_SCALE_INTO_WEIGHT,
    &DATA_SHIFT_TO_RESULT,
    &MERGE_SCALES,
    &MERGE_SHIFTS,
    &SUBTRACT_AS_ADD,
    &DIVIDE_BY_POWER_OF_TWO,
    &MULTIPLY_BY_RECIPROCAL,
];

static SCALE_INTO_WEIGHT: Rule = Rule {
    name: "scale-into-weight",
    law: "(x W) * s = x (W * s), where s varies along axes of W only; f(y) * s = f(y * s) for f that commutes",
    source: "linearity; Jacob et al., CVPR 2018, 3.2 (batch norm folding)",
    exactness: Exactness::Rounding,
};
static DATA_SCALE_INTO_WEIGHT: Rule = Rule {
    name: "data-scale-into-weight",
    law: "(x * s) W = x (s * W), where s varies along axes of W only; f(x * s) = f(x) * s for f that commutes",
    source: "linearity",
    exactness: Exactness::Rounding,
};
static DATA_SHIFT_TO_RESULT: Rule = Rule {
    name: "data-shift-to-result",
    law: "(x + t) W = x W + t W, where no window reaches over the border",
    source: "linearity",
    exactness: Exactness::Rounding,
};
static MERGE_SCALES: Rule = Rule {
    name: "merge-scales",
    law: "(x * a) * b = x * (a * b); (x * a + c) * b = x * (a * b) + c * b",
    source: "associativity and distributivity of real numbers",
    exactness: Exactness::Rounding,
};
static MERGE_SHIFTS: Rule = Rule {
    name: "merge-shifts",
    law: "(x + a) + b = x + (a + b); f(x + a) + b = f(x + (a + b)) for movements f and max pooling",
    source: "associativity of real numbers",
    exactness: Exactness::Rounding,
};
static SUBTRACT_AS_ADD: Rule = Rule {
    name: "subtract-as-add",
    law: "x - c = x + (-c)",
    source: "IEEE 754-2019, 5.4.1: subtraction is addition of the negated operand",
    exactness: Exactness::Exact,
};
static DIVIDE_BY_POWER_OF_TWO: Rule = Rule {
    name: "divide-by-power-of-two",
    law: "x / c = x * (1 / c), where c is 2^k or -2^k and 1 / c is normal",
    source: "IEEE 754-2019, 4.3: both round the same real number",
    exactness: Exactness::Exact,
};
static MULTIPLY_BY_RECIPROCAL: Rule = Rule {
    name: "multiply-by-reciprocal",
    law: "x / c = x * (1 / c), where 1 / c is normal",
    source: "two roundings of half a unit each in place of one",
    exactness: Exactness::Rounding,
};

/// Why the last bit matters.
const ROUNDED: &str = "it ends up rounded to an integer, which a last bit may change by one";

/// Weights of so many bytes are let go of as soon as they are scaled.
const LARGE_BYTES: usize = 1 << 18;

/// Sweeps at most: each goes through the whole module, and a step passes at most one product in each.
const MAX_SWEEPS: usize = 32;

pub(crate) fn run(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    let misses = cx.misses.len();
    for _ in 0..MAX_SWEEPS {
        cx.misses.truncate(misses);
        let before = cx.rewrites.len();
        let mut readers = Readers::of(module);
        rewrite(module, "fold-affine", &mut |cursor: &mut Cursor<'_>, node| {
            let is_float = |v: &ValueId| matches!(cursor.module.ty(*v).dtype, DType::F32 | DType::F64);
            let results = &cursor.module.node(node).results;
            let &[old] = &results[..] else { return Ok(Action::Keep) };
            if !is_float(&old) || readers.count(old) == 0 || !cx.has_fuel() {
                return Ok(Action::Keep);
            }
            let Some((rule, new)) = visit(cursor, node, &readers, cx)? else { return Ok(Action::Keep) };
            cx.fired(rule, &cursor.module.node(node).loc);
            readers.inherit(cursor.module, old, new);
            Ok(Action::Replace(vec![new]))
        })?;
        if cx.rewrites.len() == before {
            break;
        }
    }
    Ok(())
}

type Visited = Result<Option<(&'static Rule, ValueId)>, Bug>;

fn visit(cursor: &mut Cursor<'_>, node: NodeId, readers: &Readers, cx: &mut PassCx<'_>) -> Visited {
    match &cursor.module.node(node).op {
        Op::Conv(_) | Op::MatMul(_) | Op::Contract(_) => from_data(cursor, node, readers, cx),
        Op::Mul(_) | Op::Div(_) | Op::Neg(_) | Op::Add(_) | Op::Sub(_) => {
            match step(cursor.module, Consts(cx.consts), node) {
                Some(Step::Scale { x, by, exact }) => scale(cursor, node, readers, cx, (x, by, exact)),
                Some(Step::Shift { x, by }) => shift(cursor, node, readers, cx, (x, by)),
                None => difference(cursor, node, readers, cx),
            }
        }
        _ => Ok(None),
    }
}

fn search<'a>(module: &'a Module, readers: &'a Readers, cx: &PassCx<'a>) -> Search<'a> {
    Search { module, consts: Consts(cx.consts), readers, target: cx.target }
}

fn rule_of(plan: &Plan) -> &'static Rule {
    if plan.has_weight() { &SCALE_INTO_WEIGHT } else { &MERGE_SCALES }
}

/// `x * by`, `x / (1 / by)` or `-x`.
fn scale(
    cursor: &mut Cursor<'_>,
    node: NodeId,
    readers: &Readers,
    cx: &mut PassCx<'_>,
    (x, by, exact): (ValueId, Constant, bool),
) -> Visited {
    let this = cursor.module.node(node);
    let loc = this.loc.clone();
    let divides = matches!(this.op, Op::Div(_));
    let rounded = readers.rounded(this.results[0]);
    let planned = search(cursor.module, readers, cx).scaled(x, &by, node);
    match planned {
        Ok(plan) if rounded && !plan.has_weight() => {
            cx.miss(cursor.module, node, format!("the scale stays: {ROUNDED}"));
            return Ok(None);
        }
        Ok(plan) => {
            let new = build(cursor, &plan, &loc)?;
            release_weight(cursor.module, node, &plan, readers);
            return Ok(Some((rule_of(&plan), new)));
        }
        Err(Some(why)) => cx.miss(cursor.module, node, format!("the scale stays: {why}")),
        Err(None) => {}
    }
    if !divides {
        return Ok(None);
    }
    if !exact && rounded {
        cx.miss(cursor.module, node, format!("the division stays: {ROUNDED}"));
        return Ok(None);
    }
    let rule = if exact { &DIVIDE_BY_POWER_OF_TWO } else { &MULTIPLY_BY_RECIPROCAL };
    Ok(Some((rule, apply(cursor, Mul {}, x, &by, &loc)?)))
}

/// Lets go of the weight of a product that nobody reads any more, since the node `gone` alone read it and the plan has another
/// product in its place: the product goes with the pass that removes what is dead, and all weights would be there twice until then. It is
/// zeros for as long.
fn release_weight(module: &mut Module, gone: NodeId, plan: &Plan, readers: &Readers) {
    let &Plan::Weight { node, at, .. } = plan else { return };
    let product = module.node(node);
    let weight = product.operands[at];
    let alone = readers.only(product.results[0]) == Some(gone) && readers.only(weight) == Some(node);
    let Some(constant) = module.def_node(weight).filter(|_| alone) else { return };
    if let Op::ConstantOp(op) = &mut module.node_mut(constant).op {
        let (dtype, elements) = (op.value.dtype(), op.value.elements());
        let zeros = Payload::Splat(Scalar::zero(dtype.compute()));
        if elements * dtype.bytes() >= LARGE_BYTES
            && let Some(zeros) = Constant::new(dtype, op.value.dims(), zeros)
        {
            op.value = zeros;
        }
    }
}

/// `x + by` or `x - (-by)`.
fn shift(
    cursor: &mut Cursor<'_>,
    node: NodeId,
    readers: &Readers,
    cx: &mut PassCx<'_>,
    (x, by): (ValueId, Constant),
) -> Visited {
    let this = cursor.module.node(node);
    let loc = this.loc.clone();
    let subtracts = matches!(this.op, Op::Sub(_));
    let planned = search(cursor.module, readers, cx).shifted(x, &by);
    match planned {
        Ok(_) if readers.rounded(cursor.module.node(node).results[0]) => {
            cx.miss(cursor.module, node, format!("the shift stays: {ROUNDED}"));
        }
        Ok(plan) => return Ok(Some((&MERGE_SHIFTS, build(cursor, &plan, &loc)?))),
        Err(Some(why)) => cx.miss(cursor.module, node, format!("the shift stays: {why}")),
        Err(None) => {}
    }
    if subtracts { Ok(Some((&SUBTRACT_AS_ADD, apply(cursor, Add {}, x, &by, &loc)?))) } else { Ok(None) }
}

/// `c - x`, where `x` can be negated for nothing.
fn difference(cursor: &mut Cursor<'_>, node: NodeId, readers: &Readers, cx: &mut PassCx<'_>) -> Visited {
    let this = cursor.module.node(node);
    let (Op::Sub(_), &[c, x]) = (&this.op, &this.operands[..]) else { return Ok(None) };
    let Some(c) = Consts(cx.consts).of(cursor.module, c) else { return Ok(None) };
    let loc = this.loc.clone();
    let minus = number(c.dtype(), -1.0);
    let Ok(plan) = search(cursor.module, readers, cx).scaled(x, &minus, node) else { return Ok(None) };
    let x = build(cursor, &plan, &loc)?;
    Ok(Some((rule_of(&plan), apply(cursor, Add {}, x, &c, &loc)?)))
}

/// A product whose data is scaled or shifted.
fn from_data(cursor: &mut Cursor<'_>, node: NodeId, readers: &Readers, cx: &mut PassCx<'_>) -> Visited {
    let module = &*cursor.module;
    let Some(linear) = Linear::of(module, node) else { return Ok(None) };
    let search = search(module, readers, cx);
    let taken = match search.above(&linear) {
        Ok(taken) => taken,
        Err(why) => {
            if let Some(why) = why {
                cx.miss(module, node, format!("a scale or shift of its data stays: {why}"));
            }
            return Ok(None);
        }
    };
    let consts = Consts(cx.consts);
    let made = if taken.scales {
        let weight = linear.scaled_before(consts, &taken.by);
        weight.and_then(|w| search.may_copy(&linear, taken.node).map(|()| w))
    } else {
        let shift = linear.of_shift(module, consts, &taken.by);
        shift.and_then(|t| search.pays_after(&linear, taken.node).map(|()| t))
    };
    let made = match made {
        Ok(made) => made,
        Err(why) => {
            let what = if taken.scales { "scale" } else { "shift" };
            cx.miss(module, node, format!("the {what} of its data stays: {why}"));
            return Ok(None);
        }
    };
    let loc = module.node(taken.node).loc.clone();
    let data = build(cursor, &taken.data, &loc)?;
    let this = cursor.module.node(node).clone();
    let mut operands = this.operands;
    operands[linear.data_at] = data;
    if taken.scales {
        let result = with_weight(cursor, node, operands, (linear.weight_at, &made), &loc)?;
        return Ok(Some((&DATA_SCALE_INTO_WEIGHT, result)));
    }
    let result = cursor.emit1(this.op, &operands, &this.loc)?;
    let loc = merge_locs([&this.loc, &loc]);
    Ok(Some((&DATA_SHIFT_TO_RESULT, apply(cursor, Add {}, result, &made, &loc)?)))
}
