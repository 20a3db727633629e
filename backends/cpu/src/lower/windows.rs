//! windows - nests that join the elements of windows over planes, as pools that tiles do.
//!
//! ```text
//!   channels first   rows y, columns x: taps are neighbours           lines are rows of pixels
//!   channels last    rows y, cells x, columns c: taps lie C apart     lines are rows of pixels with all of their channels;
//!                    with neighbouring windows a row is one cell
//!   one window axis  along the last axis, or a line each row of it
//! ```

use nnc_ir::{
    dtype::DType,
    extent::Extent,
    form::{Bounds, Combine, Load, LoopForm},
    program::Inst,
};
use nnc_tile::{
    program::{Ref as Lane, VectorProgram},
    stream::{Join, Walk},
};

use super::{
    access::{Access, dense_strides, inside, linear},
    lanes,
};
use crate::kernel::{NestRequest, Placement};

/// A window axis of the operand: `stride * space + step * tap - pad`, inside of `extent`.
#[derive(Clone, Debug)]
struct Window {
    space: usize,
    taps: i64,
    stride: i64,
    step: i64,
    pad: i64,
    extent: Extent,
    /// Elements from one position to the next.
    pitch: Extent,
}

/// The rows of a pool: of windows, or of whatever lies beside them.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    pub(super) axis: usize,
    pub(super) height: i64,
    pub(super) stride: i64,
    pub(super) pad: i64,
    /// Rows of the operand, and their distance.
    pub(super) extent: Extent,
    pub(super) pitch: Extent,
}

/// The cells of a row.
#[derive(Clone, Debug)]
pub(super) struct Cells {
    pub(super) axis: usize,
    /// Elements of a line from one to the next.
    pub(super) step: Extent,
}

/// A nest as a pool.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    pub(super) join: Join,
    /// The load that is joined, where it begins without its padding, and how it walks along the axes.
    pub(super) load: usize,
    pub(super) base: Extent,
    pub(super) coefficients: Vec<Extent>,
    /// Axes around the planes.
    pub(super) outer: Vec<usize>,
    pub(super) rows: Option<Rows>,
    pub(super) cells: Option<Cells>,
    /// Columns of a cell.
    pub(super) columns: Extent,
    /// Taps along a line, their distance, and that of windows.
    pub(super) width: i64,
    pub(super) apart: i64,
    pub(super) stride: i64,
    /// Elements of a line that are read, before them, and that windows reach.
    pub(super) x_width: Extent,
    pub(super) left: i64,
    pub(super) span: Extent,
    /// What happens to joined elements, with the loads it reads.
    pub(super) finish: Option<VectorProgram>,
    pub(super) operands: Vec<(Access, usize, Walk)>,
    /// Where the result is.
    pub(super) result: Placement,
}

/// Fewest columns that are worth lanes.
const COLUMNS: i64 = 4;

impl Windows {
    /// The nest of a request, if it is a pool.
    pub(super) fn of(request: &NestRequest) -> Option<Windows> {
        let form = &request.form;
        let (join, load) = joined(form)?;
        let all: Vec<Extent> = form.space.iter().chain(&form.reduce).cloned().collect();
        let access = Access::of_load(&form.loads[load], &all);
        let mut windows = windows(&form.loads[load], &all, form.space.len())?;
        if !access.extra.is_empty() {
            return None;
        }
        let result = match request.placement.first().and_then(Option::as_ref) {
            Some(place) => place.clone(),
            None => Placement { offset: Extent::ZERO, strides: dense_strides(&form.space) },
        };
        let mut beside: Vec<usize> = (0..form.space.len())
            .filter(|&a| !all[a].is(1) && windows.iter().all(|w| w.space != a))
            .collect();
        let last = (0..form.space.len()).rev().find(|&a| !all[a].is(1))?;
        if !result.strides[last].is(1) {
            return None;
        }
        let base = windows.iter().fold(access.base.clone(), |base, w| &base + &w.pitch.scale(w.pad));
        // The window along lines: the last, unless it is the only one, lines run beside it and its taps are next to each other.
        let is_along = windows.len() == 2 || windows[0].space == last || windows[0].step > 1;
        let along = if is_along { windows.pop() } else { None };
        let rows = windows.pop();
        let lines = Lines::of(along.as_ref(), last, &all, &access)?;
        beside.retain(|&a| a != last);
        let rows = match rows {
            Some(w) if w.step == 1 => Some(Rows {
                axis: w.space,
                height: w.taps,
                stride: w.stride,
                pad: w.pad,
                extent: w.extent,
                pitch: w.pitch,
            }),
            Some(_) => return None,
            None => beside.pop().map(|axis| Rows {
                axis,
                height: 1,
                stride: 1,
                pad: 0,
                extent: all[axis].clone(),
                pitch: access.coefficients[axis].clone(),
            }),
        };
        let mut made = Windows {
            join,
            load,
            base,
            coefficients: access.coefficients,
            outer: beside,
            rows,
            cells: lines.cells,
            columns: all[last].clone(),
            width: lines.width,
            apart: lines.apart,
            stride: lines.stride,
            x_width: lines.x_width,
            left: lines.left,
            span: lines.span,
            finish: None,
            operands: Vec::new(),
            result,
        };
        made.finish(form, last)?;
        made.join_cells(last, &all);
        made.columns.as_const().is_none_or(|n| n >= COLUMNS).then_some(made)
    }

    /// Translates what happens to joined elements.
    fn finish(&mut self, form: &LoopForm, last: usize) -> Option<()> {
        let [result] = form.finish.results[..] else { return None };
        if form.finish.inst(result) == &Inst::Acc(0) {
            return Some(());
        }
        let mut program = VectorProgram::new();
        let mut values: Vec<Lane> = Vec::new();
        for (inst, dtype) in form.finish.insts() {
            values.push(match inst {
                Inst::Acc(0) => program.input(0),
                Inst::Load(k) => {
                    self.operand(&form.loads[*k], *k, form.space.len(), last, &all_extents(form))?;
                    program.input(u16::try_from(self.operands.len()).ok()?)
                }
                Inst::Const(c) => lanes::constant(&mut program, *c)?,
                other => lanes::inst(&mut program, &form.finish, (other, *dtype), &values)?,
            });
        }
        program.result(values[result.index()]);
        self.finish = Some(program);
        Some(())
    }

    fn operand(
        &mut self,
        load: &Load,
        number: usize,
        space: usize,
        last: usize,
        all: &[Extent],
    ) -> Option<()> {
        let access = Access::of_load(load, all);
        let plain = access.conditions.is_empty() && access.extra.is_empty() && load.dtype == DType::F32;
        let known = access.coefficients[space..].iter().all(|c| c.is(0));
        let walk = match access.coefficients[last] {
            Extent::Const(0) => Walk::Same,
            Extent::Const(1) => Walk::Along,
            _ => return None,
        };
        self.operands.push((access, number, walk));
        (plain && known).then_some(())
    }

    /// Makes one cell of those that all walk as one.
    fn join_cells(&mut self, last: usize, all: &[Extent]) {
        let Some(Cells { axis, step }) = self.cells.clone() else { return };
        let columns = &all[last];
        let as_one = |(access, _, walk): &(Access, usize, Walk)| match walk {
            Walk::Along => access.coefficients[axis] == *columns,
            Walk::Same => access.coefficients[axis].is(0),
        };
        if step == *columns && self.result.strides[axis] == *columns && self.operands.iter().all(as_one) {
            self.columns = columns * &all[axis];
            self.cells = None;
        }
    }
}

fn all_extents(form: &LoopForm) -> Vec<Extent> {
    form.space.iter().chain(&form.reduce).cloned().collect()
}

/// What is joined, and the load that it is, if the form joins elements of f32 as they are.
fn joined(form: &LoopForm) -> Option<(Join, usize)> {
    let join = match form.combine? {
        Combine::Sum => Join::Sum,
        Combine::Max => Join::Max,
        Combine::Min => Join::Min,
        _ => return None,
    };
    let [(Inst::Load(load), DType::F32)] = form.body.insts() else { return None };
    let f32s = form.loads[*load].dtype == DType::F32 && form.results == [DType::F32];
    let outside = match form.loads[*load].bounds {
        Bounds::Inside => true,
        Bounds::Guard(value) => value.bits == u64::from(join.identity()),
        Bounds::Check => false,
    };
    (f32s && outside).then_some((join, *load))
}

/// The one or two axes of an operand along which windows move, if it is read at linear places otherwise.
fn windows(load: &Load, all: &[Extent], space: usize) -> Option<Vec<Window>> {
    let pitches = dense_strides(&load.extents);
    let mut found: Vec<Window> = Vec::new();
    for ((ix, extent), pitch) in load.index.iter().zip(&load.extents).zip(pitches) {
        let taps: Vec<usize> = (space..all.len()).filter(|&a| !all[a].is(1) && ix.mentions(a)).collect();
        if taps.is_empty() {
            let covered = load.bounds == Bounds::Inside || inside(ix, extent, all);
            let alone = found.iter().all(|w| !ix.mentions(w.space));
            if covered && alone { continue } else { return None }
        }
        let at = linear(ix, all.len())?;
        let moves: Vec<usize> = (0..space).filter(|&a| !all[a].is(1) && ix.mentions(a)).collect();
        let ([tap], [position]) = (&taps[..], &moves[..]) else { return None };
        let positive = |axis: usize| at.coefficients[axis].as_const().filter(|&c| c > 0 && c < 1 << 24);
        found.push(Window {
            space: *position,
            taps: all[*tap].as_const().filter(|&n| n > 0 && n < 1 << 16)?,
            stride: positive(*position)?,
            step: positive(*tap)?,
            pad: at.base.as_const().filter(|&b| (-(1 << 24)..=0).contains(&b))?.wrapping_neg(),
            extent: extent.clone(),
            pitch,
        });
    }
    // Each axis in one window, and no other place that depends on it.
    let reduced = (space..all.len()).filter(|&a| !all[a].is(1)).count();
    let own = |w: &Window| load.index.iter().filter(|ix| ix.mentions(w.space)).count() == 1;
    let windows = reduced == found.len() && (1..=2).contains(&reduced);
    (windows && found.iter().all(own)).then_some(found)
}

/// What a row of the operand is to windows along it.
struct Lines {
    cells: Option<Cells>,
    width: i64,
    apart: i64,
    stride: i64,
    x_width: Extent,
    left: i64,
    span: Extent,
}

impl Lines {
    fn of(along: Option<&Window>, last: usize, all: &[Extent], access: &Access) -> Option<Lines> {
        let Some(w) = along else {
            // Windows move across lines only.
            let n = all[last].clone();
            return access.coefficients[last].is(1).then_some(Lines {
                cells: None,
                width: 1,
                apart: 1,
                stride: 1,
                x_width: n.clone(),
                left: 0,
                span: n,
            });
        };
        let reach = Extent::Const((w.taps - 1) * w.step + 1);
        let span = &(&all[w.space] - &Extent::ONE).scale(w.stride) + &reach;
        if w.space == last {
            let near = w.pitch.is(1) && (1..=2).contains(&w.stride);
            return near.then_some(Lines {
                cells: None,
                width: w.taps,
                apart: w.step,
                stride: w.stride,
                x_width: w.extent.clone(),
                left: w.pad,
                span,
            });
        }
        // Pixels with all of their channels, one behind the other. Of those of a part, what lies between comes along.
        let channels = all[last].as_const()?;
        let pixel = w.pitch.as_const().filter(|&p| channels <= p && p < 1 << 20)?;
        if !access.coefficients[last].is(1) {
            return None;
        }
        let first = |pixels: &Extent| &(pixels - &Extent::ONE).scale(pixel) + &Extent::Const(channels);
        Some(Lines {
            cells: Some(Cells { axis: w.space, step: Extent::Const(w.stride * pixel) }),
            width: w.taps,
            apart: w.step.checked_mul(pixel)?,
            stride: 1,
            x_width: first(&w.extent),
            left: w.pad.checked_mul(pixel)?,
            span: first(&span),
        })
    }
}
