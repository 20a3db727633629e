//! nests - the steps of nodes that are loop nests: of one node, of a fusion, of writes at computed places.

use nnc_ir::{
    compose::fuse_region,
    form::{Class, LoopForm, ScatterForm},
    graph::Node,
};

use super::{Block, BufferId, NestStep, ScatterStep, Step, build::Planner};
use crate::lower::concat::copy_form;

impl Planner<'_> {
    /// One kernel, a nest of the node's operands.
    pub(super) fn nest_step(&mut self, node: &Node, what: String, form: LoopForm, block: &mut Block) {
        let operands = node.operands.iter().map(|&v| self.buffer(v)).collect();
        let ranges = node.operands.iter().map(|&v| self.ranges.of(v)).collect();
        let results = self.results(node, block);
        let placement = vec![None; results.len()];
        let nodes = self.node_numbers(node);
        let kernel = self.next_kernel();
        block.steps.push(Step::Nest(Box::new(NestStep {
            kernel,
            what,
            form,
            operands,
            ranges,
            results,
            placement,
            nodes,
            at: self.clock,
            in_place: false,
            channels_last: false,
        })));
    }

    /// A fusion is one nest, or one over rows; what did not become one runs node by node.
    pub(super) fn fusion(&mut self, node: &Node, block: &mut Block) {
        if let Ok(form) = fuse_region(self.module, node.regions[0]) {
            let what = self.fusion_name(node);
            return self.nest_step(node, what, form, block);
        }
        if let Some(form) = self.row_form(node.regions[0]) {
            return self.rows_step(node, form, block);
        }
        self.inline(node, block);
    }

    /// What a fusion does: its nodes, but for those that only move, each kind once.
    pub(super) fn fusion_name(&self, node: &Node) -> String {
        let mut names: Vec<&str> = Vec::new();
        for &inner in &self.module.region(node.regions[0]).nodes {
            let name = self.module.node(inner).op.mnemonic();
            let moves = self.module.form(inner).loops().is_some_and(|l| l.class() == Class::Movement);
            if !moves && !names.contains(&name) {
                names.push(name);
            }
        }
        let more = if names.len() > 4 { "_etc" } else { "" };
        names.truncate(4);
        if names.is_empty() { "move".into() } else { names.join("_") + more }
    }

    /// A copy of the tensor, then the writes.
    pub(super) fn scatter(&mut self, node: &Node, form: ScatterForm, block: &mut Block) {
        let ty = self.module.ty(node.results[0]).clone();
        let result = self.results(node, block)[0];
        let operands: Vec<BufferId> = node.operands.iter().map(|&v| self.buffer(v)).collect();
        let (what, nodes) = (node.op.mnemonic().to_owned(), self.node_numbers(node));
        block.steps.push(Step::Nest(Box::new(NestStep {
            kernel: self.next_kernel(),
            what: format!("{what}_copy"),
            form: copy_form(&ty),
            operands: vec![operands[0]],
            ranges: vec![],
            results: vec![result],
            placement: vec![None],
            nodes: nodes.clone(),
            at: self.clock,
            in_place: false,
            channels_last: false,
        })));
        let kernel = self.next_kernel();
        let step = ScatterStep { kernel, what, form, ty, operands, result, nodes };
        block.steps.push(Step::Scatter(Box::new(step)));
    }
}
