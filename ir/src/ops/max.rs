//! max - the greater element of two tensors.
//!
//! * (C1) both operands have the same type
//! * (C2) elements are numbers
//!
//! ONNX Max (the importer chains more than two), Clip. NaN where either is NaN; of two zeros the second.

use crate::math;

pointwise_op! {
    /// `result = max(lhs, rhs)`.
    Max: "max", Number, |b, x| math::max(b, x[0], x[1])
}
