//! pool - joins the elements in windows that slide over the trailing axes.
//!
//! `result[n.., o..] = join over k.. of input[n.., o * stride + k * dilation - pad..]`; what lies outside of the input does
//! not count: maxima and minima ignore it, sums take it as zero, means divide by the number of elements inside.
//!
//! * (C1) `kernel` has at least one and at most as many numbers as the input has axes; each is from 1 to 2^31
//! * (C2) elements are numbers; floats for means
//! * (C3) one stride, dilation (from 1 to 2^31), pad (of magnitude at most 2^31) and window extent an axis
//!
//! ONNX MaxPool, AveragePool (with `count_include_pad`: `pad` before it, or a sum that is divided), LpPool, LRN (over the
//! channel axis). A window wholly outside: the least (greatest) value, 0, or NaN. `f16` and `bf16` accumulate in `f32`.

use super::{InferCx, OpDef, nest, window::Window};
use crate::{
    dtype::Scalar,
    extent::Extent,
    form::{Bounds, Combine, Form, Ix, LoopForm},
    program::{Builder, Program},
    types::TensorType,
};

/// What joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolKind {
    /// Greatest.
    Max,
    /// Least.
    Min,
    /// Sum.
    Sum,
    /// Sum divided by the number of elements inside the input.
    Mean,
}
attr_enum! { PoolKind { Max = "max", Min = "min", Sum = "sum", Mean = "mean" } }

attrs! {
    /// See the module header.
    Pool {
        /// What joins.
        kind: PoolKind,
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
    }
}

impl OpDef for Pool {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let input = cx.operands[0];
        let lead = leading("pool", input, &self.kernel)?;
        let elements =
            if self.kind == PoolKind::Mean { nest::Elements::Float } else { nest::Elements::Number };
        elements.check("pool", input.dtype)?;
        self.window(&extents(&self.kernel)).check("pool", "C3")?;
        Ok(vec![input.with_shape([&input.shape[..lead], &self.spatial].concat())])
    }

    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form {
        let input = operands[0];
        let (rank, kernel) = (input.rank(), extents(&self.kernel));
        let lead = rank - kernel.len();
        let window = self.window(&kernel);
        let (combine, outside) = match self.kind {
            PoolKind::Max => (Combine::Max, Scalar::lowest(input.dtype)),
            PoolKind::Min => (Combine::Min, Scalar::highest(input.dtype)),
            PoolKind::Sum | PoolKind::Mean => (Combine::Sum, Scalar::zero(input.dtype)),
        };
        let bounds = window.bounds(&input.shape[lead..], Bounds::Guard(outside));
        let finish = if self.kind == PoolKind::Mean {
            mean(&window, input, bounds == Bounds::Inside)
        } else {
            nest::accumulator(input.dtype)
        };
        let index = (0..lead).map(Ix::Axis).chain(window.index(lead, rank)).collect();
        Form::Loops(LoopForm {
            space: results[0].shape.clone(),
            loads: vec![nest::load_within(0, input, index, bounds)],
            body: nest::first_load(input.dtype),
            combine: Some(combine),
            finish,
            results: vec![results[0].dtype],
            reduce: kernel,
        })
    }
}

impl Pool {
    fn window<'a>(&'a self, kernel: &'a [Extent]) -> Window<'a> {
        Window {
            kernel,
            strides: &self.strides,
            dilations: &self.dilations,
            pads_before: &self.pads_before,
            windows: &self.spatial,
        }
    }
}

/// The accumulator divided by the number of taps inside the input.
fn mean(window: &Window<'_>, input: &TensorType, inside: bool) -> Program {
    let mut b = Builder::new();
    let acc = b.acc(0, input.dtype);
    let count = if inside {
        b.index(Ix::Extent(crate::extent::product(window.kernel)))
    } else {
        let lead = input.rank() - window.kernel.len();
        let mut product = b.index(Ix::int(1));
        for i in 0..window.kernel.len() {
            let count = b.index(taps_inside(window, i, Ix::Axis(lead + i), &input.shape[lead + i]));
            product = b.mul(product, count);
        }
        product
    };
    let count = b.cast(input.dtype, count);
    let quotient = b.div(acc, count);
    b.finish([quotient])
}

/// How many taps of a window lie inside an axis of extent `n`: those from `ceil(-s / d)` to before `ceil((n - s) / d)`,
/// where `s` is the position of tap 0 and `d` the dilation.
fn taps_inside(window: &Window<'_>, i: usize, at: Ix, n: &Extent) -> Ix {
    let dilation = window.dilations[i];
    let start = window.position(i, at, Ix::int(0));
    let first_at_or_after = |x: &Extent| {
        let up = Ix::Extent(x + &Extent::Const(dilation - 1));
        up.plus(start.clone().times(-1)).floor_div(dilation)
    };
    let kernel = || Ix::Extent(window.kernel[i].clone());
    let first = first_at_or_after(&Extent::ZERO).max(Ix::int(0)).min(kernel());
    let end = first_at_or_after(n).max(Ix::int(0)).min(kernel());
    end.plus(first.times(-1))
}

/// Number of axes before those that windows slide over (C1).
pub(super) fn leading(op: &str, input: &TensorType, kernel: &[i64]) -> Result<usize, String> {
    nest::check_range(op, "C1", "kernel", kernel, 1)?;
    let lead = input.rank().checked_sub(kernel.len()).filter(|_| !kernel.is_empty());
    lead.ok_or_else(|| format!("{op} (C1): kernel {kernel:?} on {input}"))
}

/// Numbers as extents.
pub(super) fn extents(numbers: &[i64]) -> Vec<Extent> {
    numbers.iter().map(|&x| Extent::Const(x)).collect()
}
