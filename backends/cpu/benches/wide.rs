//! wide - speed of nnc-x86's tiles as a share of the core's fused multiply-add peak at the same width.
//!
//!     cargo bench --profile dev -p nnc-cpu --bench wide
//!
//! Operands are in the first-level cache but where the table says so; every figure is the least of many runs.

#![allow(clippy::unwrap_used, reason = "a panic is how a bench fails")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use nnc_tile::{
    Tile,
    gemm::{Chains, GemmTile, Stride},
};
use nnc_x86::Level;
use support::{Code, Rng, call, load};

fn main() {
    for level in support::host_levels() {
        let peak = peak(level);
        println!("{level:?}: peak {peak:.1} GFLOP/s");
        shapes(level, peak);
        chains(level, peak);
    }
}

/// GFLOP/s of tiles that read nothing from memory but the same few lines: 24 (or 12) independent chains.
fn peak(level: Level) -> f64 {
    // A row that does not advance and one column vector: the loads are two for 24 multiply-adds.
    let (rows, vectors) = if level == Level::Avx512 { (14, 2) } else { (6, 2) };
    let spec = GemmTile { a_row: Stride::Const(1), a_k: Stride::Const(0), ..tile(level, rows, vectors) };
    speed(level, &spec, 2048)
}

fn tile(level: Level, rows: usize, vectors: usize) -> GemmTile {
    let panel = u16::try_from(vectors * level.lanes()).unwrap();
    GemmTile { a_row: Stride::Arg, a_k: Stride::Const(1), ..GemmTile::packed(rows as u16, panel) }
}

fn shapes(level: Level, peak: f64) {
    let shapes: &[(usize, usize)] = if level == Level::Avx512 {
        &[
            (14, 2),
            (13, 2),
            (12, 2),
            (8, 2),
            (7, 2),
            (9, 3),
            (7, 3),
            (6, 4),
            (7, 4),
            (4, 5),
            (3, 7),
            (2, 8),
            (1, 8),
            (24, 1),
            (16, 1),
            (4, 2),
        ]
    } else {
        &[(6, 2), (5, 2), (4, 2), (4, 3), (3, 3), (2, 4), (1, 8), (10, 1), (12, 1)]
    };
    for &(rows, vectors) in shapes {
        print!("  {rows:>2} x {vectors}:");
        for k in [16, 64, 128, 256, 1024] {
            let spec = tile(level, rows, vectors);
            if !nnc_x86::supports(&Tile::Gemm(spec.clone()), level) {
                print!("   -  ");
                continue;
            }
            print!(" {:>5.1}%", 100.0 * speed(level, &spec, k) / peak);
        }
        println!();
    }
}

/// Panels of a few columns: rows, columns and chains of a sum.
fn chains(level: Level, peak: f64) {
    let shapes: &[(u16, u16, u16)] = if level == Level::Avx512 {
        &[
            (28, 8, 2),
            (24, 8, 2),
            (14, 8, 2),
            (28, 4, 4),
            (24, 4, 4),
            (24, 2, 8),
            (24, 1, 16),
            (28, 1, 16),
            (9, 12, 4),
            (8, 12, 4),
            (5, 10, 8),
            (5, 20, 4),
            (14, 2, 16),
            (9, 3, 16),
            (3, 9, 16),
            (5, 5, 16),
        ]
    } else {
        &[(12, 4, 2), (12, 2, 4), (12, 1, 8), (4, 6, 4), (6, 2, 8), (4, 3, 8)]
    };
    for &(rows, columns, count) in shapes {
        print!("  {rows:>2} x {columns:>2} in {count:>2} chains:");
        for k in [48, 100, 200, 500, 1000] {
            let plain =
                GemmTile { a_row: Stride::Arg, a_k: Stride::Const(1), ..GemmTile::packed(rows, columns) };
            let spec = GemmTile { chains: Chains::of(count, k), ..plain };
            print!(" {:>5.1}%", 100.0 * speed(level, &spec, k) / peak);
        }
        println!();
    }
}

/// GFLOP/s of a tile: the best of many runs.
fn speed(level: Level, spec: &GemmTile, k: usize) -> f64 {
    let code: Code = load(&nnc_x86::emit(&Tile::Gemm(spec.clone()), level).unwrap(), String::new());
    // As many blocks of rows as the first-level cache holds beside B, and one at least.
    let blocks = if spec.is_stacked() { (6000 / (usize::from(spec.rows) * k)).max(1) } else { 1 };
    let (rows, panel) = (blocks * usize::from(spec.rows), usize::from(spec.panel));
    let mut rng = Rng::new(1);
    let mut buffer = |n: usize| -> Vec<f32> { (0..n + 16).map(|_| rng.unit()).collect() };
    let (a, b, mut c) = (buffer(rows * (k + 16)), buffer((k + 16) * panel), buffer(rows * panel));
    let place = |x: &[f32]| (x.as_ptr() as i64 + 63) & !63;
    let mut args = vec![place(&a), place(&b), place(&c), k as i64, panel as i64];
    args.extend(spec.is_stacked().then_some(blocks as i64));
    if spec.a_row == Stride::Arg {
        args.push((k + 16) as i64);
    }
    let flops = 2 * rows * panel * k;
    let repeat = (2_000_000 / flops).max(1);
    let mut best = f64::MAX;
    for _ in 0..300 {
        let start = Instant::now();
        for _ in 0..repeat {
            // SAFETY: the operands are as large as the spec says.
            unsafe { call(&code, &args) };
        }
        best = best.min(start.elapsed().as_secs_f64());
    }
    c.clear();
    (flops * repeat) as f64 / best / 1e9
}
