//! arg_pool - where the greatest element is in windows that slide over the trailing axes.
//!
//! Windows as in `pool`. The result is the position of the element in the whole input, flattened in row-major order; of
//! equal elements the first, and NaN counts as greatest. What lies outside of the input counts as the least value; if that
//! is what is found, the position is that of the nearest element.
//!
//! * (C1) `kernel` has at least one and at most as many numbers as the input has axes; each is from 1 to 2^31
//! * (C2) elements are numbers
//! * (C3) one stride, dilation (from 1 to 2^31), pad (of magnitude at most 2^31) and window extent an axis
//!
//! ONNX MaxPool, second result; `storage_order = 1` is `column_major`.

use super::{
    InferCx, OpDef, nest,
    pool::{extents, leading},
    window::Window,
};
use crate::{
    dtype::{DType, Scalar},
    extent::Extent,
    form::{Bounds, Combine, Form, Ix, LoopForm},
    program::{Binary, Builder, Program},
    types::TensorType,
};

attrs! {
    /// See the module header.
    ArgPool {
        /// Taps, one number for each of the trailing axes.
        kernel: Vec<i64>,
        /// Distance of windows.
        strides: Vec<i64>,
        /// Distance of taps.
        dilations: Vec<i64>,
        /// Positions before the first element; those after it follow from `spatial`.
        pads_before: Vec<i64>,
        /// Extents of the result's trailing axes.
        spatial: Vec<Extent>,
        /// The trailing axes flatten with the first one fastest.
        column_major: bool,
    }
}

impl ArgPool {
    fn window<'a>(&'a self, kernel: &'a [Extent]) -> Window<'a> {
        Window {
            kernel,
            strides: &self.strides,
            dilations: &self.dilations,
            pads_before: &self.pads_before,
            windows: &self.spatial,
        }
    }

    /// From the tap's position in the window to the element's position in the input.
    fn flatten(&self, window: &Window<'_>, input: &TensorType) -> Program {
        let axes = self.kernel.len();
        let lead = input.rank() - axes;
        let mut b = Builder::new();
        let mut rest = b.acc(0, DType::I64);
        let mut flat = b.constant(Scalar::i64(0));
        for axis in (0..input.rank()).rev() {
            // Elements from one position of this axis to the next.
            let inner = if axis < lead || !self.column_major { axis + 1..input.rank() } else { lead..axis };
            let stride = b.index(Ix::Extent(crate::extent::product(&input.shape[inner])));
            let position = if axis < lead {
                b.index(Ix::Axis(axis))
            } else {
                let taps = b.constant(Scalar::i64(self.kernel[axis - lead]));
                let tap = b.binary(Binary::Rem, rest, taps);
                rest = b.div(rest, taps);
                let dilation = b.constant(Scalar::i64(self.dilations[axis - lead]));
                let offset = b.mul(tap, dilation);
                let start = b.index(window.position(axis - lead, Ix::Axis(axis), Ix::int(0)));
                let position = b.add(start, offset);
                let last = b.index(Ix::Extent(&input.shape[axis] - &Extent::ONE));
                let zero = b.constant(Scalar::i64(0));
                let position = b.min(position, last);
                b.max(position, zero)
            };
            let part = b.mul(position, stride);
            flat = b.add(flat, part);
        }
        b.finish([flat])
    }
}

impl OpDef for ArgPool {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let input = cx.operands[0];
        let lead = leading("arg_pool", input, &self.kernel)?;
        nest::Elements::Number.check("arg_pool", input.dtype)?;
        self.window(&extents(&self.kernel)).check("arg_pool", "C3")?;
        Ok(vec![TensorType::new(DType::I64, [&input.shape[..lead], &self.spatial].concat())])
    }

    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form {
        let input = operands[0];
        let (rank, kernel) = (input.rank(), extents(&self.kernel));
        let lead = rank - kernel.len();
        let window = self.window(&kernel);
        let outside = Bounds::Guard(Scalar::lowest(input.dtype));
        let bounds = window.bounds(&input.shape[lead..], outside);
        let index = (0..lead).map(Ix::Axis).chain(window.index(lead, rank)).collect();
        Form::Loops(LoopForm {
            space: results[0].shape.clone(),
            loads: vec![nest::load_within(0, input, index, bounds)],
            body: nest::first_load(input.dtype),
            combine: Some(Combine::ArgMax { last: false }),
            finish: self.flatten(&window, input),
            results: vec![DType::I64],
            reduce: kernel,
        })
    }
}
