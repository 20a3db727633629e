//! control - regions: a branch, a loop, a recurrence, each with a small body of random operations.

use nnc_ir::{
    dtype::{DType, Scalar},
    entity::EntityId,
    extent::{Extent, Symbol, SymbolOrigin},
    graph::{RegionId, ValueId},
    ops,
};

use super::{
    movement, pointwise, reduction,
    state::{Gen, Val},
};

/// A magnitude that stays the same however often a body runs: bodies end in a bounded function.
const CARRIED: f64 = 3.0;

pub(super) fn step(g: &mut Gen) {
    if g.depth >= 2 {
        return;
    }
    match g.rng.below(3) {
        0 => branch(g),
        1 => repeat(g),
        _ => recur(g),
    };
}

/// Builds a region: parameters of the types of `params`, then what `body` adds, which gives the results.
fn region(
    g: &mut Gen,
    params: &[(nnc_ir::types::TensorType, f64)],
    body: impl FnOnce(&mut Gen, &[Val]) -> Vec<Val>,
) -> RegionId {
    let region = g.module.add_region();
    let values: Vec<Val> = params
        .iter()
        .map(|(ty, mag)| Val { id: g.module.add_param(region, ty.clone()), mag: *mag })
        .collect();
    let outer = (std::mem::replace(&mut g.region, region), std::mem::replace(&mut g.live, values.clone()));
    g.depth += 1;
    let results = body(g, &values);
    g.depth -= 1;
    (g.region, g.live) = outer;
    let ids: Vec<ValueId> = results.iter().map(|v| v.id).collect();
    g.module.set_results(region, ids);
    region
}

/// A few operations.
fn some(g: &mut Gen) {
    for _ in 0..1 + g.rng.below(4) {
        match g.rng.below(10) {
            0..=5 => pointwise::step(g),
            6..=7 => movement::step(g),
            8 => reduction::step(g),
            _ => step(g),
        }
    }
}

/// `v` clamped to the magnitude of carried values.
fn clamped(g: &mut Gen, v: Val) -> Val {
    let (low, high) = (g.number(v, -CARRIED), g.number(v, CARRIED));
    let v = g.add(ops::Max {}, &[v, low], v.mag);
    g.add(ops::Min {}, &[v, high], CARRIED)
}

/// A condition that data decide.
fn condition(g: &mut Gen) -> Option<Val> {
    let v = g.choose(|g, v| g.rank(v) >= 1 && g.dtype(v) == DType::F32)?;
    let axes = (0..g.rank(v)).collect();
    let shape = g.shape(v);
    if shape.iter().any(|e| g.least(e) < 1) {
        return None;
    }
    let greatest = g.add(ops::Reduce { kind: ops::ReduceKind::Max, axes, keep: false }, &[v], v.mag);
    let limit = g.number(greatest, 1.5);
    Some(g.add(ops::Less {}, &[greatest, limit], 1.0))
}

fn branch(g: &mut Gen) -> Option<Val> {
    let condition = condition(g)?;
    let v = g.choose(|g, v| g.dtype(v) == DType::F32)?;
    let params = [(g.ty(v), v.mag)];
    let then = region(g, &params, |g, p| {
        some(g);
        let factor = g.number(p[0], 0.5);
        vec![g.add(ops::Mul {}, &[p[0], factor], p[0].mag)]
    });
    let other = region(g, &params, |g, p| {
        some(g);
        let used = pointwise::partner(g, p[0]);
        vec![g.add(ops::Max {}, &[p[0], used], p[0].mag.max(used.mag))]
    });
    let shapes = vec![g.shape(v)];
    let mag = v.mag.max(16.0).max(g.limit(DType::F32));
    Some(g.add_results(ops::If { shapes }, &[condition, v], &[then, other], mag)[0])
}

fn repeat(g: &mut Gen) -> Option<Val> {
    let v = g.choose(|g, v| g.dtype(v) == DType::F32)?;
    let start = clamped(g, v);
    let captured = g.choose(|_, _| true)?;
    let most = g.rng.range(0, 5);
    let mut shape = g.shape(start);
    shape.insert(0, Extent::Const(most));
    if !g.fits(&shape) {
        return None;
    }
    let trips = g.constant_of(DType::I64, &[], &[Scalar::i64(most)]);
    let go = g.constant_of(DType::Bool, &[], &[Scalar::bool(true)]);
    let early = g.rng.chance(30);
    let scalar = |d: DType| nnc_ir::types::TensorType::of(d, &[]);
    let params = [
        (scalar(DType::I64), 8.0),
        (scalar(DType::Bool), 1.0),
        (g.ty(start), CARRIED),
        (g.ty(captured), captured.mag),
    ];
    let body = region(g, &params, |g, p| {
        let next = pointwise::partner(g, p[2]);
        let next = g.add(ops::Add {}, &[p[2], next], p[2].mag + next.mag);
        some(g);
        let next = clamped(g, next);
        let go = if early {
            let two = g.number(p[0], 2.0);
            g.add(ops::Less {}, &[p[0], two], 1.0)
        } else {
            p[1]
        };
        vec![go, next, next]
    });
    let count = if early {
        let symbol = Symbol {
            name: "count".into(),
            min: 0,
            max: most.max(0),
            origin: SymbolOrigin::Data,
            bound: None,
        };
        let id = g.module.symbols.push(symbol);
        debug_assert!(id.index() > 0 || g.module.symbols.len() == 1);
        Extent::symbol(id)
    } else {
        Extent::Const(most)
    };
    let results =
        g.add_results(ops::Loop { carried: 1, count }, &[trips, go, start, captured], &[body], CARRIED);
    if early {
        // Later operations do not know how long the stacked result is.
        g.live.retain(|v| v.id != results[1].id);
        let total = g.add(
            ops::Reduce { kind: ops::ReduceKind::Max, axes: vec![0], keep: false },
            &[results[1]],
            CARRIED,
        );
        let start = g.number(total, -1.0);
        return Some(g.add(ops::Max {}, &[total, start], CARRIED));
    }
    Some(results[0])
}

fn recur(g: &mut Gen) -> Option<Val> {
    let v = g.choose(|g, v| g.rank(v) >= 1 && g.dtype(v) == DType::F32 && g.elements(&g.shape(v)) <= 1024)?;
    let shape = g.shape(v);
    let steps = shape[0].clone();
    if g.most(&steps) > 40 {
        return None;
    }
    let zero = g.splat(DType::F32, &[], Scalar::f32(0.0));
    let start = g.broadcast(zero, &shape[1..]);
    let captured = g.choose(|_, _| true)?;
    let slice = g.ty(v).with_shape(&shape[1..]);
    let params = [(slice.clone(), CARRIED), (slice, v.mag), (g.ty(captured), captured.mag)];
    let body = region(g, &params, |g, p| {
        let sum = g.add(ops::Add {}, &[p[0], p[1]], p[0].mag + p[1].mag);
        some(g);
        let next = clamped(g, sum);
        let w = pointwise::partner(g, next);
        let out = g.add(ops::Max {}, &[next, w], next.mag.max(w.mag));
        vec![next, out]
    });
    let (reversed_inputs, reversed_outputs) = (vec![g.rng.chance(30)], vec![g.rng.chance(30)]);
    let op = ops::Scan { carried: 1, steps, reversed_inputs, reversed_outputs };
    let mag = g.limit(DType::F32);
    Some(g.add_results(op, &[start, v, captured], &[body], mag)[1])
}
