//! tiled - regions run by turns give the bits that their kernels give one after the other, for any number of threads.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support {
    pub(crate) mod program;
}
use support::program::*;

use nnc_ir::{
    constant::Constant,
    dtype::{DType, Scalar},
    eval::Tensor,
    extent::Extent,
    graph::{Module, RegionId, ValueId, loc},
    ops::{self, Tiled, TiledKind},
    types::TensorType,
};

/// Numbers without a pattern.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).unwrap() % n
    }

    fn range(&mut self, from: i64, to: i64) -> i64 {
        from + self.below(to - from + 1)
    }
}

fn extents(dims: &[i64]) -> Vec<Extent> {
    dims.iter().map(|&d| Extent::Const(d)).collect()
}

fn input(m: &mut Module, dims: &[i64]) -> ValueId {
    let name = format!("x{}", m.input_names.len());
    m.add_input(&name, TensorType::of(DType::F32, dims))
}

fn weight(m: &mut Module, dims: &[i64], seed: i64) -> ValueId {
    let scalars: Vec<Scalar> =
        numbers(dims, seed).scalars().iter().map(|s| Scalar::f32(s.as_f64().unwrap() as f32 / 8.0)).collect();
    let body = m.body();
    m.append_constant(body, Constant::from_scalars(DType::F32, dims, &scalars), &loc("w"))
}

/// What is made of `operands`: in a region that is to run by turns with about so many bytes between, or without one.
fn region(
    m: &mut Module,
    bytes: Option<i64>,
    kind: TiledKind,
    operands: &[ValueId],
    make: impl Fn(&mut Module, RegionId, &[ValueId]) -> ValueId,
) -> ValueId {
    let body = m.body();
    match bytes {
        None => make(m, body, operands),
        Some(bytes) => {
            let region = m.add_region();
            let types: Vec<TensorType> = operands.iter().map(|&v| m.ty(v).clone()).collect();
            let params: Vec<ValueId> = types.into_iter().map(|ty| m.add_param(region, ty)).collect();
            let y = make(m, region, &params);
            m.set_results(region, vec![y]);
            let op = Tiled { kind, axis: 0, rows: 1, bytes };
            m.append(body, op, operands, &[region], &loc("region")).unwrap()[0]
        }
    }
}

/// Runs both, and compares; whether the region was run by turns.
fn check(make: impl Fn(Option<i64>) -> Module, bytes: i64, inputs: &[Tensor]) -> bool {
    let plain = ready(make(None));
    let want = plain.check(inputs);
    let tiled = ready(make(Some(bytes)));
    for threads in [1, 2, 3, 5] {
        for poison in [0, 0xff] {
            let mut session = session(threads, Some(poison));
            for _ in 0..2 {
                let got = tiled.run(&mut session, inputs).unwrap_or_else(|e| panic!("{e}"));
                assert_eq!(got, want, "{threads} threads");
            }
        }
    }
    !tiled.compiled.report.tiled.is_empty()
}

/// Expansion, depthwise window, projection.
#[derive(Clone, Debug)]
struct Residual {
    images: i64,
    plane: [i64; 2],
    channels: [i64; 3],
    window: i64,
    stride: i64,
    residual: bool,
}

impl Residual {
    fn module(&self, bytes: Option<i64>) -> Module {
        let mut m = Module::new();
        let ([rows, columns], [c, e, o]) = (self.plane, self.channels);
        let small = [rows, columns].map(|n| (n - 1) / self.stride + 1);
        let x = input(&mut m, &[self.images, c, rows, columns]);
        let weights = [
            weight(&mut m, &[e, c, 1, 1], 1),
            weight(&mut m, &[e, 1, self.window, self.window], 2),
            weight(&mut m, &[o, e, 1, 1], 3),
        ];
        let conv =
            |m: &mut Module, region, x, w, (groups, stride, pad): (i64, i64, i64), spatial: [i64; 2]| {
                let op = ops::Conv {
                    groups,
                    strides: vec![stride; 2],
                    dilations: vec![1; 2],
                    pads_before: vec![pad; 2],
                    spatial: extents(&spatial),
                };
                add(m, region, op, &[x, w])
            };
        // What comes before is no input and what comes after no output, so that channels may be last there as well.
        let body = m.body();
        let before = weight(&mut m, &[c, c, 1, 1], 4);
        let x = conv(&mut m, body, x, before, (1, 1, 0), self.plane);
        let operands = [x, weights[0], weights[1], weights[2]];
        let y = region(&mut m, bytes, TiledKind::InvertedResidual, &operands, |m, region, v| {
            let y = conv(m, region, v[0], v[1], (1, 1, 0), self.plane);
            let y = add(m, region, ops::Relu {}, &[y]);
            let y = conv(m, region, y, v[2], (e, self.stride, self.window / 2), small);
            let y = conv(m, region, y, v[3], (1, 1, 0), small);
            if self.residual { add(m, region, ops::Add {}, &[y, v[0]]) } else { y }
        });
        let after = weight(&mut m, &[o, o, 1, 1], 6);
        let y = conv(&mut m, body, y, after, (1, 1, 0), small);
        outputs(&mut m, &[y]);
        m
    }
}

#[test]
fn inverted_residuals() {
    let mut rng = Rng(71);
    let mut tiled = 0;
    for _ in 0..24 {
        let residual = rng.below(2) == 0;
        let c = 16 * rng.range(1, 2);
        let case = Residual {
            images: 1 + i64::from(rng.below(4) == 0),
            plane: [rng.range(50, 90), rng.range(5, 12)],
            channels: [c, 16 * rng.range(2, 5), if residual { c } else { 8 * rng.range(2, 4) }],
            window: 3 + 2 * rng.range(0, 1),
            stride: if residual { 1 } else { rng.range(1, 2) },
            residual,
        };
        let x = numbers(&[case.images, c, case.plane[0], case.plane[1]], 5);
        let bytes = case.plane.iter().product::<i64>() * case.channels[1] / 6;
        tiled += usize::from(check(|bytes| case.module(bytes), bytes, &[x]));
    }
    assert!(tiled >= 16, "{tiled} of 24 run by turns");
}

/// Scores, softmax, mix; `heads` may be walked apart from the queries, as where heads come together again.
fn attention(bytes: Option<i64>, [heads, queries, keys, width]: [i64; 4], joins: bool) -> Module {
    let mut m = Module::new();
    let operands = [
        input(&mut m, &[heads, queries, width]),
        input(&mut m, &[heads, width, keys]),
        input(&mut m, &[heads, keys, width]),
    ];
    let y = region(&mut m, bytes, TiledKind::Attention, &operands, |m, region, v| {
        let scores = add(m, region, ops::MatMul {}, &[v[0], v[1]]);
        let softmax = m.add_region();
        let x = m.add_param(softmax, m.ty(scores).clone());
        let wide = || ops::Broadcast { shape: extents(&[heads, queries, keys]) };
        let reduce = |kind| ops::Reduce { kind, axes: vec![2], keep: true };
        let most = add(m, softmax, reduce(ops::ReduceKind::Max), &[x]);
        let most = add(m, softmax, wide(), &[most]);
        let y = add(m, softmax, ops::Sub {}, &[x, most]);
        let y = add(m, softmax, ops::Exp {}, &[y]);
        let sum = add(m, softmax, reduce(ops::ReduceKind::Sum), &[y]);
        let sum = add(m, softmax, wide(), &[sum]);
        let y = add(m, softmax, ops::Div {}, &[y, sum]);
        m.set_results(softmax, vec![y]);
        let y = m.append(region, ops::Fusion {}, &[scores], &[softmax], &loc("softmax")).unwrap()[0];
        if !joins {
            return add(m, region, ops::MatMul {}, &[y, v[2]]);
        }
        let mix = m.add_region();
        let params = [m.add_param(mix, m.ty(y).clone()), m.add_param(mix, m.ty(v[2]).clone())];
        let z = add(m, mix, ops::MatMul {}, &params);
        let z = add(m, mix, ops::Transpose { perm: vec![1, 0, 2] }, &[z]);
        m.set_results(mix, vec![z]);
        m.append(region, ops::Fusion {}, &[y, v[2]], &[mix], &loc("mix")).unwrap()[0]
    });
    outputs(&mut m, &[y]);
    m
}

#[test]
fn attention_by_heads_and_by_rows() {
    let mut rng = Rng(5);
    let mut tiled = 0;
    for i in 0..16 {
        let [heads, queries, keys, width] =
            [rng.range(1, 4), rng.range(40, 150), rng.range(17, 70), rng.range(4, 24)];
        let inputs = [
            numbers(&[heads, queries, width], 1),
            numbers(&[heads, width, keys], 2),
            numbers(&[heads, keys, width], 3),
        ];
        let bytes = heads * queries * keys / rng.range(2, 6);
        let make = |bytes| attention(bytes, [heads, queries, keys, width], i % 2 == 0);
        tiled += usize::from(check(make, bytes, &inputs));
    }
    assert!(tiled >= 12, "{tiled} of 16 run by turns");
}

#[test]
fn products_with_something_between() {
    let mut rng = Rng(9);
    for _ in 0..8 {
        let [rows, from, wide, to] =
            [rng.range(150, 300), rng.range(3, 40), rng.range(30, 130), rng.range(5, 40)];
        let make = |bytes| {
            let mut m = Module::new();
            let x = input(&mut m, &[rows, from]);
            let (up, down) = (weight(&mut m, &[from, wide], 1), weight(&mut m, &[wide, to], 2));
            let y = region(&mut m, bytes, TiledKind::Mlp, &[x, up, down], |m, region, v| {
                let y = add(m, region, ops::MatMul {}, &[v[0], v[1]]);
                let y = add(m, region, ops::Tanh {}, &[y]);
                add(m, region, ops::MatMul {}, &[y, v[2]])
            });
            outputs(&mut m, &[y]);
            m
        };
        assert!(check(make, 4 * wide * 12, &[numbers(&[rows, from], 3)]), "products go row by row");
    }
}

/// A row of the last result needs all rows of the first: what a later turn wants was given up.
#[test]
fn what_needs_all_rows_is_not_run_by_turns() {
    let make = |bytes| {
        let mut m = Module::new();
        let x = input(&mut m, &[32, 8]);
        let (up, down) = (weight(&mut m, &[8, 32], 1), weight(&mut m, &[32, 8], 2));
        let y = region(&mut m, bytes, TiledKind::Mlp, &[x, up, down], |m, region, v| {
            let y = add(m, region, ops::MatMul {}, &[v[0], v[1]]);
            let turned = m.add_region();
            let params = [m.add_param(turned, m.ty(y).clone()), m.add_param(turned, m.ty(v[2]).clone())];
            let t = add(m, turned, ops::Transpose { perm: vec![1, 0] }, &[params[0]]);
            let t = add(m, turned, ops::MatMul {}, &[t, params[1]]);
            m.set_results(turned, vec![t]);
            m.append(region, ops::Fusion {}, &[y, v[2]], &[turned], &loc("t")).unwrap()[0]
        });
        outputs(&mut m, &[y]);
        m
    };
    assert!(!check(make, 1 << 10, &[numbers(&[32, 8], 3)]));
}
