//! squares - the kernel of a convolution by minimal filtering: squares of the input, products by points, squares of the
//! result.
//!
//! ```text
//! for item = (planes, block of squares, group of output channels):
//!   for square in block:     V[point][square][channel] = transform of the input, unless the last item did it
//!   for point:               M[point][square][group]   = V[point] * weights of the point, by tiles
//!   for square in block:     result = transform of M, epilogue
//! ```
//!
//! Where the kernel transforms the weights, it does so for one panel of output channels after the other, some input channels at a
//! time, whose products of all points are added to M. A square within the input is read where it lies; one that reaches beyond it is copied first, padded.

use cranelift_codegen::ir::{InstBuilder, Value, condcodes::IntCC};
use nnc_ir::extent::{Extent, product};
use nnc_tile::{
    epilogue::EpilogueInput,
    gemm::{BRows, GemmTile, Init, Stride},
    product::Product,
    separable::Separable,
};

use super::{
    emit::{Gen, kernel_function},
    fetch::Fetch,
    fill_last::{self, Target},
    filters::Filters,
    last::{Last, Taps, Windows},
    panel::{At, RowBlocks},
    spread,
    tiles::{Tiles, stride},
    winograd::WinogradConv,
};
use crate::{
    kernel::{Kernel, LowerCx, NestRequest},
    tile::{GemmArgs, SeparableArgs, SquareArg},
};

/// Elements of scratch memory: distances are odd numbers of cache lines, so that points do not share sets of a cache.
fn apart(elements: i64) -> i64 {
    let lines = (elements + 15) / 16;
    16 * (lines | 1)
}

/// Where the transforms of a block of squares are: of each point, of each block of channels, squares.
#[derive(Clone, Copy)]
struct Room {
    /// Channels of a block.
    channels: i64,
    /// How many blocks there are.
    blocks: i64,
    /// Elements from one square to the next, from one block to the next, and from one point to the next.
    square: i64,
    block: i64,
    point: i64,
}

impl Room {
    fn new(squares: i64, channels: i64, step: i64) -> Room {
        let blocks = channels / step;
        // A block of some channels is read as a whole: it lies close together.
        let square = if blocks == 1 { apart(step) } else { step };
        let block = squares * square;
        Room { channels: step, blocks, square, block, point: apart(blocks * block) }
    }

    fn step(elements: i64) -> Stride {
        stride(&Extent::Const(elements))
    }
}

/// Weights that the kernel transforms.
#[derive(Clone, Copy)]
struct Made {
    /// Input channels at a time.
    step: i64,
    /// Elements from one point to the next.
    point: i64,
}

/// What the parts of the kernel have in common.
struct Parts<'a> {
    way: &'a WinogradConv,
    last: &'a Last,
    request: &'a NestRequest,
    y: Taps,
    /// Windows that reach as far as squares do, from the square's first pixel on.
    windows: Windows,
    /// Axes around the plane.
    around: Vec<usize>,
    v: Room,
    m: Room,
}

/// A run of squares at run time.
struct Block<'a> {
    around: &'a [(usize, Value)],
    first: Value,
    count: Value,
    /// First output channel.
    channel: Value,
}

impl WinogradConv {
    /// Makes the kernel.
    pub(super) fn lower(&self, last: &Last, request: &NestRequest, cx: &mut LowerCx<'_>) -> Option<Kernel> {
        let p = &last.problem;
        let extents = &p.nest.extents;
        let y = last.windows.y?;
        let mut windows = last.windows.clone();
        for taps in [y, windows.x] {
            let dim = &mut windows.window.dims[taps.dim];
            dim.guarded = true;
            dim.outer.push((taps.pixel, Extent::ONE));
        }
        let around: Vec<usize> = p.outer.iter().copied().filter(|&a| a != y.pixel).collect();
        let [c, _] = self.channels;
        let step = if let Filters::Made(step) = self.filters { step } else { c };
        let (v, m) = (Room::new(self.squares, c, step), Room::new(self.squares, self.group, self.group));
        let parts = Parts { way: self, last, request, y, windows, around, v, m };
        let points = (self.way.n() * self.way.n()) as i64;
        let copy_bytes = parts.copied().bytes();
        let room_bytes = |room: Room| Extent::Const(4 * points * room.point);
        let made = parts.made();
        let made_bytes = Extent::Const(made.map_or(0, |made| 4 * points * made.point));
        let spread_bytes = Extent::Const(if self.spread { 4 * spread::COPIES * v.point } else { 0 });
        // Weights are made, or transforms spread.
        let more_bytes = &made_bytes + &spread_bytes;
        let scratch_bytes = &(&(&copy_bytes + &room_bytes(v)) + &room_bytes(m)) + &more_bytes;

        let [down, across] = self.counts();
        let mut digits: Vec<Extent> = parts.around.iter().map(|&a| extents[a].clone()).collect();
        digits.push(Extent::Const((down * across + self.squares - 1) / self.squares));
        let groups = Extent::Const(self.channels[1] / self.group);
        let function = kernel_function(cx, |g, begin, end, worker| {
            let copy = g.scratch(worker);
            let v = g.plus(copy, &copy_bytes);
            let m = g.plus(v, &room_bytes(parts.v));
            let more = g.plus(m, &room_bytes(parts.m));
            let tiles = Tiles::new(g, p);
            let none = g.int(-1);
            g.carry((begin, end), 1, &[none], |g, item, carried| {
                let (place, group) = g.div_rem(item, &groups);
                let at = g.digits(place, &digits);
                let around: Vec<(usize, Value)> =
                    parts.around.iter().copied().zip(at.iter().copied()).collect();
                let first = g.b.ins().imul_imm_s(at[around.len()], self.squares);
                let left = g.int(down * across);
                let left = g.b.ins().isub(left, first);
                let squares = g.int(self.squares);
                let count = g.min(squares, left);
                let channel = g.b.ins().imul_imm_s(group, self.group);
                let block = Block { around: &around, first, count, channel };
                let stale = g.b.ins().icmp(IntCC::NotEqual, place, carried[0]);
                g.when(stale, |g| parts.input(g, &block, copy, v));
                match made {
                    Some(made) => parts.products_made(g, group, made, [v, more, m]),
                    None => parts.products(g, group, [v, m], self.spread.then_some(more)),
                }
                parts.output(g, &tiles, &block, m);
                vec![place]
            });
        });
        let cost = points * self.squares * self.channels[0] * self.group / 4;
        Some(Kernel {
            function,
            name: request.name.clone(),
            items: &product(&digits) * &groups,
            item_cost: Extent::Const(cost),
            scratch_bytes,
            may_fault: false,
            scheduled: true,
            plain: None,
            pace: None,
        })
    }
}

impl Parts<'_> {
    /// A square that is copied.
    fn copied(&self) -> Target {
        let n = self.way.way.n() as i64;
        Target { pitch: Extent::Const(n), channels: self.way.channels[0], lines: n }
    }

    /// First row and column of the result in square `number`.
    fn place(&self, g: &mut Gen<'_, '_>, number: Value) -> [Value; 2] {
        let m = Extent::Const(self.way.way.m() as i64);
        let (row, column) = g.div_rem(number, &Extent::Const(self.way.counts()[1]));
        [row, column].map(|at| g.times(at, &m))
    }

    /// Transforms the input of a block of squares.
    fn input(&self, g: &mut Gen<'_, '_>, block: &Block<'_>, copy: Value, v: Value) {
        let (way, x) = (self.way.way, self.windows.x);
        let multiples = g.arithmetic.multiples();
        let n = way.n() as i64;
        let dims = &self.windows.window.dims;
        let channels = self.way.channels[0];
        let spec = |row: &Extent, column: &Extent| Separable {
            program: way.input(multiples),
            channels: u32::try_from(self.v.channels).expect("channels are few"),
            x: [stride(row), stride(column)],
            y: [Room::step(n * self.v.point), Room::step(self.v.point)],
            partial: false,
            epilogue: None,
        };
        let transform = |g: &mut Gen<'_, '_>, from: Value, to: Value, row: &Extent, column: &Extent| {
            let spec = spec(row, column);
            let arg = |g: &mut Gen<'_, '_>, s: Stride, extent: &Extent| {
                (s == Stride::Arg).then(|| g.extent(extent))
            };
            let points = Extent::Const(self.v.point);
            let x_steps = [arg(g, spec.x[0], row), arg(g, spec.x[1], column)];
            let y_steps = [arg(g, spec.y[0], &points.scale(n)), arg(g, spec.y[1], &points)];
            let block = |g: &mut Gen<'_, '_>, x: Value, y: Value| {
                let args = SeparableArgs { x, y, x_steps, y_steps, counts: None, epilogue: vec![] };
                g.separable_tile(&spec, &args);
            };
            if self.v.blocks == 1 {
                return block(g, from, to);
            }
            let (zero, blocks) = (g.int(0), g.int(self.v.blocks));
            g.carry((zero, blocks), 1, &[from, to], |g, _, at| {
                block(g, at[0], at[1]);
                [(at[0], 4 * self.v.channels), (at[1], 4 * self.v.block)]
                    .map(|(at, bytes)| g.b.ins().iadd_imm_s(at, bytes))
                    .to_vec()
            });
        };
        let dense = self.windows.channels.is_some_and(|(d, _)| dims[d].stride.is(1));
        let tensor = g.pointer(
            self.request.operands[self.last.problem.nest.loads[self.last.problem.a].operand].pointer,
        );
        let source = fill_last::source(g, &self.windows, tensor, block.around);
        let bases = [self.y, x].map(|t| g.extent(&dims[t.dim].base));
        // Positions of a square that is in the input.
        let last = [self.y, x].map(|t| {
            let extent = g.extent(&dims[t.dim].extent);
            g.b.ins().iadd_imm_s(extent, 1 - n)
        });
        let (zero, n_lines) = (g.int(0), Extent::Const(n));
        g.carry((zero, block.count), 1, &[v], |g, i, to| {
            let number = g.b.ins().iadd(block.first, i);
            let place = self.place(g, number);
            let copied = |g: &mut Gen<'_, '_>| {
                let mut around = block.around.to_vec();
                around.extend([(self.y.pixel, place[0]), (x.pixel, place[1])]);
                let (zero, rows) = (g.int(0), g.int(way.m() as i64));
                fill_last::emit(g, &self.windows, &self.copied(), source, &around, (zero, rows), copy);
                transform(g, copy, to[0], &n_lines.scale(channels), &Extent::Const(channels));
            };
            if dense {
                let mut at = [zero; 2];
                let mut inside = None;
                for axis in 0..2 {
                    at[axis] = g.b.ins().iadd(place[axis], bases[axis]);
                    for (condition, bound) in
                        [(IntCC::SignedGreaterThanOrEqual, zero), (IntCC::SignedLessThan, last[axis])]
                    {
                        let holds = g.b.ins().icmp(condition, at[axis], bound);
                        inside = Some(match inside {
                            Some(all) => g.b.ins().band(all, holds),
                            None => holds,
                        });
                    }
                }
                let inside = inside.expect("a plane has two axes");
                let steps = [self.y, x].map(|t| dims[t.dim].stride.clone());
                let in_place = |g: &mut Gen<'_, '_>| {
                    let from = g.address(source, &[(at[0], steps[0].clone()), (at[1], steps[1].clone())]);
                    transform(g, from, to[0], &steps[0], &steps[1]);
                };
                g.either(inside, in_place, copied);
            } else {
                copied(g);
            }
            vec![g.b.ins().iadd_imm_s(to[0], 4 * self.v.square)]
        });
    }

    /// Where the kernel keeps weights that it transforms, if it does.
    fn made(&self) -> Option<Made> {
        let Filters::Made(step) = self.way.filters else { return None };
        Some(Made { step, point: apart(step * self.way.panels.widest()) })
    }

    /// Address of the weights of a group, of so many numbers for each pair of channels.
    fn weights(&self, g: &mut Gen<'_, '_>, group: Value, numbers: i64) -> Value {
        let weights = g.pointer(self.way.weight);
        g.address(weights, &[(group, Extent::Const(numbers * self.way.channels[0] * self.padded()))])
    }

    fn padded(&self) -> i64 {
        i64::try_from(self.way.panels.padded()).expect("panels are few")
    }

    /// Runs `body` for the panels of a group.
    fn each_panel(&self, g: &mut Gen<'_, '_>, body: &mut dyn FnMut(&mut Gen<'_, '_>, At)) {
        let columns = Extent::Const(self.way.group);
        let n_panels = g.extent(&self.way.panels.count(&columns));
        let (zero, columns) = (g.int(0), g.extent(&columns));
        self.way.panels.each(g, columns, (zero, n_panels), body);
    }

    /// The product of each point with transformed weights; `spread` is memory for what it multiplies, spread.
    fn products(&self, g: &mut Gen<'_, '_>, group: Value, [v, m]: [Value; 2], spread: Option<Value>) {
        let way = self.way;
        let points = (way.way.n() * way.way.n()) as i64;
        let c = Extent::Const(way.channels[0]);
        let point = 4 * self.padded() * way.channels[0];
        let weights = self.weights(g, group, points);
        // The panels of a point lie behind those of the one before.
        let columns = way.panels.padded() * (way.way.n() * way.way.n());
        let fetch = Fetch::of_weights(columns, way.channels[0], Some(way.squares));
        let (zero, end, k) = (g.int(0), g.int(points), g.extent(&c));
        g.carry((zero, end), 1, &[v, weights, m], |g, _, at_point| {
            let (a, b, to) = (at_point[0], at_point[1], at_point[2]);
            let from = match spread {
                Some(memory) => {
                    let n = g.int(self.way.squares * self.v.square);
                    spread::elements(g, (a, &Extent::ONE), n, memory);
                    memory
                }
                None => a,
            };
            self.each_panel(g, &mut |g, at| {
                let b = g.address(b, &[(at.start, c.clone())]);
                let to = g.address(to, &[(at.start, Extent::ONE)]);
                self.panel(g, at, [from, b, to], k, (Init::Zero, fetch));
            });
            self.next_point(g, [a, b, to], point)
        });
    }

    /// Likewise, with weights that are transformed for some input channels of a panel at a time.
    fn products_made(&self, g: &mut Gen<'_, '_>, group: Value, made: Made, [v, u, m]: [Value; 3]) {
        let way = self.way;
        let n = way.way.n() as i64;
        let taps = self.weights(g, group, 9);
        let steps = way.channels[0] / made.step;
        let (zero, one, end, k) = (g.int(0), g.int(1), g.int(steps), g.int(made.step));
        let points = g.int(n * n);
        self.each_panel(g, &mut |g, at| {
            let channels = made.step * i64::from(at.width);
            let transform = Separable {
                program: way.way.weights(g.arithmetic.multiples()),
                channels: u32::try_from(channels).expect("a step is short"),
                x: [Room::step(3 * channels), Room::step(channels)],
                y: [Room::step(n * made.point), Room::step(made.point)],
                partial: false,
                epilogue: None,
            };
            let taps = g.address(taps, &[(at.start, Extent::Const(9 * way.channels[0]))]);
            let to = g.address(m, &[(at.start, Extent::ONE)]);
            let mut from = vec![taps, v];
            for (range, init) in [((zero, one), Init::Zero), ((one, end), Init::Load)] {
                from = g.carry(range, 1, &from, |g, _, from| {
                    let (taps, a) = (from[0], from[1]);
                    let steps = [None; 2];
                    let (x_steps, y_steps, counts) = (steps, steps, None);
                    g.separable_tile(
                        &transform,
                        &SeparableArgs { x: taps, y: u, x_steps, y_steps, counts, epilogue: vec![] },
                    );
                    g.carry((zero, points), 1, &[a, u, to], |g, _, at_point| {
                        let at_point = [at_point[0], at_point[1], at_point[2]];
                        self.panel(g, at, at_point, k, (init, Fetch::default()));
                        self.next_point(g, at_point, 4 * made.point)
                    });
                    vec![
                        g.b.ins().iadd_imm_s(taps, 4 * 9 * channels),
                        g.b.ins().iadd_imm_s(a, 4 * self.v.block),
                    ]
                });
            }
        });
    }

    /// Addresses of squares, weights and products of the next point; those of weights are so many bytes apart.
    fn next_point(&self, g: &mut Gen<'_, '_>, [a, b, to]: [Value; 3], weights: i64) -> Vec<Value> {
        [(a, 4 * self.v.point), (b, weights), (to, 4 * self.m.point)]
            .map(|(at, bytes)| g.b.ins().iadd_imm_s(at, bytes))
            .to_vec()
    }

    /// The product of a point and a panel, of `k` input channels: squares by weights to products.
    fn panel(
        &self,
        g: &mut Gen<'_, '_>,
        at: At,
        [a, b, to]: [Value; 3],
        k: Value,
        (init, fetch): (Init, Fetch),
    ) {
        let squares = Extent::Const(self.way.squares);
        let blocks = RowBlocks { m: squares.clone(), block: squares };
        let (rows, ldc) = (g.int(self.way.squares), g.int(self.m.square));
        let copies = if self.way.spread { spread::COPIES } else { 1 };
        let a_row = copies * self.v.square;
        blocks.each(g, rows, at.rows, &mut |g, height, row| {
            let spec = GemmTile {
                product: Product::F32,
                rows: height,
                panel: at.width,
                cols: at.cols,
                a_row: Room::step(a_row),
                a_k: Room::step(copies),
                a_runs: None,
                a_spread: self.way.spread,
                b_rows: BRows::Apart(Stride::Const(u32::from(at.width))),
                ahead: fetch.ahead(height, i64::from(at.width)),
                chains: None,
                init,
                epilogue: None,
            };
            let args = GemmArgs {
                a: g.address(a, &[(row, Extent::Const(a_row))]),
                b,
                c: g.address(to, &[(row, Extent::Const(self.m.square))]),
                k,
                ldc,
                blocks: None,
                a_row: (spec.a_row == Stride::Arg).then(|| g.int(a_row)),
                a_k: None,
                a_table: None,
                b_k: None,
                b_table: None,
                cols: at.cols_value,
                ahead: fetch.begin(g, &spec, b, row),
                epilogue: vec![],
                outputs: vec![],
            };
            g.gemm_tile(&spec, &args);
        });
    }

    /// Transforms the products of a block of squares to results.
    fn output(&self, g: &mut Gen<'_, '_>, tiles: &Tiles<'_>, block: &Block<'_>, m: Value) {
        let (way, p) = (self.way.way, &self.last.problem);
        let (n, size) = (way.n() as i64, way.m() as i64);
        let (row, column) = (&p.c_at.coefficients[self.y.pixel], &p.c_row);
        let spec = Separable {
            program: way.output(g.arithmetic.multiples()),
            channels: u32::try_from(self.way.group).expect("channels are few"),
            x: [Room::step(n * self.m.point), Room::step(self.m.point)],
            y: [stride(row), stride(column)],
            partial: self.way.plane.iter().any(|extent| extent % size != 0),
            epilogue: p.epilogue.clone(),
        };
        let values = |g: &mut Gen<'_, '_>, strides: [Stride; 2], extents: [&Extent; 2]| {
            let mut values = [None; 2];
            for ((value, stride), extent) in values.iter_mut().zip(strides).zip(extents) {
                *value = (stride == Stride::Arg).then(|| g.extent(extent));
            }
            values
        };
        let points = Extent::Const(self.m.point);
        let x_steps = values(g, spec.x, [&points.scale(n), &points]);
        let y_steps = values(g, spec.y, [row, column]);
        let steps: Vec<[Value; 2]> = (p.operands.iter())
            .map(|(o, at)| [g.extent(&at.coefficients[self.y.pixel]), g.extent(&o.row_stride)])
            .collect();
        let (zero, bytes) = (g.int(0), g.b.ins().ishl_imm_u(block.channel, 2));
        let (size_value, plane) = (g.int(size), self.way.plane.map(|extent| g.int(extent)));
        g.carry((zero, block.count), 1, &[m], |g, i, from| {
            let number = g.b.ins().iadd(block.first, i);
            let place = self.place(g, number);
            let mut at = block.around.to_vec();
            at.push((self.y.pixel, place[0]));
            let origin = tiles.origin(g, self.request, &at, place[1]);
            let counts = spec.partial.then(|| {
                [0, 1].map(|axis| {
                    let left = g.b.ins().isub(plane[axis], place[axis]);
                    g.min(left, size_value)
                })
            });
            let operands = p.operands.iter().zip(&origin.operands).zip(&steps);
            let epilogue = operands
                .map(|(((o, _), &ptr), &steps)| match o.kind {
                    EpilogueInput::Tile => SquareArg { ptr: g.b.ins().iadd(ptr, bytes), steps: Some(steps) },
                    EpilogueInput::Col => SquareArg { ptr: g.b.ins().iadd(ptr, bytes), steps: None },
                    _ => SquareArg { ptr, steps: None },
                })
                .collect();
            let y = g.b.ins().iadd(origin.c, bytes);
            let args = SeparableArgs { x: from[0], y, x_steps, y_steps, counts, epilogue };
            g.separable_tile(&spec, &args);
            vec![g.b.ins().iadd_imm_s(from[0], 4 * self.m.square)]
        });
    }
}
