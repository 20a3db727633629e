//! tests - fusions of a few nodes, and the nests they are.

use super::*;
use crate::{
    graph::loc,
    ops::{Add, Broadcast, Cast, Exp, MatMul, Reduce, ReduceKind, Transpose},
    types::TensorType,
};

fn f32s(dims: &[i64]) -> TensorType {
    TensorType::of(DType::F32, dims)
}

#[test]
fn a_bias_with_its_broadcast_becomes_the_epilogue_of_a_matmul() {
    let mut m = Module::new();
    let (body, l) = (m.body(), loc("t"));
    let (x, w, bias) =
        (m.add_input("x", f32s(&[2, 3])), m.add_input("w", f32s(&[3, 5])), m.add_input("b", f32s(&[5])));
    let y = m.append(body, MatMul {}, &[x, w], &[], &l).unwrap()[0];
    let shape = m.ty(y).shape.clone();
    let wide = m.append(body, Broadcast { shape }, &[bias], &[], &l).unwrap()[0];
    let z = m.append(body, Add {}, &[y, wide], &[], &l).unwrap()[0];
    let z = m.append(body, Exp {}, &[z], &[], &l).unwrap()[0];
    let nodes = m.region(body).nodes.clone();
    let (form, operands) = fuse_nodes(&m, &nodes, &[z]).unwrap();
    assert_eq!(operands, [x, w, bias]);
    assert_eq!(form.class(), Class::Contraction);
    assert_eq!(form.loads[2].index, [Ix::Axis(1)]);
    assert_eq!(fuse_nodes(&m, &nodes, &[y, z]).unwrap().0.results.len(), 2);
}

#[test]
fn casts_to_half_and_back_stay_apart_since_they_round() {
    let mut m = Module::new();
    let (body, l) = (m.body(), loc("t"));
    let x = m.add_input("x", f32s(&[2]));
    let half = m.append(body, Cast { to: DType::F16 }, &[x], &[], &l).unwrap()[0];
    let back = m.append(body, Cast { to: DType::F32 }, &[half], &[], &l).unwrap()[0];
    let nodes = m.region(body).nodes.clone();
    assert!(fuse_nodes(&m, &nodes, &[back]).unwrap_err().contains("rounded to f16"));
    let turned = m.append(body, Transpose { perm: vec![0] }, &[half], &[], &l).unwrap()[0];
    let nodes = [nodes[0], m.def_node(turned).unwrap()];
    assert!(fuse_nodes(&m, &nodes, &[turned]).is_ok());
}

#[test]
fn a_reduction_that_is_read_transposed_iterates_in_that_order() {
    let mut m = Module::new();
    let (body, l) = (m.body(), loc("t"));
    let (x, w) = (m.add_input("x", f32s(&[7, 2, 3])), m.add_input("w", f32s(&[7, 3, 5])));
    let y = m.append(body, MatMul {}, &[x, w], &[], &l).unwrap()[0];
    let t = m.append(body, Transpose { perm: vec![1, 0, 2] }, &[y], &[], &l).unwrap()[0];
    let e = m.append(body, Exp {}, &[t], &[], &l).unwrap()[0];
    let nodes = m.region(body).nodes.clone();
    let (form, operands) = fuse_nodes(&m, &nodes, &[e]).unwrap();
    assert_eq!((operands, form.class()), (vec![x, w], Class::Contraction));
    assert_eq!(form.space, m.ty(e).shape);
    assert_eq!(form.loads[0].index, [Ix::Axis(1), Ix::Axis(0), Ix::Axis(3)]);
    assert!(fuse_nodes(&m, &nodes, &[y, e]).is_err());
}

#[test]
fn a_producer_is_inlined_into_a_reduction_but_two_reductions_stay_apart() {
    let mut m = Module::new();
    let (body, l) = (m.body(), loc("t"));
    let x = m.add_input("x", f32s(&[2, 3]));
    let t = m.append(body, Transpose { perm: vec![1, 0] }, &[x], &[], &l).unwrap()[0];
    let e = m.append(body, Exp {}, &[t], &[], &l).unwrap()[0];
    let sum = Reduce { kind: ReduceKind::Sum, axes: vec![0], keep: true };
    let s = m.append(body, sum, &[e], &[], &l).unwrap()[0];
    let nodes = m.region(body).nodes.clone();
    let (form, operands) = fuse_nodes(&m, &nodes, &[s]).unwrap();
    assert_eq!((operands, form.class()), (vec![x], Class::Reduce));
    assert_eq!(form.loads[0].index, [Ix::Axis(1), Ix::Axis(2)]);
    let again = Reduce { kind: ReduceKind::Max, axes: vec![1], keep: true };
    let r = m.append(body, again, &[s], &[], &l).unwrap()[0];
    let nodes = m.region(body).nodes.clone();
    assert_eq!(fuse_nodes(&m, &nodes, &[r]).unwrap_err(), "both reduce");
}
