//! pointwise - element by element, at several sizes: wide code beside four lanes, and beside copying memory.
//!
//! `cargo bench -p nnc-cpu --bench pointwise [-- name]`. One thread; the best of several runs, in nanoseconds an element.
#![allow(clippy::unwrap_used, reason = "a bench may panic")]

#[path = "../tests/support/nest/mod.rs"]
mod nest;
#[path = "../tests/support/mod.rs"]
mod support;

use nest::{Buffer, Compiled, compile_known_at};
use nnc_ir::{
    dtype::DType,
    extent::Extent,
    form::{Bounds, Combine, Ix, Load, LoopForm},
    math,
    program::{Builder, Program, Ref},
};
use support::host_levels;

const F: DType = DType::F32;

fn consts(extents: &[i64]) -> Vec<Extent> {
    extents.iter().map(|&e| Extent::Const(e)).collect()
}

fn load(operand: usize, index: Vec<Ix>, extents: &[i64]) -> Load {
    Load { operand, dtype: F, index, extents: consts(extents), bounds: Bounds::Inside }
}

fn map(loads: usize, n: i64, body: impl FnOnce(&mut Builder, &[Ref]) -> Ref) -> LoopForm {
    let mut b = Builder::new();
    let x: Vec<Ref> = (0..loads).map(|k| b.load(k, F)).collect();
    let y = body(&mut b, &x);
    LoopForm {
        space: consts(&[n]),
        reduce: vec![],
        loads: (0..loads).map(|k| load(k, LoopForm::identity(1), &[n])).collect(),
        body: b.finish([y]),
        combine: None,
        finish: Program::default(),
        results: vec![F],
    }
}

/// A fold of rows of 1024 elements.
fn fold(n: i64, combine: Combine) -> LoopForm {
    let (rows, columns) = (n / 1024, 1024);
    let mut b = Builder::new();
    let x = b.load(0, F);
    let mut f = Builder::new();
    let acc = f.acc(0, F);
    LoopForm {
        space: consts(&[rows]),
        reduce: consts(&[columns]),
        loads: vec![load(0, LoopForm::identity(2), &[rows, columns])],
        body: b.finish([x]),
        combine: Some(combine),
        finish: f.finish([acc]),
        results: vec![F],
    }
}

fn time(compiled: &Compiled, all: &[&Buffer], n: i64) -> f64 {
    let reps = ((1 << 22) / n).max(1);
    let run = |_| compiled.time(&vec![], all, reps as usize) / (reps * n) as f64;
    (0..9).map(run).fold(f64::MAX, f64::min)
}

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    type Make = fn(i64) -> LoopForm;
    let cases: [(&str, Make); 8] = [
        ("relu(a*x+b)+r", |n| {
            map(2, n, |b, x| {
                let (scale, bias, zero) = (b.f32(1.5), b.f32(0.25), b.f32(0.0));
                let y = b.fma(x[0], scale, bias);
                let y = b.max(y, zero);
                b.add(y, x[1])
            })
        }),
        ("add", |n| map(2, n, |b, x| b.add(x[0], x[1]))),
        ("exp", |n| map(1, n, |b, x| math::exp(b, x[0]))),
        ("sigmoid", |n| map(1, n, |b, x| math::sigmoid(b, x[0]))),
        ("tanh", |n| map(1, n, |b, x| math::tanh(b, x[0]))),
        ("gelu", |n| map(1, n, |b, x| nest::gelu(b, x[0]))),
        ("sum of rows", |n| fold(n, Combine::Sum)),
        ("max of rows", |n| fold(n, Combine::Max)),
    ];
    let levels: Vec<_> = std::iter::once(None).chain(host_levels().into_iter().map(Some)).collect();
    println!("{:<16} {:>9} {:>10} {:?}, in ns an element", "", "elements", "memcpy", levels);
    for (name, make) in cases {
        if filter.as_ref().is_some_and(|f| !name.contains(f.as_str())) {
            continue;
        }
        for n in [1 << 12, 1 << 16, 1 << 20, 1 << 24] {
            let form = make(n);
            let bytes: Vec<u8> =
                (0..n).flat_map(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0).to_le_bytes()).collect();
            let operands: Vec<Buffer> = form.loads.iter().map(|_| Buffer::new(&bytes)).collect();
            let results: i64 = form.space.iter().filter_map(Extent::as_const).product();
            let output = Buffer::new(&vec![0; results as usize * 4]);
            let all: Vec<&Buffer> = operands.iter().chain([&output]).collect();
            let known = vec![None; form.loads.len()];
            let mut copy = vec![0u8; bytes.len()];
            let mut best = f64::MAX;
            for _ in 0..9 {
                let start = std::time::Instant::now();
                copy.copy_from_slice(&bytes);
                std::hint::black_box(&mut copy);
                best = best.min(start.elapsed().as_nanos() as f64 / n as f64);
            }
            print!("{name:<16} {n:>9} {best:>10.4}");
            for level in &levels {
                let compiled = compile_known_at(*level, &form, &known, vec![None]);
                print!(" {:>8.4}", time(&compiled, &all, n));
            }
            println!();
        }
    }
}
