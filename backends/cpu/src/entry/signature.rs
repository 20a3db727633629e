//! signature - what is asked before a run: `bind` and `output_dims`.

use std::collections::BTreeSet;

use cranelift_codegen::ir::{
    InstBuilder, Value,
    condcodes::IntCC,
    types::{I32, I64},
};
use nnc_ir::{
    entity::EntityId,
    extent::{Extent, SymbolId, SymbolOrigin},
    graph::Module,
};
use nnc_runtime::abi::{UNBOUNDED, fault};

use super::{
    Emitter,
    extent::{Eval, Relation, for_each_broadcast},
    functions::{Body, FuncId, Functions},
    symbols::relation,
};
use crate::{
    frame::offset,
    plan::{Bounds, data_free},
};

impl Emitter<'_> {
    /// `bind(input dims, inputs, symbols)`.
    pub(super) fn bind(&mut self, functions: &mut Functions) -> FuncId {
        let id = functions.declare("nnc_bind", 3, Some(I32));
        functions.define(id, |_, body| self.write_bind(body));
        id
    }

    fn write_bind(&self, body: &mut Body<'_>) {
        let (input_dims, symbols) = (body.params[0], body.params[2]);
        let module = self.program.module;
        let at = |s: SymbolId| offset(s.index());
        let params = &module.region(module.body()).params;
        for (symbol, known) in module.symbols.iter() {
            let SymbolOrigin::Input { input, axis } = known.origin else { continue };
            let dims = body.load(I64, input_dims, offset(input));
            let given = body.load(I64, dims, offset(axis));
            self.check_range(body, symbol, given);
            body.store(given, symbols, at(symbol));
        }
        let mut eval = Eval::new(symbols, &at);
        for (i, &input) in params.iter().enumerate() {
            let shape = &module.ty(input).shape;
            if shape.is_empty() {
                continue;
            }
            let dims = body.load(I64, input_dims, offset(i));
            for (axis, extent) in shape.iter().enumerate() {
                let given = body.load(I64, dims, offset(axis));
                let code = if extent.as_const().is_some() { fault::BAD_EXTENT } else { fault::EXTENT_CLASH };
                let want = eval.extent(body, extent);
                let differs = body.b.ins().icmp(IntCC::NotEqual, given, want);
                body.fail_with(differs, code);
            }
        }
        self.check_extents(body, &mut eval);
        body.finish();
    }

    fn check_range(&self, body: &mut Body<'_>, symbol: SymbolId, value: Value) {
        let symbol = &self.program.module.symbols[symbol];
        let (min, max) = (body.int(symbol.min.max(0)), body.int(symbol.max));
        let below = body.b.ins().icmp(IntCC::SignedLessThan, value, min);
        let above = body.b.ins().icmp(IntCC::SignedGreaterThan, value, max);
        let outside = body.b.ins().bor(below, above);
        body.fail_with(outside, fault::BAD_EXTENT);
    }

    /// Refuses extents for which the program has no meaning: a broken constraint, a negative length, a size of over 64
    /// bits.
    fn check_extents(&self, body: &mut Body<'_>, eval: &mut Eval<'_>) {
        let module = self.program.module;
        let (lengths, sizes) = extents(module);
        let mut relations: Vec<(Relation, Extent, Extent, i64)> = Vec::new();
        for constraint in &module.constraints {
            let (relation, a, b, code) = relation(&constraint.kind);
            if data_free(&module.symbols, a) && data_free(&module.symbols, b) {
                relations.push((relation, a.clone(), b.clone(), code));
            }
        }
        let mut broadcasts = BTreeSet::new();
        for extent in &lengths {
            for_each_broadcast(extent, &mut |a, b| {
                broadcasts.insert((a.clone(), b.clone()));
            });
        }
        let joins = broadcasts.into_iter().map(|(a, b)| (Relation::Broadcast, a, b, fault::EXTENT_CLASH));
        relations.extend(joins);
        for (relation, a, b, code) in relations {
            let (broken, ..) = eval.broken(body, relation, &a, &b);
            body.fail_with(broken, code);
        }
        for extent in &lengths {
            let value = eval.extent(body, extent);
            let negative = body.b.ins().icmp_imm_s(IntCC::SignedLessThan, value, 0);
            body.fail_with(negative, fault::BAD_EXTENT);
        }
        for size in &sizes {
            eval.extent(body, size);
        }
        if let Some(overflow) = eval.overflowed(body) {
            body.fail_with(overflow, fault::OUT_OF_MEMORY);
        }
    }

    /// `output_dims(symbols, output dims)`.
    pub(super) fn output_dims(&mut self, functions: &mut Functions) -> FuncId {
        let id = functions.declare("nnc_output_dims", 2, None);
        functions.define(id, |_, body| {
            let (symbols, output_dims) = (body.params[0], body.params[1]);
            let module = self.program.module;
            let bounds = Bounds::new(&module.symbols);
            let at = |s: SymbolId| offset(s.index());
            let mut eval = Eval::new(symbols, &at);
            for (i, &output) in module.region(module.body()).results.iter().enumerate() {
                let shape = &module.ty(output).shape;
                if shape.is_empty() {
                    continue;
                }
                let dims = body.load(I64, output_dims, offset(i));
                for (axis, extent) in shape.iter().enumerate() {
                    let value = match bounds.at_most(extent) {
                        Some(extent) => eval.extent(body, &extent),
                        None => body.int(UNBOUNDED),
                    };
                    body.store(value, dims, offset(axis));
                }
            }
            body.b.ins().return_(&[]);
        });
        id
    }
}

/// The lengths and sizes of the main region's values that are known before the run but not when compiling.
fn extents(module: &Module) -> (BTreeSet<Extent>, BTreeSet<Extent>) {
    let region = module.region(module.body());
    let results = region.nodes.iter().flat_map(|&n| &module.node(n).results);
    let (mut lengths, mut sizes) = (BTreeSet::new(), BTreeSet::new());
    let asks = |e: &Extent| e.as_const().is_none() && data_free(&module.symbols, e);
    for &value in region.params.iter().chain(results) {
        let ty = module.ty(value);
        lengths.extend(ty.shape.iter().filter(|e| asks(e)).cloned());
        sizes.extend(Some(ty.bytes()).filter(|e| asks(e)));
    }
    (lengths, sizes)
}
