//! op_forms - what operations compute, by evaluating their forms on small tensors written out by hand.

use nnc_ir::{
    dtype::{DType, Scalar},
    eval::{EvalError, EvalLimits, Tensor, evaluate},
    extent::Extent,
    form::ScatterCombine,
    graph::{Module, loc},
    ops::*,
};

fn try_run(op: impl Into<Op>, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
    let mut m = Module::new();
    let inputs_ids: Vec<_> =
        inputs.iter().enumerate().map(|(i, t)| m.add_input(&format!("x{i}"), t.ty())).collect();
    let body = m.body();
    let results = m.append(body, op, &inputs_ids, &[], &loc("node")).expect("types fit");
    let names: Vec<_> = results.iter().enumerate().map(|(i, &v)| (format!("y{i}"), v)).collect();
    m.set_outputs(&names);
    evaluate(&m, inputs, &EvalLimits::GENEROUS)
}
fn run(op: impl Into<Op>, inputs: &[Tensor]) -> Tensor {
    try_run(op, inputs).expect("runs").remove(0)
}
fn f32s(dims: &[i64], elements: &[f32]) -> Tensor {
    Tensor::f32s(dims, elements)
}
fn i64s(dims: &[i64], elements: &[i64]) -> Tensor {
    Tensor::i64s(dims, elements)
}
fn ints(dtype: DType, dims: &[i64], elements: &[i64]) -> Tensor {
    Tensor::from_scalars(dtype, dims, &elements.iter().map(|&x| Scalar::int(dtype, x)).collect::<Vec<_>>())
}
fn bools(dims: &[i64], elements: &[bool]) -> Tensor {
    Tensor::from_scalars(DType::Bool, dims, &elements.iter().map(|&x| Scalar::bool(x)).collect::<Vec<_>>())
}
/// `0, 1, 2, ..`
fn count(dims: &[i64]) -> Tensor {
    let n: i64 = dims.iter().product();
    f32s(dims, &(0..n).map(|i| i as f32).collect::<Vec<_>>())
}
fn extents(numbers: &[i64]) -> Vec<Extent> {
    numbers.iter().map(|&x| Extent::Const(x)).collect()
}
/// Elements as numbers, for messages that can be read.
fn numbers(t: &Tensor) -> Vec<f64> {
    t.scalars().iter().map(|s| s.as_f64().or(s.as_i64().map(|x| x as f64)).expect("a number")).collect()
}
#[track_caller]
fn expect(got: &Tensor, want: &Tensor) {
    assert_eq!((got.dtype, &got.dims), (want.dtype, &want.dims));
    let (have, should) = (numbers(got), numbers(want));
    let same = |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    assert!(have.iter().zip(&should).all(same), "{have:?}, not {should:?}");
}

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

#[test]
fn floats_point_by_point() {
    let x = f32s(&[6], &[-1.5, -0.0, 0.0, 2.5, NAN, -INF]);
    let cases: [(Op, [f32; 6]); 9] = [
        (Neg {}.into(), [1.5, 0.0, -0.0, -2.5, NAN, INF]),
        (Abs {}.into(), [1.5, 0.0, 0.0, 2.5, NAN, INF]),
        (Sign {}.into(), [-1.0, -0.0, 0.0, 1.0, NAN, -1.0]),
        (Relu {}.into(), [0.0, -0.0, 0.0, 2.5, NAN, 0.0]),
        (Floor {}.into(), [-2.0, -0.0, 0.0, 2.0, NAN, -INF]),
        (Ceil {}.into(), [-1.0, -0.0, 0.0, 3.0, NAN, -INF]),
        (Trunc {}.into(), [-1.0, -0.0, 0.0, 2.0, NAN, -INF]),
        (Round {}.into(), [-2.0, -0.0, 0.0, 2.0, NAN, -INF]),
        (Sqrt {}.into(), [NAN, -0.0, 0.0, 2.5f32.sqrt(), NAN, NAN]),
    ];
    for (op, want) in cases {
        println!("{}", op.mnemonic());
        expect(&run(op, std::slice::from_ref(&x)), &f32s(&[6], &want));
    }
    let tests: [(Op, [bool; 6]); 3] = [
        (IsNan {}.into(), [false, false, false, false, true, false]),
        (IsInf { positive: true, negative: false }.into(), [false; 6]),
        (IsInf { positive: true, negative: true }.into(), [false, false, false, false, false, true]),
    ];
    for (op, want) in tests {
        expect(&run(op, std::slice::from_ref(&x)), &bools(&[6], &want));
    }
}

#[test]
fn every_function_is_the_one_it_is_named_after() {
    let x = f32s(&[1], &[0.5]);
    let cases: [(Op, f32); 16] = [
        (Exp {}.into(), 1.648_721_3),
        (Log {}.into(), -std::f32::consts::LN_2),
        (Tanh {}.into(), 0.462_117_16),
        (Erf {}.into(), 0.520_499_9),
        (Gelu {}.into(), 0.345_731_23),
        (Sigmoid {}.into(), 0.622_459_3),
        (Sin {}.into(), 0.479_425_55),
        (Cos {}.into(), 0.877_582_55),
        (Tan {}.into(), 0.546_302_5),
        (Asin {}.into(), std::f32::consts::FRAC_PI_6),
        (Acos {}.into(), std::f32::consts::FRAC_PI_3),
        (Atan {}.into(), 0.463_647_6),
        (Sinh {}.into(), 0.521_095_3),
        (Cosh {}.into(), 1.127_626),
        (Asinh {}.into(), 0.481_211_84),
        (Atanh {}.into(), 0.549_306_15),
    ];
    for (op, want) in cases {
        let name = op.mnemonic();
        let got = run(op, std::slice::from_ref(&x)).scalars()[0].to_f32();
        assert!((got - want).abs() <= 2e-7, "{name}: {got}, not {want}");
    }
    let got = run(Acosh {}, &[f32s(&[1], &[2.0])]).scalars()[0].to_f32();
    assert!((got - 1.316_958).abs() <= 2e-7, "{got}");
    // f16 goes by way of f32 and is rounded when stored.
    let half = Tensor::from_scalars(DType::F16, &[1], &[Scalar::f32(0.5)]);
    assert_eq!(run(Exp {}, &[half]).scalars()[0].to_f32(), 1.6484375);
}

#[test]
fn pairs_of_numbers() {
    let (a, b) = (f32s(&[4], &[7.5, -7.5, NAN, 1.0]), f32s(&[4], &[2.0, 2.0, 1.0, NAN]));
    let cases: [(Op, [f32; 4]); 9] = [
        (Add {}.into(), [9.5, -5.5, NAN, NAN]),
        (Sub {}.into(), [5.5, -9.5, NAN, NAN]),
        (Mul {}.into(), [15.0, -15.0, NAN, NAN]),
        (Div {}.into(), [3.75, -3.75, NAN, NAN]),
        (Rem { floored: false }.into(), [1.5, -1.5, NAN, NAN]),
        (Rem { floored: true }.into(), [1.5, 0.5, NAN, NAN]),
        (Pow {}.into(), [56.25, 56.25, NAN, 1.0]),
        (Max {}.into(), [7.5, 2.0, NAN, NAN]),
        (Min {}.into(), [2.0, -7.5, NAN, NAN]),
    ];
    for (op, want) in cases {
        expect(&run(op, &[a.clone(), b.clone()]), &f32s(&[4], &want));
    }
    let (a, b) = (ints(DType::I8, &[4], &[7, -7, 7, -128]), ints(DType::I8, &[4], &[3, 3, 0, -1]));
    let cases: [(Op, [i64; 4]); 13] = [
        (Add {}.into(), [10, -4, 7, 127]),
        (Mul {}.into(), [21, -21, 0, -128]),
        (Div {}.into(), [2, -2, 0, -128]),
        (Rem { floored: false }.into(), [1, -1, 0, 0]),
        (Rem { floored: true }.into(), [1, 2, 0, 0]),
        (Pow {}.into(), [87, -87, 1, 0]),
        (Max {}.into(), [7, 3, 7, -1]),
        (Min {}.into(), [3, -7, 0, -128]),
        (And {}.into(), [3, 1, 0, -128]),
        (Or {}.into(), [7, -5, 7, -1]),
        (Xor {}.into(), [4, -6, 7, 127]),
        (Shl {}.into(), [56, -56, 7, 0]),
        (Shr {}.into(), [0, -1, 7, -1]),
    ];
    for (op, want) in cases {
        println!("{}", op.mnemonic());
        expect(&run(op, &[a.clone(), b.clone()]), &ints(DType::I8, &[4], &want));
    }
    let (a, b) = (ints(DType::U8, &[2], &[200, 200]), ints(DType::U8, &[2], &[3, 8]));
    expect(&run(Shr {}, &[a, b]), &ints(DType::U8, &[2], &[25, 0]));
}

#[test]
fn comparisons_and_choices() {
    let (a, b) = (f32s(&[4], &[1.0, 2.0, NAN, 0.0]), f32s(&[4], &[2.0, 2.0, NAN, -0.0]));
    expect(&run(Equal {}, &[a.clone(), b.clone()]), &bools(&[4], &[false, true, false, true]));
    expect(&run(Less {}, &[a.clone(), b.clone()]), &bools(&[4], &[true, false, false, false]));
    expect(&run(LessOrEqual {}, &[a.clone(), b.clone()]), &bools(&[4], &[true, true, false, true]));
    let c = bools(&[4], &[true, false, true, false]);
    expect(&run(Select {}, &[c.clone(), a, b]), &f32s(&[4], &[1.0, 2.0, NAN, -0.0]));
    expect(&run(Not {}, &[c]), &bools(&[4], &[false, true, false, true]));
    expect(&run(BitNot {}, &[ints(DType::U8, &[1], &[5])]), &ints(DType::U8, &[1], &[250]));
}

#[test]
fn casts_saturate_and_wrap() {
    let x = f32s(&[5], &[1.9, -1.9, 300.0, NAN, -INF]);
    expect(
        &run(Cast { to: DType::I8 }, std::slice::from_ref(&x)),
        &ints(DType::I8, &[5], &[1, -1, 127, 0, -128]),
    );
    expect(&run(Cast { to: DType::Bool }, &[x]), &bools(&[5], &[true; 5]));
    expect(&run(Cast { to: DType::U8 }, &[i64s(&[2], &[-1, 257])]), &ints(DType::U8, &[2], &[255, 1]));
    let got = run(Cast { to: DType::F16 }, &[i64s(&[2], &[2049, 1 << 20])]);
    assert_eq!(numbers(&got), [2048.0, f64::INFINITY]);
}

#[test]
fn positions() {
    let op = Iota { axis: 1, shape: extents(&[2, 3]), dtype: DType::I32 };
    expect(&run(op, &[]), &ints(DType::I32, &[2, 3], &[0, 1, 2, 0, 1, 2]));
}

#[test]
fn slices_go_both_ways() {
    let op = Slice { starts: extents(&[1, 3]), steps: vec![1, -2], shape: extents(&[1, 2]) };
    expect(&run(op, &[count(&[2, 4])]), &f32s(&[1, 2], &[7.0, 5.0]));
}

#[test]
fn pads_of_every_mode() {
    let pad = |before, after, mode, want: &[f32]| {
        let op = Pad { before: extents(&[before]), after: extents(&[after]), mode };
        expect(&run(op, &[count(&[3])]), &f32s(&[want.len() as i64], want));
    };
    pad(1, 2, PadMode::Constant(Scalar::f32(9.0)), &[9.0, 0.0, 1.0, 2.0, 9.0, 9.0]);
    pad(-1, 1, PadMode::Constant(Scalar::f32(9.0)), &[1.0, 2.0, 9.0]);
    pad(-1, -1, PadMode::Constant(Scalar::f32(9.0)), &[1.0]);
    pad(2, 1, PadMode::Edge, &[0.0, 0.0, 0.0, 1.0, 2.0, 2.0]);
    pad(2, 2, PadMode::Reflect, &[2.0, 1.0, 0.0, 1.0, 2.0, 1.0, 0.0]);
    pad(5, 0, PadMode::Reflect, &[1.0, 0.0, 1.0, 2.0, 1.0, 0.0, 1.0, 2.0]);
    pad(1, 4, PadMode::Wrap, &[2.0, 0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 0.0]);
    let one = Pad { before: extents(&[2]), after: extents(&[1]), mode: PadMode::Reflect };
    expect(&run(one, &[f32s(&[1], &[5.0])]), &f32s(&[4], &[5.0; 4]));
}

#[test]
fn zeros_between_and_repetitions() {
    let op = Dilate { strides: vec![1, 2], shape: extents(&[2, 6]) };
    let want = [1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 4.0, 0.0, 5.0, 0.0, 6.0, 0.0];
    let x = f32s(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    expect(&run(op, std::slice::from_ref(&x)), &f32s(&[2, 6], &want));
    let op = Dilate { strides: vec![1, 3], shape: extents(&[2, 5]) };
    expect(&run(op, &[x]), &f32s(&[2, 5], &[1.0, 0.0, 0.0, 2.0, 0.0, 4.0, 0.0, 0.0, 5.0, 0.0]));
    let op = UpsampleNearest { factors: vec![1, 2] };
    expect(&run(op, &[count(&[2, 2])]), &f32s(&[2, 4], &[0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]));
}

#[test]
fn gathers() {
    let x = count(&[2, 3]);
    let got = run(Gather { axis: 1 }, &[x.clone(), i64s(&[1, 2], &[-1, 0])]);
    expect(&got, &f32s(&[2, 1, 2], &[2.0, 0.0, 5.0, 3.0]));
    let got = run(Gather { axis: 0 }, &[x.clone(), ints(DType::I32, &[], &[1])]);
    expect(&got, &f32s(&[3], &[3.0, 4.0, 5.0]));
    let got = run(GatherElements { axis: 1 }, &[x.clone(), i64s(&[2, 2], &[2, 0, -3, 1])]);
    expect(&got, &f32s(&[2, 2], &[2.0, 0.0, 3.0, 4.0]));
    let got = run(GatherNd { batch_dims: 0 }, &[x.clone(), i64s(&[2, 2], &[1, -1, 0, 1])]);
    expect(&got, &f32s(&[2], &[5.0, 1.0]));
    let got = run(GatherNd { batch_dims: 1 }, &[count(&[2, 2, 2]), i64s(&[2, 1], &[1, 0])]);
    expect(&got, &f32s(&[2, 2], &[2.0, 3.0, 4.0, 5.0]));
    let got = run(GatherNd { batch_dims: 0 }, &[x.clone(), i64s(&[2, 0], &[])]);
    expect(&got, &f32s(&[2, 2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
    let error = try_run(Gather { axis: 1 }, &[x, i64s(&[1], &[3])]).expect_err("out of range");
    assert_eq!(error.code, 805);
}

#[test]
fn scatters() {
    let x = count(&[2, 3]);
    let indices = i64s(&[2, 2], &[2, -3, 1, 1]);
    let updates = f32s(&[2, 2], &[10.0, 20.0, 30.0, 40.0]);
    let run_with = |combine, want: [f32; 6]| {
        let inputs = [x.clone(), indices.clone(), updates.clone()];
        expect(&run(ScatterElements { axis: 1, combine }, &inputs), &f32s(&[2, 3], &want));
    };
    run_with(ScatterCombine::Replace, [20.0, 1.0, 10.0, 3.0, 40.0, 5.0]);
    run_with(ScatterCombine::Add, [20.0, 1.0, 12.0, 3.0, 74.0, 5.0]);
    run_with(ScatterCombine::Mul, [0.0, 1.0, 20.0, 3.0, 4800.0, 5.0]);
    run_with(ScatterCombine::Max, [20.0, 1.0, 10.0, 3.0, 40.0, 5.0]);
    run_with(ScatterCombine::Min, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let inputs = [x, i64s(&[2, 1], &[-1, 0]), f32s(&[2, 3], &[1.0; 6])];
    expect(
        &run(ScatterNd { combine: ScatterCombine::Add }, &inputs),
        &f32s(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
    );
    let inputs = [count(&[2, 2]), i64s(&[1, 2], &[1, 0]), f32s(&[1], &[9.0])];
    expect(
        &run(ScatterNd { combine: ScatterCombine::Replace }, &inputs),
        &f32s(&[2, 2], &[0.0, 1.0, 9.0, 3.0]),
    );
}

#[test]
fn reductions() {
    let x = f32s(&[2, 3], &[1.0, 5.0, 2.0, 4.0, 3.0, 4.0]);
    let reduce = |kind, axes: &[usize], keep, want: Tensor| {
        expect(&run(Reduce { kind, axes: axes.to_vec(), keep }, std::slice::from_ref(&x)), &want);
    };
    reduce(ReduceKind::Sum, &[1], false, f32s(&[2], &[8.0, 11.0]));
    reduce(ReduceKind::Product, &[0], true, f32s(&[1, 3], &[4.0, 15.0, 8.0]));
    reduce(ReduceKind::Max, &[0, 1], false, f32s(&[], &[5.0]));
    reduce(ReduceKind::Min, &[0, 1], true, f32s(&[1, 1], &[1.0]));
    reduce(ReduceKind::Sum, &[], true, x.clone());
    let any = Reduce { kind: ReduceKind::Max, axes: vec![1], keep: false };
    expect(&run(any, &[bools(&[2, 2], &[false, true, false, false])]), &bools(&[2], &[true, false]));

    let arg = |kind, last, want: &[i64]| {
        let op = ArgReduce { kind, axis: 1, keep: false, last };
        expect(&run(op, std::slice::from_ref(&x)), &i64s(&[2], want));
    };
    arg(ArgKind::Max, false, &[1, 0]);
    arg(ArgKind::Max, true, &[1, 2]);
    arg(ArgKind::Min, false, &[0, 1]);
}

#[test]
fn running_sums() {
    let cumsum = |axis, exclusive, reverse, want: &[f32]| {
        let x = f32s(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        expect(&run(CumSum { axis, exclusive, reverse }, &[x]), &f32s(&[2, 3], want));
    };
    cumsum(1, false, false, &[1.0, 3.0, 6.0, 4.0, 9.0, 15.0]);
    cumsum(1, true, false, &[0.0, 1.0, 3.0, 0.0, 4.0, 9.0]);
    cumsum(1, false, true, &[6.0, 5.0, 3.0, 15.0, 11.0, 6.0]);
    cumsum(1, true, true, &[5.0, 3.0, 0.0, 11.0, 6.0, 0.0]);
    cumsum(0, false, false, &[1.0, 2.0, 3.0, 5.0, 7.0, 9.0]);
}

fn pool(kind: PoolKind, kernel: &[i64], strides: &[i64], pads_before: &[i64], spatial: &[i64]) -> Pool {
    Pool {
        kind,
        kernel: kernel.to_vec(),
        strides: strides.to_vec(),
        dilations: vec![1; kernel.len()],
        pads_before: pads_before.to_vec(),
        spatial: extents(spatial),
    }
}

#[test]
fn pools() {
    let x = f32s(&[1, 1, 3, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    let check = |kind, want: [f32; 4]| {
        let got = run(pool(kind, &[2, 2], &[2, 2], &[1, 1], &[2, 2]), std::slice::from_ref(&x));
        expect(&got, &f32s(&[1, 1, 2, 2], &want));
    };
    check(PoolKind::Max, [1.0, 3.0, 7.0, 9.0]);
    check(PoolKind::Min, [1.0, 2.0, 4.0, 5.0]);
    check(PoolKind::Sum, [1.0, 5.0, 11.0, 28.0]);
    check(PoolKind::Mean, [1.0, 2.5, 5.5, 7.0]);
    let got = run(pool(PoolKind::Mean, &[2, 2], &[1, 1], &[0, 0], &[2, 2]), std::slice::from_ref(&x));
    expect(&got, &f32s(&[1, 1, 2, 2], &[3.0, 4.0, 6.0, 7.0]));
    // Dilated, and counting only taps inside.
    let dilated = Pool { dilations: vec![2], ..pool(PoolKind::Mean, &[2], &[1], &[1], &[4]) };
    expect(&run(dilated, &[f32s(&[3], &[1.0, 2.0, 4.0])]), &f32s(&[4], &[2.0, 2.5, 2.0, 4.0]));
    // Across channels, as LRN needs it.
    let across = pool(PoolKind::Sum, &[3, 1], &[1, 1], &[1, 0], &[3, 2]);
    expect(&run(across, &[count(&[1, 3, 2])]), &f32s(&[1, 3, 2], &[2.0, 4.0, 6.0, 9.0, 6.0, 8.0]));
}

#[test]
fn where_the_greatest_of_a_window_is() {
    let x = f32s(&[1, 2, 2, 2], &[1.0, 2.0, 3.0, 0.0, 9.0, 8.0, -7.0, 6.0]);
    let op = |column_major| ArgPool {
        kernel: vec![2, 2],
        strides: vec![1, 1],
        dilations: vec![1, 1],
        pads_before: vec![0, 1],
        spatial: extents(&[1, 2]),
        column_major,
    };
    expect(&run(op(false), std::slice::from_ref(&x)), &i64s(&[1, 2, 1, 2], &[2, 2, 4, 4]));
    expect(&run(op(true), std::slice::from_ref(&x)), &i64s(&[1, 2, 1, 2], &[1, 1, 4, 4]));
    // All that is found is the padding: the nearest element.
    let lowest = f32s(&[1, 2, 2, 2], &[-INF; 8]);
    expect(&run(op(false), &[lowest]), &i64s(&[1, 2, 1, 2], &[0, 0, 4, 4]));
}

#[test]
fn products_of_matrices_and_labels() {
    let (a, b) = (count(&[2, 3]), count(&[3, 2]));
    let want = f32s(&[2, 2], &[10.0, 13.0, 28.0, 40.0]);
    expect(&run(MatMul {}, &[a.clone(), b.clone()]), &want);
    let op = Contract { lhs: vec![0, 1], rhs: vec![1, 2], result: vec![0, 2] };
    expect(&run(op, &[a.clone(), b.clone()]), &want);
    // The outer product, nothing summed.
    let op = Contract { lhs: vec![0], rhs: vec![1], result: vec![1, 0] };
    let got = run(op, &[f32s(&[2], &[1.0, 2.0]), f32s(&[2], &[3.0, 5.0])]);
    expect(&got, &f32s(&[2, 2], &[3.0, 6.0, 5.0, 10.0]));
    // A diagonal, and an axis of extent 1 that repeats.
    let op = Contract { lhs: vec![0, 0], rhs: vec![1], result: vec![] };
    expect(&run(op, &[count(&[2, 2]), f32s(&[2], &[1.0, 1.0])]), &f32s(&[], &[6.0]));
    let op = Contract { lhs: vec![0, 1], rhs: vec![0, 1], result: vec![0] };
    expect(&run(op, &[count(&[2, 2]), f32s(&[1, 2], &[1.0, 2.0])]), &f32s(&[2], &[2.0, 8.0]));
}

#[test]
fn convolutions() {
    let conv = |groups, strides: &[i64], dilations: &[i64], pads: &[i64], spatial: &[i64]| Conv {
        groups,
        strides: strides.to_vec(),
        dilations: dilations.to_vec(),
        pads_before: pads.to_vec(),
        spatial: extents(spatial),
    };
    let x = count(&[1, 1, 3, 3]);
    let w = f32s(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let op = conv(1, &[1, 1], &[1, 1], &[0, 0], &[2, 2]);
    expect(&run(op, &[x.clone(), w.clone()]), &f32s(&[1, 1, 2, 2], &[27.0, 37.0, 57.0, 67.0]));
    let op = conv(1, &[2, 2], &[1, 1], &[1, 1], &[2, 2]);
    expect(&run(op, &[x.clone(), w.clone()]), &f32s(&[1, 1, 2, 2], &[0.0, 11.0, 30.0, 67.0]));
    let op = conv(1, &[1, 1], &[2, 2], &[0, 0], &[1, 1]);
    expect(&run(op, &[x, w]), &f32s(&[1, 1, 1, 1], &[54.0]));
    // Two groups of two channels each; one axis.
    let x = f32s(&[1, 4, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    let w = f32s(&[2, 2, 1], &[1.0, 10.0, 1.0, 100.0]);
    let op = conv(2, &[1], &[1], &[0], &[2]);
    expect(&run(op, &[x, w]), &f32s(&[1, 2, 2], &[31.0, 42.0, 705.0, 806.0]));
    // Each channel by its own.
    let x = f32s(&[1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let w = f32s(&[4, 1, 1], &[1.0, 2.0, 3.0, 4.0]);
    let op = conv(2, &[1], &[1], &[0], &[2]);
    expect(&run(op, &[x, w]), &f32s(&[1, 4, 2], &[1.0, 2.0, 2.0, 4.0, 9.0, 12.0, 12.0, 16.0]));
}

#[test]
fn choices_of_the_runtime() {
    let x = f32s(&[2, 3], &[1.0, 3.0, 2.0, 6.0, 6.0, 5.0]);
    let op = TopK { axis: 1, largest: true, sorted: true, k: Extent::Const(2) };
    let got = try_run(op, &[x.clone(), i64s(&[1], &[2])]).expect("runs");
    expect(&got[0], &f32s(&[2, 2], &[3.0, 2.0, 6.0, 6.0]));
    expect(&got[1], &i64s(&[2, 2], &[1, 2, 0, 1]));
    let got = run(NonZero { count: Extent::Const(2) }, &[f32s(&[2, 2], &[0.0, 1.0, -0.0, NAN])]);
    expect(&got, &i64s(&[2, 2], &[0, 1, 1, 1]));
    let op = Unique { axis: -1, sorted: true, count: Extent::Const(2) };
    let got = try_run(op, &[i64s(&[3], &[5, 4, 5])]).expect("runs");
    expect(&got[0], &i64s(&[2], &[4, 5]));
    expect(&got[1], &i64s(&[2], &[1, 0]));
    expect(&got[2], &i64s(&[3], &[1, 0, 1]));
    expect(&got[3], &i64s(&[2], &[1, 2]));
    let op = Compress { axis: 1, count: Extent::Const(1) };
    expect(&run(op, &[x, bools(&[2], &[false, true])]), &f32s(&[2, 1], &[3.0, 6.0]));
    let boxes = f32s(&[1, 2, 4], &[0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.1]);
    let scores = f32s(&[1, 1, 2], &[0.5, 0.9]);
    let op = NonMaxSuppression { center_point_box: false, count: Extent::Const(1) };
    let options = [i64s(&[1], &[3]), f32s(&[1], &[0.5]), f32s(&[1], &[0.0])];
    let got = run(op, &[&[boxes, scores], &options[..]].concat());
    expect(&got, &i64s(&[1, 3], &[0, 0, 1]));
}
