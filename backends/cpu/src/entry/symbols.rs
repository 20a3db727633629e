//! symbols - what happens when data decide a symbol: it is checked, and all that follows from it is computed.

use cranelift_codegen::ir::{InstBuilder, Value, condcodes::IntCC, types::I32};
use indexmap::IndexMap;
use nnc_ir::{
    extent::{Extent, SymbolId, SymbolOrigin},
    graph::ConstraintKind,
};
use nnc_runtime::abi::fault;
use rustc_hash::FxHashMap;

use super::{
    Emitter, Program,
    extent::{Eval, Relation, for_each_broadcast},
    functions::{Body, FuncId, Functions},
};
use crate::{
    frame::offset,
    plan::{Block, Step},
};

/// The functions that run when symbols are bound while running.
pub(super) struct Definitions {
    /// In which order symbols are bound; what depends on several is done with the last.
    order: FxHashMap<SymbolId, usize>,
    /// By the symbols bound together.
    functions: IndexMap<Vec<SymbolId>, FuncId>,
}

impl Definitions {
    pub(super) fn new(program: &Program<'_>) -> Self {
        let mut order = FxHashMap::default();
        number(&program.plan.main, &mut order);
        Self { order, functions: IndexMap::new() }
    }

    /// Whether `extents` together depend on a symbol of `set`, and on none that is bound later.
    fn complete_with(&self, set: &[SymbolId], extents: &[&Extent]) -> bool {
        let mut last: Option<(usize, SymbolId)> = None;
        for extent in extents {
            extent.for_each_symbol(&mut |s| {
                last = last.max(self.order.get(&s).map(|&at| (at, s)));
            });
        }
        last.is_some_and(|(_, s)| set.contains(&s))
    }
}

fn number(block: &Block, order: &mut FxHashMap<SymbolId, usize>) {
    let add = |s: SymbolId, order: &mut FxHashMap<SymbolId, usize>| {
        let next = order.len();
        order.entry(s).or_insert(next);
    };
    for step in &block.steps {
        match step {
            Step::ReadExtents { symbols, .. } => symbols.iter().for_each(|&s| add(s, order)),
            Step::Define(define) => define.symbols.iter().for_each(|(s, _)| add(*s, order)),
            Step::Extern(step) => step.defines.iter().for_each(|&(_, _, s)| add(s, order)),
            Step::If(step) => {
                number(&step.then, order);
                number(&step.otherwise, order);
            }
            Step::Loop(step) => {
                number(&step.body, order);
                step.count.iter().for_each(|&s| add(s, order));
            }
            Step::Scan(step) => number(&step.body, order),
            Step::Nest(_)
            | Step::Groups(_)
            | Step::Rows(_)
            | Step::Tiled(_)
            | Step::Scatter(_)
            | Step::Ensure { .. }
            | Step::Copy { .. }
            | Step::StoreExtents { .. } => {}
        }
    }
}

/// Number of a diagnostic.
#[derive(Clone, Copy)]
pub(super) enum Code {
    /// Known when compiling.
    Known(i64),
    /// Given by the caller.
    Given(Value),
}

impl From<i64> for Code {
    fn from(code: i64) -> Self {
        Code::Known(code)
    }
}

fn mentions(extent: &Extent, set: &[SymbolId]) -> bool {
    let mut found = false;
    extent.for_each_symbol(&mut |s| found |= set.contains(&s));
    found
}

/// A constraint as a relation of two extents, with the code of its breach.
pub(super) fn relation(kind: &ConstraintKind) -> (Relation, &Extent, &Extent, i64) {
    match kind {
        ConstraintKind::Equal(a, b) => (Relation::Equal, a, b, fault::EXTENT_CLASH),
        ConstraintKind::Broadcasts(a, b) => (Relation::Repeats, a, b, fault::EXTENT_CLASH),
        ConstraintKind::AtMost(a, b) => (Relation::AtMost, a, b, fault::BAD_EXTENT),
    }
}

impl<'a> Emitter<'a> {
    /// Ends the function with a recorded fault if `condition` is not 0.
    #[expect(clippy::too_many_arguments, reason = "a fault has four parts")]
    pub(super) fn fault_if(
        &self,
        functions: &Functions,
        body: &mut Body<'_>,
        condition: Value,
        code: impl Into<Code>,
        node: Value,
        value: Value,
        limit: Value,
    ) {
        let helper = self.helpers.fail;
        let code = code.into();
        body.when(condition, |body| {
            let frame = body.params[0];
            let code = match code {
                Code::Known(code) => body.int(code),
                Code::Given(code) => code,
            };
            let code =
                body.call(functions, helper, &[frame, code, node, value, limit]).expect("gives a code");
            body.fail_if(code, code);
        });
    }

    /// Binds symbols to values; `code` is that of one out of its range.
    pub(super) fn bind_symbols(
        &mut self,
        functions: &mut Functions,
        body: &mut Body<'_>,
        values: &[(SymbolId, Value)],
        node: i64,
        code: i64,
    ) {
        let frame = body.params[0];
        let node = body.int(node);
        for &(symbol, value) in values {
            let known = &self.program.module.symbols[symbol];
            let (min, max) = (body.int(known.min), body.int(known.max));
            let below = body.b.ins().icmp(IntCC::SignedLessThan, value, min);
            let above = body.b.ins().icmp(IntCC::SignedGreaterThan, value, max);
            let outside = body.b.ins().bor(below, above);
            self.fault_if(functions, body, outside, code, node, value, max);
        }
        for &(symbol, value) in values {
            body.store(value, frame, self.program.slots.symbol(symbol));
        }
        let mut set: Vec<SymbolId> = values.iter().map(|&(s, _)| s).collect();
        set.sort_unstable();
        let known = self.definitions.functions.len();
        let declare = || functions.declare(format!("nnc_bind_{known}"), 3, Some(I32));
        let id = *self.definitions.functions.entry(set).or_insert_with(declare);
        let code = body.int(code);
        body.call_checked(functions, id, &[frame, node, code]);
    }

    /// Writes the functions that `bind_symbols` calls.
    pub(super) fn define_definitions(&mut self, functions: &mut Functions) {
        let sets: Vec<(Vec<SymbolId>, FuncId)> =
            self.definitions.functions.iter().map(|(s, &f)| (s.clone(), f)).collect();
        for (set, id) in sets {
            functions.define(id, |functions, body| self.definition(functions, body, &set));
        }
    }

    fn definition(&self, functions: &Functions, body: &mut Body<'_>, set: &[SymbolId]) {
        let (frame, node, code) = (body.params[0], body.params[1], body.params[2]);
        let program = self.program;
        let slot = |s: SymbolId| program.slots.symbol(s);
        let mut eval = Eval::new(frame, &slot);
        let mut broadcasts: Vec<(Extent, Extent)> = Vec::new();
        for (at, extent) in self.frame.extents().filter(|(_, e)| mentions(e, set)) {
            let value = eval.extent(body, extent);
            body.store(value, frame, offset(at));
            for_each_broadcast(extent, &mut |a, b| {
                if self.definitions.complete_with(set, &[a, b]) {
                    broadcasts.push((a.clone(), b.clone()));
                }
            });
        }
        broadcasts.sort();
        broadcasts.dedup();
        let mut relations: Vec<(Relation, Extent, Extent, Code)> = Vec::new();
        for &symbol in set {
            // What is at most something must be it, since memory was taken for that.
            if let Some(bound) = &program.module.symbols[symbol].bound {
                relations.push((Relation::AtMost, symbol.into(), bound.clone(), Code::Given(code)));
            }
        }
        for constraint in &program.module.constraints {
            let (relation, a, b, code) = relation(&constraint.kind);
            if self.definitions.complete_with(set, &[a, b]) {
                relations.push((relation, a.clone(), b.clone(), Code::Known(code)));
            }
        }
        let joins = broadcasts
            .into_iter()
            .map(|(a, b)| (Relation::Broadcast, a, b, Code::Known(fault::EXTENT_CLASH)));
        relations.extend(joins);
        for (relation, a, b, code) in relations {
            let (broken, x, y) = eval.broken(body, relation, &a, &b);
            self.fault_if(functions, body, broken, code, node, x, y);
        }
        if let Some(overflow) = eval.overflowed(body) {
            let many = body.int(i64::MAX);
            self.fault_if(functions, body, overflow, fault::OUT_OF_MEMORY, node, many, many);
        }
        body.finish();
    }

    /// Whether the module's symbol is bound before the run.
    pub(super) fn is_input(&self, symbol: SymbolId) -> bool {
        self.program.module.symbols[symbol].origin != SymbolOrigin::Data
    }
}
