//! scales - laws by which constant factors and offsets move and join.

use egg::Id;
use nnc_ir::{
    dtype::{DType, Scalar},
    extent::Extent,
    ops::{Add, Concat, Conv, MatMul, Mul, Op, OpKind},
};

use super::super::site::{At, Law, Seen, Site};
use crate::pass::{Exactness, Rule};

pub(super) const LAWS: &[Law] = &[
    Law { rule: &JOIN_FACTORS, at: At::Kinds(&[OpKind::Mul]), apply: join_factors },
    Law { rule: &JOIN_OFFSETS, at: At::Kinds(&[OpKind::Add]), apply: join_offsets },
    Law { rule: &DIVIDE_BY_FACTOR, at: At::Kinds(&[OpKind::Div]), apply: divide_by_factor },
    Law { rule: &FACTOR_OUT_OF_MATMUL, at: At::Kinds(&[OpKind::MatMul]), apply: factor_out_of_matmul },
    Law { rule: &FACTOR_INTO_MATMUL, at: At::Kinds(&[OpKind::Mul]), apply: factor_into_matmul },
    Law { rule: &FACTOR_INTO_CONV, at: At::Kinds(&[OpKind::Mul]), apply: factor_into_conv },
    Law { rule: &FACTOR_THROUGH_CONV, at: At::Kinds(&[OpKind::Conv]), apply: factor_through_conv },
    Law { rule: &FACTOR_OUT_OF_SUM, at: At::Kinds(&[OpKind::Add, OpKind::Sub]), apply: factor_out_of_sum },
    Law { rule: &FACTOR_INTO_SUM, at: At::Kinds(&[OpKind::Mul]), apply: factor_into_sum },
    Law { rule: &FACTOR_OUT_OF_CONCAT, at: At::Kinds(&[OpKind::Concat]), apply: factor_out_of_concat },
];

const LINEAR: &str = "the product is linear in both factors";

pub(super) static JOIN_FACTORS: Rule = Rule {
    name: "join-factors",
    law: "(x * c) * d = x * (c * d), c and d constants",
    source: "associativity of the product, but for rounding; a joint factor must be finite",
    exactness: Exactness::Rounding,
};
pub(super) static JOIN_OFFSETS: Rule = Rule {
    name: "join-offsets",
    law: "(x + c) + d = x + (c + d), c and d constants",
    source: "associativity of the sum, but for rounding; a joint offset must be finite",
    exactness: Exactness::Rounding,
};
pub(super) static DIVIDE_BY_FACTOR: Rule = Rule {
    name: "divide-by-factor",
    law: "x / c = x * (1 / c), c one number, it and 1 / c of magnitude 2^-64 to 2^64",
    source: "Muller et al., Handbook of Floating-Point Arithmetic, 4.7: two roundings for one",
    exactness: Exactness::Rounding,
};
pub(super) static FACTOR_OUT_OF_MATMUL: Rule = Rule {
    name: "factor-out-of-matmul",
    law: "(A * c) B = (A B) * c, A (B * c) = (A B) * c, c constant along the axis of the sum",
    source: LINEAR,
    exactness: Exactness::Rounding,
};
pub(super) static FACTOR_INTO_MATMUL: Rule = Rule {
    name: "factor-into-matmul",
    law: "(A B) * c = (A * c) B where c is one number or one for each row, = A (B * c) where one number or one for each column",
    source: LINEAR,
    exactness: Exactness::Rounding,
};
pub(super) static FACTOR_INTO_CONV: Rule = Rule {
    name: "factor-into-conv",
    law: "conv(x, W) * c = conv(x, W * c), c one number",
    source: LINEAR,
    exactness: Exactness::Rounding,
};
pub(super) static FACTOR_THROUGH_CONV: Rule = Rule {
    name: "factor-through-conv",
    law: "conv(x * c, W) = conv(x, W * c), c one number",
    source: LINEAR,
    exactness: Exactness::Rounding,
};
pub(super) static FACTOR_OUT_OF_SUM: Rule = Rule {
    name: "factor-out-of-sum",
    law: "x * c + y * c = (x + y) * c, - alike",
    source: "distributivity, but for rounding",
    exactness: Exactness::Rounding,
};
pub(super) static FACTOR_INTO_SUM: Rule = Rule {
    name: "factor-into-sum",
    law: "(x + d) * c = x * c + d * c, c and d constants, - alike",
    source: "distributivity, but for rounding",
    exactness: Exactness::Rounding,
};
pub(super) static FACTOR_OUT_OF_CONCAT: Rule = Rule {
    name: "factor-out-of-concat",
    law: "concat(x * c, y * c) = concat(x, y) * c, c one number",
    source: "each element is multiplied alike",
    exactness: Exactness::Exact,
};

/// `x op c` among the forms of `id`, with `c` fixed and `x` not: `(x, c)` and the form.
fn with_fixed(site: &Site<'_>, id: Id, kind: OpKind) -> Vec<(Id, Id, Seen)> {
    let mut found = Vec::new();
    for form in site.forms(id, kind) {
        let (a, b) = (form.operands[0], form.operands[1]);
        for (x, c) in [(a, b), (b, a)] {
            if site.is_fixed(c) && !site.is_fixed(x) {
                found.push((x, c, form.clone()));
            }
        }
    }
    found
}

/// The one number that all elements are, if it is finite: infinities are no linear factors.
fn finite(site: &Site<'_>, id: Id) -> Option<Scalar> {
    site.splat(id).filter(|x| x.as_f64().is_none_or(f64::is_finite))
}

fn associate(site: &mut Site<'_>, op: &Op) -> Option<()> {
    for (inner, d) in site.either_way() {
        if !site.is_fixed(d) {
            continue;
        }
        for (x, c, form) in with_fixed(site, inner, op.kind()) {
            let joint = site.make(op.clone(), &[c, d])?;
            let whole = site.make(op.clone(), &[x, joint])?;
            site.equals(whole, &[&form]);
        }
    }
    Some(())
}

fn join_factors(site: &mut Site<'_>) -> Option<()> {
    associate(site, &Mul {}.into())
}

fn join_offsets(site: &mut Site<'_>) -> Option<()> {
    associate(site, &Add {}.into())
}

fn divide_by_factor(site: &mut Site<'_>) -> Option<()> {
    let ty = site.result();
    let c = finite(site, site.operand(1))?;
    let is_plain = |x: f64| (-64.0..=64.0).contains(&x.abs().log2());
    let reciprocal = match c.dtype {
        DType::F32 => Scalar::f32(1.0 / c.to_f32()),
        DType::F64 => Scalar::f64(1.0 / c.as_f64()?),
        _ => return None,
    };
    if !ty.dtype.is_float() || matches!(ty.dtype, DType::F16 | DType::BF16) || !is_plain(c.as_f64()?) {
        return None;
    }
    let factor = site.number(reciprocal, &ty)?;
    let whole = site.make(Mul {}, &[site.operand(0), factor])?;
    site.equals(whole, &[])
}

/// A factor as it repeats: one number, or what a broadcast repeats with leading axes of extent 1.
enum Factor {
    Number(Scalar),
    Repeated(Id, Vec<Extent>),
}

fn factors(site: &mut Site<'_>, c: Id, rank: usize) -> Vec<(Factor, Option<Seen>)> {
    if let Some(number) = finite(site, c) {
        return vec![(Factor::Number(number), None)];
    }
    let mut found = Vec::new();
    for form in site.forms(c, OpKind::Broadcast) {
        if let Some(aligned) = site.aligned(form.operands[0], rank) {
            found.push((Factor::Repeated(form.operands[0], aligned), Some(form)));
        }
    }
    found
}

/// The factor spread over a tensor of another shape, whose axis `free` it may differ along.
fn respread(site: &mut Site<'_>, factor: &Factor, to: Id, free: usize) -> Option<Id> {
    let ty = site.ty(to);
    match factor {
        Factor::Number(number) => site.number(*number, &ty),
        Factor::Repeated(source, aligned) => {
            let fits =
                aligned.iter().enumerate().all(|(axis, e)| e.is(1) || (axis == free && *e == ty.shape[axis]));
            if !fits {
                return None;
            }
            let source = site.view(*source, aligned)?;
            site.spread(source, &ty.shape)
        }
    }
}

fn factor_out_of_matmul(site: &mut Site<'_>) -> Option<()> {
    let rank = site.result().rank();
    for side in [0, 1] {
        // A factor of the left side may differ from row to row, one of the right side from column to column.
        let free = rank - 2 + side;
        for (x, c, form) in with_fixed_factor(site, site.operand(side)) {
            for (factor, repeat) in factors(site, c, rank) {
                let mut operands = site.here.operands.clone();
                operands[side] = x;
                let Some(product) = site.make(MatMul {}, &operands) else { continue };
                let Some(factor) = respread(site, &factor, product, free) else { continue };
                let whole = site.make(Mul {}, &[product, factor])?;
                let seen = [Some(&form), repeat.as_ref()];
                site.equals(whole, &seen.into_iter().flatten().collect::<Vec<_>>());
            }
        }
    }
    Some(())
}

/// `x * c` with `c` fixed; both may be.
fn with_fixed_factor(site: &Site<'_>, id: Id) -> Vec<(Id, Id, Seen)> {
    let mut found = Vec::new();
    for form in site.forms(id, OpKind::Mul) {
        let (a, b) = (form.operands[0], form.operands[1]);
        for (x, c) in [(a, b), (b, a)] {
            if site.is_fixed(c) {
                found.push((x, c, form.clone()));
            }
        }
    }
    found
}

fn factor_into_matmul(site: &mut Site<'_>) -> Option<()> {
    let rank = site.result().rank();
    for (product, c) in site.either_way() {
        if !site.is_fixed(c) {
            continue;
        }
        for form in site.forms(product, OpKind::MatMul) {
            for (factor, repeat) in factors(site, c, rank) {
                for side in [0, 1] {
                    let operand = form.operands[side];
                    let Some(c) = respread(site, &factor, operand, rank - 2 + side) else { continue };
                    let scaled = site.make(Mul {}, &[operand, c])?;
                    let mut operands = form.operands.clone();
                    operands[side] = scaled;
                    let whole = site.make(MatMul {}, &operands)?;
                    let seen = [Some(&form), repeat.as_ref()];
                    site.equals(whole, &seen.into_iter().flatten().collect::<Vec<_>>());
                }
            }
        }
    }
    Some(())
}

fn factor_into_conv(site: &mut Site<'_>) -> Option<()> {
    for (product, c) in site.either_way() {
        let Some(number) = finite(site, c) else { continue };
        for (conv, form) in site.forms_of::<Conv>(product, OpKind::Conv) {
            let whole = scaled_conv(site, conv, form.operands[0], form.operands[1], number)?;
            site.equals(whole, &[&form]);
        }
    }
    Some(())
}

fn factor_through_conv(site: &mut Site<'_>) -> Option<()> {
    let Op::Conv(conv) = site.op() else { return None };
    for (x, c, form) in with_fixed(site, site.operand(0), OpKind::Mul) {
        let Some(number) = finite(site, c) else { continue };
        let whole = scaled_conv(site, conv.clone(), x, site.operand(1), number)?;
        site.equals(whole, &[&form]);
    }
    Some(())
}

fn scaled_conv(site: &mut Site<'_>, conv: Conv, x: Id, weight: Id, number: Scalar) -> Option<Id> {
    let ty = site.ty(weight);
    let factor = site.number(number, &ty)?;
    let weight = site.make(Mul {}, &[weight, factor])?;
    site.make(conv, &[x, weight])
}

fn factor_out_of_sum(site: &mut Site<'_>) -> Option<()> {
    let op = site.op();
    for x in site.forms(site.operand(0), OpKind::Mul) {
        for y in site.forms(site.operand(1), OpKind::Mul) {
            for (i, j) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let c = x.operands[i];
                if site.is_same(c, y.operands[j]) {
                    let sum = site.make(op.clone(), &[x.operands[1 - i], y.operands[1 - j]])?;
                    let whole = site.make(Mul {}, &[sum, c])?;
                    site.equals(whole, &[&x, &y]);
                }
            }
        }
    }
    Some(())
}

fn factor_into_sum(site: &mut Site<'_>) -> Option<()> {
    for (sum, c) in site.either_way() {
        if !site.is_fixed(c) {
            continue;
        }
        for kind in [OpKind::Add, OpKind::Sub] {
            for form in site.forms(sum, kind) {
                let one = form.operands.iter().filter(|&&id| site.is_fixed(id)).count() == 1;
                if !one {
                    continue;
                }
                let parts: Vec<Id> =
                    form.operands.iter().map(|&id| site.make(Mul {}, &[id, c])).collect::<Option<_>>()?;
                let op = site.graph.op(form.op).clone();
                let whole = site.make(op, &parts)?;
                site.equals(whole, &[&form]);
            }
        }
    }
    Some(())
}

fn factor_out_of_concat(site: &mut Site<'_>) -> Option<()> {
    let Op::Concat(Concat { axis }) = site.op() else { return None };
    let operands = site.here.operands.clone();
    let first = with_fixed_factor(site, operands[0]);
    for (_, c, _) in first {
        let Some(number) = finite(site, c) else { continue };
        let (mut sources, mut seen) = (Vec::new(), Vec::new());
        for &id in &operands {
            let forms = with_fixed_factor(site, id).into_iter();
            let Some((x, _, form)) = forms.into_iter().find(|(_, c, _)| finite(site, *c) == Some(number))
            else {
                break;
            };
            sources.push(x);
            seen.push(form);
        }
        if sources.len() == operands.len() {
            let joined = site.make(Concat { axis }, &sources)?;
            let ty = site.result();
            let factor = site.number(number, &ty)?;
            let whole = site.make(Mul {}, &[joined, factor])?;
            site.equals(whole, &seen.iter().collect::<Vec<_>>());
        }
    }
    Some(())
}
