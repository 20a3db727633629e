//! bad_tensor - initializers and attributes whose data and header disagree.

mod proto;

use nnc_onnx::model::{OnnxType, TensorData};
use proto::*;

/// Codes of ONNX data types.
const F32: i64 = 1;
const U8: i64 = 2;
const I8: i64 = 3;
const I64: i64 = 7;
const STRING: i64 = 8;
const BOOL: i64 = 9;
const F16: i64 = 10;
const U32: i64 = 12;
const I4: i64 = 22;

fn with(tensor: Msg) -> Msg {
    model(tiny_graph().msg(5, tensor))
}

fn loaded(tensor: Msg) -> nnc_onnx::model::Tensor {
    let model = load(&with(tensor).0).unwrap_or_else(|p| panic!("{}", p[0]));
    model.graph.initializers[1].clone()
}

#[test]
fn data_must_have_the_length_that_dims_ask_for() {
    let conv = tensor_header("W", F32, &[64, 3, 7, 7]);
    check(vec![
        case(
            "short",
            with(conv.clone().bytes(9, &vec![0; 37_630])),
            "E0240]: tensor 'W': dims [64,3,7,7] f32 need 37,632 bytes, has 37,630",
        ),
        case("long", with(conv.bytes(9, &vec![0; 37_633])), "has 37,633"),
        case(
            "entries",
            with(tensor_header("W", F32, &[3]).floats(4, &[1.0])),
            "E0240]: tensor 'W': dims [3] f32 need 3 entries, has 1",
        ),
        case(
            "int4",
            with(tensor_header("W", I4, &[3]).bytes(9, &[0; 3])),
            "E0240]: tensor 'W': dims [3] i4 need 2 bytes, has 3",
        ),
        case("int4 entries", with(tensor_header("W", I4, &[3]).ints(5, &[1, 2, 3])), "need 2 entries, has 3"),
        case(
            "no elements but data",
            with(tensor_header("W", F32, &[0, 4]).bytes(9, &[0; 4])),
            "E0240]: tensor 'W': dims [0,4] f32 need 0 bytes, has 4",
        ),
        case("strings", with(tensor_header("W", STRING, &[2]).str(6, "a")), "E0240]"),
        case(
            "product overflows",
            with(tensor_header("W", F32, &[1 << 32, 1 << 32])),
            "E0223]: tensor 'W': product of dims [4294967296,4294967296] overflows",
        ),
        case("bytes overflow", with(tensor_header("W", F32, &[1 << 62])), "E0223]"),
        case("negative", with(tensor_header("W", F32, &[-5])), "E0237]: tensor 'W': dim 0 is -5, need >= 0"),
    ]);
    assert_eq!(loaded(tensor_header("W", F32, &[0, 4])).bytes(), b"");
}

#[test]
fn data_must_be_in_one_field_of_the_right_type() {
    check(vec![
        case(
            "raw and typed",
            with(zeros("W", &[1]).floats(4, &[1.0])),
            "E0241]: tensor 'W' has both raw_data and float_data",
        ),
        case(
            "two typed",
            with(tensor_header("W", F32, &[1]).floats(4, &[1.0]).ints(7, &[1])),
            "E0241]: tensor 'W' has both float_data and int64_data",
        ),
        case(
            "none",
            with(tensor_header("W", F32, &[2])),
            "E0241]: tensor 'W': dims [2] need 2 elements, has no data",
        ),
        case(
            "float_data of i64",
            with(tensor_header("W", I64, &[1]).floats(4, &[1.0])),
            "E0242]: tensor 'W': i64 is in int64_data, not in float_data",
        ),
        case("raw strings", with(tensor_header("W", STRING, &[1]).bytes(9, b"a")), "E0242]"),
        case(
            "segment",
            with(zeros("W", &[1]).msg(3, msg().int(1, 0).int(2, 1))),
            "E0406]: tensor 'W' is a segment",
        ),
    ]);
}

#[test]
fn entries_must_fit_the_type() {
    check(vec![
        case(
            "i8",
            with(tensor_header("W", I8, &[1]).ints(5, &[128])),
            "E0243]: tensor 'W': element 0 is 128, out of range for i8",
        ),
        case(
            "u8",
            with(tensor_header("W", U8, &[2]).ints(5, &[0, -1])),
            "E0243]: tensor 'W': element 1 is -1, out of range for u8",
        ),
        case(
            "bool",
            with(tensor_header("W", BOOL, &[1]).ints(5, &[7])),
            "E0243]: tensor 'W': element 0 is 7, out of range for bool",
        ),
        case("f16", with(tensor_header("W", F16, &[1]).ints(5, &[65536])), "E0243]"),
        case(
            "u32",
            with(tensor_header("W", U32, &[1]).ints(11, &[1 << 32])),
            "E0243]: tensor 'W': element 0 is 4294967296",
        ),
    ]);
}

#[test]
fn every_encoding_gives_little_endian_bytes() {
    let bytes = |t: Msg| loaded(t).bytes().to_vec();
    assert_eq!(bytes(tensor_header("W", I8, &[2]).ints(5, &[-1, 2])), [255, 2]);
    assert_eq!(bytes(tensor_header("W", F16, &[1]).ints(5, &[0x3c00])), [0, 0x3c]);
    assert_eq!(bytes(tensor_header("W", U32, &[1]).ints(11, &[1 << 31])), [0, 0, 0, 0x80]);
    assert_eq!(bytes(tensor_header("W", I4, &[3]).ints(5, &[0x21, 3])), [0x21, 3]);
    assert_eq!(bytes(tensor_header("W", F32, &[1]).float(4, 1.0)), 1f32.to_le_bytes());
    assert_eq!(
        bytes(tensor_header("W", 14, &[1]).floats(4, &[1.0, 2.0])),
        [1f32, 2.0].map(f32::to_le_bytes).concat()
    );
    // A negative entry is ten bytes long, and may be cut to the low half.
    assert_eq!(
        bytes(tensor_header("W", 6, &[2]).ints(5, &[-2, 0xffff_ffff])),
        [-2i32, -1].map(i32::to_le_bytes).concat()
    );
    assert_eq!(bytes(tensor_header("W", BOOL, &[3]).bytes(9, &[0, 1, 7])), [0, 1, 1]);
    let strings = loaded(tensor_header("W", STRING, &[2]).str(6, "a").str(6, "b"));
    assert!(matches!(&strings.data, TensorData::Strings(s) if **s == [b"a".to_vec(), b"b".to_vec()]));
}

#[test]
fn raw_data_stays_in_the_file() {
    let model = load(&model(tiny_graph()).0).unwrap();
    let TensorData::Range { offset, len, buffer } = &model.graph.initializers[0].data else {
        panic!("copied")
    };
    assert!(*len == 24 && offset + len < buffer.len());
}

fn sparse(values: Msg, indices: Msg, dims: &[i64]) -> Msg {
    model(tiny_graph().msg(15, msg().msg(1, values).msg(2, indices).ints(3, dims)))
}

#[test]
fn sparse_initializers_become_dense() {
    let values = || tensor_header("S", F32, &[2]).floats(4, &[5.0, 6.0]);
    let linear = |places: &[i64]| tensor_header("", I64, &[2]).ints(7, places);
    let expected = [0.0, 5.0, 0.0, 0.0, 0.0, 6.0];
    let coordinates = tensor_header("", I64, &[2, 2]).ints(7, &[0, 1, 1, 2]);
    for indices in [linear(&[1, 5]), coordinates] {
        let model = load(&sparse(values(), indices, &[2, 3]).0).unwrap();
        let dense = &model.graph.initializers[1];
        assert_eq!((dense.name.as_str(), dense.dtype), ("S", OnnxType::Float));
        assert_eq!(dense.to_f32s().unwrap(), expected);
    }
    let outside = tensor_header("", I64, &[2, 2]).ints(7, &[0, 1, 1, 3]);
    check(vec![
        case(
            "out of range",
            sparse(values(), linear(&[1, 6]), &[2, 3]),
            "E0244]: sparse tensor 'S': index 1 is outside of [2,3]",
        ),
        case(
            "coordinate",
            sparse(values(), outside, &[2, 3]),
            "E0244]: sparse tensor 'S': index 1 is outside",
        ),
        case(
            "negative",
            sparse(values(), linear(&[-1, 2]), &[2, 3]),
            "E0244]: sparse tensor 'S': index 0 is outside",
        ),
        case(
            "unsorted",
            sparse(values(), linear(&[2, 1]), &[2, 3]),
            "E0244]: sparse tensor 'S': index 1 is not above",
        ),
        case(
            "duplicate",
            sparse(values(), linear(&[2, 2]), &[2, 3]),
            "E0244]: sparse tensor 'S': index 1 is not above",
        ),
        case(
            "indices of f32",
            sparse(values(), zeros("", &[2]), &[2, 3]),
            "E0244]: sparse tensor 'S': indices are f32 [2], need i64 [2]",
        ),
        case(
            "too large",
            sparse(values(), linear(&[1, 2]), &[1 << 20, 1 << 20]),
            "E0501]: sparse tensor 'S'",
        ),
        case("overflow", sparse(values(), linear(&[1, 2]), &[1 << 40, 1 << 40]), "E0223]"),
        case(
            "lacks indices",
            model(tiny_graph().msg(15, msg().msg(1, values()))),
            "E0244]: sparse tensor 'S' lacks values or indices",
        ),
    ]);
}

#[test]
fn attributes_hold_what_their_type_says() {
    let with = |attributes: &[Msg]| {
        let node = node("Relu", &["x"], &["y"]).each(attributes, |m, a| m.msg(5, a.clone()));
        model(graph(&[node], &["x"], &["y"]))
    };
    let int = || msg().str(1, "a").int(3, 4).int(20, 2);
    check(vec![
        case(
            "no tensor",
            with(&[msg().str(1, "value").int(20, 4)]),
            "E0206]: node #0 (Relu, opset 17): attribute 'value' says TENSOR, field t is absent",
        ),
        case(
            "no graph",
            with(&[msg().str(1, "body").int(20, 5)]),
            "attribute 'body' says GRAPH, field g is absent",
        ),
        case("twice", with(&[int(), int()]), "attribute 'a' given twice"),
        case(
            "other field",
            with(&[msg().str(1, "a").float(2, 1.0).int(20, 2)]),
            "attribute 'a' is INT, but field f holds its value",
        ),
        case("no type", with(&[msg().str(1, "a")]), "attribute 'a' has no type"),
        case(
            "reference",
            with(&[msg().str(1, "a").str(21, "b").int(20, 2)]),
            "E0116]: node #0 (Relu, opset 17): attribute 'a' refers to 'b' outside of a function",
        ),
    ]);
}
