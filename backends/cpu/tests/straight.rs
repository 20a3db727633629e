//! straight - whole programs without control flow, against the evaluator.

mod support {
    pub(crate) mod program;
}
use support::program::*;

use nnc_ir::{
    constant::Constant,
    dtype::{DType, Scalar},
    entity::EntityId,
    eval::Tensor,
    extent::{Extent, SymbolId, SymbolOrigin},
    graph::{Constraint, ConstraintKind, Module, ValueId, loc},
    ops,
    types::TensorType,
};
use nnc_runtime::Program;

fn weight(m: &mut Module, dims: &[i64], seed: i64) -> ValueId {
    let constant = numbers(dims, seed).into_constant().expect("as many bytes as elements");
    let body = m.body();
    m.append_constant(body, constant, &loc("w"))
}

/// A perceptron with a skip connection over `rows` rows.
fn perceptron(rows: Extent, m: &mut Module, layers: i64) -> Vec<ValueId> {
    let x = m.add_input("x", TensorType::new(DType::F32, vec![rows.clone(), Extent::Const(24)]));
    let body = m.body();
    let mut h = x;
    for layer in 0..layers {
        let w = weight(m, &[24, 24], layer);
        let y = add(m, body, ops::MatMul {}, &[h, w]);
        let bias = weight(m, &[24], 5 + layer);
        let bias = add(m, body, ops::Broadcast { shape: vec![rows.clone(), Extent::Const(24)] }, &[bias]);
        let y = add(m, body, ops::Add {}, &[y, bias]);
        let y = add(m, body, ops::Tanh {}, &[y]);
        h = add(m, body, ops::Add {}, &[y, h]);
    }
    let t = add(m, body, ops::Transpose { perm: vec![1, 0] }, &[h]);
    vec![h, t]
}

#[test]
fn a_static_perceptron_reuses_memory() {
    let mut m = Module::new();
    let values = perceptron(Extent::Const(7), &mut m, 6);
    outputs(&mut m, &values);
    let ready = ready(m);
    ready.check(&[numbers(&[7, 24], 1)]);
    let report = &ready.compiled.report;
    assert!(report.arena_bytes * 3 < report.intermediate_bytes, "{report:?}");
    assert_eq!(report.dynamic_buffers, 0);
    let names: Vec<&str> = ready.program.image().kernels.iter().map(|k| k.name.as_str()).collect();
    assert_eq!(names[..2], ["k000_matmul", "k001_broadcast"]);
}

#[test]
fn a_symbolic_perceptron_runs_any_number_of_rows() {
    let mut m = Module::new();
    let n = input_symbol(&mut m, "N", 0, 0);
    let values = perceptron(n, &mut m, 3);
    outputs(&mut m, &values);
    let ready = ready(m);
    for rows in [1, 0, 5, 64, 333, 2] {
        ready.check(&[numbers(&[rows, 24], rows)]);
    }
    assert_eq!(ready.compiled.report.arena_bytes, 0);
    assert!(!ready.compiled.report.symbolic_arena.is_empty());
}

#[test]
fn a_small_program_is_one_function() {
    let mut m = Module::new();
    let values = perceptron(Extent::Const(3), &mut m, 4);
    outputs(&mut m, &values);
    let target = nnc_cpu::Target::native().unwrap_or_else(|e| panic!("{e}"));
    let [straight, called] = [false, true].map(|trace| {
        let options = nnc_cpu::CompileOptions { emit_clif: true, trace, ..Default::default() };
        let compiled = nnc_cpu::compile(&m, &target, &options).unwrap_or_else(|e| panic!("{e:?}"));
        let program = Program::load(compiled.image.clone()).unwrap_or_else(|e| panic!("{e}"));
        Ready { module: m.clone(), compiled, program }
    });
    if target.wide.is_some() {
        let clif = straight.compiled.clif.as_deref().unwrap_or_default();
        assert!(!clif.contains("nnc_block") && !clif.contains(": k0"), "{clif}");
        assert_eq!((straight.compiled.report.inlined, called.compiled.report.inlined), (21, 0));
    }
    let input = numbers(&[3, 24], 1);
    assert_eq!(straight.check(std::slice::from_ref(&input)), called.check(&[input]));
}

#[test]
fn repeated_layers_are_one_function() {
    let mut m = Module::new();
    let n = input_symbol(&mut m, "N", 0, 0);
    let values = perceptron(n, &mut m, 4);
    outputs(&mut m, &values);
    let ready = ready(m);
    let kernels = &ready.program.image().kernels;
    let mut offsets: Vec<u64> = kernels.iter().map(|k| k.offset).collect();
    offsets.sort_unstable();
    offsets.dedup();
    // Each layer is a product, a broadcast, two sums, which are alike, and a tangent; then there is the transpose.
    assert_eq!((kernels.len(), offsets.len()), (21, 5));
    for rows in [1, 700, 0, 3] {
        ready.check(&[numbers(&[rows, 24], rows)]);
    }
}

#[test]
fn operands_of_a_join_are_made_by_one_function() {
    let mut m = Module::new();
    let x = m.add_input("x", TensorType::of(DType::F32, &[512, 64]));
    let body = m.body();
    let parts: Vec<ValueId> = (0..5)
        .map(|seed| {
            let w = weight(&mut m, &[64, 64], seed);
            add(&mut m, body, ops::MatMul {}, &[x, w])
        })
        .collect();
    let joined = add(&mut m, body, ops::Concat { axis: 1 }, &parts);
    let y = add(&mut m, body, ops::Neg {}, &[joined]);
    outputs(&mut m, &[y]);
    let ready = ready(m);
    let kernels = &ready.program.image().kernels;
    assert!(kernels[1..5].iter().all(|k| k.offset == kernels[0].offset), "{kernels:?}");
    assert_ne!(kernels[5].offset, kernels[0].offset);
    ready.check(&[numbers(&[512, 64], 3)]);
}

#[test]
fn outputs_may_be_inputs_constants_and_each_other() {
    let mut m = Module::new();
    let x = m.add_input("x", TensorType::of(DType::F32, &[2, 3]));
    let body = m.body();
    let w = weight(&mut m, &[4], 3);
    let y = add(&mut m, body, ops::Add {}, &[x, x]);
    let flat = add(&mut m, body, ops::Reshape { shape: vec![Extent::Const(6)] }, &[y]);
    let z = add(&mut m, body, ops::Neg {}, &[flat]);
    outputs(&mut m, &[x, w, y, y, flat, x, z]);
    ready(m).check(&[numbers(&[2, 3], 9)]);
}

#[test]
fn joins_reshapes_and_shapes() {
    let mut m = Module::new();
    let n = input_symbol(&mut m, "N", 0, 0);
    let x = m.add_input("x", TensorType::new(DType::F32, vec![n.clone(), Extent::Const(2)]));
    let body = m.body();
    let negated = add(&mut m, body, ops::Neg {}, &[x]);
    let joined = add(&mut m, body, ops::Concat { axis: 1 }, &[x, negated, x]);
    let flat = add(&mut m, body, ops::Reshape { shape: vec![n.scale(6)] }, &[joined]);
    let rows = add(&mut m, body, ops::Concat { axis: 0 }, &[negated, x]);
    let half = n.floor_div(&Extent::Const(2));
    let values = vec![n.scale(4), n.modulo(&Extent::Const(3)), half.max_with(&Extent::Const(2))];
    let shape = add(&mut m, body, ops::Extents { values }, &[]);
    outputs(&mut m, &[flat, rows, shape]);
    let ready = ready(m);
    for n in [0, 1, 2, 7] {
        ready.check(&[numbers(&[n, 2], n)]);
    }
}

#[test]
fn operands_of_a_join_are_made_in_place() {
    let mut m = Module::new();
    let n = input_symbol(&mut m, "N", 0, 0);
    let x = m.add_input("x", TensorType::new(DType::F32, vec![n.clone(), Extent::Const(16)]));
    let body = m.body();
    let w = weight(&mut m, &[16, 24], 2);
    let product = add(&mut m, body, ops::MatMul {}, &[x, w]);
    let negated = add(&mut m, body, ops::Neg {}, &[x]);
    let twice = add(&mut m, body, ops::Add {}, &[x, x]);
    let flat = add(&mut m, body, ops::Reshape { shape: vec![n.scale(16)] }, &[twice]);
    let again = add(&mut m, body, ops::Reshape { shape: vec![n, Extent::Const(16)] }, &[flat]);
    let joined = add(&mut m, body, ops::Concat { axis: 1 }, &[negated, product, x, again]);
    let rows = add(&mut m, body, ops::Concat { axis: 0 }, &[joined, joined]);
    let y = add(&mut m, body, ops::Tanh {}, &[rows]);
    outputs(&mut m, &[y, flat]);
    let ready = ready(m);
    // One copy each for `x` and for what is read elsewhere; the first half of the rows is where they are joined, the
    // second a copy.
    let copies = ready.program.image().kernels.iter().filter(|k| k.name.ends_with("concat")).count();
    assert_eq!(copies, 3);
    for n in [1, 2, 9, 40] {
        ready.check(&[numbers(&[n, 16], n)]);
    }
}

#[test]
fn unknown_extents_broadcast_or_fail() {
    let mut m = Module::new();
    let a = input_symbol(&mut m, "A", 0, 0);
    let b = input_symbol(&mut m, "B", 1, 0);
    let x = m.add_input("x", TensorType::new(DType::F32, vec![a.clone()]));
    let y = m.add_input("y", TensorType::new(DType::F32, vec![b.clone()]));
    let shape = vec![a.broadcast(&b).expect("may")];
    let body = m.body();
    let x = add(&mut m, body, ops::Broadcast { shape: shape.clone() }, &[x]);
    let y = add(&mut m, body, ops::Broadcast { shape }, &[y]);
    let z = add(&mut m, body, ops::Add {}, &[x, y]);
    outputs(&mut m, &[z]);
    m.constraints.push(Constraint { kind: ConstraintKind::AtMost(a, b), loc: loc("add") });
    let ready = ready(m);
    ready.check(&[numbers(&[1], 0), numbers(&[5], 1)]);
    ready.check(&[numbers(&[5], 0), numbers(&[5], 1)]);
    assert_eq!(ready.fails(&[numbers(&[4], 0), numbers(&[5], 1)]), 236);
}

#[test]
fn one_symbol_on_two_axes_must_agree() {
    let mut m = Module::new();
    let n = input_symbol(&mut m, "N", 0, 0);
    let x = m.add_input("x", TensorType::new(DType::F32, vec![n.clone(), n.clone()]));
    let y = m.add_input("y", TensorType::new(DType::F32, vec![&n + &Extent::ONE]));
    outputs(&mut m, &[y, x]);
    let ready = ready(m);
    ready.check(&[numbers(&[3, 3], 0), numbers(&[4], 0)]);
    assert_eq!(ready.fails(&[numbers(&[3, 2], 0), numbers(&[4], 0)]), 236);
    assert_eq!(ready.fails(&[numbers(&[3, 3], 0), numbers(&[3], 0)]), 236);
}

#[test]
fn data_decide_extents() {
    let mut m = Module::new();
    let k = symbol(&mut m, "k", SymbolOrigin::Data);
    let x = m.add_input("x", TensorType::of(DType::I64, &[1]));
    let one = m.add_input("one", TensorType::of(DType::F32, &[1]));
    let body = m.body();
    add(&mut m, body, ops::ReadExtents { symbols: vec![SymbolId::new(0)] }, &[x]);
    let y = add(&mut m, body, ops::Broadcast { shape: vec![k.clone(), Extent::Const(3)] }, &[one]);
    let z = add(&mut m, body, ops::Exp {}, &[y]);
    let shape = add(&mut m, body, ops::Extents { values: vec![k] }, &[]);
    outputs(&mut m, &[y, z, shape]);
    let ready = ready(m);
    assert!(ready.compiled.report.dynamic_buffers >= 2);
    let one = Tensor::f32s(&[1], &[0.5]);
    for k in [2, 0, 700] {
        ready.check(&[Tensor::i64s(&[1], &[k]), one.clone()]);
    }
    assert_eq!(ready.fails(&[Tensor::i64s(&[1], &[-1]), one.clone()]), 224);
    assert_eq!(ready.fails(&[Tensor::i64s(&[1], &[1 << 39]), one]), 501);
}

#[test]
fn calls_of_the_runtime_define_extents() {
    let mut m = Module::new();
    let n = input_symbol(&mut m, "N", 0, 0);
    let count = symbol(&mut m, "count", SymbolOrigin::Data);
    m.symbols[SymbolId::new(1)].bound = Some(n.scale(2));
    let x = m.add_input("x", TensorType::new(DType::F32, vec![n, Extent::Const(2)]));
    let body = m.body();
    let at = add(&mut m, body, ops::NonZero { count: count.clone() }, &[x]);
    let moved = add(&mut m, body, ops::Transpose { perm: vec![1, 0] }, &[at]);
    outputs(&mut m, &[at, moved]);
    let ready = ready(m);
    assert_eq!(ready.compiled.report.dynamic_buffers, 0);
    ready.check(&[Tensor::f32s(&[3, 2], &[0., 1., 0., 0., 2., 3.])]);
    ready.check(&[Tensor::f32s(&[2, 2], &[0.; 4])]);
    assert_eq!(ready.program.image().externs.len(), 1);
}

#[test]
fn an_index_out_of_range_ends_the_run() {
    let mut m = Module::new();
    let x = m.add_input("x", TensorType::of(DType::F32, &[3]));
    let i = m.add_input("i", TensorType::of(DType::I64, &[2]));
    let body = m.body();
    let y = m.append(body, ops::Gather { axis: 0 }, &[x, i], &[], &loc("pick")).expect("types fit");
    outputs(&mut m, &y);
    let ready = ready(m);
    ready.check(&[numbers(&[3], 0), Tensor::i64s(&[2], &[2, -3])]);
    assert_eq!(ready.fails(&[numbers(&[3], 0), Tensor::i64s(&[2], &[0, 3])]), 805);
    let error = ready.run(&mut session(1, None), &[numbers(&[3], 0), Tensor::i64s(&[2], &[0, 3])]);
    assert_eq!(error.expect_err("out of range").node(), Some("pick"));
}

#[test]
fn a_fusion_means_its_nodes() {
    let mut m = Module::new();
    let x = m.add_input("x", TensorType::of(DType::F32, &[2]));
    let region = m.add_region();
    let p = m.add_param(region, TensorType::of(DType::F32, &[2]));
    let sum = add(&mut m, region, ops::Add {}, &[p, p]);
    m.set_results(region, vec![sum, p]);
    let body = m.body();
    let r = m.append(body, ops::Fusion {}, &[x], &[region], &loc("fusion")).expect("types fit");
    outputs(&mut m, &r);
    ready(m).check(&[numbers(&[2], 4)]);
}

#[test]
fn the_same_module_gives_the_same_bytes() {
    let image = || {
        let mut m = Module::new();
        let n = input_symbol(&mut m, "N", 0, 0);
        let values = perceptron(n, &mut m, 4);
        outputs(&mut m, &values);
        ready(m).compiled.image
    };
    let (a, b) = (image(), image());
    assert_eq!((a.code, a.entries, a.kernels), (b.code, b.entries, b.kernels));
}

#[test]
fn many_constants_share_sections() {
    let mut m = Module::new();
    let x = m.add_input("x", TensorType::of(DType::F32, &[4]));
    let body = m.body();
    let mut sum = x;
    for i in 0..50 {
        let value = Constant::from_scalars(DType::F32, &[4], &[Scalar::f32((i % 5) as f32); 4]);
        let c = m.append_constant(body, value, &loc("c"));
        sum = add(&mut m, body, ops::Add {}, &[sum, c]);
    }
    outputs(&mut m, &[sum]);
    let ready = ready(m);
    ready.check(&[numbers(&[4], 0)]);
    assert_eq!(ready.program.image().weights.sections().len(), 1);
    assert!(ready.compiled.report.weight_bytes <= 5 * 64);
}

#[test]
fn every_processor_gets_code_or_a_reason() {
    let mut m = Module::new();
    let values = perceptron(Extent::Const(3), &mut m, 2);
    outputs(&mut m, &values);
    for (cpu, triple) in [
        ("x86-64-v2", "x86_64-unknown-linux-gnu"),
        ("x86-64-v3", "x86_64-unknown-linux-gnu"),
        ("x86-64-v4", "x86_64-unknown-linux-gnu"),
        ("generic", "x86_64-unknown-linux-gnu"),
        ("generic", "aarch64-unknown-linux-gnu"),
    ] {
        let target = nnc_cpu::Target::new(cpu, Some(triple), true).unwrap_or_else(|e| panic!("{e}"));
        match nnc_cpu::compile(&m, &target, &nnc_cpu::CompileOptions::default()) {
            Ok(compiled) => assert_eq!(compiled.image.target.triple, triple),
            Err(problems) => {
                assert!(!triple.starts_with("x86_64"), "{cpu}: {problems:?}");
                assert!(problems.iter().all(|p| matches!(p.code.0, 410 | 411)), "{problems:?}");
            }
        }
    }
}

#[test]
fn texts_show_every_function() {
    let mut m = Module::new();
    let n = input_symbol(&mut m, "N", 0, 0);
    let values = perceptron(n, &mut m, 1);
    outputs(&mut m, &values);
    let target = nnc_cpu::Target::native().unwrap_or_else(|e| panic!("{e}"));
    let options = nnc_cpu::CompileOptions { emit_clif: true, emit_asm: true, ..Default::default() };
    let compiled = nnc_cpu::compile(&m, &target, &options).unwrap_or_else(|e| panic!("{e:?}"));
    let (clif, asm) = (compiled.clif.unwrap_or_default(), compiled.asm.unwrap_or_default());
    for name in ["k000_matmul", "nnc_run", "nnc_bind", "nnc_workspace_bytes", "nnc_output_dims"] {
        assert!(clif.contains(name) && asm.contains(name), "{name}");
    }
    assert!(asm.contains("ret"));
}

#[test]
fn thousands_of_nodes_are_many_small_functions() {
    let mut m = Module::new();
    let x = m.add_input("x", TensorType::of(DType::F32, &[8]));
    let body = m.body();
    let mut y = x;
    for i in 0..1500 {
        y = if i % 3 == 0 {
            add(&mut m, body, ops::Tanh {}, &[y])
        } else {
            add(&mut m, body, ops::Add {}, &[y, x])
        };
    }
    outputs(&mut m, &[y]);
    let ready = ready(m);
    ready.check(&[numbers(&[8], 0)]);
    assert!(ready.compiled.report.arena_bytes <= 2 * 64);
}
