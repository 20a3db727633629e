//! laws - the rules of the e-graph by family.

mod broadcasts;
mod identities;
mod logic;
mod movements;
mod products;
mod scales;

use super::site::Law;
use crate::pass::Rule;

/// Every law, in the order in which they are tried.
pub(super) const LAWS: &[&[Law]] =
    &[identities::LAWS, logic::LAWS, movements::LAWS, broadcasts::LAWS, products::LAWS, scales::LAWS];

/// Law number `at`, counted through the families.
pub(super) fn law(at: usize) -> Option<&'static Law> {
    LAWS.iter().flat_map(|family| family.iter()).nth(at)
}

/// Their rules.
pub(super) const RULES: &[&Rule] = &[
    &identities::ADD_TO_ITSELF,
    &identities::CANCEL_NEGATIONS,
    &identities::SUBTRACT_NEGATED,
    &identities::ADD_NEGATED,
    &identities::MULTIPLY_NEGATED,
    &identities::ABS_OF_NEGATED,
    &identities::RELU_OF_RELU,
    &identities::GREATEST_OF_SAME,
    &identities::JOIN_BOUNDS,
    &logic::SELECT_OF_SAME,
    &logic::SELECT_BY_NEGATION,
    &logic::NOT_OF_NOT,
    &logic::LOGIC_OF_SAME,
    &logic::DE_MORGAN,
    &movements::CANCEL_TRANSPOSES,
    &movements::LIFT_TRANSPOSE,
    &movements::SINK_TRANSPOSE,
    &movements::CANCEL_RESHAPES,
    &movements::LIFT_RESHAPE,
    &movements::SINK_RESHAPE,
    &movements::MULTIPLY_TRANSPOSED,
    &movements::RELABEL_OPERAND,
    &movements::RELABEL_RESULT,
    &broadcasts::LIFT_BROADCAST,
    &broadcasts::TRANSPOSE_BROADCAST,
    &broadcasts::MULTIPLY_BROADCAST,
    &products::GROUP_TO_THE_RIGHT,
    &products::GROUP_TO_THE_LEFT,
    &products::SPLIT_PRODUCT,
    &products::GATHER_PRODUCTS,
    &scales::JOIN_FACTORS,
    &scales::JOIN_OFFSETS,
    &scales::DIVIDE_BY_FACTOR,
    &scales::FACTOR_OUT_OF_MATMUL,
    &scales::FACTOR_INTO_MATMUL,
    &scales::FACTOR_INTO_CONV,
    &scales::FACTOR_THROUGH_CONV,
    &scales::FACTOR_OUT_OF_SUM,
    &scales::FACTOR_INTO_SUM,
    &scales::FACTOR_OUT_OF_CONCAT,
];
