//! text - the `.nnir` text format: prints and parses back to the same module.
//!
//! docs/text-format.md has the grammar. Constants are spelt out while they are small; larger ones are named by digest
//! and stand in a side file ([`weights`]).

pub mod constant;
mod cursor;
pub mod extent;
mod parse;
mod print;
pub mod quote;
pub mod weights;

pub use parse::{FindConstant, ParseError, parse};
pub use print::{phase_name, print};
pub use weights::collect_constants;

#[cfg(test)]
pub(crate) mod tests;
