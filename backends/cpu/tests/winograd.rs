//! winograd - convolutions by minimal filtering are within their error bound, the same for every cut, and touch nothing
//! else.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "support/nest/mod.rs"]
mod nest;
mod support;

use nest::{Buffer, Compiled, compile_with, points};
use nnc_cpu::{
    choice::{Choice, Choices, Decision, Given, Knob},
    kernel::{NestRequest, OperandRef},
    lower::lower_nest,
};
use nnc_ir::{
    compose::fuse_nodes,
    constant::Constant,
    dtype::{DType, Scalar},
    extent::Extent,
    form::LoopForm,
    graph::{Module, ValueId, loc},
    ops::{Add, Broadcast, Conv, Op, Relu, Transpose},
    types::TensorType,
};
use nnc_tile::{
    program::{Lane, VectorProgram},
    winograd::{Multiples, Winograd},
};
use support::Rng;

/// A convolution of window 3x3, `[n, y, x, channel]`.
struct Case {
    n: i64,
    rows: i64,
    columns: i64,
    c: i64,
    m: i64,
    /// Before, after; of rows and of columns.
    pads: [[i64; 2]; 2],
    bias: bool,
    residual: bool,
    relu: bool,
}

impl Case {
    fn plane(&self) -> [i64; 2] {
        [
            self.rows + self.pads[0][0] + self.pads[0][1] - 2,
            self.columns + self.pads[1][0] + self.pads[1][1] - 2,
        ]
    }

    /// Input, weights, bias and residual are operands 0 to 3.
    fn form(&self) -> LoopForm {
        let mut module = Module::new();
        let mut inputs = vec![];
        let constant = |shape: &[i64]| shape.iter().map(|&e| Extent::Const(e)).collect::<Vec<_>>();
        let [rows, columns] = self.plane();
        let result = [self.n, rows, columns, self.m];
        let shapes: [&[i64]; 4] =
            [&[self.n, self.rows, self.columns, self.c], &[self.m, self.c, 3, 3], &[self.m], &result];
        for (i, shape) in shapes.iter().enumerate() {
            inputs.push(module.add_input(&format!("x{i}"), TensorType::new(DType::F32, constant(shape))));
        }
        let mut op = |op: Op, operands: &[ValueId]| {
            let body = module.body();
            module.append(body, op, operands, &[], &loc("t")).unwrap()[0]
        };
        let x = op(Transpose { perm: vec![0, 3, 1, 2] }.into(), &[inputs[0]]);
        let conv = Conv {
            groups: 1,
            strides: vec![1; 2],
            dilations: vec![1; 2],
            pads_before: vec![self.pads[0][0], self.pads[1][0]],
            spatial: constant(&[rows, columns]),
        };
        let y = op(conv.into(), &[x, inputs[1]]);
        let mut y = op(Transpose { perm: vec![0, 2, 3, 1] }.into(), &[y]);
        if self.bias {
            let wide = op(Broadcast { shape: constant(&result) }.into(), &[inputs[2]]);
            y = op(Add {}.into(), &[y, wide]);
        }
        if self.residual {
            y = op(Add {}.into(), &[y, inputs[3]]);
        }
        if self.relu {
            y = op(Relu {}.into(), &[y]);
        }
        let nodes = module.region(module.body()).nodes.clone();
        let (mut form, operands) = fuse_nodes(&module, &nodes, &[y]).unwrap();
        for load in &mut form.loads {
            load.operand = inputs.iter().position(|&v| v == operands[load.operand]).unwrap();
        }
        form
    }
}

/// With these decisions, else those of lowering; which were made.
fn compile(form: &LoopForm, weights: &Constant, given: &[(Knob, i64)]) -> (Compiled, Vec<Decision>) {
    let mut made = vec![];
    let compiled = compile_with(5, |slots, cx| {
        let six = given.contains(&(Knob::Winograd, 6));
        cx.filtering.most = Some(if six { Winograd::F6 } else { Winograd::F4 });
        let given = Given(given.iter().map(|&(knob, n)| (knob, Choice::Number(n))).collect());
        cx.choices = Choices::new(Some(&given), true);
        let operand = |i: usize| OperandRef {
            pointer: slots[i],
            constant: (i == 1).then(|| weights.clone()),
            range: None,
        };
        let request = NestRequest {
            name: "test".into(),
            form: form.clone(),
            operands: (0..4).map(operand).collect(),
            results: slots[4..].to_vec(),
            placement: vec![None],
            fault_node: 0,
        };
        let kernel = lower_nest(&request, cx);
        made = std::mem::take(&mut cx.choices).made();
        kernel
    });
    (compiled, made)
}

/// Magnitudes of the matrix that a program is.
fn magnitudes(program: &VectorProgram) -> Vec<Vec<f64>> {
    let n = program.n_inputs();
    let column = |j: usize| {
        let inputs: Vec<Lane> = (0..n).map(|i| Lane::F32(if i == j { 1.0 } else { 0.0 })).collect();
        program.eval(&inputs)
    };
    let columns: Vec<Vec<Lane>> = (0..n).map(column).collect();
    (0..program.results().len())
        .map(|i| columns.iter().map(|c| f64::from(c[i].f32().abs())).collect())
        .collect()
}

/// The bound of an element: see the module `winograd`. `made` says whether the kernel transforms the weights.
fn bound(
    (way, multiples, made): (Winograd, Multiples, bool),
    c: i64,
    at: [i64; 2],
    d: &dyn Fn(i64, i64, i64) -> f64,
    g: &dyn Fn(i64, i64, i64) -> f64,
) -> f64 {
    let (a, b) = (magnitudes(&way.output(multiples)), magnitudes(&way.input(multiples)));
    let gs: Vec<Vec<f64>> = way.g().iter().map(|r| r.iter().map(|x| x.abs()).collect()).collect();
    let (n, m) = (way.n(), way.m() as i64);
    let origin = at.map(|x| x / m * m);
    let both =
        |matrix: &[Vec<f64>], size: usize, element: &dyn Fn(usize, usize) -> f64, i: usize, j: usize| {
            let mut sum = 0.0;
            for y in 0..size {
                for x in 0..size {
                    sum += matrix[i][y] * matrix[j][x] * element(y, x).abs();
                }
            }
            sum
        };
    let mut sums = vec![vec![0.0; n]; n];
    for channel in 0..c {
        for (i, row) in sums.iter_mut().enumerate() {
            for (j, sum) in row.iter_mut().enumerate() {
                let v = both(&b, n, &|y, x| d(origin[0] + y as i64, origin[1] + x as i64, channel), i, j);
                let u = both(&gs, 3, &|y, x| g(y as i64, x as i64, channel), i, j);
                *sum += u * v;
            }
        }
    }
    let total = both(&a, n, &|i, j| sums[i][j], (at[0] % m) as usize, (at[1] % m) as usize);
    let transforms = match way {
        Winograd::F2 => 2 * (2 + 1),
        Winograd::F4 if multiples == Multiples::Fused => 2 * (3 + 2),
        Winograd::F4 | Winograd::F6 if way == Winograd::F4 || multiples == Multiples::Fused => 2 * (3 + 3),
        _ => 2 * (3 + 4),
    };
    let roundings = c + transforms + if made { 9 } else { 2 };
    let nu = roundings as f64 * f64::from(f32::EPSILON) / 2.0;
    nu / (1.0 - nu) * total
}

/// Checks a convolution; gives the way in which it is done, if there is one, and the channels whose weights are transformed at
/// a time.
fn check(case: &Case, rng: &mut Rng, given: &[(Knob, i64)], what: &str) -> Option<(Winograd, i64)> {
    let form = case.form();
    let [rows, columns] = case.plane();
    let sizes = [
        case.n * case.rows * case.columns * case.c,
        case.m * case.c * 9,
        case.m,
        case.n * rows * columns * case.m,
    ];
    let operands: Vec<Vec<f32>> = sizes.iter().map(|&n| (0..n).map(|_| rng.unit()).collect()).collect();
    let scalars: Vec<Scalar> = operands[1].iter().map(|&x| Scalar::f32(x)).collect();
    let weights = Constant::from_scalars(DType::F32, &[case.m, case.c, 3, 3], &scalars);
    let (compiled, decisions) = compile(&form, &weights, given);
    let multiples = if compiled.plain { Multiples::Separate } else { Multiples::Fused };
    let number = |knob: Knob| match decisions.iter().find(|d| d.knob == knob)?.taken {
        Choice::Number(n) => Some(n),
        Choice::Tile(..) => None,
    };
    let way = Winograd::ALL.into_iter().find(|w| number(Knob::Winograd) == Some(w.m() as i64))?;
    let step = number(Knob::Filters)?;
    let products = compiled.packed_bytes() as i64 / (4 * case.m * case.c);
    let n = if step > 0 { 9 } else { (way.n() * way.n()) as i64 };
    assert!((n..n + n / 2).contains(&products), "{what}: {products} numbers for each pair of channels");
    let bytes = |x: &[f32]| Buffer::new(&x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
    let inputs: Vec<Buffer> = operands.iter().map(|x| bytes(x)).collect();
    let run = |parts: usize| {
        let output = Buffer::new(&vec![0xcc; 4 * sizes[3] as usize]);
        let all: Vec<&Buffer> = inputs.iter().chain([&output]).collect();
        compiled.run(&vec![], &all, parts);
        output.bytes().to_vec()
    };
    let have = run(1);
    for parts in [2, 3] {
        assert!(have == run(parts), "{what}: {parts} parts");
    }
    for (i, at) in points(&[case.n, rows, columns, case.m]).iter().enumerate() {
        let d = |y: i64, x: i64, c: i64| {
            let (y, x) = (y - case.pads[0][0], x - case.pads[1][0]);
            let inside = (0..case.rows).contains(&y) && (0..case.columns).contains(&x);
            let index = ((at[0] * case.rows + y) * case.columns + x) * case.c + c;
            if inside { f64::from(operands[0][index as usize]) } else { 0.0 }
        };
        let g = |y: i64, x: i64, c: i64| {
            f64::from(operands[1][(((at[3] * case.c + c) * 3 + y) * 3 + x) as usize])
        };
        let mut want = 0.0;
        for tap in points(&[3, 3, case.c]) {
            want += d(at[1] + tap[0], at[2] + tap[1], tap[2]) * g(tap[0], tap[1], tap[2]);
        }
        // The bound takes long.
        let limit = if i % 37 == 0 {
            bound((way, multiples, step > 0), case.c, [at[1], at[2]], &d, &g)
        } else {
            f64::INFINITY
        };
        let loose = 4e-5 * (9 * case.c) as f64;
        let mut magnitude = want.abs();
        for (used, operand, index) in [(case.bias, 2, at[3] as usize), (case.residual, 3, i)] {
            if used {
                want += f64::from(operands[operand][index]);
                magnitude += f64::from(operands[operand][index]).abs();
            }
        }
        if case.relu {
            want = want.max(0.0);
        }
        let got = f64::from(Scalar::load(DType::F32, &have[4 * i..]).to_f32());
        let limit = limit.min(loose) + 2.0 * f64::from(f32::EPSILON) * magnitude;
        assert!((got - want).abs() <= limit, "{what}: {at:?} is {got}, expected {want} within {limit}");
    }
    Some((way, step))
}

#[test]
fn random_convolutions_are_within_the_bound() {
    let mut rng = Rng::new(11);
    let mut seen = [[0; 4]; 2];
    for case in 0..200 {
        let mut pick = |from: &[i64]| from[rng.below(from.len())];
        let (c, m) = (pick(&[8, 12, 16, 21, 32, 64]), pick(&[8, 16, 17, 24, 36, 64]));
        let (rows, columns) = (pick(&[3, 6, 9, 10, 13, 16]), pick(&[4, 6, 7, 10, 12, 18]));
        let case_ = Case {
            n: pick(&[1, 1, 2]),
            rows,
            columns,
            c,
            m,
            pads: [[pick(&[0, 1, 1]), pick(&[0, 1, 2])], [pick(&[0, 1, 1]), pick(&[0, 1, 1])]],
            bias: pick(&[0, 1]) == 1,
            residual: pick(&[0, 1]) == 1,
            relu: pick(&[0, 1]) == 1,
        };
        if case_.plane().contains(&1) {
            continue;
        }
        let what = format!(
            "case {case}: n {} {rows}x{columns} c {c} m {m} pads {:?} bias {} residual {} relu {}",
            case_.n, case_.pads, case_.bias, case_.residual, case_.relu
        );
        // The largest squares are not used unless somebody asks for them.
        let mut given = if pick(&[0, 1]) == 1 { vec![(Knob::Winograd, 6)] } else { vec![] };
        if pick(&[0, 1]) == 1 {
            let steps = [c / 2, c].into_iter().filter(|step| c % step == 0 && *step >= 8);
            given.push((Knob::Filters, pick(&steps.collect::<Vec<_>>())));
        }
        let (way, step) = match check(&case_, &mut rng, &given, &what) {
            Some((Winograd::F2, step)) => (1, step),
            Some((Winograd::F4, step)) => (2, step),
            Some((Winograd::F6, step)) => (3, step),
            None => (0, 0),
        };
        seen[usize::from(step > 0)][way] += 1;
    }
    assert!(seen.iter().all(|seen| seen[1..].iter().all(|&n| n > 1)), "all ways are seen: {seen:?}");
}
