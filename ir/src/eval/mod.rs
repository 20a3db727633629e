//! eval - the readable reference implementation of what programs, forms and modules mean.
//!
//! Reading order: [`element`] and [`program`] (what an instruction does), [`index`] and [`read`] (where a nest reads),
//! [`nest`] and [`combine`] (loop nests), [`copy`], [`externs`], [`control`] (the other forms), [`symbols`] and
//! [`module`] (a run), [`fold`] (constants for the passes).

mod combine;
mod control;
mod copy;
mod element;
mod error;
mod externs;
mod fold;
mod index;
mod module;
mod nest;
mod order;
pub mod program;
mod read;
mod symbols;
mod tensor;

pub use error::{EvalError, EvalLimits};
pub use fold::{ConstEval, transposed};
pub use module::evaluate;
pub use program::eval_program;
pub use tensor::Tensor;

#[cfg(test)]
mod tests;
