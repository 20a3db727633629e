//! cost - whether tensors should have their channels last, in steps of vectors.
//!
//! Convolutions are counted with the lanes of the target that they leave empty: those of a plane's last vector with channels first, those
//! of the channels' last vector with channels last. A nest that reads one order and writes the other costs a step an
//! element. With channels last, minimal filtering may take less time than the sum by taps does.

use nnc_ir::{
    dtype::DType,
    extent::Extent,
    form::{Class, LoopForm},
    program::MulAdds,
};

use nnc_x86::Level;

use super::{Machine, is_aligned, is_read, rewrite::Tensors, worth_an_order};
use crate::{
    frame::PointerSlot,
    kernel::{NestRequest, OperandRef},
    lower::{LastWay, last_way},
    plan::{BufferId, NestStep, Plan},
};

/// What an extent counts as that is known only when running: its last vector is half full.
const UNKNOWN: i64 = 24;

/// Steps, first those with channels first.
#[derive(Clone, Copy, Debug, Default)]
struct Steps {
    first: i64,
    last: i64,
}

/// Whether the tensors that are last in `view` should be.
pub(super) fn pays(plan: &Plan, view: &Tensors<'_>, nests: &[&NestStep], machine: Machine) -> bool {
    let mut sum = Steps::default();
    for nest in nests {
        let steps = of_nest(plan, view, nest, machine);
        sum.first = sum.first.saturating_add(steps.first);
        sum.last = sum.last.saturating_add(steps.last);
    }
    sum.last < sum.first
}

pub(super) fn known(extents: &[Extent]) -> i64 {
    extents.iter().map(|e| e.as_const().unwrap_or(UNKNOWN).max(1)).fold(1, i64::saturating_mul)
}

impl Machine {
    /// Lanes of the widest vectors of products.
    fn lanes(self) -> i64 {
        self.level.map_or(4, Level::lanes) as i64
    }

    fn vectors(self, elements: i64) -> i64 {
        (elements + self.lanes() - 1) / self.lanes()
    }
}

fn of_nest(plan: &Plan, view: &Tensors<'_>, nest: &NestStep, machine: Machine) -> Steps {
    let form = &nest.form;
    let buffer = |l: usize| plan.resolve(nest.operands[form.loads[l].operand]).0;
    let writes = nest.results.iter().any(|&r| view.last[plan.resolve(r).0]);
    let input = if form.class() == Class::Contraction { plan.convolved(nest) } else { None };
    let is_product = |l: usize| input.is_some() && is_read(&form.body, l);
    if !writes && !(0..form.loads.len()).any(|l| view.last[buffer(l)]) {
        return Steps::default();
    }
    let elements = known(&form.space);
    let mut steps = Steps::default();
    let mut result_last = writes;
    if let Some(input) = input {
        if (writes || view.last[buffer(input)]) && worth_an_order(&form.space) {
            steps = convolution(plan, view, nest, input, machine);
            if view.last[buffer(input)] != writes {
                steps.last += if writes { known(&form.loads[input].extents) } else { elements };
            }
            result_last = true;
        } else if view.last[buffer(input)] && form.space.iter().skip(2).any(|e| !e.is(1)) {
            // For one channel there is nothing in vectors but pixels, which then lie apart.
            steps.last += 4 * known(&form.loads[input].extents);
        }
    }
    // One element everywhere has no order.
    let is_splat = |l: usize| plan.constant(BufferId(buffer(l))).is_some_and(|c| c.as_splat().is_some());
    let others = form.loads.iter().enumerate().filter(|(l, _)| !is_product(*l) && !is_splat(*l));
    for (l, load) in others {
        let last = view.last[buffer(l)];
        let turned = worth_an_order(&load.extents) && worth_an_order(&form.space) && is_aligned(form, l);
        if turned && last != result_last {
            // What tiles join to sums lies in the order of their result; plain loops do the contraction otherwise.
            let all = if input.is_some() { known(&form.reduce) } else { 1 };
            steps.last = steps.last.saturating_add(all.saturating_mul(elements));
        }
        // Channels in an order of their own are read one by one.
        let plain = load.index.get(1).is_some_and(|ix| ix.affine(form.axes()).is_some());
        if last && !plain {
            steps.last += 2 * elements;
        }
    }
    steps
}

/// A convolution of the operand that load `input` reads.
fn convolution(plan: &Plan, view: &Tensors<'_>, nest: &NestStep, input: usize, machine: Machine) -> Steps {
    let form = &nest.form;
    let step = plan.in_order(nest, view, true);
    let operand = |buffer: BufferId| OperandRef {
        pointer: PointerSlot(0),
        constant: plan.constant(buffer).cloned(),
        range: None,
    };
    let request = NestRequest {
        name: String::new(),
        operands: step.operands_by(operand),
        form: step.form.settled(MulAdds::Fused),
        results: vec![PointerSlot(0)],
        placement: step.placement,
        fault_node: 0,
    };
    let (elements, sums) = (known(&form.space), known(&form.reduce));
    let copied = known(&form.loads[input].extents) / 4;
    let channels = known(&form.space[1..2]);
    let last = match last_way(&request, machine.level, machine.filtering) {
        Some(LastWay::Product { columns, per_mille }) => {
            let products = sums * (elements / columns.max(1)) * machine.vectors(columns) / 2;
            products.saturating_mul(per_mille) / 1000 + copied
        }
        Some(LastWay::Depthwise) => sums * (elements / channels) * machine.vectors(channels) * 5 / 8,
        None => sums.saturating_mul(elements),
    };
    // Integers are multiplied by tiles with channels last alone.
    let first = match form.loads[input].dtype {
        DType::I32 => sums.saturating_mul(elements),
        _ => with_channels_first(form, input, (elements, sums), machine) + copied,
    };
    Steps { first, last }
}

/// Steps of a convolution whose vectors are pixels.
fn with_channels_first(form: &LoopForm, input: usize, (elements, sums): (i64, i64), machine: Machine) -> i64 {
    let channels = known(&form.space[1..2]);
    let pixels = elements / channels.max(1);
    let row = known(&form.space[form.space.len() - 1..]);
    let own = form.loads[input].index.get(1).is_some_and(|ix| ix.mentions(1));
    if own && known(&form.reduce[..1]) == 1 {
        // Rows are copied and done one by one, in vectors of four and at two thirds of the speed.
        return sums * channels * (pixels / row.max(1)) * ((row + 3) / 4) * 3 / 4;
    }
    // Each vector of pixels is copied for each term, four elements at a time; vectors end where the image does.
    let images = known(&form.space[..1]);
    let vectors = images.saturating_mul(machine.vectors(pixels / images.max(1)));
    let copies = if sums > known(&form.reduce[..1]) { sums * vectors * machine.lanes() / 8 } else { 0 };
    sums * channels * vectors / 2 + copies
}
