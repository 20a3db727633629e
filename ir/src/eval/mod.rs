//! eval - the readable reference implementation of what programs, forms and modules mean.
//!
//! Reading order: [`program`] (one element), then the nests, then modules.

mod element;
pub mod program;

pub use program::eval_program;
