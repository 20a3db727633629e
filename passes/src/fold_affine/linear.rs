//! linear - products with a constant weight, seen alike: conv, matmul and contract, and which axes of the weight run with
//! which axes of the data and of the result.

use nnc_ir::{
    Module,
    constant::Constant,
    extent::Extent,
    form::{Bounds, Form},
    graph::{NodeId, ValueId},
    ops::{Conv, Mul, Op},
};

use super::{
    coefficient::{self, Consts, Refused},
    scaled::scaled,
};

/// A product of data and a constant weight.
pub(super) struct Linear {
    /// The node.
    pub(super) node: NodeId,
    /// Which operand the data is.
    pub(super) data_at: usize,
    /// Which operand the weight is.
    pub(super) weight_at: usize,
    /// The weight.
    pub(super) weight: Constant,
    /// For each axis of the data, the axis of the weight that runs with it.
    data_axes: Vec<Option<usize>>,
    /// For each axis of the result, the axis of the weight that runs with it.
    result_axes: Vec<Option<usize>>,
    /// Groups of a convolution: the data's channels are groups times the weight's.
    groups: i64,
}

impl Linear {
    /// The node as a product with a constant weight.
    pub(super) fn of(module: &Module, node: NodeId) -> Option<Self> {
        let this = module.node(node);
        let constant = |at: usize| module.as_constant(*this.operands.get(at)?);
        let labels = match &this.op {
            Op::Conv(_) => None,
            Op::MatMul(_) => {
                let rank = module.ty(this.results[0]).rank();
                let batch: Vec<usize> = (0..rank - 2).collect();
                let with = |a, b| [&batch[..], &[a, b]].concat();
                let (m, n, k) = (rank - 2, rank - 1, rank);
                Some([with(m, k), with(k, n), with(m, n)])
            }
            Op::Contract(c) => Some([c.lhs.clone(), c.rhs.clone(), c.result.clone()]),
            _ => return None,
        };
        let weight_at = if labels.is_some() && constant(1).is_none() { 0 } else { 1 };
        let (weight, data_at) = (constant(weight_at)?.clone(), 1 - weight_at);
        let data = module.ty(this.operands[data_at]);
        let rank = module.ty(this.results[0]).rank();
        if let (Op::Conv(conv), None) = (&this.op, &labels) {
            let at = |axis: usize, weight: usize| {
                (0..rank).map(|i| (i == axis).then_some(weight)).collect::<Vec<_>>()
            };
            let (data_axes, result_axes) = (at(1, 1), at(1, 0));
            return Some(Self {
                node,
                data_at,
                weight_at,
                weight,
                data_axes,
                result_axes,
                groups: conv.groups,
            });
        }
        let labels = labels?;
        let (ours, theirs) = (&labels[weight_at], &labels[data_at]);
        let distinct = |labels: &[usize]| (1..labels.len()).all(|i| !labels[..i].contains(&labels[i]));
        if !distinct(ours) || !distinct(theirs) {
            return None;
        }
        // Along an axis of extent 1 the weight repeats: nothing can be folded there.
        let runs = |label: &usize| ours.iter().position(|l| l == label).filter(|&i| weight.dims()[i] != 1);
        let data_axes = theirs.iter().map(runs).collect::<Vec<_>>();
        let result_axes = labels[2].iter().map(runs).collect();
        debug_assert_eq!(data_axes.len(), data.rank());
        Some(Self { node, data_at, weight_at, weight, data_axes, result_axes, groups: 1 })
    }

    /// The data.
    pub(super) fn data(&self, module: &Module) -> ValueId {
        module.node(self.node).operands[self.data_at]
    }

    /// The weight with which the result is scaled by `s`.
    pub(super) fn scaled_after(&self, consts: Consts<'_>, s: &Constant) -> Result<Constant, Refused> {
        let s = consts.padded(s, self.result_axes.len())?;
        let s = self.aligned(consts, &s, &self.result_axes, "the result")?;
        self.times(consts, &s)
    }

    /// The weight with which the data need not be scaled by `s`.
    pub(super) fn scaled_before(&self, consts: Consts<'_>, s: &Constant) -> Result<Constant, Refused> {
        let s = consts.padded(s, self.data_axes.len())?;
        let s = if self.groups == 1 {
            self.aligned(consts, &s, &self.data_axes, "the data")?
        } else {
            self.grouped(consts, &s)?
        };
        self.times(consts, &s)
    }

    fn times(&self, consts: Consts<'_>, s: &Constant) -> Result<Constant, Refused> {
        match scaled(&self.weight, s) {
            Some(weight) => Ok(weight),
            None => consts.sound(Mul {}, &self.weight, &consts.broadcast(s, self.weight.dims())?),
        }
    }

    /// A coefficient in the weight's axes, each of its own extent or 1.
    fn aligned(
        &self,
        consts: Consts<'_>,
        s: &Constant,
        axes: &[Option<usize>],
        of: &str,
    ) -> Result<Constant, Refused> {
        let mut varying = Vec::new();
        for (axis, &extent) in s.dims().iter().enumerate().filter(|(_, extent)| **extent != 1) {
            match axes[axis].filter(|&w| self.weight.dims()[w] == extent) {
                Some(w) => varying.push((axis, w)),
                None => {
                    return Err(format!(
                        "it varies along axis {axis} of {of}, which is none of the weight's"
                    ));
                }
            }
        }
        let dims: Vec<i64> = varying.iter().map(|&(axis, _)| s.dims()[axis]).collect();
        let mut order: Vec<usize> = (0..varying.len()).collect();
        order.sort_by_key(|&i| varying[i].1);
        let s = consts.transpose(&consts.reshape(s, &dims)?, &order)?;
        let mut dims = vec![1; self.weight.dims().len()];
        for (_, w) in varying {
            dims[w] = self.weight.dims()[w];
        }
        consts.reshape(&s, &dims)
    }

    /// A coefficient of the data's channels, for each filter of its group.
    fn grouped(&self, consts: Consts<'_>, s: &Constant) -> Result<Constant, Refused> {
        let dims = self.weight.dims();
        if s.elements() == 1 {
            return consts.reshape(s, &[]);
        }
        if s.dims()[1..].iter().skip(1).chain(&s.dims()[..1]).any(|&d| d != 1)
            || s.dims()[1] != self.groups * dims[1]
        {
            return Err("it varies along other axes than the channels".into());
        }
        let s = consts.reshape(s, &[self.groups, 1, dims[1]])?;
        let s = consts.broadcast(&s, &[self.groups, dims[0] / self.groups, dims[1]])?;
        consts.reshape(&s, &[&dims[..2], &vec![1; dims.len() - 2]].concat())
    }

    /// What data that is `t` everywhere adds to the result: a coefficient of it.
    pub(super) fn of_shift(
        &self,
        module: &Module,
        consts: Consts<'_>,
        t: &Constant,
    ) -> Result<Constant, Refused> {
        let this = module.node(self.node);
        let dims = self.weight.dims();
        let t = consts.padded(t, self.data_axes.len())?;
        let mut full = Vec::new();
        let data = &module.ty(this.operands[self.data_at]).shape;
        for (axis, &extent) in t.dims().iter().enumerate() {
            let along = self.data_axes[axis];
            if extent != 1 && along.is_none() {
                return Err(format!(
                    "it varies along axis {axis} of the data, which is none of the weight's"
                ));
            }
            if let (None, Op::Contract(c)) = (along, &this.op) {
                let label = if self.data_at == 0 { c.lhs[axis] } else { c.rhs[axis] };
                if !c.result.contains(&label) && !data[axis].is(1) {
                    return Err(format!("axis {axis} of the data is summed without the weight"));
                }
            }
            full.push(along.map_or(1, |w| dims[w]));
        }
        let op = match &this.op {
            Op::Conv(conv) => {
                self.needs_no_padding(module)?;
                full[1] = conv.groups * dims[1];
                full[2..].clone_from_slice(&reach(conv, dims)?);
                let axes = dims.len() - 2;
                let (strides, spatial) = (vec![1; axes], vec![Extent::ONE; axes]);
                Op::Conv(Conv { strides, spatial, pads_before: vec![0; axes], ..conv.clone() })
            }
            op => op.clone(),
        };
        let t = consts.broadcast(&t, &full)?;
        let operands = if self.data_at == 0 { [t, self.weight.clone()] } else { [self.weight.clone(), t] };
        let sum = consts.one(op, &operands)?;
        if !coefficient::is_normal(&sum) {
            return Err("its share of the result is not a normal number".into());
        }
        consts.least(&sum)
    }

    /// At a padded border some taps read zeros, which the shift did not reach.
    fn needs_no_padding(&self, module: &Module) -> Result<(), Refused> {
        match module.form(self.node) {
            Form::Loops(form) if form.loads[self.data_at].bounds == Bounds::Inside => Ok(()),
            _ => Err("the convolution pads with zeros, to which nothing was added: results at the border would differ"
                .into()),
        }
    }
}

/// Extents of the data that one window covers.
fn reach(conv: &Conv, dims: &[i64]) -> Result<Vec<i64>, Refused> {
    let along = |(&taps, &dilation): (&i64, &i64)| (taps - 1).checked_mul(dilation)?.checked_add(1);
    let reach: Option<Vec<i64>> = dims[2..].iter().zip(&conv.dilations).map(along).collect();
    let small = |r: &[i64]| r.iter().try_fold(1i64, |n, &r| n.checked_mul(r)).is_some_and(|n| n < 1 << 16);
    reach.filter(|r| small(r)).ok_or_else(|| "a window covers too many positions".into())
}
