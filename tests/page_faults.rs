//! page_faults - later runs of a model touch no page that runs before them have not touched. A process of its own: the
//! figure is that of all threads.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use nnc::{Compiler, ElemType, Options, Session, SessionOptions, Tensor};

/// Minor page faults of the process so far; reads them without allocating, so that asking faults none.
fn page_faults() -> u64 {
    use std::io::Read;
    let mut text = [0u8; 1024];
    let n = std::fs::File::open("/proc/self/stat").unwrap().read(&mut text).unwrap();
    let text = std::str::from_utf8(&text[..n]).unwrap();
    let (_, fields) = text.rsplit_once(')').unwrap();
    fields.split_whitespace().nth(7).unwrap().parse().unwrap()
}

#[test]
fn later_runs_fault_no_page() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/ppocr_cls/model.onnx");
    let model = Compiler::new(Options::default()).compile_file(path).unwrap();
    for threads in [1, 2] {
        let mut session = Session::new(&SessionOptions { threads, ..SessionOptions::host() });
        let x = Tensor::zeroed(ElemType::F32, &[4, 3, 48, 192]).unwrap();
        let mut outputs = model.run_in(&mut session, std::slice::from_ref(&x)).unwrap();
        let views = [x.view()];
        let mut faults = [0; 40];
        for run in &mut faults {
            model.run_into(&mut session, &views, &mut [outputs[0].view_mut()]).unwrap();
            *run = page_faults();
        }
        // The first runs wake threads and touch what no run before has.
        assert_eq!(faults[10], faults[39], "{threads} threads: {faults:?}");
    }
}
