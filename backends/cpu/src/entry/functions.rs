//! functions - the functions of a program while they are made, and shorthands to write one.

use cranelift_codegen::{
    ir::{
        AbiParam, Block, BlockArg, ExtFuncData, ExternalName, FuncRef, Function, InstBuilder, MemFlagsData,
        SigRef, Signature, Type, UserExternalName, UserFuncName, Value,
        condcodes::IntCC,
        types::{I32, I64},
    },
    isa::{CallConv, TargetFrontendConfig},
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use rustc_hash::FxHashMap;

/// A function of the program, by its position in the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FuncId(pub(crate) usize);

/// A function that has been declared.
pub(crate) struct Declared {
    /// Symbol name.
    pub(crate) name: String,
    signature: Signature,
    /// The function, once it has been made.
    pub(crate) function: Option<Function>,
    /// Whether Cranelift's optimiser would make it better.
    pub(crate) optimise: bool,
}

/// All functions of a program.
pub(crate) struct Functions {
    config: TargetFrontendConfig,
    /// In the order in which they lie in the blob.
    pub(crate) list: Vec<Declared>,
}

impl Functions {
    pub(crate) fn new(config: TargetFrontendConfig) -> Self {
        Self { config, list: Vec::new() }
    }

    fn call_conv(&self) -> CallConv {
        self.config.default_call_conv
    }

    /// A signature of `params` 64-bit parameters.
    pub(super) fn signature(&self, params: usize, result: Option<Type>) -> Signature {
        let mut signature = Signature::new(self.call_conv());
        signature.params = vec![AbiParam::new(I64); params];
        signature.returns = result.map(AbiParam::new).into_iter().collect();
        signature
    }

    /// Adds a function that is defined later.
    pub(super) fn declare(&mut self, name: impl Into<String>, params: usize, result: Option<Type>) -> FuncId {
        let signature = self.signature(params, result);
        self.list.push(Declared { name: name.into(), signature, function: None, optimise: false });
        FuncId(self.list.len() - 1)
    }

    /// Adds a kernel.
    pub(crate) fn add_kernel(&mut self, name: String, function: Function, optimise: bool) -> FuncId {
        let signature = function.signature.clone();
        self.list.push(Declared { name, signature, function: Some(function), optimise });
        FuncId(self.list.len() - 1)
    }

    /// Writes a declared function.
    pub(super) fn define(&mut self, id: FuncId, write: impl FnOnce(&mut Self, &mut Body<'_>)) {
        let name =
            UserFuncName::user(0, u32::try_from(id.0).expect("fewer functions than nodes and kernels"));
        let mut function = Function::with_name_signature(name, self.list[id.0].signature.clone());
        let mut context = FunctionBuilderContext::new();
        let mut builder = FunctionBuilder::new(&mut function, &mut context);
        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        builder.switch_to_block(entry);
        let params = builder.block_params(entry).to_vec();
        let mut body = Body { b: builder, params, refs: FxHashMap::default(), failed: None };
        write(self, &mut body);
        let mut builder = body.b;
        builder.seal_all_blocks();
        builder.finalize(self.config);
        self.list[id.0].function = Some(function);
    }
}

/// A function that is being written.
pub(crate) struct Body<'a> {
    /// Builder, in the block where the next instruction goes.
    pub(super) b: FunctionBuilder<'a>,
    /// Parameters of the function.
    pub(super) params: Vec<Value>,
    refs: FxHashMap<FuncId, FuncRef>,
    /// The block that returns its parameter, an `i32`.
    failed: Option<Block>,
}

/// An access that cannot fault, to memory that is aligned or need not be.
pub(super) fn flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

impl Body<'_> {
    pub(super) fn int(&mut self, x: i64) -> Value {
        self.b.ins().iconst(I64, x)
    }

    pub(super) fn load(&mut self, ty: Type, address: Value, offset: i32) -> Value {
        self.b.ins().load(ty, flags(), address, offset)
    }

    pub(super) fn store(&mut self, value: Value, address: Value, offset: i32) {
        self.b.ins().store(flags(), value, address, offset);
    }

    fn func_ref(&mut self, functions: &Functions, id: FuncId) -> FuncRef {
        if let Some(&r) = self.refs.get(&id) {
            return r;
        }
        let index = u32::try_from(id.0).expect("fewer functions than nodes and kernels");
        let name = self.b.func.declare_imported_user_function(UserExternalName::new(0, index));
        let signature = self.b.import_signature(functions.list[id.0].signature.clone());
        let name = ExternalName::user(name);
        let r = self.b.import_function(ExtFuncData { name, signature, colocated: true, patchable: false });
        self.refs.insert(id, r);
        r
    }

    /// Calls a function of the program; gives its result, if it has one.
    pub(super) fn call(&mut self, functions: &Functions, id: FuncId, args: &[Value]) -> Option<Value> {
        let r = self.func_ref(functions, id);
        let call = self.b.ins().call(r, args);
        self.b.inst_results(call).first().copied()
    }

    /// Calls a function of the program that gives 0 or a code, and returns that code if it is not 0.
    pub(super) fn call_checked(&mut self, functions: &Functions, id: FuncId, args: &[Value]) {
        let code = self.call(functions, id, args).expect("such functions give a code");
        self.fail_if(code, code);
    }

    /// Address of a function of the program.
    pub(super) fn address(&mut self, functions: &Functions, id: FuncId) -> Value {
        let r = self.func_ref(functions, id);
        self.b.ins().func_addr(I64, r)
    }

    pub(super) fn import(&mut self, signature: Signature) -> SigRef {
        self.b.import_signature(signature)
    }

    /// Returns `code`, an `i32`, if `condition` is not 0.
    pub(super) fn fail_if(&mut self, condition: Value, code: Value) {
        let failed = match self.failed {
            Some(block) => block,
            None => {
                let block = self.b.create_block();
                self.b.append_block_param(block, I32);
                self.b.set_cold_block(block);
                self.failed = Some(block);
                block
            }
        };
        let on = self.b.create_block();
        self.b.ins().brif(condition, failed, &[code.into()], on, &[]);
        self.b.switch_to_block(on);
    }

    /// Returns the constant `code` if `condition` is not 0.
    pub(super) fn fail_with(&mut self, condition: Value, code: i64) {
        let code = self.b.ins().iconst(I32, code);
        self.fail_if(condition, code);
    }

    /// Ends a function that gives 0 or a code.
    pub(super) fn finish(&mut self) {
        let zero = self.b.ins().iconst(I32, 0);
        self.b.ins().return_(&[zero]);
        if let Some(block) = self.failed {
            self.b.switch_to_block(block);
            let code = self.b.block_params(block)[0];
            self.b.ins().return_(&[code]);
        }
    }

    /// Runs `then` if `condition` is not 0.
    pub(super) fn when(&mut self, condition: Value, then: impl FnOnce(&mut Self)) {
        let (inside, after) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(condition, inside, &[], after, &[]);
        self.b.switch_to_block(inside);
        then(self);
        self.b.ins().jump(after, &[]);
        self.b.switch_to_block(after);
    }

    /// Runs `body` with `carried` while `carried < end`, stepping by `step`; gives the value it stopped at.
    pub(super) fn count(
        &mut self,
        begin: Value,
        end: Value,
        step: i64,
        body: impl FnOnce(&mut Self, Value),
    ) -> Value {
        let (header, inside, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let at = self.b.append_block_param(header, I64);
        self.b.ins().jump(header, &[BlockArg::from(begin)]);
        self.b.switch_to_block(header);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, at, end);
        self.b.ins().brif(more, inside, &[], after, &[]);
        self.b.switch_to_block(inside);
        body(self, at);
        let next = self.b.ins().iadd_imm_s(at, step);
        self.b.ins().jump(header, &[BlockArg::from(next)]);
        self.b.switch_to_block(after);
        at
    }
}
