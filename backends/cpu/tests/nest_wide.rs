//! nest_wide - nests that are to be done by wide streams are, and give the evaluator's bits.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "support/nest/mod.rs"]
mod nest;
mod support;

use nest::{Buffer, Symbols, compile_known_at, random, reference, value};
use nnc_ir::{
    dtype::{DType, Scalar},
    entity::EntityId,
    extent::{Extent, SymbolId, product},
    form::{Bounds, Combine, Ix, Load, LoopForm},
    program::{Binary, Builder, Program},
};
use support::{Rng, host_levels};

const F: DType = DType::F32;

fn load(operand: usize, dtype: DType, index: Vec<Ix>, extents: &[Extent], bounds: Bounds) -> Load {
    Load { operand, dtype, index, extents: extents.to_vec(), bounds }
}

/// `max(x * scale + bias, 0)` over rows, a scale for each row and a bias for each column.
fn rows(space: [Extent; 2]) -> LoopForm {
    let mut b = Builder::new();
    let (x, scale, bias, zero) = (b.load(0, F), b.load(1, F), b.load(2, F), b.f32(0.0));
    let y = b.fma(x, scale, bias);
    let y = b.max(y, zero);
    LoopForm {
        loads: vec![
            load(0, F, LoopForm::identity(2), &space, Bounds::Inside),
            load(1, F, vec![Ix::Axis(0)], &space[..1], Bounds::Inside),
            load(2, F, vec![Ix::Axis(1)], &space[1..], Bounds::Inside),
        ],
        space: space.to_vec(),
        reduce: vec![],
        body: b.finish([y]),
        combine: None,
        finish: Program::default(),
        results: vec![F],
    }
}

/// Whole numbers where others are not zero, as f32.
fn chosen(n: Extent) -> LoopForm {
    let mut b = Builder::new();
    let (mask, x, zero) = (b.load(0, DType::I32), b.load(1, DType::I32), b.constant(Scalar::i32(0)));
    let is_set = b.binary(Binary::Ne, mask, zero);
    let y = b.select(is_set, x, zero);
    let y = b.cast(F, y);
    let of =
        |operand| load(operand, DType::I32, LoopForm::identity(1), std::slice::from_ref(&n), Bounds::Inside);
    LoopForm {
        loads: vec![of(0), of(1)],
        space: vec![n.clone()],
        reduce: vec![],
        body: b.finish([y]),
        combine: None,
        finish: Program::default(),
        results: vec![F],
    }
}

/// The greatest of each row.
fn folds(rows: Extent, n: Extent) -> LoopForm {
    let (mut b, mut f) = (Builder::new(), Builder::new());
    let (x, acc) = (b.load(0, F), f.acc(0, F));
    LoopForm {
        loads: vec![load(0, F, LoopForm::identity(2), &[rows.clone(), n.clone()], Bounds::Inside)],
        space: vec![rows],
        reduce: vec![n],
        body: b.finish([x]),
        combine: Some(Combine::Max),
        finish: f.finish([acc]),
        results: vec![F],
    }
}

/// The greatest of 3 x 3 with channels last.
fn pool(size: i64, channels: Extent) -> LoopForm {
    let (mut b, mut f) = (Builder::new(), Builder::new());
    let (x, acc) = (b.load(0, F), f.acc(0, F));
    let at = |a: usize| Ix::Axis(a).plus(Ix::Axis(a + 3)).plus(Ix::int(-1));
    let extents = [Extent::Const(size), Extent::Const(size), channels];
    let guard = Bounds::Guard(Scalar::f32(f32::NEG_INFINITY));
    LoopForm {
        loads: vec![load(0, F, vec![at(0), at(1), Ix::Axis(2)], &extents, guard)],
        space: extents.to_vec(),
        reduce: vec![Extent::Const(3), Extent::Const(3)],
        body: b.finish([x]),
        combine: Some(Combine::Max),
        finish: f.finish([acc]),
        results: vec![F],
    }
}

/// Rows and columns in each other's place, so many times.
fn turned(times: Extent, rows: Extent, columns: Extent) -> LoopForm {
    let mut b = Builder::new();
    let x = b.load(0, F);
    let index = vec![Ix::Axis(0), Ix::Axis(2), Ix::Axis(1)];
    LoopForm {
        loads: vec![load(0, F, index, &[times.clone(), columns.clone(), rows.clone()], Bounds::Inside)],
        space: vec![times, rows, columns],
        reduce: vec![],
        body: b.finish([x]),
        combine: None,
        finish: Program::default(),
        results: vec![F],
    }
}

/// Every element of a plane so many times along both axes.
fn repeated(planes: Extent, size: i64, by: i64, channels: i64) -> LoopForm {
    let mut b = Builder::new();
    let x = b.load(0, F);
    let index = vec![Ix::Axis(0), Ix::Axis(1).floor_div(by), Ix::Axis(2).floor_div(by), Ix::Axis(3)];
    let extents =
        |size: i64| vec![planes.clone(), Extent::Const(size), Extent::Const(size), Extent::Const(channels)];
    LoopForm {
        loads: vec![load(0, F, index, &extents(size), Bounds::Inside)],
        space: extents(size * by),
        reduce: vec![],
        body: b.finish([x]),
        combine: None,
        finish: Program::default(),
        results: vec![F],
    }
}

fn check(what: &str, form: &LoopForm, symbols: &Symbols) {
    let mut rng = Rng::new(1);
    let mut operands: Vec<Vec<u8>> = (form.loads.iter())
        .map(|l| random(&mut rng, l.dtype, value(&product(&l.extents), symbols) as usize))
        .collect();
    // What is the greatest of numbers and NaN depends on the order.
    for bytes in operands.iter_mut().flat_map(|o| o.chunks_mut(4)) {
        if f32::from_le_bytes(bytes.try_into().unwrap()).is_nan() {
            bytes.fill(0);
        }
    }
    let (want, _) = reference(form, symbols, &operands);
    for level in host_levels() {
        let compiled = compile_known_at(Some(level), form, &vec![None; operands.len()], vec![None]);
        assert!(compiled.tiles > 0, "{what}: no call of wide code with {level:?}");
        for parts in 1..4 {
            let inputs: Vec<Buffer> = operands.iter().map(|bytes| Buffer::new(bytes)).collect();
            let output = Buffer::new(&vec![0xff; want[0].len()]);
            let all: Vec<&Buffer> = inputs.iter().chain([&output]).collect();
            compiled.run(symbols, &all, parts);
            for (i, (want, got)) in want[0].chunks(4).zip(output.bytes().chunks(4)).enumerate() {
                let nan = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap()).is_nan();
                let same = want == got || (nan(want) && nan(got));
                assert!(same, "{what} with {level:?} in {parts} parts: element {i}: {got:?}, not {want:?}");
            }
        }
    }
}

#[test]
fn streams_are_called_and_give_the_bits_of_the_evaluator() {
    let c = Extent::Const;
    let symbol = || Extent::symbol(SymbolId::new(0));
    for n in [16, 17, 64, 100] {
        check("rows", &rows([c(7), c(n)]), &vec![]);
        check("rows of unknown length", &rows([c(7), symbol()]), &vec![n]);
        check("an unknown number of rows", &rows([symbol(), c(n)]), &vec![5]);
        check("folds", &folds(c(9), c(n)), &vec![]);
        check("folds of unknown length", &folds(c(9), symbol()), &vec![n]);
        check("a pool", &pool(5, c(n)), &vec![]);
        check("a pool of unknown channels", &pool(5, symbol()), &vec![n]);
    }
    for size in [4, 13, 26, 40] {
        check("every element twice", &repeated(c(3), size, 2, 1), &vec![]);
        check("every pixel twice", &repeated(c(2), size, 2, 24), &vec![]);
        check("every pixel four times", &repeated(symbol(), size, 4, 17), &vec![2]);
    }
    for rows in [5, 16, 33, 70, 2100] {
        check("a transposition", &turned(c(3), c(rows), c(35)), &vec![]);
        check("two rows by turns", &turned(c(3), c(rows), c(2)), &vec![]);
        check("a transposition of unknown sizes", &turned(c(2), symbol(), c(17)), &vec![rows]);
    }
    check("empty folds", &folds(c(9), symbol()), &vec![0]);
    check("no rows", &rows([symbol(), c(32)]), &vec![0]);
    check("a choice", &chosen(c(77)), &vec![]);
}
