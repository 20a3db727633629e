//! readers - how often each value is read by nodes that count: those that something reads in turn; and which values end
//! up rounded to integers, where a last bit can make a difference of one.

use nnc_ir::{
    Module,
    entity::EntityId,
    form::{Class, Form},
    graph::{NodeId, RegionId, ValueId},
    ops::Op,
};

/// Readers of every value; kept true while a pass replaces nodes.
pub(crate) struct Readers(Vec<Of>);

#[derive(Clone, Copy, Default)]
struct Of {
    count: usize,
    /// A node that reads it.
    node: Option<NodeId>,
    /// Whether it is rounded to integers, with pointwise operations and movements at most in between.
    rounded: bool,
}

impl Readers {
    pub(crate) fn of(module: &Module) -> Self {
        let mut readers = Self(vec![Of::default(); module.value_count()]);
        for region in module.nested_regions(module.body()) {
            readers.count_region(module, region);
        }
        readers
    }

    fn count_region(&mut self, module: &Module, region: RegionId) {
        let region = module.region(region);
        for &result in &region.results {
            self.0[result.index()].count += 1;
        }
        for &node in region.nodes.iter().rev() {
            let this = module.node(node);
            let live = this.results.iter().any(|v| self.0[v.index()].count > 0)
                || this.results.is_empty()
                || matches!(module.form(node), Form::ReadExtents(_));
            let rounded = rounds(module, node)
                || (this.results.iter().any(|v| self.0[v.index()].rounded) && is_elementwise(module, node));
            for operand in this.operands.iter().filter(|_| live) {
                let of = &mut self.0[operand.index()];
                *of = Of { count: of.count + 1, node: Some(node), rounded: of.rounded || rounded };
            }
        }
    }

    /// How many times a value is read.
    pub(crate) fn count(&self, value: ValueId) -> usize {
        self.0.get(value.index()).map_or(1, |of| of.count)
    }

    /// The node that alone reads a value.
    pub(crate) fn only(&self, value: ValueId) -> Option<NodeId> {
        self.0.get(value.index()).filter(|of| of.count == 1).and_then(|of| of.node)
    }

    /// Whether a value ends up rounded to integers.
    pub(crate) fn rounded(&self, value: ValueId) -> bool {
        self.0.get(value.index()).is_some_and(|of| of.rounded)
    }

    /// Whoever read `old` reads `new`; whatever else is new is read once.
    pub(crate) fn inherit(&mut self, module: &Module, old: ValueId, new: ValueId) {
        let once = Of { count: 1, ..Of::default() };
        self.0.resize(module.value_count(), once);
        let of = std::mem::take(&mut self.0[old.index()]);
        self.0[new.index()] = of;
    }
}

fn rounds(module: &Module, node: NodeId) -> bool {
    let this = module.node(node);
    match &this.op {
        Op::Round(_) | Op::Floor(_) | Op::Ceil(_) | Op::Trunc(_) => true,
        Op::Cast(c) => c.to.is_int() && module.ty(this.operands[0]).dtype.is_float(),
        _ => false,
    }
}

fn is_elementwise(module: &Module, node: NodeId) -> bool {
    match module.form(node) {
        Form::Loops(l) => matches!(l.class(), Class::Pointwise | Class::Movement),
        Form::View => true,
        _ => false,
    }
}
