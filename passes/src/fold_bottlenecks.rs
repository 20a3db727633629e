//! fold-bottlenecks - makes one contraction of several in a row where that is cheaper.
//!
//! ```nnir
//! nnir 1
//! phase imported
//! symbol s0 "n" 1..=1024 input(0,0)
//! module (%0 "x" : f32[s0,2]) {
//!   %1 = constant {value=f32[2,3]=[1.0:f32,2.0:f32,0.0:f32,0.0:f32,1.0:f32,3.0:f32]} : f32[2,3] loc("a")
//!   %2 = matmul %0, %1 : f32[s0,3] loc("down")
//!   %3 = constant {value=f32[3,2]=[1.0:f32,0.0:f32,0.0:f32,1.0:f32,2.0:f32,2.0:f32]} : f32[3,2] loc("b")
//!   %4 = matmul %2, %3 : f32[s0,2] loc("up")
//!   return %4 "y"
//! }
//! ```
//! becomes
//! ```nnir
//! nnir 1
//! phase imported
//! symbol s0 "n" 1..=1024 input(0,0)
//! module (%0 "x" : f32[s0,2]) {
//!   %1 = constant {value=f32[2,3]=[1.0:f32,2.0:f32,0.0:f32,0.0:f32,1.0:f32,3.0:f32]} : f32[2,3] loc("a")
//!   %2 = matmul %0, %1 : f32[s0,3] loc("down")
//!   %3 = constant {value=f32[3,2]=[1.0:f32,0.0:f32,0.0:f32,1.0:f32,2.0:f32,2.0:f32]} : f32[3,2] loc("b")
//!   %4 = constant {value=f32[2,2]=[1.0:f32,2.0:f32,6.0:f32,7.0:f32]} : f32[2,2] loc("down","up")
//!   %5 = matmul %0, %4 : f32[s0,2] loc("down","up")
//!   return %5 "y"
//! }
//! ```
//!
//! A chain is contractions by constants, each reading only the one before it, with nothing but biases and reshapes in
//! between. Dynamic programming over where to cut it (Godbole, On efficient computation of matrix chain products, IEEE
//! Trans. Computers C-22(9), 1973; products of constants cost nothing when running) finds the cheapest pieces, each of
//! which becomes one contraction whose weight is the product.
//!
//! A bias in between goes through the later contraction. Where that is a convolution that reads padding, it sees zeros
//! there and not the bias: then what it adds depends on the position, and is a constant with spatial axes.
//!
//! Left alone: bottlenecks that are cheaper apart, values with another reader, two convolutions with taps along one axis,
//! a 1x1 convolution that reads padding after one with taps, groups that do not nest, products that are not finite.
//! Rounding: products are associated differently.

mod chain;
mod link;
mod plan;
mod product;

use nnc_ir::{
    Module,
    graph::{NodeId, Provenance, ValueId, merge_locs},
    ops::{Add, Broadcast, ConstantOp, Reshape},
};
use rustc_hash::FxHashMap;

use self::{chain::Placed, link::Link, product::Numbers};
use crate::{
    pass::{Bug, Exactness, PassCx, Rule},
    rewrite::{Action, Cursor, rewrite},
};

const NAME: &str = "fold-bottlenecks";

pub(crate) const RULES: &[&Rule] =
    &[&FOLD_1X1_1X1, &FOLD_1X1_KXK, &FOLD_KXK_1X1, &FOLD_SEPARABLE, &FOLD_ACROSS_GROUPS, &FOLD_MATMUL_CHAIN];

const LINEAR: &str = "convolution is linear and a sum over channels is a matrix product, which is associative; \
    Szegedy et al., Rethinking the Inception Architecture, CVPR 2016, 3, splits in the other direction";

static FOLD_1X1_1X1: Rule = Rule {
    name: "fold-1x1-1x1",
    law: "conv(conv(x, a) + p, b) + q = conv(x, b a) + b p + q for kernels of one tap",
    source: LINEAR,
    exactness: Exactness::Rounding,
};
static FOLD_1X1_KXK: Rule = Rule {
    name: "fold-1x1-kxk",
    law: "conv(conv(x, a) + p, b) + q = conv(x, b a) + conv(p, b) + q for a of one tap, where b reads zeros outside of \
          what a makes and a would too",
    source: LINEAR,
    exactness: Exactness::Rounding,
};
static FOLD_KXK_1X1: Rule = Rule {
    name: "fold-kxk-1x1",
    law: "conv(conv(x, a) + p, b) + q = conv(x, b a) + b p + q for b of one tap that reads no padding",
    source: LINEAR,
    exactness: Exactness::Rounding,
};
static FOLD_SEPARABLE: Rule = Rule {
    name: "fold-separable",
    law: "conv(conv(x, a) + p, b) + q = conv(x, b a) + conv(p, b) + q for taps along different axes",
    source: LINEAR,
    exactness: Exactness::Rounding,
};
static FOLD_ACROSS_GROUPS: Rule = Rule {
    name: "fold-across-groups",
    law: "conv(conv(x, a) + p, b) + q = conv(x, b a) + conv(p, b) + q in the coarser groups, of which the finer ones are \
          blocks on the diagonal",
    source: LINEAR,
    exactness: Exactness::Rounding,
};
static FOLD_MATMUL_CHAIN: Rule = Rule {
    name: "fold-matmul-chain",
    law: "(x a + p) b + q = x (a b) + (p b + q)",
    source: "matrix products are associative and distribute over sums",
    exactness: Exactness::Rounding,
};

/// The rule by which two links are one.
fn rule_of(a: &Link, b: &Link) -> &'static Rule {
    let (Some(first), Some(second)) = (a.groups(), b.groups()) else { return &FOLD_MATMUL_CHAIN };
    match (a.has_taps(), b.has_taps()) {
        _ if first != second => &FOLD_ACROSS_GROUPS,
        (false, false) => &FOLD_1X1_1X1,
        (false, true) => &FOLD_1X1_KXK,
        (true, false) => &FOLD_KXK_1X1,
        (true, true) => &FOLD_SEPARABLE,
    }
}

pub(crate) fn run(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    let mut pieces: FxHashMap<NodeId, Vec<Placed>> = FxHashMap::default();
    for chain in chain::find(module, cx) {
        for piece in plan::cut(module, chain, cx) {
            let exit = piece[piece.len() - 1].exit;
            pieces.insert(exit, piece);
        }
    }
    rewrite(module, NAME, &mut |cursor: &mut Cursor<'_>, node| match pieces.get(&node) {
        Some(piece) => join(cursor, piece, cx),
        None => Ok(Action::Keep),
    })
}

/// Replaces the result of the last link of a piece by that of one contraction; by more than one if fuel ends before.
fn join(cursor: &mut Cursor<'_>, piece: &[Placed], cx: &mut PassCx<'_>) -> Result<Action, Bug> {
    let mut done = (piece[0].link.clone(), piece[0].numbers.clone());
    let mut count = 1;
    for next in &piece[1..] {
        if !cx.has_fuel() {
            break;
        }
        let joined = match product::join((&done.0, &done.1), (&next.link, &next.numbers), cx.consts) {
            Ok(joined) => joined,
            Err(reason) => {
                cx.miss(cursor.module, next.first, reason);
                break;
            }
        };
        cx.fired(rule_of(&done.0, &next.link), &cursor.module.node(next.first).loc);
        done = joined;
        count += 1;
    }
    if count == 1 {
        return Ok(Action::Keep);
    }
    let locs =
        |placed: &[Placed], module: &Module| merge_locs(placed.iter().map(|p| &module.node(p.first).loc));
    // Operands of nodes before this one are up to date.
    let mut value = cursor.module.node(piece[0].first).operands[0];
    let loc = locs(&piece[..count], cursor.module);
    value = emit(cursor, &done.0, &done.1, value, &loc)?;
    for rest in &piece[count..] {
        let loc = locs(std::slice::from_ref(rest), cursor.module);
        value = emit(cursor, &rest.link, &rest.numbers, value, &loc)?;
    }
    let exit = cursor.module.node(piece[piece.len() - 1].exit).results[0];
    let wanted = cursor.module.ty(exit).clone();
    if *cursor.module.ty(value) != wanted {
        value = cursor.emit1(Reshape { shape: wanted.shape }, &[value], &loc)?;
    }
    Ok(Action::Replace(vec![value]))
}

/// Nodes for a link: the contraction and what it adds.
fn emit(
    cursor: &mut Cursor<'_>,
    link: &Link,
    numbers: &Numbers,
    input: ValueId,
    loc: &Provenance,
) -> Result<ValueId, Bug> {
    let weight = cursor.emit1(ConstantOp { value: numbers.weight.clone() }, &[], loc)?;
    let value = cursor.emit1(link.op.clone(), &[input, weight], loc)?;
    let Some(bias) = &numbers.bias else { return Ok(value) };
    let shape = cursor.module.ty(value).shape.clone();
    let bias = cursor.emit1(ConstantOp { value: product::aligned(link, bias) }, &[], loc)?;
    let bias = cursor.emit1(Broadcast { shape }, &[bias], loc)?;
    cursor.emit1(Add {}, &[value, bias], loc)
}
