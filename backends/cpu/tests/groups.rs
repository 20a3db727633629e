//! groups - products of which a nest joins groups of columns, as one kernel, against the evaluator.

mod support {
    pub(crate) mod program;
}
use support::program::*;

use nnc_cpu::{CompileOptions, Target, compile};
use nnc_ir::{
    dtype::DType,
    eval::Tensor,
    extent::{Extent, SymbolOrigin},
    graph::{Module, RegionId, ValueId, loc},
    ops,
    types::TensorType,
};
use nnc_runtime::Program;

fn weight(m: &mut Module, dims: &[i64], seed: i64) -> ValueId {
    let small: Vec<f32> = numbers(dims, seed).scalars().iter().map(|s| s.to_f32() / 8.0).collect();
    let constant = Tensor::f32s(dims, &small).into_constant().expect("as many bytes as elements");
    let body = m.body();
    m.append_constant(body, constant, &loc("w"))
}

fn rows_of(rows: &Extent, n: i64) -> TensorType {
    TensorType::new(DType::F32, vec![rows.clone(), Extent::Const(n)])
}

/// A fusion of what `build` makes of its parameters.
fn fused(
    m: &mut Module,
    region: RegionId,
    operands: &[ValueId],
    build: impl FnOnce(&mut Module, RegionId, &[ValueId]) -> Vec<ValueId>,
) -> Vec<ValueId> {
    let inner = m.add_region();
    let params: Vec<ValueId> = operands.iter().map(|&v| m.add_param(inner, m.ty(v).clone())).collect();
    let results = build(m, inner, &params);
    m.set_results(inner, results);
    m.append(region, ops::Fusion {}, operands, &[inner], &loc("cell")).unwrap_or_else(|e| panic!("{e}"))
}

/// Columns `first..first + n`.
fn columns(m: &mut Module, region: RegionId, x: ValueId, rows: &Extent, first: i64, n: i64) -> ValueId {
    let shape = vec![rows.clone(), Extent::Const(n)];
    let starts = vec![Extent::ZERO, Extent::Const(first)];
    add(m, region, ops::Slice { starts, steps: vec![1, 1], shape }, &[x])
}

/// `x w + b`, in which `b` has the columns of all rows.
fn product(m: &mut Module, region: RegionId, x: ValueId, w: ValueId, b: ValueId) -> ValueId {
    let results = fused(m, region, &[x, w, b], |m, r, p| {
        let y = add(m, r, ops::MatMul {}, &p[..2]);
        let shape = m.ty(y).shape.clone();
        let b = if m.ty(p[2]).shape == shape { p[2] } else { add(m, r, ops::Broadcast { shape }, &[p[2]]) };
        vec![add(m, r, ops::Add {}, &[y, b])]
    });
    results[0]
}

/// `(x w + b)[..n] * sigmoid((x w + b)[n..])`, the whole thing doubled.
fn gated_unit(rows: Extent, m: &mut Module, k: i64, n: i64) {
    let x = m.add_input("x", rows_of(&rows, k));
    let (w, b) = (weight(m, &[k, 2 * n], 1), weight(m, &[2 * n], 2));
    let body = m.body();
    let t = product(m, body, x, w, b);
    let y = fused(m, body, &[t], |m, r, p| {
        let value = columns(m, r, p[0], &rows, 0, n);
        let gate = columns(m, r, p[0], &rows, n, n);
        let gate = add(m, r, ops::Sigmoid {}, &[gate]);
        let y = add(m, r, ops::Mul {}, &[value, gate]);
        vec![add(m, r, ops::Add {}, &[y, y])]
    });
    outputs(m, &y);
}

/// The step of a cell with four gates: the new state and its output.
fn four_gates(m: &mut Module, r: RegionId, p: &[ValueId], rows: &Extent, n: i64) -> Vec<ValueId> {
    let gate = |m: &mut Module, at: i64| columns(m, r, p[0], rows, at * n, n);
    let [i, o, f, g] = [0, 1, 2, 3].map(|at| gate(m, at));
    let [i, o, f] = [i, o, f].map(|x| add(m, r, ops::Sigmoid {}, &[x]));
    let g = add(m, r, ops::Tanh {}, &[g]);
    let kept = add(m, r, ops::Mul {}, &[f, p[1]]);
    let new = add(m, r, ops::Mul {}, &[i, g]);
    let c = add(m, r, ops::Add {}, &[kept, new]);
    let out = add(m, r, ops::Tanh {}, &[c]);
    vec![c, add(m, r, ops::Mul {}, &[o, out])]
}

/// The step of a cell with three gates, of which two are of the sum of both products.
fn three_gates(m: &mut Module, r: RegionId, p: &[ValueId], rows: &Extent, n: i64) -> ValueId {
    let part = |m: &mut Module, of: usize, at: i64| columns(m, r, p[of], rows, at * n, n);
    let reset = [part(m, 0, 1), part(m, 1, 1)];
    let reset = add(m, r, ops::Add {}, &reset);
    let reset = add(m, r, ops::Sigmoid {}, &[reset]);
    let (x, h) = (part(m, 1, 2), part(m, 0, 2));
    let h = add(m, r, ops::Mul {}, &[reset, h]);
    let new = add(m, r, ops::Add {}, &[x, h]);
    let new = add(m, r, ops::Tanh {}, &[new]);
    let update = [part(m, 0, 0), part(m, 1, 0)];
    let update = add(m, r, ops::Add {}, &update);
    let update = add(m, r, ops::Sigmoid {}, &[update]);
    let old = add(m, r, ops::Sub {}, &[p[2], new]);
    let kept = add(m, r, ops::Mul {}, &[update, old]);
    add(m, r, ops::Add {}, &[new, kept])
}

/// A scan over cells.
fn recurrent(rows: &Extent, m: &mut Module, gates: i64, n: i64) {
    let steps = Extent::Const(5);
    let wide = gates * n;
    let shape = vec![steps.clone(), rows.clone(), Extent::Const(wide)];
    let x = m.add_input("x", TensorType::new(DType::F32, shape));
    let h0 = m.add_input("h", rows_of(rows, n));
    let w = weight(m, &[n, wide], 3);
    let b = weight(m, &[wide], 4);
    let region = m.add_region();
    let carried = if gates == 4 { 2 } else { 1 };
    let state: Vec<ValueId> = (0..carried).map(|_| m.add_param(region, rows_of(rows, n))).collect();
    let x_now = m.add_param(region, rows_of(rows, wide));
    let w_now = m.add_param(region, m.ty(w).clone());
    let b_now = m.add_param(region, m.ty(b).clone());
    let results = if gates == 4 {
        let t = product(m, region, state[0], w_now, x_now);
        let new = fused(m, region, &[t, state[1]], |m, r, p| four_gates(m, r, p, rows, n));
        vec![new[1], new[0], new[1]]
    } else {
        let t = product(m, region, state[0], w_now, b_now);
        let new = fused(m, region, &[t, x_now, state[0]], |m, r, p| vec![three_gates(m, r, p, rows, n)]);
        vec![new[0], new[0]]
    };
    m.set_results(region, results);
    let mut operands = vec![h0; carried];
    operands.extend([x, w, b]);
    let op = ops::Scan { carried, steps, reversed_inputs: vec![false], reversed_outputs: vec![false] };
    let body = m.body();
    let out = m.append(body, op, &operands, &[region], &loc("scan")).unwrap_or_else(|e| panic!("{e}"));
    outputs(m, &out);
}

/// Checks the module on this machine; other processors' code gives the same numbers, and those with the same
/// multiply-add the same bits. Products are joined, so no kernel has a name with a gate alone.
fn check(m: Module, inputs: &[Tensor]) {
    let ready = ready(m);
    let names: Vec<String> = ready.program.image().kernels.iter().map(|k| k.name.clone()).collect();
    assert_eq!(names.iter().filter(|n| n.contains("matmul")).count(), names.len(), "{names:?}");
    let got = ready.check(inputs);
    for cpu in ["x86-64-v3", "generic"] {
        let Ok(target) = Target::new(cpu, None, true) else { continue };
        let compiled = compile(&ready.module, &target, &CompileOptions::default());
        let compiled = compiled.unwrap_or_else(|e| panic!("{e:#?}"));
        let Ok(program) = Program::load(compiled.image.clone()) else { continue };
        let other = Ready { module: ready.module.clone(), compiled, program };
        let theirs = other.check(inputs);
        if cpu == "x86-64-v3" {
            assert_eq!(got, theirs, "{cpu}");
        }
    }
}

#[test]
fn gated_units() {
    for (rows, k, n) in [(1, 7, 5), (1, 40, 100), (3, 64, 33), (40, 19, 48), (130, 8, 16)] {
        let mut m = Module::new();
        gated_unit(Extent::Const(rows), &mut m, k, n);
        check(m, &[numbers(&[rows, k], 5)]);
    }
    for rows in [0, 1, 2, 50] {
        let mut m = Module::new();
        let symbol = input_symbol(&mut m, "N", 0, 0);
        gated_unit(symbol, &mut m, 11, 20);
        check(m, &[numbers(&[rows, 11], 5)]);
    }
}

#[test]
fn recurrent_cells() {
    for gates in [3, 4] {
        for (rows, n) in [(1, 25), (1, 64), (1, 100), (2, 16), (7, 40)] {
            let mut m = Module::new();
            recurrent(&Extent::Const(rows), &mut m, gates, n);
            check(m, &[numbers(&[5, rows, gates * n], 7), numbers(&[rows, n], 9)]);
        }
        for rows in [0, 1, 3, 9] {
            let mut m = Module::new();
            let symbol = symbol(&mut m, "N", SymbolOrigin::Input { input: 0, axis: 1 });
            recurrent(&symbol, &mut m, gates, 36);
            check(m, &[numbers(&[5, rows, gates * 36], 7), numbers(&[rows, 36], 9)]);
        }
    }
}
