//! fold_branches - control flow whose conditions and trip counts are constants.

use nnc_ir::{
    constant::Constant,
    dtype::{DType, Scalar},
    extent::{Extent, Symbol, SymbolOrigin},
    graph::{RegionId, ValueId, loc},
    ops::{Add, If, Loop, Mul, Op, Relu},
    types::TensorType,
};

use super::Row;
use crate::draft::Draft;

pub(super) const ROWS: &[Row] =
    &[("take-branch", branch), ("loop-never", |d| repeat(d, 0)), ("loop-once", |d| repeat(d, 1))];

fn scalar(d: &mut Draft, dtype: DType, x: i64) -> ValueId {
    d.constant(Constant::scalar(dtype, Scalar::int(dtype, x)))
}

fn add(d: &mut Draft, region: RegionId, op: Op, operands: &[ValueId]) -> ValueId {
    d.module.append(region, op, operands, &[], &loc("inner")).expect("types fit")[0]
}

/// An `if` of two inputs, whose results may be of different length.
fn branch(d: &mut Draft) {
    let condition = i64::from(d.rng.chance(50));
    let condition = scalar(d, DType::Bool, condition);
    let dims = [d.shape(1), d.shape(1)];
    let (a, b) = (d.input(&dims[0]), d.input(&dims[1]));
    let mut regions = Vec::new();
    for take in 0..2 {
        let region = d.module.add_region();
        let types = [d.module.ty(a).clone(), d.module.ty(b).clone()];
        let params = types.map(|ty| d.module.add_param(region, ty));
        let x = params[take];
        let y = if d.rng.chance(70) { add(d, region, Relu {}.into(), &[x]) } else { x };
        d.module.set_results(region, vec![y]);
        regions.push(region);
    }
    let joined = if dims[0] == dims[1] { Extent::Const(dims[0][0]) } else { symbol(d) };
    let body = d.module.body();
    let op = If { shapes: vec![vec![joined]] };
    let y = d.module.append(body, op, &[condition, a, b], &regions, &loc("if")).expect("types fit")[0];
    let z = d.node(Mul {}, &[y, y]);
    d.maybe_output(y);
    d.output(z);
}

fn symbol(d: &mut Draft) -> Extent {
    let (min, max, origin) = (0, 16, SymbolOrigin::Data);
    Extent::symbol(d.module.symbols.push(Symbol { name: "n".into(), min, max, origin, bound: None }))
}

/// A loop that carries one value, reads another, and stacks.
fn repeat(d: &mut Draft, trips: i64) {
    let stopped = trips == 0 && d.rng.chance(50);
    let trips = if stopped { 3 } else { trips };
    let (trips, go) = (scalar(d, DType::I64, trips), scalar(d, DType::Bool, i64::from(!stopped)));
    let dims = d.any_shape(1, 3);
    let (x, w) = (d.input(&dims), d.input(&dims));
    let region = d.module.add_region();
    let ty = d.module.ty(x).clone();
    let head = [TensorType::of(DType::I64, &[]), TensorType::of(DType::Bool, &[]), ty.clone(), ty];
    let params = head.map(|ty| d.module.add_param(region, ty));
    let sum = add(d, region, Add {}.into(), &[params[2], params[3]]);
    d.module.set_results(region, vec![params[1], sum, params[2]]);
    let count = symbol(d);
    let body = d.module.body();
    let op = Loop { carried: 1, count };
    let results = d.module.append(body, op, &[trips, go, x, w], &[region], &loc("loop")).expect("types fit");
    let y = d.node(Relu {}, &[results[0]]);
    let z = d.node(Relu {}, &[results[1]]);
    d.output(y);
    d.output(z);
}
