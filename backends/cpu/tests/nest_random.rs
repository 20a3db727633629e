//! nest_random - random nests: reads of every kind under random programs and reductions give the evaluator's bits.
//!
//! Reductions are over integers, or over floats that are small integers, or seek an extreme of numbers: so their
//! results do not depend on the order, but for the sign of zero.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "support/nest/mod.rs"]
mod nest;
mod support;

use nest::{Buffer, Symbols, compile_form, random, reference, value};
use nnc_ir::{
    dtype::{DType, Scalar},
    entity::EntityId,
    extent::{Extent, SymbolId, product},
    form::{Bounds, Combine, Ix, Load, LoopForm},
    program::{Binary, Builder, Program, Ref, Unary},
};
use support::Rng;

const LENGTHS: [i64; 10] = [0, 1, 2, 3, 4, 5, 8, 9, 17, 35];

/// A nest in the making.
struct Draw {
    rng: Rng,
    symbols: Symbols,
    axes: Vec<Extent>,
    loads: Vec<Load>,
}

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.rng.below(n)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.rng.below(n) == 0
    }

    fn extent(&mut self, x: i64) -> Extent {
        if self.one_in(2) {
            return Extent::Const(x);
        }
        self.symbols.push(x);
        Extent::symbol(SymbolId::new(self.symbols.len() - 1))
    }

    fn at(&self, e: &Extent) -> i64 {
        value(e, &self.symbols)
    }

    /// An index over the first `axes` axes, and an extent for it; whether it may leave that.
    fn index(&mut self, axes: usize) -> (Ix, Extent, bool) {
        if axes == 0 || self.one_in(12) {
            return (Ix::int(1), Extent::Const(2), false);
        }
        let a = self.below(axes);
        let e = self.axes[a].clone();
        let n = self.at(&e);
        match self.below(12) {
            // One axis, stretched and shifted, perhaps summed with another: padding and windows.
            0 | 1 => {
                let b = self.below(axes);
                let (stride, shift) = (1 + self.below(3) as i64, self.below(4) as i64 - 2);
                let ix = Ix::Axis(a).times(stride).plus(Ix::int(shift));
                let ix = if b != a { ix.plus(Ix::Axis(b)) } else { ix };
                let extent = (n * stride + self.below(5) as i64 - 2).max(0);
                (ix, self.extent(extent), true)
            }
            // From the end.
            2 => {
                let ix = Ix::Axis(a).times(-1).plus(Ix::Extent(&e - &Extent::ONE));
                (ix, e, false)
            }
            3 => {
                let by = 1 + self.below(4) as i64;
                (Ix::Axis(a).floor_div(by), e.ceil_div(&Extent::Const(by)), false)
            }
            4 => {
                let by = self.below(4) as i64 + 1;
                let by = self.extent(by);
                (Ix::Axis(a).modulo(by.clone()), by, false)
            }
            5 => {
                let most = self.below(6) as i64;
                let ix = Ix::Axis(a).plus(Ix::int(-2)).max(Ix::int(0)).min(Ix::int(most));
                (ix, Extent::Const(most + 1), false)
            }
            6 => {
                let other = if self.one_in(2) { 1 } else { n };
                let other = self.extent(other);
                (Ix::Axis(a).bcast(&other), other, false)
            }
            // Through another operand, which may lead out of range.
            7 => {
                let count = self.axes[a].clone();
                let dtype = [DType::I32, DType::I64, DType::U8][self.below(3)];
                let operand = self.loads.len();
                self.loads.push(Load {
                    operand,
                    dtype,
                    index: vec![Ix::Axis(a)],
                    extents: vec![count],
                    bounds: Bounds::Inside,
                });
                let extent = self.below(30) as i64;
                let extent = self.extent(extent);
                (Ix::Load(operand).wrap(&extent), extent, true)
            }
            _ => (Ix::Axis(a), e, false),
        }
    }

    /// A load over the first `axes` axes.
    fn load(&mut self, dtype: DType, axes: usize) -> usize {
        let (mut index, mut extents, mut leaves) = (Vec::new(), Vec::new(), false);
        if self.one_in(2) {
            // Every axis once, in order: what lanes like best.
            index = LoopForm::identity(axes);
            extents = self.axes[..axes].to_vec();
        } else {
            for _ in 0..1 + self.below(3) {
                let (ix, extent, may_leave) = self.index(axes);
                index.push(ix);
                extents.push(extent);
                leaves |= may_leave;
            }
        }
        let small = self.below(7) as i64 - 3;
        let bounds = match (leaves, self.below(2)) {
            (false, _) => Bounds::Inside,
            (true, 0) => Bounds::Check,
            (true, _) => Bounds::Guard(Scalar::int(dtype, small)),
        };
        let operand = self.loads.len();
        self.loads.push(Load { operand, dtype, index, extents, bounds });
        operand
    }

    /// A program over the loads from `from` on (and an accumulator) that gives a value of type `want`.
    fn program(&mut self, from: usize, acc: Option<DType>, want: DType, exact: bool) -> Program {
        let mut b = Builder::new();
        let mut values: Vec<Ref> = acc.map(|d| b.acc(0, d)).into_iter().collect();
        for (k, load) in self.loads.iter().enumerate().skip(from) {
            values.push(b.load(k, load.dtype));
        }
        for _ in 0..self.below(if exact { 2 } else { 6 }) {
            let x = values[self.below(values.len())];
            let y = values[self.below(values.len())];
            let y = b.cast(b.dtype(x), y);
            let dtype = b.dtype(x);
            let z = match self.below(8) {
                0 if dtype.is_float() => b.unary(Unary::Neg, x),
                1 if dtype != DType::Bool => b.add(x, y),
                2 if dtype != DType::Bool && !exact => b.mul(x, y),
                3 => b.max(x, y),
                4 => {
                    let c = b.lt(x, y);
                    b.select(c, y, x)
                }
                5 => {
                    let to = [DType::F32, DType::I32, DType::U8, DType::I16, DType::Bool][self.below(5)];
                    if exact { b.min(x, y) } else { b.cast(to, x) }
                }
                6 if dtype.is_int() && !exact => {
                    let count = b.num(x, 3.0);
                    b.binary(Binary::Shl, x, count)
                }
                _ => b.min(x, y),
            };
            values.push(z);
        }
        let last = values[values.len() - 1];
        let mut last = b.cast(want, last);
        if let (Some(_), false) = (acc, exact) {
            let acc = b.cast(want, values[0]);
            last = b.max(acc, last);
        } else if acc.is_some() {
            let acc = b.cast(want, values[0]);
            last = b.min(acc, last);
        }
        b.finish([last])
    }
}

fn draw(seed: u64) -> (LoopForm, Symbols, Vec<Vec<u8>>) {
    let mut d = Draw { rng: Rng::new(seed), symbols: vec![], axes: vec![], loads: vec![] };
    let space = d.below(4);
    let reduce = if d.one_in(2) { 0 } else { 1 + d.below(2) };
    for axis in 0..space + reduce {
        let few = axis >= space && d.one_in(2);
        let mut x = LENGTHS[d.below(if few { 5 } else { LENGTHS.len() })];
        if x == 0 && !d.one_in(4) {
            x = 6;
        }
        let e = d.extent(x);
        d.axes.push(e);
    }
    let dtypes =
        [DType::F32, DType::F32, DType::F32, DType::I32, DType::F16, DType::U8, DType::Bool, DType::I64];
    let floats = reduce > 0;
    let mut combine = None;
    let mut body_type = dtypes[d.below(8)];
    if reduce > 0 {
        let all = [
            Combine::Sum,
            Combine::Product,
            Combine::Max,
            Combine::Min,
            Combine::ArgMax { last: d.one_in(2) },
            Combine::ArgMin { last: d.one_in(2) },
        ];
        let chosen = all[d.below(6)];
        if matches!(chosen, Combine::Sum | Combine::Product) {
            body_type = if chosen == Combine::Sum && d.one_in(2) { DType::F32 } else { DType::I32 };
        }
        combine = Some(chosen);
    }
    let exact = floats;
    let axes = d.axes.len();
    for _ in 0..1 + d.below(3) {
        let dtype = if d.one_in(2) { body_type } else { dtypes[d.below(8)] };
        let dtype = if exact && dtype == DType::I64 { DType::I32 } else { dtype };
        d.load(dtype, axes);
    }
    // The last load of the body is read at last, so that it counts.
    let body = d.program(0, None, body_type.compute(), exact);
    let n_body = d.loads.len();
    let mut finish = Program::default();
    let mut result = body_type;
    if let Some(combine) = combine {
        let acc = combine.acc_dtype(body_type);
        if d.one_in(2) {
            let dtype = dtypes[d.below(4)];
            d.load(dtype, space);
        }
        finish = d.program(n_body, Some(acc), acc.compute(), true);
        result = acc;
    }
    let form = LoopForm {
        space: d.axes[..space].to_vec(),
        reduce: d.axes[space..].to_vec(),
        loads: d.loads.clone(),
        body,
        combine,
        finish,
        results: vec![result],
    };
    let operands = (0..d.loads.len())
        .map(|k| {
            let load = d.loads[k].clone();
            let n = d.at(&product(&load.extents)) as usize;
            let indexes = d.loads.iter().flat_map(|l| &l.index).any(|ix| {
                let mut found = false;
                ix.visit(&mut |part| found |= *part == Ix::Load(k));
                found
            });
            if !indexes && !exact {
                return random(&mut d.rng, load.dtype, n);
            }
            // Small integers; indices are in a range that is mostly good.
            let mut out = Vec::new();
            for _ in 0..n {
                let x = d.below(7) as i64 - if indexes && load.dtype == DType::U8 { 0 } else { 3 };
                let mut bytes = [0; 8];
                Scalar::int(load.dtype, x).store(load.dtype, &mut bytes);
                out.extend(&bytes[..load.dtype.bytes()]);
            }
            out
        })
        .collect();
    (form, d.symbols, operands)
}

/// Whether elements are equal, zeros of either sign and all NaN counting as one.
fn same(dtype: DType, a: &[u8], b: &[u8]) -> bool {
    let (x, y) = (Scalar::load(dtype, a), Scalar::load(dtype, b));
    match (x.as_f64(), y.as_f64()) {
        (Some(x), Some(y)) => x == y || (x.is_nan() && y.is_nan()),
        _ => a == b,
    }
}

#[test]
fn random_nests() {
    let first: u64 = std::env::var("NEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let count: u64 = std::env::var("NEST_CASES").ok().and_then(|s| s.parse().ok()).unwrap_or(600);
    for seed in first..first + count {
        let (form, symbols, operands) = draw(seed);
        let (want, fault) = reference(&form, &symbols, &operands);
        let compiled = compile_form(&form, operands.len(), vec![None]);
        let inputs: Vec<Buffer> = operands.iter().map(|b| Buffer::new(b)).collect();
        let output = Buffer::new(&vec![0xcc; want[0].len()]);
        let all: Vec<&Buffer> = inputs.iter().chain([&output]).collect();
        let record = compiled.run(&symbols, &all, 2);
        let what = || format!("seed {seed}, symbols {symbols:?}, fault {record:?}\n{form:#?}");
        assert_eq!(record[0] != 0, fault, "{}", what());
        if fault {
            continue;
        }
        let (dtype, n) = (form.results[0], form.results[0].bytes());
        let pairs = want[0].chunks(n).zip(output.bytes().chunks(n));
        if let Some(at) = pairs.clone().position(|(a, b)| !same(dtype, a, b)) {
            let (a, b) = pairs.clone().nth(at).unwrap();
            let (a, b) = (Scalar::load(dtype, a), Scalar::load(dtype, b));
            panic!("element {at} of {}: want {a:?}, have {b:?}; {}", want[0].len() / n, what());
        }
    }
}

/// Compiles without running; the code must not ask for library functions.
fn compiles_for(isa: &dyn cranelift_codegen::isa::TargetIsa, form: &LoopForm, what: &str) {
    let mut frame = nnc_cpu::frame::Frame::new();
    let operands: Vec<_> = form
        .loads
        .iter()
        .map(|_| nnc_cpu::kernel::OperandRef { pointer: frame.add_pointer(), constant: None, range: None })
        .collect();
    let request = nnc_cpu::kernel::NestRequest {
        name: "test".into(),
        form: form.clone(),
        operands,
        results: vec![frame.add_pointer()],
        placement: vec![None],
        fault_node: 7,
    };
    let mut packed = Vec::new();
    let mut tiles = nnc_cpu::wide::WideTiles::new(None);
    let mut cx = nnc_cpu::kernel::LowerCx {
        isa,
        frame: &mut frame,
        packed: &mut packed,
        tiles: &mut tiles,
        filtering: nnc_cpu::kernel::Filtering::default(),
        choices: nnc_cpu::choice::Choices::default(),
    };
    let kernel = nnc_cpu::lower::lower_nest(&request, &mut cx).unwrap();
    let mut context = cranelift_codegen::Context::for_function(kernel.function);
    let code = context.compile(isa, &mut cranelift_codegen::control::ControlPlane::default());
    let code = code.unwrap_or_else(|e| panic!("{what}: {:?}", e.inner));
    assert!(code.buffer.relocs().is_empty(), "{what}: {:?}", code.buffer.relocs());
}

#[test]
fn random_nests_compile_for_other_targets() {
    use cranelift_codegen::settings::{self, Configurable};
    for (triple, features) in [
        ("aarch64-unknown-linux-gnu", &[][..]),
        ("x86_64-unknown-linux-gnu", &["has_sse3", "has_ssse3", "has_sse41"]),
    ] {
        let mut flags = settings::builder();
        for (key, value) in [("opt_level", "speed"), ("is_pic", "true"), ("enable_verifier", "true")] {
            flags.set(key, value).unwrap();
        }
        let mut isa = cranelift_codegen::isa::lookup(triple.parse().unwrap()).unwrap();
        for feature in features {
            isa.set(feature, "true").unwrap();
        }
        let isa = isa.finish(settings::Flags::new(flags)).unwrap();
        for seed in 1..200 {
            let (form, ..) = draw(seed);
            compiles_for(&*isa, &form, &format!("{triple}, seed {seed}: {form:#?}"));
        }
    }
}
