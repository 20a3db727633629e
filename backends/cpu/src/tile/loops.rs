//! loops - counted loops, and functions of 64-bit parameters.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{AbiParam, BlockArg, Function, InstBuilder, Signature, UserFuncName, Value};
use cranelift_codegen::isa::TargetIsa;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

/// A function of `n_params` 64-bit parameters whose body `emit` writes; it returns nothing.
pub(super) fn function_of_i64(
    n_params: usize,
    isa: &dyn TargetIsa,
    emit: impl FnOnce(&mut FunctionBuilder, &[Value]),
) -> Function {
    let mut signature = Signature::new(isa.default_call_conv());
    signature.params = vec![AbiParam::new(I64); n_params];
    let mut func = Function::with_name_signature(UserFuncName::default(), signature);
    let mut frontend = FunctionBuilderContext::new();
    let mut builder = FunctionBuilder::new(&mut func, &mut frontend);
    let entry = builder.create_block();
    builder.append_block_params_for_function_params(entry);
    builder.switch_to_block(entry);
    let params = builder.block_params(entry).to_vec();
    emit(&mut builder, &params);
    builder.ins().return_(&[]);
    builder.seal_all_blocks();
    builder.finalize(isa.frontend_config());
    func
}

/// Runs `body(index, carried) -> carried` for index = 0, step, 2 step, ... below `n`; returns the carried values.
///
/// The test is in the header: a carried value then has one use, which lets Cranelift fold loads into the operations
/// on it and needs no copies at the exit.
pub(super) fn counted_loop(
    builder: &mut FunctionBuilder,
    n: Value,
    step: i64,
    init: &[Value],
    body: impl FnOnce(&mut FunctionBuilder, Value, &[Value]) -> Vec<Value>,
) -> Vec<Value> {
    let zero = builder.ins().iconst(I64, 0);
    let init: Vec<Value> = std::iter::once(zero).chain(init.iter().copied()).collect();
    let out = while_loop(
        builder,
        &init,
        |builder, carried| builder.ins().icmp(IntCC::SignedLessThan, carried[0], n),
        |builder, carried| {
            let rest = body(builder, carried[0], &carried[1..]);
            let next = builder.ins().iadd_imm_s(carried[0], step);
            std::iter::once(next).chain(rest).collect()
        },
    );
    out[1..].to_vec()
}

/// Runs `body` while `test` holds of the carried values; returns the carried values.
pub(super) fn while_loop(
    builder: &mut FunctionBuilder,
    init: &[Value],
    test: impl FnOnce(&mut FunctionBuilder, &[Value]) -> Value,
    body: impl FnOnce(&mut FunctionBuilder, &[Value]) -> Vec<Value>,
) -> Vec<Value> {
    let (header, inside, exit) = (builder.create_block(), builder.create_block(), builder.create_block());
    for value in init {
        let ty = builder.func.dfg.value_type(*value);
        builder.append_block_param(header, ty);
    }
    let to_args = |values: &[Value]| values.iter().map(|v| BlockArg::from(*v)).collect::<Vec<_>>();
    builder.ins().jump(header, &to_args(init));
    builder.switch_to_block(header);
    let carried = builder.block_params(header).to_vec();
    let cond = test(builder, &carried);
    builder.ins().brif(cond, inside, &[], exit, &[]);
    builder.switch_to_block(inside);
    let next = body(builder, &carried);
    builder.ins().jump(header, &to_args(&next));
    builder.switch_to_block(exit);
    carried
}
