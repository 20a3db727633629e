//! fold_bottlenecks - left sides for its rules: contractions by constants in a row, with biases, reshapes and readers.

use nnc_ir::{
    extent::Extent,
    graph::ValueId,
    ops::{Add, Conv, MatMul, Relu, Reshape},
};

use super::Row;
use crate::draft::Draft;

pub(super) const ROWS: &[Row] = &[
    ("fold-1x1-1x1", |d| convs(d, [1, 1], [1, 1])),
    ("fold-1x1-kxk", one_then_taps),
    ("fold-kxk-1x1", taps_then_one),
    ("fold-separable", |d| convs(d, [3, 1], [1, 3])),
    ("fold-across-groups", across_groups),
    ("fold-matmul-chain", matmuls),
];

/// Adds a bias of a number a channel, or none.
fn maybe_bias(d: &mut Draft, value: ValueId, axis: usize) -> ValueId {
    if d.rng.chance(40) {
        return value;
    }
    let shape = d.dims(value);
    let dims: Vec<i64> = (axis..shape.len()).map(|i| if i == axis { shape[i] } else { 1 }).collect();
    let bias = d.weight(&dims);
    let bias = d.spread(bias, &shape);
    match d.rng.chance(50) {
        true => d.node(Add {}, &[value, bias]),
        false => d.node(Add {}, &[bias, value]),
    }
}

/// A convolution with strides, dilations and padding, as often without.
fn conv(d: &mut Draft, input: ValueId, kernel: [i64; 2], filters: i64, groups: i64) -> ValueId {
    let dims = d.dims(input);
    let weight = d.weight(&[filters, dims[1] / groups, kernel[0], kernel[1]]);
    let (mut strides, mut dilations, mut pads_before, mut spatial) = (vec![], vec![], vec![], vec![]);
    for (&taps, &have) in kernel.iter().zip(&dims[2..]) {
        let stride = *d.rng.pick(&[1, 1, 1, 2]);
        let mut dilation = *d.rng.pick(&[1, 1, 2]);
        if (taps - 1) * dilation >= have {
            dilation = 1;
        }
        let reach = (taps - 1) * dilation + 1;
        // Padding of a single tap makes positions of bias alone.
        let pad = if taps > 1 || d.rng.chance(10) { d.rng.range(0, reach / 2) } else { 0 };
        spatial.push(Extent::Const((have + 2 * pad - reach) / stride + 1));
        strides.push(stride);
        dilations.push(dilation);
        pads_before.push(pad);
    }
    d.node(Conv { groups, strides, dilations, pads_before, spatial }, &[input, weight])
}

fn image(d: &mut Draft, channels: i64) -> ValueId {
    let dims = [*d.rng.pick(&[1, 1, 2]), channels, d.rng.range(5, 9), d.rng.range(5, 9)];
    d.input(&dims)
}

fn finish(d: &mut Draft, value: ValueId) {
    let y = if d.rng.chance(50) { d.node(Relu {}, &[value]) } else { value };
    d.output(y);
}

/// Two convolutions, few channels before and after, more in between.
fn convs(d: &mut Draft, first: [i64; 2], second: [i64; 2]) {
    let (before, between, after) = (d.rng.range(1, 3), d.rng.range(1, 8), d.rng.range(1, 3));
    let x = image(d, before);
    let y = conv(d, x, first, between, 1);
    let y = maybe_bias(d, y, 1);
    let y = conv(d, y, second, after, 1);
    let y = maybe_bias(d, y, 1);
    finish(d, y);
}

fn one_then_taps(d: &mut Draft) {
    let kernel = *d.rng.pick(&[[3, 3], [1, 3], [3, 2], [2, 1]]);
    convs(d, [1, 1], kernel);
}

fn taps_then_one(d: &mut Draft) {
    let kernel = *d.rng.pick(&[[3, 3], [1, 3], [3, 2], [2, 1]]);
    convs(d, kernel, [1, 1]);
}

/// Groups of one in the groups of the other; on either side may be the taps.
fn across_groups(d: &mut Draft) {
    let (coarse, inner) = (d.rng.range(1, 2), d.rng.range(2, 3));
    let fine = coarse * inner;
    let (before, between, after) = (fine, fine * d.rng.range(1, 2), fine);
    let (groups, kernels) = match d.rng.chance(50) {
        true => ([fine, coarse], [[3, 3], [1, 1]]),
        false => ([coarse, fine], [[1, 1], [2, 3]]),
    };
    let x = image(d, before);
    let y = conv(d, x, kernels[0], between, groups[0]);
    let y = maybe_bias(d, y, 1);
    let y = conv(d, y, kernels[1], after, groups[1]);
    let y = maybe_bias(d, y, 1);
    finish(d, y);
}

/// Two to four products of rows, which reshapes regroup, or of batches.
fn matmuls(d: &mut Draft) {
    let (batch, rows, mut columns) = (d.rng.range(1, 3), d.rng.range(1, 9), d.extent());
    let is_flat = d.rng.chance(60);
    let dims = if is_flat { vec![batch * rows, columns] } else { vec![batch, rows, columns] };
    let mut y = d.input(&dims);
    for _ in 0..2 + d.rng.below(3) {
        let next = d.rng.range(1, 12);
        let weight = match is_flat {
            true => d.weight(&[columns, next]),
            false => {
                let matrices = *d.rng.pick(&[1, batch]);
                d.weight(&[matrices, columns, next])
            }
        };
        columns = next;
        y = d.node(MatMul {}, &[y, weight]);
        let reshapes = is_flat && d.rng.chance(50);
        if reshapes {
            let shape = [batch, rows, columns].map(Extent::Const).to_vec();
            y = d.node(Reshape { shape }, &[y]);
        }
        let axis = d.dims(y).len() - 1;
        y = maybe_bias(d, y, axis);
        if reshapes {
            let shape = [batch * rows, columns].map(Extent::Const).to_vec();
            y = d.node(Reshape { shape }, &[y]);
        }
    }
    finish(d, y);
}
