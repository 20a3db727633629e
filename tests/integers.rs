//! integers - programs of quantized layers have the bits of the evaluator, on every kind of processor.
//!
//! Random products and convolutions of bytes less a zero point by constant weights: those that fit into bytes, that have
//! offsets of one number or of one a column, that need 16 bits, and some that tiles cannot do. What follows them is exact
//! too, so nothing is compared by a bound. `NNC_SEEDS` chooses others.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use nnc::{
    Compiler, OptLevel, Options,
    cpu::CompileOptions,
    ir::{
        Module,
        constant::Constant,
        dtype::{DType, Scalar},
        eval::{EvalLimits, Tensor, evaluate},
        extent::{Extent, Symbol, SymbolOrigin},
        graph::{ValueId, loc},
        ops::{Add, Broadcast, Cast, Conv, MatMul, Max, Min, Mul, Op, Relu, Round, Sub, Transpose},
        types::TensorType,
    },
    runtime::Program,
};
use nnc_kit::rng::Rng;
use support::on_all_cores;

/// A network under construction.
struct Net {
    m: Module,
    rng: Rng,
}

/// What a layer gives: integers of 32 bits, and a value of what was made of them.
struct Layer {
    sums: ValueId,
    floats: ValueId,
}

impl Net {
    fn op(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> ValueId {
        let body = self.m.body();
        self.m.append(body, op, operands, &[], &loc("t")).unwrap()[0]
    }

    fn constant(&mut self, dtype: DType, dims: &[i64], mut element: impl FnMut(&mut Rng) -> f64) -> ValueId {
        let n: i64 = dims.iter().product();
        let scalar = |x: f64| match dtype {
            DType::F32 => Scalar::f32(x as f32),
            other => Scalar::int(other, x as i64),
        };
        let scalars: Vec<Scalar> = (0..n).map(|_| scalar(element(&mut self.rng))).collect();
        let body = self.m.body();
        self.m.append_constant(body, Constant::from_scalars(dtype, dims, &scalars), &loc("c"))
    }

    fn cast(&mut self, x: ValueId, to: DType) -> ValueId {
        self.op(Cast { to }, &[x])
    }

    fn like(&mut self, x: ValueId, to: ValueId) -> ValueId {
        let shape = self.m.ty(to).shape.clone();
        self.op(Broadcast { shape }, &[x])
    }

    /// Bytes less a zero point, as i32.
    fn centred(&mut self, bytes: ValueId, zero: ValueId) -> ValueId {
        let (wide, zero) = (self.cast(bytes, DType::I32), self.cast(zero, DType::I32));
        let zero = self.like(zero, wide);
        self.op(Sub {}, &[wide, zero])
    }

    /// Weights: `dims[axis]` is the axis of the results.
    fn weights(&mut self, dims: &[i64], axis: usize) -> ValueId {
        let kind = self.rng.below(12);
        let shift: Vec<i64> = (0..dims[axis]).map(|_| self.rng.range(-300, 300)).collect();
        let inner: i64 = dims[axis + 1..].iter().product();
        let mut at = 0;
        let extremes = self.rng.chance(30);
        self.constant(DType::I32, dims, |rng| {
            let column = at / inner % dims[axis];
            at += 1;
            let byte = if extremes { *rng.pick(&[-128, 127]) } else { rng.range(-128, 127) };
            let w = match kind {
                0..=3 => byte,
                4..=6 => byte + 57,
                7 | 8 => byte + shift[column as usize],
                9 | 10 => *rng.pick(&[-32768, 32767, 1000, -3]),
                _ => byte * 1_000_003,
            };
            w as f64
        })
    }

    /// What stands behind sums: a bias of integers, a scale, a residual, a rectifier.
    fn after(&mut self, sums: ValueId, channels: usize) -> ValueId {
        let shape = self.m.ty(sums).shape.clone();
        let mut along = vec![1; shape.len()];
        along[channels] = shape[channels].as_const().unwrap();
        let mut y = sums;
        if self.rng.chance(40) {
            let bias = self.constant(DType::I32, &along, |rng| rng.range(-1000, 1000) as f64);
            let bias = self.like(bias, y);
            y = self.op(Add {}, &[y, bias]);
        }
        y = self.cast(y, DType::F32);
        let dims = if self.rng.chance(50) { along.clone() } else { vec![] };
        let scale = self.constant(DType::F32, &dims, |rng| 0.001 + 0.01 * rng.unit());
        let scale = self.like(scale, y);
        y = self.op(Mul {}, &[y, scale]);
        if self.rng.chance(50) {
            let bias = self.constant(DType::F32, &along, |rng| rng.unit() - 0.5);
            let bias = self.like(bias, y);
            y = self.op(Add {}, &[y, bias]);
        }
        if self.rng.chance(50) { self.op(Relu {}, &[y]) } else { y }
    }

    /// Floats as bytes, and the zero point.
    fn quantized(&mut self, x: ValueId) -> (ValueId, ValueId) {
        let to = *self.rng.pick(&[DType::U8, DType::U8, DType::I8]);
        let (least, most) = if to == DType::U8 { (0.0, 255.0) } else { (-128.0, 127.0) };
        let zero = self.constant(to, &[], |rng| least + rng.range(0, 255) as f64);
        let [least, most, scale] = [least, most, 3.7].map(|v| {
            let c = self.constant(DType::F32, &[], |_| v);
            self.like(c, x)
        });
        let y = self.op(Mul {}, &[x, scale]);
        let y = self.op(Round {}, &[y]);
        let shift = self.cast(zero, DType::F32);
        let shift = self.like(shift, y);
        let y = self.op(Add {}, &[y, shift]);
        let y = self.op(Max {}, &[y, least]);
        let y = self.op(Min {}, &[y, most]);
        (self.cast(y, to), zero)
    }

    fn product(&mut self, x: ValueId) -> Layer {
        let shape = self.m.ty(x).shape.clone();
        let k = shape[shape.len() - 1].as_const().unwrap();
        let n = *self.rng.pick(&[1, 2, 3, 8, 15, 16, 17, 31, 40, 70, 130]);
        let w = self.weights(&[k, n], 1);
        let sums = self.op(MatMul {}, &[x, w]);
        let floats = self.after(sums, shape.len() - 1);
        Layer { sums, floats }
    }

    fn conv(&mut self, x: ValueId) -> Layer {
        let shape: Vec<i64> = self.m.ty(x).shape.iter().map(|e| e.as_const().unwrap()).collect();
        let m = *self.rng.pick(&[1, 4, 8, 12, 16, 24, 33, 48]);
        let mut kernel = vec![m, shape[1]];
        let (mut strides, mut dilations, mut pads_before, mut spatial) = (vec![], vec![], vec![], vec![]);
        let stride = 1 + i64::from(self.rng.chance(25));
        let point = self.rng.chance(30);
        for &n in &shape[2..] {
            let k = if point { 1 } else { *self.rng.pick(&[1, 3, 3, 3, 5]) };
            let d = if self.rng.chance(15) { 2 } else { 1 };
            kernel.push(k);
            strides.push(stride);
            dilations.push(d);
            pads_before.push((k - 1) * d / 2);
            spatial.push(Extent::Const((n - 1) / stride + 1));
        }
        let w = self.weights(&kernel, 0);
        let sums = self.op(Conv { groups: 1, strides, dilations, pads_before, spatial }, &[x, w]);
        let floats = self.after(sums, 1);
        Layer { sums, floats }
    }
}

/// A network, its inputs, and whether it has convolutions.
fn network(seed: u64) -> (Module, Vec<Tensor>) {
    let mut net = Net { m: Module::new(), rng: Rng::new(seed) };
    let convolves = net.rng.chance(50);
    let dtype = *net.rng.pick(&[DType::U8, DType::I8]);
    let dims: Vec<i64> = if convolves {
        vec![
            net.rng.range(1, 2),
            *net.rng.pick(&[1, 3, 4, 8, 17, 24]),
            net.rng.range(1, 9),
            net.rng.range(2, 20),
        ]
    } else {
        vec![*net.rng.pick(&[1, 1, 2, 5, 6, 7, 14, 33, 100]), *net.rng.pick(&[1, 3, 4, 5, 16, 18, 39, 100])]
    };
    let mut shape: Vec<Extent> = dims.iter().map(|&d| Extent::Const(d)).collect();
    if !convolves && net.rng.chance(40) {
        let origin = SymbolOrigin::Input { input: 0, axis: 0 };
        shape[0] =
            net.m.symbols.push(Symbol { name: "n".into(), min: 0, max: 1 << 20, origin, bound: None }).into();
    }
    let x = net.m.add_input("x", TensorType::new(dtype, shape));
    let zero = net.m.add_input("zero", TensorType::of(dtype, &[]));
    let mut layer = net.centred(x, zero);
    if !convolves && net.rng.chance(20) {
        // Terms that lie apart.
        layer = net.op(Transpose { perm: vec![1, 0] }, &[layer]);
        let constant = net.m.ty(layer).shape[1].as_const().is_some();
        if !constant {
            layer = net.op(Transpose { perm: vec![1, 0] }, &[layer]);
        }
    }
    let mut results = vec![];
    for _ in 0..1 + net.rng.below(3) {
        let Layer { sums, floats } = if convolves { net.conv(layer) } else { net.product(layer) };
        results = vec![floats];
        if net.rng.chance(30) {
            results.push(sums);
        }
        let (bytes, zero) = net.quantized(floats);
        if net.rng.chance(30) {
            results.push(bytes);
        }
        layer = net.centred(bytes, zero);
    }
    let outputs: Vec<(String, ValueId)> =
        results.iter().enumerate().map(|(i, &v)| (format!("y{i}"), v)).collect();
    net.m.set_outputs(&outputs);
    let n: i64 = dims.iter().product();
    let byte = |rng: &mut Rng| {
        if rng.chance(20) { *rng.pick(&[0u8, 255, 128, 127]) } else { rng.range(0, 255) as u8 }
    };
    let bytes = (0..n).map(|_| byte(&mut net.rng)).collect();
    let zero = vec![byte(&mut net.rng)];
    (net.m, vec![Tensor { dtype, dims, bytes }, Tensor { dtype, dims: vec![], bytes: zero }])
}

/// Products that tiles did, and all of them.
fn bits_are_kept(seed: u64) -> Result<(usize, usize), String> {
    let (module, inputs) = network(seed);
    let want = evaluate(&module, &inputs, &EvalLimits::GENEROUS).map_err(|e| e.to_string())?;
    let dtypes: Vec<DType> = want.iter().map(|t| t.dtype).collect();
    let (mut plain, mut all) = (0, 0);
    for cpu in ["native", "x86-64-v4", "x86-64-v3", "generic"] {
        let level = if cpu == "native" { OptLevel::O2 } else { OptLevel::O1 };
        let compiler = Compiler::new(Options { level, cpu: cpu.into(), ..Options::default() });
        let lowered = compiler.optimize(module.clone()).map_err(|e| e.to_string())?;
        let compiled = match compiler.generate_with(&lowered.module, CompileOptions::default()) {
            Ok(compiled) => compiled,
            // Another architecture has no such level.
            Err(_) if cpu.starts_with("x86") && !cfg!(target_arch = "x86_64") => continue,
            Err(e) => return Err(e.to_string()),
        };
        if compiled.image.target.check_host().is_err() {
            continue;
        }
        plain += compiled.report.plain_products.len();
        all += compiled
            .image
            .kernels
            .iter()
            .filter(|k| ["matmul", "conv"].iter().any(|n| k.name.contains(n)))
            .count();
        let program = Program::load(compiled.image).map_err(|e| e.to_string())?;
        for threads in [1, 3] {
            let got = support::run(&program, &inputs, &dtypes, threads)?;
            if got != want {
                return Err(format!("{cpu}, {threads} threads: other bits"));
            }
        }
    }
    Ok((all - plain, all))
}

#[test]
fn quantized_layers_have_the_bits_of_the_evaluator() {
    let seeds = support::seeds(0..150);
    let results = on_all_cores(&seeds, |&seed| bits_are_kept(seed).map_err(|e| format!("seed {seed}: {e}")));
    let (passed, failed): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let failed: Vec<String> = failed.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{} of {} fail:\n{}", failed.len(), seeds.len(), failed.join("\n"));
    let counts = passed.into_iter().filter_map(Result::ok).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    println!("{} of {} products by tiles", counts.0, counts.1);
    assert!(counts.0 >= 300 || seeds.len() < 150, "only {counts:?} products were done by tiles");
}
