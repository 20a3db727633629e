//! extract - chooses one form for each class so that all roots together cost least, a shared class counted once.
//!
//! Exact extraction of directed acyclic graphs is NP-hard (Stepp, Equality saturation, 2011), so: a greedy choice in
//! which every class knows the set of classes below it, then single exchanges as long as they lower the joint cost. It is
//! never worse than its start, the input's own forms.

use std::collections::BTreeMap;

use egg::{Id, Language};
use rustc_hash::FxHashMap;

use super::{graph::Graph, term::Term};

/// Rounds of the greedy choice, and of exchanges.
const ROUNDS: usize = 8;

/// A form of a class.
#[derive(Clone, Debug)]
struct Form {
    id: Id,
    price: i64,
    below: Vec<usize>,
}

/// The classes of an e-graph with their prices; numbers count classes in the order of their first e-nodes.
pub(super) struct Choices {
    number: FxHashMap<Id, usize>,
    forms: Vec<Vec<Form>>,
}

/// A form for each class that needs one; none for leaves and constants.
pub(super) type Choice = Vec<Option<usize>>;

impl Choices {
    /// Every form with its price.
    pub(super) fn of(graph: &Graph, mut price: impl FnMut(Id) -> i64) -> Self {
        let members = graph.members();
        let mut first: BTreeMap<Id, Id> = BTreeMap::new();
        for (&class, ids) in &members {
            first.insert(ids[0], class);
        }
        let number: FxHashMap<Id, usize> =
            first.values().enumerate().map(|(number, &class)| (class, number)).collect();
        let mut forms = vec![Vec::new(); number.len()];
        for (class, ids) in members {
            let is_given =
                graph.fact(class).constant || ids.iter().any(|&id| matches!(graph.term(id), Term::Leaf(_)));
            if is_given {
                continue;
            }
            for id in ids {
                let mut below: Vec<usize> =
                    graph.term(id).children().iter().map(|&c| number[&graph.class(c)]).collect();
                below.sort_unstable();
                below.dedup();
                forms[number[&class]].push(Form { id, price: price(id), below });
            }
        }
        Self { number, forms }
    }

    pub(super) fn number(&self, class: Id) -> usize {
        self.number[&class]
    }
    pub(super) fn form(&self, choice: &Choice, class: usize) -> Option<Id> {
        Some(self.forms[class][choice[class]?].id)
    }

    /// The first form of every class: that of the input where it has one.
    pub(super) fn first(&self) -> Choice {
        self.forms.iter().map(|forms| (!forms.is_empty()).then_some(0)).collect()
    }

    /// Joint cost of the classes that the roots need; nothing if one needs itself.
    pub(super) fn cost(&self, choice: &Choice, roots: &[usize]) -> Option<i64> {
        let mut state = vec![0u8; self.forms.len()];
        let mut total = 0i64;
        for &root in roots {
            self.visit(choice, root, &mut state, &mut total)?;
        }
        Some(total)
    }

    fn visit(&self, choice: &Choice, class: usize, state: &mut [u8], total: &mut i64) -> Option<()> {
        const OPEN: u8 = 1;
        const DONE: u8 = 2;
        match state[class] {
            OPEN => return None,
            DONE => return Some(()),
            _ => {}
        }
        if let Some(at) = choice[class] {
            state[class] = OPEN;
            let form = &self.forms[class][at];
            for &below in &form.below {
                self.visit(choice, below, state, total)?;
            }
            *total = total.saturating_add(form.price);
        }
        state[class] = DONE;
        Some(())
    }

    /// The greedy choice: for each class the form whose classes, together, cost least.
    pub(super) fn greedy(&self) -> Choice {
        let mut best: Vec<Option<(i64, Vec<u64>)>> = vec![None; self.forms.len()];
        let mut choice = self.first();
        let words = self.forms.len().div_ceil(64);
        for (class, forms) in self.forms.iter().enumerate() {
            if forms.is_empty() {
                best[class] = Some((0, vec![0; words]));
            }
        }
        for _ in 0..ROUNDS * 4 {
            let mut changed = false;
            for class in 0..self.forms.len() {
                for (at, form) in self.forms[class].iter().enumerate() {
                    let Some((total, set)) = self.joint(&best, &choice, class, form, words) else { continue };
                    if best[class].as_ref().is_none_or(|(have, _)| total < *have) {
                        best[class] = Some((total, set));
                        choice[class] = Some(at);
                        changed = true;
                    }
                }
            }
            if !changed {
                break;
            }
        }
        choice
    }

    fn joint(
        &self,
        best: &[Option<(i64, Vec<u64>)>],
        choice: &Choice,
        class: usize,
        form: &Form,
        words: usize,
    ) -> Option<(i64, Vec<u64>)> {
        let mut set = vec![0u64; words];
        for &below in &form.below {
            let (_, under) = best[below].as_ref()?;
            set.iter_mut().zip(under).for_each(|(a, b)| *a |= b);
        }
        if set[class / 64] >> (class % 64) & 1 == 1 {
            return None;
        }
        let mut total = form.price;
        for (word, &bits) in set.iter().enumerate() {
            let mut rest = bits;
            while rest != 0 {
                let other = word * 64 + rest.trailing_zeros() as usize;
                rest &= rest - 1;
                total = total.saturating_add(self.forms[other][choice[other]?].price);
            }
        }
        set[class / 64] |= 1 << (class % 64);
        Some((total, set))
    }

    /// Exchanges single forms as long as that lowers the joint cost.
    pub(super) fn improve(&self, mut choice: Choice, roots: &[usize]) -> (Choice, Option<i64>) {
        let mut cost = self.cost(&choice, roots);
        for _ in 0..ROUNDS {
            let mut changed = false;
            for class in self.needed(&choice, roots) {
                for at in 0..self.forms[class].len() {
                    let old = choice[class].replace(at);
                    let new = self.cost(&choice, roots);
                    if new.is_some_and(|new| cost.is_none_or(|cost| new < cost)) {
                        cost = new;
                        changed = true;
                    } else {
                        choice[class] = old;
                    }
                }
            }
            if !changed {
                break;
            }
        }
        (choice, cost)
    }

    /// Classes that the roots need, in order; leaves and constants among them.
    pub(super) fn needed(&self, choice: &Choice, roots: &[usize]) -> Vec<usize> {
        let mut needed = vec![false; self.forms.len()];
        let mut open = roots.to_vec();
        while let Some(class) = open.pop() {
            if std::mem::replace(&mut needed[class], true) {
                continue;
            }
            if let Some(at) = choice[class] {
                open.extend(&self.forms[class][at].below);
            }
        }
        (0..needed.len()).filter(|&class| needed[class]).collect()
    }
}
