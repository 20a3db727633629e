//! common - a program for tests: its code jumps to functions of the test itself.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]
#![allow(
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    clippy::missing_safety_doc,
    reason = "stands for compiled code"
)]

use std::ffi::c_void;

use nnc_runtime::abi::{self, Context, context_offset, fault};
use nnc_runtime::{
    Dim, ElemType, Entries, Image, Kernel, Port, Signature, Symbol, Target, WeightSection, Weights, Work,
};

/// `mov rax, function; jmp rax`
fn thunk(function: usize) -> Vec<u8> {
    let mut code = vec![0x48, 0xb8];
    code.extend(function.to_le_bytes());
    code.extend([0xff, 0xe0, 0xcc, 0xcc, 0xcc, 0xcc]);
    code
}

/// An image whose entries are these functions.
pub fn image(
    bind: abi::BindFn,
    output_dims: abi::OutputDimsFn,
    workspace_bytes: abi::WorkspaceBytesFn,
    run: abi::RunFn,
    signature: Signature,
) -> Image {
    let functions = [bind as usize, output_dims as usize, workspace_bytes as usize, run as usize];
    let code: Vec<u8> = functions.into_iter().flat_map(thunk).collect();
    Image {
        name: "double".into(),
        target: Target { triple: nnc_runtime::host_triple(), features: vec!["sse2".into()] },
        entries: Entries { bind: 0, output_dims: 16, workspace_bytes: 32, run: 48 },
        kernels: vec![Kernel {
            name: "k0".into(),
            offset: 48,
            len: 16,
            nodes: vec![0],
            work: Work::default(),
        }],
        code,
        signature,
        weights: Weights::new(vec![WeightSection::copied(&3f32.to_le_bytes()).unwrap()]),
        nodes: vec!["mul_0".into(), "gather_1".into()],
        externs: vec![],
        notes: vec![("opt".into(), "2".into())],
    }
}

pub fn port(name: &str, elem: ElemType, dims: &[Dim]) -> Port {
    Port { name: name.into(), elem, dims: dims.to_vec() }
}

/// `x: f32[N] -> y: f32[N]`, tripled by a weight; a NaN in `x` is a fault of node 1.
pub fn triple() -> Image {
    let signature = Signature {
        inputs: vec![port("x", ElemType::F32, &[Dim::Symbol(0)])],
        outputs: vec![port("y", ElemType::F32, &[Dim::Symbol(0)])],
        symbols: vec![Symbol { name: "N".into(), min: 0, max: i64::MAX }],
    };
    image(bind_ok, same_dims, workspace, triple_run, signature)
}

pub unsafe extern "C" fn bind_ok(_: *const *const i64, _: *const *const c_void, _: *mut i64) -> i32 {
    0
}

pub unsafe extern "C" fn same_dims(symbols: *const i64, dims: *const *mut i64) {
    unsafe { **dims = *symbols }
}

pub unsafe extern "C" fn workspace(_: *const i64, workers: i64) -> i64 {
    64 + 64 * workers
}

struct Frame {
    x: *const f32,
    y: *mut f32,
    factor: f32,
    context: *mut Context,
}

unsafe extern "C" fn body(arg: *mut c_void, begin: i64, end: i64, worker: i64) {
    unsafe {
        let frame = &*arg.cast::<Frame>();
        assert!(worker < (*frame.context).max_workers);
        for i in begin as usize..end as usize {
            let x = *frame.x.add(i);
            if x.is_nan() {
                (*frame.context).fault_code = fault::BAD_INDEX;
                (*frame.context).fault_node = 1;
                (*frame.context).fault_value = i as i64;
                (*frame.context).fault_limit = 2;
            }
            *frame.y.add(i) = x * frame.factor;
        }
    }
}

unsafe extern "C" fn triple_run(
    context: *mut Context,
    symbols: *const i64,
    inputs: *const *const c_void,
    outputs: *mut *mut c_void,
    _: *const *mut i64,
    workspace: *mut c_void,
) -> i32 {
    unsafe {
        assert_eq!((*context).version & 0xffff_ffff, 96);
        assert!(workspace.addr().is_multiple_of(abi::ALIGN));
        let weights = *context.byte_add(context_offset::WEIGHTS as usize).cast::<*const *const f32>();
        let mut frame = Frame { x: (*inputs).cast(), y: (*outputs).cast(), factor: **weights, context };
        let n = *symbols;
        match (*context).parallel_for {
            Some(parallel_for) => parallel_for((*context).pool, n, body, (&raw mut frame).cast()),
            None => body((&raw mut frame).cast(), 0, n, 0),
        }
        (*context).fault_code as i32
    }
}
