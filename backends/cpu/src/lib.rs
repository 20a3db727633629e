//! nnc-cpu - planned graph to loop nests to machine code, by Cranelift.
//!
//! [`compile`] is the way in. `plan` decides what runs when and where every value is, [`lower`] makes kernels of loop
//! nests, `entry` writes the functions around them, `link` makes one blob of all.
#![forbid(unsafe_code)]

pub mod choice;
mod compile;
mod elem_type;
mod entry;
pub mod frame;
mod job;
pub mod kernel;
mod link;
mod listing;
pub mod lower;
mod options;
mod plan;
pub mod range;
mod share;
mod target;
pub mod tile;
mod tiled;
mod unloop;
mod weights;
pub mod wide;
mod work;

pub use compile::{Compiled, compile, compile_owned, plan_memory};
pub use elem_type::elem_type;
pub use nnc_tile::winograd::Winograd;
pub use options::CompileOptions;
pub use plan::PlanReport;
pub use target::{Target, TargetDesc};
