//! egraph - left sides for its rules, each part of something that the rule makes cheaper.

mod linear;

use nnc_ir::{
    extent::Extent,
    graph::ValueId,
    ops::{
        Abs, Add, And, Contract, Less, MatMul, Max, Min, Mul, Neg, Not, Or, Relu, Reshape, Select, Sub, Tanh,
        Transpose,
    },
};

use super::Row;
use crate::draft::Draft;

pub(super) const ROWS: &[Row] = &[
    ("add-to-itself", add_to_itself),
    ("cancel-negations", cancel_negations),
    ("subtract-negated", subtract_negated),
    ("add-negated", add_negated),
    ("multiply-negated", multiply_negated),
    ("abs-of-negated", abs_of_negated),
    ("relu-of-relu", relu_of_relu),
    ("greatest-of-same", greatest_of_same),
    ("join-bounds", join_bounds),
    ("select-of-same", select_of_same),
    ("select-by-negation", select_by_negation),
    ("not-of-not", not_of_not),
    ("logic-of-same", logic_of_same),
    ("de-morgan", de_morgan),
    ("cancel-transposes", cancel_transposes),
    ("lift-transpose", lift_transpose),
    ("sink-transpose", sink_transpose),
    ("cancel-reshapes", cancel_reshapes),
    ("lift-reshape", lift_reshape),
    ("sink-reshape", sink_reshape),
    ("multiply-transposed", multiply_transposed),
    ("relabel-operand", relabel_operand),
    ("relabel-result", relabel_result),
    ("lift-broadcast", lift_broadcast),
    ("transpose-broadcast", transpose_broadcast),
    ("multiply-broadcast", multiply_broadcast),
    ("group-to-the-right", linear::group_to_the_right),
    ("group-to-the-left", linear::group_to_the_left),
    ("split-product", linear::split_product),
    ("gather-products", linear::gather_products),
    ("join-factors", linear::join_factors),
    ("join-offsets", linear::join_offsets),
    ("divide-by-factor", linear::divide_by_factor),
    ("factor-out-of-matmul", linear::factor_out_of_matmul),
    ("factor-into-matmul", linear::factor_into_matmul),
    ("factor-into-conv", linear::factor_into_conv),
    ("factor-through-conv", linear::factor_through_conv),
    ("factor-out-of-sum", linear::factor_out_of_sum),
    ("factor-into-sum", linear::factor_into_sum),
    ("factor-out-of-concat", linear::factor_out_of_concat),
];

fn extents(dims: &[i64]) -> Vec<Extent> {
    dims.iter().map(|&d| Extent::Const(d)).collect()
}

/// Extents that are large enough for costs to differ.
fn large(d: &mut Draft, rank: usize) -> Vec<i64> {
    (0..rank).map(|_| *d.rng.pick(&[8, 9, 12, 16, 20])).collect()
}

/// A factor that keeps magnitudes.
fn factor(d: &mut Draft, dims: &[i64]) -> ValueId {
    let c = *d.rng.pick(&[0.25, 0.5, 0.75, 1.5, 2.0, -1.25]);
    d.splat(c, dims)
}

/// One input of elements.
fn any_input(d: &mut Draft) -> (ValueId, Vec<i64>) {
    let dims = d.any_shape(1, 3);
    (d.input(&dims), dims)
}

/// The result, or it and a reader.
fn finish(d: &mut Draft, y: ValueId) {
    let y = if d.rng.chance(30) { d.node(Tanh {}, &[y]) } else { y };
    d.output(y);
}

fn add_to_itself(d: &mut Draft) {
    let (x, dims) = any_input(d);
    let c = factor(d, &dims);
    let sum = d.node(Add {}, &[x, x]);
    let y = d.node(Mul {}, &[sum, c]);
    finish(d, y);
}

fn cancel_negations(d: &mut Draft) {
    let (x, _) = any_input(d);
    let y = d.node(Neg {}, &[x]);
    let z = d.node(Neg {}, &[y]);
    let z = d.node(Tanh {}, &[z]);
    d.maybe_output(y);
    finish(d, z);
}

fn subtract_negated(d: &mut Draft) {
    let (x, dims) = any_input(d);
    let y = d.input(&dims);
    let y = d.node(Neg {}, &[y]);
    let z = d.node(Sub {}, &[x, y]);
    finish(d, z);
}

fn add_negated(d: &mut Draft) {
    let (x, dims) = any_input(d);
    let y = d.input(&dims);
    let y = d.node(Neg {}, &[y]);
    let z = if d.rng.chance(50) { d.node(Add {}, &[x, y]) } else { d.node(Add {}, &[y, x]) };
    finish(d, z);
}

fn multiply_negated(d: &mut Draft) {
    let (x, dims) = any_input(d);
    let y = d.input(&dims);
    let (x, y) = (d.node(Neg {}, &[x]), d.node(Neg {}, &[y]));
    let z = d.node(Mul {}, &[x, y]);
    d.maybe_output(x);
    finish(d, z);
}

fn abs_of_negated(d: &mut Draft) {
    let (x, _) = any_input(d);
    let x = if d.rng.chance(50) { d.node(Neg {}, &[x]) } else { d.node(Abs {}, &[x]) };
    let y = d.node(Abs {}, &[x]);
    finish(d, y);
}

fn relu_of_relu(d: &mut Draft) {
    let (x, _) = any_input(d);
    let y = d.node(Relu {}, &[x]);
    let z = d.node(Relu {}, &[y]);
    finish(d, z);
}

fn greatest_of_same(d: &mut Draft) {
    let (x, _) = any_input(d);
    let x = d.node(Tanh {}, &[x]);
    let y = if d.rng.chance(50) { d.node(Max {}, &[x, x]) } else { d.node(Min {}, &[x, x]) };
    finish(d, y);
}

fn join_bounds(d: &mut Draft) {
    let (x, dims) = any_input(d);
    let (a, b) = if d.rng.chance(50) {
        (d.weight(&dims), d.weight(&dims))
    } else {
        (d.splat(0.0, &dims), d.splat(-0.0, &dims))
    };
    let is_max = d.rng.chance(50);
    let bound = |d: &mut Draft, x, y| if is_max { d.node(Max {}, &[x, y]) } else { d.node(Min {}, &[x, y]) };
    let y = if d.rng.chance(50) {
        let y = bound(d, x, a);
        bound(d, y, b)
    } else {
        let y = bound(d, a, x);
        bound(d, b, y)
    };
    finish(d, y);
}

/// Two tensors and a condition of their shape.
fn condition(d: &mut Draft) -> [ValueId; 3] {
    let (x, dims) = any_input(d);
    let y = d.input(&dims);
    [d.node(Less {}, &[x, y]), x, y]
}

fn select_of_same(d: &mut Draft) {
    let [c, x, _] = condition(d);
    let x = d.node(Tanh {}, &[x]);
    let y = d.node(Select {}, &[c, x, x]);
    finish(d, y);
}

fn select_by_negation(d: &mut Draft) {
    let [c, x, y] = condition(d);
    let c = d.node(Not {}, &[c]);
    let z = d.node(Select {}, &[c, x, y]);
    finish(d, z);
}

fn not_of_not(d: &mut Draft) {
    let [c, x, y] = condition(d);
    let not = d.node(Not {}, &[c]);
    let c = d.node(Not {}, &[not]);
    d.maybe_output(not);
    let z = d.node(Select {}, &[c, x, y]);
    finish(d, z);
}

fn logic_of_same(d: &mut Draft) {
    let [c, x, y] = condition(d);
    let c = if d.rng.chance(50) { d.node(And {}, &[c, c]) } else { d.node(Or {}, &[c, c]) };
    let z = d.node(Select {}, &[c, x, y]);
    finish(d, z);
}

fn de_morgan(d: &mut Draft) {
    let [a, x, y] = condition(d);
    let b = d.node(Less {}, &[y, x]);
    let (a, b) = (d.node(Not {}, &[a]), d.node(Not {}, &[b]));
    let c = if d.rng.chance(50) { d.node(And {}, &[a, b]) } else { d.node(Or {}, &[a, b]) };
    d.output(c);
}

/// A permutation that moves something.
fn moving(d: &mut Draft, rank: usize) -> Vec<usize> {
    let mut perm = d.permutation(rank);
    if perm.is_sorted() {
        perm.rotate_left(1);
    }
    perm
}

fn cancel_transposes(d: &mut Draft) {
    let dims = d.any_shape(2, 4);
    let x = d.input(&dims);
    let (p, q) = (moving(d, dims.len()), moving(d, dims.len()));
    let y = d.node(Transpose { perm: p }, &[x]);
    let z = d.node(Transpose { perm: q }, &[y]);
    finish(d, z);
}

fn lift_transpose(d: &mut Draft) {
    let dims = d.any_shape(2, 4);
    let (x, y) = (d.input(&dims), d.input(&dims));
    let perm = moving(d, dims.len());
    let x = d.node(Transpose { perm: perm.clone() }, &[x]);
    let y = d.node(Transpose { perm }, &[y]);
    let z = d.node(Add {}, &[x, y]);
    let dims = d.dims(z);
    let c = if d.rng.chance(50) { d.weight(&dims) } else { d.splat(0.5, &dims) };
    let z = d.node(Mul {}, &[z, c]);
    finish(d, z);
}

fn sink_transpose(d: &mut Draft) {
    let dims = d.any_shape(2, 4);
    let x = d.input(&dims);
    let perm = moving(d, dims.len());
    let mut back = vec![0; perm.len()];
    perm.iter().enumerate().for_each(|(i, &p)| back[p] = i);
    let x = d.node(Transpose { perm }, &[x]);
    let moved = d.dims(x);
    let y = d.input(&moved);
    let z = d.node(Sub {}, &[x, y]);
    let z = d.node(Transpose { perm: back }, &[z]);
    finish(d, z);
}

/// A shape of as many elements.
fn other_shape(d: &mut Draft, dims: &[i64]) -> Vec<i64> {
    let n: i64 = dims.iter().product();
    let divisors: Vec<i64> = (1..=n).filter(|k| n % k == 0).collect();
    let first = *d.rng.pick(&divisors);
    vec![first, n / first, 1]
}

fn cancel_reshapes(d: &mut Draft) {
    let (x, dims) = any_input(d);
    let first = other_shape(d, &dims);
    let second = if d.rng.chance(50) { dims } else { vec![dims.iter().product()] };
    let y = d.node(Reshape { shape: extents(&first) }, &[x]);
    let z = d.node(Reshape { shape: extents(&second) }, &[y]);
    let z = d.node(Tanh {}, &[z]);
    finish(d, z);
}

fn lift_reshape(d: &mut Draft) {
    let (x, dims) = any_input(d);
    let y = d.input(&dims);
    let shape = extents(&other_shape(d, &dims));
    let x = d.node(Reshape { shape: shape.clone() }, &[x]);
    let y = d.node(Reshape { shape }, &[y]);
    let z = d.node(Add {}, &[x, y]);
    finish(d, z);
}

fn sink_reshape(d: &mut Draft) {
    let (x, dims) = any_input(d);
    let shape = other_shape(d, &dims);
    let y = d.input(&shape);
    let x = d.node(Reshape { shape: extents(&shape) }, &[x]);
    let z = d.node(Sub {}, &[x, y]);
    let z = d.node(Reshape { shape: extents(&dims) }, &[z]);
    finish(d, z);
}

fn multiply_transposed(d: &mut Draft) {
    let [m, n, k]: [i64; 3] = std::array::from_fn(|_| d.extent());
    let batch = d.any_shape(0, 1);
    let perm: Vec<usize> = if batch.is_empty() { vec![1, 0] } else { vec![0, 2, 1] };
    let x = d.input(&[&batch[..], &[k, m]].concat());
    let y = d.input(&[&batch[..], &[n, k]].concat());
    let x = d.node(Transpose { perm: perm.clone() }, &[x]);
    let y = d.node(Transpose { perm }, &[y]);
    let z = d.node(MatMul {}, &[x, y]);
    finish(d, z);
}

/// `contract` as a matrix product of three axes, its operands and its result in any order.
fn contraction(d: &mut Draft) -> (Contract, [Vec<i64>; 2]) {
    let dims = large(d, 4);
    let [lhs, rhs] =
        [[0, 1, 3], [0, 2, 3]].map(|labels| d.permutation(3).iter().map(|&p| labels[p]).collect());
    let result = d.permutation(3);
    let shape = |labels: &Vec<usize>| labels.iter().map(|&l| dims[l]).collect();
    let shapes = [shape(&lhs), shape(&rhs)];
    (Contract { lhs, rhs, result }, shapes)
}

fn relabel_operand(d: &mut Draft) {
    let (contract, shapes) = contraction(d);
    let side = d.rng.below(2);
    let perm = moving(d, 3);
    let mut operands = Vec::new();
    for (i, shape) in shapes.iter().enumerate() {
        operands.push(if i == side {
            let mut before = vec![0; 3];
            perm.iter().enumerate().for_each(|(i, &p)| before[p] = shape[i]);
            let x = d.input(&before);
            d.node(Transpose { perm: perm.clone() }, &[x])
        } else {
            d.input(shape)
        });
    }
    let y = d.node(contract, &operands);
    finish(d, y);
}

fn relabel_result(d: &mut Draft) {
    let (contract, shapes) = contraction(d);
    let operands = shapes.map(|shape| d.input(&shape));
    let y = d.node(contract, &operands);
    let perm = moving(d, 3);
    let y = d.node(Transpose { perm }, &[y]);
    finish(d, y);
}

fn lift_broadcast(d: &mut Draft) {
    let dims = large(d, 2);
    let x = d.input(&dims[1..]);
    let x = d.spread(x, &dims);
    let y = if d.rng.chance(50) {
        let one = d.input(&[]);
        let one = d.spread(one, &dims);
        d.node(Add {}, &[x, one])
    } else {
        d.node(Tanh {}, &[x])
    };
    d.output(y);
}

fn transpose_broadcast(d: &mut Draft) {
    let dims = large(d, 3);
    let x = d.input(&dims[2..]);
    let x = d.spread(x, &dims);
    let perm = moving(d, 3);
    let y = d.node(Transpose { perm }, &[x]);
    finish(d, y);
}

fn multiply_broadcast(d: &mut Draft) {
    let dims = large(d, 3);
    let y = if d.rng.chance(50) {
        let x = d.input(&[dims[1]]);
        let x = d.spread(x, &dims[..2]);
        let w = d.input(&dims[1..]);
        d.node(MatMul {}, &[x, w])
    } else {
        let x = d.input(&dims[..2]);
        let w = d.input(&[dims[1], 1]);
        let w = d.spread(w, &dims[1..]);
        d.node(MatMul {}, &[x, w])
    };
    finish(d, y);
}
