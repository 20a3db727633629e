//! helpers - functions that entries share: copying, calling a kernel, taking memory, recording a fault.

use cranelift_codegen::ir::{
    InstBuilder, Value,
    condcodes::IntCC,
    types::{I8, I8X16, I32, I64},
};
use nnc_runtime::abi::{context_offset as context, fault};

use super::functions::{Body, FuncId, Functions};
use crate::frame::{CONTEXT, offset};

/// A kernel with fewer scalar operations does not pay for waking another thread.
pub(super) const PARALLEL_FROM: i64 = 1 << 15;

/// The helpers of a program.
#[derive(Clone, Copy)]
pub(super) struct Helpers {
    /// `copy(to, from, bytes)`.
    pub(super) copy: FuncId,
    /// `dispatch(frame, argument, kernel, items, item cost)`: runs a kernel on as many threads as it is worth.
    pub(super) dispatch: FuncId,
    /// `ensure(frame, slot address, bytes, keep) -> code`: gives a buffer at least so many bytes and keeps its first.
    pub(super) ensure: FuncId,
    /// `fail(frame, code, node, value, limit) -> code`: records a fault.
    pub(super) fail: FuncId,
}

impl Helpers {
    /// Adds the helpers; with `trace`, kernels that are not worth splitting go where a profile sees them, too.
    pub(super) fn new(functions: &mut Functions, trace: bool) -> Self {
        let helpers = Self {
            copy: functions.declare("nnc_copy", 3, None),
            dispatch: functions.declare("nnc_dispatch", 5, None),
            ensure: functions.declare("nnc_ensure", 4, Some(I32)),
            fail: functions.declare("nnc_fail", 5, Some(I32)),
        };
        functions.define(helpers.copy, |_, body| copy(body));
        functions.define(helpers.dispatch, |functions, body| dispatch(functions, body, trace));
        functions.define(helpers.fail, |_, body| fail(body));
        functions.define(helpers.ensure, |functions, body| ensure(functions, body, helpers));
        helpers
    }
}

fn copy(body: &mut Body<'_>) {
    let (to, from, bytes) = (body.params[0], body.params[1], body.params[2]);
    copy_bytes(body, to, from, bytes);
    body.b.ins().return_(&[]);
}

/// Copies bytes from the first to the last, so that the target may begin before the source and reach into it.
pub(super) fn copy_bytes(body: &mut Body<'_>, to: Value, from: Value, bytes: Value) {
    let zero = body.int(0);
    let (several, vectors) = (body.b.ins().band_imm_s(bytes, -64), body.b.ins().band_imm_s(bytes, -16));
    let move_one = |ty| {
        move |body: &mut Body<'_>, at: Value| {
            let (source, target) = (body.b.ins().iadd(from, at), body.b.ins().iadd(to, at));
            let x = body.load(ty, source, 0);
            body.store(x, target, 0);
        }
    };
    let at = body.count(zero, several, 64, |body, at| {
        let (source, target) = (body.b.ins().iadd(from, at), body.b.ins().iadd(to, at));
        let vectors = [0, 16, 32, 48].map(|i| body.load(I8X16, source, i));
        vectors.into_iter().zip([0, 16, 32, 48]).for_each(|(x, i)| body.store(x, target, i));
    });
    let at = body.count(at, vectors, 16, move_one(I8X16));
    body.count(at, bytes, 1, move_one(I8));
}

fn dispatch(functions: &mut Functions, body: &mut Body<'_>, trace: bool) {
    let [frame, argument, kernel, items, cost] = body.params[..] else {
        unreachable!("declared with five parameters");
    };
    let ctx = body.load(I64, frame, offset(CONTEXT));
    let parallel_for = body.load(I64, ctx, context::PARALLEL_FOR);
    let present = body.b.ins().icmp_imm_s(IntCC::NotEqual, parallel_for, 0);
    let several = body.b.ins().icmp_imm_s(IntCC::SignedGreaterThan, items, 1);
    // The product may go over 64 bits; then it is worth it.
    let (low, high) = (body.b.ins().imul(items, cost), body.b.ins().smulhi(items, cost));
    let large = body.b.ins().icmp_imm_s(IntCC::UnsignedGreaterThanOrEqual, low, PARALLEL_FROM);
    let larger = body.b.ins().icmp_imm_s(IntCC::NotEqual, high, 0);
    let worth = body.b.ins().bor(large, larger);
    let split = body.b.ins().band(several, worth);
    let (parallel, parts) = if trace {
        let whole = body.b.ins().ineg(items);
        (present, body.b.ins().select(split, items, whole))
    } else {
        (body.b.ins().band(present, split), items)
    };
    let (fork, here) = (body.b.create_block(), body.b.create_block());
    body.b.ins().brif(parallel, fork, &[], here, &[]);
    let four = functions.signature(4, None);
    let signature = body.import(four);
    body.b.switch_to_block(fork);
    let pool = body.load(I64, ctx, context::POOL);
    body.b.ins().call_indirect(signature, parallel_for, &[pool, parts, kernel, argument]);
    body.b.ins().return_(&[]);
    body.b.switch_to_block(here);
    let zero = body.int(0);
    body.b.ins().call_indirect(signature, kernel, &[argument, zero, items, zero]);
    body.b.ins().return_(&[]);
}

fn fail(body: &mut Body<'_>) {
    let (frame, code) = (body.params[0], body.params[1]);
    let ctx = body.load(I64, frame, offset(CONTEXT));
    let at = [context::FAULT_CODE, context::FAULT_NODE, context::FAULT_VALUE, context::FAULT_LIMIT];
    for (i, at) in at.into_iter().enumerate() {
        let value = body.params[1 + i];
        body.store(value, ctx, at);
    }
    let code = body.b.ins().ireduce(I32, code);
    body.b.ins().return_(&[code]);
}

fn ensure(functions: &mut Functions, body: &mut Body<'_>, helpers: Helpers) {
    let (frame, slot, bytes, keep) = (body.params[0], body.params[1], body.params[2], body.params[3]);
    let capacity = body.load(I64, slot, 8);
    let (enough, more) = (body.b.create_block(), body.b.create_block());
    // Compared without sign, so that a negative number of bytes is more than there can be.
    let fits = body.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, bytes, capacity);
    body.b.ins().brif(fits, enough, &[], more, &[]);
    body.b.switch_to_block(enough);
    let ok = body.b.ins().iconst(I32, 0);
    body.b.ins().return_(&[ok]);

    body.b.switch_to_block(more);
    let double = body.b.ins().iadd(capacity, capacity);
    let want = body.b.ins().umax(bytes, double);
    let ctx = body.load(I64, frame, offset(CONTEXT));
    let alloc = body.load(I64, ctx, context::ALLOC);
    let (call, none, some) = (body.b.create_block(), body.b.create_block(), body.b.create_block());
    let present = body.b.ins().icmp_imm_s(IntCC::NotEqual, alloc, 0);
    let positive = body.b.ins().icmp_imm_s(IntCC::SignedGreaterThan, want, 0);
    let possible = body.b.ins().band(present, positive);
    body.b.ins().brif(possible, call, &[], none, &[]);

    body.b.switch_to_block(none);
    let (code, node, zero) = (body.int(fault::OUT_OF_MEMORY), body.int(-1), body.int(0));
    let code = body.call(functions, helpers.fail, &[frame, code, node, bytes, zero]).expect("gives a code");
    body.b.ins().return_(&[code]);

    body.b.switch_to_block(call);
    let signature = functions.signature(2, Some(I64));
    let signature = body.import(signature);
    let result = body.b.ins().call_indirect(signature, alloc, &[ctx, want]);
    let address = body.b.inst_results(result)[0];
    body.b.ins().brif(address, some, &[], none, &[]);

    body.b.switch_to_block(some);
    let old = body.load(I64, slot, 0);
    body.call(functions, helpers.copy, &[address, old, keep]);
    body.store(address, slot, 0);
    body.store(want, slot, 8);
    let ok = body.b.ins().iconst(I32, 0);
    body.b.ins().return_(&[ok]);
}
