//! lower - forms to kernels.
//!
//! [`lower_nest`] makes a kernel of any [`LoopForm`](nnc_ir::form::LoopForm). Reading order: `access` (addresses),
//! `collapse` (fewer axes), `quotient` (axes that are divided), `levels` and `schedule` (what is computed where, and in lanes or not), `cut` (items), `nest`,
//! `inner`, `reduce`, `transpose` (the loops), `place`, `numbers`, `index`, `scalar`, `vector` (what is inside of them). Where there is
//! wide code, the innermost loop is a tile: `stream`, of programs that `streamed` and `lanes` translate. Contractions are done by tiles
//! where those can do them: `contract`. So are pools: `windows` says which nests are, `pool` calls the tiles; `emit` has what
//! code around tiles is made of. Several nests over the same rows are one kernel: `rows`.

mod access;
mod collapse;
pub mod concat;
mod contract;
mod cut;
mod emit;
mod fused;
mod half;
mod index;
mod inner;
mod lanes;
mod levels;
mod nest;
mod numbers;
mod place;
mod pool;
mod quotient;
mod reduce;
pub mod rows;
mod scalar;
pub mod scatter;
mod schedule;
mod splat;
mod stream;
mod streamed;
mod transpose;
mod vector;
mod windows;

pub(crate) use access::{dense_strides, inside as access_inside};
pub use contract::Packing;
pub(crate) use contract::{LastWay, Pair, joins, last_way};

use nnc_ir::{
    constant::Constant,
    form::{Bounds, Class, LoopForm},
    program::MulAdds,
};

use crate::{
    frame::PointerSlot,
    kernel::{Kernel, LowerCx, NestRequest, OperandRef},
    tile::Arithmetic,
};

/// Why something cannot be lowered for a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LowerError {
    /// The target lacks an instruction that has no substitute.
    Target(&'static str),
}

impl std::fmt::Display for LowerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LowerError::Target(what) => write!(f, "the target cannot do {what}"),
        }
    }
}

impl std::error::Error for LowerError {}

/// Makes a kernel of a nest: of tiles where they can do it, else of loops.
///
/// # Errors
/// The target lacks an instruction.
pub fn lower_nest(request: &NestRequest, cx: &mut LowerCx<'_>) -> Result<Kernel, LowerError> {
    let request =
        &NestRequest { form: request.form.settled(Arithmetic::of(cx.isa).mul_adds()), ..request.clone() };
    if request.form.class() != Class::Contraction {
        return match pool::lower(request, cx) {
            Some(kernel) => Ok(kernel),
            None => lower_loops(request, cx),
        };
    }
    match contract::lower(request, cx) {
        Ok(kernel) => Ok(kernel),
        // Loops go through the result in another order than `walk` says of tiles.
        Err(why) => Ok(Kernel { plain: Some(why), pace: None, ..lower_loops(request, cx)? }),
    }
}

/// Makes a kernel of a product and what joins groups of its columns, for which [`joins`] holds.
///
/// # Errors
/// There is no memory for the packed weights.
pub(crate) fn lower_pair(
    pair: &Pair<'_>,
    turn: Option<PointerSlot>,
    cx: &mut LowerCx<'_>,
) -> Result<Kernel, LowerError> {
    contract::lower_pair(pair, turn, cx).map_err(LowerError::Target)
}

/// The axes of a nest's space in the order in which the items of its kernel go through them, if these do one position after
/// the other, so that the nest can be run in parts; axes of extent 1 are anywhere.
pub(crate) fn walk(request: &NestRequest) -> Option<Vec<usize>> {
    // Tiles that turns are worth it for multiply and add at once.
    let request = &NestRequest { form: request.form.settled(MulAdds::Fused), ..request.clone() };
    let form = &request.form;
    let known = form.space.iter().chain(&form.reduce).all(|e| e.as_const().is_some_and(|n| n > 0));
    let checked = form.loads.iter().any(|load| load.bounds == Bounds::Check);
    if !known || checked || form.results.len() != 1 {
        return None;
    }
    let (kept, units): (Vec<usize>, Vec<usize>) = (0..form.space.len()).partition(|&a| !form.space[a].is(1));
    let order = match form.class() {
        // An axis that stands for two, of groups and of channels, is walked as it is if its parts are in their order.
        Class::Contraction => contract::walk(request)?,
        Class::Movement => return None,
        _ if pool::may_be(request) => return None,
        _ => (0..kept.len()).collect(),
    };
    let order: Vec<usize> = match order.len() == kept.len() {
        true => order.into_iter().map(|a| kept[a]).collect(),
        false => order.iter().copied().eq(0..order.len()).then_some(kept)?,
    };
    Some([units, order].concat())
}

/// Why tiles would not do a contraction, or `None` if they would; `constant` gives operands that are known.
#[must_use]
pub fn refusal(form: &LoopForm, constant: &dyn Fn(usize) -> Option<Constant>) -> Option<&'static str> {
    let most = form.loads.iter().map(|l| l.operand + 1).max().unwrap_or(0);
    let operand =
        |number: usize| OperandRef { pointer: PointerSlot(0), constant: constant(number), range: None };
    let request = NestRequest {
        name: String::new(),
        form: form.settled(MulAdds::Fused),
        operands: (0..most).map(operand).collect(),
        results: vec![PointerSlot(0); form.results.len()],
        placement: Vec::new(),
        fault_node: -1,
    };
    contract::refusal(&request)
}

/// Makes a kernel of a nest of loops, whatever it is.
fn lower_loops(request: &NestRequest, cx: &mut LowerCx<'_>) -> Result<Kernel, LowerError> {
    match splat::without_splats(&request.form, &request.operands) {
        Some(form) => nest::lower(&NestRequest { form, ..request.clone() }, cx),
        None => nest::lower(request, cx),
    }
}
