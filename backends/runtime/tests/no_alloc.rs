//! no_alloc - a run like the one before allocates nothing.
#![cfg(target_arch = "x86_64")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use nnc_runtime::{ElemType, Program, Session, SessionOptions, Tensor, TensorViewMut};

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
fn runs_into_buffers_do_not_allocate_after_the_first() {
    let program = Program::load(common::triple()).unwrap();
    let mut session = Session::new(&SessionOptions { threads: 2, max_memory: 1 << 30, poison: None });
    let x = Tensor::from_slice(&[1000], &[2f32; 1000]).unwrap();
    let mut y = Tensor::zeroed(ElemType::F32, &[1000]).unwrap();
    let mut counts = Vec::with_capacity(100);
    for run in 0..100 {
        if run == 10 {
            // Threads allocate a little of their own when they start.
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        let before = COUNT.load(Ordering::Relaxed);
        let dims = &mut [0];
        let out = TensorViewMut { elem: ElemType::F32, dims, bytes: y.bytes_mut() };
        program.run_into(&mut session, &[x.view()], &mut [out]).unwrap();
        counts.push(COUNT.load(Ordering::Relaxed) - before);
    }
    assert!(counts[10..].iter().all(|&count| count == 0), "{counts:?}");
    assert_eq!(y.as_slice::<f32>().unwrap(), [6.0; 1000]);
}
