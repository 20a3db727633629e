//! reach - which elements of its operands a step reads for some elements of its result, at most.
//!
//! Elements of a tensor are numbered as they lie, those of a result in the order in which they are computed. Some of a
//! result, from one to another, are boxes of the space; each index of a load has a range over a box, and what lies
//! from the least to the greatest place is what may be read.

use std::cmp::Ordering;

use nnc_ir::{
    extent::Extent,
    form::{Ix, LoopForm},
};

use super::{NestStep, RowsStep, Step};
use crate::lower::rows::result_of;

/// Elements from the first to before the second.
pub(crate) type Span = (i64, i64);

/// The least and the greatest.
type Range = (i64, i64);

/// What a step reads of each operand for a span of its result, an entry a load; `None` where that is not known. The
/// elements of a nest's result are numbered with its axes in the order `walk`.
pub(crate) fn reads(step: &Step, walk: &[usize], span: Span) -> Option<Vec<(usize, Span)>> {
    match step {
        Step::Nest(nest) => of_nest(nest, walk, span),
        Step::Rows(rows) => of_rows(rows, span),
        _ => None,
    }
}

fn of_nest(nest: &NestStep, walk: &[usize], span: Span) -> Option<Vec<(usize, Span)>> {
    let form = &nest.form;
    let walked: Vec<Extent> = walk.iter().map(|&a| form.space.get(a).cloned()).collect::<Option<_>>()?;
    let mut all = Vec::new();
    for part in boxes(&walked, span)? {
        let mut axes = vec![(0, 0); form.space.len()];
        for (&axis, range) in walk.iter().zip(part) {
            axes[axis] = range;
        }
        axes.extend(whole(&form.reduce)?);
        all.extend(of_form(form, &axes)?);
    }
    Some(all)
}

fn of_rows(rows: &RowsStep, (from, to): Span) -> Option<Vec<(usize, Span)>> {
    let form = &rows.form;
    let count = form.rows.len();
    let row: i64 = known(&result_of(form)?.form.space[count..])?.iter().product();
    let mut all = Vec::new();
    for part in boxes(&form.rows, (from / row, (to + row - 1) / row))? {
        for stage in &form.stages {
            let mut axes = part.clone();
            axes.extend(whole(&stage.form.space[count..])?);
            axes.extend(whole(&stage.form.reduce)?);
            let reads = of_form(&stage.form, &axes)?;
            all.extend(reads.into_iter().filter(|(operand, _)| *operand < form.operands));
        }
    }
    Some(all)
}

/// What the loads of a form read while its axes are in these ranges.
fn of_form(form: &LoopForm, axes: &[Range]) -> Option<Vec<(usize, Span)>> {
    let mut all = Vec::new();
    for load in &form.loads {
        let extents = known(&load.extents)?;
        let (mut least, mut greatest, mut somewhere) = (0, 0, true);
        for (ix, &extent) in load.index.iter().zip(&extents) {
            let (a, b) = range(ix, axes).unwrap_or((0, extent - 1));
            // Places beyond the operand are not read.
            somewhere &= a < extent && b >= 0;
            least = least * extent + a.clamp(0, extent - 1);
            greatest = greatest * extent + b.clamp(0, extent - 1);
        }
        if somewhere {
            all.push((load.operand, (least, greatest + 1)));
        }
    }
    Some(all)
}

fn known(extents: &[Extent]) -> Option<Vec<i64>> {
    extents.iter().map(|e| e.as_const().filter(|&n| n > 0)).collect()
}

fn whole(extents: &[Extent]) -> Option<Vec<Range>> {
    Some(known(extents)?.into_iter().map(|n| (0, n - 1)).collect())
}

/// The boxes of positions that a span of a space consists of; `None` if it has none.
fn boxes(extents: &[Extent], (from, to): Span) -> Option<Vec<Vec<Range>>> {
    let extents = known(extents)?;
    let (mut parts, mut at) = (Vec::new(), from);
    while at < to {
        // The outermost axis along which whole positions begin here, and how many of them.
        let below = |axis: usize| extents[axis + 1..].iter().product::<i64>();
        let fits = |&axis: &usize| at % below(axis) == 0 && at + below(axis) <= to;
        let axis = (0..extents.len()).find(fits)?;
        let digit = at / below(axis) % extents[axis];
        let more = ((to - at) / below(axis)).min(extents[axis] - digit);
        let range = |a: usize| match a.cmp(&axis) {
            Ordering::Less => {
                let digit = at / below(a) % extents[a];
                (digit, digit)
            }
            Ordering::Equal => (digit, digit + more - 1),
            Ordering::Greater => (0, extents[a] - 1),
        };
        parts.push((0..extents.len()).map(range).collect());
        at += more * below(axis);
    }
    (!parts.is_empty()).then_some(parts)
}

/// The values of an index; `None` where they are not known.
fn range(ix: &Ix, axes: &[Range]) -> Option<Range> {
    let of = |ix: &Ix| range(ix, axes);
    let sorted = |a: i64, b: i64| (a.min(b), a.max(b));
    Some(match ix {
        Ix::Axis(a) => *axes.get(*a)?,
        Ix::Extent(e) => (e.as_const()?, e.as_const()?),
        Ix::Add(a, b) => {
            let (a, b) = (of(a)?, of(b)?);
            (a.0.checked_add(b.0)?, a.1.checked_add(b.1)?)
        }
        Ix::Mul(a, by) => {
            let (a, by) = (of(a)?, by.as_const()?);
            sorted(a.0.checked_mul(by)?, a.1.checked_mul(by)?)
        }
        Ix::FloorDiv(a, by) => {
            let (a, by) = (of(a)?, by.as_const().filter(|&by| by > 0)?);
            (a.0.div_euclid(by), a.1.div_euclid(by))
        }
        Ix::Mod(a, by) => {
            let (a, by) = (of(a)?, by.as_const().filter(|&by| by > 0)?);
            let one_turn = a.0.div_euclid(by) == a.1.div_euclid(by);
            if one_turn { (a.0.rem_euclid(by), a.1.rem_euclid(by)) } else { (0, by - 1) }
        }
        Ix::Min(a, b) => {
            let (a, b) = (of(a)?, of(b)?);
            (a.0.min(b.0), a.1.min(b.1))
        }
        Ix::Max(a, b) => {
            let (a, b) = (of(a)?, of(b)?);
            (a.0.max(b.0), a.1.max(b.1))
        }
        Ix::Bcast(a, extent) => {
            if extent.as_const()? == 1 {
                (0, 0)
            } else {
                of(a)?
            }
        }
        Ix::Wrap(..) | Ix::Load(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(of: &[i64]) -> Vec<Extent> {
        of.iter().map(|&n| Extent::Const(n)).collect()
    }

    #[test]
    fn a_span_consists_of_boxes() {
        let space = extents(&[2, 6, 5]);
        assert_eq!(boxes(&space, (10, 20)), Some(vec![vec![(0, 0), (2, 3), (0, 4)]]));
        assert_eq!(boxes(&space, (11, 14)), Some(vec![vec![(0, 0), (2, 2), (1, 3)]]));
        let over =
            vec![vec![(0, 0), (5, 5), (0, 4)], vec![(1, 1), (0, 0), (0, 4)], vec![(1, 1), (1, 1), (0, 1)]];
        assert_eq!(boxes(&space, (25, 37)), Some(over));
        assert_eq!(boxes(&space, (0, 60)), Some(vec![vec![(0, 1), (0, 5), (0, 4)]]));
        assert_eq!(boxes(&space, (4, 4)), None);
    }

    #[test]
    fn indices_have_the_range_of_their_axes() {
        let axes = [(2, 5), (0, 2)];
        let window = Ix::Axis(0).times(Extent::Const(2)).plus(Ix::Axis(1)).plus(Ix::int(-1));
        assert_eq!(range(&window, &axes), Some((3, 11)));
        assert_eq!(range(&Ix::Axis(0).floor_div(Extent::Const(4)), &axes), Some((0, 1)));
        assert_eq!(range(&Ix::Axis(0).modulo(Extent::Const(4)), &axes), Some((0, 3)));
        assert_eq!(range(&Ix::Axis(0).modulo(Extent::Const(6)), &axes), Some((2, 5)));
        assert_eq!(range(&Ix::Load(0), &axes), None);
    }
}
