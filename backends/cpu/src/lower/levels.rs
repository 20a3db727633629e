//! levels - at which loop what becomes known, and what varies from lane to lane.

use nnc_ir::{
    extent::Extent,
    form::Ix,
    program::{Inst, Program},
};

use super::{access::Access, collapse::Nest};

/// Level of the items.
pub(super) const ITEM: usize = 1;
/// Level of the last space axis; reduction axes follow.
pub(super) const INNER: usize = 2;

/// What a load is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    /// The body reads it.
    pub(super) body: bool,
    /// The finish program reads it.
    pub(super) finish: bool,
    /// Level where its element is read.
    pub(super) level: usize,
    /// Level before which nothing of it may be read or checked.
    pub(super) earliest: usize,
}

impl Use {
    /// Whether a program reads it; otherwise only indices do.
    pub(super) fn any(self) -> bool {
        self.body || self.finish
    }
    /// Whether its element is read when the reduction is over.
    pub(super) fn late(self) -> bool {
        self.finish && !self.body && self.level == INNER
    }
}

/// What each load is for, and the level of its element.
pub(super) fn uses(nest: &Nest) -> Vec<Use> {
    let innermost = INNER + nest.reductions();
    let positive = |extent: &Extent| extent.as_const().is_some_and(|c| c > 0);
    let maybe_empty = !nest.extents[nest.space..].iter().all(positive);
    let used = |p: &Program, k: usize| p.insts().iter().any(|(inst, _)| *inst == Inst::Load(k));
    let of_load = |k: usize| {
        let (body, finish) = (used(&nest.body, k), used(&nest.finish, k));
        let earliest = if maybe_empty && !finish { innermost } else { ITEM };
        let level = nest.access_level(&nest.loads[k]).max(earliest);
        Use { body, finish, level, earliest }
    };
    (0..nest.loads.len()).map(of_load).collect()
}

impl Nest {
    /// Level at which the position on an axis is known.
    pub(super) fn axis_level(&self, axis: usize) -> usize {
        if axis + 1 < self.space { ITEM } else { INNER + axis + 1 - self.space }
    }

    /// Level at which an index is known.
    pub(super) fn ix_level(&self, ix: &Ix) -> usize {
        let mut level = ITEM;
        ix.visit(&mut |part| match part {
            Ix::Axis(a) => level = level.max(self.axis_level(*a)),
            Ix::Load(k) => level = level.max(self.access_level(&self.loads[*k])),
            _ => {}
        });
        level
    }

    /// Level at which the address of an access is known.
    pub(super) fn access_level(&self, access: &Access) -> usize {
        let walked = (0..self.extents.len()).filter(|&a| !access.coefficients[a].is(0));
        let linear = walked.map(|a| self.axis_level(a));
        linear.chain(access.indices().map(|ix| self.ix_level(ix))).max().unwrap_or(ITEM)
    }

    /// Whether an index changes along an axis.
    pub(super) fn ix_varies(&self, ix: &Ix, axis: usize) -> bool {
        let mut found = false;
        ix.visit(&mut |part| match part {
            Ix::Axis(a) => found |= *a == axis,
            Ix::Load(k) => found |= self.access_varies(&self.loads[*k], axis),
            _ => {}
        });
        found
    }

    /// Whether an access changes along an axis.
    pub(super) fn access_varies(&self, access: &Access, axis: usize) -> bool {
        !access.coefficients[axis].is(0) || access.indices().any(|ix| self.ix_varies(ix, axis))
    }
}

/// Whether an index needs an element.
pub(super) fn has_load(ix: &Ix) -> bool {
    let mut found = false;
    ix.visit(&mut |part| found |= matches!(part, Ix::Load(_)));
    found
}
