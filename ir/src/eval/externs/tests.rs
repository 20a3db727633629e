//! tests - the functions on small tensors.

use super::*;
use crate::{
    dtype::{DType, Scalar},
    eval::tensor::Tensor,
};

fn slot(t: &Tensor) -> Slot {
    Slot::of_tensor(t)
}
fn run(name: &'static str, attrs: &[i64], operands: &[Tensor]) -> Vec<Tensor> {
    let form = ExternForm { name, attrs: attrs.to_vec(), defines: vec![] };
    let operands: Vec<Slot> = operands.iter().map(slot).collect();
    call(&form, &operands).expect("runs").into_iter().map(Slot::into_tensor).collect()
}
fn scalar(k: i64) -> Tensor {
    Tensor::from_scalars(DType::I64, &[], &[Scalar::i64(k)])
}
fn bools(values: &[bool]) -> Tensor {
    let elements: Vec<Scalar> = values.iter().map(|&b| Scalar::bool(b)).collect();
    Tensor::from_scalars(DType::Bool, &[values.len() as i64], &elements)
}

#[test]
fn top_k_ranks_nan_above_all_and_keeps_order_of_equals() {
    let x = Tensor::f32s(&[5], &[1.0, f32::NAN, 3.0, -0.0, 3.0]);
    let r = run("top_k", &[0, 1, 1], &[x.clone(), scalar(3)]);
    assert_eq!(r[1], Tensor::i64s(&[3], &[1, 2, 4]));
    let r = run("top_k", &[0, 0, 1], &[x, scalar(2)]);
    assert_eq!(r[0], Tensor::f32s(&[2], &[-0.0, 1.0]));
    let x = Tensor::i64s(&[2, 2], &[1, 5, 3, 4]);
    assert_eq!(run("top_k", &[0, 1, 0], &[x, scalar(1)])[0], Tensor::i64s(&[1, 2], &[3, 5]));
}

#[test]
fn non_zero_gives_columns() {
    let x = Tensor::f32s(&[2, 2], &[0.0, 1.0, f32::NAN, -0.0]);
    assert_eq!(run("non_zero", &[], &[x])[0], Tensor::i64s(&[2, 2], &[0, 1, 1, 0]));
    assert_eq!(run("non_zero", &[], &[scalar(7)])[0], Tensor::i64s(&[0, 1], &[]));
}

#[test]
fn unique_elements_and_slices() {
    let x = Tensor::i64s(&[6], &[2, 1, 1, 3, 4, 3]);
    let r = run("unique", &[0, 0, 1], std::slice::from_ref(&x));
    let vector = |v: &[i64]| Tensor::i64s(&[v.len() as i64], v);
    assert_eq!(
        r,
        [vector(&[1, 2, 3, 4]), vector(&[1, 0, 3, 4]), vector(&[1, 0, 0, 2, 3, 2]), vector(&[2, 1, 2, 1])]
    );
    assert_eq!(run("unique", &[0, 0, 0], &[x])[0], vector(&[2, 1, 3, 4]));
    let rows = Tensor::i64s(&[3, 2], &[1, 0, 1, 0, 0, 9]);
    assert_eq!(run("unique", &[1, 0, 1], &[rows])[0], Tensor::i64s(&[2, 2], &[0, 9, 1, 0]));
}

#[test]
fn compress_takes_a_condition_of_any_length() {
    let x = Tensor::i64s(&[3, 2], &[1, 2, 3, 4, 5, 6]);
    let rows = run("compress", &[1, 0], &[x.clone(), bools(&[false, true, true, true])]);
    assert_eq!(rows[0], Tensor::i64s(&[2, 2], &[3, 4, 5, 6]));
    let flat = run("compress", &[0, 0], &[x, bools(&[false, true, false, true])]);
    assert_eq!(flat[0], Tensor::i64s(&[2], &[2, 4]));
}

#[test]
fn suppression_takes_the_best_of_overlapping_boxes() {
    let boxes = Tensor::f32s(&[1, 3, 4], &[0., 0., 1., 1., 0., 0.1, 1., 1.1, 0., 10., 1., 11.]);
    let scores = Tensor::f32s(&[1, 1, 3], &[0.9, 0.95, 0.3]);
    let options = [scalar(3), Tensor::f32s(&[1], &[0.5]), Tensor::f32s(&[1], &[0.0])];
    let operands = [&[boxes, scores][..], &options].concat();
    let r = run("non_max_suppression", &[0], &operands);
    assert_eq!(r[0], Tensor::i64s(&[2, 3], &[0, 0, 1, 0, 0, 2]));
}
