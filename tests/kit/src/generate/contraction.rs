//! contraction - sums of products: matrix products, convolutions, with what usually stands behind them.

use nnc_ir::{dtype::DType, extent::Extent, ops};

use super::{
    Kind, pattern,
    state::{Gen, Val},
};

pub(super) fn step(g: &mut Gen) {
    let result = match g.rng.below(10) {
        0..=4 => matmul(g),
        5..=7 => conv(g),
        _ => contract(g),
    };
    if result.is_some() && g.rng.chance(60) {
        pattern::epilogue(g);
    }
}

/// Both factors scaled so that a sum of `n` products stays in range; nothing where float sums are not wanted.
fn factors(g: &mut Gen, v: Val, w: Val, n: i64) -> Option<(Val, Val)> {
    if !g.dtype(v).is_float() {
        return Some((v, w));
    }
    if g.kind == Kind::Exact {
        return None;
    }
    let product = g.limit(g.dtype(v)) / n.max(1) as f64;
    let v_limit = (product / w.mag.max(1.0)).floor().max(product.sqrt().floor());
    if v_limit < 1.0 {
        return None;
    }
    let v = g.within(v, v_limit);
    let rest = product / v.mag.max(1.0);
    let w = g.within(w, if g.kind == Kind::Whole { rest.floor() } else { rest });
    (g.kind != Kind::Whole || rest >= 1.0).then_some((v, w))
}

fn choose_factor(g: &mut Gen, rank: usize) -> Option<Val> {
    g.choose(|g, v| {
        g.rank(v) >= rank && matches!(g.dtype(v), DType::F32 | DType::F16 | DType::F64 | DType::I32)
    })
}

pub(super) fn matmul(g: &mut Gen) -> Option<Val> {
    let mut v = choose_factor(g, 1)?;
    if g.rank(v) == 1 {
        let shape = vec![Extent::ONE, g.shape(v)[0].clone()];
        v = g.add(ops::Reshape { shape }, &[v], v.mag);
    }
    let (dtype, shape) = (g.dtype(v), g.shape(v));
    let batch = shape.len() - 2;
    let k = shape[batch + 1].clone();
    // By a value with that many rows (its own transpose), or by a constant.
    let (w, n) = if k.as_const().is_none() || g.rng.chance(25) {
        let mut perm: Vec<usize> = (0..shape.len()).collect();
        perm.swap(batch, batch + 1);
        (g.add(ops::Transpose { perm }, &[v], v.mag), shape[batch].clone())
    } else {
        let n = g.extent();
        let mut dims = vec![1; batch];
        dims.extend([k.as_const()?, n]);
        if dims.iter().product::<i64>() > super::state::MAX_ELEMENTS {
            return None;
        }
        (g.constant(dtype, &dims), Extent::Const(n))
    };
    let mut result = shape;
    result[batch + 1] = n;
    if !g.fits(&result) || !g.is_known(&result) {
        return None;
    }
    let terms = g.most(&k);
    let (v, w) = factors(g, v, w, terms)?;
    let mag = v.mag * w.mag * terms as f64;
    Some(g.add(ops::MatMul {}, &[v, w], mag))
}

pub(super) fn conv(g: &mut Gen) -> Option<Val> {
    let spatial_axes = 1 + g.rng.below(2);
    let v = choose_factor(g, 1)?;
    let v = as_image(g, v, spatial_axes)?;
    let (dtype, shape) = (g.dtype(v), g.shape(v));
    let channels = shape[1].as_const()?;
    let depthwise = g.rng.chance(30);
    let divisors: Vec<i64> = (1..=channels.max(1)).filter(|d| channels % d == 0).collect();
    let groups = if depthwise {
        channels.max(1)
    } else if g.rng.chance(20) {
        *g.rng.pick(&divisors)
    } else {
        1
    };
    let results = groups * if depthwise { *g.rng.pick(&[1, 1, 2]) } else { *g.rng.pick(&[1, 2, 3, 8, 16]) };
    let mut weight = vec![results, channels / groups];
    let (mut strides, mut dilations, mut pads_before, mut spatial) = (vec![], vec![], vec![], vec![]);
    for extent in &shape[2..] {
        let (kernel, stride) = (*g.rng.pick(&[1, 1, 3, 3, 3, 5, 7]), *g.rng.pick(&[1, 1, 1, 2, 3]));
        let dilation = if g.rng.chance(15) { 2 } else { 1 };
        let reach = (kernel - 1) * dilation + 1;
        let (before, after) = (g.rng.range(0, reach / 2), g.rng.range(0, reach / 2));
        let room = extent + &Extent::Const(before + after - reach);
        if g.least(&room) < 0 {
            return None;
        }
        spatial.push(&room.floor_div(&Extent::Const(stride)) + &Extent::ONE);
        weight.push(kernel);
        strides.push(stride);
        dilations.push(dilation);
        pads_before.push(before);
    }
    let result = [&[shape[0].clone(), Extent::Const(results)], &spatial[..]].concat();
    if !g.fits(&result) || !g.is_known(&result) || weight.iter().product::<i64>() > super::state::MAX_ELEMENTS
    {
        return None;
    }
    let terms = weight[1..].iter().product::<i64>();
    let w = g.constant(dtype, &weight);
    let (v, w) = factors(g, v, w, terms)?;
    let mag = v.mag * w.mag * terms as f64;
    Some(g.add(ops::Conv { groups, strides, dilations, pads_before, spatial }, &[v, w], mag))
}

/// `v` with batch, channels and that many spatial axes.
fn as_image(g: &mut Gen, v: Val, spatial_axes: usize) -> Option<Val> {
    let mut shape = g.shape(v);
    while shape.len() > spatial_axes + 2 {
        let joint = &shape[0] * &shape[1];
        shape.splice(0..2, [joint]);
    }
    while shape.len() < spatial_axes + 2 {
        shape.insert(0, Extent::ONE);
    }
    if shape[1].as_const().is_none() {
        shape.insert(1, Extent::ONE);
        let joint = &shape[2] * &shape[3];
        shape.splice(2..4, [joint]);
        if shape.len() != spatial_axes + 2 {
            return None;
        }
    }
    Some(if shape == g.shape(v) { v } else { g.add(ops::Reshape { shape }, &[v], v.mag) })
}

fn contract(g: &mut Gen) -> Option<Val> {
    let v = choose_factor(g, 1)?;
    let shape = g.shape(v);
    let lhs: Vec<usize> = (0..shape.len()).collect();
    // The second factor has some labels of the first and one of its own.
    let own = shape.len();
    let n = g.rng.range(1, 9);
    let (mut rhs, mut dims) = (Vec::new(), Vec::new());
    for (label, extent) in shape.iter().enumerate() {
        if let (Some(c), true) = (extent.as_const(), g.rng.chance(60)) {
            rhs.push(label);
            dims.push(c);
        }
    }
    rhs.push(own);
    dims.push(n);
    let labels: Vec<usize> = (0..=own).collect();
    let mut result: Vec<usize> = labels.into_iter().filter(|_| g.rng.chance(60)).collect();
    if g.rng.chance(30) {
        result.reverse();
    }
    let extents = [&shape[..], &[Extent::Const(n)]].concat();
    let result_shape: Vec<Extent> = result.iter().map(|&l| extents[l].clone()).collect();
    let summed: Vec<Extent> = (0..=own).filter(|l| !result.contains(l)).map(|l| extents[l].clone()).collect();
    let terms = g.elements(&summed);
    let work = g.elements(&result_shape).saturating_mul(terms);
    if dims.iter().product::<i64>() > super::state::MAX_ELEMENTS || !g.fits(&result_shape) || work > 1 << 18 {
        return None;
    }
    let w = g.constant(g.dtype(v), &dims);
    let (v, w) = factors(g, v, w, terms)?;
    let mag = v.mag * w.mag * terms as f64;
    Some(g.add(ops::Contract { lhs, rhs, result }, &[v, w], mag))
}
