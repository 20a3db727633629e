//! tiled - a region of kernels that may run tile by tile, so that what passes between them stays in the cache.
//!
//! Along `axis` of its one result, and along others that the plan counts as around it, every value inside depends
//! on the same positions of what it is computed from (a window may reach some further). So a backend may run all of the
//! region for `rows` positions, then for the next, or for as many along any such axis as keep what is inside within `bytes`.
//! One that does not runs node by node: the meaning is the region's.
//!
//! * (C1) operands have the types of the region's parameters
//! * (C2) there is one result, and it has the axis

use super::{InferCx, OpDef, control};
use crate::{form::Form, types::TensorType};

/// What a region is known as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TiledKind {
    /// A product, a softmax or the like over its rows, a product.
    Attention,
    /// A product, something pointwise, a product.
    Mlp,
    /// A convolution by 1x1, one that keeps channels apart, one by 1x1.
    InvertedResidual,
}
attr_enum! { TiledKind { Attention = "attention", Mlp = "mlp", InvertedResidual = "inverted_residual" } }

attrs! {
    /// See the module header.
    Tiled {
        /// What it is known as.
        kind: TiledKind,
        /// Axis of the result along which tiles follow each other.
        axis: usize,
        /// Positions of a tile.
        rows: i64,
        /// Bytes of the values inside that a tile has at most.
        bytes: i64,
    }
}

impl OpDef for Tiled {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let [body] = cx.regions else { return Err("tiled: needs one region".into()) };
        control::check_carried("tiled (C1)", "operands", cx.operands, &body.params)?;
        match body.results[..] {
            [result] if self.axis < result.rank() => Ok(vec![result.clone()]),
            _ => Err(format!("tiled (C2): one result with axis {}", self.axis)),
        }
    }
    fn form(&self, _: &[&TensorType], _: &[&TensorType]) -> Form {
        control::region_form()
    }
}
