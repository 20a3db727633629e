//! contract - products by tiles are within their error bound, the same for every cut, and touch nothing else.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "support/nest.rs"]
mod nest;
mod support;

use nest::{Buffer, Compiled, Symbols, compile_known_at, next_machine, points, read, value};
use nnc_cpu::{
    frame::{Frame, PointerSlot},
    kernel::{LowerCx, NestRequest, OperandRef, Placement},
    lower::{lower_nest, refusal},
};
use nnc_ir::{
    compose::fuse_nodes,
    constant::Constant,
    dtype::{DType, Scalar},
    entity::EntityId,
    eval::program::eval_program,
    extent::{Extent, SymbolId, product},
    form::LoopForm,
    graph::{Module, ValueId, loc},
    ops::{Add, Broadcast, Contract, Conv, MatMul, Max, Mul, Op, Relu, Sigmoid, Transpose},
    program::{Builder, Program, Unary},
    types::TensorType,
};
use support::Rng;

/// Extents of a test: symbols, or the constants that they stand for.
struct Shapes {
    symbolic: bool,
    values: Symbols,
}

impl Shapes {
    fn new(symbolic: bool) -> Self {
        Shapes { symbolic, values: vec![] }
    }
    fn dim(&mut self, x: i64) -> Extent {
        self.values.push(x);
        if self.symbolic { Extent::symbol(SymbolId::new(self.values.len() - 1)) } else { Extent::Const(x) }
    }
}

fn ty(shape: &[Extent]) -> TensorType {
    TensorType::new(DType::F32, shape.to_vec())
}

/// A module under construction.
struct Graph {
    m: Module,
    inputs: Vec<ValueId>,
}

impl Graph {
    fn new() -> Self {
        Graph { m: Module::new(), inputs: vec![] }
    }
    fn input(&mut self, shape: &[Extent]) -> ValueId {
        let v = self.m.add_input(&format!("x{}", self.inputs.len()), ty(shape));
        self.inputs.push(v);
        v
    }
    fn op(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> ValueId {
        let body = self.m.body();
        self.m.append(body, op, operands, &[], &loc("t")).unwrap()[0]
    }
    /// The nest that computes `result`, its operands by number of input.
    fn form(&self, result: ValueId) -> LoopForm {
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

fn run(compiled: &Compiled, symbols: &Symbols, operands: &[Vec<u8>], bytes: usize, parts: usize) -> Vec<u8> {
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
fn check(what: &str, form: &LoopForm, shapes: &Shapes, constant: &[usize], rng: &mut Rng) {
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

fn length(rng: &mut Rng) -> i64 {
    LENGTHS[rng.below(14)]
}

#[test]
fn products_of_matrices() {
    let mut rng = Rng::new(1);
    for case in 0..160 {
        let mut shapes = Shapes::new(rng.below(2) == 0);
        let (b0, b1) = (shapes.dim(1 + rng.below(3) as i64), shapes.dim(1 + rng.below(2) as i64));
        let (m, n, k) =
            (shapes.dim(length(&mut rng)), shapes.dim(length(&mut rng) + 1), shapes.dim(length(&mut rng)));
        let mut g = Graph::new();
        let batch = rng.below(4);
        let lhs_batch: Vec<Extent> = match batch {
            0 => vec![],
            1 => vec![b0.clone()],
            _ => vec![b0.clone(), b1.clone()],
        };
        let rhs_batch: Vec<Extent> = if rng.below(3) == 0 {
            lhs_batch.iter().map(|_| Extent::ONE).collect()
        } else {
            lhs_batch.clone()
        };
        let rank = lhs_batch.len() + 2;
        let mut swap: Vec<usize> = (0..rank).collect();
        swap.swap(rank - 2, rank - 1);
        let operand = |g: &mut Graph, batch: &[Extent], rows: &Extent, cols: &Extent, transposed: bool| {
            let (a, b) = if transposed { (cols, rows) } else { (rows, cols) };
            let v = g.input(&[batch, &[a.clone(), b.clone()]].concat());
            if transposed { g.op(Transpose { perm: swap.clone() }, &[v]) } else { v }
        };
        let (ta, tb) = (rng.below(4) == 0, rng.below(3) == 0);
        let x = operand(&mut g, &lhs_batch, &m, &k, ta);
        let w = operand(&mut g, &rhs_batch, &k, &n, tb);
        let y = g.op(MatMul {}, &[x, w]);
        let known = if shapes.symbolic || rng.below(2) == 0 { vec![] } else { vec![1] };
        let y = epilogue(&mut g, y, &mut rng);
        let form = g.form(y);
        let what = format!(
            "case {case}: {:?} {lhs_batch:?} {rhs_batch:?} {:?} {ta} {tb} {known:?}",
            shapes.values, shapes.symbolic
        );
        // Where the columns are one, rows are what is left to be the vector axis.
        check(&what, &form, &shapes, &known, &mut rng);
    }
}

/// Columns that do not fill vectors, of a constant or a matrix that is copied while running, as it lies or transposed.
#[test]
fn products_of_columns_in_parts() {
    let mut rng = Rng::new(3);
    for case in 0..36 {
        let mut shapes = Shapes::new(false);
        let [m, n, k] = [96 + rng.below(20), 13 + rng.below(35), 17 + rng.below(33)];
        let [m, n, k] = [m, n, k].map(|x| shapes.dim(x as i64));
        let mut g = Graph::new();
        let x = g.input(&[m.clone(), k.clone()]);
        let transposed = rng.below(3) == 0;
        let w = match transposed {
            false => g.input(&[k, n]),
            true => {
                let w = g.input(&[n, k]);
                g.op(Transpose { perm: vec![1, 0] }, &[w])
            }
        };
        let y = g.op(MatMul {}, &[x, w]);
        let y = epilogue(&mut g, y, &mut rng);
        let known = if rng.below(2) == 0 { vec![] } else { vec![1] };
        let what = format!("case {case}: {:?} {transposed} {known:?}", shapes.values);
        check(&what, &g.form(y), &shapes, &known, &mut rng);
    }
}

/// Puts something after a product, or nothing.
fn epilogue(g: &mut Graph, y: ValueId, rng: &mut Rng) -> ValueId {
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

/// What tiles compute while they make panels: a scale and a shift along the sum, a gate, a rectifier.
fn computed(g: &mut Graph, x: ValueId, sums: &[usize], rng: &mut Rng) -> ValueId {
    let shape = g.m.ty(x).shape.clone();
    let along_sums = |g: &mut Graph| {
        let shape: Vec<Extent> = (shape.iter().enumerate())
            .map(|(axis, e)| if sums.contains(&axis) { e.clone() } else { Extent::ONE })
            .collect();
        g.input(&shape)
    };
    let mut y = x;
    if rng.below(2) == 0 {
        let scale = along_sums(g);
        let wide = g.op(Broadcast { shape: shape.clone() }, &[scale]);
        y = g.op(Mul {}, &[y, wide]);
    }
    if rng.below(2) == 0 {
        let shift = if rng.below(3) == 0 { g.input(&shape) } else { along_sums(g) };
        let wide = g.op(Broadcast { shape: shape.clone() }, &[shift]);
        y = g.op(Add {}, &[y, wide]);
    }
    match rng.below(3) {
        0 => g.op(Sigmoid {}, &[y]),
        _ => g.op(Relu {}, &[y]),
    }
}

#[test]
fn products_of_what_is_computed_first() {
    let mut rng = Rng::new(4);
    for case in 0..120 {
        let mut shapes = Shapes::new(rng.below(2) == 0);
        let (m, n, k) =
            (shapes.dim(length(&mut rng)), shapes.dim(length(&mut rng) + 1), shapes.dim(length(&mut rng)));
        let batch = shapes.dim(1 + rng.below(3) as i64);
        let mut g = Graph::new();
        let is_conv = rng.below(2) == 0;
        let y = if is_conv {
            let (c, h) = (1 + rng.below(40) as i64, shapes.dim(1 + rng.below(5) as i64));
            let x = g.input(&[batch, Extent::Const(c), h.clone(), n.clone()]);
            let x = computed(&mut g, x, &[1], &mut rng);
            let w = g.input(&[Extent::Const(2 + rng.below(70) as i64), c.into(), Extent::ONE, Extent::ONE]);
            let conv = Conv {
                groups: 1,
                strides: vec![1, 1],
                dilations: vec![1, 1],
                pads_before: vec![0, 0],
                spatial: vec![h, n],
            };
            let y = g.op(conv, &[x, w]);
            conv_epilogue(&mut g, y, &mut rng)
        } else {
            let lhs: Vec<Extent> =
                if rng.below(2) == 0 { vec![m, k.clone()] } else { vec![batch.clone(), m, k.clone()] };
            let rhs = if lhs.len() == 3 { vec![batch, k, n] } else { vec![k, n] };
            let (x, w) = (g.input(&lhs), g.input(&rhs));
            let w = computed(&mut g, w, &[rhs.len() - 2], &mut rng);
            let y = g.op(MatMul {}, &[x, w]);
            epilogue(&mut g, y, &mut rng)
        };
        let form = g.form(y);
        let what = format!("case {case}: {:?} {} {is_conv}", shapes.values, shapes.symbolic);
        check(&what, &form, &shapes, &[], &mut rng);
    }
}

fn conv_output(input: &Extent, kernel: i64, stride: i64, dilation: i64, pads: i64) -> Extent {
    let span = &(input + &Extent::Const(pads)) - &Extent::Const((kernel - 1) * dilation + 1);
    &span.floor_div(&Extent::Const(stride)) + &Extent::ONE
}

#[test]
fn convolutions() {
    let mut rng = Rng::new(2);
    for case in 0..240 {
        let mut shapes = Shapes::new(rng.below(2) == 0);
        let rank = [1, 2, 2, 2, 3][rng.below(5)];
        let groups = [1, 1, 1, 2, 3][rng.below(5)];
        let (n, c, m) = (1 + rng.below(2) as i64, 1 + rng.below(5) as i64, 2 + rng.below(20) as i64);
        let depthwise = rng.below(4) == 0;
        let (groups, c, m) = if depthwise { (c + 1, 1, 1 + rng.below(2) as i64) } else { (groups, c, m) };
        let n = shapes.dim(n);
        let more = if rank == 3 { 4 } else { 20 };
        let Windows { sizes, kernel, strides, dilations, pads_before, spatial } =
            random_windows(&mut rng, &mut shapes, rank, (0, more));
        let input = [vec![n, Extent::Const(groups * c)], sizes].concat();
        let what = format!(
            "case {case}: {:?} {} groups {groups} c {c} m {m} kernel {kernel:?} strides {strides:?} dilations {dilations:?} pads {pads_before:?} out {spatial:?}",
            shapes.values, shapes.symbolic
        );
        let mut g = Graph::new();
        let x = g.input(&input);
        let weight: Vec<Extent> = [vec![Extent::Const(groups * m), Extent::Const(c)], kernel].concat();
        let w = g.input(&weight);
        let y = g.op(Conv { groups, strides, dilations, pads_before, spatial: spatial.clone() }, &[x, w]);
        let y = conv_epilogue(&mut g, y, &mut rng);
        let form = g.form(y);
        // Windows that have all one place: rows are then the vector axis, and nothing may be padded.
        if spatial.iter().all(|e| e.is(1)) {
            continue;
        }
        check(&what, &form, &shapes, &[1], &mut rng);
    }
}

/// Windows over more of the input than caches hold, whose sums are done channel by channel.
#[test]
fn convolutions_by_slices_of_channels() {
    let mut rng = Rng::new(21);
    for case in 0..9 {
        let shapes = Shapes::new(false);
        let (c, m, height, width) = (12, 3 + rng.below(4) as i64, 96, 30 + rng.below(20) as i64);
        let (kernel, pad) = ([height, 3], [0, rng.below(2) as i64]);
        let strides = vec![1, 1 + rng.below(2) as i64];
        let [c, m, height, width] = [c, m, height, width].map(Extent::Const);
        let spatial = vec![Extent::ONE, conv_output(&width, 3, strides[1], 1, 2 * pad[1])];
        let mut g = Graph::new();
        let x = g.input(&[Extent::Const(2), c.clone(), height, width]);
        let w = g.input(&[vec![m, c], kernel.map(Extent::Const).to_vec()].concat());
        let conv = Conv { groups: 1, strides, dilations: vec![1, 1], pads_before: pad.to_vec(), spatial };
        let what = format!("case {case}: {conv:?}");
        let y = g.op(conv, &[x, w]);
        let y = conv_epilogue(&mut g, y, &mut rng);
        let form = g.form(y);
        check(&what, &form, &shapes, &[1], &mut rng);
    }
}

/// Windows along some axes.
struct Windows {
    /// Extents of the input.
    sizes: Vec<Extent>,
    kernel: Vec<Extent>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    pads_before: Vec<i64>,
    spatial: Vec<Extent>,
}

/// Random windows; an input is longer than its window by the first of `room`, and by less than the second beyond that.
fn random_windows(rng: &mut Rng, shapes: &mut Shapes, rank: usize, room: (i64, usize)) -> Windows {
    let none = || Vec::with_capacity(rank);
    let (strides, dilations, pads_before) = (none(), none(), none());
    let mut w = Windows { sizes: vec![], kernel: vec![], strides, dilations, pads_before, spatial: vec![] };
    for _ in 0..rank {
        let (k, s, d) = ([1, 2, 3, 3, 5][rng.below(5)], 1 + rng.below(3) as i64, [1, 1, 2][rng.below(3)]);
        let (before, after) = (rng.below(k as usize) as i64, rng.below(k as usize) as i64);
        let size = shapes.dim((k - 1) * d + 1 + room.0 + rng.below(room.1) as i64);
        w.spatial.push(conv_output(&size, k, s, d, before + after));
        w.sizes.push(size);
        w.kernel.push(Extent::Const(k));
        w.strides.push(s);
        w.dilations.push(d);
        w.pads_before.push(before);
    }
    w
}

/// Puts channels, axis 1, last, or back.
fn channels_last(g: &mut Graph, x: ValueId, last: bool) -> ValueId {
    let rank = g.m.ty(x).shape.len();
    let perm: Vec<usize> = if last {
        [0].into_iter().chain(2..rank).chain([1]).collect()
    } else {
        [0, rank - 1].into_iter().chain(1..rank - 1).collect()
    };
    g.op(Transpose { perm }, &[x])
}

#[test]
fn convolutions_with_channels_last() {
    let mut rng = Rng::new(8);
    for case in 0..240 {
        let mut shapes = Shapes::new(rng.below(2) == 0);
        let rank = 1 + rng.below(2);
        let depthwise = rng.below(2) == 0;
        let groups = if depthwise { length(&mut rng) } else { [1, 1, 2][rng.below(3)] };
        let (c, m) = if depthwise { (1, 1) } else { (1 + rng.below(9) as i64, length(&mut rng)) };
        let first = !depthwise && rng.below(3) == 0;
        let n = shapes.dim(1 + rng.below(2) as i64);
        let Windows { sizes, kernel, strides, dilations, pads_before, spatial } =
            random_windows(&mut rng, &mut shapes, rank, (1, 20));
        let mut input = [vec![n], sizes].concat();
        let what = format!(
            "case {case}: {:?} {} groups {groups} c {c} m {m} kernel {kernel:?} strides {strides:?} dilations {dilations:?} pads {pads_before:?} out {spatial:?} {first}",
            shapes.values, shapes.symbolic
        );
        // One window along an axis, or one channel: nothing is left to be a row, or to be a column.
        if spatial.iter().any(|e| e.is(1)) {
            continue;
        }
        if groups * m == 1
            || (groups > 1 && m == 1 && !depthwise)
            || (depthwise && kernel.iter().all(|k| k.is(1)))
        {
            continue;
        }
        let mut g = Graph::new();
        input.insert(if first { 1 } else { rank + 1 }, Extent::Const(groups * c));
        let x = g.input(&input);
        let x = if first { x } else { channels_last(&mut g, x, false) };
        let w = g.input(&[vec![Extent::Const(groups * m), Extent::Const(c)], kernel].concat());
        let y = g.op(Conv { groups, strides, dilations, pads_before, spatial }, &[x, w]);
        let y = channels_last(&mut g, y, true);
        let y = epilogue(&mut g, y, &mut rng);
        let form = g.form(y);
        check(&what, &form, &shapes, &[1], &mut rng);
    }
}

fn conv_epilogue(g: &mut Graph, y: ValueId, rng: &mut Rng) -> ValueId {
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

#[test]
fn contractions_over_any_axes() {
    let mut rng = Rng::new(3);
    // Labels of the operands and of the result; the last axis of the result belongs to one operand.
    let cases: [(&[usize], &[usize], &[usize]); 6] = [
        (&[0, 1, 2, 3], &[0, 4, 2, 3], &[0, 2, 1, 4]),
        (&[0, 2, 1, 4], &[0, 4, 2, 3], &[0, 1, 2, 3]),
        (&[0, 1, 2], &[2, 3, 1], &[0, 3]),
        (&[0, 1], &[1, 2, 3], &[2, 0, 3]),
        (&[1, 0], &[1, 2], &[0, 2]),
        (&[0, 1, 2], &[3, 2], &[0, 1, 3]),
    ];
    for case in 0..60 {
        let (lhs, rhs, result) = cases[case % 6];
        let mut shapes = Shapes::new(rng.below(2) == 0);
        let extents: Vec<Extent> = (0..5).map(|_| shapes.dim(1 + length(&mut rng).min(11))).collect();
        let shape = |labels: &[usize]| labels.iter().map(|&l| extents[l].clone()).collect::<Vec<_>>();
        let mut g = Graph::new();
        let (x, y) = (g.input(&shape(lhs)), g.input(&shape(rhs)));
        let op = Contract { lhs: lhs.to_vec(), rhs: rhs.to_vec(), result: result.to_vec() };
        let y = g.op(op, &[x, y]);
        let form = g.form(y);
        if case % 6 == 2 {
            continue;
        }
        check(
            &format!("case {case}: {:?} {}", shapes.values, shapes.symbolic),
            &form,
            &shapes,
            &[],
            &mut rng,
        );
    }
}

#[test]
fn empty_axes_give_nothing_or_the_epilogue_of_zero() {
    for zero in 0..3 {
        let mut shapes = Shapes::new(true);
        let dims: Vec<Extent> = (0..3).map(|i| shapes.dim(if i == zero { 0 } else { 5 })).collect();
        let mut g = Graph::new();
        let (x, w) =
            (g.input(&[dims[0].clone(), dims[2].clone()]), g.input(&[dims[2].clone(), dims[1].clone()]));
        let y = g.op(MatMul {}, &[x, w]);
        let bias = g.input(&[dims[1].clone()]);
        let wide = g.op(Broadcast { shape: vec![dims[0].clone(), dims[1].clone()] }, &[bias]);
        let y = g.op(Add {}, &[y, wide]);
        check(&format!("axis {zero} empty"), &g.form(y), &shapes, &[], &mut Rng::new(5));
    }
}

#[test]
fn results_may_lie_inside_of_a_larger_tensor() {
    let mut rng = Rng::new(6);
    for window in [1, 3] {
        let c = Extent::Const;
        let mut g = Graph::new();
        let (x, w) = (g.input(&[c(2), c(4), c(9), c(7)]), g.input(&[c(5), c(4), c(window), c(window)]));
        let conv = Conv {
            groups: 1,
            strides: vec![1; 2],
            dilations: vec![1; 2],
            pads_before: vec![window / 2; 2],
            spatial: vec![c(9), c(7)],
        };
        let y = g.op(conv, &[x, w]);
        let form = g.form(y);
        let floats =
            |rng: &mut Rng, n: usize| (0..n).flat_map(|_| rng.unit().to_le_bytes()).collect::<Vec<u8>>();
        let operands = [floats(&mut rng, 2 * 4 * 63), floats(&mut rng, (20 * window * window) as usize)];
        let machine = next_machine();
        let dense = compile_known_at(machine, &form, &[None, None], vec![None]);
        let want = run(&dense, &vec![], &operands, 4 * 2 * 5 * 63, 1);
        // Channels 3 to 8 of eleven.
        let place = Placement { offset: c(3 * 63), strides: vec![c(11 * 63), c(63), c(7), c(1)] };
        let placed = compile_known_at(machine, &form, &[None, None], vec![Some(place)]);
        assert!(dense.scheduled && placed.scheduled);
        let have = run(&placed, &vec![], &operands, 4 * 2 * 11 * 63, 2);
        for (i, byte) in have.iter().enumerate() {
            let (image, at) = (i / (4 * 11 * 63), i % (4 * 11 * 63));
            let inside = (4 * 3 * 63..4 * 8 * 63).contains(&at);
            let expected = if inside { want[image * 4 * 5 * 63 + at - 4 * 3 * 63] } else { 0xcc };
            assert_eq!(*byte, expected, "window {window}, byte {i}");
        }
    }
}

#[test]
fn kernels_are_made_for_other_machines() {
    let c = Extent::Const;
    let mut g = Graph::new();
    let (x, w) = (g.input(&[c(1), c(6), c(17), c(17)]), g.input(&[c(6), c(1), c(3), c(3)]));
    let window = |groups: i64| Conv {
        groups,
        strides: vec![2; 2],
        dilations: vec![1; 2],
        pads_before: vec![1; 2],
        spatial: vec![c(9); 2],
    };
    let depthwise = g.op(window(6), &[x, w]);
    let depthwise = g.form(depthwise);
    let mut g = Graph::new();
    let (x, w) = (g.input(&[c(1), c(6), c(17), c(17)]), g.input(&[c(12), c(6), c(3), c(3)]));
    let full = g.op(window(1), &[x, w]);
    let full = g.form(full);
    for form in [depthwise, full] {
        let isa = support::arm_isa();
        let mut frame = Frame::new();
        let slots: Vec<PointerSlot> = (0..3).map(|_| frame.add_pointer()).collect();
        let mut packed = vec![];
        let mut tiles = nnc_cpu::wide::WideTiles::new(None);
        let mut cx = LowerCx {
            isa: &*isa,
            frame: &mut frame,
            packed: &mut packed,
            tiles: &mut tiles,
            filtering: nnc_cpu::kernel::Filtering::default(),
            choices: nnc_cpu::choice::Choices::default(),
        };
        let operand = |&pointer: &PointerSlot| OperandRef { pointer, constant: None, range: None };
        let request = NestRequest {
            name: "test".into(),
            form,
            operands: slots[..2].iter().map(operand).collect(),
            results: slots[2..].to_vec(),
            placement: vec![None],
            fault_node: 0,
        };
        let kernel = lower_nest(&request, &mut cx).unwrap();
        assert!(kernel.scheduled);
        let context = cranelift_codegen::Context::for_function(kernel.function);
        assert!(!support::machine_code(&*isa, context).0.is_empty());
    }
}
