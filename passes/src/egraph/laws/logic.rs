//! logic - laws of selection and of truth values, which hold bit for bit.

use nnc_ir::{
    dtype::DType,
    ops::{And, Not, OpKind, Or, Select},
};

use super::super::site::{At, Law, Site};
use crate::pass::{Exactness, Rule};

pub(super) const LAWS: &[Law] = &[
    Law { rule: &SELECT_OF_SAME, at: At::Kinds(&[OpKind::Select]), apply: select_of_same },
    Law { rule: &SELECT_BY_NEGATION, at: At::Kinds(&[OpKind::Select]), apply: select_by_negation },
    Law { rule: &NOT_OF_NOT, at: At::Kinds(&[OpKind::Not]), apply: not_of_not },
    Law { rule: &LOGIC_OF_SAME, at: At::Kinds(&[OpKind::And, OpKind::Or]), apply: logic_of_same },
    Law { rule: &DE_MORGAN, at: At::Kinds(&[OpKind::And, OpKind::Or]), apply: de_morgan },
];

pub(super) static SELECT_OF_SAME: Rule = Rule {
    name: "select-of-same",
    law: "select(c, x, x) = x",
    source: "both cases give x",
    exactness: Exactness::Exact,
};
pub(super) static SELECT_BY_NEGATION: Rule = Rule {
    name: "select-by-negation",
    law: "select(!c, x, y) = select(c, y, x)",
    source: "case by case",
    exactness: Exactness::Exact,
};
pub(super) static NOT_OF_NOT: Rule = Rule {
    name: "not-of-not",
    law: "!!c = c",
    source: "involution of Boolean algebra",
    exactness: Exactness::Exact,
};
pub(super) static LOGIC_OF_SAME: Rule = Rule {
    name: "logic-of-same",
    law: "x & x = x | x = x, of integers bit by bit",
    source: "idempotence of Boolean algebra",
    exactness: Exactness::Exact,
};
pub(super) static DE_MORGAN: Rule = Rule {
    name: "de-morgan",
    law: "!a & !b = !(a | b), !a | !b = !(a & b)",
    source: "De Morgan, Formal Logic, 1847",
    exactness: Exactness::Exact,
};

fn select_of_same(site: &mut Site<'_>) -> Option<()> {
    let (x, y) = (site.operand(1), site.operand(2));
    if site.is_same(x, y) { site.equals(x, &[]) } else { None }
}

fn select_by_negation(site: &mut Site<'_>) -> Option<()> {
    for condition in site.forms(site.operand(0), OpKind::Not) {
        let operands = [condition.operands[0], site.operand(2), site.operand(1)];
        let select = site.make(Select {}, &operands)?;
        site.equals(select, &[&condition]);
    }
    Some(())
}

fn not_of_not(site: &mut Site<'_>) -> Option<()> {
    for inner in site.forms(site.operand(0), OpKind::Not) {
        site.equals(inner.operands[0], &[&inner]);
    }
    Some(())
}

fn logic_of_same(site: &mut Site<'_>) -> Option<()> {
    let (x, y) = (site.operand(0), site.operand(1));
    if site.is_same(x, y) { site.equals(x, &[]) } else { None }
}

fn de_morgan(site: &mut Site<'_>) -> Option<()> {
    if site.result().dtype != DType::Bool {
        return None;
    }
    let is_and = site.op().kind() == OpKind::And;
    for a in site.forms(site.operand(0), OpKind::Not) {
        for b in site.forms(site.operand(1), OpKind::Not) {
            let operands = [a.operands[0], b.operands[0]];
            let both = if is_and { site.make(Or {}, &operands)? } else { site.make(And {}, &operands)? };
            let not = site.make(Not {}, &[both])?;
            site.equals(not, &[&a, &b]);
        }
    }
    Some(())
}
