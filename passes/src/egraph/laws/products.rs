//! products - laws of matrix products: association order, and sums of products.

use egg::Id;
use nnc_ir::ops::{Add, MatMul, Op, OpKind, Sub};

use super::super::site::{At, Law, Site};
use crate::pass::{Exactness, Rule};

pub(super) const LAWS: &[Law] = &[
    Law { rule: &GROUP_TO_THE_RIGHT, at: At::Kinds(&[OpKind::MatMul]), apply: group_to_the_right },
    Law { rule: &GROUP_TO_THE_LEFT, at: At::Kinds(&[OpKind::MatMul]), apply: group_to_the_left },
    Law { rule: &SPLIT_PRODUCT, at: At::Kinds(&[OpKind::MatMul]), apply: split_product },
    Law { rule: &GATHER_PRODUCTS, at: At::Kinds(&[OpKind::Add, OpKind::Sub]), apply: gather_products },
];

pub(super) static GROUP_TO_THE_RIGHT: Rule = Rule {
    name: "group-to-the-right",
    law: "(A B) C = A (B C)",
    source: "Cormen, Leiserson, Rivest, Stein, Introduction to Algorithms, 15.2: matrix-chain multiplication",
    exactness: Exactness::Rounding,
};
pub(super) static GROUP_TO_THE_LEFT: Rule = Rule {
    name: "group-to-the-left",
    law: "A (B C) = (A B) C",
    source: "Cormen, Leiserson, Rivest, Stein, Introduction to Algorithms, 15.2: matrix-chain multiplication",
    exactness: Exactness::Rounding,
};
pub(super) static SPLIT_PRODUCT: Rule = Rule {
    name: "split-product",
    law: "(A + B) C = A C + B C, A (B + C) = A B + A C, where a summand is a product or repeats elements; - alike",
    source: "the product is linear in both factors",
    exactness: Exactness::Rounding,
};
pub(super) static GATHER_PRODUCTS: Rule = Rule {
    name: "gather-products",
    law: "A B + A C = A (B + C), A C + B C = (A + B) C; - alike",
    source: "the product is linear in both factors",
    exactness: Exactness::Rounding,
};

fn group_to_the_right(site: &mut Site<'_>) -> Option<()> {
    let c = site.operand(1);
    for left in site.forms(site.operand(0), OpKind::MatMul) {
        let right = site.make(MatMul {}, &[left.operands[1], c]);
        let whole = right.and_then(|right| site.make(MatMul {}, &[left.operands[0], right]));
        whole.and_then(|whole| site.equals(whole, &[&left]));
    }
    Some(())
}

fn group_to_the_left(site: &mut Site<'_>) -> Option<()> {
    let a = site.operand(0);
    for right in site.forms(site.operand(1), OpKind::MatMul) {
        let left = site.make(MatMul {}, &[a, right.operands[0]]);
        let whole = left.and_then(|left| site.make(MatMul {}, &[left, right.operands[1]]));
        whole.and_then(|whole| site.equals(whole, &[&right]));
    }
    Some(())
}

fn split_product(site: &mut Site<'_>) -> Option<()> {
    for side in [0, 1] {
        for kind in [OpKind::Add, OpKind::Sub] {
            for sum in site.forms(site.operand(side), kind) {
                let simple = |id: Id| {
                    site.is_constant(id)
                        || [OpKind::MatMul, OpKind::Broadcast]
                            .into_iter()
                            .any(|kind| !site.forms(id, kind).is_empty())
                };
                if !sum.operands.iter().any(|&id| simple(id)) {
                    continue;
                }
                let mut parts = Vec::new();
                for &summand in &sum.operands {
                    let mut operands = site.here.operands.clone();
                    operands[side] = summand;
                    parts.push(site.make(MatMul {}, &operands)?);
                }
                let op = site.graph.op(sum.op).clone();
                let whole = site.make(op, &parts)?;
                site.equals(whole, &[&sum]);
            }
        }
    }
    Some(())
}

fn gather_products(site: &mut Site<'_>) -> Option<()> {
    let join: Op = if site.op().kind() == OpKind::Add { Add {}.into() } else { Sub {}.into() };
    for x in site.forms(site.operand(0), OpKind::MatMul) {
        for y in site.forms(site.operand(1), OpKind::MatMul) {
            for common in [0, 1] {
                if !site.is_same(x.operands[common], y.operands[common]) {
                    continue;
                }
                let other = 1 - common;
                let sum = site.make(join.clone(), &[x.operands[other], y.operands[other]])?;
                let mut operands = x.operands.clone();
                operands[other] = sum;
                let whole = site.make(MatMul {}, &operands)?;
                site.equals(whole, &[&x, &y]);
            }
        }
    }
    Some(())
}
