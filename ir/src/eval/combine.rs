//! combine - accumulators of reductions.

use crate::{
    dtype::{DType, Scalar},
    eval::{
        element::{self, BinaryRow},
        order,
    },
    form::Combine,
    program::Binary,
};

/// One accumulator for each element of a row.
pub(super) struct Accumulator {
    rule: Rule,
    values: Vec<u64>,
    spare: Vec<u64>,
    /// Elements joined so far, which is the position of the next.
    position: u64,
}

enum Rule {
    /// `value = f(value, element)` from the identity.
    Join { f: BinaryRow, identity: u64 },
    /// The position of the best element; `best` are the scores.
    Search { dtype: DType, greatest: bool, last: bool, best: Vec<u64> },
}

impl Accumulator {
    /// Accumulators for rows of up to `width` elements of type `dtype`.
    pub(super) fn new(combine: Combine, dtype: DType, width: usize) -> Self {
        let join = |op: Binary, identity: Scalar| {
            // Of types that `op` is not defined for nothing can be joined.
            let f = element::binary(op, dtype).unwrap_or(|_, _, _| {});
            Rule::Join { f, identity: identity.bits }
        };
        let search =
            |greatest: bool, last: bool| Rule::Search { dtype, greatest, last, best: vec![0; width] };
        let rule = match combine {
            Combine::Sum => join(Binary::Add, Scalar::zero(dtype)),
            Combine::Product => join(Binary::Mul, Scalar::int(dtype, 1)),
            Combine::Max => join(Binary::Max, Scalar::lowest(dtype)),
            Combine::Min => join(Binary::Min, Scalar::highest(dtype)),
            Combine::ArgMax { last } => search(true, last),
            Combine::ArgMin { last } => search(false, last),
        };
        Self { rule, values: vec![0; width], spare: vec![0; width], position: 0 }
    }

    /// Begins `n` reductions.
    pub(super) fn start(&mut self, n: usize) {
        let identity = if let Rule::Join { identity, .. } = self.rule { identity } else { 0 };
        self.values[..n].fill(identity);
        self.position = 0;
    }

    /// Joins one element to each reduction.
    pub(super) fn join(&mut self, row: &[u64]) {
        let n = row.len();
        match &mut self.rule {
            Rule::Join { f, .. } => {
                f(&mut self.spare[..n], &self.values[..n], row);
                std::mem::swap(&mut self.spare, &mut self.values);
            }
            Rule::Search { dtype, greatest, last, best } => {
                for (i, &bits) in row.iter().enumerate() {
                    let score = order::score(Scalar { dtype: *dtype, bits }, *greatest);
                    let better = score > best[i] || (*last && score == best[i]);
                    if better || self.position == 0 {
                        (best[i], self.values[i]) = (score, self.position);
                    }
                }
            }
        }
        self.position += 1;
    }

    /// Joins the elements of `row` to reduction 0, one after another.
    pub(super) fn fold(&mut self, row: &[u64]) {
        for x in row.chunks_exact(1) {
            self.join(x);
        }
    }

    /// What the reductions have come to.
    pub(super) fn values(&self) -> &[u64] {
        &self.values
    }
}
