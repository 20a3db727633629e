//! shl - bits of each element moved up.
//!
//! * (C1) both operands have the same type
//! * (C2) elements are integers
//!
//! ONNX BitShift LEFT. A count outside of the width gives 0.

use crate::program::Binary;

pointwise_op! {
    /// `result = lhs << rhs`.
    Shl: "shl", Int, |b, x| b.binary(Binary::Shl, x[0], x[1])
}
