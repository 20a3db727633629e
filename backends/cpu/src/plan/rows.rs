//! rows - fusions that are row nests: one kernel each, if a row is small enough.

use nnc_ir::{
    compose::rows::{RowForm, rows_of_region},
    extent::Extent,
    graph::{Node, RegionId},
    ops::{Op, ReduceKind},
};

use super::{Block, Bounds, RowsStep, Step, build::Planner};

/// Most bytes that the stages of a row may keep between them: what the second-level cache holds. Longer rows run node by
/// node, each with all threads.
const ROW_BYTES: i64 = 256 << 10;

impl Planner<'_> {
    /// The row nest of a fusion, if it should be run as one.
    pub(super) fn row_form(&self, region: RegionId) -> Option<RowForm> {
        let form = rows_of_region(self.module, region).ok()?;
        let bytes = form.local_bytes().iter().fold(Extent::ZERO, |sum, bytes| &sum + bytes);
        let small = bytes.as_const().is_none_or(|bytes| bytes <= ROW_BYTES);
        let bounded = Bounds::new(&self.module.symbols).at_most(&bytes).is_some();
        // One row alone has no second thread: only if that is known to be little.
        let many = !form.rows.is_empty() || bytes.as_const().is_some();
        (small && bounded && many).then_some(form)
    }

    /// A kernel of a row nest.
    pub(super) fn rows_step(&mut self, node: &Node, form: RowForm, block: &mut Block) {
        let operands = node.operands.iter().map(|&v| self.buffer(v)).collect();
        let results = self.results(node, block);
        let (nodes, what) = (self.node_numbers(node), self.rows_name(node));
        let kernel = self.next_kernel();
        let at = self.clock;
        block.steps.push(Step::Rows(Box::new(RowsStep { kernel, what, form, operands, results, nodes, at })));
    }

    /// What a row nest does: its customary name, or those of its nodes.
    fn rows_name(&self, node: &Node) -> String {
        let module = self.module;
        let ops = || module.region(node.regions[0]).nodes.iter().map(|&n| &module.node(n).op);
        let reduces = |kind| ops().any(|op| matches!(op, Op::Reduce(r) if r.kind == kind));
        let has = |name: &str| ops().any(|op| op.mnemonic() == name);
        if has("exp") && reduces(ReduceKind::Max) && reduces(ReduceKind::Sum) {
            return if has("log") { "log_softmax".into() } else { "softmax".into() };
        }
        if has("sqrt") && reduces(ReduceKind::Sum) { "norm".into() } else { self.fusion_name(node) }
    }
}
