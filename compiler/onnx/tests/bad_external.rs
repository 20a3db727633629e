//! bad_external - external data that is missing, damaged or outside of the model's folder.

mod proto;

use nnc_onnx::load::{LoadOptions, load_bytes, load_file};
use nnc_onnx::model::{Model, TensorData};
use proto::*;
use std::path::Path;
use std::sync::Arc;

/// A f32 `[2, 3]` initializer with these `external_data` entries.
fn external(name: &str, entries: &[(&str, &str)]) -> Msg {
    let header = tensor_header(name, 1, &[2, 3]).int(14, 1);
    header.each(entries, |m, (key, value)| m.msg(13, msg().str(1, key).str(2, value)))
}

fn model_with(tensors: &[Msg]) -> Vec<u8> {
    let graph = graph(&[node("Add", &["x", "x"], &["y"])], &["x"], &["y"]);
    model(graph.each(tensors, |m, t| m.msg(5, t.clone()))).0
}

/// A folder with a file `w.bin` of 100 bytes, a folder `sub` with a copy, and a file beside the folder.
fn folder() -> tempfile::TempDir {
    let outer = tempfile::tempdir().expect("a temporary folder");
    let inner = outer.path().join("m");
    std::fs::create_dir_all(inner.join("sub")).expect("a temporary folder");
    let bytes: Vec<u8> = (0..100).collect();
    for path in ["m/w.bin", "m/sub/w.bin", "secret"] {
        std::fs::write(outer.path().join(path), &bytes).expect("a temporary folder");
    }
    outer
}

fn load_in(outer: &Path, tensors: &[Msg], options: &LoadOptions) -> Result<Model, String> {
    let path = outer.join("m/model.onnx");
    std::fs::write(&path, model_with(tensors)).expect("a temporary folder");
    load_file(&path, options).map_err(|problems| {
        problems.iter().filter(|p| p.is_error()).map(ToString::to_string).collect::<Vec<_>>().join("\n")
    })
}

fn refused(entries: &[(&str, &str)], says: &str) {
    let outer = folder();
    let error = load_in(outer.path(), &[external("W", entries)], &LoadOptions::default())
        .err()
        .unwrap_or_else(|| panic!("{entries:?} loads"));
    assert!(error.contains(says), "{entries:?}: want {says}\ngot {error}");
}

#[test]
fn data_in_the_folder_is_read_once_and_shared() {
    let outer = folder();
    let tensors = [
        external("a", &[("location", "w.bin"), ("offset", "4"), ("length", "24")]),
        external("b", &[("location", "w.bin"), ("offset", "28")]),
        external("c", &[("location", "./sub/w.bin"), ("checksum", "0")]),
    ];
    let model = load_in(outer.path(), &tensors, &LoadOptions::default()).unwrap();
    let [a, b, c] = model.graph.initializers.as_slice() else { panic!() };
    assert_eq!(a.bytes(), (4..28).collect::<Vec<u8>>());
    assert_eq!(b.bytes(), (28..52).collect::<Vec<u8>>());
    assert_eq!(c.bytes(), (0..24).collect::<Vec<u8>>());
    let buffer = |data: &TensorData| match data {
        TensorData::Range { buffer, .. } => buffer.clone(),
        _ => panic!("copied"),
    };
    assert!(Arc::ptr_eq(&buffer(&a.data), &buffer(&b.data)));
    assert!(model.warnings.is_empty());
}

#[test]
fn locations_outside_of_the_folder_are_refused() {
    let bad = ["../secret", "sub/../../secret", "./..//secret", "/etc/hostname", "C:\\x", "\\\\host\\x"];
    let worse = ["file:///etc/hostname", "~", "~/x", "*/_MEM_ADDR_/*", "w.bin\0"];
    for location in bad.into_iter().chain(worse) {
        refused(&[("location", location)], "E0301]: location '");
    }
    refused(&[("location", "../secret")], "E0301]: location '../secret' leaves the model directory");
}

#[test]
#[cfg(unix)]
fn symbolic_links_are_refused_unless_allowed() {
    use std::os::unix::fs::symlink;
    let outer = folder();
    let m = outer.path().join("m");
    symlink("w.bin", m.join("link.bin")).unwrap();
    symlink("sub", m.join("linked")).unwrap();
    symlink("loop", m.join("loop")).unwrap();
    symlink("../secret", m.join("out")).unwrap();
    for location in ["link.bin", "linked/w.bin", "loop", "out"] {
        let tensors = [external("W", &[("location", location)])];
        let error = load_in(outer.path(), &tensors, &LoadOptions::default()).unwrap_err();
        assert!(error.contains("E0302") && error.contains("is a symbolic link (not followed)"), "{error}");
        let allowed = LoadOptions { allow_symlinks: true, ..LoadOptions::default() };
        let result = load_in(outer.path(), &tensors, &allowed);
        assert_eq!(result.is_ok(), location != "loop", "{location}");
    }
}

#[test]
#[cfg(unix)]
fn a_hard_link_is_a_warning() {
    let outer = folder();
    std::fs::hard_link(outer.path().join("m/w.bin"), outer.path().join("other")).unwrap();
    let model =
        load_in(outer.path(), &[external("W", &[("location", "w.bin")])], &LoadOptions::default()).unwrap();
    assert_eq!(codes(&model.warnings), ["W0302"]);
}

#[test]
fn only_regular_files_are_opened() {
    refused(&[("location", "sub")], "' is not a regular file");
    #[cfg(unix)]
    {
        let outer = folder();
        let _socket = std::os::unix::net::UnixListener::bind(outer.path().join("m/socket")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(outer.path().join("m/fifo")).status();
        let fifo = made.is_ok_and(|status| status.success());
        for location in ["socket", "fifo"].into_iter().take(1 + usize::from(fifo)) {
            let tensors = [external("W", &[("location", location)])];
            let error = load_in(outer.path(), &tensors, &LoadOptions::default()).unwrap_err();
            assert!(error.contains("E0303") && error.contains("is not a regular file"), "{error}");
        }
    }
}

#[test]
fn missing_files_are_named() {
    refused(&[("location", "gone.bin")], "E0304]: 'W' needs 'gone.bin' in ");
    refused(&[("location", "w.bin/x")], ": not found");
}

#[test]
fn ranges_must_lie_within_the_file() {
    let range = |offset, length| [("location", "w.bin"), ("offset", offset), ("length", length)];
    for (offset, length) in [("101", "0"), ("90", "24"), ("0", "101"), ("18446744073709551615", "24")] {
        refused(&range(offset, length), "E0305]: 'W': offset ");
    }
    for odd in ["-1", "12abc", "1e9", "", " 4", "1111111111222222222233333333334444444444"] {
        refused(&range(odd, "24"), "E0306]: external data of 'W': offset '");
        refused(&range("0", odd), "E0306]: external data of 'W': length '");
    }
    refused(&range("0", "20"), "E0240]: tensor 'W': dims [2,3] f32 need 24 bytes, has 20");
    refused(&range("0", "28"), "need 24 bytes, has 28");
}

#[test]
fn entries_are_checked() {
    refused(&[], "E0307]: external data of 'W' has no location");
    refused(&[("location", "")], "has no location");
    refused(
        &[("location", "w.bin"), ("location", "w.bin")],
        "E0307]: external data of 'W': key 'location' given twice",
    );
    let outer = folder();
    let tensors = [external("W", &[("location", "w.bin"), ("__class__", "x")])];
    let model = load_in(outer.path(), &tensors, &LoadOptions::default()).unwrap();
    assert_eq!(codes(&model.warnings), ["W0307"]);
}

#[test]
fn a_tensor_has_its_data_in_one_place() {
    let both = zeros("W", &[2, 3]).int(14, 1).msg(13, msg().str(1, "location").str(2, "w.bin"));
    let error = load_in(folder().path(), &[both], &LoadOptions::default()).unwrap_err();
    assert!(error.contains("E0308"), "{error}");
}

#[test]
fn overlapping_ranges_are_odd() {
    let tensors = [
        external("a", &[("location", "w.bin"), ("offset", "0")]),
        external("b", &[("location", "w.bin"), ("offset", "20")]),
    ];
    let outer = folder();
    let model = load_in(outer.path(), &tensors, &LoadOptions::default()).unwrap();
    assert_eq!(codes(&model.warnings), ["W0309"]);
    let strict = LoadOptions { strict: true, ..LoadOptions::default() };
    let error = load_in(outer.path(), &tensors, &strict).unwrap_err();
    assert!(error.contains("E0309]: 'b' and 'a' overlap in 'w.bin'"), "{error}");
}

#[test]
fn every_tensor_of_a_model_is_checked_alike() {
    let bad = || external("W", &[("location", "../secret")]);
    let constant = |attribute: Msg| node("Constant", &[], &["k"]).msg(5, attribute);
    let in_body = graph(&[node("Relu", &["W"], &["b"])], &[], &["b"]).msg(5, bad());
    let sparse = msg().msg(1, bad()).msg(2, tensor_header("", 7, &[0])).ints(3, &[2, 3]);
    let nodes = [
        constant(msg().str(1, "value").msg(5, bad()).int(20, 4)),
        constant(msg().str(1, "then_branch").msg(6, in_body).int(20, 5)),
        constant(msg().str(1, "sparse_value").msg(22, sparse.clone()).int(20, 11)),
        constant(msg().str(1, "all").msg(10, bad()).int(20, 9)),
    ];
    for node in nodes {
        let problems = load(&model(graph(&[node], &[], &["k"])).0).unwrap_err();
        assert_eq!(codes(&problems), ["E0301"]);
        assert_eq!(problems[0].loc.node.as_ref().map(|n| n.index).unwrap_or(0), 0);
    }
    let problems = load(&model(tiny_graph().msg(15, sparse)).0).unwrap_err();
    assert_eq!(codes(&problems), ["E0301"]);
    let function =
        msg().str(1, "f").str(10, "d").msg(7, constant(msg().str(1, "value").msg(5, bad()).int(20, 4)));
    let problems = load(&model(tiny_graph()).msg(25, function.msg(9, opset("", 17))).0).unwrap_err();
    assert_eq!(codes(&problems), ["E0301"]);
}

#[test]
fn bytes_need_a_folder_for_external_data() {
    let bytes = model_with(&[external("W", &[("location", "w.bin")])]);
    let problems = load(&bytes).unwrap_err();
    assert!(problems[0].to_string().contains("E0311]: 'W' has external data: needs --external-dir"));
    let outer = folder();
    let model = load_bytes(bytes, Some(&outer.path().join("m")), &LoadOptions::default()).unwrap();
    assert_eq!(model.graph.initializers[0].n_bytes(), 24);
}
