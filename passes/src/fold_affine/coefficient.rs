//! coefficient - constants that scale or shift a tensor: found, moved through movements, and computed with.
//!
//! A coefficient is aligned with the last axis of the tensor, as broadcasts are; each of its extents is 1 or the tensor's.
//! It is kept as small as its elements allow: an axis along which it repeats has extent 1, and no leading extent is 1.

use std::borrow::Cow;

use nnc_ir::{
    Module,
    constant::{Constant, Payload},
    dtype::{DType, Scalar},
    extent::Extent,
    graph::ValueId,
    ops::{Broadcast, Div, Op, Reshape, Slice, Transpose},
};

use crate::{axes::groups, pass::ConstEval};

/// Constants are looked at element by element up to so many bytes, to see along which axes they repeat.
const LOOKED_AT_BYTES: usize = 1 << 20;
/// Coefficients grow by joining up to so many elements freely.
const SMALL_ELEMENTS: i64 = 1 << 10;

/// Why a constant is not made.
pub(super) type Refused = String;

/// Computes with constants.
#[derive(Clone, Copy)]
pub(super) struct Consts<'a>(pub(super) &'a dyn ConstEval);

impl Consts<'_> {
    pub(super) fn one(self, op: impl Into<Op>, operands: &[Constant]) -> Result<Constant, Refused> {
        let folded = self.0.fold(&op.into(), operands).and_then(|mut results| results.pop());
        folded.ok_or_else(|| "the evaluator declined to compute the constant".into())
    }

    pub(super) fn reshape(self, c: &Constant, dims: &[i64]) -> Result<Constant, Refused> {
        if c.dims() == dims {
            return Ok(c.clone());
        }
        self.one(Reshape { shape: extents(dims) }, std::slice::from_ref(c))
    }

    pub(super) fn broadcast(self, c: &Constant, dims: &[i64]) -> Result<Constant, Refused> {
        if c.dims() == dims {
            return Ok(c.clone());
        }
        self.one(Broadcast { shape: extents(dims) }, std::slice::from_ref(c))
    }

    pub(super) fn transpose(self, c: &Constant, perm: &[usize]) -> Result<Constant, Refused> {
        if perm.is_sorted() {
            return Ok(c.clone());
        }
        self.one(Transpose { perm: perm.to_vec() }, std::slice::from_ref(c))
    }

    /// With leading extents of 1, so that it has `rank` axes.
    pub(super) fn padded(self, c: &Constant, rank: usize) -> Result<Constant, Refused> {
        let lead = rank.saturating_sub(c.dims().len());
        self.reshape(c, &[&vec![1; lead], c.dims()].concat())
    }

    /// The coefficient that `value` is: a constant, seen through broadcasts and reshapes of one element.
    pub(super) fn of(self, module: &Module, value: ValueId) -> Option<Constant> {
        let node = module.node(module.def_node(value)?);
        let dtype = module.ty(value).dtype;
        if !matches!(dtype, DType::F32 | DType::F64) {
            return None;
        }
        match &node.op {
            Op::ConstantOp(c) => self.least(&c.value).ok(),
            Op::Broadcast(_) => self.of(module, node.operands[0]),
            Op::Reshape(_) => self.of(module, node.operands[0]).filter(|c| c.elements() == 1),
            _ => None,
        }
    }

    /// The smallest coefficient with the same elements.
    pub(super) fn least(self, c: &Constant) -> Result<Constant, Refused> {
        if c.elements() == 0 {
            return Err("a constant without elements".into());
        }
        if let Payload::Splat(s) = c.payload() {
            return Ok(Constant::scalar(c.dtype(), *s));
        }
        let mut c = c.clone();
        if c.elements() * c.dtype().bytes() <= LOOKED_AT_BYTES {
            for axis in 0..c.dims().len() {
                if c.dims()[axis] > 1 && repeats(&c, axis) {
                    let mut dims = c.dims().to_vec();
                    dims[axis] = 1;
                    let (starts, steps) = (vec![Extent::ZERO; dims.len()], vec![1; dims.len()]);
                    c = self.one(Slice { starts, steps, shape: extents(&dims) }, &[c])?;
                }
            }
        }
        let lead = c.dims().iter().take_while(|&&d| d == 1).count();
        let dims = c.dims()[lead..].to_vec();
        self.reshape(&c, &dims)
    }

    /// The coefficient of `x`, given that of `transpose(x, perm)`.
    pub(super) fn before_transpose(self, c: &Constant, perm: &[usize]) -> Result<Constant, Refused> {
        let mut inverse = vec![0; perm.len()];
        for (i, &p) in perm.iter().enumerate() {
            inverse[p] = i;
        }
        self.after_transpose(c, &inverse)
    }

    /// The coefficient of `transpose(x, perm)`, given that of `x`.
    pub(super) fn after_transpose(self, c: &Constant, perm: &[usize]) -> Result<Constant, Refused> {
        let c = self.padded(c, perm.len())?;
        self.least(&self.transpose(&c, perm)?)
    }

    /// The coefficient of a tensor of shape `to`, given that of the same elements in shape `from`.
    pub(super) fn reshaped(self, c: &Constant, from: &[Extent], to: &[Extent]) -> Result<Constant, Refused> {
        if c.elements() == 1 {
            return Ok(c.clone());
        }
        let groups = groups(from, to).ok_or("a reshape mixes axes in between")?;
        let c = self.padded(c, from.len())?;
        let (mut spelt, mut dims) = (Vec::new(), Vec::new());
        for (a, b) in groups {
            if c.dims()[a.clone()].iter().all(|&d| d == 1) {
                spelt.extend(a.map(|_| 1));
                dims.extend(b.map(|_| 1));
                continue;
            }
            let known = |e: &Extent| e.as_const().ok_or("a reshape of unknown extents lies in between");
            for e in &from[a] {
                spelt.push(known(e)?);
            }
            for e in &to[b] {
                dims.push(known(e)?);
            }
        }
        let spelt = self.broadcast(&c, &spelt)?;
        self.least(&self.reshape(&spelt, &dims)?)
    }

    /// `op` of two coefficients.
    pub(super) fn join(self, op: impl Into<Op>, a: &Constant, b: &Constant) -> Result<Constant, Refused> {
        let rank = a.dims().len().max(b.dims().len());
        let (a, b) = (self.padded(a, rank)?, self.padded(b, rank)?);
        let dims: Vec<i64> = a.dims().iter().zip(b.dims()).map(|(&a, &b)| a.max(b)).collect();
        let (have, want) = (a.elements() + b.elements(), dims.iter().product::<i64>());
        if want > SMALL_ELEMENTS && usize::try_from(want).is_ok_and(|want| want > have) {
            return Err(format!("the joint constant would have {want} elements, both have {have}"));
        }
        self.sound(op, &self.broadcast(&a, &dims)?, &self.broadcast(&b, &dims)?)
    }

    /// `op` of constants of one type, if no element becomes infinite, NaN or denormal or vanishes by that.
    pub(super) fn sound(self, op: impl Into<Op>, a: &Constant, b: &Constant) -> Result<Constant, Refused> {
        let out = self.one(op, &[a.clone(), b.clone()])?;
        let least = least_normal(out.dtype());
        let tiny = |x: f64| x != 0.0 && x.abs() < least;
        let (xs, ys, zs) = (Floats::of(a), Floats::of(b), Floats::of(&out));
        for (x, y, z) in (0..out.elements()).map(|i| (xs.at(i), ys.at(i), zs.at(i))) {
            if !z.is_finite() {
                return Err(format!("a constant would become {z}"));
            }
            if z.abs() < least && x != 0.0 && y != 0.0 && x != -y && !tiny(x) && !tiny(y) {
                return Err(format!("a constant would become {z:e}, from {x:e} and {y:e}"));
            }
        }
        Ok(out)
    }

    /// `1 / c`, and whether it is exact everywhere.
    pub(super) fn reciprocal(self, c: &Constant) -> Result<(Constant, bool), Refused> {
        let one = self.broadcast(&number(c.dtype(), 1.0), c.dims())?;
        let inverse = self.sound(Div {}, &one, c)?;
        let exact = c.scalars().into_iter().all(is_power_of_two);
        Ok((inverse, exact))
    }
}

fn least_normal(dtype: DType) -> f64 {
    if dtype == DType::F64 { f64::MIN_POSITIVE } else { f64::from(f32::MIN_POSITIVE) }
}

/// Elements as numbers, without a copy of them where they are `f32` or all the same; those that are no floats as NaN.
enum Floats<'a> {
    Same(f64),
    Singles(Cow<'a, [u8]>),
    Others(Vec<f64>),
}

impl<'a> Floats<'a> {
    fn of(c: &'a Constant) -> Self {
        match (c.as_splat(), c.dtype()) {
            (Some(all), _) => Floats::Same(all.as_f64().unwrap_or(f64::NAN)),
            (None, DType::F32) => Floats::Singles(c.bytes()),
            _ => Floats::Others(c.scalars().into_iter().map(|s| s.as_f64().unwrap_or(f64::NAN)).collect()),
        }
    }

    fn at(&self, i: usize) -> f64 {
        match self {
            Floats::Same(x) => *x,
            Floats::Singles(bytes) => {
                let element = bytes[4 * i..].first_chunk().copied().unwrap_or_default();
                f64::from(f32::from_le_bytes(element))
            }
            Floats::Others(xs) => xs[i],
        }
    }
}

fn all_floats(c: &Constant, holds: impl Fn(f64) -> bool) -> bool {
    let floats = Floats::of(c);
    (0..c.elements()).all(|i| holds(floats.at(i)))
}

/// Whether every element is zero or a normal number.
pub(super) fn is_normal(c: &Constant) -> bool {
    let normal = |x: f64| x == 0.0 || (x.is_finite() && x.abs() >= least_normal(c.dtype()));
    all_floats(c, normal)
}

/// A float as a constant of rank 0.
pub(super) fn number(dtype: DType, x: f64) -> Constant {
    Constant::scalar(dtype, Scalar::float(dtype, x))
}

/// Whether every element is greater than zero.
pub(super) fn is_positive(c: &Constant) -> bool {
    all_floats(c, |x| x > 0.0)
}

/// Whether a float is 2^k or -2^k: its mantissa is zero.
fn is_power_of_two(x: Scalar) -> bool {
    x.as_f64().is_some_and(|x| x.is_normal() && x.to_bits().trailing_zeros() >= 52)
}

pub(super) fn extents(dims: &[i64]) -> Vec<Extent> {
    dims.iter().map(|&d| Extent::Const(d)).collect()
}

/// Whether all elements along `axis` are the same bits.
fn repeats(c: &Constant, axis: usize) -> bool {
    let count = |dims: &[i64]| dims.iter().map(|&d| usize::try_from(d).unwrap_or(0)).product::<usize>();
    let row = count(&c.dims()[axis + 1..]) * c.dtype().bytes();
    let block = row * count(&c.dims()[axis..=axis]);
    let bytes = c.bytes();
    row > 0 && bytes.chunks_exact(block).all(|b| b.chunks_exact(row).all(|r| r == &b[..row]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_have_exact_reciprocals() {
        assert!([1.0, -2.0, 0.5, 1024.0].into_iter().all(|x| is_power_of_two(Scalar::f32(x))));
        assert!(![0.0, 3.0, f32::INFINITY, 49.0].into_iter().any(|x| is_power_of_two(Scalar::f32(x))));
    }
}
