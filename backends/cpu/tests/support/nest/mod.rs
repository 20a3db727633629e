//! nest - kernels of nests, run on guarded buffers, beside what evaluating them one point after another gives.
#![allow(dead_code, unused_imports, reason = "each test uses its own part")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod compiled;
mod elements;
mod reference;

pub(crate) use crate::support::guarded::Buffer;
pub(crate) use compiled::{
    Compiled, Machine, compile_at, compile_form, compile_known, compile_known_at, compile_with, next_machine,
};
pub(crate) use elements::{random, same_bits};
pub(crate) use reference::{index, points, read, reference};

use nnc_ir::{
    dtype::Scalar,
    entity::EntityId,
    extent::{Extent, SymbolId},
    form::LoopForm,
    math,
    program::{Builder, Ref},
};

/// Values of the symbols of a test.
pub(crate) type Symbols = Vec<i64>;

/// The value of an extent.
pub(crate) fn value(e: &Extent, symbols: &Symbols) -> i64 {
    e.eval(&|s: SymbolId| Some(symbols[s.index()])).unwrap()
}

/// Compiles and runs a form on random operands of the given element counts and compares all bits; `parts` is varied.
pub(crate) fn check(what: &str, form: &LoopForm, symbols: &Symbols, operands: &[Vec<u8>]) {
    let compiled = compile_form(form, operands.len(), vec![None; form.results.len()]);
    check_compiled(what, &compiled, form, symbols, operands);
}

/// See [`check`].
pub(crate) fn check_compiled(
    what: &str,
    compiled: &Compiled,
    form: &LoopForm,
    symbols: &Symbols,
    operands: &[Vec<u8>],
) {
    let (want, fault) = reference(&compiled.settled(form), symbols, operands);
    for parts in [1, 3] {
        let inputs: Vec<Buffer> = operands.iter().map(|b| Buffer::new(b)).collect();
        let outputs: Vec<Buffer> = want.iter().map(|b| Buffer::new(&vec![0xcc; b.len()])).collect();
        let all: Vec<&Buffer> = inputs.iter().chain(&outputs).collect();
        let record = compiled.run(symbols, &all, parts);
        assert_eq!(record[0] != 0, fault, "{what}: fault {record:?}, symbols {symbols:?}");
        if fault {
            assert!(compiled.may_fault, "{what}");
            assert_eq!((record[0], record[1]), (805, 7), "{what}");
        }
        for ((want, have), &dtype) in want.iter().zip(&outputs).zip(&form.results) {
            if !same_bits(dtype, want, have.bytes()) {
                let n = dtype.bytes();
                let show = |b: &[u8]| b.chunks(n).map(|c| Scalar::load(dtype, c)).collect::<Vec<_>>();
                let (w, h) = (show(want), show(have.bytes()));
                let at = (0..w.len()).find(|&i| w[i] != h[i]);
                panic!(
                    "{what}: element {at:?} of {}, symbols {symbols:?}\nwant {w:?}\nhave {h:?}\nform {form:?}",
                    w.len()
                );
            }
        }
    }
}

/// `x / 2 * (1 + erf(x / sqrt(2)))`.
pub(crate) fn gelu(b: &mut Builder, x: Ref) -> Ref {
    let scale = b.f32(std::f32::consts::FRAC_1_SQRT_2);
    let scaled = b.mul(x, scale);
    let e = math::erf(b, scaled);
    let half = b.f32(0.5);
    let h = b.mul(x, half);
    b.fma(h, e, h)
}
