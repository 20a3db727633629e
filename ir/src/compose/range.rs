//! range - a read of a producer that may be out of range, and what the producer's own loads say of it.

use super::only_moves;
use crate::{
    dtype::Scalar,
    eval::program::eval_program,
    extent::Extent,
    form::{Bounds, Ix, Load, LoopForm},
    program::{Binary, Builder, Inst, Ref},
};

/// Whether the loads of a producer can check what a checked read of it does: each axis that may be out of range is one of
/// theirs, as it is.
pub(super) fn can_check(consumer: &LoopForm, read: &Load, producer: &LoopForm) -> bool {
    let whole = |ix: &Ix, extent: &Extent| matches!(ix, Ix::Axis(a) if consumer.axis_extent(*a) == extent);
    let checked = |axis: usize, extent: &Extent| {
        let same = |(ix, e): (&Ix, &Extent)| *ix == Ix::Axis(axis) && e == extent;
        producer.loads.iter().any(|l| l.index.iter().zip(&l.extents).any(same))
    };
    producer.loads.iter().all(|l| l.bounds == Bounds::Inside)
        && (read.index.iter().zip(&read.extents).enumerate())
            .all(|(axis, (ix, extent))| whole(ix, extent) || checked(axis, extent))
}

/// The load of a producer that only moves elements, if it is out of range exactly where a guarded read of the producer
/// is: then the guard of the read can be the load's own.
pub(super) fn guard_moves(consumer: &LoopForm, read: &Load, producer: &LoopForm) -> Option<usize> {
    let [(Inst::Load(l), _)] = producer.body.insts() else { return None };
    let load = &producer.loads[*l];
    let guarded = matches!(read.bounds, Bounds::Guard(_));
    (guarded && leaves_range_with(consumer, read, load) && only_moves(producer) && load.dtype == read.dtype)
        .then_some(*l)
}

/// Whether a load of a producer is out of range exactly where the read of the producer is.
fn leaves_range_with(consumer: &LoopForm, read: &Load, load: &Load) -> bool {
    let told = |axis: usize, extent: &Extent| {
        let known = |ix: &Ix| matches!(ix, Ix::Extent(Extent::Const(at)) if (0..extent.as_const().unwrap_or(0)).contains(at));
        let same = |(ix, e): (&Ix, &Extent)| *ix == Ix::Axis(axis) && e == extent;
        // A whole axis is read as it is: channels of a padded image.
        let whole = |ix: &Ix| matches!(ix, Ix::Axis(a) if consumer.axis_extent(*a) == extent);
        known(&read.index[axis]) || whole(&read.index[axis]) || load.index.iter().zip(&load.extents).any(same)
    };
    load.bounds == Bounds::Inside && read.extents.iter().enumerate().all(|(axis, extent)| told(axis, extent))
}

/// Whether a producer gives a guarded read's value by itself where the read is out of range: its loads are out of range
/// there, too, and give zeros, of which it makes that value (the square of padding is padding).
pub(super) fn guards_itself(consumer: &LoopForm, read: &Load, producer: &LoopForm) -> bool {
    let Bounds::Guard(outside) = read.bounds else { return false };
    let body = &producer.body;
    let loads =
        body.insts().iter().filter_map(|(inst, _)| if let Inst::Load(l) = inst { Some(*l) } else { None });
    let follows = |l: usize| leaves_range_with(consumer, read, &producer.loads[l]);
    if loads.clone().next().is_none()
        || !loads.clone().all(follows)
        || body.insts().iter().any(|(inst, _)| matches!(inst, Inst::Index(_)))
    {
        return false;
    }
    let zero = |l: usize| Scalar::zero(producer.loads[l].dtype);
    let made = eval_program(body, &zero, &[], &|_| 0);
    made.first().is_some_and(|made| made.bits == outside.bits && made.dtype == outside.dtype)
}

/// `value` where the read is in range, else its guard value.
pub(super) fn select_in_range(b: &mut Builder, read: &Load, value: Ref) -> Ref {
    let Bounds::Guard(outside) = read.bounds else { return value };
    let mut inside: Option<Ref> = None;
    for (ix, extent) in read.index.iter().zip(&read.extents) {
        if let Ix::Extent(e) = ix
            && let (Some(at), Some(end)) = (e.as_const(), extent.as_const())
            && (0..end).contains(&at)
        {
            continue;
        }
        let (at, end, zero) = (b.index(ix.clone()), b.index(Ix::Extent(extent.clone())), b.index(Ix::int(0)));
        let (low, high) = (b.le(zero, at), b.lt(at, end));
        let both = b.binary(Binary::And, low, high);
        inside = Some(inside.map_or(both, |i| b.binary(Binary::And, i, both)));
    }
    let outside = b.constant(outside);
    inside.map_or(value, |inside| b.select(inside, value, outside))
}

#[cfg(test)]
mod tests {
    use super::{super::inline, *};
    use crate::{dtype::DType, form::Class, program::Program};

    #[test]
    fn the_square_of_padding_needs_no_guard_but_a_sum_with_one_does() {
        let producer = |square: bool| {
            let mut b = Builder::new();
            let x = b.load(0, DType::F32);
            let y = if square {
                b.mul(x, x)
            } else {
                let one = b.f32(1.0);
                b.add(x, one)
            };
            let extents = vec![Extent::Const(5)];
            let load = Load {
                operand: 0,
                dtype: DType::F32,
                index: vec![Ix::Axis(0)],
                extents: extents.clone(),
                bounds: Bounds::Inside,
            };
            LoopForm {
                space: extents,
                reduce: vec![],
                loads: vec![load],
                body: b.finish([y]),
                combine: None,
                finish: Program::default(),
                results: vec![DType::F32],
            }
        };
        let mut pad = producer(true);
        let mut b = Builder::new();
        let x = b.load(0, DType::F32);
        pad.body = b.finish([x]);
        pad.space = vec![Extent::Const(9)];
        pad.loads[0].index = vec![Ix::Axis(0).plus(Ix::int(-2))];
        pad.loads[0].bounds = Bounds::Guard(Scalar::f32(0.0));
        let selects = |form: &LoopForm| form.body.insts().iter().any(|(i, _)| matches!(i, Inst::Select(..)));
        assert!(!selects(&inline(&pad, 0, &producer(true)).unwrap()));
        assert!(selects(&inline(&pad, 0, &producer(false)).unwrap()));
    }

    #[test]
    fn padding_of_what_was_only_moved_stays_a_guard_of_its_load() {
        let extents = |dims: &[i64]| dims.iter().map(|&d| Extent::Const(d)).collect::<Vec<_>>();
        let nest = |space: &[i64], index: Vec<Ix>, of: &[i64], bounds: Bounds| {
            let mut b = Builder::new();
            let x = b.load(0, DType::F32);
            LoopForm {
                space: extents(space),
                reduce: vec![],
                loads: vec![Load { operand: 0, dtype: DType::F32, index, extents: extents(of), bounds }],
                body: b.finish([x]),
                combine: None,
                finish: Program::default(),
                results: vec![DType::F32],
            }
        };
        let guard = Bounds::Guard(Scalar::f32(2.0));
        let before = |axis: usize| Ix::Axis(axis).plus(Ix::int(-1));
        let pad = nest(&[7, 5], vec![before(0), before(1)], &[5, 3], guard);
        let turned = nest(&[5, 3], vec![Ix::Axis(1), Ix::Axis(0)], &[3, 5], Bounds::Inside);
        let joined = inline(&pad, 0, &turned).unwrap();
        assert_eq!(joined.loads, nest(&[], vec![before(1), before(0)], &[3, 5], guard).loads);
        assert_eq!(joined.class(), Class::Movement);
        // A slice is in range of its operand where padding is not in range of the slice.
        let slice = nest(&[5, 3], vec![Ix::Axis(0).plus(Ix::int(4)), Ix::Axis(1)], &[20, 3], Bounds::Inside);
        assert_eq!(inline(&pad, 0, &slice).unwrap().class(), Class::Pointwise);
    }
}
