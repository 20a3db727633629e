//! ops - ONNX operators by family: a table and the functions it names.

mod activation;
mod antialias;
mod arithmetic;
mod attention;
mod axis_sample;
mod branch;
mod compare;
mod conv;
mod data_shape;
mod diagonal;
mod einsum;
mod fill;
mod follow;
mod gate;
mod grid;
mod integer;
mod join;
mod learn;
mod loss;
mod matmul;
mod normalize;
mod pick;
mod place;
mod pool;
mod quantize;
mod recurrence;
mod reduce;
mod repeat;
mod resize;
mod rnn;
mod sample;
mod sequence;
mod shape;
mod signal;
mod softmax;
mod unary;
mod view;
mod window;

use super::table::Row;

/// Every operator.
pub(crate) const FAMILIES: &[&[Row]] = &[
    shape::ROWS,
    arithmetic::ROWS,
    unary::ROWS,
    compare::ROWS,
    activation::ROWS,
    view::ROWS,
    join::ROWS,
    fill::ROWS,
    conv::ROWS,
    pool::ROWS,
    matmul::ROWS,
    reduce::ROWS,
    softmax::ROWS,
    normalize::ROWS,
    rnn::ROWS,
    quantize::ROWS,
    integer::ROWS,
    pick::ROWS,
    data_shape::ROWS,
    diagonal::ROWS,
    einsum::ROWS,
    branch::ROWS,
    repeat::ROWS,
    resize::ROWS,
    attention::ROWS,
    loss::ROWS,
    learn::ROWS,
    sequence::ROWS,
    grid::ROWS,
    signal::ROWS,
    place::ROWS,
];
