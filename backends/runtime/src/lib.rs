//! nnc-runtime - what a compiled model runs on: ABI, memory, threads, weights, programs and their files.
//!
//! It knows nothing of graphs. A program is machine code with a manifest ([`Image`]); loaded ([`Program`]) it runs in
//! a [`Session`], which holds memory and threads. What the code may ask of the runtime is in [`abi`] and [`externs`].

#![deny(unsafe_code)]

mod elem;
mod error;

#[expect(unsafe_code, reason = "the floating-point state is set by two instructions")]
pub mod abi;
pub mod externs;

#[cfg_attr(
    all(target_os = "linux", target_env = "gnu"),
    expect(unsafe_code, reason = "calls a function of the C library")
)]
mod allocator;
#[expect(unsafe_code, reason = "owns raw memory")]
mod arena;
#[cfg_attr(test, expect(unsafe_code, reason = "calls code"))]
mod code;
mod memory;
#[expect(unsafe_code, reason = "calls compiled code on other threads")]
mod threads;
#[expect(unsafe_code, reason = "its table of addresses crosses threads")]
mod weights;

mod processor;
mod signature;
mod target;
mod tensor;

mod fault;
mod image;
mod known;
#[expect(unsafe_code, reason = "uses vector instructions that it asked the processor for")]
mod probe;
mod profile;
#[expect(unsafe_code, reason = "calls compiled code")]
mod program;
mod session;

pub mod artefact;

pub use allocator::give_back_large_blocks;
pub use arena::AlignedBytes;
pub use code::Code;
pub use elem::{ElemType, tensor_bytes};
pub use error::{Error, Result};
pub use image::{Entries, Image, Kernel, Work};
pub use memory::default_max_memory;
pub use probe::Machine;
pub use processor::host_processor;
pub use profile::{Part, Span};
pub use program::Program;
pub use session::{CancelToken, Session, SessionOptions};
pub use signature::{Dim, Port, Signature, Symbol};
pub use target::{Target, host_features, host_level, host_triple};
pub use tensor::{Element, Tensor, TensorView, TensorViewMut, bf16_to_f32, f16_to_f32};
pub use threads::{MAX_THREADS, Pool, available_threads};
pub use weights::{SharedBytes, WeightSection, Weights};
