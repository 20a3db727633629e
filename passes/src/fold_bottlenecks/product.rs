//! product - weight and bias of the contraction that two are, computed by the operations they would be.

use nnc_ir::{
    constant::Constant,
    extent::Extent,
    ops::{Add, Broadcast, Contract, Dilate, MatMul, Op, Reshape, Transpose},
};

use super::link::{Bias, Link};
use crate::pass::ConstEval;

/// The constants of a link.
#[derive(Clone)]
pub(super) struct Numbers {
    /// What it contracts by.
    pub(super) weight: Constant,
    /// What it adds: a vector of channels, or `[1, channels, spatial..]`.
    pub(super) bias: Option<Constant>,
}

/// The link that `a` and then `b` are, with its numbers; else why there are none.
pub(super) fn join(
    a: (&Link, &Numbers),
    b: (&Link, &Numbers),
    consts: &dyn ConstEval,
) -> Result<(Link, Numbers), String> {
    let link = a.0.then(b.0)?;
    let of = Of { consts };
    let numbers = match (&a.0.op, &b.0.op) {
        (Op::Conv(_), Op::Conv(_)) => of.convs(a, b, &link),
        _ => of.matmuls(a.1, b.1),
    };
    let numbers = numbers.ok_or("the evaluator declined the product of the weights")?;
    let finite = |c: &Constant| c.scalars().into_iter().all(|s| s.as_f64().is_some_and(f64::is_finite));
    let all = [Some(&numbers.weight), numbers.bias.as_ref()];
    if !all.into_iter().flatten().all(finite) {
        return Err("the product of the weights is not finite".into());
    }
    Ok((link, numbers))
}

/// The bias with the axes of the result, aligned at the last one.
pub(super) fn aligned(link: &Link, bias: &Constant) -> Constant {
    if link.bias == Bias::Map || link.groups().is_none() {
        return bias.clone();
    }
    let mut dims = vec![bias.dims()[0]];
    dims.resize(link.output.rank() - 1, 1);
    Constant::new(bias.dtype(), &dims, bias.payload().clone()).expect("as many elements")
}

/// Computes constants from constants.
struct Of<'a> {
    consts: &'a dyn ConstEval,
}

impl Of<'_> {
    fn one(&self, op: impl Into<Op>, operands: &[&Constant]) -> Option<Constant> {
        let operands: Vec<Constant> = operands.iter().map(|&c| c.clone()).collect();
        self.consts.fold(&op.into(), &operands)?.pop()
    }

    fn reshape(&self, c: &Constant, dims: &[i64]) -> Option<Constant> {
        self.one(Reshape { shape: extents(dims) }, &[c])
    }

    /// The sum of both, if there are two.
    fn sum(&self, a: Option<Constant>, b: Option<&Constant>) -> Option<Option<Constant>> {
        match (a, b) {
            (Some(a), Some(b)) => {
                let b = self.one(Broadcast { shape: extents(a.dims()) }, &[b])?;
                self.one(Add {}, &[&a, &b]).map(Some)
            }
            (a, b) => Some(a.or_else(|| b.cloned())),
        }
    }

    fn matmuls(&self, a: &Numbers, b: &Numbers) -> Option<Numbers> {
        let weight = self.one(MatMul {}, &[&a.weight, &b.weight])?;
        let through = match &a.bias {
            None => None,
            Some(bias) => {
                let mut row = vec![1; b.weight.dims().len()];
                *row.last_mut()? = bias.dims()[0];
                let row = self.one(MatMul {}, &[&self.reshape(bias, &row)?, &b.weight])?;
                let channels = *row.dims().last()?;
                Some(self.reshape(&row, &[channels])?)
            }
        };
        Some(Numbers { weight, bias: self.sum(through, b.bias.as_ref())? })
    }

    fn convs(&self, a: (&Link, &Numbers), b: (&Link, &Numbers), joined: &Link) -> Option<Numbers> {
        let groups = joined.groups()?;
        let first = self.blocks(&a.1.weight, a.0.groups()?, groups)?;
        let second = self.blocks(&b.1.weight, b.0.groups()?, groups)?;
        // Labels: group, filter, channel, taps.., and last the channel in between. Of one axis only one has taps.
        let taps: Vec<usize> = (3..first.dims().len()).collect();
        let between = first.dims().len();
        let op = Contract {
            lhs: [&[0, 1, between], &taps[..]].concat(),
            rhs: [&[0, between, 2], &taps[..]].concat(),
            result: [&[0, 1, 2], &taps[..]].concat(),
        };
        let product = self.one(op, &[&second, &first])?;
        let weight = self.reshape(&product, &joined.weight.dims()?)?;
        let through = match &a.1.bias {
            None => None,
            Some(bias) => Some(self.through_conv(bias, a.0, b, joined)?),
        };
        let own = match (&b.1.bias, joined.bias) {
            (Some(bias), Bias::Map) => Some(self.map(bias, b.0)?),
            (bias, _) => bias.clone(),
        };
        Some(Numbers { weight, bias: self.sum(through, own.as_ref())? })
    }

    /// What the convolution `b` makes of a bias of `a`.
    fn through_conv(
        &self,
        bias: &Constant,
        a: &Link,
        b: (&Link, &Numbers),
        joined: &Link,
    ) -> Option<Constant> {
        if joined.bias == Bias::Map {
            return self.one(b.0.op.clone(), &[&self.map(bias, a)?, &b.1.weight]);
        }
        let (groups, weight) = (b.0.groups()?, &b.1.weight);
        let weight = self.blocks(weight, groups, groups)?;
        let bias = self.reshape(bias, &[groups, weight.dims()[2]])?;
        let op = Contract { lhs: (0..weight.dims().len()).collect(), rhs: vec![0, 2], result: vec![0, 1] };
        let sums = self.one(op, &[&weight, &bias])?;
        self.reshape(&sums, &[sums.dims().iter().product()])
    }

    /// A bias of `link` spread over the positions of its result, of a batch of one.
    fn map(&self, bias: &Constant, link: &Link) -> Option<Constant> {
        if bias.dims().len() > 1 {
            return Some(bias.clone());
        }
        let rank = link.output.rank();
        let mut dims = vec![1; rank];
        dims[1] = bias.dims()[0];
        let mut shape = link.output.shape.clone();
        shape[0] = Extent::ONE;
        self.one(Broadcast { shape }, &[&self.reshape(bias, &dims)?])
    }

    /// A weight of `groups` groups as one of `coarser` ones, with an axis for these:
    /// `[coarser, filters, channels, taps..]`, zero where a filter and a channel are of different groups.
    fn blocks(&self, weight: &Constant, groups: i64, coarser: i64) -> Option<Constant> {
        let dims = weight.dims();
        let (filters, channels, taps) = (dims[0] / groups, dims[1], &dims[2..]);
        let inner = groups / coarser;
        let apart = [&[coarser, inner, filters, channels], taps].concat();
        let mut weight = self.reshape(weight, &apart)?;
        if inner > 1 {
            // Elements `inner + 1` apart are the diagonal of a square.
            let mut strides = vec![1; apart.len()];
            strides[1] = inner + 1;
            let mut spread = apart.clone();
            spread[1] = inner * inner;
            weight = self.one(Dilate { strides, shape: extents(&spread) }, &[&weight])?;
            let square = [&[coarser, inner, inner, filters, channels], taps].concat();
            weight = self.reshape(&weight, &square)?;
            let perm = [0, 1, 3, 2].into_iter().chain(4..square.len()).collect();
            weight = self.one(Transpose { perm }, &[&weight])?;
        }
        self.reshape(&weight, &[&[coarser, inner * filters, inner * channels], taps].concat())
    }
}

fn extents(dims: &[i64]) -> Vec<Extent> {
    dims.iter().map(|&d| Extent::Const(d)).collect()
}
