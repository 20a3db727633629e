//! table - which operators there are: one row each, in the file that imports it.

use std::ops::RangeInclusive;

use super::{Outcome, cx::OpCx, ops};

/// Any number of operands.
pub(crate) const MANY: usize = usize::MAX;

/// One operator, or one of its versions where those differ in kind.
pub(crate) struct Row {
    /// Domain; the default domain is `""`.
    pub(crate) domain: &'static str,
    /// Operator.
    pub(crate) name: &'static str,
    /// First opset version that has it (in this form).
    pub(crate) since: i64,
    /// Last opset version that has it (in this form), if that is over.
    pub(crate) until: Option<i64>,
    /// How many operands it takes.
    pub(crate) inputs: RangeInclusive<usize>,
    /// Makes its nodes.
    pub(crate) import: fn(&mut OpCx<'_>) -> Outcome,
}

/// A row of the default domain.
pub(crate) const fn row(
    name: &'static str,
    since: i64,
    inputs: RangeInclusive<usize>,
    import: fn(&mut OpCx<'_>) -> Outcome,
) -> Row {
    Row { domain: "", name, since, until: None, inputs, import }
}

impl Row {
    /// The row for an operator that opset `last` was the last to have.
    pub(crate) const fn until(mut self, last: i64) -> Row {
        self.until = Some(last);
        self
    }

    /// The row for another domain.
    pub(crate) const fn of(mut self, domain: &'static str) -> Row {
        self.domain = domain;
        self
    }
}

/// What the table says about an operator.
pub(crate) enum Found {
    /// It is there.
    Row(&'static Row),
    /// It came with a later opset.
    Since(i64),
    /// An earlier opset was the last to have it.
    Until(i64),
    /// No opset has it.
    Unknown,
    /// Nothing of that domain is there.
    UnknownDomain,
}

/// Looks an operator up.
pub(crate) fn find(domain: &str, name: &str, opset: i64) -> Found {
    let mut found = Found::Unknown;
    let mut domain_known = domain.is_empty();
    for row in ops::FAMILIES.iter().copied().flatten() {
        if row.domain != domain {
            continue;
        }
        domain_known = true;
        if row.name != name {
            continue;
        }
        match row.until {
            Some(last) if opset > last => found = Found::Until(last),
            _ if opset < row.since => found = Found::Since(row.since),
            _ => return Found::Row(row),
        }
    }
    if domain_known { found } else { Found::UnknownDomain }
}
