//! link - a contraction of a chain by a constant as types alone, and when two of them are one.

use nnc_ir::{
    Module,
    extent::Extent,
    form::Form,
    ops::{Conv, MatMul, Op},
    types::TensorType,
};

use crate::cost::{self, Cost};

/// What a link adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bias {
    /// Nothing.
    None,
    /// A number a channel (the last axis of a matrix product).
    Channel,
    /// A number a channel and position.
    Map,
}

/// A contraction of something by a constant.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// `conv` or `matmul`.
    pub(super) op: Op,
    /// Of the constant.
    pub(super) weight: TensorType,
    /// Of what it reads.
    pub(super) input: TensorType,
    /// Of what it makes.
    pub(super) output: TensorType,
    /// What is added.
    pub(super) bias: Bias,
}

impl Link {
    /// Groups of a convolution.
    pub(super) fn groups(&self) -> Option<i64> {
        if let Op::Conv(conv) = &self.op { Some(conv.groups) } else { None }
    }

    /// Whether a convolution has more than one tap.
    pub(super) fn has_taps(&self) -> bool {
        self.groups().is_some() && self.weight.shape[2..].iter().any(|k| !k.is(1))
    }

    /// What it costs as a kernel.
    pub(super) fn cost(&self, module: &Module) -> Cost {
        let mut cost = match self.op.def().form(&[&self.input, &self.weight], &[&self.output]) {
            Form::Loops(form) => cost::of_nest(module, &form),
            _ => Cost::default(),
        };
        let numbers = match self.bias {
            Bias::None => 0,
            Bias::Channel => cost::nominal(module, &self.output.shape[self.channel_axis()]),
            Bias::Map => {
                self.output.shape[1..].iter().map(|e| cost::nominal(module, e)).fold(1, i64::saturating_mul)
            }
        };
        let width = i64::try_from(self.output.dtype.bytes()).unwrap_or(i64::MAX);
        cost.read = cost.read.saturating_add(numbers.saturating_mul(width));
        cost
    }

    /// The axis of the result along which the bias of a channel runs.
    pub(super) fn channel_axis(&self) -> usize {
        if self.groups().is_some() { 1 } else { self.output.rank() - 1 }
    }

    /// The link that does what `self` and then `next` do; else why there is none.
    pub(super) fn then(&self, next: &Link) -> Result<Link, String> {
        if self.output != next.input {
            return Err(format!("a reshape from {} to {} is in between", self.output, next.input));
        }
        match (&self.op, &next.op) {
            (Op::MatMul(_), Op::MatMul(_)) => self.then_matmul(next),
            (Op::Conv(a), Op::Conv(b)) => self.then_conv(a, next, b),
            _ => Err("a convolution and a matrix product".into()),
        }
    }

    fn then_matmul(&self, next: &Link) -> Result<Link, String> {
        let batch = next.weight.rank() - 2;
        if self.bias != Bias::None && next.weight.shape[..batch].iter().any(|e| !e.is(1)) {
            return Err("the bias in between would differ along the batch".into());
        }
        let mut shape = Vec::with_capacity(self.weight.rank());
        for (a, b) in self.weight.shape[..batch].iter().zip(&next.weight.shape) {
            shape.push(a.broadcast(b).ok_or("batch extents that do not match")?);
        }
        shape.push(self.weight.shape[batch].clone());
        shape.push(next.weight.shape[batch + 1].clone());
        Ok(Link {
            op: MatMul {}.into(),
            weight: self.weight.with_shape(shape),
            input: self.input.clone(),
            output: next.output.clone(),
            bias: self.bias.max(next.bias),
        })
    }

    fn then_conv(&self, a: &Conv, next: &Link, b: &Conv) -> Result<Link, String> {
        let groups = a.groups.min(b.groups);
        if a.groups % groups != 0 || b.groups % groups != 0 {
            return Err(format!("{} groups and {} groups do not nest", a.groups, b.groups));
        }
        let taken = self.weight.shape[1].scale(a.groups).floor_div(&Extent::Const(groups));
        let mut op =
            Conv { groups, strides: vec![], dilations: vec![], pads_before: vec![], spatial: vec![] };
        let mut shape = vec![next.weight.shape[0].clone(), taken];
        let mut reads_padding = false;
        for i in 0..a.strides.len() {
            let (first, second) = (Axis::of(self, a, i), Axis::of(next, b, i));
            reads_padding |= !second.is_inside();
            let joined = first.then(&second)?;
            shape.push(Extent::Const(joined.taps));
            op.strides.push(joined.stride);
            op.dilations.push(joined.dilation);
            op.pads_before.push(joined.pad);
            op.spatial.push(joined.windows.clone());
        }
        let bias = match self.bias {
            Bias::Channel if reads_padding => Bias::Map,
            other => other.max(next.bias),
        };
        let spatial = self.output.shape[2..].iter().chain(&next.output.shape[2..]);
        if bias == Bias::Map && !spatial.into_iter().all(|e| e.as_const().is_some()) {
            return Err(
                "the later one reads padding, where the bias in between is not, and extents are not known"
                    .into(),
            );
        }
        Ok(Link {
            op: op.into(),
            weight: self.weight.with_shape(shape),
            input: self.input.clone(),
            output: next.output.clone(),
            bias,
        })
    }
}

/// A convolution along one spatial axis.
struct Axis<'a> {
    taps: i64,
    stride: i64,
    dilation: i64,
    pad: i64,
    windows: &'a Extent,
    input: &'a Extent,
}

impl<'a> Axis<'a> {
    fn of(link: &'a Link, conv: &'a Conv, i: usize) -> Self {
        Self {
            // Weights are constants.
            taps: link.weight.shape[2 + i].as_const().unwrap_or(0),
            stride: conv.strides[i],
            dilation: conv.dilations[i],
            pad: conv.pads_before[i],
            windows: &conv.spatial[i],
            input: &link.input.shape[2 + i],
        }
    }

    /// Whether no tap of a window reads outside of the input.
    fn is_inside(&self) -> bool {
        let reach = Extent::Const((self.taps - 1).saturating_mul(self.dilation).saturating_add(1));
        let stride = Extent::Const(self.stride);
        if self.pad == 0 && *self.windows == &(self.input - &reach).floor_div(&stride) + &Extent::ONE {
            return true;
        }
        let last = &(&(self.windows - &Extent::ONE) * &stride) + &(&reach - &Extent::Const(self.pad));
        self.pad <= 0 && (&last - self.input).as_const().is_some_and(|beyond| beyond <= 0)
    }

    /// The axis of the joined convolution. Tap `k` of window `o` of `next` reads what this one makes at
    /// `o * next.stride + k * next.dilation - next.pad`, or zero if there is nothing.
    fn then(&self, next: &Axis<'a>) -> Result<Axis<'a>, String> {
        if self.taps > 1 && next.taps > 1 {
            return Err("both have taps along one axis".into());
        }
        if !next.is_inside() {
            if self.taps > 1 {
                return Err(
                    "the later one reads padding, where the earlier one's windows would not be zero".into()
                );
            }
            // Positions beyond either end must be outside of the input too.
            let end = &self.windows.scale(self.stride) - &Extent::Const(self.pad);
            let beyond = (&end - self.input).as_const().is_some_and(|beyond| beyond >= 0);
            if self.pad < 0 || !beyond {
                return Err("the later one reads padding where the earlier one's input has elements".into());
            }
        }
        let times = |x: i64| x.checked_mul(self.stride).ok_or("strides that are too large");
        Ok(Axis {
            taps: self.taps.max(next.taps),
            stride: times(next.stride)?,
            dilation: if self.taps > 1 { self.dilation } else { times(next.dilation)? },
            pad: times(next.pad)?.saturating_add(self.pad),
            windows: next.windows,
            input: self.input,
        })
    }
}
