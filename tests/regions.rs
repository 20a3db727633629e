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
        constant::Constant,
        dtype::{DType, Scalar},
        eval::Tensor,
        extent::Extent,
        graph::{ValueId, loc},
        ops::{
            Add, Broadcast, Conv, Div, Exp, MatMul, Max, Op, Reduce, ReduceKind, Relu, Reshape, Sub, Tanh,
            Transpose,
        },
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
    inputs: Vec<Tensor>,
}

fn tensor(rng: &mut Rng, dims: &[i64]) -> Tensor {
    let n: i64 = dims.iter().product();
    let bytes = (0..n).flat_map(|_| ((rng.unit() - 0.5) as f32).to_le_bytes()).collect();
    Tensor { dtype: DType::F32, dims: dims.to_vec(), bytes }
}

fn extents(dims: &[i64]) -> Vec<Extent> {
    dims.iter().map(|&d| Extent::Const(d)).collect()
}

impl Net {
    fn op(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> ValueId {
        let body = self.m.body();
        self.m.append(body, op, operands, &[], &loc("t")).unwrap()[0]
    }

    fn input(&mut self, dims: &[i64]) -> ValueId {
        self.inputs.push(tensor(&mut self.rng, dims));
        let name = format!("x{}", self.inputs.len());
        self.m.add_input(&name, TensorType::of(DType::F32, dims))
    }

    fn weight(&mut self, dims: &[i64]) -> ValueId {
        let n: i64 = dims.iter().product();
        let scalars: Vec<Scalar> =
            (0..n).map(|_| Scalar::f32((self.rng.unit() - 0.5) as f32 / 4.0)).collect();
        let body = self.m.body();
        self.m.append_constant(body, Constant::from_scalars(DType::F32, dims, &scalars), &loc("w"))
    }

    fn wide(&mut self, x: ValueId, like: ValueId) -> ValueId {
        let shape = self.m.ty(like).shape.clone();
        self.op(Broadcast { shape }, &[x])
    }

    /// Scores of heads, their softmax, what is mixed by it; perhaps with the heads together again, and a product.
    fn attention(&mut self) {
        let mut range = |from, to| self.rng.range(from, to);
        let [heads, queries, keys, width] = [range(1, 3), range(500, 900), range(250, 400), range(5, 70)];
        let (q, k) = (self.input(&[heads, queries, width]), self.input(&[heads, width, keys]));
        let v = self.input(&[heads, keys, width]);
        let scores = self.op(MatMul {}, &[q, k]);
        let reduce = |kind| Reduce { kind, axes: vec![2], keep: true };
        let most = self.op(reduce(ReduceKind::Max), &[scores]);
        let most = self.wide(most, scores);
        let y = self.op(Sub {}, &[scores, most]);
        let y = self.op(Exp {}, &[y]);
        let sum = self.op(reduce(ReduceKind::Sum), &[y]);
        let sum = self.wide(sum, y);
        let y = self.op(Div {}, &[y, sum]);
        let mut y = self.op(MatMul {}, &[y, v]);
        if self.rng.chance(50) {
            y = self.op(Transpose { perm: vec![1, 0, 2] }, &[y]);
            y = self.op(Reshape { shape: extents(&[queries, heads * width]) }, &[y]);
            let out = self.weight(&[heads * width, 24]);
            y = self.op(MatMul {}, &[y, out]);
        }
        self.finish(y);
    }

    /// Two products with something between, and perhaps the input added.
    fn mlp(&mut self) {
        let mut range = |from, to| self.rng.range(from, to);
        let [rows, width, wide] = [range(3000, 6000), range(9, 50), range(130, 300)];
        let x = self.input(&[rows, width]);
        let (up, down) = (self.weight(&[width, wide]), self.weight(&[wide, width]));
        let y = self.op(MatMul {}, &[x, up]);
        let y = if self.rng.chance(50) { self.op(Relu {}, &[y]) } else { self.op(Tanh {}, &[y]) };
        let y = self.op(MatMul {}, &[y, down]);
        let y = if self.rng.chance(50) { self.op(Add {}, &[y, x]) } else { y };
        self.finish(y);
    }

    fn conv(&mut self, x: ValueId, to: i64, (groups, kernel, stride): (i64, i64, i64)) -> ValueId {
        let shape: Vec<i64> = self.m.ty(x).shape.iter().map(|e| e.as_const().unwrap()).collect();
        let weight = self.weight(&[to, shape[1] / groups, kernel, kernel]);
        let spatial = shape[2..].iter().map(|n| Extent::Const((n - 1) / stride + 1)).collect();
        let op = Conv {
            groups,
            strides: vec![stride; 2],
            dilations: vec![1; 2],
            pads_before: vec![kernel / 2; 2],
            spatial,
        };
        let y = self.op(op, &[x, weight]);
        let bias = self.weight(&[to, 1, 1]);
        let bias = self.wide(bias, y);
        self.op(Add {}, &[y, bias])
    }

    /// Several blocks of expansion, depthwise window, projection, one after the other.
    fn residuals(&mut self) {
        let mut range = |from, to| self.rng.range(from, to);
        let [images, rows, columns] = [range(1, 2), range(45, 90), range(17, 60)];
        let x = self.input(&[images, 8, rows, columns]);
        let mut x = self.conv(x, 16, (1, 1, 1));
        for _ in 0..2 {
            let (stride, kernel) = (self.rng.range(1, 2), self.rng.range(1, 2) * 2 + 1);
            let (from, wide) = (16, 16 * self.rng.range(2, 5));
            let y = self.conv(x, wide, (1, 1, 1));
            let y = self.op(Relu {}, &[y]);
            let y = self.conv(y, wide, (wide, kernel, stride));
            let y = self.op(Max {}, &[y, y]);
            let y = self.conv(y, from, (1, 1, 1));
            x = if stride == 1 { self.op(Add {}, &[y, x]) } else { y };
        }
        let y = self.conv(x, 8, (1, 1, 1));
        self.finish(y);
    }

    fn finish(&mut self, y: ValueId) {
        let body = self.m.body();
        self.m.set_results(body, vec![y]);
        self.m.output_names = vec!["y".into()];
    }
}

fn network(seed: u64, make: fn(&mut Net)) -> Net {
    let mut net = Net { m: Module::new(), rng: Rng::new(seed), inputs: Vec::new() };
    make(&mut net);
    net
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
fn keeps(seed: u64, make: fn(&mut Net)) -> Result<usize, String> {
    let net = network(seed, make);
    let (apart, none) = program(&net.m, &["form-regions"])?;
    let (turns, count) = program(&net.m, &[])?;
    let want = support::run(&apart, &net.inputs, &[DType::F32], 1)?;
    for threads in [1, 2, 3] {
        if support::run(&turns, &net.inputs, &[DType::F32], threads)? != want {
            return Err(format!("{threads} threads give other bits than kernels apart"));
        }
    }
    if none == 0 { Ok(count) } else { Err("there are regions without the pass".into()) }
}

/// Runs seeds; at least a fourth of them have regions that run by turns.
fn all(make: fn(&mut Net)) {
    let seeds = support::seeds(0..12);
    let results = on_all_cores(&seeds, |&seed| keeps(seed, make).map_err(|e| format!("seed {seed}: {e}")));
    let (passed, failed): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let failed: Vec<String> = failed.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{} of {} fail:\n{}", failed.len(), seeds.len(), failed.join("\n"));
    let tiled = passed.into_iter().filter_map(Result::ok).filter(|&count| count > 0).count();
    println!("{tiled} of {} with regions by turns", seeds.len());
    let wide = nnc::cpu::Target::native().is_ok_and(|target| target.wide.is_some());
    assert!(4 * tiled >= seeds.len() || !wide, "only {tiled} had regions by turns");
}

#[test]
fn attention_keeps_its_bits() {
    all(Net::attention);
}

#[test]
fn mlp_blocks_keep_their_bits() {
    all(Net::mlp);
}

#[test]
fn inverted_residuals_keep_their_bits() {
    all(Net::residuals);
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
        let inputs = [[2, n, 24], [2, 24, n], [2, n, 24]].map(|dims| tensor(&mut rng, &dims));
        let (known, _) = program(&positions(&n.to_string(), ""), &[]).unwrap();
        for threads in [1, 3] {
            let [open, known] = [&open, &known]
                .map(|program| support::run(program, &inputs, &[DType::F32], threads).unwrap());
            assert_eq!(open, known, "{n} positions, {threads} threads");
        }
    }
}
