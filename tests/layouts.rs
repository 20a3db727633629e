//! layouts - programs with channels last give what they give with all tensors in the order of their axes.
//!
//! Random convolutional networks: windows of all kinds, skips, joined and sliced channels, pooling, resizing, outputs in
//! between. Both programs lie within the bounds of the evaluator's results that reordered sums have, and neither's bits
//! depend on threads. `NNC_SEEDS` chooses others.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use nnc::{
    Compiler, OptLevel, Options,
    cpu::CompileOptions,
    ir::{
        Module,
        dtype::DType,
        eval::Tensor,
        extent::Extent,
        graph::ValueId,
        ops::{
            Add, Concat, Conv, Mul, Pool, PoolKind, Reduce, ReduceKind, Relu, Reshape, Sigmoid, Slice,
            UpsampleNearest,
        },
    },
    runtime::Program,
};
use nnc_kit::{
    bounds::{bounds, check},
    draft::Draft,
};
use support::for_seeds;

fn weight(d: &mut Draft, dims: &[i64]) -> ValueId {
    d.weight_by(DType::F32, dims, |rng| rng.unit() - 0.5)
}

/// A convolution, often with a bias and something after it.
fn conv(d: &mut Draft, x: ValueId, m: i64, groups: i64) -> ValueId {
    let shape = d.dims(x);
    let rank = shape.len() - 2;
    let mut kernel = vec![m, shape[1] / groups];
    let (mut strides, mut dilations, mut pads_before, mut spatial) = (vec![], vec![], vec![], vec![]);
    let point = d.rng.chance(30);
    let stride = 1 + i64::from(d.rng.chance(25));
    for &n in &shape[2..] {
        let k = if point { 1 } else { *d.rng.pick(&[1, 3, 3, 5]) };
        let dilation = if d.rng.chance(15) { 2 } else { 1 };
        let pads = (k - 1) * dilation;
        let k = if n + pads <= (k - 1) * dilation { 1 } else { k };
        kernel.push(k);
        strides.push(stride);
        dilations.push(dilation);
        pads_before.push((k - 1) * dilation / 2);
        spatial.push(Extent::Const((n - 1) / stride + 1));
    }
    let w = weight(d, &kernel);
    let y = d.node(Conv { groups, strides, dilations, pads_before, spatial }, &[x, w]);
    let bias = weight(d, &[vec![m], vec![1; rank]].concat());
    let bias = d.like(bias, y);
    let y = d.node(Add {}, &[y, bias]);
    match d.rng.below(3) {
        0 => d.node(Relu {}, &[y]),
        1 => {
            let gate = d.node(Sigmoid {}, &[y]);
            d.node(Mul {}, &[y, gate])
        }
        _ => y,
    }
}

fn layer(d: &mut Draft, x: ValueId) -> ValueId {
    let shape = d.dims(x);
    let (channels, rank) = (shape[1], shape.len() - 2);
    let extents = |dims: &[i64]| dims.iter().map(|&d| Extent::Const(d)).collect::<Vec<_>>();
    match d.rng.below(9) {
        0 | 1 => {
            let m = *d.rng.pick(&[8, 12, 16, 24, 33]);
            conv(d, x, m, 1)
        }
        2 => conv(d, x, channels, channels),
        3 => {
            let y = conv(d, x, channels, 1);
            if d.dims(y) == shape { d.node(Add {}, &[x, y]) } else { y }
        }
        4 => {
            let y = conv(d, x, 8, 1);
            if d.dims(y)[2..] == shape[2..] { d.node(Concat { axis: 1 }, &[x, y]) } else { y }
        }
        5 => {
            let kind = if d.rng.chance(50) { PoolKind::Max } else { PoolKind::Mean };
            let spatial = shape[2..].iter().map(|&n| Extent::Const((n - 1) / 2 + 1)).collect();
            let (ones, twos, threes) = (vec![1; rank], vec![2; rank], vec![3; rank]);
            let pool = Pool {
                kind,
                kernel: threes,
                strides: twos,
                dilations: ones.clone(),
                pads_before: ones,
                spatial,
            };
            d.node(pool, &[x])
        }
        6 if shape[2] < 12 => d.node(UpsampleNearest { factors: [vec![1, 1], vec![2; rank]].concat() }, &[x]),
        7 if channels % 2 == 0 => {
            let from = if d.rng.chance(50) { 0 } else { channels / 2 };
            let mut starts = vec![0; rank + 2];
            starts[1] = from;
            let part = extents(&[&[shape[0], channels / 2], &shape[2..]].concat());
            d.node(Slice { starts: extents(&starts), steps: vec![1; rank + 2], shape: part }, &[x])
        }
        _ => {
            // Squeeze and excitation.
            let axes = (2..rank + 2).collect();
            let mean = d.node(Reduce { kind: ReduceKind::Sum, axes, keep: true }, &[x]);
            let gate = d.node(Sigmoid {}, &[mean]);
            let wide = d.like(gate, x);
            let gated = d.node(Mul {}, &[x, wide]);
            if d.rng.chance(50) { conv(d, gated, 12, 1) } else { gated }
        }
    }
}

/// A network and its input.
fn network(seed: u64) -> (Module, Vec<Tensor>) {
    let mut d = Draft::new(seed);
    let rank = 1 + d.rng.below(4).min(1);
    let n = 1 + d.rng.range(0, 1);
    let dims = [vec![n, *d.rng.pick(&[1, 3, 8])], (0..rank).map(|_| d.rng.range(4, 10)).collect()].concat();
    let x = d.small(&dims);
    let mut values = vec![conv(&mut d, x, 16, 1)];
    for _ in 0..2 + d.rng.below(6) {
        let x = *values.last().unwrap();
        let y = layer(&mut d, x);
        values.push(y);
    }
    let mut last = *values.last().unwrap();
    let other = d.rng.chance(40).then(|| *d.rng.pick(&values));
    if d.rng.chance(50) {
        let shape = d.dims(last);
        let flat = vec![Extent::Const(shape[0]), Extent::Const(shape[1..].iter().product())];
        last = d.node(Reshape { shape: flat }, &[last]);
    }
    d.output(last);
    if let Some(other) = other {
        let other = d.node(Relu {}, &[other]);
        d.output(other);
    }
    d.finish()
}

/// Kernels whose results have channels last, after both programs were held to the bounds.
fn layouts_keep(seed: u64) -> Result<usize, String> {
    let (module, inputs) = network(seed);
    let mut count = 0;
    for level in [OptLevel::O0, OptLevel::O2] {
        let compiler = Compiler::new(Options { level, ..Options::default() });
        let lowered = compiler.optimize(module.clone()).map_err(|e| e.to_string())?;
        let allowed = bounds(&lowered.module, &inputs)?;
        let outputs = vec![DType::F32; allowed.len()];
        for keep_layouts in [true, false] {
            let options = CompileOptions { keep_layouts, ..CompileOptions::default() };
            let compiled = compiler.generate_with(&lowered.module, options).map_err(|e| e.to_string())?;
            if keep_layouts && !compiled.report.channels_last.is_empty() {
                return Err("layouts are not kept".into());
            }
            count += compiled.report.channels_last.len();
            let program = Program::load(compiled.image).map_err(|e| e.to_string())?;
            let got = support::run(&program, &inputs, &outputs, 1)?;
            for (i, (bound, got)) in allowed.iter().zip(&got).enumerate() {
                check(bound, got).map_err(|e| format!("{level:?}, kept {keep_layouts}, output {i}: {e}"))?;
            }
            if support::run(&program, &inputs, &outputs, 3)? != got {
                return Err(format!("{level:?}, kept {keep_layouts}: three threads give other bits"));
            }
        }
    }
    Ok(count)
}

#[test]
fn channels_last_give_what_channels_first_give() {
    let seeds = support::seeds(0..30);
    let kernels: usize = for_seeds(&seeds, layouts_keep).into_iter().sum();
    println!("{kernels} kernels with channels last");
    assert!(kernels >= 60 || seeds.len() < 30, "only {kernels} kernels had channels last");
}
