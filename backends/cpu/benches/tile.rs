//! tile - speed of emitted tiles as a share of the machine's fused multiply-add peak.
//!
//!     cargo bench --profile dev -p nnc-cpu --bench tile -- [peak] [shapes] [k] ...
//!
//! Emitted code does not depend on the cargo profile; `dev` has its dependencies built already.

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use cranelift_codegen::ir::types::{F32X4, I64};
use cranelift_codegen::ir::{BlockArg, InstBuilder, MemFlagsData, Value};
use cranelift_frontend::FunctionBuilder;
use nnc_cpu::tile::{Schedule, gemm_tile_function};
use nnc_tile::gemm::{BRows, Cols, GemmTile, Init, Stride};
use support::{Code, Rng, call, compile_function, host_isa};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wants = |name: &str| args.is_empty() || args.iter().any(|a| a == name);
    let wide = measure(PEAK_FMAS * 16, || peak(true));
    println!("peak at 256 bit: {wide}");
    if wants("shapes") {
        shapes();
    }
    if wants("product") {
        product(512, 512, 512);
        product(128, 768, 768);
    }
    if wants("conv") {
        conv(64, 3136, 576);
        conv(256, 196, 2304);
        conv(512, 49, 4608);
        conv(64, 3136, 64);
        conv(256, 3136, 64);
    }
    if args.iter().any(|a| a == "listing") {
        let spec = GemmTile { init: Init::Load, ..GemmTile::packed(2, 16) };
        println!(
            "{}",
            compile_tile(&spec, Schedule { unroll: 4, vector_first: true, cols_outer: false }, "none")
                .listing
        );
    }
}

/// Seconds of one call, over about 2 ms.
fn time_once(f: &mut impl FnMut(), n_calls: &mut usize) -> f64 {
    loop {
        let start = Instant::now();
        (0..*n_calls).for_each(|_| f());
        let elapsed = start.elapsed().as_secs_f64();
        if elapsed > 1.5e-3 {
            return elapsed / *n_calls as f64;
        }
        *n_calls *= 2;
    }
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// Speed of a call that does `flops` operations.
struct Speed {
    gflops: f64,
    /// Share of the 128-bit peak, measured in turn with the call: clocks change, the ratio does not.
    of_narrow: f64,
}

impl std::fmt::Display for Speed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:6.1} GFLOP/s {:5.1} % of 128 bit", self.gflops, 100.0 * self.of_narrow)
    }
}

fn measure(flops: usize, mut f: impl FnMut()) -> Speed {
    let mut peak_128 = || peak(false);
    let (mut n_calls, mut n_peak) = (1, 1);
    f();
    let (mut times, mut shares) = (vec![], vec![]);
    for _ in 0..9 {
        let t_peak = time_once(&mut peak_128, &mut n_peak);
        let t = time_once(&mut f, &mut n_calls);
        let t_peak = t_peak.min(time_once(&mut peak_128, &mut n_peak));
        times.push(t);
        shares.push(flops as f64 / t / (PEAK_FMAS * 8) as f64 * t_peak);
    }
    Speed { gflops: flops as f64 / median(times) / 1e9, of_narrow: median(shares) }
}

/// Fused multiply-adds of one call of `peak`.
const PEAK_FMAS: usize = 12 * 1000;

/// Independent fused multiply-adds in registers, 128 or 256 bits wide. Assembly, so that the profile does not matter.
#[cfg(target_arch = "x86_64")]
fn peak(wide: bool) {
    use std::arch::asm;
    macro_rules! fmas {
        ($r:literal) => {
            // SAFETY: the bench needs a machine with FMA, as tiles do; only the registers named are written.
            unsafe {
                asm!(
                    "2:",
                    concat!("vfmadd231ps ", $r, "0, ", $r, "12, ", $r, "13"),
                    concat!("vfmadd231ps ", $r, "1, ", $r, "12, ", $r, "13"),
                    concat!("vfmadd231ps ", $r, "2, ", $r, "12, ", $r, "13"),
                    concat!("vfmadd231ps ", $r, "3, ", $r, "12, ", $r, "13"),
                    concat!("vfmadd231ps ", $r, "4, ", $r, "12, ", $r, "13"),
                    concat!("vfmadd231ps ", $r, "5, ", $r, "12, ", $r, "13"),
                    concat!("vfmadd231ps ", $r, "6, ", $r, "12, ", $r, "13"),
                    concat!("vfmadd231ps ", $r, "7, ", $r, "12, ", $r, "13"),
                    concat!("vfmadd231ps ", $r, "8, ", $r, "12, ", $r, "13"),
                    concat!("vfmadd231ps ", $r, "9, ", $r, "12, ", $r, "13"),
                    concat!("vfmadd231ps ", $r, "10, ", $r, "12, ", $r, "13"),
                    concat!("vfmadd231ps ", $r, "11, ", $r, "12, ", $r, "13"),
                    "dec {n}",
                    "jnz 2b",
                    n = inout(reg) PEAK_FMAS / 12 => _,
                    out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
                    out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                    in("xmm12") 0.0f32, in("xmm13") 0.0f32,
                    options(nomem, nostack),
                )
            }
        };
    }
    if wide { fmas!("ymm") } else { fmas!("xmm") }
}

fn compile_tile(spec: &GemmTile, schedule: Schedule, opt_level: &str) -> Code {
    let isa = host_isa(opt_level);
    compile_function(
        &*isa,
        gemm_tile_function(spec, isa.default_call_conv(), isa.frontend_config(), schedule),
    )
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

/// Inner-block shapes over operands in the first-level cache.
fn shapes() {
    for k in [64, 128, 256, 400] {
        let (a, b, c) = (Buffer::new(64 * k), Buffer::new(64 * k), Buffer::new(16 * 64));
        let mut rows = vec![];
        for (mr, nr) in [(2, 16), (2, 20), (2, 24), (3, 12), (3, 16), (4, 8), (5, 8), (6, 8)] {
            for unroll in [2, 4, 8] {
                for vector_first in [true, false] {
                    for cols_outer in [true, false] {
                        {
                            let opt = "none";
                            let schedule = Schedule { unroll, vector_first, cols_outer };
                            let spec = GemmTile { init: Init::Load, ..GemmTile::packed(mr, nr) };
                            let code = compile_tile(&spec, schedule, opt);
                            let args = [a.address(), b.address(), c.address(), k as i64, 64];
                            // SAFETY: the buffers hold panels of the largest shape.
                            let speed =
                                measure(2 * usize::from(mr * nr) * k, || unsafe { call(&code, &args) });
                            rows.push((speed, mr, nr, schedule, opt));
                        }
                    }
                }
            }
        }
        rows.sort_by(|a, b| b.0.of_narrow.total_cmp(&a.0.of_narrow));
        rows.truncate(12);
        println!("K = {k}");
        for (speed, mr, nr, s, opt) in rows {
            println!(
                "{mr}x{nr:<3} unroll {} {:<12} {:<10} {opt:<5} {speed}",
                s.unroll,
                if s.vector_first { "fma(b, a, c)" } else { "fma(a, b, c)" },
                if s.cols_outer { "cols outer" } else { "rows outer" },
            );
        }
    }
}

/// Tiles that cover a matrix: full ones and the remainders along m and n, for the first and for later blocks of k.
struct Family {
    mr: usize,
    nr: usize,
    m: usize,
    n: usize,
    /// By whether it is the row remainder, the column remainder, a later block.
    code: [[[Option<Code>; 2]; 2]; 2],
}

impl Family {
    fn new(m: usize, n: usize, base: &GemmTile) -> Self {
        let (mr, nr) = (usize::from(base.rows), usize::from(base.panel));
        let code = [false, true].map(|row_rest| {
            [false, true].map(|col_rest| {
                [Init::Zero, Init::Load].map(|init| {
                    let rows = if row_rest { m % mr } else { mr };
                    let cols = if col_rest { n % nr } else { nr };
                    (rows > 0 && cols > 0).then(|| {
                        let spec = GemmTile {
                            rows: rows as u16,
                            cols: Cols::Const(cols as u16),
                            init,
                            ..base.clone()
                        };
                        compile_tile(&spec, Schedule::of(&spec), "none")
                    })
                })
            })
        });
        Family { mr, nr, m, n, code }
    }

    /// One tile at row `i` and column `j`.
    fn run(&self, i: usize, j: usize, first: bool, args: &[i64]) {
        let rests = (self.m - i < self.mr, self.n - j < self.nr);
        let code = self.code[usize::from(rests.0)][usize::from(rests.1)][usize::from(!first)]
            .as_ref()
            .expect("every tile of the cover has code");
        // SAFETY: the callers pass addresses of whole matrices and stay inside.
        unsafe { call(code, args) };
    }
}

const SHAPES: [(u16, u16); 6] = [(2, 16), (2, 20), (2, 24), (3, 12), (4, 8), (5, 8)];

/// Product with B packed beforehand (a weight) and A as it lies in memory.
fn product(m: usize, n: usize, k: usize) {
    for (mr, nr) in SHAPES {
        let base =
            GemmTile { a_row: Stride::Const(k as u32), a_k: Stride::Const(1), ..GemmTile::packed(mr, nr) };
        let family = Family::new(m, n, &base);
        let (mr, nr) = (usize::from(mr), usize::from(nr));
        let (a, b, c) = (Buffer::new(m * k), Buffer::new((n + nr) * k), Buffer::new(m * n));
        for kc in [128, 256, 384, 512, 768] {
            if kc > k {
                continue;
            }
            let speed = measure(2 * m * n * k, || {
                for p in (0..k).step_by(kc) {
                    let depth = kc.min(k - p);
                    for j in (0..n).step_by(nr) {
                        let panel = b.address() + 4 * (j * k + p * nr) as i64;
                        for i in (0..m).step_by(mr) {
                            let row = a.address() + 4 * (i * k + p) as i64;
                            let out = c.address() + 4 * (i * n + j) as i64;
                            family.run(i, j, p == 0, &[row, panel, out, depth as i64, n as i64]);
                        }
                    }
                }
            });
            println!("product {m}x{n}x{k} tile {mr}x{nr:<2} kc {kc}: {speed}");
        }
    }
}

/// Convolution as a product: A the packed weights, B the unfolded input, packed here or read as rows of length n.
fn conv(m: usize, n: usize, k: usize) {
    for (mr, nr) in SHAPES {
        let packed = Family::new(m, n, &GemmTile::packed(mr, nr));
        let rows = Family::new(
            m,
            n,
            &GemmTile { b_rows: BRows::Apart(Stride::Const(n as u32)), ..GemmTile::packed(mr, nr) },
        );
        let (mr, nr) = (usize::from(mr), usize::from(nr));
        let (a, c) = (Buffer::new((m + mr) * k), Buffer::new(m * n));
        let b = Buffer::new(n * k + nr);
        let panel = Buffer::new(k * nr);
        let isa = host_isa("none");
        let pack = support::compile(&*isa, 3, |b, args| pack_panel(b, args, nr, n));
        for kc in [192, 288, 384, 576, 1152] {
            if kc > k && kc != 192 {
                continue;
            }
            for pack_b in [true, false] {
                let speed = measure(2 * m * n * k, || {
                    for p in (0..k).step_by(kc) {
                        let depth = kc.min(k - p);
                        for j in (0..n).step_by(nr) {
                            let from = b.address() + 4 * (p * n + j) as i64;
                            let (family, from) = if pack_b {
                                // SAFETY: the panel has room for depth rows; B has nr elements to spare.
                                unsafe { call(&pack, &[panel.address(), from, depth as i64]) };
                                (&packed, panel.address())
                            } else {
                                (&rows, from)
                            };
                            for i in (0..m).step_by(mr) {
                                let weights = a.address() + 4 * (i * k + p * mr) as i64;
                                let out = c.address() + 4 * (i * n + j) as i64;
                                family.run(i, j, p == 0, &[weights, from, out, depth as i64, n as i64]);
                            }
                        }
                    }
                });
                let how = if pack_b { "packed here" } else { "as rows" };
                println!("conv {m}x{n}x{k} tile {mr}x{nr:<2} kc {kc} B {how:<12}: {speed}");
            }
        }
    }
}

/// Copies `args[2]` rows of `nr` f32 from rows `n` apart.
fn pack_panel(b: &mut FunctionBuilder, args: &[Value], nr: usize, n: usize) {
    let (header, body, exit) = (b.create_block(), b.create_block(), b.create_block());
    for _ in 0..3 {
        b.append_block_param(header, I64);
    }
    let entry: Vec<BlockArg> = args[..3].iter().map(|v| BlockArg::from(*v)).collect();
    b.ins().jump(header, &entry);
    b.switch_to_block(header);
    let carried = b.block_params(header).to_vec();
    b.ins().brif(carried[2], body, &[], exit, &[]);
    b.switch_to_block(body);
    let flags = MemFlagsData::new().with_notrap();
    for i in 0..nr / 4 {
        let x = b.ins().load(F32X4, flags, carried[1], i as i32 * 16);
        b.ins().store(flags, x, carried[0], i as i32 * 16);
    }
    let next = [
        b.ins().iadd_imm_s(carried[0], nr as i64 * 4),
        b.ins().iadd_imm_s(carried[1], n as i64 * 4),
        b.ins().iadd_imm_s(carried[2], -1),
    ];
    let next: Vec<BlockArg> = next.into_iter().map(BlockArg::from).collect();
    b.ins().jump(header, &next);
    b.switch_to_block(exit);
}
