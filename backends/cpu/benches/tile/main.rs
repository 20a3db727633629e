//! tile - speed of emitted tiles as a share of the machine's fused multiply-add peak.
//!
//!     cargo bench --profile dev -p nnc-cpu --bench tile -- [shapes] [spread] [depth] [product] [conv] [pointwise] [vector] [epilogue] [rows] [sweep] [plain]
//!
//! Emitted code does not depend on the cargo profile; `dev` has its dependencies built already.

mod measure;
mod nests;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use cranelift_codegen::isa::OwnedTargetIsa;
use measure::{PEAK_FMAS, Speed, measure, peak};
use nests::{conv, pointwise, product};
use nnc_cpu::tile::{Arithmetic, Schedule, gemm_tile_function, row_conv_function};
use nnc_tile::epilogue::{Epilogue, EpilogueInput};
use nnc_tile::gemm::{GemmTile, Stride};
use nnc_tile::program::{Op, VectorProgram};
use nnc_tile::row_conv::{RowConv, Width};
use support::{Code, Rng, call, compile_function, host_isa, plain_isa};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wants = |name: &str| args.iter().all(|a| a == "plain") || args.iter().any(|a| a == name);
    println!("peak at 256 bit: {}", measure(PEAK_FMAS * 16, || peak(true)));
    if wants("shapes") {
        shapes();
    }
    if wants("spread") {
        spread();
    }
    if wants("depth") {
        depth();
    }
    if wants("product") {
        for (m, n, k) in [
            (512, 512, 512),
            (128, 768, 768),
            (128, 3072, 768),
            (197, 192, 192),
            (16, 1000, 512),
            (3136, 64, 576),
            (2048, 512, 2048),
        ] {
            product(m, n, k);
        }
    }
    if wants("conv") {
        for (m, size, k) in [(64, 56, 64), (128, 28, 128), (256, 14, 256), (512, 7, 512)] {
            conv(m, size, k);
        }
    }
    if wants("pointwise") {
        for (m, n, k) in [
            (64, 3136, 256),
            (256, 3136, 64),
            (512, 196, 1024),
            (2048, 49, 512),
            (512, 49, 2048),
            (96, 12544, 16),
        ] {
            pointwise(m, n, k);
        }
    }
    if wants("vector") {
        for (n, k) in [(1000, 2048), (4096, 4096)] {
            vector(n, k);
        }
    }
    if wants("epilogue") {
        epilogue();
    }
    if wants("rows") {
        for (size, window, stride) in [(112, 3, 1), (56, 3, 1), (14, 3, 1), (7, 3, 1), (28, 5, 1), (7, 7, 1)]
        {
            rows(size, window, stride);
        }
    }
    // Every schedule of every shape: how the schedules were found.
    if args.iter().any(|a| a == "sweep") {
        sweep();
    }
}

/// This host, or with the argument `plain` the same without multiply-adds.
fn isa() -> OwnedTargetIsa {
    if std::env::args().any(|a| a == "plain") { plain_isa("none") } else { host_isa("none") }
}

/// How it multiplies and adds.
fn arithmetic() -> Arithmetic {
    Arithmetic::of(&*isa())
}

/// The schedule of a tile for that target.
fn schedule(spec: &GemmTile) -> Schedule {
    Schedule::of(spec, arithmetic())
}

fn compile_tile(spec: &GemmTile, schedule: Schedule) -> Code {
    let isa = isa();
    compile_function(&*isa, gemm_tile_function(spec, &*isa, schedule))
}

/// A buffer of random f32 from a 64-byte boundary.
struct Buffer {
    elements: Vec<f32>,
    start: usize,
}

impl Buffer {
    fn new(n: usize) -> Self {
        let mut rng = Rng::new(n as u64);
        let elements: Vec<f32> = (0..n + 16).map(|_| rng.unit()).collect();
        let start = (64 - elements.as_ptr() as usize % 64) / 4 % 16;
        Buffer { elements, start }
    }

    fn address(&self) -> i64 {
        self.elements[self.start..].as_ptr() as i64
    }
}

/// Bytes of f32 elements.
fn offset(elements: usize) -> i64 {
    4 * elements as i64
}

/// A tile over operands in the first-level cache.
fn measure_tile(spec: &GemmTile, schedule: Schedule, k: usize) -> Speed {
    let (mr, nr) = (usize::from(spec.rows), usize::from(spec.panel));
    let code = compile_tile(spec, schedule);
    let (a, b, c) = (Buffer::new(4 * mr * k), Buffer::new(nr * k), Buffer::new(mr * nr));
    let args = [a.address(), b.address(), c.address(), k as i64, nr as i64];
    // SAFETY: the buffers hold the panels and the tile.
    measure(2 * mr * nr * k, || unsafe { call(&code, &args) })
}

fn all_shapes() -> Vec<(u16, u16)> {
    let of = |rows: u16, widths: &[u16]| widths.iter().map(|w| (rows, *w)).collect::<Vec<_>>();
    let mut shapes = of(1, &[16, 20, 24, 28, 32, 40]);
    shapes.extend(of(2, &[8, 12, 16, 20, 24]));
    shapes.extend(of(3, &[4, 8, 12]));
    shapes.extend(of(4, &[4, 8]));
    shapes.extend([(5, 8), (6, 8), (6, 4), (7, 4), (8, 4), (9, 4), (10, 4)]);
    shapes
}

/// Inner-block shapes by their own schedules.
fn shapes() {
    for (mr, nr) in all_shapes() {
        let spec = GemmTile::packed(mr, nr);
        let start = Instant::now();
        let n_bytes = compile_tile(&spec, schedule(&spec)).n_bytes();
        let compile_ms = start.elapsed().as_secs_f64() * 1e3;
        let speed = measure_tile(&spec, schedule(&spec), 256);
        println!("shape {mr}x{nr:<2} k 256: {speed}; {n_bytes} bytes compiled in {compile_ms:.1} ms");
    }
}

fn sweep() {
    for (mr, nr) in all_shapes() {
        for unroll in [1, 2, 4, 8] {
            for (vector_first, cols_outer) in [(true, true), (true, false), (false, true), (false, false)] {
                for reload in [false, true] {
                    let schedule = Schedule { unroll, vector_first, cols_outer, reload, copied: 0 };
                    println!(
                        "{mr}x{nr:<2} {schedule:?}: {}",
                        measure_tile(&GemmTile::packed(mr, nr), schedule, 256)
                    );
                }
            }
        }
    }
}

/// A with each element four times, by every schedule of some shapes.
fn spread() {
    let more = [(1, 44), (1, 48), (1, 52)];
    for (mr, nr) in all_shapes().into_iter().chain(more) {
        let (a_row, a_k) = (Stride::Const(1040), Stride::Const(4));
        let spec = GemmTile { a_row, a_k, a_spread: true, ..GemmTile::packed(mr, nr) };
        let most = if mr == 1 { 0 } else { usize::from(nr / 4) };
        for copied in 0..=most {
            let schedule = Schedule { unroll: 4, vector_first: true, cols_outer: true, reload: true, copied };
            println!("spread {mr}x{nr:<2} copied {copied}: {}", measure_tile(&spec, schedule, 256));
        }
    }
}

/// The length of the sum.
fn depth() {
    for (mr, nr) in [(2, 20), (3, 12), (10, 4)] {
        let packed = GemmTile::packed(mr, nr);
        for k in [16, 32, 64, 128, 256, 512, 1024] {
            println!("depth {mr}x{nr:<2} k {k:4} packed A: {}", measure_tile(&packed, schedule(&packed), k));
            let rows = GemmTile { a_row: Stride::Const(k as u32), a_k: Stride::Const(1), ..packed.clone() };
            println!("depth {mr}x{nr:<2} k {k:4} rows of A: {}", measure_tile(&rows, schedule(&rows), k));
        }
    }
}

/// One row of A: the speed at which B streams.
fn vector(n: usize, k: usize) {
    for width in [16u16, 20, 24, 32, 40] {
        let spec = GemmTile::matrix_vector(width);
        let code = compile_tile(&spec, schedule(&spec));
        let nr = usize::from(width);
        let n_padded = n.next_multiple_of(nr);
        let (a, b, c) = (Buffer::new(k), Buffer::new(n_padded * k), Buffer::new(n_padded));
        let speed = measure(2 * n * k, || {
            for j in (0..n).step_by(nr) {
                let panel = b.address() + offset(j * k);
                // SAFETY: the last panel and its results have room.
                unsafe { call(&code, &[a.address(), panel, c.address() + offset(j), k as i64, 0]) };
            }
        });
        println!("vector {n}x{k} by 1x{width}: {speed}, {:.1} GB/s of B", speed.gflops * 2.0);
    }
}

/// What a bias and a relu in the epilogue cost.
fn epilogue() {
    for k in [16, 64, 256] {
        let plain = GemmTile::packed(2, 20);
        let mut program = VectorProgram::new();
        let (acc, bias, zero) = (program.input(0), program.input(1), program.f32(0.0));
        let sum = program.push(Op::Add(acc, bias));
        let relu = program.push(Op::Max(sum, zero));
        program.result(relu);
        let epilogue = Some(Epilogue::new(program, vec![EpilogueInput::Row]));
        let fused = GemmTile { epilogue, ..plain.clone() };
        let (a, b, c, bias) = (Buffer::new(2 * k), Buffer::new(20 * k), Buffer::new(40), Buffer::new(2));
        let args = [a.address(), b.address(), c.address(), k as i64, 20, bias.address()];
        for (name, spec) in [("plain", &plain), ("bias and relu", &fused)] {
            let code = compile_tile(spec, schedule(spec));
            // SAFETY: the buffers hold the panels and the tile.
            let speed = measure(2 * 40 * k, || unsafe { call(&code, &args) });
            println!("epilogue 2x20 k {k} {name}: {speed}");
        }
    }
}

/// Depthwise windows over one plane.
fn rows(size: usize, window: usize, stride: usize) {
    let pitch = size * stride + window + 4;
    let (x, w, c) =
        (Buffer::new(pitch * (pitch + 1)), Buffer::new(window * window), Buffer::new(size * size));
    for fixed in [true, false] {
        let mut spec = RowConv::window(window as u16, window as u32, Stride::Arg);
        let mut args = vec![x.address(), w.address(), c.address()];
        args.extend([size, pitch * stride, size].map(|n| n as i64));
        if fixed {
            spec.x_row = Stride::Const(pitch as u32);
            spec.width = Width::Const(size as u32);
        } else {
            args.extend([pitch as i64, size as i64]);
        }
        let isa = isa();
        let code = compile_function(&*isa, row_conv_function(&spec, &*isa));
        // SAFETY: the plane has rows and columns for all taps.
        let speed = measure(2 * size * size * window * window, || unsafe { call(&code, &args) });
        let how = if fixed { "constant" } else { "run-time" };
        println!("rows {size}x{size} window {window} {how} sizes: {speed}");
    }
}
