//! inline - kernels of small programs as part of the function that runs them: no call, no arguments, constant bounds.
//!
//! A kernel reads slots of the frame. As part of another function it has them as parameters, so that the function gives
//! what it knows: where all of a program is one function, that is every address, and the frame is not written at all.

use cranelift_codegen::{
    Context,
    inline::{Inline, InlineCommand},
    ir::{
        AbiParam, ExtFuncData, ExternalName, FuncRef, Function, Inst, InstBuilder, Opcode, UserExternalName,
        Value, types::I64,
    },
};
use nnc_ir::extent::Extent;
use rustc_hash::FxHashMap;

use super::{functions::Body, steps::is_small};
use crate::{
    share::{Lowered, frame_loads},
    unloop::unloop,
};

/// Namespace of kernels that are to be inlined, by number.
const NAMESPACE: u32 = 2;
/// Scalar operations of a program whose kernels are inlined, at most: beyond, calls are nothing.
const OPERATIONS: i64 = 1 << 20;
/// Instructions of a kernel that is inlined, at most.
const INSTRUCTIONS: usize = 600;
/// Kernels of a program that are inlined, at most.
const KERNELS: usize = 64;

/// Kernels that are inlined, by number.
#[derive(Default)]
pub(crate) struct Inlined {
    kernels: FxHashMap<usize, Opened>,
}

/// A kernel with slots as parameters after its four own.
struct Opened {
    function: Function,
    /// Byte offsets of the slots in the frame.
    slots: Vec<i32>,
}

impl Inlined {
    /// Whether a program of kernels with so many items, each of such a cost, is small enough.
    pub(crate) fn pays<'a>(kernels: impl ExactSizeIterator<Item = (&'a Extent, &'a Extent)>) -> bool {
        let mut left = OPERATIONS;
        kernels.len() <= KERNELS
            && kernels.into_iter().all(|(items, item_cost)| {
                left = left.saturating_sub((items * item_cost).as_const().unwrap_or(i64::MAX));
                left >= 0
            })
    }

    /// Takes a kernel in if it can be inlined: one that does something, is not worth a second thread, and of which the
    /// optimiser makes no worse code, as it does of tiles in CLIF. Says whether it did.
    pub(crate) fn add(
        &mut self,
        number: usize,
        kernel: &Lowered,
        items: &Extent,
        item_cost: &Extent,
    ) -> bool {
        let function = &kernel.function;
        let small = is_small(items, item_cost) && !items.is(0) && function.dfg.num_insts() <= INSTRUCTIONS;
        if !small || !kernel.optimise && has_tiles(function) {
            return false;
        }
        let opened = open(function);
        let may = opened.is_some();
        self.kernels.extend(opened.map(|opened| (number, opened)));
        may
    }

    /// Whether a kernel is inlined.
    pub(super) fn has(&self, kernel: usize) -> bool {
        self.kernels.contains_key(&kernel)
    }

    /// Byte offsets of the slots that an inlined kernel reads.
    pub(super) fn slots(&self, kernel: usize) -> &[i32] {
        self.kernels.get(&kernel).map_or(&[], |k| &k.slots)
    }

    /// How many kernels are inlined.
    pub(crate) fn count(&self) -> usize {
        self.kernels.len()
    }

    /// Puts what inlined kernels do in the place of their calls. Says whether there was one.
    pub(super) fn apply(&self, function: &mut Function) -> bool {
        let mut context = Context::for_function(std::mem::replace(function, Function::new()));
        let done = context.inline(Calls(&self.kernels)).expect("kernels are limited in size and number");
        *function = context.func;
        if done {
            unloop(function);
        }
        done
    }
}

/// Calls a kernel that is to be inlined: the frame, all of its items, the first worker, the slots it reads.
pub(super) fn call(body: &mut Body<'_>, inlined: &Inlined, kernel: usize, args: &[Value]) {
    let opened = inlined.kernels.get(&kernel).expect("asked for kernels that are inlined");
    let index = u32::try_from(kernel).expect("few kernels are inlined");
    let name = body.b.func.declare_imported_user_function(UserExternalName::new(NAMESPACE, index));
    let signature = body.import(opened.function.signature.clone());
    let name = ExternalName::user(name);
    let callee = body.b.import_function(ExtFuncData { name, signature, colocated: true, patchable: false });
    body.b.ins().call(callee, args);
}

struct Calls<'a>(&'a FxHashMap<usize, Opened>);

impl Inline for Calls<'_> {
    fn inline(
        &mut self,
        caller: &Function,
        _: Inst,
        _: Opcode,
        callee: FuncRef,
        _: &[Value],
    ) -> InlineCommand<'_> {
        let ExternalName::User(name) = caller.dfg.ext_funcs[callee].name else {
            return InlineCommand::KeepCall;
        };
        let name = &caller.params.user_named_funcs()[name];
        let opened = (name.namespace == NAMESPACE).then(|| self.0.get(&(name.index as usize))).flatten();
        match opened {
            Some(opened) => InlineCommand::Inline {
                callee: std::borrow::Cow::Borrowed(&opened.function),
                visit_callee: false,
            },
            None => InlineCommand::KeepCall,
        }
    }
}

/// Whether a function multiplies vectors itself, in an order that is good as it is.
fn has_tiles(function: &Function) -> bool {
    let insts = function.layout.blocks().flat_map(|b| function.layout.block_insts(b));
    let mut vectors = insts.filter(|&inst| {
        let result = function.dfg.inst_results(inst).first();
        result.is_some_and(|&r| function.dfg.value_type(r).is_vector())
    });
    vectors.any(|inst| matches!(function.dfg.insts[inst].opcode(), Opcode::Fma | Opcode::Fmul))
}

/// The kernel with the slots that it reads as parameters, in the order of reading.
fn open(function: &Function) -> Option<Opened> {
    let loads = frame_loads(function)?;
    let mut function = function.clone();
    let entry = function.layout.entry_block()?;
    let (mut slots, mut params) = (Vec::new(), Vec::new());
    for (inst, at) in loads {
        let number = slots.iter().position(|&slot| slot == at).unwrap_or_else(|| {
            slots.push(at);
            params.push(function.dfg.append_block_param(entry, I64));
            slots.len() - 1
        });
        let value = function.dfg.first_result(inst);
        function.dfg.detach_inst_results(inst);
        function.dfg.change_to_alias(value, params[number]);
        function.layout.remove_inst(inst);
    }
    function.signature.params.resize(4 + slots.len(), AbiParam::new(I64));
    function.dfg.resolve_all_aliases();
    Some(Opened { function, slots })
}
