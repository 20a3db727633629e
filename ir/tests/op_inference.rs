//! op_inference - what inference refuses, and by which constraint; what symbolic extents it keeps.

use nnc_ir::{
    dtype::{DType, Scalar},
    entity::EntityId,
    extent::{Extent, SymbolId},
    form::{Bounds, ScatterCombine},
    ops::*,
    types::TensorType,
};

fn infer(op: &Op, operands: &[TensorType]) -> Result<Vec<TensorType>, String> {
    let operands: Vec<&TensorType> = operands.iter().collect();
    op.check_arity(operands.len())?;
    op.def().infer(&InferCx { operands: &operands, regions: &[] })
}
fn symbol(i: usize) -> Extent {
    Extent::symbol(SymbolId::new(i))
}
fn f32s(dims: &[i64]) -> TensorType {
    TensorType::of(DType::F32, dims)
}
fn of(dtype: DType, dims: &[i64]) -> TensorType {
    TensorType::of(dtype, dims)
}
fn extents(numbers: &[i64]) -> Vec<Extent> {
    numbers.iter().map(|&x| Extent::Const(x)).collect()
}
#[track_caller]
fn refuses(op: impl Into<Op>, operands: &[TensorType], why: &str) {
    let message = infer(&op.into(), operands).expect_err(why);
    assert!(message.starts_with(why), "{message}");
}

#[test]
fn pointwise_operations_name_the_constraint() {
    refuses(Add {}, &[f32s(&[2]), f32s(&[3])], "add (C1): f32[3] differs from f32[2]");
    refuses(Add {}, &[f32s(&[2])], "add: needs 2 operands, has 1");
    refuses(
        Mul {},
        &[of(DType::Bool, &[2]), of(DType::Bool, &[2])],
        "mul (C2): needs number elements, has bool",
    );
    refuses(Exp {}, &[of(DType::I32, &[2])], "exp (C2): needs float elements, has i32");
    refuses(Not {}, &[f32s(&[])], "not (C2)");
    refuses(Xor {}, &[f32s(&[]), f32s(&[])], "xor (C2)");
    refuses(Shl {}, &[of(DType::Bool, &[]), of(DType::Bool, &[])], "shl (C2)");
    refuses(Rem { floored: true }, &[f32s(&[]), of(DType::F64, &[])], "rem (C1)");
    refuses(IsInf { positive: true, negative: true }, &[of(DType::U8, &[])], "is_inf (C2)");
    refuses(Select {}, &[of(DType::Bool, &[2]), f32s(&[2]), f32s(&[3])], "select (C1)");
    refuses(Select {}, &[of(DType::U8, &[2]), f32s(&[2]), f32s(&[2])], "select (C2)");
    refuses(Select {}, &[of(DType::Bool, &[3]), f32s(&[2]), f32s(&[2])], "select (C3)");
    refuses(Iota { axis: 1, shape: extents(&[2]), dtype: DType::F32 }, &[], "iota (C1)");
    refuses(Iota { axis: 0, shape: extents(&[-2]), dtype: DType::F32 }, &[], "iota (C1)");
    refuses(Iota { axis: 0, shape: extents(&[2]), dtype: DType::Bool }, &[], "iota (C2)");
}

#[test]
fn movements_name_the_constraint() {
    let slice = |starts: &[i64], steps: &[i64], shape: &[i64]| Slice {
        starts: extents(starts),
        steps: steps.to_vec(),
        shape: extents(shape),
    };
    refuses(slice(&[0], &[0], &[1]), &[f32s(&[3])], "slice (C1)");
    refuses(slice(&[0, 0], &[1], &[1]), &[f32s(&[3])], "slice (C1)");
    refuses(slice(&[0], &[i64::MIN], &[1]), &[f32s(&[3])], "slice (C1)");
    refuses(slice(&[1], &[1], &[3]), &[f32s(&[3])], "slice (C2): reads 1 to 3 of axis 0");
    refuses(slice(&[1], &[-1], &[3]), &[f32s(&[3])], "slice (C2)");
    assert!(infer(&slice(&[9], &[1], &[0]).into(), &[f32s(&[3])]).is_ok());

    let pad =
        |before: i64, after: i64, mode| Pad { before: extents(&[before]), after: extents(&[after]), mode };
    refuses(pad(0, -4, PadMode::Edge), &[f32s(&[3])], "pad (C1)");
    refuses(pad(1, 1, PadMode::Edge), &[f32s(&[3, 3])], "pad (C1)");
    refuses(pad(1, 1, PadMode::Constant(Scalar::i64(0))), &[f32s(&[3])], "pad (C2)");
    refuses(pad(1, 1, PadMode::Wrap), &[f32s(&[0])], "pad (C3)");
    refuses(Dilate { strides: vec![0], shape: extents(&[3]) }, &[f32s(&[3])], "dilate (C1)");
    refuses(UpsampleNearest { factors: vec![2, 0] }, &[f32s(&[3, 3])], "upsample_nearest (C1)");

    let (x, i) = (f32s(&[2, 3]), of(DType::I64, &[2, 2]));
    refuses(Gather { axis: 2 }, &[x.clone(), i.clone()], "gather (C1)");
    refuses(Gather { axis: 1 }, &[x.clone(), x.clone()], "gather (C2)");
    refuses(GatherElements { axis: 0 }, &[x.clone(), of(DType::I64, &[2])], "gather_elements (C1)");
    refuses(GatherElements { axis: 0 }, &[x.clone(), of(DType::I64, &[2, 4])], "gather_elements (C3)");
    refuses(GatherNd { batch_dims: 0 }, &[x.clone(), of(DType::I64, &[2, 3])], "gather_nd (C1)");
    refuses(GatherNd { batch_dims: 9 }, &[x.clone(), i.clone()], "gather_nd (C1)");
    refuses(GatherNd { batch_dims: 1 }, &[x.clone(), of(DType::I64, &[3, 1])], "gather_nd (C3)");

    let scatter = |combine| ScatterElements { axis: 1, combine };
    let inputs = [x.clone(), i.clone(), f32s(&[2, 3])];
    refuses(scatter(ScatterCombine::Add), &inputs, "scatter_elements (C3)");
    let b = of(DType::Bool, &[2, 2]);
    refuses(scatter(ScatterCombine::Add), &[b.clone(), i.clone(), b], "scatter_elements (C4)");
    let inputs = [x, i, f32s(&[3])];
    refuses(ScatterNd { combine: ScatterCombine::Replace }, &inputs, "scatter_nd (C3)");
}

#[test]
fn reductions_and_windows_name_the_constraint() {
    let reduce = |axes: &[usize]| Reduce { kind: ReduceKind::Sum, axes: axes.to_vec(), keep: false };
    refuses(reduce(&[1, 0]), &[f32s(&[2, 3])], "reduce (C1)");
    refuses(reduce(&[2]), &[f32s(&[2, 3])], "reduce (C1)");
    refuses(reduce(&[0]), &[of(DType::Bool, &[2])], "reduce (C2)");
    let arg = |axis| ArgReduce { kind: ArgKind::Max, axis, keep: false, last: false };
    refuses(arg(1), &[f32s(&[2, 0])], "arg_reduce (C1): axis 1 of f32[2,0] is empty");
    refuses(CumSum { axis: 2, exclusive: false, reverse: false }, &[f32s(&[2, 2])], "cumsum (C1)");

    let pool = |kind, kernel: &[i64], stride: i64| Pool {
        kind,
        kernel: kernel.to_vec(),
        strides: vec![stride],
        dilations: vec![1],
        pads_before: vec![0],
        spatial: extents(&[2]),
    };
    refuses(pool(PoolKind::Max, &[], 1), &[f32s(&[2, 2])], "pool (C1)");
    refuses(pool(PoolKind::Max, &[2, 2, 2], 1), &[f32s(&[2, 2])], "pool (C1)");
    refuses(pool(PoolKind::Max, &[0], 1), &[f32s(&[2, 2])], "pool (C1)");
    refuses(pool(PoolKind::Mean, &[2], 1), &[of(DType::I8, &[2, 2])], "pool (C2)");
    refuses(
        pool(PoolKind::Max, &[2], 0),
        &[f32s(&[2, 2])],
        "pool (C3): stride 0 is outside of 1..=2147483648",
    );

    let conv = |groups| Conv {
        groups,
        strides: vec![1],
        dilations: vec![1],
        pads_before: vec![0],
        spatial: extents(&[4]),
    };
    refuses(conv(1), &[f32s(&[1, 3]), f32s(&[2, 3])], "conv (C1)");
    refuses(
        conv(1),
        &[f32s(&[1, 3, 4]), f32s(&[2, 5, 1])],
        "conv (C2): input has 3 channels, weight expects 5",
    );
    refuses(conv(2), &[f32s(&[1, 4, 4]), f32s(&[3, 2, 1])], "conv (C3)");
    refuses(conv(i64::MIN), &[f32s(&[1, 0, 4]), f32s(&[3, 0, 1])], "conv (C3)");
    refuses(conv(1), &[f32s(&[1, 3, 4, 4]), f32s(&[2, 3, 1, 1])], "conv (C4)");

    let contract = |lhs: &[usize], result: &[usize]| Contract {
        lhs: lhs.to_vec(),
        rhs: vec![1],
        result: result.to_vec(),
    };
    refuses(contract(&[0], &[0]), &[f32s(&[2, 2]), f32s(&[2])], "contract (C1)");
    refuses(contract(&[0], &[7]), &[f32s(&[2]), f32s(&[2])], "contract (C1): no operand has label 7");
    refuses(contract(&[0], &[0, 0]), &[f32s(&[2]), f32s(&[2])], "contract (C1)");
    refuses(contract(&[0], &[0]), &[f32s(&[2]), of(DType::F64, &[2])], "contract (C2)");
    refuses(contract(&[1], &[1]), &[f32s(&[2]), f32s(&[3])], "contract (C3): label 1 is 2 and 3");
}

#[test]
fn functions_of_the_runtime_name_the_constraint() {
    let top_k = |k| TopK { axis: 0, largest: true, sorted: true, k: Extent::Const(k) };
    refuses(top_k(4), &[f32s(&[3]), of(DType::I64, &[1])], "top_k (C3)");
    refuses(top_k(2), &[f32s(&[3]), of(DType::I32, &[1])], "top_k (C3)");
    refuses(NonZero { count: Extent::Const(-1) }, &[f32s(&[3])], "non_zero (C1)");
    refuses(Unique { axis: -2, sorted: true, count: symbol(0) }, &[f32s(&[3])], "unique (C1)");
    refuses(Compress { axis: 0, count: symbol(0) }, &[f32s(&[3]), f32s(&[3])], "compress (C2)");
    let nms = NonMaxSuppression { center_point_box: false, count: symbol(0) };
    let scalars = [of(DType::I64, &[]), f32s(&[]), f32s(&[])];
    refuses(nms, &[&[f32s(&[1, 5, 3]), f32s(&[1, 1, 5])], &scalars[..]].concat(), "non_max_suppression (C1)");
}

fn bounds_of_conv(pad: i64, input: &Extent, output: &Extent) -> Bounds {
    let conv: Op = Conv {
        groups: 1,
        strides: vec![2],
        dilations: vec![3],
        pads_before: vec![pad],
        spatial: vec![output.clone()],
    }
    .into();
    let x = TensorType::new(DType::F32, vec![symbol(0), Extent::Const(3), input.clone()]);
    let w = f32s(&[8, 3, 2]);
    let results = infer(&conv, &[x.clone(), w.clone()]).expect("fits");
    assert_eq!(results[0].shape, [symbol(0), Extent::Const(8), output.clone()]);
    let form = conv.def().form(&[&x, &w], &[&results[0]]);
    form.loops().expect("a nest").loads[0].bounds
}

#[test]
fn a_convolution_guards_its_loads_only_where_windows_reach_out() {
    let n = symbol(1);
    let windows = |n: &Extent| &(n - &Extent::Const(4)).floor_div(&Extent::Const(2)) + &Extent::ONE;
    let guard = Bounds::Guard(Scalar::f32(0.0));
    assert_eq!(bounds_of_conv(0, &n, &windows(&n)), Bounds::Inside);
    assert_eq!(bounds_of_conv(0, &n, &symbol(2)), guard);
    assert_eq!(bounds_of_conv(1, &n, &windows(&n)), guard);
    let ten = Extent::Const(10);
    assert_eq!(bounds_of_conv(0, &ten, &Extent::Const(4)), Bounds::Inside);
    assert_eq!(bounds_of_conv(0, &ten, &Extent::Const(5)), guard);
    assert_eq!(bounds_of_conv(1, &ten, &Extent::Const(4)), guard);
}
