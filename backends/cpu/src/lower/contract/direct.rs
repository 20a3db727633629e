//! direct - products whose operands lie at linear places: matrix products, convolutions of window 1, einsum.
//!
//! ```text
//! for item = (loops around, block of rows, group of panels):
//!   spread the rows of A, once for neighbouring items        (without multiply-adds)
//!   for panel in group:      constant B: packed when compiling; else read as it lies, or copied to scratch memory
//!     for rows in block:     tile, over all of k, with the epilogue
//! ```

use cranelift_codegen::ir::{InstBuilder, Value, condcodes::IntCC};
use nnc_ir::extent::{Atom, Extent, product};
use nnc_tile::gemm::{Cols, Stride};

use super::{
    analyze::{BFrom, Linear, Problem},
    emit::{Gen, kernel_function},
    fetch::Fetch,
    pack,
    panel::{self, At, Panels, Product, RowBlocks},
    spread,
    tiles::{BPanel, Tiles, stride},
    weights,
};
use crate::{
    choice::Knob,
    frame::PointerSlot,
    kernel::{Kernel, LowerCx, NestRequest, Pace},
};

/// Rows from which on copying a panel that is read across many memory pages pays.
const COPY_ROWS: i64 = 24;
/// Rows of B that stay in the first-level cache where they lie.
const IN_PLACE_K: i64 = 192;
/// Rows from which on copying a B that only the run knows into the order of chains pays, for so many columns at most, and for more, which are
/// in parts.
const CHAINS_ROWS: i64 = 64;
const CHAINS_COLUMNS: usize = 11;
const PARTS_ROWS: i64 = 96;
/// Multiply-adds an item should have at least.
const ITEM_WORK: i64 = 1 << 16;
/// Items there should be where there is enough work.
const ITEMS: i64 = 16;
/// Rows that a block has at least where copying a panel takes longer than reading A from beyond the second-level cache:
/// magika's convolution takes 2.49 ms with all of its 512 rows, 2.76 ms with blocks of 128 (nnc bench --tune).
const SLOW_ROWS: i64 = 512;
/// Elements of A that stay in the second-level cache.
const A_BLOCK: i64 = 160 << 10;

/// Likewise in the first-level cache.
const A_NEAR: i64 = 6 << 10;
/// Rows from which on spreading pays.
const SPREAD_ROWS: i64 = 4;

/// How a product will be done.
#[derive(Clone, Debug)]
pub(super) struct Direct {
    panels: Panels,
    blocks: RowBlocks,
    /// Panels of an item.
    group: i64,
    /// Columns that a panel computes, of all groups.
    columns: i64,
    b: Source,
    /// Elements from one row of A to the next where it is spread first.
    spread: Option<Extent>,
    /// Where the number of the step is counted, if it is done once for each step of a loop.
    turn: Option<PointerSlot>,
}

/// Where panels of B come from.
#[derive(Clone, Debug)]
enum Source {
    /// Packed when compiling; distances along the outer axes.
    Packed { weight: PointerSlot, strides: Vec<(usize, Extent)> },
    /// Read as it lies, but for panels that are not whole vectors wide.
    InPlace,
    /// Copied, or computed.
    Copied,
}

impl Direct {
    /// Decides; packs B if it is constant.
    pub(super) fn new(problem: &Problem, request: &NestRequest, cx: &mut LowerCx<'_>) -> Option<Direct> {
        Self::in_loop(problem, request, None, cx)
    }

    /// Likewise in a loop whose steps are counted in a slot. Every other step begins with the panels that the step before
    /// ended with: these are in the first-level cache still.
    pub(super) fn in_loop(
        problem: &Problem,
        request: &NestRequest,
        turn: Option<PointerSlot>,
        cx: &mut LowerCx<'_>,
    ) -> Option<Direct> {
        let BFrom::Linear { at, n_stride } = &problem.b_from else { return None };
        let (m, n, k) = (problem.extent(&problem.m), problem.extent(&problem.n), problem.extent(&problem.k));
        let groups = problem.groups.len();
        let constant = request.operands.get(problem.nest.loads[problem.b].operand)?.constant.as_ref();
        let around: Vec<usize> =
            problem.outer.iter().copied().filter(|&a| !at.coefficients[a].is(0)).collect();
        let extents = &problem.nest.extents;
        let constant = constant.filter(|_| problem.prologue.is_none());
        let firsts =
            problem.groups.iter().map(|g| usize::try_from(n_stride.as_const().unwrap_or(1) * g).ok());
        let firsts: Vec<usize> = firsts.collect::<Option<_>>()?;
        let axes = [&around[..], &problem.n, &problem.k];
        let fixed = n.as_const().and_then(|n| usize::try_from(n).ok());
        let panels = |chained: Option<i64>, cx: &mut LowerCx<'_>| match fixed {
            Some(n) if groups > 1 => {
                let known = m.as_const().and_then(|m| usize::try_from(m).ok());
                let unknown = if turn.is_some() { panel::FEW } else { panel::MANY };
                Some(Panels::of_groups(known.unwrap_or(unknown), n, problem.level?, groups))
            }
            _ => {
                let product = Product { m: m.as_const(), n: n.as_const(), chained };
                Some(Panels::choose(product, problem.code(), &mut cx.choices))
            }
        };
        let pack =
            |panels: &Panels| constant.and_then(|c| weights::pack(c, at, extents, axes, (panels, &firsts)));
        // Chains want a B in an order of their own: packed so when compiling, or copied where rows are many and one panel has all
        // columns. Kernels of regions, whose turns copy it again, rarely have parts: these multiply many matrices.
        let step = at.stride(&problem.k, extents).filter(steps);
        let few = fixed.is_some_and(|n| n <= CHAINS_COLUMNS);
        let many_rows = match m.as_const() {
            Some(m) => m >= if few { CHAINS_ROWS } else { PARTS_ROWS },
            None => few,
        };
        let may_copy = constant.is_none()
            && problem.prologue.is_none()
            && step.is_some()
            && many_rows
            && (few || around.is_empty());
        let chained = k.as_const().filter(|_| problem.a_k.is(1) && groups == 1);
        let chained = chained.filter(|_| constant.is_some() || may_copy);
        let mut panels_of = panels(chained, cx)?;
        let packed = pack(&panels_of);
        let may_copy = may_copy && panels_of.count(&n).is(1);
        if packed.is_none() && panels_of.has_chains() && !may_copy {
            panels_of = panels(None, cx)?;
        }
        let panels = panels_of;
        let b = match packed {
            None if groups > 1 => return None,
            Some(packing) => {
                let block = panels.padded_steps(&k).scale(i64::try_from(panels.padded() * groups).ok()?);
                let below = |i: usize| product(around[i + 1..].iter().map(|&a| &extents[a]));
                let strides =
                    around.iter().enumerate().map(|(i, &axis)| (axis, &block * &below(i))).collect();
                Source::Packed { weight: cx.add_packing(packing), strides }
            }
            None if problem.prologue.is_some() || panels.has_chains() => Source::Copied,
            None => {
                let many_rows = m.as_const().is_none_or(|m| m >= COPY_ROWS);
                let deep = k.as_const().is_none_or(|k| k > IN_PLACE_K);
                let apart = at.stride(&problem.k, extents).is_some_and(|s| steps(&s) || k.is(1));
                let may = n_stride.is(1) && apart;
                let copied = i64::from(many_rows && deep);
                if may && cx.choices.number(Knob::Copy, copied, || vec![0, 1]) == 0 {
                    Source::InPlace
                } else {
                    Source::Copied
                }
            }
        };
        let block = row_block(problem, &panels, &b, cx.choices.part());
        let pays = spread::pays(problem, cx, &panels, &n) && m.as_const().is_none_or(|m| m >= SPREAD_ROWS);
        let spread = spread_block(problem, &panels, &b, &block).filter(|_| pays);
        let block = spread.as_ref().map_or(block, |(block, _)| block.clone());
        let block = match (m.as_const(), block.as_const()) {
            (Some(all), Some(rows)) => {
                Extent::Const(cx.choices.amount(Knob::Rows, rows, panels.rows_multiple(), all))
            }
            _ => block,
        };
        let blocks = RowBlocks { block, m };
        let rows = blocks.block.as_const().unwrap_or(128);
        let columns = panels.widest() * i64::try_from(groups).ok()?;
        let work = rows.saturating_mul(columns).saturating_mul(k.as_const().unwrap_or(256)).max(1);
        let group = match (&panels, panels.count(&n).as_const()) {
            // In parts, an item is all columns of its rows.
            (Panels::Fixed(_), Some(all)) if cx.choices.part().is_some() => all.max(1),
            (Panels::Fixed(_), Some(all)) => {
                cx.choices.amount(Knob::Panels, (ITEM_WORK / work).clamp(1, all.max(1)), 1, all)
            }
            _ => 1,
        };
        let spread = spread.map(|(_, row)| row);
        Some(Direct { panels, blocks, group, columns, b, spread, turn })
    }

    /// Makes the kernel.
    pub(super) fn lower(&self, p: &Problem, request: &NestRequest, cx: &mut LowerCx<'_>) -> Kernel {
        let extents = &p.nest.extents;
        let (n, k) = (p.extent(&p.n), p.extent(&p.k));
        let n_panels = self.panels.count(&n);
        let mut digits: Vec<Extent> = p.outer.iter().map(|&a| extents[a].clone()).collect();
        let loops = digits.len();
        digits.push(self.blocks.count());
        let groups = n_panels.ceil_div(&Extent::Const(self.group));
        digits.push(groups.clone());
        let row = |rows: &Extent| rows * &n;
        let pace = Pace::new(&row(&self.blocks.m), &row(&self.blocks.block), &groups);
        let scratch = match self.b {
            Source::Packed { .. } => Extent::ZERO,
            // Without terms nothing is copied, but there is a place all the same.
            _ => self.panels.padded_steps(&k.max_with(&Extent::ONE)).scale(self.panels.widest() * 4),
        };
        let panel_bytes = scratch.ceil_div(&Extent::Const(64)).scale(64);
        let spread_bytes =
            self.spread.as_ref().map_or(Extent::ZERO, |row| (row * &self.blocks.block).scale(4));
        let function = kernel_function(cx, |g, begin, end, worker| {
            let mut tiles = Tiles::new(g, p).with_fetch(self.fetch(p));
            if let Some(row) = &self.spread {
                tiles = tiles.over_spread(g, row.clone());
            }
            let scratch = (!scratch.is(0)).then(|| g.scratch(worker));
            let (columns, n_panels) = (g.extent(&n), g.extent(&n_panels));
            // What is spread belongs to this place, and the panel that has been copied to this one.
            let once = self.is_copied_once(p);
            let none: Vec<Value> =
                self.spread.iter().map(|_| ()).chain(once.then_some(())).map(|()| g.int(-1)).collect();
            g.carry((begin, end), 1, &none, |g, item, carried| {
                let at = g.digits(item, &digits);
                let around: Vec<(usize, Value)> = p.outer.iter().copied().zip(at.iter().copied()).collect();
                let (first_row, rows) = self.blocks.at(g, at[loops]);
                let mut origin = tiles.origin(g, request, &around, first_row);
                let mut place: Vec<Value> = self.spread.iter().map(|_| g.div_rem(item, &groups).0).collect();
                let mut stale = None;
                if once {
                    let around = g.div_rem(item, &(&self.blocks.count() * &groups)).0;
                    let copied = carried[place.len()];
                    stale = Some(g.b.ins().icmp(IntCC::NotEqual, around, copied));
                    place.push(around);
                }
                if let Some(row) = &self.spread {
                    let to = g.scratch(worker);
                    let to = g.plus(to, &panel_bytes);
                    let other = g.b.ins().icmp(IntCC::NotEqual, place[0], carried[0]);
                    g.when(other, |g| spread_rows(g, p, (origin.a, rows), (to, row)));
                    origin.a = to;
                }
                let b = match &p.prologue {
                    Some(prologue) => prologue.origins(g, p, request, &around),
                    None => vec![self.b_origin(g, p, request, &around)],
                };
                let from = g.b.ins().imul_imm_s(at[loops + 1], self.group);
                let to = g.b.ins().iadd_imm_s(from, self.group);
                let to = g.min(to, n_panels);
                let panel = |g: &mut Gen<'_, '_>, at: At| {
                    let at = self.no_wider_than_columns(at);
                    let b = self.b_panel(g, p, &b, (scratch, stale), at);
                    tiles.panel(g, &origin, at, b, &self.blocks, rows);
                };
                let Some(turn) = self.turn.filter(|_| !self.panels.count(&n).is(1)) else {
                    self.panels.each(g, columns, (from, to), &mut |g, at| panel(g, at));
                    return place;
                };
                let turn = g.pointer(turn);
                let odd = g.b.ins().band_imm_s(turn, 1);
                g.either(
                    odd,
                    |g| self.panels.each_from_last(g, (from, to), &mut |g, at| panel(g, at)),
                    |g| self.panels.each(g, columns, (from, to), &mut |g, at| panel(g, at)),
                );
                place
            });
        });
        let block_rows = self.blocks.block.clone();
        Kernel {
            function,
            name: request.name.clone(),
            items: product(&digits),
            item_cost: (&block_rows * &k).scale(self.group * self.columns / 4),
            scratch_bytes: &panel_bytes + &spread_bytes,
            may_fault: false,
            scheduled: true,
            plain: None,
            pace,
        }
    }

    /// What is asked for of weights before it is read.
    fn fetch(&self, p: &Problem) -> Fetch {
        match (&self.b, self.panels.padded_steps(&p.extent(&p.k)).as_const()) {
            (Source::Packed { .. }, Some(steps)) => {
                Fetch::of_weights(self.panels.padded() * p.groups.len(), steps, self.blocks.block.as_const())
            }
            _ => Fetch::default(),
        }
    }

    /// Where B begins for an item.
    fn b_origin(
        &self,
        g: &mut Gen<'_, '_>,
        p: &Problem,
        request: &NestRequest,
        around: &[(usize, Value)],
    ) -> Value {
        let position = |axis: usize| around.iter().find(|(a, _)| *a == axis).map(|(_, v)| *v);
        match &self.b {
            Source::Packed { weight, strides } => {
                let base = g.pointer(*weight);
                let parts: Vec<(Value, Extent)> =
                    strides.iter().filter_map(|(a, s)| Some((position(*a)?, s.clone()))).collect();
                g.address(base, &parts)
            }
            _ => {
                let slot = request.operands[p.nest.loads[p.b].operand].pointer;
                linear(p).address(g, slot, around, None, 4)
            }
        }
    }

    /// Where B is read as it lies, a tile reads what is there and no more.
    fn no_wider_than_columns(&self, at: At) -> At {
        match at.cols {
            Cols::Const(n) if matches!(self.b, Source::InPlace) && n % 4 == 0 => At { width: n, ..at },
            _ => at,
        }
    }

    /// Whether one panel has all columns, so that neighbouring items find it where the first of them has copied it to.
    fn is_copied_once(&self, p: &Problem) -> bool {
        let copied = !matches!(self.b, Source::Packed { .. });
        copied && self.turn.is_none() && self.panels.count(&p.extent(&p.n)).is(1)
    }

    /// A panel of B, copied or computed first if need be: where that is known only at run time, `stale` says so.
    fn b_panel(
        &self,
        g: &mut Gen<'_, '_>,
        p: &Problem,
        b: &[Value],
        (scratch, stale): (Option<Value>, Option<Value>),
        at: At,
    ) -> BPanel {
        let fill = |g: &mut Gen<'_, '_>, copy: &mut dyn FnMut(&mut Gen<'_, '_>)| match stale {
            Some(stale) => g.when(stale, |g| copy(g)),
            None => copy(g),
        };
        let k = p.extent(&p.k);
        let groups = p.groups.len() as i64;
        let own = Stride::Const(u32::from(at.width) * p.groups.len() as u32);
        if let (Some(prologue), Some(to)) = (&p.prologue, scratch) {
            fill(g, &mut |g| prologue.panel(g, p, b, to, at));
            return BPanel::Apart(to, own, None);
        }
        let b = b[0];
        if let Source::Packed { .. } = self.b {
            let steps = self.panels.padded_steps(&k);
            return BPanel::Apart(g.address(b, &[(at.start, steps.scale(groups))]), own, None);
        }
        let BFrom::Linear { at: place, n_stride } = &p.b_from else {
            unreachable!("only linear operands are done directly")
        };
        let start = g.address(b, &[(at.start, n_stride.clone())]);
        // Tiles read whole vectors, which at the end of the operand are not there.
        let whole = matches!(at.cols, Cols::Const(n) if n % 4 == 0);
        if matches!(self.b, Source::InPlace) && whole {
            let step = place.stride(&p.k, &p.nest.extents).filter(|s| !s.is(0)).unwrap_or(Extent::ONE);
            let apart = stride(&step);
            let value = (apart == Stride::Arg).then(|| g.extent(&step));
            return BPanel::Apart(start, apart, value);
        }
        let to = scratch.expect("operands that may be copied have scratch memory");
        if let (Some(chains), Some(k), Some(step)) =
            (at.chains(&k), k.as_const(), place.stride(&p.k, &p.nest.extents))
        {
            fill(g, &mut |g| pack::in_chains(g, [start, to], (at.width, k, chains), [&step, n_stride]));
            return BPanel::Apart(to, own, None);
        }
        let sums: Vec<(Extent, Extent)> = merged(p, place);
        fill(g, &mut |g| pack::columns(g, start, to, at, n_stride, &sums));
        BPanel::Apart(to, own, None)
    }
}

fn linear(p: &Problem) -> &Linear {
    match &p.b_from {
        BFrom::Linear { at, .. } => at,
        BFrom::Window(_) => unreachable!("only linear operands are done directly"),
    }
}

/// Axes of the sum with their distances in B, as one where they are one.
fn merged(p: &Problem, at: &Linear) -> Vec<(Extent, Extent)> {
    match at.stride(&p.k, &p.nest.extents) {
        Some(_) if p.k.is_empty() => vec![],
        Some(step) => vec![(p.extent(&p.k), step)],
        None => p.k.iter().map(|&a| (p.nest.extents[a].clone(), at.coefficients[a].clone())).collect(),
    }
}

/// Whether a distance is surely not 0: that of an axis that may broadcast is 0 for one extent.
fn steps(distance: &Extent) -> bool {
    match distance {
        Extent::Const(c) => *c > 0,
        Extent::Expr(e) => e.terms.iter().flat_map(|t| &t.atoms).all(|a| matches!(a, Atom::Symbol(_))),
    }
}

/// Spreads rows of A, `row` elements from one to the next.
fn spread_rows(g: &mut Gen<'_, '_>, p: &Problem, (from, rows): (Value, Value), (to, row): (Value, &Extent)) {
    let (zero, k) = (g.int(0), g.extent(&p.extent(&p.k)));
    let (from_step, to_step) = (p.a_row.scale(4), row.scale(4));
    g.carry((zero, rows), 1, &[from, to], |g, _, at| {
        spread::elements(g, (at[0], &p.a_k), k, at[1]);
        vec![g.plus(at[0], &from_step), g.plus(at[1], &to_step)]
    });
}

/// Rows of a block of which A is spread, and elements from one to the next, if spreading costs no further copies of panels.
fn spread_block(p: &Problem, panels: &Panels, b: &Source, block: &Extent) -> Option<(Extent, Extent)> {
    let (k, rows) = (p.extent(&p.k).as_const()?.max(1), block.as_const()?);
    // An odd number of cache lines, so that rows do not share sets of a cache.
    let row = (spread::COPIES * k / 16 + 1) / 2 * 32 + 16;
    let most = (spread::BYTES / (4 * row)).max(16);
    if rows <= most {
        return Some((block.clone(), Extent::Const(row)));
    }
    let multiple = panels.rows_multiple();
    let parts = (rows + most - 1) / most;
    let rows = ((rows + parts - 1) / parts + multiple - 1) / multiple * multiple;
    (!matches!(b, Source::Copied)).then_some((Extent::Const(rows), Extent::Const(row)))
}

/// Rows of a block: few enough that blocks and panels are enough items and that A stays in cache, many enough that
/// packing pays.
fn row_block(p: &Problem, panels: &Panels, b: &Source, part: Option<i64>) -> Extent {
    let m = p.extent(&p.m);
    let multiple = panels.rows_multiple();
    let up = |rows: i64| Extent::Const((rows + multiple - 1) / multiple * multiple);
    if let (Some(part), Some(rows), Some(n)) = (part, m.as_const(), p.extent(&p.n).as_const()) {
        let block = (part / n.max(1)).max(1);
        return if block >= rows { m } else { up(block).min_with(&m) };
    }
    let k = p.extent(&p.k).as_const().unwrap_or(512).max(1);
    // Several panels of few columns read A so often that it should stay in the first-level cache.
    let near = panels.has_chains() && !panels.count(&p.extent(&p.n)).is(1);
    let least = match b {
        Source::Packed { .. } if near => multiple,
        Source::Packed { .. } => 32,
        _ => 64,
    };
    let BFrom::Linear { n_stride, .. } = &p.b_from else { return m };
    // Each block copies panels again, element by element where columns lie apart: some eight times what a dense row costs.
    let slow = matches!(b, Source::Copied) && (p.prologue.is_some() || !n_stride.is(1));
    let cached = if near { A_NEAR / k } else { A_BLOCK / k };
    let cached = cached.max(if slow { SLOW_ROWS } else { least });
    let Some(rows) = m.as_const() else { return up(cached.min(128)) };
    let around = product(p.outer.iter().map(|&a| &p.nest.extents[a])).as_const().unwrap_or(1);
    let items = panels.count(&p.extent(&p.n)).as_const().unwrap_or(1).saturating_mul(around).max(1);
    let blocks = ((ITEMS + items - 1) / items).max((rows + cached - 1) / cached).max(1);
    let block = ((rows + blocks - 1) / blocks).max(least);
    if block >= rows { m } else { up(block) }
}
