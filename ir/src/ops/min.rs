//! min - the lesser element of two tensors.
//!
//! * (C1) both operands have the same type
//! * (C2) elements are numbers
//!
//! ONNX Min (the importer chains more than two), Clip. NaN where either is NaN; of two zeros the second.

use crate::math;

pointwise_op! {
    /// `result = min(lhs, rhs)`.
    Min: "min", Number, |b, x| math::min(b, x[0], x[1])
}
