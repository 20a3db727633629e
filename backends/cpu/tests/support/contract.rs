//! contract - contractions under test: how they are written, and what their kernels are held to.
#![allow(dead_code, reason = "each test uses its own part")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use crate::nest::{Buffer, Compiled, Symbols, compile_known_at, next_machine, points, read, value};
use crate::support::Rng;
use nnc_cpu::lower::refusal;
use nnc_ir::{
    compose::fuse_nodes,
    constant::Constant,
    dtype::{DType, Scalar},
    entity::EntityId,
    eval::program::eval_program,
    extent::{Extent, SymbolId, product},
    form::LoopForm,
    graph::{Module, ValueId, loc},
    ops::{Add, Broadcast, Max, Op, Relu, Sigmoid},
    program::{Builder, Program, Unary},
    types::TensorType,
};

/// Extents of a test: symbols, or the constants that they stand for.
pub(crate) struct Shapes {
    pub(crate) symbolic: bool,
    pub(crate) values: Symbols,
}

impl Shapes {
    pub(crate) fn new(symbolic: bool) -> Self {
        Shapes { symbolic, values: vec![] }
    }
    pub(crate) fn dim(&mut self, x: i64) -> Extent {
        self.values.push(x);
        if self.symbolic { Extent::symbol(SymbolId::new(self.values.len() - 1)) } else { Extent::Const(x) }
    }
}

fn ty(shape: &[Extent]) -> TensorType {
    TensorType::new(DType::F32, shape.to_vec())
}

/// A module under construction.
pub(crate) struct Graph {
    pub(crate) m: Module,
    inputs: Vec<ValueId>,
}

impl Graph {
    pub(crate) fn new() -> Self {
        Graph { m: Module::new(), inputs: vec![] }
    }
    pub(crate) fn input(&mut self, shape: &[Extent]) -> ValueId {
        let v = self.m.add_input(&format!("x{}", self.inputs.len()), ty(shape));
        self.inputs.push(v);
        v
    }
    pub(crate) fn op(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> ValueId {
        let body = self.m.body();
        self.m.append(body, op, operands, &[], &loc("t")).unwrap()[0]
    }
    /// The nest that computes `result`, its operands by number of input.
    pub(crate) fn form(&self, result: ValueId) -> LoopForm {
        let nodes = self.m.region(self.m.body()).nodes.clone();
        let (mut form, operands) = fuse_nodes(&self.m, &nodes, &[result]).unwrap();
        for load in &mut form.loads {
            let value = operands[load.operand];
            load.operand = self.inputs.iter().position(|&v| v == value).unwrap();
        }
        form
    }
}

fn gamma(n: usize) -> f64 {
    let nu = n as f64 * f64::from(f32::EPSILON) / 2.0;
    nu / (1.0 - nu)
}

pub(crate) fn run(
    compiled: &Compiled,
    symbols: &Symbols,
    operands: &[Vec<u8>],
    bytes: usize,
    parts: usize,
) -> Vec<u8> {
    let inputs: Vec<Buffer> = operands.iter().map(|b| Buffer::new(b)).collect();
    let output = Buffer::new(&vec![0xcc; bytes]);
    let all: Vec<&Buffer> = inputs.iter().chain([&output]).collect();
    compiled.run(symbols, &all, parts);
    output.bytes().to_vec()
}

/// Likewise, with all results of the form, of `n` elements.
fn run_all(
    compiled: &Compiled,
    symbols: &Symbols,
    operands: &[Vec<u8>],
    form: &LoopForm,
    n: usize,
    parts: usize,
) -> Vec<Vec<u8>> {
    let inputs: Vec<Buffer> = operands.iter().map(|b| Buffer::new(b)).collect();
    let outputs: Vec<Buffer> = form.results.iter().map(|d| Buffer::new(&vec![0xcc; d.bytes() * n])).collect();
    let all: Vec<&Buffer> = inputs.iter().chain(&outputs).collect();
    compiled.run(symbols, &all, parts);
    outputs.iter().map(|o| o.bytes().to_vec()).collect()
}

fn f32_at(bytes: &[u8], i: usize) -> f32 {
    Scalar::load(DType::F32, &bytes[4 * i..]).to_f32()
}

/// Checks sums against f64 within gamma_n of the sum of magnitudes, and epilogues against the evaluator bit for bit. Made
/// for each machine in turn: portable, with wide code, and without multiply-adds, whose products are rounded too.
pub(crate) fn check(what: &str, form: &LoopForm, shapes: &Shapes, constant: &[usize], rng: &mut Rng) {
    let symbols = &shapes.values;
    let n_operands = 1 + form.loads.iter().map(|l| l.operand).max().unwrap();
    let operands: Vec<Vec<u8>> = (0..n_operands)
        .map(|o| {
            let load = form.loads.iter().find(|l| l.operand == o).unwrap();
            let n = value(&product(&load.extents), symbols);
            (0..n).flat_map(|_| rng.unit().to_le_bytes()).collect()
        })
        .collect();
    let known: Vec<Option<Constant>> = (0..n_operands)
        .map(|o| {
            let load = form.loads.iter().find(|l| l.operand == o).unwrap();
            let dims: Option<Vec<i64>> = load.extents.iter().map(Extent::as_const).collect();
            let dims = dims.filter(|_| constant.contains(&o))?;
            let scalars: Vec<Scalar> = operands[o].chunks(4).map(|c| Scalar::load(DType::F32, c)).collect();
            Some(Constant::from_scalars(DType::F32, &dims, &scalars))
        })
        .collect();
    let bytes = 4 * value(&product(&form.space), symbols) as usize;
    let machine = next_machine();
    let form = &machine.settled(form);
    // The sums alone.
    let mut sums = form.clone();
    let mut b = Builder::new();
    let acc = b.acc(0, DType::F32);
    sums.finish = b.finish([acc]);
    let compiled = compile_known_at(machine, &sums, &known, vec![None]);
    assert!(compiled.scheduled, "{what}: tiles could do it");
    let have = run(&compiled, symbols, &operands, bytes, 1);
    for parts in [2, 3] {
        assert!(have == run(&compiled, symbols, &operands, bytes, parts), "{what}: {parts} parts");
    }
    let space: Vec<i64> = form.space.iter().map(|e| value(e, symbols)).collect();
    let reduce: Vec<i64> = form.reduce.iter().map(|e| value(e, symbols)).collect();
    let factors = form.factors().unwrap();
    let fault = std::cell::Cell::new(false);
    let load = |l: usize, at: &[i64]| read(form, symbols, &operands, l, at, &fault);
    for (i, point) in points(&space).iter().enumerate() {
        let (mut sum, mut magnitude, mut n) = (0.0, 0.0, 0);
        for r in points(&reduce) {
            let at = [&point[..], &r[..]].concat();
            // A factor that is computed first has the evaluator's bits.
            let of = |f: &Program| eval_program(f, &|l| load(l, &at), &[], &|_| unreachable!())[0];
            let [x, y] = factors.each_ref().map(|f| of(f).as_f64().unwrap());
            let term = x * y;
            (sum, magnitude, n) = (sum + term, magnitude + term.abs(), n + 1);
        }
        let got = f64::from(f32_at(&have, i));
        let bound = gamma(n + 1) * magnitude;
        assert!((got - sum).abs() <= bound, "{what} at {point:?}: {got} is not {sum} within {bound}");
    }
    for form in [form.clone(), with_results(form, rng)] {
        if form.finish == sums.finish {
            continue;
        }
        let constant = |o: usize| known.get(o).cloned().flatten();
        if form.results != [DType::F32] && refusal(&form, &constant).is_some_and(|why| why.contains("single"))
        {
            continue;
        }
        let compiled = compile_known_at(machine, &form, &known, vec![None; form.results.len()]);
        assert!(compiled.scheduled, "{what}: tiles could do the epilogue");
        let finished = run_all(&compiled, symbols, &operands, &form, bytes / 4, 2);
        for (i, point) in points(&space).iter().enumerate() {
            let acc = Scalar::f32(f32_at(&have, i));
            let want = eval_program(&form.finish, &|l| load(l, point), &[acc], &|_| unreachable!());
            for ((dtype, want), got) in form.results.iter().zip(&want).zip(&finished) {
                let got = Scalar::load(*dtype, &got[dtype.bytes() * i..]);
                assert!(got.bits == want.bits, "{what}, epilogue at {point:?}: {got:?} is not {want:?}");
            }
        }
    }
}

/// A form with what its finish gives rounded to bytes, and perhaps the number before or the sum, too.
fn with_results(form: &LoopForm, rng: &mut Rng) -> LoopForm {
    let mut b = Builder::new();
    let value = b.splice(&form.finish, &mut |b, inst, dtype| b.push(inst.clone(), dtype))[0];
    let to = [DType::U8, DType::I8][rng.below(2)];
    let scale = b.f32(20.0);
    let scaled = b.mul(value, scale);
    let whole = b.unary(Unary::Nearest, scaled);
    let (least, most) = if to == DType::U8 { (0.0, 255.0) } else { (-128.0, 127.0) };
    let (least, most) = (b.f32(least), b.f32(most));
    let clipped = b.max(whole, least);
    let clipped = b.min(clipped, most);
    let narrow = b.cast(to, clipped);
    let acc = b.acc(0, DType::F32);
    let results = match rng.below(4) {
        0 => vec![narrow],
        1 => vec![narrow, value],
        2 => vec![value, narrow],
        _ => vec![scaled, acc],
    };
    let finish = b.finish(results);
    LoopForm { results: finish.result_dtypes().collect(), finish, ..form.clone() }
}

const LENGTHS: [i64; 14] = [1, 2, 3, 4, 5, 7, 8, 11, 16, 19, 20, 23, 33, 41];

/// A length about which tiles differ.
pub(crate) fn length(rng: &mut Rng) -> i64 {
    LENGTHS[rng.below(14)]
}

/// Puts something after a product, or nothing.
pub(crate) fn epilogue(g: &mut Graph, y: ValueId, rng: &mut Rng) -> ValueId {
    let shape = g.m.ty(y).shape.clone();
    let rank = shape.len();
    let mut y = y;
    if rng.below(2) == 0 {
        // A bias along one axis, or a residual.
        let bias = match rng.below(3) {
            0 => g.input(&shape),
            1 => g.input(&shape[rank - 1..]),
            _ => {
                let axis = rank - 2;
                let tail: Vec<Extent> =
                    [vec![shape[axis].clone()], vec![Extent::ONE; rank - axis - 1]].concat();
                g.input(&tail)
            }
        };
        let wide = g.op(Broadcast { shape: shape.clone() }, &[bias]);
        y = g.op(Add {}, &[y, wide]);
    }
    match rng.below(4) {
        0 => g.op(Relu {}, &[y]),
        1 => {
            let s = g.op(Sigmoid {}, &[y]);
            g.op(Max {}, &[s, y])
        }
        _ => y,
    }
}

/// Puts something after a convolution, or nothing.
pub(crate) fn conv_epilogue(g: &mut Graph, y: ValueId, rng: &mut Rng) -> ValueId {
    let shape = g.m.ty(y).shape.clone();
    let mut y = y;
    if rng.below(2) == 0 {
        let bias = if rng.below(2) == 0 {
            g.input(&shape)
        } else if rng.below(3) == 0 {
            // Along some of the columns only.
            let axis = 2 + rng.below(shape.len() - 2);
            g.input(&[vec![shape[axis].clone()], vec![Extent::ONE; shape.len() - axis - 1]].concat())
        } else {
            g.input(&[vec![shape[1].clone()], vec![Extent::ONE; shape.len() - 2]].concat())
        };
        let wide = g.op(Broadcast { shape: shape.clone() }, &[bias]);
        y = g.op(Add {}, &[y, wide]);
    }
    if rng.below(2) == 0 { g.op(Relu {}, &[y]) } else { y }
}
