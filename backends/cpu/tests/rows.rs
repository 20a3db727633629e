//! rows - row nests against the evaluator: softmax, normalisations and random ones, each one kernel.

mod support {
    pub(crate) mod program;
}
use support::program::*;

use nnc_ir::{
    dtype::{DType, Scalar},
    eval::Tensor,
    extent::Extent,
    graph::{Module, RegionId, ValueId, loc},
    ops::{self, ReduceKind},
    types::TensorType,
};

/// Where the nodes of a fusion go.
struct Body<'m> {
    m: &'m mut Module,
    region: RegionId,
    /// Axes that reductions are over.
    axes: Vec<usize>,
}

impl Body<'_> {
    fn op(&mut self, op: impl Into<ops::Op>, operands: &[ValueId]) -> ValueId {
        add(self.m, self.region, op, operands)
    }
    fn reduce(&mut self, kind: ReduceKind, x: ValueId) -> ValueId {
        self.op(ops::Reduce { kind, axes: self.axes.clone(), keep: true }, &[x])
    }
    /// `x` in the shape of `like`.
    fn spread(&mut self, x: ValueId, like: ValueId) -> ValueId {
        let shape = self.m.ty(like).shape.clone();
        self.op(ops::Broadcast { shape }, &[x])
    }
    fn softmax(&mut self, x: ValueId, log: bool) -> ValueId {
        let max = self.reduce(ReduceKind::Max, x);
        let max = self.spread(max, x);
        let d = self.op(ops::Sub {}, &[x, max]);
        let e = self.op(ops::Exp {}, &[d]);
        let sum = self.reduce(ReduceKind::Sum, e);
        let sum = if log { self.op(ops::Log {}, &[sum]) } else { sum };
        let sum = self.spread(sum, x);
        if log { self.op(ops::Sub {}, &[d, sum]) } else { self.op(ops::Div {}, &[e, sum]) }
    }
    /// `(x - mean) / sqrt(variance + eps) * gamma + beta`.
    fn norm(&mut self, x: ValueId, [n, eps, gamma, beta]: [ValueId; 4]) -> ValueId {
        let sum = self.reduce(ReduceKind::Sum, x);
        let n = self.spread(n, sum);
        let mean = self.op(ops::Div {}, &[sum, n]);
        let mean = self.spread(mean, x);
        let d = self.op(ops::Sub {}, &[x, mean]);
        let squares = self.op(ops::Mul {}, &[d, d]);
        let squares = self.reduce(ReduceKind::Sum, squares);
        let variance = self.op(ops::Div {}, &[squares, n]);
        let eps = self.spread(eps, variance);
        let variance = self.op(ops::Add {}, &[variance, eps]);
        let root = self.op(ops::Sqrt {}, &[variance]);
        let root = self.spread(root, x);
        let y = self.op(ops::Div {}, &[d, root]);
        let (gamma, beta) = (self.spread(gamma, x), self.spread(beta, x));
        let y = self.op(ops::Mul {}, &[y, gamma]);
        self.op(ops::Add {}, &[y, beta])
    }
}

/// A program of one fusion over inputs of these types.
fn program(
    mut m: Module,
    axes: &[usize],
    types: &[TensorType],
    make: impl FnOnce(&mut Body<'_>, &[ValueId]) -> Vec<ValueId>,
) -> Ready {
    let inputs: Vec<ValueId> =
        types.iter().enumerate().map(|(i, ty)| m.add_input(&format!("x{i}"), ty.clone())).collect();
    let region = m.add_region();
    let params: Vec<ValueId> = types.iter().map(|ty| m.add_param(region, ty.clone())).collect();
    let results = make(&mut Body { m: &mut m, region, axes: axes.to_vec() }, &params);
    m.set_results(region, results);
    let body = m.body();
    let fusion = m.append(body, ops::Fusion {}, &inputs, &[region], &loc("rows"));
    let values = fusion.unwrap_or_else(|e| panic!("{e}"));
    outputs(&mut m, &values);
    ready(m)
}

fn ty(dims: &[i64]) -> TensorType {
    TensorType::of(DType::F32, dims)
}

fn kernels(ready: &Ready) -> Vec<String> {
    ready.program.image().kernels.iter().map(|k| k.name.clone()).collect()
}

/// The symbols of an input whose axes are all symbols.
fn symbols(m: &mut Module, rank: usize) -> Vec<Extent> {
    (0..rank).map(|axis| input_symbol(m, &format!("n{axis}"), 0, axis)).collect()
}

/// Shapes and the axes that are reduced: rows of 1, shorter and longer than vectors, none, columns.
const SHAPES: &[(&[i64], &[usize])] = &[
    (&[1, 1], &[1]),
    (&[5, 1], &[1]),
    (&[3, 3], &[1]),
    (&[7, 19], &[1]),
    (&[2, 12, 9, 17], &[3]),
    (&[600, 8], &[1]),
    (&[3, 1000], &[1]),
    (&[1, 10], &[1]),
    (&[0, 5], &[1]),
    (&[4, 0], &[1]),
    (&[2, 5, 33], &[1]),
    (&[2, 70, 600], &[1]),
    (&[3, 4, 5, 6], &[1, 3]),
    (&[3, 4, 5, 6], &[2, 3]),
    (&[3, 4, 5, 37], &[0, 1]),
    (&[6, 37], &[0]),
];

#[test]
fn softmax_over_any_axes_is_one_kernel() {
    for &(dims, axes) in SHAPES {
        for log in [false, true] {
            let fixed = program(Module::new(), axes, &[ty(dims)], |b, x| vec![b.softmax(x[0], log)]);
            let name = if log { "k000_log_softmax" } else { "k000_softmax" };
            assert_eq!(kernels(&fixed), [name], "{dims:?} {axes:?}");
            fixed.check(&[numbers(dims, 3)]);
            let mut m = Module::new();
            let shape = symbols(&mut m, dims.len());
            let any = TensorType::new(DType::F32, shape);
            let any = program(m, axes, &[any], |b, x| vec![b.softmax(x[0], log)]);
            assert_eq!(kernels(&any), [name], "{dims:?} {axes:?}");
            for &(other, _) in SHAPES.iter().filter(|(d, _)| d.len() == dims.len()) {
                any.check(&[numbers(other, 5)]);
            }
        }
    }
}

#[test]
fn a_norm_of_a_sum_gives_the_sum_too() {
    for &(dims, axes) in SHAPES {
        let count: i64 = axes.iter().map(|&a| dims[a]).product();
        let last = dims[dims.len() - 1];
        let types = [ty(dims), ty(dims), ty(&[]), ty(&[]), ty(&[last]), ty(&[last])];
        let ready = program(Module::new(), axes, &types, |b, x| {
            let sum = b.op(ops::Add {}, &[x[0], x[1]]);
            let y = b.norm(sum, [x[2], x[3], x[4], x[5]]);
            vec![sum, y]
        });
        assert_eq!(kernels(&ready), ["k000_norm"], "{dims:?} {axes:?}");
        let one = |x: f32| Tensor::f32s(&[], &[x]);
        let inputs = [numbers(dims, 1), numbers(dims, 2), one(count as f32), one(1e-5)];
        let weights = [numbers(&[last], 3), numbers(&[last], 4)];
        ready.check(&[&inputs[..], &weights].concat());
    }
}

#[test]
fn halves_are_rounded_between_stages() {
    for &(dims, axes) in SHAPES {
        let half = TensorType::of(DType::F16, dims);
        let ready = program(Module::new(), axes, &[half], |b, x| vec![b.softmax(x[0], false)]);
        assert_eq!(kernels(&ready), ["k000_softmax"], "{dims:?} {axes:?}");
        let elements = numbers(dims, 7).scalars();
        let elements: Vec<Scalar> =
            elements.iter().map(|x| Scalar::float(DType::F16, x.as_f64().unwrap())).collect();
        let x = Tensor::from_scalars(DType::F16, dims, &elements);
        // A sum in another order may round to the neighbour, which is 2^-11 away.
        let want = evaluate_all(&ready, &x);
        let got = ready.run(&mut session(2, Some(0xff)), &[x]).unwrap();
        for (g, w) in got[0].scalars().iter().zip(want[0].scalars()) {
            let (g, w) = (g.as_f64().unwrap(), w.as_f64().unwrap());
            assert!((g - w).abs() <= 2e-3 * w.abs().max(1e-3), "{dims:?}: {g} instead of {w}");
        }
    }
}

fn evaluate_all(ready: &Ready, x: &Tensor) -> Vec<Tensor> {
    let limits = nnc_ir::eval::EvalLimits::GENEROUS;
    nnc_ir::eval::evaluate(&ready.module, std::slice::from_ref(x), &limits).unwrap_or_else(|e| panic!("{e}"))
}

/// Random numbers, the same ones in every run.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % n as u64) as usize
    }
    fn pick(&mut self, of: &[ValueId]) -> ValueId {
        of[self.below(of.len())]
    }
}

/// Reductions, what is computed of them, and what is computed of both, in any order.
fn random(rng: &mut Rng, b: &mut Body<'_>, x: &[ValueId]) -> Vec<ValueId> {
    let mut wide = x[..2].to_vec();
    let mut narrow: Vec<ValueId> = Vec::new();
    let weight = b.spread(x[2], x[0]);
    for _ in 0..4 + rng.below(9) {
        let (a, c) = (rng.pick(&wide), rng.pick(&wide));
        match rng.below(7) {
            0 | 1 => {
                let kinds = [ReduceKind::Sum, ReduceKind::Max, ReduceKind::Min];
                let r = b.reduce(kinds[rng.below(3)], a);
                // Kept small, so that an order of summing does not show.
                narrow.push(b.op(ops::Tanh {}, &[r]));
            }
            2 if !narrow.is_empty() => {
                let (p, q) = (rng.pick(&narrow), rng.pick(&narrow));
                narrow.push(b.op(ops::Mul {}, &[p, q]));
            }
            3 | 4 if !narrow.is_empty() => {
                let n = rng.pick(&narrow);
                let n = b.spread(n, a);
                wide.push(b.op(ops::Sub {}, &[a, n]));
            }
            5 => {
                let t = b.op(ops::Tanh {}, &[a]);
                wide.push(b.op(ops::Mul {}, &[t, weight]));
            }
            _ => {
                let t = b.op(ops::Sigmoid {}, &[c]);
                wide.push(b.op(ops::Add {}, &[a, t]));
            }
        }
    }
    let r = b.reduce(ReduceKind::Max, wide[wide.len() - 1]);
    let spread = b.spread(r, x[0]);
    let last = b.op(ops::Sub {}, &[wide[wide.len() - 1], spread]);
    let mut results = vec![last];
    let made = &wide[2..];
    for more in [made.first(), narrow.first(), narrow.last()].into_iter().flatten() {
        if rng.below(3) == 0 && !results.contains(more) {
            results.push(*more);
        }
    }
    results
}

#[test]
fn random_row_nests_compute_what_the_evaluator_does() {
    let mut rng = Rng(11);
    let mut single = 0;
    for turn in 0..60 {
        let (dims, axes) = SHAPES[rng.below(SHAPES.len())];
        let last = dims[dims.len() - 1];
        let mut m = Module::new();
        let symbolic = turn % 2 == 0;
        let shape = if symbolic { symbols(&mut m, dims.len()) } else { ty(dims).shape };
        let wide = TensorType::new(DType::F32, shape.clone());
        let weight = TensorType::new(DType::F32, vec![shape[dims.len() - 1].clone()]);
        let ready = program(m, axes, &[wide.clone(), wide, weight], |b, x| random(&mut rng, b, x));
        single += usize::from(kernels(&ready).len() == 1);
        ready.check(&[numbers(dims, turn), numbers(dims, turn + 1), numbers(&[last], turn + 2)]);
    }
    assert!(single >= 50, "only {single} of 60 are one kernel");
}
