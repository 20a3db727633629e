//! nests - tiles in the loops of whole products and convolutions.

use cranelift_codegen::ir::types::{F32X4, I64};
use cranelift_codegen::ir::{BlockArg, InstBuilder, MemFlagsData, Value};
use cranelift_frontend::FunctionBuilder;
use nnc_cpu::tile::{Panel, cover};
use nnc_tile::gemm::{BRows, GemmTile, Init, Stride};

use super::measure::measure;
use super::support::{self, Code, call, host_isa};
use super::{Buffer, arithmetic, compile_tile, offset, schedule};

/// A product covered by panels, each with its tiles for the first and for later blocks of k.
struct Product {
    m: usize,
    panels: Vec<(Panel, Tiles)>,
}

/// By whether it is the rest of the rows, and whether it is a later block.
type Tiles = [[Option<Code>; 2]; 2];

impl Product {
    fn new(m: usize, panels: Vec<Panel>, base: impl Fn(&Panel) -> GemmTile) -> Self {
        let tiles = |panel: &Panel| {
            [panel.rows, (m % usize::from(panel.rows)) as u16].map(|rows| {
                [Init::Zero, Init::Load].map(|init| {
                    let spec = GemmTile { init, ..panel.tile(rows, &base(panel)) };
                    (rows > 0).then(|| compile_tile(&spec, schedule(&spec)))
                })
            })
        };
        let panels = panels.into_iter().map(|panel| (panel, tiles(&panel))).collect();
        Product { m, panels }
    }

    /// Runs all tiles in blocks; `args` gives them for row i, a panel, and a block from p on, `depth` deep.
    fn run(&self, k: usize, blocks: Blocks, args: impl Fn(usize, &Panel, usize, usize) -> [i64; 6]) {
        for p in (0..k).step_by(blocks.k) {
            for first in (0..self.m).step_by(blocks.m) {
                let end = self.m.min(first + blocks.m);
                for (panel, tiles) in &self.panels {
                    for i in (first..end).step_by(usize::from(panel.rows)) {
                        let rest = usize::from(self.m - i < usize::from(panel.rows));
                        let code = tiles[rest][usize::from(p > 0)].as_ref().expect("there are such rows");
                        // SAFETY: the callers pass addresses in whole matrices.
                        unsafe { call_short(code, args(i, panel, p, blocks.k.min(k - p))) };
                    }
                }
            }
        }
    }
}

/// How a product is cut: into so many rows, and so many steps of k.
#[derive(Clone, Copy)]
struct Blocks {
    m: usize,
    k: usize,
}

/// All at once, k cut, and rows of A cut so that a block has 512 or 256 KiB. Heights of tiles divide 60.
fn ways_to_block(m: usize, k: usize) -> Vec<Blocks> {
    let whole = Blocks { m: m.next_multiple_of(60), k };
    let mut ways = vec![whole];
    ways.extend([256, 512].into_iter().filter(|kc| *kc < k).map(|kc| Blocks { k: kc, ..whole }));
    for bytes in [512 << 10, 256 << 10] {
        let rows = (bytes / (4 * k) / 60).max(1) * 60;
        if rows < m {
            ways.push(Blocks { m: rows, ..whole });
        }
    }
    ways
}

impl std::fmt::Display for Blocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "blocks of m {} k {}", self.m, self.k)
    }
}

/// Calls a tile of at most 6 arguments, which the calling conventions pass in registers.
///
/// # Safety
/// As `support::call`.
unsafe fn call_short(code: &Code, [a, b, c, d, e, f]: [i64; 6]) {
    // SAFETY: the caller vouches for the parameters.
    let function: extern "C" fn(i64, i64, i64, i64, i64, i64) = unsafe { std::mem::transmute(code.ptr()) };
    function(a, b, c, d, e, f);
}

/// B packed beforehand (a weight), A as it lies in memory.
pub(crate) fn product(m: usize, n: usize, k: usize) {
    let base = GemmTile { a_row: Stride::Const(k as u32), a_k: Stride::Const(1), ..GemmTile::packed(1, 4) };
    let uniform = |width: u16, rows: u16| {
        let panel = |start| Panel {
            start,
            width,
            cols: width.min((n - start) as u16),
            rows,
            chains: 1,
            in_parts: false,
        };
        (0..n).step_by(usize::from(width)).map(panel).collect::<Vec<_>>()
    };
    let ways = [("cover", cover(m, n, arithmetic())), ("2x16", uniform(16, 2))];
    for (name, panels) in ways {
        let n_padded = panels.iter().map(|p| p.start + usize::from(p.width)).max().unwrap_or(n);
        let product = Product::new(m, panels, |panel| GemmTile {
            b_rows: BRows::Apart(Stride::Const(u32::from(panel.width))),
            ..base.clone()
        });
        let (a, b, c) = (Buffer::new(m * k), Buffer::new(n_padded * k), Buffer::new(m * n));
        for blocks in ways_to_block(m, k) {
            let speed = measure(2 * m * n * k, || {
                product.run(k, blocks, |i, panel, p, depth| {
                    [
                        a.address() + offset(i * k + p),
                        b.address() + offset(panel.start * k + p * usize::from(panel.width)),
                        c.address() + offset(i * n + panel.start),
                        depth as i64,
                        n as i64,
                        0,
                    ]
                })
            });
            println!("product {m}x{n}x{k} by {name}, {blocks}: {speed}");
        }
    }
}

/// A convolution of window 1: A the weights as they lie, B the input as it lies, rows of n pixels.
pub(crate) fn pointwise(m: usize, n: usize, k: usize) {
    let base = GemmTile {
        a_row: Stride::Const(k as u32),
        a_k: Stride::Const(1),
        b_rows: BRows::Apart(Stride::Const(n as u32)),
        ..GemmTile::packed(1, 4)
    };
    let product = Product::new(m, cover(m, n, arithmetic()), |_| base.clone());
    let (a, b, c) = (Buffer::new(m * k), Buffer::new(n * k + 4), Buffer::new(m * n));
    let at = |i: usize, panel: &Panel, p: usize, depth: usize| {
        [
            a.address() + offset(i * k + p),
            b.address() + offset(p * n + panel.start),
            c.address() + offset(i * n + panel.start),
            depth as i64,
            n as i64,
            0,
        ]
    };
    for blocks in ways_to_block(m, k) {
        let speed = measure(2 * m * n * k, || product.run(k, blocks, at));
        println!("pointwise conv m {m} pixels {n} k {k}, {blocks}, panel by panel: {speed}");
    }
}

/// A convolution of window 3 over `channels` planes of `size` by `size`: unfolded and packed panel by panel, or read
/// from the padded input by a table of taps, panels not crossing rows. The packing copies whole panels and so is faster
/// than a real one.
pub(crate) fn conv(m: usize, size: usize, channels: usize) {
    let (n, k) = (size * size, channels * 9);
    let weights = Buffer::new(m * k);
    let c = Buffer::new(m * n);
    let base = GemmTile { a_row: Stride::Const(k as u32), a_k: Stride::Const(1), ..GemmTile::packed(1, 4) };

    let unfolded = Buffer::new(n * k + 40);
    let panel_memory = Buffer::new(40 * k);
    let isa = host_isa("none");
    let panels: Vec<(Code, Product)> = cover(m, n, arithmetic())
        .into_iter()
        .map(|panel| {
            let width = usize::from(panel.width);
            let pack = support::compile(&*isa, 3, |b, args| pack_panel(b, args, width, n));
            let b_rows = BRows::Apart(Stride::Const(u32::from(panel.width)));
            (pack, Product::new(m, vec![panel], |_| GemmTile { b_rows, ..base.clone() }))
        })
        .collect();
    let kc = 512;
    let speed = measure(2 * m * n * k, || {
        for p in (0..k).step_by(kc) {
            let deep = kc.min(k - p);
            for (pack, product) in &panels {
                let start = product.panels[0].0.start;
                let from = unfolded.address() + offset(p * n + start);
                // SAFETY: the panel has room for all of k, and the input has a panel to spare.
                unsafe { call(pack, &[panel_memory.address(), from, deep as i64]) };
                let rest = usize::from(p > 0);
                let (panel, tiles) = &product.panels[0];
                for i in (0..m).step_by(usize::from(panel.rows)) {
                    let short = usize::from(m - i < usize::from(panel.rows));
                    let code = tiles[short][rest].as_ref().expect("there are such rows");
                    let at = [
                        weights.address() + offset(i * k + p),
                        panel_memory.address(),
                        c.address() + offset(i * n + start),
                        deep as i64,
                        n as i64,
                        0,
                    ];
                    // SAFETY: the addresses are inside the buffers.
                    unsafe { call_short(code, at) };
                }
            }
        }
    });
    println!("conv m {m} size {size} channels {channels}, packed panels, kc {kc}: {speed}");

    let table = |pitch: usize| -> Vec<i64> {
        let plane = pitch * (size + 2) + 2;
        let taps =
            |channel: usize| (0..9).map(move |tap| (channel * plane + tap / 3 * pitch + tap % 3) as i64);
        (0..channels).flat_map(taps).collect()
    };
    let padded = Buffer::new(channels * ((size + 2) * (size + 2) + 2) + 40);

    let pitch = size + 2;
    let taps = table(pitch);
    let product =
        Product::new(m, cover(m, size, arithmetic()), |_| GemmTile { b_rows: BRows::Table, ..base.clone() });
    let speed = measure(2 * m * n * k, || {
        for y in 0..size {
            product.run(k, Blocks { m, k }, |i, panel, _, depth| {
                [
                    weights.address() + offset(i * k),
                    padded.address() + offset(y * pitch + panel.start),
                    c.address() + offset(i * n + y * size + panel.start),
                    depth as i64,
                    n as i64,
                    taps.as_ptr() as i64,
                ]
            });
        }
    });
    println!("conv m {m} size {size} channels {channels}, taps in a table, row by row: {speed}");

    // The right padding of a row is the left padding of the next, and the sums over both are thrown away.
    let pitch = size + 1;
    let taps = table(pitch);
    let n_grid = size * pitch - 1;
    let grid = Buffer::new(m * n_grid + 4);
    let product = Product::new(m, cover(m, n_grid, arithmetic()), |_| GemmTile {
        b_rows: BRows::Table,
        ..base.clone()
    });
    for blocks in ways_to_block(m, k) {
        let speed = measure(2 * m * n * k, || {
            product.run(k, blocks, |i, panel, p, depth| {
                [
                    weights.address() + offset(i * k + p),
                    padded.address() + offset(panel.start),
                    grid.address() + offset(i * n_grid + panel.start),
                    depth as i64,
                    n_grid as i64,
                    taps[p..].as_ptr() as i64,
                ]
            });
            for i in 0..m {
                for y in 0..size {
                    let from = (grid.address() + offset(i * n_grid + y * pitch)) as *const f32;
                    let to = (c.address() + offset(i * n + y * size)) as *mut f32;
                    // SAFETY: both rows are inside their buffers, which nothing else uses.
                    unsafe { std::ptr::copy_nonoverlapping(from, to, size) };
                }
            }
        });
        println!(
            "conv m {m} size {size} channels {channels}, taps in a table, whole grid, {blocks}: {speed}"
        );
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
