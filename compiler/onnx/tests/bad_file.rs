//! bad_file - files that are no sound protobuf model: each gets its code and says where.

mod proto;

use nnc_onnx::limits::Limits;
use nnc_onnx::load::{LoadOptions, load_bytes, load_file};
use nnc_onnx::model::{OnnxType, ValueType};
use nnc_onnx::pb::{PbValue, read_tensor_pb, read_value_pb};
use proto::*;
use std::path::Path;

fn file_error(path: &Path) -> String {
    let problems = load_file(path, &LoadOptions::default()).expect_err("a bad file");
    assert_eq!(problems.len(), 1);
    problems[0].to_string()
}

#[test]
fn a_missing_file_is_named() {
    let error = file_error(Path::new("no/such/model.onnx"));
    assert!(error.contains("E0001]: cannot open 'no/such/model.onnx': no such file"), "{error}");
}

#[test]
fn an_empty_file_is_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    std::fs::write(&path, b"").unwrap();
    let error = file_error(&path);
    assert!(error.contains("E0002") && error.contains("is empty (0 bytes): not an ONNX model"), "{error}");
}

#[test]
fn what_is_not_a_regular_file_is_never_opened() {
    let folder = tempfile::tempdir().unwrap();
    let error = file_error(folder.path());
    assert!(error.contains("E0003") && error.contains("is a directory, need a regular file"), "{error}");
    #[cfg(unix)]
    {
        let error = file_error(Path::new("/dev/null"));
        assert!(error.contains("E0003]: '/dev/null' is a device, need a regular file"), "{error}");
        let fifo = folder.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        if made.is_ok_and(|status| status.success()) {
            let error = file_error(&fifo);
            assert!(error.contains("E0003") && error.contains("is a FIFO"), "{error}");
        }
    }
}

#[test]
fn a_proto_over_two_gib_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    // A hole: takes no space.
    std::fs::File::create(&path).unwrap().set_len(3 << 30).unwrap();
    let error = file_error(&path);
    assert!(error.contains("E0505]: proto of 3.0 GiB over 2 GiB; use external data"), "{error}");
}

#[test]
fn other_formats_are_recognised() {
    let text = |text: &str| Msg(text.as_bytes().to_vec());
    let safetensors = [&40u64.to_le_bytes()[..], br#"{"w":{"dtype":"F32","shape":[2]}}       "#].concat();
    let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32\nsize 12345\n";
    check(vec![
        case("text", text("hello world\n"), "E0004]: not an ONNX protobuf: byte 0 is field 13 of wire type"),
        case("text, kind", text("hello world\n"), "looks like text"),
        case("JSON", text("{\"ir_version\": 8}"), "looks like JSON"),
        case("HTML", text("<!DOCTYPE html><html><title>404</title>"), "looks like HTML"),
        case("zip", msg().raw(b"PK\x03\x04\x14\x00"), "E0005]: this is a zip file; nnc reads ONNX"),
        case("gzip", msg().raw(b"\x1f\x8b\x08\x00"), "E0005]: this is a gzip file"),
        case("pickle", msg().raw(b"\x80\x02}q\x00."), "E0005]: this is a pickle file"),
        case("safetensors", Msg(safetensors), "E0005]: this is a safetensors file"),
        case("GGUF", msg().raw(b"GGUF\x03\0\0\0"), "E0005]: this is a GGUF file"),
        case("tflite", msg().raw(b"\x1c\0\0\0TFL3\0\0"), "E0005]: this is a .tflite file"),
        case(
            "LFS",
            text(lfs),
            "E0006]: this is a Git LFS pointer, the real file \
             (sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32, 12345 bytes) was not fetched",
        ),
    ]);
}

#[test]
fn damage_of_the_wire_format_is_located() {
    let whole = model(tiny_graph()).0;
    let cut = |n: usize| Msg(whole[..n].to_vec());
    // ir_version (2), producer (6), tag of the graph (1): byte 9 is its length.
    let long = Msg([&whole[..9], &[0xff, 0xff, 0x7f], &whole[10..]].concat());
    let in_graph = |bytes: &[u8]| model(msg().raw(bytes));
    check(vec![
        case(
            "in a varint",
            msg().int(1, 8).raw(&[0x28, 0x80]),
            "E0007]: truncated at byte 3 of 4: varint in ModelProto.model_version",
        ),
        case("in the graph", cut(60), "E0007]: field ModelProto.graph at byte 10 says"),
        case("length beyond the rest", long, "says 2097151 bytes,"),
        case(
            "in a graph's varint",
            in_graph(&[0x0a, 0x80]),
            "E0007]: truncated at byte 11 of 18: varint in ModelProto.graph.node",
        ),
        case(
            "node beyond its graph",
            in_graph(&[0x0a, 0x05, 0x22]),
            "E0007]: field GraphProto.node at byte 12 says 5 bytes, 1 remain",
        ),
        case(
            "varint of 11 bytes",
            msg().raw(&[0x08]).raw(&[0xff; 10]).raw(&[1]),
            "E0008]: malformed varint at byte 1",
        ),
        case(
            "varint over 64 bits",
            msg().raw(&[0x08]).raw(&[0xff; 9]).raw(&[2]),
            "E0008]: malformed varint at byte 1",
        ),
        case("group start", in_graph(&[0x0b]), "E0009]: illegal wire type 3 at byte 10"),
        case("group end", in_graph(&[0x0c]), "E0009]: illegal wire type 4 at byte 10"),
        case("wire type 6", in_graph(&[0x0e]), "E0009]: illegal wire type 6 at byte 10"),
        case("wire type 7", in_graph(&[0x0f]), "E0009]: illegal wire type 7 at byte 10"),
        case("wire type 7 at once", msg().raw(&[0x0f]), "E0009]: illegal wire type 7 at byte 0"),
        case("field 0", in_graph(&[0x00]), "E0009]: illegal field number 0 at byte 10"),
        case(
            "wrong wire type",
            msg().str(1, "8").msg(7, tiny_graph()),
            "E0010]: ModelProto.ir_version has wire type 2, expected 0",
        ),
        case(
            "wrong wire type in a node",
            model(graph(&[msg().int(4, 1)], &[], &["y"])),
            "E0010]: NodeProto.op_type has wire type 0, expected 2",
        ),
        case(
            "not a model",
            msg().int(77, 1),
            "E0004]: not an ONNX protobuf: byte 0 is field 77 of wire type 0",
        ),
        case(
            "odd packed floats",
            model(tiny_graph().msg(5, tensor_header("v", 1, &[1]).bytes(4, &[1, 2, 3]))),
            "E0007]: truncated: ModelProto.graph.initializer[1].float_data",
        ),
    ]);
}

#[test]
fn truncation_at_a_message_end_shows_in_the_graph() {
    let whole = graph(&[node("Relu", &["x"], &["a"])], &["x"], &["y"]);
    check(vec![
        case(
            "last node gone",
            model(whole),
            "E0102]: graph output 'y' is never produced (file may be truncated: last node #0)",
        ),
        case("no graph", msg().int(1, 8).msg(8, opset("", 17)), "E0101]: model has no graph"),
        case("two graphs", model(tiny_graph()).msg(7, tiny_graph()), "E0101]: graph given twice"),
    ]);
}

#[test]
fn versions_are_checked() {
    let ir = |version| msg().int(1, version).msg(7, tiny_graph()).msg(8, opset("", 17));
    let opsets =
        |opsets: &[Msg]| msg().int(1, 8).msg(7, tiny_graph()).each(opsets, |m, o| m.msg(8, o.clone()));
    check(vec![
        case(
            "no ir_version",
            msg().msg(7, tiny_graph()).msg(8, opset("", 17)),
            "E0011]: ir_version 0 not in 3..13",
        ),
        case("ir_version 0", ir(0), "E0011]: ir_version 0 not in"),
        case("ir_version -1", ir(-1), "E0011]: ir_version -1 not in"),
        case("ir_version 99", ir(99), "E0011]: ir_version 99 not in"),
        case("ir_version 2^63-1", ir(i64::MAX), "E0011]: ir_version 9223372036854775807 not in"),
        case("no opset", opsets(&[]), "E0012]: no opset_import for the default domain"),
        case(
            "no default opset",
            opsets(&[opset("ai.onnx.ml", 3)]),
            "E0012]: no opset_import for the default domain",
        ),
        case("opset 0", opsets(&[opset("", 0)]), "E0013]: opset 0 of '' not supported (6..25)"),
        case("opset -1", opsets(&[opset("", -1)]), "E0013]: opset -1 of '' not supported"),
        case(
            "opset 10^9",
            opsets(&[opset("ai.onnx", 1_000_000_000)]),
            "E0013]: opset 1000000000 of '' not supported",
        ),
        case(
            "two versions",
            opsets(&[opset("", 13), opset("ai.onnx", 17)]),
            "E0014]: domain '' imported as 13 and 17",
        ),
    ]);
}

#[test]
fn names_are_utf8_and_of_bounded_length() {
    let named = |name: &[u8]| model(graph(&[node("Relu", &["x"], &["y"]).bytes(3, name)], &["x"], &["y"]));
    check(vec![
        case("not UTF-8", named(b"ab\xff"), "E0015]: name of node #0 is not UTF-8 (byte "),
        case(
            "not UTF-8 in an output",
            model(graph(&[node("Relu", &["x"], &["y"]).bytes(2, b"\xc3")], &["x"], &["y"])),
            "E0015]: output 1 of node #0 is not UTF-8",
        ),
        case(
            "100 MB",
            named(&vec![b'n'; 100_000_000]),
            "E0506]: name of node #0: name of 100000000 bytes over limit 65536",
        ),
    ]);
    let odd = "esc\x1b[31m\n\0\u{202e}";
    let model = load(&named(odd.as_bytes()).0).unwrap();
    assert_eq!(model.graph.nodes[0].name, odd);
    assert!(!model.graph.nodes[0].loc().to_string().contains(['\x1b', '\n', '\0', '\u{202e}']));
}

#[test]
fn bytes_after_the_model_are_not_ignored() {
    let whole = model(tiny_graph()).0;
    let n = whole.len();
    for tail in [&b"\0\0\0\0"[..], b"PK\x03\x04zipzip", b"\xff\xff\xff", b"Hello, world", b"\x0b"] {
        let problems = load(&[&whole[..], tail].concat()).unwrap_err();
        let error = problems[0].to_string();
        let says = format!("E0016]: {} bytes after the model at {n}", tail.len());
        assert!(problems.len() <= 2 && error.contains(&says), "{tail:?}: {error}");
    }
    // A field that a later format may define is no garbage.
    let model = load(&Msg(whole).int(77, 1).0).unwrap();
    assert_eq!(codes(&model.warnings), ["W0016"]);
}

#[test]
fn unknown_enumerations_are_named() {
    let attribute = |a: Msg| model(graph(&[node("Relu", &["x"], &["y"]).msg(5, a)], &["x"], &["y"]));
    check(vec![
        case(
            "data_type 99",
            model(tiny_graph().msg(5, tensor_header("v", 99, &[1]))),
            "E0017]: unknown data_type 99 in tensor 'v'",
        ),
        case(
            "data_type 0",
            model(tiny_graph().msg(5, tensor_header("v", 0, &[1]))),
            "E0017]: unknown data_type 0 in tensor 'v'",
        ),
        case(
            "attribute type 77",
            attribute(msg().str(1, "a").int(20, 77)),
            "unknown attribute type 77 in attribute 'a'",
        ),
        case(
            "data_location 5",
            model(tiny_graph().msg(5, zeros("v", &[1]).int(14, 5))),
            "E0017]: unknown data_location 5 in tensor 'v'",
        ),
        case(
            "elem_type 40",
            model(tiny_graph().msg(13, msg().str(1, "y").msg(2, tensor_type(40, &[])))),
            "E0017]: unknown data_type 40 in type of 'y'",
        ),
    ]);
}

#[test]
fn small_files_cannot_ask_for_much() {
    let empty_nodes = [0x0a, 0x00].repeat(5_000_000);
    let problems = load(&model(Msg(empty_nodes)).0).unwrap_err();
    assert!(["E0501", "E0503"].contains(&codes(&problems)[0].as_str()), "{}", problems[0]);
    let few = LoadOptions { limits: Limits { nodes: 10, ..Limits::default() }, ..LoadOptions::default() };
    let problems = load_bytes(model(Msg([0x0a, 0x00].repeat(11))).0, None, &few).unwrap_err();
    assert_eq!(codes(&problems), ["E0503"]);

    let dims = tensor_header("big", 1, &vec![1; 10_000_000]);
    let one_by_one = msg().each(0..40, |m, _| m.int(1, 1)).int(2, 1).str(8, "slow");
    let shape = msg().each(0..33, |m, _| m.msg(1, msg()));
    let output = msg().str(1, "y").msg(2, msg().msg(1, msg().int(1, 1).msg(2, shape)));
    let many = node("Relu", &["x"], &["y"]).each(0..1001, |m, _| m.msg(5, msg()));
    check(vec![
        case(
            "rank 10^7",
            model(tiny_graph().msg(5, dims)),
            "E0502]: tensor 'big' has rank 10000000, limit 32",
        ),
        case(
            "rank 40",
            model(tiny_graph().msg(5, one_by_one)),
            "E0502]: tensor 'slow' has rank 33, limit 32",
        ),
        case(
            "rank 33 of a type",
            model(tiny_graph().msg(12, output)),
            "E0502]: ModelProto.graph.output[1].type.tensor_type.shape has rank 33",
        ),
        case(
            "attributes",
            model(graph(&[many], &["x"], &["y"])),
            "E0507]: ModelProto.graph.node[0] has 1001 attributes, limit 1000",
        ),
        case(
            "functions",
            model(tiny_graph()).raw(&[0xca, 0x01, 0x00].repeat(10_001)),
            "E0507]: the model has more than 10000 functions",
        ),
    ]);
}

/// `levels` messages, each the only content of the one around it; `tags` from the inside out.
fn nested(levels: usize, tags: &[&[u8]]) -> Msg {
    // From the inside out, prepending would be quadratic: write back to front.
    let mut reversed: Vec<u8> = Vec::new();
    for level in 0..levels {
        for tag in tags {
            let length = varint(reversed.len() as u64);
            reversed.extend(length.iter().rev());
            reversed.extend(tag.iter().rev());
        }
        assert!(level < levels);
    }
    reversed.reverse();
    Msg(reversed)
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    // A small stack makes recursion show.
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(|| {
        let graphs = nested(10_000, &[&[0x32], &[0x2a], &[0x0a]]); // g of attribute of node
        let types = nested(5_000, &[&[0x0a], &[0x4a]]); // elem_type of optional
        let value = msg().str(1, "v").msg(2, types);
        check(vec![
            case("graphs", model(graphs), "E0504]: subgraph nesting 33 over limit 32"),
            case("types", model(tiny_graph().msg(13, value)), "E0504]: type nesting 33 over limit 32"),
        ]);
    });
    thread.unwrap().join().unwrap();
}

#[test]
fn nesting_up_to_the_limit_is_decoded() {
    let mut body = graph(&[node("Relu", &["x"], &["out"])], &[], &["out"]);
    for level in 0..30 {
        let name = format!("b{level}");
        let inner = node("If", &["c"], &[&name]).msg(5, graph_attribute("then_branch", body));
        body = graph(&[inner], &[], &[&name]);
    }
    let top = node("If", &["c"], &["y"]).msg(5, graph_attribute("then_branch", body));
    let model = load(&model(graph(&[top], &["x", "c"], &["y"])).0).unwrap();
    assert_eq!(model.graph.nodes[0].graphs().count(), 1);
}

#[test]
fn problems_are_listed_up_to_a_limit() {
    let nodes: Vec<Msg> = (0..500).map(|i| node("Relu", &["missing"], &[&format!("v{i}")])).collect();
    let problems = load(&model(graph(&nodes, &["x"], &["v0"])).0).unwrap_err();
    assert_eq!(problems.len(), 100);
    assert_eq!(problems[99].notes, ["400 further problems are not listed"]);
}

#[test]
fn a_lone_tensor_is_read_and_checked() {
    let tensor = read_tensor_pb(tensor_header("x", 7, &[2]).ints(7, &[5, -1]).0).unwrap();
    assert_eq!((tensor.name.as_str(), tensor.to_i64s()), ("x", Some(vec![5, -1])));
    assert_eq!(read_tensor_pb(tensor_header("x", 7, &[3]).ints(7, &[5]).0).unwrap_err().code.0, 240);
    assert_eq!(read_tensor_pb(zeros("x", &[64]).0[..100].to_vec()).unwrap_err().code.0, 7);
    assert_eq!(read_tensor_pb(Vec::new()).unwrap_err().code.0, 17);
}

#[test]
fn a_lone_sequence_or_optional_is_read_by_its_type() {
    let tensor = ValueType::Tensor { elem: OnnxType::Float, shape: None };
    let sequence = ValueType::Sequence(Box::new(tensor.clone()));
    let optional = ValueType::Optional(Box::new(tensor));
    let of_tensors = |n| msg().str(1, "s").int(2, 1).each(0..n, |m, _| m.msg(3, zeros("", &[2]))).0;
    let Ok(PbValue::Sequence(values)) = read_value_pb(of_tensors(3), &sequence) else {
        panic!("no sequence")
    };
    assert_eq!(values.len(), 3);
    for (bytes, some) in [(of_tensors(1), true), (of_tensors(0), false), (zeros("x", &[2]).0, true)] {
        let Ok(PbValue::Optional(value)) = read_value_pb(bytes, &optional) else { panic!("no optional") };
        assert_eq!(value.is_some(), some);
    }
    assert_eq!(read_value_pb(zeros("x", &[2]).0, &sequence).unwrap_err().code.0, 17);
    assert_eq!(read_value_pb(vec![0x1a, 9], &sequence).unwrap_err().code.0, 7);
}
