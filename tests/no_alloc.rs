//! no_alloc - running a compiled static model into the caller's buffers allocates nothing after the first run.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

use nnc::{Compiler, ElemType, Options, Session, SessionOptions, Tensor, ir::text, runtime::Program};

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

/// Runs into the caller's buffers: the first two may allocate.
fn runs_without_allocating(mut run: impl FnMut()) {
    for number in 0..20 {
        let before = COUNT.load(Ordering::Relaxed);
        run();
        let allocated = COUNT.load(Ordering::Relaxed) - before;
        assert!(number < 2 || allocated == 0, "run {number} allocated {allocated} times");
    }
}

/// One after the other: the count is that of the process.
#[test]
fn static_models_run_without_allocating() {
    a_small_model();
    a_region_by_turns();
}

fn a_region_by_turns() {
    let module = "nnir 1
phase canonical
module (%0 \"q\" : f32[1200,16], %1 \"k\" : f32[16,1200], %2 \"v\" : f32[1200,16]) {
  %3 = matmul %0, %1 : f32[1200,1200]
  %4 = exp %3 : f32[1200,1200]
  %5 = matmul %4, %2 : f32[1200,16]
  return %5 \"y\"
}
";
    let module = text::parse(module, &|_| None).unwrap();
    let compiler = Compiler::new(Options::default());
    let compiled = compiler.generate(&compiler.optimize(module).unwrap().module).unwrap();
    let wide = nnc::cpu::Target::native().unwrap().wide.is_some();
    assert_eq!(compiled.report.tiled.len(), usize::from(wide), "{:?}", compiled.report.apart);
    let program = Program::load(compiled.image).unwrap();
    let mut session = Session::new(&SessionOptions { threads: 1, ..SessionOptions::host() });
    let inputs =
        [[1200, 16], [16, 1200], [1200, 16]].map(|dims| Tensor::zeroed(ElemType::F32, &dims).unwrap());
    let mut y = Tensor::zeroed(ElemType::F32, &[1200, 16]).unwrap();
    let views = inputs.each_ref().map(Tensor::view);
    runs_without_allocating(|| program.run_into(&mut session, &views, &mut [y.view_mut()]).unwrap());
}

fn a_small_model() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/mnist_cnn_dynamo/model.onnx");
    let model = Compiler::new(Options::default()).compile_file(path).unwrap();
    let mut session = Session::new(&SessionOptions { threads: 1, ..SessionOptions::host() });
    let x = Tensor::zeroed(ElemType::F32, &[1, 1, 28, 28]).unwrap();
    let mut y = Tensor::zeroed(ElemType::F32, &[1, 10]).unwrap();
    let views = [x.view()];
    runs_without_allocating(|| model.run_into(&mut session, &views, &mut [y.view_mut()]).unwrap());
}
