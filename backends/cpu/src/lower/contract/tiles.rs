//! tiles - what all tiles of a contraction have in common, and their operands at run time.

use cranelift_codegen::ir::{InstBuilder, Value};
use nnc_ir::extent::Extent;
use nnc_tile::{
    epilogue::EpilogueInput,
    gemm::{Ahead, BRows, GemmTile, Init, Stride},
    stream::Element,
};

use super::{
    analyze::{Linear, Problem},
    emit::Gen,
    fetch::Fetch,
    panel::{At, RowBlocks},
    spread::COPIES,
};
use crate::{
    frame::PointerSlot,
    kernel::NestRequest,
    tile::{EpilogueArg, GemmArgs, OutputArg},
};

/// A stride for a tile: constants that displacements have room for become part of the code.
pub(super) fn stride(extent: &Extent) -> Stride {
    match extent.as_const().and_then(|c| u32::try_from(c).ok()) {
        Some(c) if c < 1 << 20 => Stride::Const(c),
        _ => Stride::Arg,
    }
}

/// What a tile is given of a distance.
fn argument(g: &mut Gen<'_, '_>, distance: &Extent) -> Option<Value> {
    (stride(distance) == Stride::Arg).then(|| g.extent(distance))
}

fn bytes(element: Element) -> i64 {
    if element.bytes() == 1 { 1 } else { 4 }
}

/// Addresses of an item's first elements.
pub(super) struct Origin {
    pub(super) a: Value,
    pub(super) c: Value,
    /// One a further result.
    pub(super) further: Vec<Value>,
    /// One an operand of the epilogue that a load reads; whoever has others puts them behind these.
    pub(super) operands: Vec<Value>,
    /// Rows that went over the panel before, if these are not the first.
    pub(super) done: Option<Value>,
}

/// Rows of B in a panel.
#[derive(Clone, Copy)]
pub(super) enum BPanel {
    /// From `start`, rows apart by a constant, or by a run-time value.
    Apart(Value, Stride, Option<Value>),
    /// From `start` by a table.
    Table(Value, Value),
}

/// Which part of the terms of a sum tiles add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Terms {
    /// All of them.
    All,
    /// The first ones: what is stored are sums.
    First,
    /// More, to the sums that are there.
    Middle,
    /// The last ones, after which the epilogue comes.
    Last,
}

/// Emits the tiles of a problem.
pub(super) struct Tiles<'p> {
    problem: &'p Problem,
    terms: Terms,
    k: Value,
    /// Distances in A along rows and sums, and those of them that are values at run time.
    a: [Extent; 2],
    a_row: Option<Value>,
    a_k: Option<Value>,
    /// Whether each element of A lies there four times.
    spread: bool,
    /// Elements of a run of A, and the table of runs.
    a_runs: Option<(u32, Value)>,
    /// What tiles ask for before it is read.
    fetch: Fetch,
    ldc: Value,
    /// Row strides of further results.
    further: Vec<Value>,
    strides: Vec<Value>,
}

impl Linear {
    /// Where it is in the buffer of a slot: at positions on axes of the nest, others are 0, and so many rows further.
    pub(super) fn address(
        &self,
        g: &mut Gen<'_, '_>,
        slot: PointerSlot,
        at: &[(usize, Value)],
        rows: Option<(Value, &Extent)>,
        bytes: i64,
    ) -> Value {
        let base = g.pointer(slot);
        let base = g.plus(base, &self.base.scale(bytes));
        let mut parts: Vec<(Value, Extent)> =
            at.iter().map(|&(axis, i)| (i, self.coefficients[axis].clone())).collect();
        parts.extend(rows.map(|(row, step)| (row, step.clone())));
        g.address_of(base, &parts, bytes)
    }
}

impl<'p> Tiles<'p> {
    /// Reads what tiles need that is the same for all of them.
    pub(super) fn new(g: &mut Gen<'_, '_>, problem: &'p Problem) -> Self {
        let a = [problem.a_row.clone(), problem.a_k.clone()];
        let [a_row, a_k] = a.each_ref().map(|distance| argument(g, distance));
        let k = g.extent(&problem.extent(&problem.k));
        let ldc = g.extent(&problem.c_row);
        let further = problem.further.iter().map(|(_, row)| g.extent(row)).collect();
        let strides = problem.operands.iter().map(|(o, _)| g.extent(&o.row_stride)).collect();
        let terms = Terms::All;
        Tiles {
            problem,
            terms,
            k,
            a,
            a_row,
            a_k,
            spread: false,
            a_runs: None,
            fetch: Fetch::default(),
            ldc,
            further,
            strides,
        }
    }

    /// The same over a B that comes from far away.
    pub(super) fn with_fetch(self, fetch: Fetch) -> Self {
        Tiles { fetch, ..self }
    }

    /// The same over so many elements of a sum, where these are groups of its terms.
    pub(super) fn with_terms(self, k: Value) -> Self {
        Tiles { k, ..self }
    }

    /// The same over an A that is spread (`spread`), its rows so far apart.
    pub(super) fn over_spread(self, g: &mut Gen<'_, '_>, row: Extent) -> Self {
        let a = [row, Extent::Const(COPIES)];
        let [a_row, a_k] = a.each_ref().map(|distance| argument(g, distance));
        Tiles { a, a_row, a_k, spread: true, ..self }
    }

    /// The same for a part of the terms.
    pub(super) fn of_terms(&self, terms: Terms) -> Self {
        let (a, further, strides) = (self.a.clone(), self.further.clone(), self.strides.clone());
        Tiles { terms, a, further, strides, ..*self }
    }

    /// The same over an A that lies in runs.
    pub(super) fn with_runs(self, run: u32, table: Value) -> Self {
        Tiles { a_runs: Some((run, table)), ..self }
    }

    /// Where an item begins: `at` are positions on axes of the nest; others are 0.
    pub(super) fn origin(
        &self,
        g: &mut Gen<'_, '_>,
        request: &NestRequest,
        at: &[(usize, Value)],
        first_row: Value,
    ) -> Origin {
        let p = self.problem;
        let mut place = |slot, linear: &Linear, row: &Extent, bytes: i64| {
            let rows = (!p.m.is_empty()).then_some((first_row, row));
            linear.address(g, slot, at, rows, bytes)
        };
        let result = |k: usize| (request.results[k], bytes(p.stores()[k]));
        let (c, c_bytes) = result(0);
        let operand = |load: usize| request.operands[p.nest.loads[load].operand].pointer;
        Origin {
            a: place(operand(p.a), &p.a_at, &p.a_row, 4),
            c: place(c, &p.c_at, &p.c_row, c_bytes),
            further: (p.further.iter().enumerate())
                .map(|(k, (at, row))| {
                    let (slot, bytes) = result(k + 1);
                    place(slot, at, row, bytes)
                })
                .collect(),
            operands: p.operands.iter().map(|(o, at)| place(operand(o.load), at, &o.row_stride, 4)).collect(),
            done: None,
        }
    }

    /// All rows of a panel of columns; `column` is the place of its first column in the result.
    pub(super) fn panel(
        &self,
        g: &mut Gen<'_, '_>,
        origin: &Origin,
        at: At,
        b: BPanel,
        blocks: &RowBlocks,
        rows: Value,
    ) {
        let p = self.problem;
        let bytes = g.b.ins().ishl_imm_u(at.start, 2);
        let column = [(at.start, Extent::ONE)];
        let of_result = |k: usize| self::bytes(p.stores()[k]);
        let c = match of_result(0) {
            4 => g.b.ins().iadd(origin.c, bytes),
            narrow => g.address_of(origin.c, &column, narrow),
        };
        let further: Vec<Value> = (origin.further.iter().enumerate())
            .map(|(k, &ptr)| g.address_of(ptr, &column, of_result(k + 1)))
            .collect();
        // Their kinds, and elements from one row to the next.
        let read = p.operands.iter().map(|(o, _)| (o.kind, o.row_stride.clone()));
        let own = p.further_operands.iter().map(|&kind| (kind, Extent::ONE));
        let kinds: Vec<(EpilogueInput, Extent)> = read.chain(own).collect();
        let operands: Vec<Value> = kinds
            .iter()
            .zip(&origin.operands)
            .map(|((kind, _), &ptr)| match kind {
                EpilogueInput::Col | EpilogueInput::Tile => g.b.ins().iadd(ptr, bytes),
                _ => ptr,
            })
            .collect();
        let tile = |g: &mut Gen<'_, '_>, height: u16, i: Value, stack: Option<Value>| {
            let spec = self.spec(height, at, &b);
            let by_row = |g: &mut Gen<'_, '_>, ptr: Value, row: &Extent| g.address(ptr, &[(i, row.clone())]);
            let epilogue = kinds
                .iter()
                .zip(&operands)
                .enumerate()
                .filter(|_| spec.epilogue.is_some())
                .map(|(at, ((kind, row_stride), &ptr))| match kind {
                    EpilogueInput::Row | EpilogueInput::Tile => {
                        let ptr = by_row(g, ptr, row_stride);
                        let stride = self.strides.get(at).copied();
                        EpilogueArg { ptr, stride: stride.filter(|_| *kind == EpilogueInput::Tile) }
                    }
                    _ => EpilogueArg { ptr, stride: None },
                })
                .collect();
            let (start, b_k, b_table) = match b {
                BPanel::Apart(start, _, b_k) => (start, b_k, None),
                BPanel::Table(start, table) => (start, None, Some(table)),
            };
            let outputs = (p.further.iter().zip(&further).zip(&self.further).enumerate())
                .map(|(k, (((_, row), &ptr), &stride))| {
                    let ptr = g.address_of(ptr, &[(i, row.clone())], of_result(k + 1));
                    OutputArg { ptr, stride }
                })
                .collect();
            let row = origin.done.map_or(i, |done| g.b.ins().iadd(done, i));
            let ahead = self.fetch.begin(g, &spec, start, row);
            let args = GemmArgs {
                a: by_row(g, origin.a, &self.a[0]),
                b: start,
                c: g.address_of(c, &[(i, p.c_row.clone())], of_result(0)),
                k: self.k,
                ldc: self.ldc,
                blocks: stack,
                a_row: self.a_row,
                a_k: self.a_k,
                a_table: self.a_runs.map(|(_, table)| table),
                b_k,
                b_table,
                cols: at.cols_value,
                ahead,
                epilogue,
                outputs,
            };
            g.gemm_tile(&spec, &args);
        };
        match at.is_stacked() {
            false => blocks.each(g, rows, at.rows, &mut |g, height, i| tile(g, height, i, None)),
            true => blocks.each_stack(g, rows, at.rows, &mut |g, height, i, n| tile(g, height, i, Some(n))),
        }
    }

    fn spec(&self, rows: u16, at: At, b: &BPanel) -> GemmTile {
        GemmTile {
            product: self.problem.product,
            rows,
            panel: at.width,
            cols: at.cols,
            a_row: stride(&self.a[0]),
            a_k: stride(&self.a[1]),
            a_runs: self.a_runs.map(|(run, _)| run),
            a_spread: self.spread,
            b_rows: match b {
                BPanel::Apart(_, stride, _) => BRows::Apart(*stride),
                BPanel::Table(..) => BRows::Table,
            },
            // Tiles of chains ask for A themselves, and B stays near.
            ahead: match at.chains {
                1 => self.fetch.ahead(rows, i64::from(at.width) * self.problem.groups.len() as i64),
                _ => Ahead::Nothing,
            },
            chains: at.chains(&self.problem.extent(&self.problem.k)),
            init: match self.terms {
                Terms::All | Terms::First => Init::Zero,
                Terms::Middle | Terms::Last => Init::Load,
            },
            epilogue: match self.terms {
                Terms::All | Terms::Last => self.problem.epilogue.clone(),
                Terms::First | Terms::Middle => None,
            },
        }
    }
}
