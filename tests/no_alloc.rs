//! no_alloc - running a compiled static model into the caller's buffers allocates nothing after the first run.

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
