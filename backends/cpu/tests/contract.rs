//! contract - products by tiles are within their error bound, the same for every cut, and touch nothing else.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "support/contract.rs"]
mod contract;
#[path = "support/nest/mod.rs"]
mod nest;
mod support;

use contract::{Graph, Shapes, check, conv_epilogue, epilogue, length};
use nnc_cpu::{
    frame::{Frame, PointerSlot},
    kernel::{LowerCx, NestRequest, OperandRef},
    lower::lower_nest,
};
use nnc_ir::{
    extent::Extent,
    graph::ValueId,
    ops::{Add, Broadcast, Contract, Conv, MatMul, Mul, Relu, Sigmoid},
};
use support::Rng;

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
