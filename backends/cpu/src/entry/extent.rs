//! extent - values of extents in machine code, with a note of every overflow.

use cranelift_codegen::ir::{
    InstBuilder, InstructionData, Opcode, Value, ValueDef, condcodes::IntCC, types::I64,
};
use nnc_ir::extent::{Atom, Extent, SymbolId};
use rustc_hash::FxHashMap;

use super::functions::Body;

/// Evaluates extents in one function, each once.
pub(super) struct Eval<'a> {
    /// Where the symbols are.
    base: Value,
    /// Byte offset of each from there.
    offset: &'a dyn Fn(SymbolId) -> i32,
    extents: FxHashMap<Extent, Value>,
    atoms: FxHashMap<Atom, Value>,
    /// Negative where something went over 64 bits.
    overflow: Option<Value>,
}

impl<'a> Eval<'a> {
    /// Nothing is evaluated yet; the symbols are at `base`, each at its offset.
    pub(super) fn new(base: Value, offset: &'a dyn Fn(SymbolId) -> i32) -> Self {
        Self { base, offset, extents: FxHashMap::default(), atoms: FxHashMap::default(), overflow: None }
    }

    /// Not 0 if any value so far went over 64 bits.
    pub(super) fn overflowed(&self, body: &mut Body<'_>) -> Option<Value> {
        let overflow = self.overflow?;
        Some(body.b.ins().icmp_imm_s(IntCC::SignedLessThan, overflow, 0))
    }

    fn note(&mut self, body: &mut Body<'_>, sign: Value) {
        self.overflow = Some(match self.overflow {
            Some(overflow) => body.b.ins().bor(overflow, sign),
            None => sign,
        });
    }

    /// The value of an extent.
    pub(super) fn extent(&mut self, body: &mut Body<'_>, extent: &Extent) -> Value {
        let polynomial = match extent {
            Extent::Const(c) => return body.int(*c),
            Extent::Expr(p) => p,
        };
        if let Some(&value) = self.extents.get(extent) {
            return value;
        }
        let mut sum: Option<Value> = None;
        for term in &polynomial.terms {
            let mut product: Option<Value> = None;
            for atom in &term.atoms {
                let factor = self.atom(body, atom);
                product = Some(product.map_or(factor, |p| self.product(body, p, factor)));
            }
            let mut product = product.expect("a term has atoms");
            if term.coefficient != 1 {
                let coefficient = body.int(term.coefficient);
                product = self.product(body, product, coefficient);
            }
            sum = Some(sum.map_or(product, |s| self.sum(body, s, product)));
        }
        let mut sum = sum.expect("an expression has terms");
        if polynomial.constant != 0 {
            let constant = body.int(polynomial.constant);
            sum = self.sum(body, sum, constant);
        }
        self.extents.insert(extent.clone(), sum);
        sum
    }

    /// The product of two values.
    pub(super) fn product(&mut self, body: &mut Body<'_>, a: Value, b: Value) -> Value {
        if let Some(known) = constant(body, a).zip(constant(body, b)).and_then(|(a, b)| a.checked_mul(b)) {
            return body.int(known);
        }
        let low = body.b.ins().imul(a, b);
        let high = body.b.ins().smulhi(a, b);
        let sign = body.b.ins().sshr_imm_s(low, 63);
        let differs = body.b.ins().icmp(IntCC::NotEqual, high, sign);
        let wide = body.b.ins().uextend(I64, differs);
        let mask = body.b.ins().ineg(wide);
        self.note(body, mask);
        low
    }

    /// The sum of two values.
    pub(super) fn sum(&mut self, body: &mut Body<'_>, a: Value, b: Value) -> Value {
        if let Some(known) = constant(body, a).zip(constant(body, b)).and_then(|(a, b)| a.checked_add(b)) {
            return body.int(known);
        }
        let sum = body.b.ins().iadd(a, b);
        let (x, y) = (body.b.ins().bxor(sum, a), body.b.ins().bxor(sum, b));
        let sign = body.b.ins().band(x, y);
        self.note(body, sign);
        sum
    }

    fn atom(&mut self, body: &mut Body<'_>, atom: &Atom) -> Value {
        if let Some(&value) = self.atoms.get(atom) {
            return value;
        }
        let value = match atom {
            Atom::Symbol(s) => body.load(I64, self.base, (self.offset)(*s)),
            Atom::FloorDiv(a, b) => {
                let (x, y) = (self.extent(body, a), self.extent(body, b));
                floor_div(body, x, y, b.as_const()).0
            }
            Atom::Mod(a, b) => {
                let (x, y) = (self.extent(body, a), self.extent(body, b));
                floor_div(body, x, y, b.as_const()).1
            }
            Atom::Min(a, b) => {
                let (x, y) = (self.extent(body, a), self.extent(body, b));
                body.b.ins().smin(x, y)
            }
            Atom::Max(a, b) => {
                let (x, y) = (self.extent(body, a), self.extent(body, b));
                body.b.ins().smax(x, y)
            }
            Atom::Bcast(a, b) => {
                let (x, y) = (self.extent(body, a), self.extent(body, b));
                let is_one = body.b.ins().icmp_imm_s(IntCC::Equal, y, 1);
                body.b.ins().select(is_one, x, y)
            }
        };
        self.atoms.insert(atom.clone(), value);
        value
    }

    /// What does not hold: not 0 where the relation is broken, with both sides.
    pub(super) fn broken(
        &mut self,
        body: &mut Body<'_>,
        relation: Relation,
        a: &Extent,
        b: &Extent,
    ) -> (Value, Value, Value) {
        let (x, y) = (self.extent(body, a), self.extent(body, b));
        let differs = body.b.ins().icmp(IntCC::NotEqual, x, y);
        let broken = match relation {
            Relation::Equal => differs,
            Relation::AtMost => body.b.ins().icmp(IntCC::SignedGreaterThan, x, y),
            Relation::Repeats => {
                let several = body.b.ins().icmp_imm_s(IntCC::NotEqual, x, 1);
                body.b.ins().band(differs, several)
            }
            Relation::Broadcast => {
                let (p, q) = (
                    body.b.ins().icmp_imm_s(IntCC::NotEqual, x, 1),
                    body.b.ins().icmp_imm_s(IntCC::NotEqual, y, 1),
                );
                let both = body.b.ins().band(p, q);
                body.b.ins().band(differs, both)
            }
        };
        (broken, x, y)
    }
}

/// The value, if it is a constant.
fn constant(body: &Body<'_>, value: Value) -> Option<i64> {
    let ValueDef::Result(inst, 0) = body.b.func.dfg.value_def(value) else { return None };
    match body.b.func.dfg.insts[inst] {
        InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => Some(imm.bits()),
        _ => None,
    }
}

/// What two extents must be to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// Equal.
    Equal,
    /// The first is no more than the second.
    AtMost,
    /// Equal, or the first is 1.
    Repeats,
    /// Equal, or one of them is 1.
    Broadcast,
}

/// Quotient towards minus infinity and its remainder; both are 0 for divisor 0. Never traps.
fn floor_div(body: &mut Body<'_>, a: Value, b: Value, known: Option<i64>) -> (Value, Value) {
    // What the instruction can divide by: neither 0 nor -1.
    let safe = if known.is_some_and(|b| b > 0) {
        b
    } else {
        let one = body.int(1);
        let next = body.b.ins().iadd_imm_s(b, 1);
        let odd = body.b.ins().icmp_imm_s(IntCC::UnsignedLessThanOrEqual, next, 1);
        body.b.ins().select(odd, one, b)
    };
    let toward_zero = body.b.ins().sdiv(a, safe);
    let product = body.b.ins().imul(toward_zero, safe);
    let rest = body.b.ins().isub(a, product);
    let inexact = body.b.ins().icmp_imm_s(IntCC::NotEqual, rest, 0);
    let signs = body.b.ins().bxor(rest, safe);
    let opposite = body.b.ins().icmp_imm_s(IntCC::SignedLessThan, signs, 0);
    let lower = body.b.ins().band(inexact, opposite);
    let lower = body.b.ins().uextend(I64, lower);
    let mut quotient = body.b.ins().isub(toward_zero, lower);
    if known.is_none_or(|b| b <= 0) {
        let zero = body.int(0);
        let negated = body.b.ins().ineg(a);
        let by_zero = body.b.ins().icmp_imm_s(IntCC::Equal, b, 0);
        let by_minus_one = body.b.ins().icmp_imm_s(IntCC::Equal, b, -1);
        let odd = body.b.ins().select(by_minus_one, negated, quotient);
        quotient = body.b.ins().select(by_zero, zero, odd);
        let product = body.b.ins().imul(quotient, b);
        let rest = body.b.ins().isub(a, product);
        let rest = body.b.ins().select(by_zero, zero, rest);
        return (quotient, rest);
    }
    let product = body.b.ins().imul(quotient, b);
    let rest = body.b.ins().isub(a, product);
    (quotient, rest)
}

/// Calls `f` with both sides of every broadcast in an extent.
pub(super) fn for_each_broadcast(extent: &Extent, f: &mut dyn FnMut(&Extent, &Extent)) {
    let Extent::Expr(p) = extent else { return };
    for atom in p.terms.iter().flat_map(|t| &t.atoms) {
        match atom {
            Atom::Symbol(_) => {}
            Atom::FloorDiv(a, b) | Atom::Mod(a, b) | Atom::Min(a, b) | Atom::Max(a, b) => {
                for_each_broadcast(a, f);
                for_each_broadcast(b, f);
            }
            Atom::Bcast(a, b) => {
                for_each_broadcast(a, f);
                for_each_broadcast(b, f);
                f(a, b);
            }
        }
    }
}
