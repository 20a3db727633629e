//! emit - makes nodes for the import of one ONNX node; binary ones broadcast.

use nnc_ir::{
    constant::{Constant, Payload},
    dtype::{DType, Scalar},
    extent::Extent,
    graph::ValueId,
    ops::{self, Op, ReduceKind},
};

use super::{Problem, cx::OpCx, value::Imported};

macro_rules! unary {
    ($($name:ident $op:ident,)*) => { $(
        /// The operation of that name, element by element.
        pub(crate) fn $name(&mut self, x: ValueId) -> Result<ValueId, Problem> {
            self.emit(ops::$op {}, &[x])
        }
    )* };
}

macro_rules! binary {
    ($($name:ident $op:ident,)*) => { $(
        /// The operation of that name, element by element, after broadcasting both operands.
        pub(crate) fn $name(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, Problem> {
            let (a, b) = self.broadcast_pair(a, b)?;
            self.emit(ops::$op {}, &[a, b])
        }
    )* };
}

impl OpCx<'_> {
    /// Appends a node and gives its results. What the operation refuses is E0212.
    pub(crate) fn emit_all(
        &mut self,
        op: impl Into<Op>,
        operands: &[ValueId],
    ) -> Result<Vec<ValueId>, Problem> {
        let (region, loc) = (self.region, self.loc.clone());
        match self.importer.module.append(region, op, operands, &[], &loc) {
            Ok(results) => Ok(results),
            Err(why) => self.error(212, why),
        }
    }

    /// Appends a node of one result.
    pub(crate) fn emit(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> Result<ValueId, Problem> {
        Ok(self.emit_all(op, operands)?[0])
    }

    unary! {
        abs Abs, neg Neg, sqrt Sqrt, exp Exp, log Log, tanh Tanh, gelu Gelu, sigmoid Sigmoid,
        floor Floor, ceil Ceil, round Round, not Not, relu Relu,
    }

    binary! {
        add Add, sub Sub, mul Mul, div Div, pow Pow, max Max, min Min,
        and And, or Or, xor Xor, eq Equal, lt Less, le LessOrEqual,
    }

    /// `1 / x`.
    pub(crate) fn reciprocal(&mut self, x: ValueId) -> Result<ValueId, Problem> {
        let one = self.number_like(x, 1.0)?;
        self.div(one, x)
    }

    /// Elements of `a` where `condition` holds, of `b` elsewhere; all three broadcast.
    pub(crate) fn select(&mut self, condition: ValueId, a: ValueId, b: ValueId) -> Result<ValueId, Problem> {
        let v = self.broadcast_all(&[condition, a, b])?;
        self.emit(ops::Select {}, &v)
    }

    /// Converted to `to`; the value itself if it is that already.
    pub(crate) fn cast(&mut self, x: ValueId, to: DType) -> Result<ValueId, Problem> {
        if self.dtype(x) == to { Ok(x) } else { self.emit(ops::Cast { to }, &[x]) }
    }

    /// Appends a constant.
    pub(crate) fn constant_value(&mut self, constant: Constant) -> ValueId {
        let (region, loc) = (self.region, self.loc.clone());
        self.importer.module.append_constant(region, constant, &loc)
    }

    /// A scalar (rank 0) of `dtype`: the number `x` rounded to it, or truncated for integers.
    pub(crate) fn number(&mut self, dtype: DType, x: f64) -> ValueId {
        self.constant_value(Constant::scalar(dtype, Scalar::float(dtype, x)))
    }

    /// A scalar of the element type of `like`; broadcasting helpers take it with any shape.
    pub(crate) fn number_like(&mut self, like: ValueId, x: f64) -> Result<ValueId, Problem> {
        Ok(self.number(self.dtype(like), x))
    }

    /// An integer scalar of `dtype`.
    pub(crate) fn int_scalar(&mut self, dtype: DType, x: i64) -> ValueId {
        self.constant_value(Constant::scalar(dtype, Scalar::int(dtype, x)))
    }

    /// A tensor of `shape` with one number everywhere.
    pub(crate) fn full(&mut self, value: Scalar, dtype: DType, shape: &[Extent]) -> Result<ValueId, Problem> {
        let dims: Option<Vec<i64>> = shape.iter().map(Extent::as_const).collect();
        if let Some(constant) = dims.and_then(|d| Constant::new(dtype, &d, Payload::Splat(value))) {
            return Ok(self.constant_value(constant));
        }
        let scalar = self.constant_value(Constant::scalar(dtype, value));
        self.broadcast_to(scalar, shape)
    }

    /// An `f32` tensor of the shape and float type of `like` with `x` everywhere.
    pub(crate) fn constant_f32_like(&mut self, like: ValueId, x: f32) -> Result<ValueId, Problem> {
        let (dtype, shape) = (self.dtype(like), self.shape(like));
        self.full(Scalar::float(dtype, f64::from(x)), dtype, &shape)
    }

    /// A vector of `dtype` from numbers.
    pub(crate) fn float_vector(&mut self, dtype: DType, values: &[f64]) -> ValueId {
        let scalars: Vec<Scalar> = values.iter().map(|&x| Scalar::float(dtype, x)).collect();
        let n = i64::try_from(values.len()).unwrap_or(0);
        self.constant_value(Constant::from_scalars(dtype, &[n], &scalars))
    }

    /// An integer tensor of rank 0 (one element) or 1 whose elements are extents: a constant where all are known.
    pub(crate) fn extents(
        &mut self,
        values: Vec<Extent>,
        dtype: DType,
        rank: usize,
    ) -> Result<Imported, Problem> {
        let count = Extent::Const(i64::try_from(values.len()).unwrap_or(0));
        self.extents_of_shape(values, dtype, &vec![count; rank])
    }

    /// Likewise, of any shape, whose extents are known.
    pub(crate) fn extents_of_shape(
        &mut self,
        values: Vec<Extent>,
        dtype: DType,
        shape: &[Extent],
    ) -> Result<Imported, Problem> {
        let constants: Option<Vec<i64>> = values.iter().map(Extent::as_const).collect();
        let dims: Vec<i64> = shape.iter().filter_map(Extent::as_const).collect();
        let id = if let Some(ints) = constants {
            let scalars: Vec<Scalar> = ints.iter().map(|&x| Scalar::int(dtype, x)).collect();
            self.constant_value(Constant::from_scalars(dtype, &dims, &scalars))
        } else {
            let v = self.emit(ops::Extents { values: values.clone() }, &[])?;
            let v = self.reshape(v, shape.to_vec())?;
            self.cast(v, dtype)?
        };
        Ok(Imported { id, known: Some(values) })
    }

    /// The same elements under another shape; the value itself if it has that shape.
    pub(crate) fn reshape(&mut self, x: ValueId, shape: Vec<Extent>) -> Result<ValueId, Problem> {
        if self.ty(x).shape == shape { Ok(x) } else { self.emit(ops::Reshape { shape }, &[x]) }
    }

    /// Axes permuted: axis `i` of the result is axis `perm[i]` of `x`.
    pub(crate) fn transpose(&mut self, x: ValueId, perm: &[usize]) -> Result<ValueId, Problem> {
        if perm.iter().copied().eq(0..perm.len()) && perm.len() == self.rank(x) {
            return Ok(x);
        }
        self.emit(ops::Transpose { perm: perm.to_vec() }, &[x])
    }

    /// An axis of extent 1 put in before axis `axis`.
    pub(crate) fn unsqueeze(&mut self, x: ValueId, axis: usize) -> Result<ValueId, Problem> {
        let mut shape = self.shape(x);
        shape.insert(axis, Extent::ONE);
        self.reshape(x, shape)
    }

    /// An axis of extent 1 taken out.
    pub(crate) fn squeeze(&mut self, x: ValueId, axis: usize) -> Result<ValueId, Problem> {
        let mut shape = self.shape(x);
        shape.remove(axis);
        self.reshape(x, shape)
    }

    /// Elements joined along axes (in any order).
    pub(crate) fn reduce(
        &mut self,
        kind: ReduceKind,
        x: ValueId,
        axes: &[usize],
        keep: bool,
    ) -> Result<ValueId, Problem> {
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        self.emit(ops::Reduce { kind, axes, keep }, &[x])
    }

    /// Sum along axes, which stay.
    pub(crate) fn sum(&mut self, x: ValueId, axes: &[usize]) -> Result<ValueId, Problem> {
        self.reduce(ReduceKind::Sum, x, axes, true)
    }

    /// Mean along axes of a float tensor; the divisor is the product of their extents.
    pub(crate) fn mean(&mut self, x: ValueId, axes: &[usize], keep: bool) -> Result<ValueId, Problem> {
        let sum = self.reduce(ReduceKind::Sum, x, axes, keep)?;
        let shape = self.shape(x);
        let count = nnc_ir::extent::product(axes.iter().map(|&a| &shape[a]));
        let count = self.extents(vec![count], self.dtype(x), 0)?;
        self.div(sum, count.id)
    }

    /// Tensors joined along an axis.
    pub(crate) fn concat(&mut self, parts: &[ValueId], axis: usize) -> Result<ValueId, Problem> {
        if let [only] = parts { Ok(*only) } else { self.emit(ops::Concat { axis }, parts) }
    }

    /// `len` elements of one axis from `start`, which the caller knows to be in range.
    pub(crate) fn slice_axis(
        &mut self,
        x: ValueId,
        axis: usize,
        start: Extent,
        len: Extent,
    ) -> Result<ValueId, Problem> {
        let mut shape = self.shape(x);
        if start.is(0) && shape[axis] == len {
            return Ok(x);
        }
        let mut starts = vec![Extent::ZERO; shape.len()];
        starts[axis] = start;
        shape[axis] = len;
        let steps = vec![1; shape.len()];
        self.emit(ops::Slice { starts, steps, shape }, &[x])
    }

    /// Slice `i` of one axis, without that axis.
    pub(crate) fn index_axis(&mut self, x: ValueId, axis: usize, i: i64) -> Result<ValueId, Problem> {
        let part = self.slice_axis(x, axis, Extent::Const(i), Extent::ONE)?;
        self.squeeze(part, axis)
    }

    /// Slices picked along an axis by an integer tensor.
    pub(crate) fn gather(&mut self, x: ValueId, indices: ValueId, axis: usize) -> Result<ValueId, Problem> {
        self.emit(ops::Gather { axis }, &[x, indices])
    }

    /// Position along `axis` of a tensor of `shape`.
    pub(crate) fn iota(&mut self, shape: Vec<Extent>, axis: usize, dtype: DType) -> Result<ValueId, Problem> {
        self.emit(ops::Iota { axis, shape, dtype }, &[])
    }

    /// Elements added before and after each axis.
    pub(crate) fn pad(
        &mut self,
        x: ValueId,
        before: Vec<Extent>,
        after: Vec<Extent>,
        mode: ops::PadMode,
    ) -> Result<ValueId, Problem> {
        if before.iter().chain(&after).all(|e| e.is(0)) {
            return Ok(x);
        }
        self.emit(ops::Pad { before, after, mode }, &[x])
    }
}
