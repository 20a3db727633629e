//! conv - convolution (correlation, as everywhere in neural networks) over any number of spatial axes, in groups.
//!
//! `input: [N, C, spatial..]`, `weight: [M, C / groups, kernel..]`, result `[N, M, windows..]`:
//! `result[n, m, o..] = sum over c, k.. of input[n, g(m) * C / groups + c, o * stride + k * dilation - pad..] * weight[m, c, k..]`
//! where `g(m) = floor(m / (M / groups))` and elements outside of the input are zero.
//!
//! * (C1) both have equally many axes, at least 3, and one element type, a number
//! * (C2) `C = groups * extent(weight, 1)`, as far as known
//! * (C3) `groups` is at least 1 and divides `M`, as far as known
//! * (C4) one stride, dilation (from 1 to 2^31), pad (of magnitude at most 2^31) and window extent a spatial axis
//!
//! ONNX Conv, ConvInteger, QLinearConv, ConvTranspose (with `dilate`). A bias is an `add` after it. `f16` and `bf16`
//! accumulate in `f32`.

use super::{InferCx, OpDef, nest, window::Window};
use crate::{
    dtype::Scalar,
    extent::Extent,
    form::{Bounds, Combine, Form, Ix, LoopForm},
    types::TensorType,
};

attrs! {
    /// See the module header.
    Conv {
        /// Groups of channels that do not mix.
        groups: i64,
        /// Distance of windows, one an axis.
        strides: Vec<i64>,
        /// Distance of taps, one an axis.
        dilations: Vec<i64>,
        /// Positions before the first element, one an axis; those after it follow from `spatial`.
        pads_before: Vec<i64>,
        /// Extents of the result's spatial axes.
        spatial: Vec<Extent>,
    }
}

impl Conv {
    fn window<'a>(&'a self, weight: &'a TensorType) -> Window<'a> {
        Window {
            kernel: &weight.shape[2..],
            strides: &self.strides,
            dilations: &self.dilations,
            pads_before: &self.pads_before,
            windows: &self.spatial,
        }
    }
}

impl OpDef for Conv {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let (input, weight) = (cx.operands[0], cx.operands[1]);
        if input.rank() != weight.rank() || input.rank() < 3 || input.dtype != weight.dtype {
            return Err(format!("conv (C1): {input} by {weight}"));
        }
        nest::Elements::Number.check("conv", input.dtype).map_err(|e| e.replace("C2", "C1"))?;
        let channels = weight.shape[1].scale(self.groups);
        if input.shape[1].same(&channels) == Some(false) {
            return Err(format!(
                "conv (C2): input has {} channels, weight expects {channels}",
                input.shape[1]
            ));
        }
        if self.groups < 1 || weight.shape[0].as_const().is_some_and(|m| m % self.groups != 0) {
            return Err(format!("conv (C3): {} groups of {} results", self.groups, weight.shape[0]));
        }
        self.window(weight).check("conv", "C4")?;
        let shape = [&[input.shape[0].clone(), weight.shape[0].clone()], &self.spatial[..]].concat();
        Ok(vec![input.with_shape(shape)])
    }

    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form {
        let (input, weight) = (operands[0], operands[1]);
        let window = self.window(weight);
        // Axes: n, m, windows.., c, taps..
        let (space, c) = (results[0].rank(), Ix::Axis(results[0].rank()));
        let channel = if self.groups == 1 {
            c.clone()
        } else {
            let group = Ix::Axis(1).floor_div(weight.shape[0].floor_div(&Extent::Const(self.groups)));
            group.times(weight.shape[1].clone()).plus(c.clone())
        };
        let input_index = [vec![Ix::Axis(0), channel], window.index(2, space + 1)].concat();
        let taps = (space + 1..space + weight.rank() - 1).map(Ix::Axis);
        let weight_index = [Ix::Axis(1), c].into_iter().chain(taps).collect();
        let zero = Bounds::Guard(Scalar::zero(input.dtype));
        let bounds = window.bounds(&input.shape[2..], zero);
        Form::Loops(LoopForm {
            space: results[0].shape.clone(),
            reduce: weight.shape[1..].to_vec(),
            loads: vec![
                nest::load_within(0, input, input_index, bounds),
                nest::load(1, weight, weight_index),
            ],
            body: nest::product_of_loads(input.dtype, weight.dtype),
            combine: Some(Combine::Sum),
            finish: nest::accumulator(input.dtype),
            results: vec![results[0].dtype],
        })
    }
}
