//! tests - whole modules.

use super::*;
use crate::{
    constant::Constant,
    dtype::{DType, Scalar},
    entity::EntityId,
    extent::{Extent, Symbol, SymbolId, SymbolOrigin},
    graph::{Constraint, ConstraintKind, Module, ValueId, loc},
    ops,
    types::TensorType,
};

fn symbol(m: &mut Module, name: &str, origin: SymbolOrigin) -> Extent {
    m.symbols.push(Symbol { name: name.into(), min: 0, max: 1 << 40, origin, bound: None }).into()
}
fn input_symbol(m: &mut Module, name: &str, input: usize, axis: usize) -> Extent {
    symbol(m, name, SymbolOrigin::Input { input, axis })
}
fn add(
    m: &mut Module,
    region: crate::graph::RegionId,
    op: impl Into<ops::Op>,
    operands: &[ValueId],
) -> ValueId {
    m.append(region, op, operands, &[], &loc("node"))
        .expect("types fit")
        .first()
        .copied()
        .unwrap_or_else(|| operands[0])
}
fn outputs(m: &mut Module, values: &[ValueId]) {
    let names: Vec<_> = values.iter().enumerate().map(|(i, &v)| (format!("y{i}"), v)).collect();
    m.set_outputs(&names);
}
fn run(m: &Module, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
    evaluate(m, inputs, &EvalLimits::GENEROUS)
}
fn iota(dims: &[i64]) -> Tensor {
    let n: i64 = dims.iter().product();
    Tensor::f32s(dims, &(0..n).map(|i| i as f32).collect::<Vec<_>>())
}

#[test]
fn matmul_of_symbolic_rows_and_a_broadcast_sum() {
    let mut m = Module::new();
    let n = input_symbol(&mut m, "N", 0, 0);
    let x = m.add_input("x", TensorType::new(DType::F32, vec![n.clone(), Extent::Const(2)]));
    let body = m.body();
    let w = m.append_constant(
        body,
        Constant::from_scalars(DType::F32, &[2, 2], &[1., 2., 3., 4.].map(Scalar::f32)),
        &loc("w"),
    );
    let bias = m.append_constant(
        body,
        Constant::from_scalars(DType::F32, &[2], &[10., 20.].map(Scalar::f32)),
        &loc("b"),
    );
    let y = add(&mut m, body, ops::MatMul {}, &[x, w]);
    let bias = add(&mut m, body, ops::Broadcast { shape: vec![n, Extent::Const(2)] }, &[bias]);
    let y = add(&mut m, body, ops::Add {}, &[y, bias]);
    let y = add(&mut m, body, ops::Transpose { perm: vec![1, 0] }, &[y]);
    outputs(&mut m, &[y]);
    let got = run(&m, &[Tensor::f32s(&[3, 2], &[1., 0., 0., 1., 1., 1.])]).expect("runs");
    assert_eq!(got, [Tensor::f32s(&[2, 3], &[11., 13., 14., 22., 24., 26.])]);
    let error = run(&m, &[Tensor::f32s(&[1, 3], &[0.; 3])]).expect_err("refused");
    assert_eq!((error.code, error.message.as_str()), (802, "input 'x': dim 1 is 2, given 3"));
}

#[test]
fn unknown_extents_broadcast_or_violate_the_constraint() {
    let mut m = Module::new();
    let a = input_symbol(&mut m, "A", 0, 0);
    let b = input_symbol(&mut m, "B", 1, 0);
    let x = m.add_input("x", TensorType::new(DType::F32, vec![a.clone()]));
    let y = m.add_input("y", TensorType::new(DType::F32, vec![b.clone()]));
    let shape = vec![a.broadcast(&b).expect("may")];
    let body = m.body();
    let x = add(&mut m, body, ops::Broadcast { shape: shape.clone() }, &[x]);
    let y = add(&mut m, body, ops::Broadcast { shape }, &[y]);
    let z = add(&mut m, body, ops::Add {}, &[x, y]);
    outputs(&mut m, &[z]);
    let sum = run(&m, &[iota(&[1]), iota(&[3])]).expect("runs");
    assert_eq!(sum, [iota(&[3])]);
    assert_eq!(run(&m, &[iota(&[2]), iota(&[3])]).expect_err("refused").code, 236);

    m.constraints.push(Constraint { kind: ConstraintKind::Equal(a, b), loc: loc("add") });
    let error = run(&m, &[iota(&[1]), iota(&[3])]).expect_err("refused");
    assert_eq!(error.to_string(), "E0236: add: s0 = 1 must equal s1 = 3");
}

#[test]
fn sums_of_halves_are_joined_in_f32() {
    let mut m = Module::new();
    let x = m.add_input("x", TensorType::of(DType::F16, &[2, 3000]));
    let body = m.body();
    let attrs = vec![("kind", "sum"), ("axes", "[1]"), ("keep", "true")];
    let op = ops::Op::parse("reduce", &mut ops::attr::Reader { attrs, constants: None }).expect("known");
    let y = add(&mut m, body, op, &[x]);
    outputs(&mut m, &[y]);
    let ones = Tensor::from_scalars(DType::F16, &[2, 3000], &vec![Scalar::f32(1.0); 6000]);
    let got = run(&m, &[ones]).expect("runs");
    assert_eq!(got[0].scalars(), [Scalar::f32(3000.0); 2]);
    assert_eq!(got[0].dims, [2, 1]);
}

#[test]
fn joins_reshapes_and_shapes() {
    let mut m = Module::new();
    let n = input_symbol(&mut m, "N", 0, 0);
    let x = m.add_input("x", TensorType::new(DType::F32, vec![n.clone(), Extent::Const(2)]));
    let body = m.body();
    let twice = add(&mut m, body, ops::Concat { axis: 1 }, &[x, x]);
    let flat = add(&mut m, body, ops::Reshape { shape: vec![n.scale(4)] }, &[twice]);
    let shape = add(&mut m, body, ops::Extents { values: vec![n.scale(4), n] }, &[]);
    outputs(&mut m, &[flat, shape]);
    let got = run(&m, &[Tensor::f32s(&[2, 2], &[1., 2., 3., 4.])]).expect("runs");
    assert_eq!(got[0], Tensor::f32s(&[8], &[1., 2., 1., 2., 3., 4., 3., 4.]));
    assert_eq!(got[1], Tensor::i64s(&[2], &[8, 2]));
}

#[test]
fn read_extents_defines_symbols_and_checks_their_range() {
    let mut m = Module::new();
    let k = symbol(&mut m, "k", SymbolOrigin::Data);
    let x = m.add_input("x", TensorType::of(DType::I64, &[1]));
    let one = m.add_input("one", TensorType::of(DType::F32, &[1]));
    let body = m.body();
    add(&mut m, body, ops::ReadExtents { symbols: vec![SymbolId::new(0)] }, &[x]);
    let y = add(&mut m, body, ops::Broadcast { shape: vec![k] }, &[one]);
    outputs(&mut m, &[y]);
    let one = Tensor::f32s(&[1], &[7.]);
    assert_eq!(run(&m, &[Tensor::i64s(&[1], &[2]), one.clone()]).expect("runs")[0].dims, [2]);
    assert_eq!(run(&m, &[Tensor::i64s(&[1], &[-1]), one.clone()]).expect_err("negative").code, 224);
    let limits = EvalLimits { tensor_bytes: 1 << 20, points: 1000 };
    let error = evaluate(&m, &[Tensor::i64s(&[1], &[5000]), one], &limits).expect_err("too much");
    assert_eq!((error.code, &*error.loc), (501, &*loc("node")));
}

#[test]
fn an_if_joins_shapes_to_a_symbol() {
    let mut m = Module::new();
    let k = symbol(&mut m, "k", SymbolOrigin::Data);
    let c = m.add_input("c", TensorType::of(DType::Bool, &[]));
    let x = m.add_input("x", TensorType::of(DType::F32, &[2]));
    let branches = [1, 2].map(|times| {
        let region = m.add_region();
        let p = m.add_param(region, TensorType::of(DType::F32, &[2]));
        let r = add(&mut m, region, ops::Concat { axis: 0 }, &vec![p; times]);
        m.set_results(region, vec![r]);
        region
    });
    let body = m.body();
    let op = ops::If { shapes: vec![vec![k.clone()]] };
    let r = m.append(body, op, &[c, x], &branches, &loc("if")).expect("types fit");
    let y = add(&mut m, body, ops::Extents { values: vec![k] }, &[]);
    outputs(&mut m, &[r[0], y]);
    for (condition, n) in [(true, 2), (false, 4)] {
        let c = Tensor::from_scalars(DType::Bool, &[], &[Scalar::bool(condition)]);
        let got = run(&m, &[c, iota(&[2])]).expect("runs");
        assert_eq!(got[0].dims, [n]);
        assert_eq!(got[1], Tensor::i64s(&[1], &[n]));
    }
}

/// `while (i < trips && go) { carried += capture; stack carried; }`, with `go` the condition that comes in.
fn counting_loop() -> Module {
    let mut m = Module::new();
    let count = symbol(&mut m, "count", SymbolOrigin::Data);
    let trips = m.add_input("trips", TensorType::of(DType::I64, &[]));
    let go = m.add_input("go", TensorType::of(DType::Bool, &[]));
    let x = m.add_input("x", TensorType::of(DType::F32, &[2]));
    let region = m.add_region();
    m.add_param(region, TensorType::of(DType::I64, &[]));
    let condition = m.add_param(region, TensorType::of(DType::Bool, &[]));
    let carried = m.add_param(region, TensorType::of(DType::F32, &[2]));
    let capture = m.add_param(region, TensorType::of(DType::F32, &[2]));
    let sum = add(&mut m, region, ops::Add {}, &[carried, capture]);
    m.set_results(region, vec![condition, sum, sum]);
    let body = m.body();
    let op = ops::Loop { carried: 1, count };
    let r = m.append(body, op, &[trips, go, x, x], &[region], &loc("loop")).expect("types fit");
    outputs(&mut m, &r);
    m
}

#[test]
fn a_loop_carries_and_stacks() {
    let m = counting_loop();
    let trips = |n: i64| Tensor::from_scalars(DType::I64, &[], &[Scalar::i64(n)]);
    let go = |b: bool| Tensor::from_scalars(DType::Bool, &[], &[Scalar::bool(b)]);
    let x = Tensor::f32s(&[2], &[1., 10.]);
    let got = run(&m, &[trips(2), go(true), x.clone()]).expect("runs");
    assert_eq!(got, [Tensor::f32s(&[2], &[3., 30.]), Tensor::f32s(&[2, 2], &[2., 20., 3., 30.])]);
    let got = run(&m, &[trips(9), go(false), x.clone()]).expect("runs");
    assert_eq!(got, [x.clone(), Tensor::f32s(&[0, 2], &[])]);
    let limits = EvalLimits { tensor_bytes: 1 << 20, points: 1000 };
    let error = evaluate(&m, &[trips(i64::MAX), go(true), x], &limits).expect_err("endless");
    assert_eq!(error.code, 501);
}

#[test]
fn a_scan_walks_from_either_end() {
    let mut m = Module::new();
    let n = input_symbol(&mut m, "N", 1, 0);
    let start = m.add_input("start", TensorType::of(DType::F32, &[]));
    let x = m.add_input("x", TensorType::new(DType::F32, vec![n.clone()]));
    let region = m.add_region();
    let carried = m.add_param(region, TensorType::of(DType::F32, &[]));
    let (a, b) = (
        m.add_param(region, TensorType::of(DType::F32, &[])),
        m.add_param(region, TensorType::of(DType::F32, &[])),
    );
    let sum = add(&mut m, region, ops::Add {}, &[carried, a]);
    m.set_results(region, vec![sum, sum, b]);
    let body = m.body();
    let op = ops::Scan {
        carried: 1,
        steps: n,
        reversed_inputs: vec![false, true],
        reversed_outputs: vec![true, false],
    };
    let r = m.append(body, op, &[start, x, x], &[region], &loc("scan")).expect("types fit");
    outputs(&mut m, &r);
    let got = run(&m, &[Tensor::f32s(&[], &[100.]), Tensor::f32s(&[3], &[1., 2., 3.])]).expect("runs");
    assert_eq!(got[0], Tensor::f32s(&[], &[106.]));
    assert_eq!(got[1], Tensor::f32s(&[3], &[106., 103., 101.]));
    assert_eq!(got[2], Tensor::f32s(&[3], &[3., 2., 1.]));
}

#[test]
fn a_fusion_means_its_nodes() {
    let mut m = Module::new();
    let x = m.add_input("x", TensorType::of(DType::F32, &[2]));
    let region = m.add_region();
    let p = m.add_param(region, TensorType::of(DType::F32, &[2]));
    let sum = add(&mut m, region, ops::Add {}, &[p, p]);
    m.set_results(region, vec![sum, p]);
    let body = m.body();
    let r = m.append(body, ops::Fusion {}, &[x], &[region], &loc("fusion")).expect("types fit");
    outputs(&mut m, &r);
    let x = Tensor::f32s(&[2], &[1., 2.]);
    assert_eq!(run(&m, std::slice::from_ref(&x)).expect("runs"), [Tensor::f32s(&[2], &[2., 4.]), x]);
}
