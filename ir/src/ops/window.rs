//! window - what convolution and pooling share: windows that slide over the trailing axes of a tensor.
//!
//! Along each spatial axis, tap `k` of the window at `o` reads position `o * stride + k * dilation - pad`.

use super::nest;
use crate::{
    extent::Extent,
    form::{Bounds, Ix},
};

/// One number for each spatial axis.
pub(super) struct Window<'a> {
    /// Taps.
    pub kernel: &'a [Extent],
    /// Distance of windows.
    pub strides: &'a [i64],
    /// Distance of taps.
    pub dilations: &'a [i64],
    /// Positions before the first element.
    pub pads_before: &'a [i64],
    /// Windows.
    pub windows: &'a [Extent],
}

impl Window<'_> {
    /// Checks that there is one number an axis, that strides and dilations are from 1 to 2^31 and pads of magnitude at
    /// most 2^31, and that no known extent is negative.
    pub(super) fn check(&self, op: &str, constraint: &str) -> Result<(), String> {
        let axes = self.kernel.len();
        let lengths = [self.strides.len(), self.dilations.len(), self.pads_before.len(), self.windows.len()];
        if axes == 0 || lengths != [axes; 4] {
            return Err(format!("{op} ({constraint}): {lengths:?} numbers for {axes} spatial axes"));
        }
        nest::check_range(op, constraint, "stride", self.strides, 1)?;
        nest::check_range(op, constraint, "dilation", self.dilations, 1)?;
        nest::check_range(op, constraint, "pad", self.pads_before, -(1 << 31))?;
        nest::check_extents(op, constraint, self.windows)
    }

    /// Positions that are read, one an axis: windows along axes `space..`, taps along axes `reduce..`.
    pub(super) fn index(&self, space: usize, reduce: usize) -> Vec<Ix> {
        (0..self.kernel.len()).map(|i| self.position(i, Ix::Axis(space + i), Ix::Axis(reduce + i))).collect()
    }

    /// Position that tap `tap` of window `window` reads along spatial axis `i`.
    pub(super) fn position(&self, i: usize, window: Ix, tap: Ix) -> Ix {
        let start = window.times(self.strides[i]).plus(Ix::int(self.pads_before[i].saturating_neg()));
        start.plus(tap.times(self.dilations[i]))
    }

    /// `Inside` where no window reaches beyond `input` (extents of the spatial axes), else `outside`.
    pub(super) fn bounds(&self, input: &[Extent], outside: Bounds) -> Bounds {
        if (0..self.kernel.len()).all(|i| self.is_inside(i, &input[i])) { Bounds::Inside } else { outside }
    }

    fn is_inside(&self, i: usize, input: &Extent) -> bool {
        let (stride, pad) = (Extent::Const(self.strides[i]), self.pads_before[i]);
        let reach = &(&self.kernel[i] - &Extent::ONE).scale(self.dilations[i]) + &Extent::ONE;
        if pad == 0 && self.windows[i] == &(input - &reach).floor_div(&stride) + &Extent::ONE {
            return true;
        }
        let last = &(&(&self.windows[i] - &Extent::ONE) * &stride) + &(&reach - &Extent::Const(pad));
        pad <= 0 && (&last - input).as_const().is_some_and(|beyond| beyond <= 0)
    }
}
