//! trim - terms of a sum that only ever multiply padding are not computed.
//!
//! A window of three over two positions, padded by one, with one result: its first tap lies in the padding. What remains
//! reads whole rows, and is a matrix product. What padding is multiplied by must be finite: infinity times 0 is no number.

use nnc_ir::{
    extent::Extent,
    form::{Bounds, Class, Ix, Load, LoopForm},
};

/// The form without such terms, if it has some; `finite` says of a load whether all its elements are known to be.
pub(super) fn trimmed(form: &LoopForm, finite: &dyn Fn(usize) -> bool) -> Option<LoopForm> {
    if form.class() != Class::Contraction {
        return None;
    }
    let (x, y) = form.product_loads()?;
    let mut new = form.clone();
    for (l, other) in [(x, y), (y, x)] {
        let zero = matches!(form.loads[l].bounds, Bounds::Guard(value) if value.as_f64() == Some(0.0));
        if !zero {
            continue;
        }
        for axis in form.space.len()..form.axes() {
            for dim in 0..form.loads[l].index.len() {
                if let Some((from, to)) = useful(&new, &new.loads[l], dim, axis).filter(|_| finite(other)) {
                    keep(&mut new, axis, from, to);
                }
            }
        }
    }
    (new != *form).then_some(new)
}

/// The positions of a reduction axis at which dimension `dim` of a load is in range for some positions of the others, if
/// these are not all.
fn useful(form: &LoopForm, load: &Load, dim: usize, axis: usize) -> Option<(i64, i64)> {
    let at = load.index[dim].affine(form.axes())?;
    let (mut least, mut greatest) = (at.base.as_const()?, at.base.as_const()?);
    let own = at.coefficients[axis].as_const().filter(|c| *c > 0)?;
    for other in (0..form.axes()).filter(|&a| a != axis) {
        let step = at.coefficients[other].as_const()?;
        if step != 0 {
            let far = step.checked_mul(form.axis_extent(other).as_const()?.checked_sub(1)?)?;
            (least, greatest) = (least.checked_add(far.min(0))?, greatest.checked_add(far.max(0))?);
        }
    }
    let (n, extent) = (form.axis_extent(axis).as_const()?, load.extents[dim].as_const()?);
    // In range is one stretch, since the index rises with the position: greatest + own * p >= 0, least + own * p < extent.
    let first_from = |index: i64| Some(index.checked_add(own - 1)?.div_euclid(own).clamp(0, n));
    let (from, to) = (first_from(greatest.checked_neg()?)?, first_from(extent.checked_sub(least)?)?);
    if from >= to {
        return None;
    }
    ((from, to) != (0, n)).then_some((from, to))
}

/// Only positions `from..to` of a reduction axis.
fn keep(form: &mut LoopForm, axis: usize, from: i64, to: i64) {
    let place = |a: usize| if a == axis { Ix::Axis(a).plus(Ix::int(from)) } else { Ix::Axis(a) };
    for load in &mut form.loads {
        load.index = load.index.iter().map(|ix| ix.substitute(&place, &|l| l)).collect();
    }
    let reduced = axis - form.space.len();
    form.reduce[reduced] = Extent::Const(to - from);
}

#[cfg(test)]
mod tests {
    use super::*;
    use nnc_ir::{
        dtype::{DType, Scalar},
        form::Combine,
        program::{Builder, Program},
    };

    /// A window of three of `length` positions, padded by one, `stride` apart.
    fn window(length: i64, results: i64, stride: i64) -> LoopForm {
        let n = |x: i64| Extent::Const(x);
        let mut b = Builder::new();
        let (x, w) = (b.load(0, DType::F32), b.load(1, DType::F32));
        let product = b.mul(x, w);
        let body = b.finish([product]);
        let mut b = Builder::new();
        let acc = b.acc(0, DType::F32);
        let finish: Program = b.finish([acc]);
        let at = Ix::Axis(0).times(stride).plus(Ix::Axis(1)).plus(Ix::int(-1));
        let load = |operand, index: Ix, extent, bounds| Load {
            operand,
            dtype: DType::F32,
            index: vec![index],
            extents: vec![n(extent)],
            bounds,
        };
        LoopForm {
            space: vec![n(results)],
            reduce: vec![n(3)],
            loads: vec![
                load(0, at, length, Bounds::Guard(Scalar::f32(0.0))),
                load(1, Ix::Axis(1), 3, Bounds::Inside),
            ],
            body,
            combine: Some(Combine::Sum),
            finish,
            results: vec![DType::F32],
        }
    }

    #[test]
    fn taps_that_only_meet_padding_are_dropped() {
        let one =
            trimmed(&window(2, 1, 2), &|l| l == 1).unwrap_or_else(|| panic!("its first tap lies outside"));
        assert_eq!(one.reduce, [Extent::Const(2)]);
        assert_eq!(one.loads[1].index, [Ix::Axis(1).plus(Ix::int(1))]);
        let only = trimmed(&window(1, 1, 1), &|l| l == 1)
            .unwrap_or_else(|| panic!("its first and last taps lie outside"));
        assert_eq!(only.reduce, [Extent::ONE]);
    }

    #[test]
    fn taps_that_may_be_infinite_stay() {
        assert!(trimmed(&window(2, 1, 2), &|_| false).is_none());
    }

    #[test]
    fn taps_that_meet_something_somewhere_stay() {
        assert!(trimmed(&window(8, 8, 1), &|_| true).is_none());
        assert!(trimmed(&window(2, 2, 1), &|_| true).is_none());
    }

    #[test]
    fn a_window_that_no_memory_holds_takes_no_time() {
        let mut form = window(2, 1, 1);
        form.reduce = vec![Extent::Const(1 << 50)];
        let two = trimmed(&form, &|_| true).unwrap_or_else(|| panic!("two of its taps lie inside"));
        assert_eq!(two.reduce, [Extent::Const(2)]);
    }
}
