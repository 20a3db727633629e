//! run - calls of a program: results, checks, faults, outputs of unknown extents.
#![cfg(target_arch = "x86_64")]
#![allow(
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    reason = "some functions stand for compiled code"
)]

mod common;

use std::ffi::c_void;

use common::{bind_ok, image, port, triple, workspace};
use nnc_runtime::abi::{Context, fault};
use nnc_runtime::{
    Dim, ElemType, Program, Session, SessionOptions, Signature, Symbol, Tensor, TensorView, TensorViewMut,
};

fn session(threads: usize) -> Session {
    Session::new(&SessionOptions { threads, max_memory: 1 << 30, poison: Some(0xa5) })
}

#[test]
fn outputs_are_the_same_for_any_number_of_threads() {
    let program = Program::load(triple()).unwrap();
    for threads in [1, 2, 5] {
        let mut session = session(threads);
        for n in [0, 1, 4, 1001] {
            let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let x = Tensor::from_slice(&[n], &x).unwrap();
            let y = program.run(&mut session, &[x.view()]).unwrap();
            assert_eq!(y[0].dims(), [n]);
            let want: Vec<f32> = (0..n).map(|i| 3.0 * i as f32).collect();
            assert_eq!(y[0].as_slice::<f32>().unwrap(), want);
        }
        assert_eq!(session.workspace_bytes(), 64 + 64 * threads);
    }
}

#[test]
fn caller_owned_outputs_are_filled() {
    let program = Program::load(triple()).unwrap();
    let mut session = session(2);
    let x = Tensor::from_slice(&[3], &[1f32, 2.0, 3.0]).unwrap();
    let mut y = Tensor::zeroed(ElemType::F32, &[5]).unwrap();
    program.run_into(&mut session, &[x.view()], &mut [y.view_mut()]).unwrap();
    y.fit();
    assert_eq!((y.dims(), y.as_slice::<f32>().unwrap()), (&[3][..], &[3.0, 6.0, 9.0][..]));

    let mut run = |elem, rank: usize, room: &mut [u8]| {
        let dims = &mut vec![0; rank][..];
        let view = TensorViewMut { elem, dims, bytes: room };
        program.run_into(&mut session, &[x.view()], &mut [view]).map_err(|error| error.code())
    };
    let mut room = Tensor::zeroed(ElemType::F32, &[4]).unwrap();
    let room = room.bytes_mut();
    assert_eq!(run(ElemType::F32, 1, &mut room[..12]), Ok(()));
    assert_eq!(run(ElemType::F32, 1, &mut room[..11]), Err(803));
    assert_eq!(run(ElemType::F32, 1, &mut room[1..]), Err(804));
    assert_eq!(run(ElemType::F32, 2, room), Err(802));
    assert_eq!(run(ElemType::I32, 1, room), Err(802));
    assert_eq!(program.run_into(&mut session, &[x.view()], &mut []).unwrap_err().code(), 801);
}

#[test]
fn unaligned_inputs_are_copied() {
    let program = Program::load(triple()).unwrap();
    let mut session = session(1);
    let bytes = [&[9u8][..], &1f32.to_le_bytes(), &2f32.to_le_bytes()].concat();
    for _ in 0..2 {
        let view = TensorView { elem: ElemType::F32, dims: &[2], bytes: &bytes[1..] };
        let y = program.run(&mut session, &[view]).unwrap();
        assert_eq!(y[0].as_slice::<f32>().unwrap(), [3.0, 6.0]);
    }
}

#[test]
fn faults_name_their_node() {
    let program = Program::load(triple()).unwrap();
    let x = Tensor::from_slice(&[3], &[1.0, 2.0, f32::NAN]).unwrap();
    let error = program.run(&mut session(2), &[x.view()]).unwrap_err();
    assert_eq!(
        (error.code(), error.message(), error.node()),
        (805, "index 2 is not in [-2, 1]", Some("gather_1"))
    );
}

#[test]
fn profiles_name_kernels() {
    // Its body is a function of the test, outside of the program's code.
    let program = Program::load(triple()).unwrap();
    let x = Tensor::from_slice(&[3], &[1f32, 2.0, 3.0]).unwrap();
    for threads in [1, 2] {
        let mut session = session(threads);
        session.start_profile();
        for _ in 0..2 {
            let y = program.run(&mut session, &[x.view()]).unwrap();
            assert_eq!(y[0].as_slice::<f32>().unwrap(), [3.0, 6.0, 9.0]);
        }
        let spans = session.stop_profile();
        assert_eq!(spans.len(), 2);
        assert!(spans.iter().all(|span| span.iterations == 3 && span.kernel.is_none()));
        assert!(spans[0].start + spans[0].time <= spans[1].start);
        program.run(&mut session, &[x.view()]).unwrap();
        assert!(session.stop_profile().is_empty());
    }
}

#[test]
fn wrong_inputs_are_refused() {
    let program = Program::load(triple()).unwrap();
    let x = Tensor::from_slice(&[3], &[1i32, 2, 3]).unwrap();
    let code = |inputs: &[TensorView<'_>]| program.run(&mut session(1), inputs).unwrap_err().code();
    assert_eq!(code(&[x.view()]), 802);
    assert_eq!(code(&[]), 801);
    assert_eq!(code(&[TensorView { elem: ElemType::F32, dims: &[4], bytes: x.bytes() }]), 803);
    assert_eq!(code(&[TensorView { elem: ElemType::F32, dims: &[1 << 40], bytes: x.bytes() }]), 803);
}

#[test]
fn memory_over_the_limit_is_an_error() {
    let program = Program::load(triple()).unwrap();
    let x = Tensor::zeroed(ElemType::F32, &[1000]).unwrap();
    for max_memory in [0, 3999, 4000, 4127] {
        let mut session = Session::new(&SessionOptions { threads: 1, max_memory, poison: None });
        assert_eq!(program.run(&mut session, &[x.view()]).unwrap_err().code(), 501);
    }
    let mut session = Session::new(&SessionOptions { threads: 1, max_memory: 4128, poison: None });
    program.run(&mut session, &[x.view()]).unwrap();
}

/// `n` of an i64 scalar input: an output of n numbers 0..n by `alloc`, and a flag that cancellation was seen.
unsafe extern "C" fn range_run(
    context: *mut Context,
    _: *const i64,
    inputs: *const *const c_void,
    outputs: *mut *mut c_void,
    actual_dims: *const *mut i64,
    _: *mut c_void,
) -> i32 {
    unsafe {
        if *(*context).cancel != 0 {
            return fault::CANCELLED as i32;
        }
        assert!((*outputs).is_null());
        let n = *(*inputs).cast::<i64>();
        if n < 0 {
            // What a broken compiler might do.
            *outputs = std::ptr::without_provenance_mut(4096);
            **actual_dims = if n == -1 { 1 } else { n };
            return 0;
        }
        let memory = (*context).alloc.unwrap()(context, n.saturating_mul(8)).cast::<i64>();
        if memory.is_null() {
            (*context).fault_code = fault::OUT_OF_MEMORY;
            (*context).fault_node = 0;
            return fault::OUT_OF_MEMORY as i32;
        }
        for i in 0..n {
            *memory.add(i as usize) = i;
        }
        *outputs = memory.cast();
        **actual_dims = n;
        0
    }
}

unsafe extern "C" fn unbounded(_: *const i64, dims: *const *mut i64) {
    unsafe { **dims = -1 }
}

fn range() -> Program {
    let signature = Signature {
        inputs: vec![port("n", ElemType::I64, &[])],
        outputs: vec![port("range", ElemType::I64, &[Dim::Derived])],
        symbols: vec![],
    };
    Program::load(image(bind_ok, unbounded, workspace, range_run, signature)).unwrap()
}

#[test]
fn unbounded_outputs_are_allocated_by_the_code() {
    let program = range();
    let mut session = session(1);
    for n in [0, 1, 5, 1000, 5] {
        let input = Tensor::from_slice(&[], &[n]).unwrap();
        let y = program.run(&mut session, &[input.view()]).unwrap();
        assert_eq!(y[0].as_slice::<i64>().unwrap(), (0..n).collect::<Vec<_>>());
        let mut y = Tensor::zeroed(ElemType::I64, &[5]).unwrap();
        let result = program.run_into(&mut session, &[input.view()], &mut [y.view_mut()]);
        assert_eq!(result.map_err(|error| error.code()), if n <= 5 { Ok(()) } else { Err(803) });
    }
}

#[test]
fn refused_allocations_are_errors() {
    let program = range();
    for n in [1 << 28, 1 << 60, i64::MAX] {
        let input = Tensor::from_slice(&[], &[n]).unwrap();
        let error = program.run(&mut session(1), &[input.view()]).unwrap_err();
        assert_eq!((error.code(), error.node()), (501, Some("mul_0")));
    }
}

#[test]
fn code_that_breaks_the_contract_is_found_out() {
    let program = range();
    for n in [-1, -2, i64::MIN] {
        let input = Tensor::from_slice(&[], &[n]).unwrap();
        assert_eq!(program.run(&mut session(1), &[input.view()]).unwrap_err().code(), 809);
        let mut y = Tensor::zeroed(ElemType::I64, &[5]).unwrap();
        let result = program.run_into(&mut session(1), &[input.view()], &mut [y.view_mut()]);
        assert_eq!(result.unwrap_err().code(), 809);
    }
}

#[test]
fn runs_can_be_cancelled() {
    let program = range();
    let mut session = session(1);
    let input = Tensor::from_slice(&[], &[2i64]).unwrap();
    let token = session.cancel_token();
    token.cancel();
    assert_eq!(program.run(&mut session, &[input.view()]).unwrap_err().code(), 808);
    token.reset();
    program.run(&mut session, &[input.view()]).unwrap();
}

unsafe extern "C" fn refuse(_: *const *const i64, _: *const *const c_void, _: *mut i64) -> i32 {
    fault::EXTENT_CLASH as i32
}

#[test]
fn bind_may_refuse() {
    let signature = Signature {
        inputs: vec![port("x", ElemType::I64, &[Dim::Derived])],
        outputs: vec![],
        symbols: vec![Symbol { name: "N".into(), min: 0, max: 9 }],
    };
    let program = Program::load(image(refuse, unbounded, workspace, range_run, signature)).unwrap();
    let x = Tensor::from_slice(&[1], &[1i64]).unwrap();
    assert_eq!(program.run(&mut session(1), &[x.view()]).unwrap_err().code(), 236);
}

#[test]
fn images_that_do_not_fit_are_refused() {
    let load = |change: &dyn Fn(&mut nnc_runtime::Image)| {
        let mut image = triple();
        change(&mut image);
        Program::load(image).map(drop).map_err(|error| error.code())
    };
    assert_eq!(load(&|_| {}), Ok(()));
    assert_eq!(load(&|image| image.entries.run = 64), Err(707));
    assert_eq!(load(&|image| image.entries.bind = u64::MAX), Err(707));
    assert_eq!(load(&|image| image.code.clear()), Err(707));
    assert_eq!(load(&|image| image.kernels[0].len = 17), Err(707));
    assert_eq!(load(&|image| image.kernels[0].offset = u64::MAX), Err(707));
    assert_eq!(load(&|image| image.kernels[0].nodes.push(2)), Err(707));
    assert_eq!(load(&|image| image.signature.inputs[0].dims.push(Dim::Symbol(1))), Err(707));
    assert_eq!(load(&|image| image.target.triple = "riscv64-linux".into()), Err(703));
    assert_eq!(load(&|image| image.target.features.push("avx99".into())), Err(704));
}

#[test]
fn artefacts_run_as_what_they_were_made_from() {
    let bytes = nnc_runtime::artefact::to_bytes(&triple()).unwrap();
    let bytes = nnc_runtime::AlignedBytes::copy_of(&bytes).unwrap();
    let program = Program::load(nnc_runtime::artefact::from_bytes(bytes).unwrap()).unwrap();
    let x = Tensor::from_slice(&[2], &[0.1f32, -7.0]).unwrap();
    let y = program.run(&mut session(2), &[x.view()]).unwrap();
    assert_eq!(y[0].as_slice::<f32>().unwrap(), [0.1 * 3.0, -21.0]);
}

#[test]
fn programs_are_shared_and_sessions_are_sent() {
    fn shared<T: Send + Sync>() {}
    fn sent<T: Send>() {}
    shared::<Program>();
    sent::<Session>();
    let program = &Program::load(triple()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let mut session = session(2);
            scope.spawn(move || {
                let x = Tensor::from_slice(&[100], &[1f32; 100]).unwrap();
                for _ in 0..200 {
                    let y = program.run(&mut session, &[x.view()]).unwrap();
                    assert_eq!(y[0].as_slice::<f32>().unwrap(), [3.0; 100]);
                }
            });
        }
    });
}
