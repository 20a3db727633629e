//! fault - from the numbers compiled code leaves to errors with words.

use crate::abi::{Context, fault};
use crate::error::Error;
use crate::tensor::TensorView;

/// The error of a run that returned `returned`; `refused` is the first allocation that failed.
pub(crate) fn run_error(returned: i32, context: &Context, refused: Option<i64>, nodes: &[String]) -> Error {
    let code = if context.fault_code == 0 { i64::from(returned) } else { context.fault_code };
    let (value, limit) = (context.fault_value, context.fault_limit);
    let error = match code {
        fault::BAD_SHAPE => {
            Error::new(224, format!("data decide the extent {value}, which must be in 0..={limit}"))
        }
        fault::EXTENT_CLASH => {
            Error::new(236, format!("two extents that must be equal are {value} and {limit}"))
        }
        fault::OUT_OF_MEMORY => {
            let bytes = refused.unwrap_or(value);
            Error::new(501, format!("no memory for {bytes} bytes more within the limit"))
                .with_help("raise --max-memory, or use smaller inputs")
        }
        fault::BAD_EXTENT => {
            Error::new(802, format!("an operand has the extent {value}, which the node cannot take"))
        }
        fault::BAD_INDEX if limit > 0 => {
            Error::new(805, format!("index {value} is not in [{}, {}]", -limit, limit - 1))
        }
        fault::BAD_INDEX => Error::new(805, format!("index {value} is out of range")),
        fault::BAD_DIVISION => Error::new(806, format!("integer division by {value} has no result")),
        fault::BAD_VALUE => Error::new(807, format!("{value} is not a value the node can take")),
        fault::CANCELLED => return Error::new(808, "the run was cancelled"),
        _ => internal(&format!("the code returned {code}")),
    };
    let node = usize::try_from(context.fault_node).ok().and_then(|node| nodes.get(node));
    match node {
        Some(node) => error.with_node(node),
        None => error,
    }
}

/// The error of a `bind` that returned `code`.
pub(crate) fn bind_error(code: i32, inputs: &[TensorView<'_>]) -> Error {
    let dims: Vec<_> = inputs.iter().map(|view| format!("{:?}", view.dims)).collect();
    let dims = dims.join(", ");
    match i64::from(code) {
        fault::EXTENT_CLASH => Error::new(236, format!("input extents {dims} contradict each other")),
        fault::OUT_OF_MEMORY => Error::new(501, format!("input extents {dims} ask for over 2^63 bytes")),
        fault::BAD_EXTENT => {
            Error::new(802, format!("input extents {dims} are not ones the program can take"))
        }
        fault::BAD_VALUE => {
            Error::new(807, "an input that gives extents has a value the program cannot take")
        }
        code => internal(&format!("bind returned {code}")),
    }
}

/// E0809: code and runtime disagree.
pub(crate) fn internal(what: &str) -> Error {
    Error::new(809, format!("{what}: this is a bug in nnc"))
}
