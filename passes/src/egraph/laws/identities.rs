//! identities - laws of arithmetic on elements that hold bit for bit.

use nnc_ir::{
    dtype::Scalar,
    ops::{Abs, Add, Mul, OpKind, Sub},
};

use super::super::site::{At, Law, Site};
use crate::pass::{Exactness, Rule};

pub(super) const LAWS: &[Law] = &[
    Law { rule: &ADD_TO_ITSELF, at: At::Kinds(&[OpKind::Add]), apply: add_to_itself },
    Law { rule: &CANCEL_NEGATIONS, at: At::Kinds(&[OpKind::Neg]), apply: cancel_negations },
    Law { rule: &SUBTRACT_NEGATED, at: At::Kinds(&[OpKind::Sub]), apply: subtract_negated },
    Law { rule: &ADD_NEGATED, at: At::Kinds(&[OpKind::Add]), apply: add_negated },
    Law { rule: &MULTIPLY_NEGATED, at: At::Kinds(&[OpKind::Mul]), apply: multiply_negated },
    Law { rule: &ABS_OF_NEGATED, at: At::Kinds(&[OpKind::Abs]), apply: abs_of_negated },
    Law { rule: &RELU_OF_RELU, at: At::Kinds(&[OpKind::Relu]), apply: relu_of_relu },
    Law { rule: &GREATEST_OF_SAME, at: At::Kinds(&[OpKind::Max, OpKind::Min]), apply: greatest_of_same },
    Law { rule: &JOIN_BOUNDS, at: At::Kinds(&[OpKind::Max, OpKind::Min]), apply: join_bounds },
];

pub(super) static ADD_TO_ITSELF: Rule = Rule {
    name: "add-to-itself",
    law: "x + x = x * 2",
    source: "IEEE 754-2019, 4.3: both round 2x, once; integers wrap alike",
    exactness: Exactness::Exact,
};
pub(super) static CANCEL_NEGATIONS: Rule = Rule {
    name: "cancel-negations",
    law: "-(-x) = x",
    source: "IEEE 754-2019, 5.5.1: negate flips the sign bit",
    exactness: Exactness::Exact,
};
pub(super) static SUBTRACT_NEGATED: Rule = Rule {
    name: "subtract-negated",
    law: "x - (-y) = x + y",
    source: "IEEE 754-2019, 5.4.1: x - y is x + (-y), signed zeros included",
    exactness: Exactness::Exact,
};
pub(super) static ADD_NEGATED: Rule = Rule {
    name: "add-negated",
    law: "x + (-y) = x - y, either way round",
    source: "IEEE 754-2019, 5.4.1: x - y is x + (-y), signed zeros included",
    exactness: Exactness::Exact,
};
pub(super) static MULTIPLY_NEGATED: Rule = Rule {
    name: "multiply-negated",
    law: "(-x) * (-y) = x * y",
    source: "IEEE 754-2019, 6.3: the sign of a product is the exclusive or of its factors'",
    exactness: Exactness::Exact,
};
pub(super) static ABS_OF_NEGATED: Rule = Rule {
    name: "abs-of-negated",
    law: "|-x| = |x|, ||x|| = |x|",
    source: "IEEE 754-2019, 5.5.1: abs clears the sign bit",
    exactness: Exactness::Exact,
};
pub(super) static RELU_OF_RELU: Rule = Rule {
    name: "relu-of-relu",
    law: "relu(relu(x)) = relu(x)",
    source: "docs/numerics.md: what is not negative, minus zero and NaN included, relu keeps",
    exactness: Exactness::Exact,
};
pub(super) static GREATEST_OF_SAME: Rule = Rule {
    name: "greatest-of-same",
    law: "max(x, x) = min(x, x) = x",
    source: "docs/numerics.md: of two zeros the second, NaN where either is",
    exactness: Exactness::Exact,
};
pub(super) static JOIN_BOUNDS: Rule = Rule {
    name: "join-bounds",
    law: "max(max(x, c), d) = max(x, max(c, d)), max(c, max(d, x)) = max(max(c, d), x), c and d constants; min alike",
    source: "max is the last of the greatest elements, so it is associative; the order stays",
    exactness: Exactness::Exact,
};

fn add_to_itself(site: &mut Site<'_>) -> Option<()> {
    let (x, y) = (site.operand(0), site.operand(1));
    if !site.is_same(x, y) {
        return None;
    }
    let ty = site.result();
    let two = Scalar::int(ty.dtype.compute(), 2);
    let two = site.number(two, &ty)?;
    let double = site.make(Mul {}, &[x, two])?;
    site.equals(double, &[])
}

fn cancel_negations(site: &mut Site<'_>) -> Option<()> {
    for inner in site.forms(site.operand(0), OpKind::Neg) {
        site.equals(inner.operands[0], &[&inner]);
    }
    Some(())
}

fn subtract_negated(site: &mut Site<'_>) -> Option<()> {
    for y in site.forms(site.operand(1), OpKind::Neg) {
        let sum = site.make(Add {}, &[site.operand(0), y.operands[0]])?;
        site.equals(sum, &[&y]);
    }
    Some(())
}

fn add_negated(site: &mut Site<'_>) -> Option<()> {
    for (x, y) in site.either_way() {
        for y in site.forms(y, OpKind::Neg) {
            let difference = site.make(Sub {}, &[x, y.operands[0]])?;
            site.equals(difference, &[&y]);
        }
    }
    Some(())
}

fn multiply_negated(site: &mut Site<'_>) -> Option<()> {
    for x in site.forms(site.operand(0), OpKind::Neg) {
        for y in site.forms(site.operand(1), OpKind::Neg) {
            let product = site.make(Mul {}, &[x.operands[0], y.operands[0]])?;
            site.equals(product, &[&x, &y]);
        }
    }
    Some(())
}

fn abs_of_negated(site: &mut Site<'_>) -> Option<()> {
    for kind in [OpKind::Neg, OpKind::Abs] {
        for inner in site.forms(site.operand(0), kind) {
            let abs = site.make(Abs {}, &[inner.operands[0]])?;
            site.equals(abs, &[&inner]);
        }
    }
    Some(())
}

fn relu_of_relu(site: &mut Site<'_>) -> Option<()> {
    let inner = site.forms(site.operand(0), OpKind::Relu);
    let inner = inner.first()?;
    site.equals(site.operand(0), &[inner])
}

fn greatest_of_same(site: &mut Site<'_>) -> Option<()> {
    let (x, y) = (site.operand(0), site.operand(1));
    if site.is_same(x, y) { site.equals(x, &[]) } else { None }
}

fn join_bounds(site: &mut Site<'_>) -> Option<()> {
    let op = site.op();
    let (a, b) = (site.operand(0), site.operand(1));
    if site.is_fixed(b) {
        for inner in site.forms(a, op.kind()) {
            if site.is_fixed(inner.operands[1]) && !site.is_fixed(inner.operands[0]) {
                let bound = site.make(op.clone(), &[inner.operands[1], b])?;
                let joined = site.make(op.clone(), &[inner.operands[0], bound])?;
                site.equals(joined, &[&inner]);
            }
        }
    }
    if site.is_fixed(a) {
        for inner in site.forms(b, op.kind()) {
            if site.is_fixed(inner.operands[0]) && !site.is_fixed(inner.operands[1]) {
                let bound = site.make(op.clone(), &[a, inner.operands[0]])?;
                let joined = site.make(op.clone(), &[bound, inner.operands[1]])?;
                site.equals(joined, &[&inner]);
            }
        }
    }
    Some(())
}
