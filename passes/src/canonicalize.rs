//! canonicalize - brings local spellings to one form.
//!
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[2,3]) {
//!   %1 = transpose %0 {perm=[1,0]} : f32[3,2] loc("t1")
//!   %2 = transpose %1 {perm=[1,0]} : f32[2,3] loc("t2")
//!   %3 = constant {value=f32[2,3]=splat(1.0:f32)} : f32[2,3] loc("one")
//!   %4 = mul %2, %3 : f32[2,3] loc("scale")
//!   %5 = reshape %4 {shape=[3,2]} : f32[3,2] loc("r1")
//!   %6 = reshape %5 {shape=[6]} : f32[6] loc("r2")
//!   return %6 "y"
//! }
//! ```
//! becomes
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[2,3]) {
//!   %1 = transpose %0 {perm=[1,0]} : f32[3,2] loc("t1")
//!   %2 = constant {value=f32[2,3]=splat(1.0:f32)} : f32[2,3] loc("one")
//!   %3 = reshape %0 {shape=[3,2]} : f32[3,2] loc("r1")
//!   %4 = reshape %0 {shape=[6]} : f32[6] loc("r2")
//!   return %4 "y"
//! }
//! ```
//!
//! Rules, each a small function, by what they are about: [`movement`] (identities, two movements in a row), [`parts`]
//! (slices and concats), [`values`] (neutral operands, negations, bounds, casts, conditions), [`reduce`] (axes of one
//! element, reductions in a row), [`sink`] (computing before elements are repeated; movements that cancel around pointwise
//! nodes). No rule makes what another one matches and undoes: each lessens the nodes, or the elements that are computed or
//! moved. Sweeps repeat until none fires. Left alone: whatever a signed zero, NaN or infinity would tell apart. Exact.

mod movement;
mod parts;
mod reduce;
mod sink;
mod values;

use nnc_ir::{Module, ops::Op};

use crate::{
    pass::{Bug, PassCx, Rule},
    readers::Readers,
    rewrite::{Action, Apply, Cursor, apply_rules, rewrite},
};

const APPLY: &[Apply] = &[
    (&movement::DROP_IDENTITY_MOVEMENT, movement::drop_identity_movement),
    (&movement::DROP_IDENTITY_RESHAPE, movement::drop_identity_reshape),
    (&movement::DROP_SINGLE_CONCAT, movement::drop_single_concat),
    (&values::DROP_NEUTRAL_OPERAND, values::drop_neutral_operand),
    (&values::DROP_DOUBLE_NEGATION, values::drop_double_negation),
    (&values::DROP_REPEATED_RELU, values::drop_repeated_relu),
    (&values::MERGE_BOUNDS, values::merge_bounds),
    (&values::MERGE_CASTS, values::merge_casts),
    (&values::SELECT_KNOWN, values::select_known),
    (&movement::MERGE_RESHAPES, movement::merge_reshapes),
    (&movement::MERGE_TRANSPOSES, movement::merge_transposes),
    (&movement::MERGE_BROADCASTS, movement::merge_broadcasts),
    (&movement::RESHAPE_FOR_UNIT_TRANSPOSE, movement::reshape_for_unit_transpose),
    (&movement::TRANSPOSE_OF_BROADCAST, movement::transpose_of_broadcast),
    (&movement::RESHAPE_OF_BROADCAST, movement::reshape_of_broadcast),
    (&parts::MERGE_SLICES, parts::merge_slices),
    (&parts::SLICE_OF_CONCAT, parts::slice_of_concat),
    (&parts::CONCAT_OF_SLICES, parts::concat_of_slices),
    (&reduce::DROP_UNIT_REDUCTION, reduce::drop_unit_reduction),
    (&reduce::MERGE_REDUCTIONS, reduce::merge_reductions),
    (&sink::SINK_BROADCAST, sink::sink_broadcast),
];

pub(crate) const RULES: &[&Rule] = &[
    &movement::DROP_IDENTITY_MOVEMENT,
    &movement::DROP_IDENTITY_RESHAPE,
    &movement::DROP_SINGLE_CONCAT,
    &values::DROP_NEUTRAL_OPERAND,
    &values::DROP_DOUBLE_NEGATION,
    &values::DROP_REPEATED_RELU,
    &values::MERGE_BOUNDS,
    &values::MERGE_CASTS,
    &values::SELECT_KNOWN,
    &movement::MERGE_RESHAPES,
    &movement::MERGE_TRANSPOSES,
    &movement::MERGE_BROADCASTS,
    &movement::RESHAPE_FOR_UNIT_TRANSPOSE,
    &movement::TRANSPOSE_OF_BROADCAST,
    &movement::RESHAPE_OF_BROADCAST,
    &parts::MERGE_SLICES,
    &parts::SLICE_OF_CONCAT,
    &parts::CONCAT_OF_SLICES,
    &reduce::DROP_UNIT_REDUCTION,
    &reduce::MERGE_REDUCTIONS,
    &sink::SINK_BROADCAST,
    &sink::CANCEL_AROUND_POINTWISE,
];

/// Sweeps at most: each looks at every node.
const MAX_SWEEPS: usize = 16;

pub(crate) fn run(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    for _ in 0..MAX_SWEEPS {
        let before = cx.rewrites.len();
        apply_rules(module, "canonicalize", APPLY, cx)?;
        cancel(module, cx)?;
        if cx.rewrites.len() == before {
            break;
        }
    }
    Ok(())
}

/// Applies the one rule that must know who reads a value.
fn cancel(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    let mut readers = Readers::of(module);
    rewrite(module, "canonicalize", &mut |cursor: &mut Cursor<'_>, node| {
        let this = cursor.module.node(node);
        if !matches!(this.op, Op::Reshape(_) | Op::Transpose(_)) || !cx.has_fuel() {
            return Ok(Action::Keep);
        }
        let old = this.results[0];
        if readers.count(old) == 0 {
            return Ok(Action::Keep);
        }
        let Some(new) = sink::cancel_around_pointwise(cursor, node, &readers)? else {
            return Ok(Action::Keep);
        };
        cx.fired(&sink::CANCEL_AROUND_POINTWISE, &cursor.module.node(node).loc);
        readers.inherit(cursor.module, old, new);
        Ok(Action::Replace(vec![new]))
    })
}
