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
        dtype::DType,
        eval::{EvalLimits, Tensor, evaluate},
        extent::{Extent, Symbol, SymbolOrigin},
        graph::ValueId,
        ops::{Add, Cast, Conv, MatMul, Max, Min, Mul, Relu, Round, Sub, Transpose},
        types::TensorType,
    },
    runtime::Program,
};
use nnc_kit::{draft::Draft, rng::Rng};
use support::for_seeds;

/// What a layer gives: integers of 32 bits, and a value of what was made of them.
struct Layer {
    sums: ValueId,
    floats: ValueId,
}

fn cast(d: &mut Draft, x: ValueId, to: DType) -> ValueId {
    d.node(Cast { to }, &[x])
}

/// Bytes less a zero point, as i32.
fn centred(d: &mut Draft, bytes: ValueId, zero: ValueId) -> ValueId {
    let (wide, zero) = (cast(d, bytes, DType::I32), cast(d, zero, DType::I32));
    let zero = d.like(zero, wide);
    d.node(Sub {}, &[wide, zero])
}

/// Weights: `dims[axis]` is the axis of the results.
fn weights(d: &mut Draft, dims: &[i64], axis: usize) -> ValueId {
    let kind = d.rng.below(12);
    let shift: Vec<i64> = (0..dims[axis]).map(|_| d.rng.range(-300, 300)).collect();
    let inner: i64 = dims[axis + 1..].iter().product();
    let mut at = 0;
    let extremes = d.rng.chance(30);
    d.weight_by(DType::I32, dims, |rng| {
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
fn after(d: &mut Draft, sums: ValueId, channels: usize) -> ValueId {
    let shape = d.module.ty(sums).shape.clone();
    let mut along = vec![1; shape.len()];
    along[channels] = shape[channels].as_const().unwrap();
    let mut y = sums;
    if d.rng.chance(40) {
        let bias = d.weight_by(DType::I32, &along, |rng| rng.range(-1000, 1000) as f64);
        let bias = d.like(bias, y);
        y = d.node(Add {}, &[y, bias]);
    }
    y = cast(d, y, DType::F32);
    let dims = if d.rng.chance(50) { along.clone() } else { vec![] };
    let scale = d.weight_by(DType::F32, &dims, |rng| 0.001 + 0.01 * rng.unit());
    let scale = d.like(scale, y);
    y = d.node(Mul {}, &[y, scale]);
    if d.rng.chance(50) {
        let bias = d.weight_by(DType::F32, &along, |rng| rng.unit() - 0.5);
        let bias = d.like(bias, y);
        y = d.node(Add {}, &[y, bias]);
    }
    if d.rng.chance(50) { d.node(Relu {}, &[y]) } else { y }
}

/// Floats as bytes, and the zero point.
fn quantized(d: &mut Draft, x: ValueId) -> (ValueId, ValueId) {
    let to = *d.rng.pick(&[DType::U8, DType::U8, DType::I8]);
    let (least, most) = if to == DType::U8 { (0.0, 255.0) } else { (-128.0, 127.0) };
    let zero = d.weight_by(to, &[], |rng| least + rng.range(0, 255) as f64);
    let [least, most, scale] = [least, most, 3.7].map(|v| {
        let c = d.weight_by(DType::F32, &[], |_| v);
        d.like(c, x)
    });
    let y = d.node(Mul {}, &[x, scale]);
    let y = d.node(Round {}, &[y]);
    let shift = cast(d, zero, DType::F32);
    let shift = d.like(shift, y);
    let y = d.node(Add {}, &[y, shift]);
    let y = d.node(Max {}, &[y, least]);
    let y = d.node(Min {}, &[y, most]);
    (cast(d, y, to), zero)
}

fn product(d: &mut Draft, x: ValueId) -> Layer {
    let shape = d.module.ty(x).shape.clone();
    let k = shape[shape.len() - 1].as_const().unwrap();
    let n = *d.rng.pick(&[1, 2, 3, 8, 15, 16, 17, 31, 40, 70, 130]);
    let w = weights(d, &[k, n], 1);
    let sums = d.node(MatMul {}, &[x, w]);
    let floats = after(d, sums, shape.len() - 1);
    Layer { sums, floats }
}

fn conv(d: &mut Draft, x: ValueId) -> Layer {
    let shape = d.dims(x);
    let m = *d.rng.pick(&[1, 4, 8, 12, 16, 24, 33, 48]);
    let mut kernel = vec![m, shape[1]];
    let (mut strides, mut dilations, mut pads_before, mut spatial) = (vec![], vec![], vec![], vec![]);
    let stride = 1 + i64::from(d.rng.chance(25));
    let point = d.rng.chance(30);
    for &n in &shape[2..] {
        let k = if point { 1 } else { *d.rng.pick(&[1, 3, 3, 3, 5]) };
        let dilation = if d.rng.chance(15) { 2 } else { 1 };
        kernel.push(k);
        strides.push(stride);
        dilations.push(dilation);
        pads_before.push((k - 1) * dilation / 2);
        spatial.push(Extent::Const((n - 1) / stride + 1));
    }
    let w = weights(d, &kernel, 0);
    let sums = d.node(Conv { groups: 1, strides, dilations, pads_before, spatial }, &[x, w]);
    let floats = after(d, sums, 1);
    Layer { sums, floats }
}

/// A network and its inputs.
fn network(seed: u64) -> (Module, Vec<Tensor>) {
    let mut d = Draft::new(seed);
    let convolves = d.rng.chance(50);
    let dtype = *d.rng.pick(&[DType::U8, DType::I8]);
    let dims: Vec<i64> = if convolves {
        vec![d.rng.range(1, 2), *d.rng.pick(&[1, 3, 4, 8, 17, 24]), d.rng.range(1, 9), d.rng.range(2, 20)]
    } else {
        vec![*d.rng.pick(&[1, 1, 2, 5, 6, 7, 14, 33, 100]), *d.rng.pick(&[1, 3, 4, 5, 16, 18, 39, 100])]
    };
    let mut shape: Vec<Extent> = dims.iter().map(|&d| Extent::Const(d)).collect();
    if !convolves && d.rng.chance(40) {
        let origin = SymbolOrigin::Input { input: 0, axis: 0 };
        let symbol = Symbol { name: "n".into(), min: 0, max: 1 << 20, origin, bound: None };
        shape[0] = d.module.symbols.push(symbol).into();
    }
    let x = d.module.add_input("x", TensorType::new(dtype, shape));
    let zero = d.module.add_input("zero", TensorType::of(dtype, &[]));
    let mut layer = centred(&mut d, x, zero);
    if !convolves && d.rng.chance(20) {
        // Terms that lie apart.
        layer = d.node(Transpose { perm: vec![1, 0] }, &[layer]);
        let constant = d.module.ty(layer).shape[1].as_const().is_some();
        if !constant {
            layer = d.node(Transpose { perm: vec![1, 0] }, &[layer]);
        }
    }
    let mut results = vec![];
    for _ in 0..1 + d.rng.below(3) {
        let Layer { sums, floats } = if convolves { conv(&mut d, layer) } else { product(&mut d, layer) };
        results = vec![floats];
        if d.rng.chance(30) {
            results.push(sums);
        }
        let (bytes, zero) = quantized(&mut d, floats);
        if d.rng.chance(30) {
            results.push(bytes);
        }
        layer = centred(&mut d, bytes, zero);
    }
    results.into_iter().for_each(|result| d.output(result));
    let n: i64 = dims.iter().product();
    let byte = |rng: &mut Rng| {
        if rng.chance(20) { *rng.pick(&[0u8, 255, 128, 127]) } else { rng.range(0, 255) as u8 }
    };
    let bytes = (0..n).map(|_| byte(&mut d.rng)).collect();
    let zero = vec![byte(&mut d.rng)];
    let (module, _) = d.finish();
    (module, vec![Tensor { dtype, dims, bytes }, Tensor { dtype, dims: vec![], bytes: zero }])
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
    let results = for_seeds(&seeds, bits_are_kept);
    let counts = results.into_iter().fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    println!("{} of {} products by tiles", counts.0, counts.1);
    assert!(counts.0 >= 300 || seeds.len() < 150, "only {counts:?} products were done by tiles");
}
