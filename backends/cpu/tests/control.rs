//! control - programs with ifs, loops and scans, against the evaluator.

mod support {
    pub(crate) mod program;
}
use support::program::*;

use nnc_ir::{
    constant::Constant,
    dtype::{DType, Scalar},
    entity::EntityId,
    eval::Tensor,
    extent::{Extent, SymbolId, SymbolOrigin},
    graph::{Module, RegionId, ValueId, loc},
    ops,
    types::TensorType,
};

fn f32s(dims: &[i64]) -> TensorType {
    TensorType::of(DType::F32, dims)
}

fn constant(m: &mut Module, region: RegionId, dtype: DType, value: Scalar) -> ValueId {
    m.append_constant(region, Constant::scalar(dtype, value), &loc("c"))
}

/// `if c { concat(x, x)[..times] } else ...`: shapes join to a symbol, with or without a bound.
fn joining_if(bound: Option<Extent>) -> Module {
    let mut m = Module::new();
    let k = symbol(&mut m, "k", SymbolOrigin::Data);
    m.symbols[SymbolId::new(0)].bound = bound;
    let c = m.add_input("c", TensorType::of(DType::Bool, &[]));
    let x = m.add_input("x", f32s(&[2]));
    let branches = [1, 2].map(|times| {
        let region = m.add_region();
        let p = m.add_param(region, f32s(&[2]));
        let q = add(&mut m, region, ops::Neg {}, &[p]);
        let r = add(&mut m, region, ops::Concat { axis: 0 }, &vec![q; times]);
        let second = if times == 1 { p } else { q };
        m.set_results(region, vec![r, second, r]);
        region
    });
    let body = m.body();
    let two = Extent::Const(2);
    let op = ops::If { shapes: vec![vec![k.clone()], vec![two], vec![k.clone()]] };
    let r = m.append(body, op, &[c, x], &branches, &loc("if")).expect("types fit");
    let y = add(&mut m, body, ops::Extents { values: vec![k] }, &[]);
    let z = add(&mut m, body, ops::Exp {}, &[r[2]]);
    outputs(&mut m, &[r[0], y, r[1], z]);
    m
}

#[test]
fn an_if_joins_shapes_to_a_symbol() {
    for bound in [None, Some(Extent::Const(4))] {
        let dynamic = bound.is_none();
        let ready = ready(joining_if(bound));
        assert_eq!(ready.compiled.report.dynamic_buffers > 0, dynamic);
        for condition in [true, false] {
            ready.check(&[truth(condition), numbers(&[2], 3)]);
        }
    }
}

#[test]
fn branches_may_give_inputs_and_constants() {
    let mut m = Module::new();
    let c = m.add_input("c", TensorType::of(DType::Bool, &[]));
    let x = m.add_input("x", f32s(&[]));
    let then = m.add_region();
    let p = m.add_param(then, f32s(&[]));
    m.set_results(then, vec![p, p]);
    let other = m.add_region();
    let p = m.add_param(other, f32s(&[]));
    let k = constant(&mut m, other, DType::F32, Scalar::f32(9.0));
    let s = add(&mut m, other, ops::Add {}, &[p, k]);
    m.set_results(other, vec![k, s]);
    let body = m.body();
    let op = ops::If { shapes: vec![vec![], vec![]] };
    let r = m.append(body, op, &[c, x], &[then, other], &loc("if")).expect("types fit");
    outputs(&mut m, &r);
    let ready = ready(m);
    for condition in [true, false] {
        ready.check(&[truth(condition), numbers(&[], 3)]);
    }
}

/// `while (i < trips && go) { carried += capture; stack carried; }`, with `go` the condition that comes in.
fn counting_loop(bound: Option<Extent>) -> Module {
    let mut m = Module::new();
    let count = symbol(&mut m, "count", SymbolOrigin::Data);
    m.symbols[SymbolId::new(0)].bound = bound;
    let trips = m.add_input("trips", TensorType::of(DType::I64, &[]));
    let go = m.add_input("go", TensorType::of(DType::Bool, &[]));
    let x = m.add_input("x", f32s(&[2]));
    let region = m.add_region();
    let i = m.add_param(region, TensorType::of(DType::I64, &[]));
    let condition = m.add_param(region, TensorType::of(DType::Bool, &[]));
    let carried = m.add_param(region, f32s(&[2]));
    let other = m.add_param(region, f32s(&[2]));
    let capture = m.add_param(region, f32s(&[2]));
    let sum = add(&mut m, region, ops::Add {}, &[carried, capture]);
    // The second carried value takes the place of the first: the two must not overwrite each other.
    m.set_results(region, vec![condition, sum, carried, sum, other, i]);
    let body = m.body();
    let op = ops::Loop { carried: 2, count };
    let r = m.append(body, op, &[trips, go, x, x, x], &[region], &loc("loop")).expect("types fit");
    outputs(&mut m, &r);
    m
}

#[test]
fn a_loop_carries_and_stacks() {
    for bound in [None, Some(Extent::Const(300))] {
        let dynamic = bound.is_none();
        let ready = ready(counting_loop(bound));
        assert_eq!(ready.compiled.report.dynamic_buffers > 0, dynamic);
        for (trips, go) in [(0, true), (1, true), (2, true), (5, true), (300, true), (9, false), (-4, true)] {
            ready.check(&[int(trips), truth(go), numbers(&[2], 1)]);
        }
    }
}

#[test]
fn a_loop_that_exceeds_its_bound_writes_nothing_beyond() {
    let ready = ready(counting_loop(Some(Extent::Const(3))));
    assert_eq!(ready.fails(&[int(4), truth(true), numbers(&[2], 1)]), 236);
}

#[test]
fn an_endless_loop_can_be_cancelled() {
    let ready = ready(counting_loop(Some(Extent::Const(3))));
    let mut session = session(1, None);
    session.cancel_token().cancel();
    let error = ready.run(&mut session, &[int(2), truth(true), numbers(&[2], 1)]);
    assert_eq!(error.expect_err("cancelled").code(), 808);
    session.cancel_token().reset();
    assert!(ready.run(&mut session, &[int(2), truth(true), numbers(&[2], 1)]).is_ok());
}

#[test]
fn a_condition_decided_by_data_ends_a_loop() {
    let mut m = Module::new();
    let count = symbol(&mut m, "count", SymbolOrigin::Data);
    let x = m.add_input("x", f32s(&[]));
    let body = m.body();
    let trips = constant(&mut m, body, DType::I64, Scalar::i64(i64::MAX));
    let go = constant(&mut m, body, DType::Bool, Scalar::bool(true));
    let limit = constant(&mut m, body, DType::F32, Scalar::f32(1000.0));
    let region = m.add_region();
    m.add_param(region, TensorType::of(DType::I64, &[]));
    m.add_param(region, TensorType::of(DType::Bool, &[]));
    let carried = m.add_param(region, f32s(&[]));
    let limit_param = m.add_param(region, f32s(&[]));
    let double = add(&mut m, region, ops::Add {}, &[carried, carried]);
    let less = add(&mut m, region, ops::Less {}, &[double, limit_param]);
    m.set_results(region, vec![less, double, double]);
    let op = ops::Loop { carried: 1, count };
    let r = m.append(body, op, &[trips, go, x, limit], &[region], &loc("loop")).expect("types fit");
    let z = add(&mut m, body, ops::Exp {}, &[r[0]]);
    outputs(&mut m, &[r[0], r[1], z]);
    let ready = ready(m);
    for x in [1.0, 999.0, 5000.0] {
        ready.check(&[Tensor::f32s(&[], &[x])]);
    }
}

#[test]
fn a_scan_walks_from_either_end() {
    let mut m = Module::new();
    let n = input_symbol(&mut m, "N", 1, 0);
    let start = m.add_input("start", f32s(&[3]));
    let x = m.add_input("x", TensorType::new(DType::F32, vec![n.clone(), Extent::Const(3)]));
    let region = m.add_region();
    let carried = m.add_param(region, f32s(&[3]));
    let (a, b) = (m.add_param(region, f32s(&[3])), m.add_param(region, f32s(&[3])));
    let sum = add(&mut m, region, ops::Add {}, &[carried, a]);
    let state = add(&mut m, region, ops::Tanh {}, &[sum]);
    m.set_results(region, vec![state, state, b]);
    let body = m.body();
    let op = ops::Scan {
        carried: 1,
        steps: n,
        reversed_inputs: vec![false, true],
        reversed_outputs: vec![true, false],
    };
    let r = m.append(body, op, &[start, x, x], &[region], &loc("scan")).expect("types fit");
    outputs(&mut m, &r);
    let ready = ready(m);
    assert_eq!(ready.compiled.report.dynamic_buffers, 0);
    for n in [0, 1, 2, 17] {
        ready.check(&[numbers(&[3], 0), numbers(&[n, 3], n)]);
    }
}

#[test]
fn the_end_of_a_scan_outlives_what_comes_after() {
    let mut m = Module::new();
    let n = input_symbol(&mut m, "N", 0, 0);
    let x = m.add_input("x", TensorType::new(DType::F32, vec![n.clone(), Extent::Const(64)]));
    let body = m.body();
    let start = constant(&mut m, body, DType::F32, Scalar::f32(0.5));
    let start = add(&mut m, body, ops::Broadcast { shape: vec![Extent::Const(64)] }, &[start]);
    let region = m.add_region();
    let carried = m.add_param(region, f32s(&[64]));
    let slice = m.add_param(region, f32s(&[64]));
    let sum = add(&mut m, region, ops::Add {}, &[carried, slice]);
    m.set_results(region, vec![sum]);
    let op = ops::Scan { carried: 1, steps: n, reversed_inputs: vec![false], reversed_outputs: vec![] };
    let last = m.append(body, op, &[start, x], &[region], &loc("scan")).expect("types fit")[0];
    // Values that fit where the states were.
    let mut y = add(&mut m, body, ops::Neg {}, &[start]);
    for _ in 0..4 {
        y = add(&mut m, body, ops::Tanh {}, &[y]);
    }
    let z = add(&mut m, body, ops::Add {}, &[y, last]);
    outputs(&mut m, &[z]);
    let ready = ready(m);
    for n in 0..4 {
        ready.check(&[numbers(&[n, 64], n)]);
    }
}

#[test]
fn loops_nest_and_hold_ifs() {
    let mut m = Module::new();
    let x = m.add_input("x", f32s(&[4]));
    let trips = m.add_input("trips", TensorType::of(DType::I64, &[]));
    let inner_count = symbol(&mut m, "inner", SymbolOrigin::Data);
    let outer_count = symbol(&mut m, "outer", SymbolOrigin::Data);
    let (i64s, bools) = (TensorType::of(DType::I64, &[]), TensorType::of(DType::Bool, &[]));

    let then = m.add_region();
    let p = m.add_param(then, f32s(&[4]));
    let q = add(&mut m, then, ops::Neg {}, &[p]);
    m.set_results(then, vec![q]);
    let other = m.add_region();
    let p = m.add_param(other, f32s(&[4]));
    m.set_results(other, vec![p]);

    // Runs as often as the outer iteration says, and turns the sign in every iteration but the first.
    let inner = m.add_region();
    let i = m.add_param(inner, i64s.clone());
    let go = m.add_param(inner, bools.clone());
    let v = m.add_param(inner, f32s(&[4]));
    let zero = constant(&mut m, inner, DType::I64, Scalar::i64(0));
    let later = add(&mut m, inner, ops::Less {}, &[zero, i]);
    let op = ops::If { shapes: vec![vec![Extent::Const(4)]] };
    let turned = m.append(inner, op, &[later, v], &[then, other], &loc("if")).expect("types fit")[0];
    let sum = add(&mut m, inner, ops::Add {}, &[turned, v]);
    let half = add(&mut m, inner, ops::Tanh {}, &[sum]);
    m.set_results(inner, vec![go, half, half]);

    let outer = m.add_region();
    let i = m.add_param(outer, i64s);
    let go = m.add_param(outer, bools);
    let v = m.add_param(outer, f32s(&[4]));
    let op = ops::Loop { carried: 1, count: inner_count.clone() };
    let r = m.append(outer, op, &[i, go, v], &[inner], &loc("inner")).expect("types fit");
    let kind = ops::Op::parse(
        "reduce",
        &mut ops::attr::Reader {
            attrs: vec![("kind", "sum"), ("axes", "[0]"), ("keep", "false")],
            constants: None,
        },
    );
    let total = add(&mut m, outer, kind.expect("known"), &[r[1]]);
    let next = add(&mut m, outer, ops::Add {}, &[r[0], v]);
    m.set_results(outer, vec![go, next, total]);

    let body = m.body();
    let go = constant(&mut m, body, DType::Bool, Scalar::bool(true));
    let op = ops::Loop { carried: 1, count: outer_count };
    let r = m.append(body, op, &[trips, go, x], &[outer], &loc("outer")).expect("types fit");
    outputs(&mut m, &r);
    let ready = ready(m);
    for trips in [0, 1, 2, 6] {
        ready.check(&[numbers(&[4], 5), int(trips)]);
    }
}
