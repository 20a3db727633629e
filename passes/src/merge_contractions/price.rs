//! price - which siblings are cheaper as one.

use nnc_ir::{
    Module,
    form::{Class, Form},
    graph::{NodeId, RegionId, ValueId},
    ops::Op,
    types::TensorType,
};

use super::{
    column::Plan,
    siblings::{self, Member, Readers},
};
use crate::{
    cost::{self, Cost},
    pass::PassCx,
};

/// Plans that pay, with misses for siblings that stay apart.
pub(super) fn worthy(module: &Module, region: RegionId, cx: &mut PassCx<'_>) -> Vec<Plan> {
    let readers = Readers::of(module, region);
    let mut plans = Vec::new();
    for members in siblings::find(module, region) {
        let all = Plan::of(module, &readers, members.clone());
        let prices = prices(module, &readers, &all, cx);
        let apart = all.members.iter().zip(&prices.copies).filter(|(_, copies)| **copies == 0);
        let few: Vec<Member> = apart.map(|(m, _)| m.clone()).collect();
        let mut best = (prices.saved(), all);
        if few.len() > 1 && few.len() < best.1.members.len() {
            let plan = Plan::of(module, &readers, few);
            let saved = self::prices(module, &readers, &plan, cx).saved();
            if saved > best.0 {
                best = (saved, plan);
            }
        }
        if best.0 > 0 {
            plans.push(best.1);
        } else {
            let (n, extra) = (members.len() as i64, prices.copies.iter().sum::<i64>());
            let reason = format!(
                "stays apart from {} that read the same: apart: {} cycles in {n} kernels, merged: {} cycles in {}",
                n - 1,
                prices.apart,
                prices.merged,
                1 + extra
            );
            cx.miss(module, members[0].node, reason);
        }
    }
    plans
}

/// Cycles of both sides.
struct Prices {
    apart: i64,
    merged: i64,
    /// Kernels that each sibling would need besides.
    copies: Vec<i64>,
}

impl Prices {
    /// Cycles that merging saves. None, if there are not fewer kernels: what a roofline gives for reading an operand once
    /// overlaps with arithmetic in truth, the starts do not.
    fn saved(&self) -> i64 {
        let (kernels, extra) = (self.copies.len() as i64, self.copies.iter().sum::<i64>());
        if 1 + extra < kernels { self.apart.saturating_sub(self.merged) } else { 0 }
    }
}

fn prices(module: &Module, readers: &Readers, plan: &Plan, cx: &PassCx<'_>) -> Prices {
    let x = module.node(plan.members[0].node).operands[0];
    let one = |weight: &TensorType, result: &TensorType| {
        let cost = match plan.op.def().form(&[module.ty(x), weight], &[result]) {
            Form::Loops(form) => cost::of_nest(module, &form),
            _ => Cost::default(),
        };
        cost.cycles(cx.target)
    };
    let apart = plan.members.iter().map(|m| one(&m.weight.ty(), module.ty(module.node(m.node).results[0])));
    let apart = apart.fold(0, i64::saturating_add);
    let mut weight = plan.members[0].weight.ty();
    let axis = siblings::weight_axis(&plan.op, weight.rank());
    weight.shape[axis] = plan.members.iter().map(|m| m.width).sum::<i64>().into();
    let mut merged = one(&weight, &plan.columns[0].ty);
    let mut copies = vec![0; plan.members.len()];
    for &(c, sibling) in &plan.left {
        let value = plan.columns[c].values[sibling];
        let extra = extra(module, readers, plan, value);
        copies[sibling] += extra.kernels;
        merged = merged.saturating_add(extra.cycles(cx.target));
    }
    Prices { apart, merged, copies }
}

/// What is not needed if the value is made by itself: kernels that copy a slice, or that read it because what they do is
/// no longer the contraction's epilogue.
fn extra(module: &Module, readers: &Readers, plan: &Plan, value: ValueId) -> Cost {
    let bytes = cost::value_bytes(module, value);
    let copy = Cost { read: bytes, written: bytes, kernels: 1, ..Cost::default() };
    let left: Vec<NodeId> = plan.readers_left(readers, value).collect();
    let needs_memory = |n: &NodeId| !matches!(module.form(*n), Form::Loops(_));
    if readers.is_result(value) || left.iter().any(needs_memory) {
        return copy;
    }
    if left.len() == 1 && was_epilogue(module, plan, left[0], value) { copy } else { Cost::default() }
}

/// Whether a node would have been an epilogue of the siblings: a pointwise one of nothing else that is computed. One that
/// reads several of them counts for the first.
fn was_epilogue(module: &Module, plan: &Plan, node: NodeId, value: ValueId) -> bool {
    let is_pointwise = matches!(module.form(node), Form::Loops(f) if f.class() == Class::Pointwise);
    let is_constant = |&v: &ValueId| {
        let made = module.def_node(v).map(|n| &module.node(n).op);
        matches!(made, Some(Op::Broadcast(_) | Op::ConstantOp(_)))
    };
    let mut computed = module.node(node).operands.iter().filter(|v| !is_constant(v));
    let first = computed.next() == Some(&value);
    let is_ours = |v: &ValueId| plan.columns.iter().any(|c| c.values.contains(v));
    is_pointwise && first && computed.all(is_ours)
}
