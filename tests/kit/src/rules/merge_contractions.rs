//! merge_contractions - left sides for its rules: contractions of one value with equal and with other things behind them.

use nnc_ir::{
    extent::Extent,
    graph::ValueId,
    ops::{Add, Conv, Exp, MatMul, Mul, Relu, Reshape, Sigmoid, Transpose},
};

use super::Row;
use crate::draft::Draft;

pub(super) const ROWS: &[Row] = &[("merge-matmuls", matmuls), ("merge-convs", convs)];

/// What is behind every sibling.
struct Behind {
    bias: bool,
    activation: usize,
}

impl Behind {
    fn random(d: &mut Draft) -> Self {
        Self { bias: d.rng.chance(70), activation: d.rng.below(4) }
    }

    /// Puts it behind `value`, whose channels are on `axis`; now and then something else.
    fn put(&self, d: &mut Draft, value: ValueId, axis: usize) -> ValueId {
        let mut y = value;
        if self.bias {
            let shape = d.dims(y);
            let dims: Vec<i64> = (axis..shape.len()).map(|i| if i == axis { shape[i] } else { 1 }).collect();
            let bias = d.weight(&dims);
            let bias = d.spread(bias, &shape);
            y = if d.rng.chance(90) { d.node(Add {}, &[bias, y]) } else { d.node(Add {}, &[y, bias]) };
        }
        let activation = if d.rng.chance(90) { self.activation } else { d.rng.below(4) };
        match activation {
            0 => y,
            1 => d.node(Relu {}, &[y]),
            2 => {
                let gate = d.node(Sigmoid {}, &[y]);
                d.node(Mul {}, &[y, gate])
            }
            _ => d.node(Exp {}, &[y]),
        }
    }
}

/// Reads a value as a contraction, a pointwise node or an output does.
fn consume(d: &mut Draft, value: ValueId) {
    let y = match d.rng.below(10) {
        0 => value,
        1..4 => {
            let turned = d.dims(value).len();
            let perm = (0..turned - 2).chain([turned - 1, turned - 2]).collect();
            let turned = d.node(Transpose { perm }, &[value]);
            d.node(MatMul {}, &[value, turned])
        }
        4..6 => d.node(Mul {}, &[value, value]),
        _ => {
            let dims = d.dims(value);
            let (rank, next) = (dims.len(), d.extent());
            let mut weight = vec![1; rank - 2];
            weight.extend([dims[rank - 1], next]);
            let weight = d.weight(&weight);
            let weight = match rank {
                2 => weight,
                _ => {
                    let shape = [&dims[..rank - 2], &[dims[rank - 1], next]].concat();
                    d.spread(weight, &shape)
                }
            };
            d.node(MatMul {}, &[value, weight])
        }
    };
    d.output(y);
}

fn matmuls(d: &mut Draft) {
    let (batch, rows, columns) = (d.rng.range(1, 3), d.rng.range(1, 9), d.extent());
    let x = d.input(&[batch * rows, columns]);
    let (behind, splits, part) = (Behind::random(d), d.rng.chance(50), d.rng.range(1, 3));
    let reshapes = d.rng.chance(50);
    for _ in 0..2 + d.rng.below(3) {
        let width = part * d.rng.range(1, 4);
        let weight = d.weight(&[columns, width]);
        let mut y = d.node(MatMul {}, &[x, weight]);
        if reshapes {
            let shape = [batch, rows, width].map(Extent::Const).to_vec();
            y = d.node(Reshape { shape }, &[y]);
        }
        let axis = d.dims(y).len() - 1;
        y = behind.put(d, y, axis);
        if splits {
            let shape = [batch, rows, width / part, part].map(Extent::Const).to_vec();
            y = d.node(Reshape { shape }, &[y]);
        }
        consume(d, y);
    }
}

fn convs(d: &mut Draft) {
    let channels = d.extent();
    let dims = [*d.rng.pick(&[1, 1, 2]), channels, d.rng.range(3, 8), d.rng.range(3, 8)];
    let x = d.input(&dims);
    let (kernel, stride) = (*d.rng.pick(&[1, 1, 3]), *d.rng.pick(&[1, 1, 2]));
    let pad = kernel / 2;
    let behind = Behind::random(d);
    for _ in 0..2 + d.rng.below(3) {
        let weight = [d.extent(), channels, kernel, kernel];
        let weight = d.weight(&weight);
        let spatial = dims[2..].iter().map(|n| Extent::Const((n + 2 * pad - kernel) / stride + 1));
        let op = Conv {
            groups: 1,
            strides: vec![stride; 2],
            dilations: vec![1; 2],
            pads_before: vec![pad; 2],
            spatial: spatial.collect(),
        };
        let y = d.node(op, &[x, weight]);
        let y = behind.put(d, y, 1);
        consume(d, y);
    }
}
