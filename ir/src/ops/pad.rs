//! pad - elements added before and after each axis, or taken away where the number is negative.
//!
//! The extent of an axis becomes `before + extent + after`. Added elements are a constant, or by position `p` relative to
//! the input: the nearest element (edge), the element at `p` mirrored at the first and last element without repeating
//! these (reflect), or the element at `p mod extent` (wrap).
//!
//! * (C1) one `before` and `after` an axis; no known extent becomes negative
//! * (C2) the constant has the compute type of the input
//! * (C3) in the other modes no axis known to be empty grows
//!
//! ONNX Pad, all modes. Exact.

use super::{InferCx, OpDef, attr::Attr, nest};
use crate::{
    dtype::Scalar,
    extent::Extent,
    form::{Bounds, Form, Ix},
    types::TensorType,
};

/// What added elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PadMode {
    /// This element.
    Constant(Scalar),
    /// The nearest element.
    Edge,
    /// The elements mirrored at the first and at the last.
    Reflect,
    /// The elements from the other end.
    Wrap,
}

impl Attr for PadMode {
    fn print(&self) -> String {
        match self {
            PadMode::Constant(value) => format!("constant({})", value.print()),
            PadMode::Edge => "edge".into(),
            PadMode::Reflect => "reflect".into(),
            PadMode::Wrap => "wrap".into(),
        }
    }
    fn parse(text: &str) -> Option<Self> {
        match text {
            "edge" => Some(PadMode::Edge),
            "reflect" => Some(PadMode::Reflect),
            "wrap" => Some(PadMode::Wrap),
            _ => Scalar::parse(text.strip_prefix("constant(")?.strip_suffix(')')?).map(PadMode::Constant),
        }
    }
}

attrs! {
    /// See the module header.
    Pad {
        /// Elements added before, one number an axis.
        before: Vec<Extent>,
        /// Elements added after, one number an axis.
        after: Vec<Extent>,
        /// What they are.
        mode: PadMode,
    }
}

impl OpDef for Pad {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let input = cx.operands[0];
        if [self.before.len(), self.after.len()] != [input.rank(); 2] {
            return Err(format!("pad (C1): {:?} before, {:?} after {input}", self.before, self.after));
        }
        let grown = |i: usize| &(&self.before[i] + &input.shape[i]) + &self.after[i];
        let shape: Vec<Extent> = (0..input.rank()).map(grown).collect();
        nest::check_extents("pad", "C1", &shape)?;
        if let PadMode::Constant(value) = self.mode {
            if value.dtype != input.dtype.compute() {
                return Err(format!("pad (C2): {} pads {input}", value.dtype));
            }
        } else if let Some(i) = (0..input.rank()).find(|&i| input.shape[i].is(0) && !shape[i].is(0)) {
            return Err(format!("pad (C3): axis {i} of {input} is empty"));
        }
        Ok(vec![input.with_shape(shape)])
    }

    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form {
        let input = operands[0];
        let index: Vec<Ix> = (0..input.rank()).map(|axis| self.index(axis, &input.shape[axis])).collect();
        let crops = |e: &Extent| e.as_const().is_some_and(|c| c <= 0);
        let bounds = match self.mode {
            _ if self.before.iter().chain(&self.after).all(crops) => Bounds::Inside,
            PadMode::Constant(value) => Bounds::Guard(value),
            // An axis that turns out empty has no element to repeat.
            _ if input.shape.iter().all(nest::is_positive) => Bounds::Inside,
            _ => Bounds::Check,
        };
        nest::movement(results[0], vec![nest::load_within(0, input, index, bounds)])
    }
}

impl Pad {
    fn index(&self, axis: usize, extent: &Extent) -> Ix {
        let minus = |x: &Extent| Ix::Extent(x.scale(-1));
        let position = Ix::Axis(axis).plus(minus(&self.before[axis]));
        if self.before[axis].is(0) && self.after[axis].is(0) {
            return position;
        }
        let last = extent - &Extent::ONE;
        match self.mode {
            PadMode::Constant(_) => position,
            PadMode::Edge => position.min(Ix::Extent(last)).max(Ix::int(0)),
            PadMode::Reflect => {
                let twice = last.scale(2);
                let up = position.modulo(twice.max_with(&Extent::ONE));
                let down = up.clone().times(-1).plus(Ix::Extent(twice));
                up.min(down)
            }
            PadMode::Wrap => position.modulo(extent.max_with(&Extent::ONE)),
        }
    }
}
