//! clean - left sides for the passes that compute, share and remove nodes.

use nnc_ir::{
    dtype::DType,
    extent::{Extent, Symbol, SymbolOrigin},
    graph::ValueId,
    ops::{Add, Broadcast, Cast, Exp, Extents, Mul, ReadExtents, Relu, Transpose},
};

use super::{Row, draft::Draft};

pub(super) const ELIMINATE_COMMON: &[Row] = &[("keep-one", twice)];
pub(super) const ELIMINATE_DEAD: &[Row] = &[("remove-unread", unread)];
pub(super) const FOLD_CONSTANTS: &[Row] = &[("fold", constants)];
pub(super) const SIMPLIFY_SHAPES: &[Row] =
    &[("known-symbol", known_symbol), ("known-extents", known_extents)];
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
