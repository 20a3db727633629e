//! axes - which axes of a reshape's operand and result hold the same elements.

use nnc_ir::extent::{Extent, product};

/// Axes next to each other.
pub(crate) type Axes = std::ops::Range<usize>;

/// Cuts both shapes into runs of axes with equal numbers of elements, as many as possible.
pub(crate) fn groups(from: &[Extent], to: &[Extent]) -> Option<Vec<(Axes, Axes)>> {
    let (mut i, mut j) = (0, 0);
    let mut out: Vec<(Axes, Axes)> = Vec::new();
    while i < from.len() && j < to.len() {
        let (a, b) = next_group(&from[i..], &to[j..])?;
        out.push((i..i + a, j..j + b));
        (i, j) = (i + a, j + b);
    }
    if from[i..].iter().chain(&to[j..]).any(|e| !e.is(1)) {
        return None;
    }
    match out.last_mut() {
        Some((a, b)) => (a.end, b.end) = (from.len(), to.len()),
        None => out.push((0..from.len(), 0..to.len())),
    }
    Some(out)
}

/// The fewest axes of each with equal products.
fn next_group(from: &[Extent], to: &[Extent]) -> Option<(usize, usize)> {
    for total in 2..=from.len() + to.len() {
        for a in 1..total.min(from.len() + 1) {
            let b = total - a;
            if b <= to.len() && product(&from[..a]) == product(&to[..b]) {
                return Some((a, b));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(dims: &[i64]) -> Vec<Extent> {
        dims.iter().map(|&d| Extent::Const(d)).collect()
    }

    #[test]
    fn shapes_are_cut_where_products_meet() {
        let cut = |from: &[i64], to: &[i64]| groups(&extents(from), &extents(to));
        assert_eq!(cut(&[1, 5, 24], &[5, 24]), Some(vec![(0..2, 0..1), (2..3, 1..2)]));
        assert_eq!(cut(&[2, 12, 7], &[2, 3, 4, 7]), Some(vec![(0..1, 0..1), (1..2, 1..3), (2..3, 3..4)]));
        assert_eq!(cut(&[6, 1, 1], &[2, 3]), Some(vec![(0..3, 0..2)]));
        assert_eq!(cut(&[], &[1, 1]), Some(vec![(0..0, 0..2)]));
    }
}
