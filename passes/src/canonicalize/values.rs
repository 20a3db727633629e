//! values - rules about what elements are: neutral operands, involutions, casts, bounds, conditions.

use nnc_ir::{
    Module,
    dtype::{DType, Scalar},
    graph::{NodeId, ValueId},
    ops::{Add, BitNot, Cast, Div, Max, Min, Mul, Neg, Not, Op, OpStruct, Relu, Sub},
};

use crate::{
    pass::{Bug, Exactness, Rule},
    rewrite::Cursor,
};

pub(super) static DROP_NEUTRAL_OPERAND: Rule = Rule {
    name: "drop-neutral-operand",
    law: "x * 1 = x / 1 = x - 0 = x + (-0) = max(x, -inf) = min(x, inf) = x; x + 0 = x of integers",
    source: "IEEE 754-2019, 6.3: holds for NaN, infinities and signed zeros too",
    exactness: Exactness::Exact,
};
pub(super) static DROP_DOUBLE_NEGATION: Rule = Rule {
    name: "drop-double-negation",
    law: "-(-x) = x, not(not(x)) = x",
    source: "both flip bits: the sign, or all",
    exactness: Exactness::Exact,
};
pub(super) static DROP_REPEATED_RELU: Rule = Rule {
    name: "drop-repeated-relu",
    law: "relu(relu(x)) = relu(x)",
    source: "no element of relu(x) is less than zero; NaN stays",
    exactness: Exactness::Exact,
};
pub(super) static MERGE_BOUNDS: Rule = Rule {
    name: "merge-bounds",
    law: "max(max(x, a), b) = max(x, max(a, b)), and so min, for numbers a, b that are unequal, or identical and not zero",
    source: "of unequal bounds the tighter one decides, ties of zeros included; NaN of x stays",
    exactness: Exactness::Exact,
};
pub(super) static MERGE_CASTS: Rule = Rule {
    name: "merge-casts",
    law: "cast(cast(x, m), t) = cast(x, t), where m holds every value of x's type, and no float m stands between integers that t may wrap; cast(x, its type) = x",
    source: "the first cast changes no value, and the second goes by the value",
    exactness: Exactness::Exact,
};
pub(super) static SELECT_KNOWN: Rule = Rule {
    name: "select-known",
    law: "select(true, a, b) = a, select(false, a, b) = b, select(c, a, a) = a",
    source: "definition",
    exactness: Exactness::Exact,
};

/// `x * 1`, `1 * x`, `x / 1`, `x - 0`: exact for every float, NaN and signed zero included (`x + 0` is not: -0 + 0 = 0).
pub(super) fn drop_neutral_operand(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node);
    let &[lhs, rhs] = &this.operands[..] else { return Ok(None) };
    let dtype = cursor.module.ty(lhs).dtype;
    let (one, zero) = (Scalar::int(dtype, 1), Scalar::zero(dtype));
    // x + 0 is not x for x = -0.
    let nothing = if dtype.is_float() { Scalar::float(dtype, -0.0) } else { zero };
    let is = |value: ValueId, c: Scalar| splat(cursor.module, value) == Some(c);
    Ok(match &this.op {
        Op::Mul(Mul {}) if is(rhs, one) => Some(lhs),
        Op::Mul(Mul {}) if is(lhs, one) => Some(rhs),
        Op::Div(Div {}) if is(rhs, one) => Some(lhs),
        Op::Sub(Sub {}) if is(rhs, zero) => Some(lhs),
        Op::Add(Add {}) if is(rhs, nothing) => Some(lhs),
        Op::Add(Add {}) if is(lhs, nothing) => Some(rhs),
        Op::Max(Max {}) if is(rhs, Scalar::lowest(dtype)) => Some(lhs),
        Op::Max(Max {}) if is(lhs, Scalar::lowest(dtype)) => Some(rhs),
        Op::Min(Min {}) if is(rhs, Scalar::highest(dtype)) => Some(lhs),
        Op::Min(Min {}) if is(lhs, Scalar::highest(dtype)) => Some(rhs),
        _ => None,
    })
}

/// The one value all elements have: of a constant, seen through broadcasts and reshapes.
pub(super) fn splat(module: &Module, value: ValueId) -> Option<Scalar> {
    let node = module.node(module.def_node(value)?);
    match &node.op {
        Op::ConstantOp(c) => c.value.as_splat(),
        Op::Broadcast(_) | Op::Reshape(_) => splat(module, node.operands[0]),
        _ => None,
    }
}

/// The operand of a node's operand, where both are `T`.
fn twice<T: OpStruct>(module: &Module, node: NodeId) -> Option<ValueId> {
    let this = module.node(node);
    T::from_op(&this.op)?;
    Some(module.defined_by::<T>(this.operands[0])?.1.operands[0])
}

pub(super) fn drop_double_negation(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let module = &*cursor.module;
    Ok(twice::<Neg>(module, node)
        .or_else(|| twice::<Not>(module, node))
        .or_else(|| twice::<BitNot>(module, node)))
}

pub(super) fn drop_repeated_relu(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    Ok(twice::<Relu>(cursor.module, node).map(|_| cursor.module.node(node).operands[0]))
}

/// What a bound bounds, and the bound: of a `max` or `min` with one number.
fn bound(module: &Module, node: NodeId) -> Option<(ValueId, Scalar)> {
    let &[a, b] = &module.node(node).operands[..] else { return None };
    match splat(module, b) {
        Some(number) => Some((a, number)),
        None => Some((b, splat(module, a)?)),
    }
}

pub(super) fn merge_bounds(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let module = &*cursor.module;
    let this = module.node(node).clone();
    let is_max = matches!(this.op, Op::Max(_));
    if !is_max && !matches!(this.op, Op::Min(_)) {
        return Ok(None);
    }
    let Some((inner_value, outer)) = bound(module, node) else { return Ok(None) };
    let Some(inner_node) = module.def_node(inner_value) else { return Ok(None) };
    if std::mem::discriminant(&module.node(inner_node).op) != std::mem::discriminant(&this.op) {
        return Ok(None);
    }
    let Some((x, inner)) = bound(module, inner_node) else { return Ok(None) };
    let less = match (inner.as_f64(), outer.as_f64(), inner.as_i64(), outer.as_i64()) {
        (Some(a), Some(b), ..) if a < b || b < a => a < b,
        (_, _, Some(a), Some(b)) if a != b && inner.dtype != DType::U64 => a < b,
        _ if inner == outer && inner.as_f64().is_none_or(|a| !a.is_nan() && a != 0.0) => {
            return Ok(Some(inner_value));
        }
        _ => return Ok(None),
    };
    if less != is_max {
        return Ok(Some(inner_value));
    }
    let operands: Vec<ValueId> =
        this.operands.iter().map(|&v| if v == inner_value { x } else { v }).collect();
    Ok(Some(cursor.emit1(this.op, &operands, &this.loc)?))
}

/// Whether `to` holds every value of `from`.
fn holds(from: DType, to: DType) -> bool {
    let bits = |d: DType| 8 * d.bytes();
    match (from.is_float(), to.is_float()) {
        _ if from == to => true,
        _ if from == DType::Bool => true,
        _ if to == DType::Bool => false,
        (true, true) => bits(from) < bits(to) && to == to.compute(),
        (true, false) => false,
        (false, true) => bits(from) < if to == DType::F64 { 53 } else { 24 } && to == to.compute(),
        (false, false) => bits(from) < bits(to) && (to.is_signed_int() || from.is_unsigned_int()),
    }
}

pub(super) fn merge_casts(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node).clone();
    let Op::Cast(outer) = &this.op else { return Ok(None) };
    let middle = cursor.module.ty(this.operands[0]).dtype;
    if middle == outer.to {
        return Ok(Some(this.operands[0]));
    }
    let Some((_, inner)) = cursor.module.defined_by::<Cast>(this.operands[0]) else { return Ok(None) };
    let source = inner.operands[0];
    let from = cursor.module.ty(source).dtype;
    let wraps = !from.is_float() && middle.is_float() && outer.to.is_int() && !holds(from, outer.to);
    if !holds(from, middle) || wraps {
        return Ok(None);
    }
    if from == outer.to {
        return Ok(Some(source));
    }
    Ok(Some(cursor.emit1(outer.clone(), &[source], &this.loc)?))
}

pub(super) fn select_known(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node);
    let (Op::Select(_), &[condition, a, b]) = (&this.op, &this.operands[..]) else { return Ok(None) };
    let known = splat(cursor.module, condition);
    Ok(match known {
        _ if a == b => Some(a),
        Some(c) if c == Scalar::bool(true) => Some(a),
        Some(c) if c == Scalar::bool(false) => Some(b),
        _ => None,
    })
}
