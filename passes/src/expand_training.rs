//! expand-training - puts what is written in the place of training forms.
//!
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[2]) {
//!   %1 = training %0 {kind=loss, learns=[true]} : f32[2] loc("loss") {
//!     region (%2 : f32[2]) {
//!       %3 = neg %2 : f32[2] loc("loss")
//!       yield %3
//!     }
//!     region (%4 : f32[2]) {
//!       %5 = neg %4 : f32[2] loc("loss")
//!       yield %5
//!     }
//!   }
//!   return %1 "y"
//! }
//! ```
//! becomes
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[2]) {
//!   %1 = neg %0 : f32[2] loc("loss")
//!   return %1 "y"
//! }
//! ```
//!
//! Left alone: a form without a region as written, which nothing computes; the driver refuses such a module (E0415). Exact.

use nnc_ir::{
    Module,
    ops::{OpStruct, Training},
};

use crate::{
    pass::{Bug, Exactness, PassCx, Rule},
    rewrite::{Action, Cursor, rewrite},
};

pub(crate) const RULES: &[&Rule] = &[&EXPAND];

static EXPAND: Rule = Rule {
    name: "expand-training-form",
    law: "a training form = its region as written, if it has one",
    source: "the region is what the operator means in ONNX",
    exactness: Exactness::Exact,
};

pub(crate) fn run(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    rewrite(module, "expand-training", &mut |cursor: &mut Cursor<'_>, id| {
        let node = cursor.module.node(id).clone();
        if Training::from_op(&node.op).is_none() {
            return Ok(Action::Keep);
        }
        let &[_, written] = &node.regions[..] else {
            cx.miss(cursor.module, id, "nothing computes it as it is written");
            return Ok(Action::Keep);
        };
        if !cx.has_fuel() {
            return Ok(Action::Keep);
        }
        cx.fired(&EXPAND, &node.loc);
        Ok(Action::Replace(cursor.inline(written, &node.operands)))
    })
}
