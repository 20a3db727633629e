//! group - left sides of group normalization by reshapes.

use nnc_ir::ops::{Add, Div, Mul, Reshape, Sqrt, Sub};

use super::{Draft, extents, finish, mean, mul, number, plus, spread};

/// Normalized on three axes, or two, then on the axes of an image again; what instance normalization adds, and a scale.
pub(super) fn group_norm(d: &mut Draft) {
    let (n, groups, each) = (1 + d.rng.below(2) as i64, 1 + d.rng.below(3) as i64, 2 + d.rng.below(2) as i64);
    let rest = d.any_shape(1, 2);
    let whole = [&[n, groups * each][..], &rest].concat();
    let x = d.input(&whole);
    let count = each * rest.iter().product::<i64>();
    let rows = if d.rng.chance(60) { vec![n, groups, count] } else { vec![n * groups, count] };
    let z = d.node(Reshape { shape: extents(&rows) }, &[x]);
    let m = mean(d, z);
    let wide = spread(d, m, z);
    let centred = d.node(Sub {}, &[z, wide]);
    let square = d.node(Mul {}, &[centred, centred]);
    let variance = mean(d, square);
    let v = plus(d, variance, 0.125);
    let root = d.node(Sqrt {}, &[v]);
    let mut y = if d.rng.chance(50) {
        let root = spread(d, root, z);
        d.node(Div {}, &[centred, root])
    } else {
        let one = number(d, 1.0, root);
        let inverse = d.node(Div {}, &[one, root]);
        let inverse = spread(d, inverse, z);
        mul(d, centred, inverse)
    };
    if d.rng.chance(30) {
        let zero = d.splat(0.0, &rows);
        y = d.node(Add {}, &[y, zero]);
    }
    let y = d.node(Reshape { shape: extents(&whole) }, &[y]);
    let mut scale = vec![1; rest.len() + 1];
    scale[0] = groups * each;
    let scale = d.weight(&scale);
    let scale = spread(d, scale, y);
    let z = d.node(Mul {}, &[y, scale]);
    finish(d, y, z);
}
