//! regions - programs whose regions run by turns give the bits of programs whose kernels run one after the other.
//!
//! Random attention, MLP blocks and inverted residuals of odd extents, as a model has them, through the whole pipeline: with
//! 1, 2 and 3 threads, and with extents that only a run knows, where all of it is as without regions. `NNC_SEEDS` chooses
//! others.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use nnc::{
    Compiler, Options,
    ir::{
        Module,
        dtype::DType,
        extent::Extent,
        graph::ValueId,
        ops::{Add, Conv, Div, Exp, MatMul, Max, Reduce, ReduceKind, Relu, Reshape, Sub, Tanh, Transpose},
    },
    runtime::Program,
};
use nnc_kit::{
    draft::{Draft, small},
    rng::Rng,
};
use support::for_seeds;

fn extents(dims: &[i64]) -> Vec<Extent> {
    dims.iter().map(|&d| Extent::Const(d)).collect()
}

fn weight(d: &mut Draft, dims: &[i64]) -> ValueId {
    d.weight_by(DType::F32, dims, |rng| (rng.unit() - 0.5) / 4.0)
}

/// Scores of heads, their softmax, what is mixed by it; perhaps with the heads together again, and a product.
fn attention(d: &mut Draft) {
    let mut range = |from, to| d.rng.range(from, to);
    let [heads, queries, keys, width] = [range(1, 3), range(500, 900), range(250, 400), range(5, 70)];
    let (q, k) = (d.small(&[heads, queries, width]), d.small(&[heads, width, keys]));
    let v = d.small(&[heads, keys, width]);
    let scores = d.node(MatMul {}, &[q, k]);
    let reduce = |kind| Reduce { kind, axes: vec![2], keep: true };
    let most = d.node(reduce(ReduceKind::Max), &[scores]);
    let most = d.like(most, scores);
    let y = d.node(Sub {}, &[scores, most]);
    let y = d.node(Exp {}, &[y]);
    let sum = d.node(reduce(ReduceKind::Sum), &[y]);
    let sum = d.like(sum, y);
    let y = d.node(Div {}, &[y, sum]);
    let mut y = d.node(MatMul {}, &[y, v]);
    if d.rng.chance(50) {
        y = d.node(Transpose { perm: vec![1, 0, 2] }, &[y]);
        y = d.node(Reshape { shape: extents(&[queries, heads * width]) }, &[y]);
        let out = weight(d, &[heads * width, 24]);
        y = d.node(MatMul {}, &[y, out]);
    }
    d.output(y);
}

/// Two products with something between, and perhaps the input added.
fn mlp(d: &mut Draft) {
    let mut range = |from, to| d.rng.range(from, to);
    let [rows, width, wide] = [range(3000, 6000), range(9, 50), range(130, 300)];
    let x = d.small(&[rows, width]);
    let (up, down) = (weight(d, &[width, wide]), weight(d, &[wide, width]));
    let y = d.node(MatMul {}, &[x, up]);
    let y = if d.rng.chance(50) { d.node(Relu {}, &[y]) } else { d.node(Tanh {}, &[y]) };
    let y = d.node(MatMul {}, &[y, down]);
    let y = if d.rng.chance(50) { d.node(Add {}, &[y, x]) } else { y };
    d.output(y);
}

fn conv(d: &mut Draft, x: ValueId, to: i64, (groups, kernel, stride): (i64, i64, i64)) -> ValueId {
    let shape = d.dims(x);
    let w = weight(d, &[to, shape[1] / groups, kernel, kernel]);
    let spatial = shape[2..].iter().map(|n| Extent::Const((n - 1) / stride + 1)).collect();
    let op = Conv {
        groups,
        strides: vec![stride; 2],
        dilations: vec![1; 2],
        pads_before: vec![kernel / 2; 2],
        spatial,
    };
    let y = d.node(op, &[x, w]);
    let bias = weight(d, &[to, 1, 1]);
    let bias = d.like(bias, y);
    d.node(Add {}, &[y, bias])
}

/// Several blocks of expansion, depthwise window, projection, one after the other.
fn residuals(d: &mut Draft) {
    let mut range = |from, to| d.rng.range(from, to);
    let [images, rows, columns] = [range(1, 2), range(45, 90), range(17, 60)];
    let x = d.small(&[images, 8, rows, columns]);
    let mut x = conv(d, x, 16, (1, 1, 1));
    for _ in 0..2 {
        let (stride, kernel) = (d.rng.range(1, 2), d.rng.range(1, 2) * 2 + 1);
        let (from, wide) = (16, 16 * d.rng.range(2, 5));
        let y = conv(d, x, wide, (1, 1, 1));
        let y = d.node(Relu {}, &[y]);
        let y = conv(d, y, wide, (wide, kernel, stride));
        let y = d.node(Max {}, &[y, y]);
        let y = conv(d, y, from, (1, 1, 1));
        x = if stride == 1 { d.node(Add {}, &[y, x]) } else { y };
    }
    let y = conv(d, x, 8, (1, 1, 1));
    d.output(y);
}

/// A program, and how many of its kernels call others by turns.
fn program(module: &Module, without: &[&str]) -> Result<(Program, usize), String> {
    let without = without.iter().map(|&pass| pass.to_owned()).collect();
    let compiler = Compiler::new(Options { without, ..Options::default() });
    let lowered = compiler.optimize(module.clone()).map_err(|e| e.to_string())?;
    let compiled = compiler.generate(&lowered.module).map_err(|e| e.to_string())?;
    Ok((Program::load(compiled.image).map_err(|e| e.to_string())?, compiled.report.tiled.len()))
}

/// How many regions ran by turns.
fn keeps(seed: u64, make: fn(&mut Draft)) -> Result<usize, String> {
    let mut draft = Draft::new(seed);
    make(&mut draft);
    let (module, inputs) = draft.finish();
    let (apart, none) = program(&module, &["form-regions"])?;
    let (turns, count) = program(&module, &[])?;
    let want = support::run(&apart, &inputs, &[DType::F32], 1)?;
    for threads in [1, 2, 3] {
        if support::run(&turns, &inputs, &[DType::F32], threads)? != want {
            return Err(format!("{threads} threads give other bits than kernels apart"));
        }
    }
    if none == 0 { Ok(count) } else { Err("there are regions without the pass".into()) }
}

/// Runs seeds; at least a fourth of them have regions that run by turns.
fn all(make: fn(&mut Draft)) {
    let seeds = support::seeds(0..12);
    let results = for_seeds(&seeds, |seed| keeps(seed, make));
    let tiled = results.into_iter().filter(|&count| count > 0).count();
    println!("{tiled} of {} with regions by turns", seeds.len());
    let wide = nnc::cpu::Target::native().is_ok_and(|target| target.wide.is_some());
    assert!(4 * tiled >= seeds.len() || !wide, "only {tiled} had regions by turns");
}

#[test]
fn attention_keeps_its_bits() {
    all(attention);
}

#[test]
fn mlp_blocks_keep_their_bits() {
    all(mlp);
}

#[test]
fn inverted_residuals_keep_their_bits() {
    all(residuals);
}

/// Attention over so many positions, or `s0`.
fn positions(n: &str, symbol: &str) -> Module {
    let text = format!(
        "nnir 1
phase canonical
{symbol}module (%0 \"q\" : f32[2,{n},24], %1 \"k\" : f32[2,24,{n}], %2 \"v\" : f32[2,{n},24]) {{
  %3 = matmul %0, %1 : f32[2,{n},{n}]
  %4 = tanh %3 : f32[2,{n},{n}]
  %5 = matmul %4, %2 : f32[2,{n},24]
  return %5 \"y\"
}}
"
    );
    nnc::ir::text::parse(&text, &|_| None).unwrap()
}

#[test]
fn positions_that_only_a_run_knows_give_the_same_bits() {
    let (open, none) = program(&positions("s0", "symbol s0 \"n\" 1..=4096 input(0,1)\n"), &[]).unwrap();
    assert_eq!(none, 0, "turns are worked out when compiling");
    for n in [631, 817] {
        let mut rng = Rng::new(1);
        let inputs = [[2, n, 24], [2, 24, n], [2, n, 24]].map(|dims| small(&mut rng, &dims));
        let (known, _) = program(&positions(&n.to_string(), ""), &[]).unwrap();
        for threads in [1, 3] {
            let [open, known] = [&open, &known]
                .map(|program| support::run(program, &inputs, &[DType::F32], threads).unwrap());
            assert_eq!(open, known, "{n} positions, {threads} threads");
        }
    }
}
