//! tests - whole modules, and nests against a naive walk.

use super::*;
use crate::{
    constant::{Constant, Payload},
    dtype::{DType, Scalar},
    entity::EntityId,
    eval::{error::Budget, tensor::Slot},
    extent::{Extent, Symbol, SymbolId, SymbolOrigin},
    form::{Bounds, Combine, Ix, Load, LoopForm, ScatterCombine, ScatterForm},
    graph::{Constraint, ConstraintKind, Module, ValueId, loc},
    ops,
    program::{Builder, Program},
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

fn nest(form: &LoopForm, operands: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
    let operands: Vec<Slot> = operands.iter().map(Slot::of_tensor).collect();
    let known = |e: &Extent| Ok(e.as_const().expect("tests use constants"));
    let results = super::nest::evaluate(form, &operands, &known, &mut Budget::new(&EvalLimits::GENEROUS))?;
    Ok(results.into_iter().map(Slot::into_tensor).collect())
}

/// Element by element, exactly as `crate::form` says.
fn naive(form: &LoopForm, operands: &[Tensor]) -> Vec<Tensor> {
    fn index(ix: &Ix, at: &[i64], load: &dyn Fn(usize) -> Scalar) -> i64 {
        let of = |ix: &Ix| index(ix, at, load);
        let known = |e: &Extent| e.as_const().expect("tests use constants");
        match ix {
            Ix::Axis(a) => at[*a],
            Ix::Extent(e) => known(e),
            Ix::Add(a, b) => of(a) + of(b),
            Ix::Mul(a, by) => of(a) * known(by),
            Ix::FloorDiv(a, by) => of(a).div_euclid(known(by)),
            Ix::Mod(a, by) => of(a).rem_euclid(known(by)),
            Ix::Min(a, b) => of(a).min(of(b)),
            Ix::Max(a, b) => of(a).max(of(b)),
            Ix::Bcast(a, e) => {
                if known(e) == 1 {
                    0
                } else {
                    of(a)
                }
            }
            Ix::Wrap(a, e) => {
                if of(a) < 0 {
                    of(a) + known(e)
                } else {
                    of(a)
                }
            }
            Ix::Load(k) => load(*k).as_i64().expect("an integer"),
        }
    }
    fn load(form: &LoopForm, operands: &[Tensor], k: usize, at: &[i64]) -> Scalar {
        let l = &form.loads[k];
        let tensor = &operands[l.operand];
        let mut offset = 0;
        for (ix, &dim) in l.index.iter().zip(&tensor.dims) {
            let x = index(ix, at, &|k| load(form, operands, k, at));
            if x < 0 || x >= dim {
                let Bounds::Guard(value) = l.bounds else { panic!("out of range") };
                return value;
            }
            offset = offset * dim + x;
        }
        tensor.scalars()[offset as usize]
    }
    fn points(dims: &[Extent]) -> Vec<Vec<i64>> {
        dims.iter().fold(vec![vec![]], |points, dim| {
            let n = dim.as_const().expect("tests use constants");
            points.iter().flat_map(|p| (0..n).map(move |i| [&p[..], &[i]].concat())).collect()
        })
    }
    let program = |p: &Program, at: &[i64], accs: &[Scalar]| {
        eval_program(p, &|k| load(form, operands, k, at), accs, &|ix| {
            index(ix, at, &|k| load(form, operands, k, at))
        })
    };
    let mut results = vec![Vec::new(); form.results.len()];
    for point in points(&form.space) {
        let values = match form.combine {
            None => program(&form.body, &point, &[]),
            Some(combine) => {
                let dtype = form.body.result_dtypes().next().expect("one result");
                let mut acc = super::combine::Accumulator::new(combine, dtype, 1);
                acc.start(1);
                for r in points(&form.reduce) {
                    let x = program(&form.body, &[&point[..], &r].concat(), &[]);
                    acc.join(&[x[0].bits]);
                }
                let acc = Scalar { dtype: combine.acc_dtype(dtype), bits: acc.values()[0] };
                program(&form.finish, &point, &[acc])
            }
        };
        results.iter_mut().zip(values).for_each(|(r, v)| r.push(v));
    }
    let dims: Vec<i64> = form.space.iter().filter_map(Extent::as_const).collect();
    let tensor = |(r, &d): (&Vec<Scalar>, &DType)| Tensor::from_scalars(d, &dims, r);
    results.iter().zip(&form.results).map(tensor).collect()
}

/// A convolution with padding over `[H, W, C]` and kernel `[3, 3, C]`: every axis may become the lane.
fn convolution(h: i64, w: i64, c: i64) -> (LoopForm, Vec<Tensor>) {
    let extents = |dims: &[i64]| dims.iter().map(|&d| Extent::Const(d)).collect::<Vec<_>>();
    let at = |space: usize, kernel: usize| Ix::Axis(space).plus(Ix::Axis(kernel)).plus(Ix::int(-1));
    let loads = vec![
        Load {
            operand: 0,
            dtype: DType::F32,
            index: vec![at(0, 2), at(1, 3), Ix::Axis(4)],
            extents: extents(&[h, w, c]),
            bounds: Bounds::Guard(Scalar::f32(0.0)),
        },
        Load {
            operand: 1,
            dtype: DType::F32,
            index: vec![Ix::Axis(2), Ix::Axis(3), Ix::Axis(4)],
            extents: extents(&[3, 3, c]),
            bounds: Bounds::Inside,
        },
    ];
    let mut body = Builder::new();
    let (x, k) = (body.load(0, DType::F32), body.load(1, DType::F32));
    let product = body.mul(x, k);
    let mut finish = Builder::new();
    let acc = finish.acc(0, DType::F32);
    let row = finish.index(Ix::Axis(0));
    let row = finish.cast(DType::F32, row);
    let sum = finish.add(acc, row);
    let form = LoopForm {
        space: extents(&[h, w]),
        reduce: extents(&[3, 3, c]),
        loads,
        body: body.finish([product]),
        combine: Some(Combine::Sum),
        finish: finish.finish([sum]),
        results: vec![DType::F32],
    };
    let values = |n: i64| (0..n).map(|i| (i * 37 % 101) as f32 / 7.0 - 5.0).collect::<Vec<_>>();
    let operands =
        vec![Tensor::f32s(&[h, w, c], &values(h * w * c)), Tensor::f32s(&[3, 3, c], &values(9 * c))];
    (form, operands)
}

#[test]
fn rows_along_any_axis_give_the_same_bits() {
    for (h, w, c) in [(2, 20, 3), (300, 2, 2), (1, 1, 300), (3, 2, 1), (0, 4, 2), (2, 3, 0)] {
        let (form, operands) = convolution(h, w, c);
        assert_eq!(nest(&form, &operands).expect("runs"), naive(&form, &operands), "{h} x {w} x {c}");
    }
}

#[test]
fn the_best_position_of_equals_nan_and_nothing() {
    let form = |combine: Combine, n: i64| {
        let mut body = Builder::new();
        let x = body.load(0, DType::F32);
        let mut finish = Builder::new();
        let acc = finish.acc(0, DType::I64);
        LoopForm {
            space: vec![],
            reduce: vec![Extent::Const(n)],
            loads: vec![Load {
                operand: 0,
                dtype: DType::F32,
                index: vec![Ix::Axis(0)],
                extents: vec![Extent::Const(n)],
                bounds: Bounds::Inside,
            }],
            body: body.finish([x]),
            combine: Some(combine),
            finish: finish.finish([acc]),
            results: vec![DType::I64],
        }
    };
    let best = |combine: Combine, x: &[f32]| {
        let n = x.len() as i64;
        nest(&form(combine, n), &[Tensor::f32s(&[n], x)]).expect("runs")[0].scalars()[0].as_i64()
    };
    let equals = [1., 3., -0.0, 0.0, 3., -0.0];
    assert_eq!(best(Combine::ArgMax { last: false }, &equals), Some(1));
    assert_eq!(best(Combine::ArgMax { last: true }, &equals), Some(4));
    assert_eq!(best(Combine::ArgMin { last: false }, &equals), Some(2));
    assert_eq!(best(Combine::ArgMin { last: true }, &equals), Some(5));
    let nan = [1., f32::NAN, f32::INFINITY, f32::NAN];
    assert_eq!(best(Combine::ArgMax { last: false }, &nan), Some(1));
    assert_eq!(best(Combine::ArgMin { last: true }, &nan), Some(3));
    assert_eq!(best(Combine::ArgMax { last: false }, &[]), Some(0));
    assert_eq!(best(Combine::ArgMax { last: true }, &[f32::NEG_INFINITY]), Some(0));
}

/// `result[i] = x[wrap(index[i])]`.
fn gather_form(n: i64, bounds: Bounds) -> LoopForm {
    let mut body = Builder::new();
    let x = body.load(1, DType::F32);
    let index = Load {
        operand: 1,
        dtype: DType::I64,
        index: vec![Ix::Axis(0)],
        extents: vec![Extent::Const(n)],
        bounds: Bounds::Inside,
    };
    let element = Load {
        operand: 0,
        dtype: DType::F32,
        index: vec![Ix::Load(0).wrap(&Extent::Const(4))],
        extents: vec![Extent::Const(4)],
        bounds,
    };
    LoopForm {
        space: vec![Extent::Const(n)],
        reduce: vec![],
        loads: vec![index, element],
        body: body.finish([x]),
        combine: None,
        finish: Program::default(),
        results: vec![DType::F32],
    }
}

#[test]
fn loads_at_loaded_places_are_checked_or_guarded() {
    let x = iota(&[4]);
    let form = gather_form(3, Bounds::Check);
    let got = nest(&form, &[x.clone(), Tensor::i64s(&[3], &[-1, 2, 0])]).expect("runs");
    assert_eq!(got, [Tensor::f32s(&[3], &[3., 2., 0.])]);
    let error = nest(&form, &[x.clone(), Tensor::i64s(&[3], &[0, 4, -9])]).expect_err("out of range");
    assert_eq!((error.code, error.message.as_str()), (805, "index 4 not in [0, 4)"));
    let form = gather_form(3, Bounds::Guard(Scalar::f32(-1.0)));
    let got = nest(&form, &[x, Tensor::i64s(&[3], &[0, 4, -9])]).expect("runs");
    assert_eq!(got, [Tensor::f32s(&[3], &[0., -1., -1.])]);
    let none = Tensor::f32s(&[0], &[]);
    let got = nest(&form, &[none, Tensor::i64s(&[3], &[0, 4, -9])]).expect("runs");
    assert_eq!(got, [Tensor::f32s(&[3], &[-1., -1., -1.])]);
}

#[test]
fn updates_are_written_in_order() {
    let load = |operand: usize, dtype: DType| Load {
        operand,
        dtype,
        index: vec![Ix::Axis(0)],
        extents: vec![Extent::Const(3)],
        bounds: Bounds::Inside,
    };
    let scatter = |combine: ScatterCombine, places: &[i64]| {
        let form = ScatterForm {
            space: vec![Extent::Const(3)],
            loads: vec![load(2, DType::F16), load(1, DType::I64)],
            index: vec![Ix::Load(1)],
            combine,
        };
        let half = |x: &[f32]| {
            Tensor::from_scalars(
                DType::F16,
                &[x.len() as i64],
                &x.iter().map(|&x| Scalar::f32(x)).collect::<Vec<_>>(),
            )
        };
        let operands =
            [half(&[1., 2.]), Tensor::i64s(&[3], places), half(&[3., 5., 7.])].map(|t| Slot::of_tensor(&t));
        let known = |e: &Extent| Ok(e.as_const().expect("tests use constants"));
        let result = super::copy::scatter(&form, &operands, &known, &mut Budget::new(&EvalLimits::GENEROUS))?;
        Ok::<_, EvalError>(result.into_tensor().scalars().into_iter().map(Scalar::to_f32).collect::<Vec<_>>())
    };
    assert_eq!(scatter(ScatterCombine::Replace, &[0, 1, 0]).expect("runs"), [7., 5.]);
    assert_eq!(scatter(ScatterCombine::Add, &[0, 1, 0]).expect("runs"), [11., 7.]);
    assert_eq!(scatter(ScatterCombine::Mul, &[0, 1, 0]).expect("runs"), [21., 10.]);
    assert_eq!(scatter(ScatterCombine::Max, &[0, 0, 0]).expect("runs"), [7., 2.]);
    assert_eq!(scatter(ScatterCombine::Min, &[0, 1, 1]).expect("runs"), [1., 2.]);
    assert_eq!(scatter(ScatterCombine::Add, &[0, 2, 0]).expect_err("out of range").code, 805);
}

#[test]
fn folding_keeps_splats_and_shares_bytes() {
    let fold = ConstEval { limits: EvalLimits { tensor_bytes: 1 << 20, points: 1 << 10 } };
    let splat = |dims: &[i64], x: f32| {
        Constant::new(DType::F32, dims, Payload::Splat(Scalar::f32(x))).expect("valid")
    };
    let got =
        fold.fold(&ops::Add {}.into(), &[splat(&[300, 300], 1.5), splat(&[300, 300], 2.0)]).expect("folds");
    assert!(matches!(got[0].payload(), Payload::Splat(s) if *s == Scalar::f32(3.5)));
    assert!(fold.fold(&ops::Add {}.into(), &[splat(&[3000, 300], 1.5), splat(&[3000, 300], 2.0)]).is_none());

    let vector = Constant::from_scalars(DType::F32, &[4], &[1., 2., 3., 4.].map(Scalar::f32));
    let matrix = vec![Extent::Const(2), Extent::Const(2)];
    let got =
        fold.fold(&ops::Reshape { shape: matrix }.into(), std::slice::from_ref(&vector)).expect("folds");
    assert_eq!(got[0].dims(), [2, 2]);
    let got = fold.fold(&ops::Transpose { perm: vec![1, 0] }.into(), &got).expect("folds");
    assert_eq!(got[0].scalars(), [1., 3., 2., 4.].map(Scalar::f32));
    let wide = vec![Extent::Const(2000), Extent::Const(4)];
    assert!(
        fold.fold(&ops::Broadcast { shape: wide }.into(), &[vector]).is_none(),
        "over the limit of points"
    );
    let unknown = ops::Extents { values: vec![Extent::symbol(SymbolId::new(0))] };
    assert!(fold.fold(&unknown.into(), &[]).is_none());
}
