//! non_max_suppression - boxes, best score first, that overlap no better box of their class too much.
//!
//! The result is `i64[count, 3]`: batch, class and box; `count` is a symbol that the node defines.
//!
//! * (C1) boxes are `f32[batches, n, 4]`, scores `f32[batches, classes, n]`, as far as known
//! * (C2) `max_boxes` is an `i64`, the thresholds are `f32`, each with one element
//! * (C3) `count` is not negative, as far as known
//!
//! ONNX NonMaxSuppression (the importer supplies 0, 0 and minus infinity for absent operands). A threshold of overlap
//! outside of 0 to 1 fails the run with E0807.

use super::{InferCx, OpDef, nest};
use crate::{
    dtype::DType,
    extent::Extent,
    form::{ExternForm, Form},
    types::TensorType,
};

attrs! {
    /// See the module header.
    NonMaxSuppression {
        /// Boxes are given by centre and size, not by two corners.
        center_point_box: bool,
        /// How many boxes are left.
        count: Extent,
    }
}

impl OpDef for NonMaxSuppression {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let (boxes, scores) = (cx.operands[0], cx.operands[1]);
        let shapes_fit = boxes.rank() == 3
            && scores.rank() == 3
            && boxes.shape[2].same(&Extent::Const(4)) != Some(false)
            && boxes.shape[0].same(&scores.shape[0]) != Some(false)
            && boxes.shape[1].same(&scores.shape[2]) != Some(false);
        if !shapes_fit || boxes.dtype != DType::F32 || scores.dtype != DType::F32 {
            return Err(format!("non_max_suppression (C1): boxes {boxes}, scores {scores}"));
        }
        for (ty, want) in cx.operands[2..].iter().zip([DType::I64, DType::F32, DType::F32]) {
            if ty.dtype != want || !ty.elements().is(1) {
                return Err(format!("non_max_suppression (C2): {ty}, needs one {want}"));
            }
        }
        nest::check_extents("non_max_suppression", "C3", std::slice::from_ref(&self.count))?;
        Ok(vec![TensorType::new(DType::I64, vec![self.count.clone(), Extent::Const(3)])])
    }
    fn form(&self, _: &[&TensorType], _: &[&TensorType]) -> Form {
        let defines = nest::defines(&[(0, 0)], &self.count);
        let attrs = vec![i64::from(self.center_point_box)];
        Form::Extern(ExternForm { name: "non_max_suppression", attrs, defines })
    }
}
