//! nnc - a graph compiler for neural networks: ONNX in, machine code out.
//!
//! ```no_run
//! let compiler = nnc::Compiler::new(nnc::Options::default());
//! let model = compiler.compile_file("model.onnx")?;
//! let image = nnc::Tensor::zeroed(nnc::ElemType::F32, &[1, 3, 224, 224])?;
//! let outputs = model.run(&[image])?;
//! # Ok::<(), nnc::Failure>(())
//! ```
#![forbid(unsafe_code)]

mod cache;
mod compiler;
mod consts;
mod failure;
mod fit;
mod options;
mod repeated;
mod training;
mod tuning;

pub mod bisect;
pub mod compare;
pub mod io;
pub mod sample;
pub mod tune;
pub mod verify;

pub use cache::{Cache, CacheSize};
pub use compiler::{CompiledModel, Compiler, Imported, Lowered, Made};
pub use failure::Failure;
pub use fit::MemoryReport;
pub use nnc_cpu as cpu;
pub use nnc_ir as ir;
pub use nnc_onnx as onnx;
pub use nnc_passes as passes;
pub use nnc_runtime as runtime;
pub use nnc_runtime::{ElemType, Session, SessionOptions, Tensor, TensorView, TensorViewMut};
pub use options::{OptLevel, Options, Training};
pub use training::removed;
pub use tuning::TuningFile;
