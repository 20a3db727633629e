//! support - an operation of every kind, for the tests of the table.

use nnc_ir::{
    constant::Constant,
    dtype::{DType, Scalar},
    entity::EntityId,
    extent::{Extent, SymbolId},
    form::ScatterCombine,
    ops::*,
};

/// The symbol number `i`.
pub(crate) fn symbol(i: usize) -> Extent {
    Extent::symbol(SymbolId::new(i))
}

/// At least one operation of every kind, with attributes that are not all the same.
pub(crate) fn samples() -> Vec<Op> {
    let c = Extent::Const;
    let n = symbol(3);
    let half = (&n + &c(1)).floor_div(&c(2));
    let mut ops: Vec<Op> = vec![
        ConstantOp { value: Constant::i64s(&[1, -2]) }.into(),
        Extents { values: vec![c(2), n.clone(), &n * &symbol(1)] }.into(),
        ReadExtents { symbols: vec![SymbolId::new(0), SymbolId::new(12)] }.into(),
        Iota { axis: 1, shape: vec![n.clone(), c(4)], dtype: DType::F16 }.into(),
        IsInf { positive: true, negative: false }.into(),
        Rem { floored: true }.into(),
        Cast { to: DType::BF16 }.into(),
        Broadcast { shape: vec![c(5), n.clone(), half.clone()] }.into(),
        Transpose { perm: vec![1, 0, 2] }.into(),
        Reshape { shape: vec![n.scale(2), c(3)] }.into(),
        Concat { axis: 1 }.into(),
        Slice { starts: vec![c(3), half.clone()], steps: vec![-2, 1], shape: vec![c(2), n.clone()] }.into(),
        Pad {
            before: vec![c(1), n.clone()],
            after: vec![c(-1), c(0)],
            mode: PadMode::Constant(Scalar::f32(-0.5)),
        }
        .into(),
        Dilate { strides: vec![1, 2], shape: vec![n.clone(), c(9)] }.into(),
        UpsampleNearest { factors: vec![1, 3] }.into(),
        Gather { axis: 1 }.into(),
        GatherElements { axis: 0 }.into(),
        GatherNd { batch_dims: 1 }.into(),
        ArgReduce { kind: ArgKind::Min, axis: 1, keep: true, last: true }.into(),
        CumSum { axis: 0, exclusive: true, reverse: false }.into(),
        Contract { lhs: vec![0, 1], rhs: vec![1, 2], result: vec![2, 0] }.into(),
        Conv {
            groups: 2,
            strides: vec![2, 1],
            dilations: vec![1, 3],
            pads_before: vec![-1, 2],
            spatial: vec![half.clone(), c(7)],
        }
        .into(),
        ArgPool {
            kernel: vec![2, 3],
            strides: vec![1, 2],
            dilations: vec![2, 1],
            pads_before: vec![0, 1],
            spatial: vec![c(3), half.clone()],
            column_major: true,
        }
        .into(),
        TopK { axis: 1, largest: true, sorted: false, k: n.clone() }.into(),
        NonZero { count: n.clone() }.into(),
        Unique { axis: -1, sorted: true, count: n.clone() }.into(),
        Compress { axis: 1, count: c(2) }.into(),
        NonMaxSuppression { center_point_box: true, count: n.clone() }.into(),
        If { shapes: vec![vec![n.clone()], vec![]] }.into(),
        Loop { carried: 2, count: n.clone() }.into(),
        Scan { carried: 1, steps: half, reversed_inputs: vec![true, false], reversed_outputs: vec![] }.into(),
        MatMul {}.into(),
        Select {}.into(),
        Fusion {}.into(),
        Tiled { kind: TiledKind::Attention, axis: 2, rows: 16, bytes: 4096 }.into(),
        Training { kind: TrainingKind::Dropout, learns: vec![false, true] }.into(),
    ];
    macro_rules! plain {
        ($($name:ident),*) => { ops.extend([$(Op::from($name {})),*]) };
    }
    plain!(Abs, Neg, Sign, Relu, Sqrt, Exp, Log, Tanh, Erf, Gelu, Sigmoid, Sin, Cos, Tan, Asin, Acos, Atan);
    plain!(Sinh, Cosh, Asinh, Acosh, Atanh, Floor, Ceil, Trunc, Round, Not, BitNot, IsNan);
    plain!(Add, Sub, Mul, Div, Pow, Max, Min, And, Or, Xor, Shl, Shr, Equal, Less, LessOrEqual);
    for kind in [ReduceKind::Sum, ReduceKind::Product, ReduceKind::Max, ReduceKind::Min] {
        ops.push(Reduce { kind, axes: vec![0, 2], keep: false }.into());
        ops.push(Reduce { kind, axes: vec![], keep: true }.into());
    }
    for kind in [PoolKind::Max, PoolKind::Min, PoolKind::Sum, PoolKind::Mean] {
        let pool = Pool {
            kind,
            kernel: vec![2, 3],
            strides: vec![1, 2],
            dilations: vec![2, 1],
            pads_before: vec![0, 1],
            spatial: vec![c(3), c(2)],
        };
        ops.push(pool.into());
    }
    for mode in [PadMode::Edge, PadMode::Reflect, PadMode::Wrap] {
        ops.push(Pad { before: vec![c(2)], after: vec![n.clone()], mode }.into());
    }
    for combine in [
        ScatterCombine::Replace,
        ScatterCombine::Add,
        ScatterCombine::Mul,
        ScatterCombine::Max,
        ScatterCombine::Min,
    ] {
        ops.push(ScatterElements { axis: 1, combine }.into());
        ops.push(ScatterNd { combine }.into());
    }
    ops
}
