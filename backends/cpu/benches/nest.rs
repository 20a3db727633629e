//! nest - what loop nests cost: nanoseconds an element of the result or operand, and microseconds to compile.
//!
//! `cargo bench -p nnc-cpu --bench nest [-- name]`. One thread; the best of several runs.
#![allow(clippy::unwrap_used, reason = "a bench may panic")]

#[path = "../tests/support/nest/mod.rs"]
mod nest;
#[path = "../tests/support/mod.rs"]
mod support;

use nest::{Buffer, compile_known_at, value};
use nnc_ir::{
    dtype::{DType, Scalar},
    extent::{Extent, product},
    form::{Bounds, Combine, Ix, Load, LoopForm},
    math,
    program::{Builder, Program, Ref},
};
use std::time::Instant;
use support::host_levels;

const F: DType = DType::F32;

fn load(operand: usize, index: Vec<Ix>, extents: &[i64], bounds: Bounds) -> Load {
    let extents = extents.iter().map(|&e| Extent::Const(e)).collect();
    Load { operand, dtype: F, index, extents, bounds }
}

fn inside(operand: usize, index: Vec<Ix>, extents: &[i64]) -> Load {
    load(operand, index, extents, Bounds::Inside)
}

fn consts(extents: &[i64]) -> Vec<Extent> {
    extents.iter().map(|&e| Extent::Const(e)).collect()
}

fn map(space: &[i64], loads: Vec<Load>, body: impl FnOnce(&mut Builder, &[Ref]) -> Ref) -> LoopForm {
    let mut b = Builder::new();
    let x: Vec<Ref> = loads.iter().enumerate().map(|(k, l)| b.load(k, l.dtype)).collect();
    let y = body(&mut b, &x);
    let results = vec![F];
    LoopForm {
        space: consts(space),
        reduce: vec![],
        loads,
        body: b.finish([y]),
        combine: None,
        finish: Program::default(),
        results,
    }
}

fn reduce(space: &[i64], over: &[i64], loads: Vec<Load>, combine: Combine, square: bool) -> LoopForm {
    let mut b = Builder::new();
    let mut x = b.load(0, F);
    if let Some(l) = loads.get(1) {
        let y = b.load(1, l.dtype);
        x = b.mul(x, y);
    }
    if square {
        x = b.mul(x, x);
    }
    let mut f = Builder::new();
    let acc = f.acc(0, F);
    LoopForm {
        space: consts(space),
        reduce: consts(over),
        loads,
        body: b.finish([x]),
        combine: Some(combine),
        finish: f.finish([acc]),
        results: vec![F],
    }
}

fn window(c: i64, size: i64, kernel: i64, stride: i64, pad: i64, weights: bool) -> LoopForm {
    let out = (size + 2 * pad - kernel) / stride + 1;
    let at = |a: usize| Ix::Axis(a).times(stride).plus(Ix::Axis(a + 2)).plus(Ix::int(-pad));
    let (combine, fill) = if weights { (Combine::Sum, 0.0) } else { (Combine::Max, f32::NEG_INFINITY) };
    let guard = Bounds::Guard(Scalar::f32(fill));
    let mut loads = vec![load(0, vec![Ix::Axis(0), at(1), at(2)], &[c, size, size], guard)];
    if weights {
        loads.push(inside(1, vec![Ix::Axis(0), Ix::Axis(3), Ix::Axis(4)], &[c, kernel, kernel]));
    }
    reduce(&[c, out, out], &[kernel, kernel], loads, combine, false)
}

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let id = LoopForm::identity;
    let n = 1 << 16;
    let flat = || inside(0, id(1), &[n]);
    let cases: Vec<(&str, LoopForm)> = vec![
        ("copy", map(&[n], vec![flat()], |_, x| x[0])),
        ("add", map(&[n], vec![flat(), inside(1, id(1), &[n])], |b, x| b.add(x[0], x[1]))),
        (
            "scale, bias, relu",
            map(
                &[64, 1024],
                vec![
                    inside(0, id(2), &[64, 1024]),
                    inside(1, vec![Ix::Axis(0)], &[64]),
                    inside(2, vec![Ix::Axis(0)], &[64]),
                ],
                |b, x| {
                    let y = b.fma(x[0], x[1], x[2]);
                    let zero = b.f32(0.0);
                    b.max(y, zero)
                },
            ),
        ),
        (
            "bias of last axis",
            map(
                &[512, 128],
                vec![inside(0, id(2), &[512, 128]), inside(1, vec![Ix::Axis(1)], &[128])],
                |b, x| b.add(x[0], x[1]),
            ),
        ),
        ("exp", map(&[n], vec![flat()], |b, x| math::exp(b, x[0]))),
        ("sigmoid", map(&[n], vec![flat()], |b, x| math::sigmoid(b, x[0]))),
        ("tanh", map(&[n], vec![flat()], |b, x| math::tanh(b, x[0]))),
        ("gelu", map(&[n], vec![flat()], |b, x| nest::gelu(b, x[0]))),
        (
            "transpose 256x256",
            map(&[256, 256], vec![inside(0, vec![Ix::Axis(1), Ix::Axis(0)], &[256, 256])], |_, x| x[0]),
        ),
        (
            "heads [128,12,64] to [12,128,64]",
            map(
                &[12, 128, 64],
                vec![inside(0, vec![Ix::Axis(1), Ix::Axis(0), Ix::Axis(2)], &[128, 12, 64])],
                |_, x| x[0],
            ),
        ),
        ("sum of rows", reduce(&[64], &[1024], vec![inside(0, id(2), &[64, 1024])], Combine::Sum, false)),
        ("max of rows", reduce(&[64], &[1024], vec![inside(0, id(2), &[64, 1024])], Combine::Max, false)),
        ("sum of squares", reduce(&[512], &[128], vec![inside(0, id(2), &[512, 128])], Combine::Sum, true)),
        ("sum of 49", reduce(&[1024], &[49], vec![inside(0, id(2), &[1024, 49])], Combine::Sum, false)),
        (
            "sum of columns",
            reduce(
                &[64],
                &[1024],
                vec![inside(0, vec![Ix::Axis(1), Ix::Axis(0)], &[1024, 64])],
                Combine::Sum,
                false,
            ),
        ),
        (
            "argmax of rows",
            reduce(
                &[64],
                &[1024],
                vec![inside(0, id(2), &[64, 1024])],
                Combine::ArgMax { last: false },
                false,
            ),
        ),
        ("max pool 3x3 s2 p1 of 112", window(8, 112, 3, 2, 1, false)),
        ("max pool 2x2 s2 of 112", window(8, 112, 2, 2, 0, false)),
        ("max pool 3x3 s1 p1 of 28", window(64, 28, 3, 1, 1, false)),
        ("depthwise 3x3 p1 of 56", window(16, 56, 3, 1, 1, true)),
        ("depthwise 3x3 p1 of 14", window(64, 14, 3, 1, 1, true)),
        ("depthwise 3x3 s2 p1 of 56", window(16, 56, 3, 2, 1, true)),
        (
            "matmul 64x64x64",
            reduce(
                &[64, 64],
                &[64],
                vec![
                    inside(0, vec![Ix::Axis(0), Ix::Axis(2)], &[64, 64]),
                    inside(1, vec![Ix::Axis(2), Ix::Axis(1)], &[64, 64]),
                ],
                Combine::Sum,
                false,
            ),
        ),
        (
            "pad [64,30,30]",
            map(
                &[64, 32, 32],
                vec![load(
                    0,
                    vec![Ix::Axis(0), Ix::Axis(1).plus(Ix::int(-1)), Ix::Axis(2).plus(Ix::int(-1))],
                    &[64, 30, 30],
                    Bounds::Guard(Scalar::f32(0.0)),
                )],
                |_, x| x[0],
            ),
        ),
        (
            "resize nearest 2x of 28",
            map(
                &[64, 56, 56],
                vec![inside(
                    0,
                    vec![Ix::Axis(0), Ix::Axis(1).floor_div(2), Ix::Axis(2).floor_div(2)],
                    &[64, 28, 28],
                )],
                |_, x| x[0],
            ),
        ),
    ];
    for (name, mut form) in cases {
        if filter.as_ref().is_some_and(|f| !name.contains(f.as_str())) {
            continue;
        }
        if matches!(form.combine, Some(Combine::ArgMax { .. })) {
            form.results = vec![DType::I64];
            let mut f = Builder::new();
            let acc = f.acc(0, DType::I64);
            form.finish = f.finish([acc]);
        }
        let none = vec![];
        let operands: Vec<Buffer> = form
            .loads
            .iter()
            .map(|l| {
                let n = value(&product(&l.extents), &none) as usize;
                let data: Vec<u8> =
                    (0..n).flat_map(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0).to_le_bytes()).collect();
                Buffer::new(&data)
            })
            .collect();
        let elements = value(&product(&form.space), &none);
        let output = Buffer::new(&vec![0; elements as usize * form.results[0].bytes()]);
        let start = Instant::now();
        let known = vec![None; form.loads.len()];
        let compiled = compile_known_at(host_levels().last().copied(), &form, &known, vec![None]);
        let compile = start.elapsed();
        let all: Vec<&Buffer> = operands.iter().chain([&output]).collect();
        let points = elements * value(&product(&form.reduce), &none);
        let mut best = f64::MAX;
        let reps = (4_000_000 / points).max(1);
        for _ in 0..7 {
            let time = compiled.time(&none, &all, reps as usize);
            best = best.min(time / reps as f64);
        }
        println!(
            "{name:<36} {:>8.3} ns/result {:>8.3} ns/point   {:>6} B   {:>5} us to compile",
            best / elements as f64,
            best / points as f64,
            compiled.code.n_bytes(),
            compile.as_micros(),
        );
        if std::env::var_os("LISTING").is_some() {
            println!("{}", compiled.code.listing);
        }
    }
}
