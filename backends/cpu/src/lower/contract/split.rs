//! split - a form without unit axes, and with an axis for the groups of a grouped convolution.
//!
//! A convolution in groups reads channel `floor(m / (M / groups)) * C / groups + c`. With `m = g * (M / groups) + m'` for
//! two axes g and m' in place of m, that is linear.

use nnc_ir::{
    extent::Extent,
    form::{Ix, Load},
    program::Program,
};

use crate::{
    kernel::{NestRequest, Placement},
    lower::access::dense_strides,
};

/// What a contraction computes, over axes that are no formality: space axes first.
#[derive(Clone, Debug)]
pub(super) struct Nest {
    /// Extents of the axes.
    pub(super) extents: Vec<Extent>,
    /// How many of them are space axes.
    pub(super) space: usize,
    /// Reads; indices are over the axes here.
    pub(super) loads: Vec<Load>,
    /// From the accumulator to the result.
    pub(super) finish: Program,
    /// Where each result is: elements from one position of a space axis to the next, and to the first element.
    pub(super) results: Vec<Placement>,
}

/// The nest of a request.
pub(super) fn nest(request: &NestRequest) -> Nest {
    let form = &request.form;
    let place = |result: usize| match request.placement.get(result).and_then(Option::as_ref) {
        Some(place) => place.clone(),
        None => Placement { offset: Extent::ZERO, strides: dense_strides(&form.space) },
    };
    let mut nest = Nest {
        extents: form.space.iter().chain(&form.reduce).cloned().collect(),
        space: form.space.len(),
        loads: form.loads.clone(),
        finish: form.finish.clone(),
        results: (0..form.results.len()).map(place).collect(),
    };
    while let Some((axis, by)) = grouped(&nest) {
        nest.split(axis, &by);
    }
    nest.drop_units();
    nest
}

/// A space axis whose position is divided by a constant somewhere, and the constant.
fn grouped(nest: &Nest) -> Option<(usize, Extent)> {
    let mut found = None;
    for ix in nest.loads.iter().flat_map(|l| &l.index) {
        ix.visit(&mut |part| {
            if let Ix::FloorDiv(inner, by) = part
                && let Ix::Axis(a) = **inner
                && let (Some(n), Some(d)) = (nest.extents[a].as_const(), by.as_const())
                && (a < nest.space && d > 0 && n > 0 && n % d == 0)
            {
                found.get_or_insert((a, by.clone()));
            }
        });
    }
    found
}

impl Nest {
    fn map(&mut self, index: &dyn Fn(&Ix) -> Ix) {
        for load in &mut self.loads {
            load.index = load.index.iter().map(index).collect();
        }
        self.finish = self.finish.map_indices(index);
    }

    /// Puts axes `outer` and `inner` in place of `axis`, so that its position is `outer * by + inner`.
    fn split(&mut self, axis: usize, by: &Extent) {
        let place = |a: usize| match a.cmp(&axis) {
            std::cmp::Ordering::Less => Ix::Axis(a),
            std::cmp::Ordering::Equal => Ix::Axis(axis).times(by.clone()).plus(Ix::Axis(axis + 1)),
            std::cmp::Ordering::Greater => Ix::Axis(a + 1),
        };
        let divided = Ix::Axis(axis).floor_div(by.clone());
        let part = |ix: &Ix| match ix {
            Ix::Axis(a) => Some(place(*a)),
            ix => (*ix == divided).then_some(Ix::Axis(axis)),
        };
        self.map(&|ix| ix.replace(&part));
        let outer = self.extents[axis].floor_div(by);
        self.extents[axis] = by.clone();
        self.extents.insert(axis, outer);
        for Placement { strides, .. } in &mut self.results {
            let stride = strides[axis].clone();
            strides.insert(axis, &stride * by);
        }
        self.space += 1;
    }

    fn drop_units(&mut self) {
        let kept: Vec<usize> = (0..self.extents.len()).filter(|&a| !self.extents[a].is(1)).collect();
        let place = |a: usize| kept.iter().position(|&k| k == a).map_or(Ix::int(0), Ix::Axis);
        self.map(&|ix| ix.substitute(&place, &|k| k));
        let space: Vec<usize> = kept.iter().copied().filter(|&a| a < self.space).collect();
        for Placement { strides, .. } in &mut self.results {
            *strides = space.iter().map(|&a| strides[a].clone()).collect();
        }
        self.space = space.len();
        self.extents = kept.iter().map(|&a| self.extents[a].clone()).collect();
    }
}
