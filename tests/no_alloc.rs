//! no_alloc - running a compiled static model into the caller's buffers allocates nothing after the first run, and touches no
//! page that it has not touched before.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

use nnc::{Compiler, ElemType, Options, Session, SessionOptions, Tensor};

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: by this function's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: by this function's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_static_model_runs_without_allocating() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/mnist_cnn_dynamo/model.onnx");
    let model = Compiler::new(Options::default()).compile_file(path).unwrap();
    let mut session = Session::new(&SessionOptions { threads: 1, ..SessionOptions::host() });
    let x = Tensor::zeroed(ElemType::F32, &[1, 1, 28, 28]).unwrap();
    let mut y = Tensor::zeroed(ElemType::F32, &[1, 10]).unwrap();
    let views = [x.view()];
    for run in 0..20 {
        let before = COUNT.load(Ordering::Relaxed);
        model.run_into(&mut session, &views, &mut [y.view_mut()]).unwrap();
        let allocated = COUNT.load(Ordering::Relaxed) - before;
        assert!(run < 2 || allocated == 0, "run {run} allocated {allocated} times");
    }
}

/// Minor page faults of the process so far; reads them without allocating, so that asking faults none.
#[cfg(target_os = "linux")]
fn page_faults() -> u64 {
    use std::io::Read;
    let mut text = [0u8; 1024];
    let n = std::fs::File::open("/proc/self/stat").unwrap().read(&mut text).unwrap();
    let text = std::str::from_utf8(&text[..n]).unwrap();
    let (_, fields) = text.rsplit_once(')').unwrap();
    fields.split_whitespace().nth(7).unwrap().parse().unwrap()
}

#[cfg(target_os = "linux")]
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
        // The other test of this process may run meanwhile; a fault in every run would be this one's.
        let quiet = faults.windows(2).skip(5).filter(|pair| pair[1] == pair[0]).count();
        assert!(quiet >= 30, "{threads} threads: {faults:?}");
    }
}
