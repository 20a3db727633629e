//! unloop - loops that by their constants run once, as straight code.
//!
//! Lowering writes every loop with its test at the head, whatever its bounds. Where a kernel is part of a larger function
//! its bounds are constants, and most loops of small kernels turn out to run once:
//!
//! ```text
//! header(i, x): if i < to then inside else exit              header(i, x): jump inside
//! inside: ...; jump header(i + step, y)             =>       inside: ...; jump exit(i + step, y)
//! exit: ... x ...                                            exit(j, z): ... z ...
//! ```

use cranelift_codegen::{
    cursor::{Cursor as _, FuncCursor},
    flowgraph::ControlFlowGraph,
    ir::{
        Block, BlockArg, Function, Inst, InstBuilder, InstructionData, Opcode, Value, ValueDef,
        condcodes::IntCC, types::I64,
    },
};
use rustc_hash::FxHashSet;

/// Operations between a value and the constants it is made of, at most.
const DEPTH: usize = 24;

/// Makes every loop straight that runs once.
pub(crate) fn unloop(function: &mut Function) {
    function.dfg.resolve_all_aliases();
    let blocks: Vec<Block> = function.layout.blocks().collect();
    // Outer loops come first: inside of those that run once, positions are constants.
    for header in blocks {
        let flow = ControlFlowGraph::with_function(function);
        if let Some(once) = Once::of(function, &flow, header) {
            let body = body(&flow, header, once.latch.0);
            once.apply(function, &body);
        }
    }
}

/// A loop that runs once.
struct Once {
    header: Block,
    compare: Inst,
    branch: Inst,
    inside: Block,
    exit: Block,
    latch: (Block, Inst),
}

impl Once {
    fn of(function: &Function, flow: &ControlFlowGraph, header: Block) -> Option<Self> {
        let insts: Vec<Inst> = function.layout.block_insts(header).take(3).collect();
        let &[compare, branch] = &insts[..] else { return None };
        let dfg = &function.dfg;
        let &InstructionData::IntCompare { cond: IntCC::SignedLessThan, args: [at, to], .. } =
            &dfg.insts[compare]
        else {
            return None;
        };
        let &InstructionData::Brif { arg, blocks, .. } = &dfg.insts[branch] else { return None };
        let [inside, exit] = blocks.map(|call| call.block(&dfg.value_lists));
        let alone = |block| flow.pred_iter(block).count() == 1 && dfg.num_block_params(block) == 0;
        if arg != dfg.first_result(compare) || dfg.block_params(header).first() != Some(&at) {
            return None;
        }
        if inside == exit || !alone(inside) || !alone(exit) {
            return None;
        }
        let ends: Vec<(Block, Inst)> = flow.pred_iter(header).map(|p| (p.block, p.inst)).collect();
        let &[a, b] = &ends[..] else { return None };
        let next = |(_, inst): (Block, Inst)| first_argument(function, inst);
        let step = |value: Value| match dfg.value_def(value) {
            ValueDef::Result(inst, 0) => match dfg.insts[inst] {
                InstructionData::Binary { opcode: Opcode::Iadd, args: [x, step] } if x == at => {
                    known(function, flow, step, DEPTH)
                }
                _ => None,
            },
            _ => None,
        };
        let (latch, entry) = if step(next(b)?).is_some() { (b, a) } else { (a, b) };
        let step = step(next(latch)?)?;
        let [from, to] = [next(entry)?, to].map(|value| known(function, flow, value, DEPTH));
        let (from, to) = (from?, to?);
        let once = from < to && from.checked_add(step)? >= to;
        once.then_some(Self { header, compare, branch, inside, exit, latch })
    }

    fn apply(self, function: &mut Function, body: &FxHashSet<Block>) {
        let params = function.dfg.block_params(self.header).to_vec();
        let types: Vec<_> = params.iter().map(|&p| function.dfg.value_type(p)).collect();
        let left: Vec<Value> =
            types.into_iter().map(|ty| function.dfg.append_block_param(self.exit, ty)).collect();
        let after: Vec<Block> =
            function.layout.blocks().filter(|b| *b != self.header && !body.contains(b)).collect();
        for block in after {
            let insts: Vec<Inst> = function.layout.block_insts(block).collect();
            for inst in insts {
                function.dfg.map_inst_values(inst, |value| {
                    params.iter().position(|&p| p == value).map_or(value, |k| left[k])
                });
            }
        }
        let next = arguments(function, self.latch.1);
        let mut at = FuncCursor::new(function).at_inst(self.latch.1);
        at.remove_inst();
        at.goto_bottom(self.latch.0);
        at.ins().jump(self.exit, &next);
        at.goto_inst(self.branch);
        at.remove_inst();
        at.goto_inst(self.compare);
        at.remove_inst();
        at.goto_bottom(self.header);
        at.ins().jump(self.inside, &[]);
    }
}

/// The blocks of a loop but its header.
fn body(flow: &ControlFlowGraph, header: Block, latch: Block) -> FxHashSet<Block> {
    let mut body = FxHashSet::default();
    let mut work = vec![latch];
    while let Some(block) = work.pop() {
        if block != header && body.insert(block) {
            work.extend(flow.pred_iter(block).map(|p| p.block));
        }
    }
    body
}

fn arguments(function: &Function, jump: Inst) -> Vec<BlockArg> {
    match &function.dfg.insts[jump] {
        InstructionData::Jump { destination, .. } => destination.args(&function.dfg.value_lists).collect(),
        _ => Vec::new(),
    }
}

fn first_argument(function: &Function, jump: Inst) -> Option<Value> {
    arguments(function, jump).first()?.as_value()
}

/// The value, if it is made of constants.
fn known(function: &Function, flow: &ControlFlowGraph, value: Value, depth: usize) -> Option<i64> {
    let dfg = &function.dfg;
    if depth == 0 || dfg.value_type(value) != I64 {
        return None;
    }
    let inst = match dfg.value_def(value) {
        ValueDef::Result(inst, 0) => inst,
        ValueDef::Param(block, number) => {
            let mut ends = flow.pred_iter(block);
            let (end, None) = (ends.next()?, ends.next()) else { return None };
            let argument = arguments(function, end.inst).get(number)?.as_value()?;
            return known(function, flow, argument, depth - 1);
        }
        _ => return None,
    };
    match dfg.insts[inst] {
        InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => Some(imm.bits()),
        InstructionData::Binary { opcode, args } => {
            let [a, b] = args.map(|arg| known(function, flow, arg, depth - 1));
            let (a, b) = (a?, b?);
            match opcode {
                Opcode::Iadd => Some(a.wrapping_add(b)),
                Opcode::Isub => Some(a.wrapping_sub(b)),
                Opcode::Imul => Some(a.wrapping_mul(b)),
                Opcode::Ishl => Some(a.wrapping_shl(u32::try_from(b & 63).ok()?)),
                Opcode::Smin => Some(a.min(b)),
                Opcode::Smax => Some(a.max(b)),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cranelift_codegen::{
        ir::{AbiParam, Signature, UserFuncName},
        isa::CallConv,
        settings, verify_function,
    };
    use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

    /// `for i in 2..to step 3 { sum += i; for j in 0..inner { sum += j } }`, and the sum and the last `i`, added.
    fn nested(to: i64, inner: i64) -> Function {
        let mut signature = Signature::new(CallConv::SystemV);
        signature.returns = vec![AbiParam::new(I64)];
        let mut function = Function::with_name_signature(UserFuncName::default(), signature);
        let mut context = FunctionBuilderContext::new();
        let mut b = FunctionBuilder::new(&mut function, &mut context);
        let entry = b.create_block();
        b.switch_to_block(entry);
        let zero = b.ins().iconst(I64, 0);
        let two = b.ins().iadd_imm_s(zero, 2);
        let (i, sum) = looped(&mut b, [two, zero], to, 3, |b, i, sum| {
            let sum = b.ins().iadd(sum, i);
            looped(b, [zero, sum], inner, 1, |b, j, sum| b.ins().iadd(sum, j)).1
        });
        let out = b.ins().iadd(i, sum);
        b.ins().return_(&[out]);
        b.seal_all_blocks();
        function
    }

    fn looped(
        b: &mut FunctionBuilder<'_>,
        start: [Value; 2],
        to: i64,
        step: i64,
        body: impl FnOnce(&mut FunctionBuilder<'_>, Value, Value) -> Value,
    ) -> (Value, Value) {
        let [header, inside, exit] = [b.create_block(), b.create_block(), b.create_block()];
        b.append_block_param(header, I64);
        b.append_block_param(header, I64);
        let to = b.ins().iconst(I64, to);
        b.ins().jump(header, &start.map(BlockArg::from));
        b.switch_to_block(header);
        let [i, sum] = [b.block_params(header)[0], b.block_params(header)[1]];
        let more = b.ins().icmp(IntCC::SignedLessThan, i, to);
        b.ins().brif(more, inside, &[], exit, &[]);
        b.switch_to_block(inside);
        let next = body(b, i, sum);
        let index = b.ins().iadd_imm_s(i, step);
        b.ins().jump(header, &[index, next].map(BlockArg::from));
        b.switch_to_block(exit);
        (i, sum)
    }

    /// Number of conditional branches left, and what is returned where that is constant.
    fn straight(mut function: Function) -> (usize, Option<i64>) {
        unloop(&mut function);
        verify_function(&function, &settings::Flags::new(settings::builder()))
            .unwrap_or_else(|e| panic!("{e}\n{function}"));
        let flow = ControlFlowGraph::with_function(&function);
        let insts = || function.layout.blocks().flat_map(|b| function.layout.block_insts(b));
        let opcode = |inst: &Inst| function.dfg.insts[*inst].opcode();
        let branches = insts().filter(|inst| opcode(inst) == Opcode::Brif).count();
        let end = insts().find(|inst| opcode(inst) == Opcode::Return).expect("it returns");
        (branches, known(&function, &flow, function.dfg.inst_args(end)[0], 99))
    }

    #[test]
    fn loops_that_run_once_are_straight() {
        // Once each: the sum is 2 + 0, and `i` ends at 5.
        assert_eq!(straight(nested(5, 1)), (0, Some(7)));
        assert_eq!(straight(nested(3, 1)), (0, Some(7)));
        // The outer one once, the inner one twice or never; the outer one twice; never.
        assert_eq!(straight(nested(5, 2)), (1, None));
        assert_eq!(straight(nested(5, 0)), (1, None));
        assert_eq!(straight(nested(6, 1)), (1, None));
        assert_eq!(straight(nested(2, 1)), (1, None));
    }
}
