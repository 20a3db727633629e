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
        constant::Constant,
        dtype::{DType, Scalar},
        eval::Tensor,
        extent::Extent,
        graph::{ValueId, loc},
        ops::{
            Add, Broadcast, Concat, Conv, Mul, Op, Pool, PoolKind, Reduce, ReduceKind, Relu, Reshape,
            Sigmoid, Slice, UpsampleNearest,
        },
        types::TensorType,
    },
    runtime::Program,
};
use nnc_kit::{
    bounds::{bounds, check},
    rng::Rng,
};
use support::on_all_cores;

/// A network under construction.
struct Net {
    m: Module,
    rng: Rng,
}

impl Net {
    fn op(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> ValueId {
        let body = self.m.body();
        self.m.append(body, op, operands, &[], &loc("t")).unwrap()[0]
    }

    fn shape(&self, x: ValueId) -> Vec<i64> {
        self.m.ty(x).shape.iter().map(|e| e.as_const().unwrap()).collect()
    }

    fn constant(&mut self, dims: &[i64]) -> ValueId {
        let n: i64 = dims.iter().product();
        let scalars: Vec<Scalar> = (0..n).map(|_| Scalar::f32((self.rng.unit() - 0.5) as f32)).collect();
        let body = self.m.body();
        self.m.append_constant(body, Constant::from_scalars(DType::F32, dims, &scalars), &loc("c"))
    }

    /// A convolution, often with a bias and something after it.
    fn conv(&mut self, x: ValueId, m: i64, groups: i64) -> ValueId {
        let shape = self.shape(x);
        let rank = shape.len() - 2;
        let mut kernel = vec![m, shape[1] / groups];
        let (mut strides, mut dilations, mut pads_before, mut spatial) = (vec![], vec![], vec![], vec![]);
        let point = self.rng.chance(30);
        let stride = 1 + i64::from(self.rng.chance(25));
        for &n in &shape[2..] {
            let k = if point { 1 } else { *self.rng.pick(&[1, 3, 3, 5]) };
            let d = if self.rng.chance(15) { 2 } else { 1 };
            let pads = (k - 1) * d;
            let k = if n + pads <= (k - 1) * d { 1 } else { k };
            kernel.push(k);
            strides.push(stride);
            dilations.push(d);
            pads_before.push((k - 1) * d / 2);
            spatial.push(Extent::Const((n - 1) / stride + 1));
        }
        let weight = self.constant(&kernel);
        let y = self.op(Conv { groups, strides, dilations, pads_before, spatial }, &[x, weight]);
        let bias = self.constant(&[vec![m], vec![1; rank]].concat());
        let shape = self.m.ty(y).shape.clone();
        let bias = self.op(Broadcast { shape }, &[bias]);
        let y = self.op(Add {}, &[y, bias]);
        match self.rng.below(3) {
            0 => self.op(Relu {}, &[y]),
            1 => {
                let gate = self.op(Sigmoid {}, &[y]);
                self.op(Mul {}, &[y, gate])
            }
            _ => y,
        }
    }

    fn layer(&mut self, x: ValueId) -> ValueId {
        let shape = self.shape(x);
        let (channels, rank) = (shape[1], shape.len() - 2);
        let extents = |dims: &[i64]| dims.iter().map(|&d| Extent::Const(d)).collect::<Vec<_>>();
        match self.rng.below(9) {
            0 | 1 => {
                let m = *self.rng.pick(&[8, 12, 16, 24, 33]);
                self.conv(x, m, 1)
            }
            2 => self.conv(x, channels, channels),
            3 => {
                let y = self.conv(x, channels, 1);
                if self.shape(y) == shape { self.op(Add {}, &[x, y]) } else { y }
            }
            4 => {
                let y = self.conv(x, 8, 1);
                if self.shape(y)[2..] == shape[2..] { self.op(Concat { axis: 1 }, &[x, y]) } else { y }
            }
            5 => {
                let kind = if self.rng.chance(50) { PoolKind::Max } else { PoolKind::Mean };
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
                self.op(pool, &[x])
            }
            6 if shape[2] < 12 => {
                self.op(UpsampleNearest { factors: [vec![1, 1], vec![2; rank]].concat() }, &[x])
            }
            7 if channels % 2 == 0 => {
                let from = if self.rng.chance(50) { 0 } else { channels / 2 };
                let mut starts = vec![0; rank + 2];
                starts[1] = from;
                let part = extents(&[&[shape[0], channels / 2], &shape[2..]].concat());
                self.op(Slice { starts: extents(&starts), steps: vec![1; rank + 2], shape: part }, &[x])
            }
            _ => {
                // Squeeze and excitation.
                let axes = (2..rank + 2).collect();
                let mean = self.op(Reduce { kind: ReduceKind::Sum, axes, keep: true }, &[x]);
                let gate = self.op(Sigmoid {}, &[mean]);
                let wide = self.op(Broadcast { shape: extents(&shape) }, &[gate]);
                let gated = self.op(Mul {}, &[x, wide]);
                if self.rng.chance(50) { self.conv(gated, 12, 1) } else { gated }
            }
        }
    }
}

/// A network and its input.
fn network(seed: u64) -> (Module, Vec<Tensor>) {
    let mut net = Net { m: Module::new(), rng: Rng::new(seed) };
    let rank = 1 + net.rng.below(4).min(1);
    let n = 1 + net.rng.range(0, 1);
    let dims =
        [vec![n, *net.rng.pick(&[1, 3, 8])], (0..rank).map(|_| net.rng.range(4, 10)).collect()].concat();
    let ty = TensorType::new(DType::F32, dims.iter().map(|&d| Extent::Const(d)).collect::<Vec<_>>());
    let x = net.m.add_input("x", ty);
    let mut values = vec![net.conv(x, 16, 1)];
    for _ in 0..2 + net.rng.below(6) {
        let x = *values.last().unwrap();
        let y = net.layer(x);
        values.push(y);
    }
    let last = *values.last().unwrap();
    let mut results = vec![last];
    if net.rng.chance(40) {
        let other = *net.rng.pick(&values);
        results.push(net.op(Relu {}, &[other]));
    }
    if net.rng.chance(50) {
        let shape = net.shape(last);
        let flat = vec![Extent::Const(shape[0]), Extent::Const(shape[1..].iter().product())];
        results[0] = net.op(Reshape { shape: flat }, &[last]);
    }
    let outputs: Vec<(String, ValueId)> =
        results.iter().enumerate().map(|(i, &v)| (format!("y{i}"), v)).collect();
    net.m.set_outputs(&outputs);
    let n: i64 = dims.iter().product();
    let bytes = (0..n).flat_map(|_| (net.rng.unit() as f32 - 0.5).to_le_bytes()).collect();
    (net.m, vec![Tensor { dtype: DType::F32, dims, bytes }])
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
    let results = on_all_cores(&seeds, |&seed| layouts_keep(seed).map_err(|e| format!("seed {seed}: {e}")));
    let (passed, failed): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let failed: Vec<String> = failed.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{} of {} fail:\n{}", failed.len(), seeds.len(), failed.join("\n"));
    let kernels: usize = passed.into_iter().filter_map(Result::ok).sum();
    println!("{kernels} kernels with channels last");
    assert!(kernels >= 60 || seeds.len() < 30, "only {kernels} kernels had channels last");
}
