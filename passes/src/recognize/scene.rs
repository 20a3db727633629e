//! scene - what a rule sees: the module, who reads what, and where it may say why it did not fit.

use nnc_ir::{
    Module,
    entity::EntityId,
    graph::{NodeId, ValueId},
    ops::{Op, Slice},
};
use rustc_hash::FxHashMap;

use super::term::Term;
use crate::pass::Rule;

/// A pattern that was found, and how it should be spelt.
pub(super) struct Found {
    /// The canonical spelling of the node's result.
    pub(super) term: Term,
    /// What it is about: two spellings found with one key are one pattern, seen from two of its nodes.
    pub(super) key: ValueId,
}

/// Finds a pattern at a node, whether it is spelt canonically or not.
pub(super) type Find = fn(&Scene<'_>, NodeId) -> Result<Found, Option<String>>;

/// A rule with what finds its left sides. `Err(Some(reason))`: it almost fits.
pub(super) struct Pattern {
    pub(super) rule: &'static Rule,
    pub(super) find: Find,
}

/// What a rule sees.
pub(super) struct Scene<'m> {
    pub(super) module: &'m Module,
    pub(super) readers: &'m Readers,
}

/// Who reads what, as of the beginning of a sweep; what nobody needs reads nothing.
pub(super) struct Readers {
    counts: Vec<usize>,
    /// For values that slices read: the slices.
    slices: FxHashMap<ValueId, Vec<Slice>>,
}

impl Readers {
    pub(super) fn of(module: &Module) -> Self {
        let mut slices: FxHashMap<ValueId, Vec<Slice>> = FxHashMap::default();
        let mut counts = vec![0usize; module.value_count()];
        for region in module.nested_regions(module.body()) {
            let region = module.region(region);
            region.results.iter().for_each(|v| counts[v.index()] += 1);
            for &node in region.nodes.iter().rev() {
                let this = module.node(node);
                let acts = this.results.is_empty() || !this.regions.is_empty();
                if !acts && this.results.iter().all(|v| counts[v.index()] == 0) {
                    continue;
                }
                this.operands.iter().for_each(|v| counts[v.index()] += 1);
                if let Op::Slice(slice) = &this.op {
                    slices.entry(this.operands[0]).or_default().push(slice.clone());
                }
            }
        }
        Self { counts, slices }
    }

    /// How often a value is read; one made since then, once.
    pub(super) fn count(&self, value: ValueId) -> usize {
        self.counts.get(value.index()).copied().unwrap_or(1)
    }

    /// Whether a value is read through slices alone, which cut one axis into parts that do not overlap.
    pub(super) fn cut_apart(&self, module: &Module, value: ValueId) -> bool {
        let Some(slices) = self.slices.get(&value).filter(|s| s.len() == self.count(value)) else {
            return false;
        };
        let shape = &module.ty(value).shape;
        let whole = |s: &Slice, axis: usize| s.shape[axis] == shape[axis];
        let cut = |axis: usize| slices.iter().any(|s| !whole(s, axis));
        let mut axes = (0..shape.len()).filter(|&axis| cut(axis));
        let (Some(axis), None) = (axes.next(), axes.next()) else { return slices.len() == 1 };
        let part = |s: &Slice| {
            let (start, len) = (s.starts[axis].as_const()?, s.shape[axis].as_const()?);
            (s.steps[axis] == 1).then_some((start, len))
        };
        let Some(mut parts) = slices.iter().map(part).collect::<Option<Vec<_>>>() else { return false };
        parts.sort_unstable();
        parts.windows(2).all(|w| w[0].0 + w[0].1 <= w[1].0)
    }
}

impl Scene<'_> {
    /// Operation, operands and result of a node with one result.
    pub(super) fn node(&self, node: NodeId) -> Option<(&Op, &[ValueId], ValueId)> {
        let this = self.module.node(node);
        match this.results[..] {
            [result] => Some((&this.op, &this.operands, result)),
            _ => None,
        }
    }
}

/// A spelling for the node's result, of which it is the key.
pub(super) fn found(key: ValueId, term: Term) -> Result<Found, Option<String>> {
    Ok(Found { term, key })
}
