//! cutting - how rows become items, and how many of them are a block.

use nnc_ir::{
    compose::rows::{RowForm, Stage},
    extent::{Extent, product},
    form::{Bounds, Ix, Load, LoopForm},
};

use super::super::access::dense_strides;

/// Bytes that the stages of a block should touch at most: they stay in the first-level cache.
const BLOCK_BYTES: i64 = 32 << 10;
/// Bytes of a block with the rows of the next one, which are asked for meanwhile, and what all rows read.
const BLOCK_BYTES_AHEAD: i64 = 48 << 10;
/// Bytes of all rows that the caches next to a core hold, with room for what else is used: nothing is asked for.
const HELD: i64 = 256 << 10;
/// Most rows of a block.
const BLOCK_ROWS: i64 = 512;
/// Fewest positions of the last row axis in a block where these are in lanes.
pub(super) const BLOCK_COLUMNS: i64 = 16;

/// How rows become items.
pub(super) struct Cutting {
    /// Number of row axes.
    pub(super) rows: usize,
    /// Whether neighbours are of different rows: then the last row axis is in lanes.
    pub(super) across: bool,
    /// Rows, or positions of the last row axis, in a block.
    pub(super) block: Extent,
    /// Number of items.
    pub(super) items: Extent,
    /// Whether rows are asked for before they are read.
    pub(super) ahead: bool,
}

impl Cutting {
    pub(super) fn of(form: &RowForm, hosts: &[Option<usize>]) -> Cutting {
        let rows = form.rows.len();
        let Touched { row, read, shared } = Touched::of(form, hosts);
        let bytes = row.max_with(&Extent::ONE);
        let fitting = Extent::Const(BLOCK_BYTES).floor_div(&bytes);
        match form.rows.split_last() {
            Some((last, outer)) if lies_across(form) => {
                let columns = Extent::Const(BLOCK_COLUMNS);
                let block = fitting.floor_div(&columns).max_with(&Extent::ONE).scale(BLOCK_COLUMNS);
                let block = block.min_with(&Extent::Const(BLOCK_ROWS));
                let items = &product(outer) * &last.ceil_div(&block);
                Cutting { rows, across: true, block, items, ahead: false }
            }
            _ => {
                let items = product(&form.rows);
                let ahead = (&read * &items).as_const().is_none_or(|bytes| bytes > HELD);
                let room = &Extent::Const(BLOCK_BYTES_AHEAD) - &shared;
                let with_next = room.max_with(&Extent::ONE).floor_div(&(&bytes + &read));
                let fitting = if ahead { fitting.min_with(&with_next) } else { fitting };
                let block = fitting.max_with(&Extent::ONE).min_with(&Extent::Const(BLOCK_ROWS));
                Cutting { rows, across: false, block, items, ahead }
            }
        }
    }

    /// Numbers of the space axes of a stage in the order of its loops.
    pub(super) fn order(&self, axes: usize) -> Vec<usize> {
        if !self.across {
            return (0..axes).collect();
        }
        let last = self.rows - 1;
        (0..last).chain(self.rows..axes).chain([last]).collect()
    }

    /// Strides of a value in scratch memory along the space axes of its stage.
    pub(super) fn strides(&self, space: &[Extent]) -> Vec<Extent> {
        if !self.across {
            return dense_strides(space);
        }
        let own = dense_strides(&space[self.rows..]);
        let mut strides = vec![Extent::ZERO; self.rows - 1];
        strides.push(Extent::ONE);
        strides.extend(own.iter().map(|stride| stride * &self.block));
        strides
    }
}

/// The axes of the one result of a row nest, if the items of its kernel go through it from the first element to the last.
pub(crate) fn walk(form: &RowForm) -> Option<Vec<usize>> {
    let stages = || form.stages.iter().map(|stage| &stage.form);
    let extents = |f: &LoopForm| f.space.iter().chain(&f.reduce).all(|e| e.as_const().is_some_and(|n| n > 0));
    let checked = stages().flat_map(|f| &f.loads).any(|load| load.bounds == Bounds::Check);
    let space = &result_of(form)?.form.space;
    (stages().all(extents) && !checked && !lies_across(form)).then(|| (0..space.len()).collect())
}

/// The stage of the one result, if its axes are in their order.
pub(crate) fn result_of(form: &RowForm) -> Option<&Stage> {
    let mut results = form.stages.iter().filter(|stage| stage.result.is_some());
    let stage = results.next()?;
    let wide = stage.axes.iter().zip(&stage.form.space).filter(|(_, extent)| !extent.is(1));
    let in_order = wide.map(|(axis, _)| axis).is_sorted();
    (in_order && results.next().is_none()).then_some(stage)
}

/// Whether most of what is read and written from outside has its neighbours along the last row axis.
pub(super) fn lies_across(form: &RowForm) -> bool {
    let rows = form.rows.len();
    let (mut along, mut across) = (0, 0);
    for stage in &form.stages {
        let space = &stage.form.space;
        let mut vote = |last: Option<usize>| match last {
            Some(axis) if axis + 1 == rows => across += 1,
            Some(_) => along += 1,
            None => {}
        };
        // What is one number a row has no neighbours to speak of.
        let whole = |load: &&Load| {
            let own = |axis: usize| load.index.iter().any(|ix| ix.mentions(axis));
            load.operand < form.operands && (rows..stage.form.axes()).any(own)
        };
        for load in stage.form.loads.iter().filter(whole) {
            let last = (0..load.index.len()).rev().find(|&a| !load.extents[a].is(1));
            let varies = |ix: &Ix| (0..stage.form.axes()).rev().find(|&a| ix.mentions(a));
            vote(last.and_then(|a| varies(&load.index[a])));
        }
        if stage.result.is_some() && space[rows..].iter().any(|e| !e.is(1)) {
            let wide = (0..space.len()).filter(|&a| !space[a].is(1));
            vote(wide.max_by_key(|&a| stage.axes[a]));
        }
    }
    across > along
}

/// Bytes that the stages touch.
struct Touched {
    /// For one row.
    row: Extent,
    /// Those of it that lie outside and are read.
    read: Extent,
    /// The same for all rows.
    shared: Extent,
}

impl Touched {
    fn of(form: &RowForm, hosts: &[Option<usize>]) -> Touched {
        let rows = form.rows.len();
        let width = |bytes: usize| i64::try_from(bytes).expect("elements are small");
        let none = || vec![Extent::ZERO; form.operands];
        let (mut read, mut shared, mut made) = (none(), none(), Extent::ZERO);
        for (stage, host) in form.stages.iter().zip(hosts) {
            if host.is_none() {
                let own = product(&stage.form.space[rows..]);
                made = &made + &own.scale(width(stage.form.results[0].bytes()));
            }
            for load in stage.form.loads.iter().filter(|l| l.operand < form.operands) {
                let varies = |axis: usize| load.index.iter().any(|ix| ix.mentions(axis));
                let own = (rows..stage.form.axes()).filter(|&a| varies(a)).map(|a| stage.form.axis_extent(a));
                let bytes = product(own).scale(width(load.dtype.bytes()));
                let list = if (0..rows).any(varies) { &mut read } else { &mut shared };
                list[load.operand] = bytes;
            }
        }
        let [read, shared] =
            [read, shared].map(|all| all.iter().fold(Extent::ZERO, |sum, bytes| &sum + bytes));
        Touched { row: &made + &read, read, shared }
    }
}
