//! ops - ONNX operators by family: a table and the functions it names.

mod activation;
mod arithmetic;
mod compare;
mod fill;
mod follow;
mod join;
mod shape;
mod unary;
mod view;

use super::table::Row;

/// Every operator.
pub(crate) const FAMILIES: &[&[Row]] =
    &[shape::ROWS, arithmetic::ROWS, unary::ROWS, compare::ROWS, activation::ROWS, view::ROWS, join::ROWS, fill::ROWS];
