//! schedule - which axis of a nest runs in lanes, and how many vectors of it at once.

use nnc_ir::{
    dtype::DType,
    extent::Extent,
    form::Combine,
    program::{Inst, Program, Ref},
};

use nnc_x86::Level;

use super::{
    access::{Access, Condition, linear, range},
    collapse::Nest,
    levels::{self, Use},
    vector,
};

/// Bytes of a vector.
pub(super) const VECTOR_BYTES: usize = 16;
/// Reduction axes are unrolled in lanes up to so many points.
const UNROLLED_POINTS: i64 = 32;
/// Instructions in one turn of a loop above which it is not unrolled further.
const TURN: usize = 48;

/// One axis in lanes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lanes {
    /// The axis.
    pub(super) axis: usize,
    /// Elements in a vector.
    pub(super) width: usize,
    /// Vectors at once.
    pub(super) copies: usize,
    /// Elements are only moved: vectors are of bits.
    pub(super) raw: bool,
    /// Where all conditions on the axis hold: from the greatest of the first to the least of the second. Empty where
    /// there is no such condition.
    pub(super) interior: Vec<(Extent, Extent)>,
    /// Reduction axes from this number on are unrolled.
    pub(super) unroll_from: usize,
    /// What fills no vector is computed by one that overlaps the one before. Only where computing an element twice is
    /// harmless: nests that read something at the place they write may write over it (`plan::in_place`).
    pub(super) overlap: bool,
}

impl Lanes {
    /// The loops that make up the axis, but for its last elements: several vectors at once, then one.
    pub(super) fn turns(&self) -> Vec<Lanes> {
        let single = Lanes { copies: 1, ..self.clone() };
        if self.copies == 1 { vec![single] } else { vec![self.clone(), single] }
    }
}

/// How a nest runs in lanes.
#[derive(Clone, Debug)]
pub(super) enum Schedule {
    /// Not at all.
    Scalar,
    /// Along the last space axis.
    Space(Lanes),
    /// Along the last reduction axis.
    Reduce(Lanes),
    /// In blocks of four by four elements that are transposed in registers.
    Transpose(Rows),
}

/// The axis along which a transposition reads neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rows {
    /// The axis: not the last of the space.
    pub(super) axis: usize,
    /// Positions of it in one item: those of a cache line, if there are so many.
    pub(super) rows: i64,
    /// Whether the last axis has two positions, and the result's rows lie one behind the other.
    pub(super) pairs: bool,
}

impl Schedule {
    /// The schedule of a nest.
    pub(super) fn of(nest: &Nest, uses: &[Use]) -> Schedule {
        let chooses = matches!(nest.combine, Some(Combine::ArgMax { .. } | Combine::ArgMin { .. }));
        if nest.scatter.is_some() || chooses {
            return Schedule::Scalar;
        }
        match (View { nest, uses }).transpose() {
            Some(rows) => Schedule::Transpose(rows),
            None => Schedule::of_stage(nest, uses),
        }
    }

    /// The schedule where tiles of that level are called: bands have more rows, for which the code is no longer.
    pub(super) fn for_tiles(self, level: Option<Level>) -> Schedule {
        match self {
            Schedule::Transpose(rows) if level.is_some() => {
                Schedule::Transpose(Rows { rows: if rows.pairs { 1024 } else { 64 }, ..rows })
            }
            other => other,
        }
    }

    /// The schedule of a nest that is part of a kernel: its items are rows, not blocks of them.
    pub(super) fn of_stage(nest: &Nest, uses: &[Use]) -> Schedule {
        let chooses = matches!(nest.combine, Some(Combine::ArgMax { .. } | Combine::ArgMin { .. }));
        if chooses {
            return Schedule::Scalar;
        }
        let view = View { nest, uses };
        let (space, reduce) = (view.space(), view.reduce());
        match (space, reduce) {
            (Some((lanes, 0)), _) => Schedule::Space(lanes),
            (_, Some(lanes)) => Schedule::Reduce(lanes),
            (Some((lanes, _)), None) => Schedule::Space(lanes),
            (None, None) => Schedule::Scalar,
        }
    }
}

impl Nest {
    /// Whether the interior sees to all conditions of an access that change along the axis.
    pub(super) fn covered(&self, access: &Access, axis: usize) -> bool {
        let mut on_axis = access.conditions.iter().filter(|c| self.ix_varies(&c.index, axis));
        on_axis.all(|c| interior(c, self, axis).is_some())
    }
}

/// An index between its least and its greatest value in an item, which must be in `0..extent`.
pub(super) struct ItemRange {
    /// What outer axes contribute: a coefficient for each.
    pub(super) outer: Vec<Extent>,
    /// Least value at the origin of the outer axes.
    pub(super) least: Extent,
    /// Greatest value there.
    pub(super) greatest: Extent,
    /// What all values must be below.
    pub(super) extent: Extent,
}

/// The range of a condition that does not change along the axis in lanes.
fn item_range(condition: &Condition, nest: &Nest) -> Option<ItemRange> {
    let mut a = linear(&condition.index, nest.extents.len())?;
    let outer = a.coefficients[..nest.space - 1].to_vec();
    a.coefficients[..nest.space - 1].fill(Extent::ZERO);
    let (least, greatest) = range(&a, &nest.extents)?;
    Some(ItemRange { outer, least, greatest, extent: condition.extent.clone() })
}

impl Nest {
    /// Ranges that tell of an item whether all conditions hold that do not change along the axis; `None` if they do not
    /// tell. Empty if there is no such condition.
    pub(super) fn item_ranges(&self, axis: usize, uses: &[Use]) -> Option<Vec<ItemRange>> {
        let used = self.loads.iter().zip(uses).filter(|(_, used)| used.any());
        let conditions = used.flat_map(|(load, _)| &load.conditions);
        conditions.filter(|c| !self.ix_varies(&c.index, axis)).map(|c| item_range(c, self)).collect()
    }
}

/// A condition's part of the interior, if it is a linear one with known signs that outer axes do not shift.
fn interior(condition: &Condition, nest: &Nest, axis: usize) -> Option<(Extent, Extent)> {
    let mut a = linear(&condition.index, nest.extents.len())?;
    let step = a.coefficients[axis].as_const().filter(|s| *s > 0)?;
    a.coefficients[axis] = Extent::ZERO;
    if !a.coefficients[..nest.space - 1].iter().all(|c| c.is(0)) {
        return None;
    }
    let (least, greatest) = range(&a, &nest.extents)?;
    let step = Extent::Const(step);
    // step * j + least >= 0 and step * j + greatest <= extent - 1
    let from = (&Extent::ZERO - &least).ceil_div(&step);
    let to = &(&(&condition.extent - &Extent::ONE) - &greatest).floor_div(&step) + &Extent::ONE;
    Some((from, to))
}

struct View<'a> {
    nest: &'a Nest,
    uses: &'a [Use],
}

/// How a load meets an axis.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    Same,
    Neighbours,
    Apart,
}

impl View<'_> {
    fn walk(&self, access: &Access, axis: usize) -> Walk {
        let nest = self.nest;
        if !nest.access_varies(access, axis) {
            Walk::Same
        } else if access.coefficients[axis].is(1)
            && !access.extra.iter().any(|e| nest.ix_varies(&e.index, axis))
            && nest.covered(access, axis)
        {
            Walk::Neighbours
        } else {
            Walk::Apart
        }
    }

    fn supports(&self, program: &Program, axis: usize, acc_varies: bool) -> bool {
        vector::supports(program, &|leaf| match leaf {
            Inst::Load(k) => self.nest.access_varies(&self.nest.loads[*k], axis),
            Inst::Index(ix) => self.nest.ix_varies(ix, axis),
            _ => acc_varies,
        })
    }

    /// Lanes along the last space axis, and the number of loads of the body whose lanes are apart.
    fn space(&self) -> Option<(Lanes, usize)> {
        let nest = self.nest;
        let axis = nest.space - 1;
        let raw = self.raw();
        let width = raw.unwrap_or(4);
        let length = nest.extents[axis].as_const();
        if length.is_some_and(|n| n < width as i64) {
            return None;
        }
        let lanes_results = |p: &Program| p.results.iter().all(|&r| vector::has_lanes(p.dtype(r)));
        let reduces = nest.combine.is_some();
        // Lanes hold narrow integers extended: sums of them would not wrap.
        let wraps = matches!(nest.combine, Some(Combine::Sum | Combine::Product));
        let body_bytes = |&r: &Ref| nest.body.dtype(r).bytes();
        let narrow_sum = wraps && nest.body.results.iter().any(|r| body_bytes(r) < 4);
        let fine = !narrow_sum
            && self.supports(&nest.body, axis, false)
            && self.supports(&nest.finish, axis, true)
            && lanes_results(&nest.body)
            && lanes_results(&nest.finish);
        if raw.is_none() && !fine {
            return None;
        }
        let mut apart = 0;
        let mut bounds = Vec::new();
        for (access, used) in nest.loads.iter().zip(self.uses).filter(|(_, used)| used.any()) {
            apart += usize::from(self.walk(access, axis) == Walk::Apart);
            if nest.covered(access, axis) {
                let on_axis = access.conditions.iter().filter(|c| nest.ix_varies(&c.index, axis));
                bounds.extend(on_axis.filter_map(|c| interior(c, nest, axis)));
            }
            // A load that waits for its loop to turn at all cannot wait for a single lane.
            if access.may_fault() && nest.access_varies(access, axis) && used.earliest > levels::INNER {
                return None;
            }
        }
        bounds.sort();
        bounds.dedup();
        let work = nest.body.insts().iter().filter(|(inst, _)| !inst.refs().is_empty()).count();
        if apart > 0 && (raw.is_some() || (!reduces && work < 3 * apart)) {
            return None;
        }
        let unroll_from = self.unroll_from();
        let points: i64 =
            nest.extents[nest.space + unroll_from..].iter().filter_map(Extent::as_const).product();
        let turn = nest.body.insts().len() * points as usize + nest.finish.insts().len();
        let late = self.uses.iter().any(|used| used.finish);
        let overlap = reduces && !late && length.is_none_or(|n| n % width as i64 != 0 || !bounds.is_empty());
        let copies = if overlap { 1 } else { copies(turn, width, length) };
        Some((
            Lanes { axis, width, copies, raw: raw.is_some(), interior: bounds, unroll_from, overlap },
            apart,
        ))
    }

    /// Lanes along the last reduction axis.
    fn reduce(&self) -> Option<Lanes> {
        let nest = self.nest;
        let axis = nest.extents.len() - 1;
        let length = nest.extents[axis].as_const();
        nest.combine?;
        if length.is_some_and(|n| n < 8) || !self.supports(&nest.body, axis, true) {
            return None;
        }
        let result = nest.body.results[0];
        if !vector::has_lanes(nest.body.dtype(result)) || nest.body.dtype(result).bytes() < 4 {
            return None;
        }
        let mut neighbours = 0;
        for (access, _) in nest.loads.iter().zip(self.uses).filter(|(_, used)| used.body) {
            let conditions = access.conditions.iter().any(|c| nest.ix_varies(&c.index, axis));
            match self.walk(access, axis) {
                Walk::Same => {}
                Walk::Neighbours if !conditions => neighbours += 1,
                _ => return None,
            }
        }
        if neighbours == 0 {
            return None;
        }
        let copies = copies(nest.body.insts().len(), 4, length);
        let unroll_from = nest.reductions();
        Some(Lanes { axis, width: 4, copies, raw: false, interior: Vec::new(), unroll_from, overlap: false })
    }

    /// The other axis of a transposition of 4-byte elements.
    fn transpose(&self) -> Option<Rows> {
        let nest = self.nest;
        let inner = nest.space - 1;
        let ([load], [result]) = (&nest.loads[..], &nest.results[..]) else { return None };
        let moves = nest.combine.is_none() && matches!(nest.body.insts(), [(Inst::Load(0), _)]);
        let plain = load.indices().next().is_none() && result.coefficients[inner].is(1);
        let words = load.dtype == result.dtype && load.dtype.bytes() == 4;
        let apart = !load.coefficients[inner].is(1);
        let long = |axis: usize| nest.extents[axis].as_const().unwrap_or(16);
        if !(moves && plain && words && apart) {
            return None;
        }
        // Two rows of the operand by turns, pixels that were shuffled apart; or one row twice.
        let pairs = nest.extents[inner].is(2) && inner > 0;
        let beside = |a: usize| load.coefficients[a].is(1) && result.coefficients[a].is(2) && long(a) >= 4;
        if pairs && beside(inner - 1) {
            let rows = if long(inner - 1) >= 32 { 32 } else { 4 };
            return Some(Rows { axis: inner - 1, rows, pairs: true });
        }
        // One element for the whole axis is no row.
        if long(inner) < 4 || load.coefficients[inner].is(0) {
            return None;
        }
        let axis = (0..inner).rev().find(|&a| load.coefficients[a].is(1) && long(a) >= 4)?;
        Some(Rows { axis, rows: if long(axis) >= 16 { 16 } else { 4 }, pairs: false })
    }

    /// Elements in a vector, if the nest moves neighbours and nothing else.
    fn raw(&self) -> Option<usize> {
        let nest = self.nest;
        let axis = nest.space - 1;
        let bytes = nest.results.first()?.dtype.bytes();
        let moves = nest.combine.is_none()
            && nest.body.insts().iter().all(|(inst, _)| matches!(inst, Inst::Load(_)))
            && nest.results.iter().all(|r| r.coefficients[axis].is(1))
            && nest.results.iter().all(|r| r.dtype.bytes() == bytes && r.dtype.is_unsigned_int());
        let used = || nest.loads.iter().zip(self.uses).filter(|(_, used)| used.any()).map(|(load, _)| load);
        let fits = |load: &Access| load.dtype.is_unsigned_int() && load.dtype.bytes() == bytes;
        (moves && used().all(fits) && used().all(|load| self.walk(load, axis) != Walk::Apart))
            .then_some(VECTOR_BYTES / bytes)
    }

    /// The first of the last reduction axes that are short enough together to be unrolled.
    fn unroll_from(&self) -> usize {
        let nest = self.nest;
        let mut points = 1;
        let mut from = nest.reductions();
        while from > 0 {
            let Some(n) = nest.extents[nest.space + from - 1].as_const() else { break };
            if n < 1 || points * n > UNROLLED_POINTS {
                break;
            }
            points *= n;
            from -= 1;
        }
        from
    }
}

/// Vectors at once for a turn of so many instructions and an axis of that length, if it is known.
fn copies(turn: usize, width: usize, length: Option<i64>) -> usize {
    let mut copies = 4;
    while copies > 1 && (turn * copies > TURN || length.is_some_and(|n| n < (width * copies) as i64)) {
        copies /= 2;
    }
    copies
}

/// The unsigned type that moves an element.
pub(super) fn raw_vector(dtype: DType) -> cranelift_codegen::ir::Type {
    use cranelift_codegen::ir::types::{I8X16, I16X8, I32X4, I64X2};
    match dtype.bytes() {
        1 => I8X16,
        2 => I16X8,
        4 => I32X4,
        _ => I64X2,
    }
}
