//! ranges - how large the integers of each value are, before nests are made of nodes.
//!
//! Nests that follow one another in a fusion over rows are no single program, so this walks over nodes.

use nnc_ir::{
    constant::Constant,
    form::Form,
    graph::{Module, NodeId, ValueId},
    ops::Op,
};

use crate::range::Range;

/// Constants of more elements are not looked at: weights are, by whoever packs them.
const MOST_ELEMENTS: usize = 4096;

/// What is known of the values of a module so far.
#[derive(Debug)]
pub(super) struct Ranges {
    of_value: Vec<Option<Range>>,
}

impl Ranges {
    pub(super) fn new(module: &Module) -> Self {
        Ranges { of_value: vec![None; module.value_count()] }
    }

    /// Of a value.
    pub(super) fn of(&self, value: ValueId) -> Option<Range> {
        self.of_value[nnc_ir::entity::EntityId::index(value)]
    }

    fn set(&mut self, value: ValueId, range: Option<Range>) {
        self.of_value[nnc_ir::entity::EntityId::index(value)] = range;
    }

    /// Finds those of a node's results; all nodes before it have been seen.
    pub(super) fn see(&mut self, module: &Module, id: NodeId) {
        let node = module.node(id);
        match module.form(id) {
            Form::Loops(form) => {
                let found = Range::of_results(&form, &|operand| self.of(node.operands[operand]));
                node.results.iter().zip(found).for_each(|(&value, range)| self.set(value, range));
            }
            Form::Constant => {
                if let Op::ConstantOp(op) = &node.op {
                    self.set(node.results[0], of_constant(&op.value));
                }
            }
            Form::View => {
                let range = self.of(node.operands[0]);
                self.set(node.results[0], range);
            }
            // Their regions run once, with the operands as they are.
            Form::Region if matches!(node.op, Op::Fusion(_) | Op::Tiled(_)) => {
                let region = module.region(node.regions[0]);
                for (&param, &operand) in region.params.iter().zip(&node.operands) {
                    let range = self.of(operand);
                    self.set(param, range);
                }
                for &inner in &region.nodes {
                    self.see(module, inner);
                }
                for (&result, &value) in node.results.iter().zip(&region.results) {
                    let range = self.of(value);
                    self.set(result, range);
                }
            }
            _ => {}
        }
    }
}

fn of_constant(constant: &Constant) -> Option<Range> {
    Range::all_of(constant.dtype())?;
    let elements = match constant.as_splat() {
        Some(element) => vec![element],
        None if constant.elements() <= MOST_ELEMENTS => constant.scalars(),
        None => return None,
    };
    let values = elements.into_iter().map(|x| Some(Range::between(x.as_i64()?, x.as_i64()?)));
    let join = |a: Range, b: Range| Range::between(a.least.min(b.least), a.greatest.max(b.greatest));
    values.collect::<Option<Vec<_>>>()?.into_iter().reduce(join)
}
