//! dynamic - operations of the runtime's allowlist; data decide how long some results are.

use nnc_ir::{
    dtype::{DType, Scalar},
    extent::{Extent, Symbol, SymbolOrigin},
    ops,
};

use super::state::{Gen, Val};

pub(super) fn step(g: &mut Gen) {
    if g.depth > 0 {
        return;
    }
    match g.rng.below(4) {
        0..=1 => top_k(g),
        2 => non_zero(g),
        _ => extents(g),
    };
}

fn top_k(g: &mut Gen) -> Option<Val> {
    let v = g.choose(|g, v| g.rank(v) >= 1 && g.dtype(v) != DType::Bool)?;
    let shape = g.shape(v);
    let axis = g.rng.below(shape.len());
    let least = g.least(&shape[axis]).min(5);
    let k = g.rng.range(0, least);
    let count = g.constant_of(DType::I64, &[1], &[Scalar::i64(k)]);
    let (largest, sorted) = (g.rng.chance(70), true);
    let op = ops::TopK { axis, largest, sorted, k: Extent::Const(k) };
    let most = g.most(&shape[axis]) as f64;
    Some(g.add_results(op, &[v, count], &[], v.mag.max(most))[0])
}

/// Where a value is not zero; the number of places is a symbol, and a result is never read but as an output.
fn non_zero(g: &mut Gen) -> Option<Val> {
    let v = g.choose(|g, v| g.rank(v) >= 1)?;
    let bound = Some(nnc_ir::extent::product(&g.shape(v)));
    let symbol = Symbol { name: "found".into(), min: 0, max: 1 << 20, origin: SymbolOrigin::Data, bound };
    let count = Extent::symbol(g.module.symbols.push(symbol));
    let places = g.add(ops::NonZero { count }, &[v], 65.0);
    g.live.retain(|v| v.id != places.id);
    let total = g.add(ops::Reduce { kind: ops::ReduceKind::Sum, axes: vec![1], keep: false }, &[places], 1e6);
    Some(total)
}

/// The extents of a value as a vector.
fn extents(g: &mut Gen) -> Option<Val> {
    let v = g.choose(|g, v| g.rank(v) >= 1)?;
    let values = g.shape(v);
    Some(g.add(ops::Extents { values }, &[], super::state::MAX_ELEMENTS as f64))
}
