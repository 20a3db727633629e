//! shr - bits of each element moved down.
//!
//! * (C1) both operands have the same type
//! * (C2) elements are integers
//!
//! ONNX BitShift RIGHT. Unsigned: fills with zeros, a count outside of the width gives 0. Signed: fills with the sign, a count
//! outside of the width counts as width - 1.

use crate::math;

pointwise_op! {
    /// `result = lhs >> rhs`.
    Shr: "shr", Int, |b, x| math::shift_right(b, x[0], x[1])
}
