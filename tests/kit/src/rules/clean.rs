//! clean - left sides for the passes that compute, share and remove nodes.

use nnc_ir::{
    dtype::DType,
    extent::{Extent, Symbol, SymbolOrigin},
    graph::{Constraint, ConstraintKind, ValueId, loc},
    ops::{Add, Broadcast, Cast, Exp, Extents, Mul, ReadExtents, Relu, Slice, Transpose},
};

use super::Row;
use crate::draft::Draft;

pub(super) const ELIMINATE_COMMON: &[Row] = &[("keep-one", twice)];
pub(super) const ELIMINATE_DEAD: &[Row] = &[("remove-unread", unread)];
pub(super) const FOLD_CONSTANTS: &[Row] = &[("fold", constants)];
pub(super) const SIMPLIFY_SHAPES: &[Row] =
    &[("known-symbol", known_symbol), ("known-order", known_order), ("known-extents", known_extents)];
pub(super) const WIDEN_HALF: &[Row] = &[("widen", half)];

fn pointwise(d: &mut Draft, x: ValueId) -> ValueId {
    match d.rng.below(3) {
        0 => d.node(Relu {}, &[x]),
        1 => d.node(Exp {}, &[x]),
        _ => d.node(Mul {}, &[x, x]),
    }
}

fn twice(d: &mut Draft) {
    let dims = d.any_shape(1, 3);
    let x = d.input(&dims);
    let perm = d.permutation(dims.len());
    let a = d.node(Transpose { perm: perm.clone() }, &[x]);
    let b = d.node(Transpose { perm }, &[x]);
    let (a, b) = (d.node(Relu {}, &[a]), d.node(Relu {}, &[b]));
    let y = d.node(Add {}, &[a, b]);
    d.maybe_output(b);
    d.output(y);
}

fn unread(d: &mut Draft) {
    let dims = d.any_shape(1, 3);
    let x = d.input(&dims);
    let y = pointwise(d, x);
    for _ in 0..1 + d.rng.below(3) {
        let z = pointwise(d, y);
        d.maybe_output(z);
    }
    d.output(y);
}

fn constants(d: &mut Draft) {
    let dims = d.any_shape(1, 3);
    let (x, a, b) = (d.input(&dims), d.weight(&dims), d.weight(&dims));
    let a = pointwise(d, a);
    let sum = d.node(Add {}, &[a, b]);
    let y = d.node(Mul {}, &[x, sum]);
    d.output(y);
}

fn symbol(d: &mut Draft) -> Extent {
    let (min, max, origin) = (0, 16, SymbolOrigin::Data);
    let id = d.module.symbols.push(Symbol { name: "n".into(), min, max, origin, bound: None });
    Extent::symbol(id)
}

fn known_symbol(d: &mut Draft) {
    let x = d.input(&[1]);
    let n = Extent::Const(d.extent());
    let known = d.node(Extents { values: vec![n] }, &[]);
    let unknown = symbol(d);
    let mut symbols = Vec::new();
    unknown.for_each_symbol(&mut |s| symbols.push(s));
    d.nodes(ReadExtents { symbols }, &[known]);
    let y = d.node(Broadcast { shape: vec![unknown] }, &[x]);
    let y = pointwise(d, y);
    d.output(y);
}

/// The first extent of an input is a symbol, which something greater or less bounds needlessly, or by a constraint.
fn known_order(d: &mut Draft) {
    let n = d.extent();
    let x = d.input(&[n, 2]);
    let (min, max, origin) = (0, 16, SymbolOrigin::Input { input: 0, axis: 0 });
    let id = d.module.symbols.push(Symbol { name: "n".into(), min, max, origin, bound: None });
    let mut ty = d.module.ty(x).clone();
    ty.shape[0] = Extent::symbol(id);
    d.module.set_ty(x, ty);
    let all = Extent::symbol(id);
    let cut = match d.rng.below(4) {
        0 => all.min_with(&Extent::Const(16)),
        1 => all.max_with(&Extent::Const(0)),
        2 => all.scale(2).min_with(&all),
        _ => {
            let cut = all.min_with(&Extent::Const(n));
            let kind = if d.rng.chance(50) {
                ConstraintKind::Equal(cut.clone(), all)
            } else {
                ConstraintKind::AtMost(all, n.into())
            };
            d.module.constraints.push(Constraint { kind, loc: loc("cut") });
            cut
        }
    };
    let (starts, steps) = (vec![Extent::ZERO; 2], vec![1; 2]);
    let y = d.node(Slice { starts, steps, shape: vec![cut, 2.into()] }, &[x]);
    let z = pointwise(d, y);
    d.maybe_output(y);
    d.output(z);
}

fn known_extents(d: &mut Draft) {
    let values = d.any_shape(1, 4).into_iter().map(Extent::Const).collect();
    let y = d.node(Extents { values }, &[]);
    let z = d.node(Add {}, &[y, y]);
    d.maybe_output(y);
    d.output(z);
}

fn half(d: &mut Draft) {
    d.dtype = *d.rng.pick(&[DType::F16, DType::BF16]);
    let dims = d.any_shape(1, 3);
    let (x, w) = (d.input(&dims), d.weight(&dims));
    let y = d.node(Mul {}, &[x, w]);
    let z = d.node(Relu {}, &[y]);
    let z = if d.rng.chance(50) { d.node(Cast { to: DType::F32 }, &[z]) } else { z };
    d.output(z);
}
