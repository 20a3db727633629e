//! entry - the functions around the kernels: `bind`, `output_dims`, `workspace_bytes` and `run`.
//!
//! All state of a run is in the frame, so every block of steps is a function of the frame that gives 0 or a code:
//! `steps` writes them, `control` the repeated and chosen ones. `setup` writes `run`, which fills the frame, and the
//! functions that bind symbols while running. `signature` writes what is asked before a run.

mod control;
mod extent;
mod functions;
mod helpers;
mod inline;
mod setup;
mod signature;
mod slots;
mod steps;
mod symbols;
pub(crate) mod tiled;

pub(crate) use functions::{FuncId, Functions};
pub(crate) use inline::Inlined;
pub(crate) use slots::{Shifted, Slots};
pub(crate) use steps::is_small;

use cranelift_codegen::ir::Value;
use nnc_ir::{extent::Extent, graph::Module};
use rustc_hash::FxHashMap;

use crate::{
    frame::{Frame, FrameValue, PointerSlot},
    plan::{Block, Plan, Step},
    weights::{ConstantId, WeightPlace},
};
use helpers::Helpers;
use symbols::Definitions;

/// A kernel as its caller sees it.
pub(crate) struct Callee {
    /// Symbol name.
    pub(crate) name: String,
    /// The function.
    pub(crate) function: FuncId,
    /// Byte offsets of the slots that are its arguments (`share`), or `None` where it reads the frame itself.
    pub(crate) arguments: Option<Vec<i32>>,
    /// Items of its outermost loop.
    pub(crate) items: Extent,
    /// Scalar operations an item.
    pub(crate) item_cost: Extent,
    /// Whether it may record a fault.
    pub(crate) may_fault: bool,
}

/// What entries are made from.
pub(crate) struct Program<'a> {
    /// The module.
    pub(crate) module: &'a Module,
    /// Its plan.
    pub(crate) plan: &'a Plan,
    /// Where things are in the frame.
    pub(crate) slots: &'a Slots,
    /// Kernels by number.
    pub(crate) kernels: &'a [Callee],
    /// Constants that are used, by number.
    pub(crate) weights: &'a [Option<WeightPlace>],
    /// Slots of the addresses of constants made while lowering.
    pub(crate) packed: &'a [(PointerSlot, ConstantId)],
    /// Slots of addresses within buffers.
    pub(crate) shifted: &'a [Shifted],
    /// Kernels that are no functions of their own.
    pub(crate) inlined: &'a Inlined,
    /// Bytes of scratch a worker needs, over symbols that are known before the run.
    pub(crate) scratch_bytes: Extent,
    /// Whether every kernel is called where a profile sees it.
    pub(crate) trace: bool,
}

/// The entries by name.
pub(crate) struct EntryIds {
    /// `bind`.
    pub(crate) bind: FuncId,
    /// `output_dims`.
    pub(crate) output_dims: FuncId,
    /// `workspace_bytes`.
    pub(crate) workspace_bytes: FuncId,
    /// `run`.
    pub(crate) run: FuncId,
}

/// Writes the entries.
struct Emitter<'a> {
    program: &'a Program<'a>,
    frame: &'a mut Frame,
    helpers: Helpers,
    definitions: Definitions,
    /// Blocks that have been declared but not written.
    waiting: Vec<(FuncId, &'a [Step])>,
    blocks: usize,
    /// Extents that were asked for, so that a block reads each slot where it needs it.
    known: FxHashMap<Extent, FrameValue>,
    /// First slot of the arguments of the kernel that is running; its calls come one after another.
    arguments: PointerSlot,
    /// Values of slots, where all of the program is one function: then nothing is written to the frame.
    values: Option<FxHashMap<i32, Value>>,
    /// Number of the parameter that is the frame, in the function that is being written.
    frame_param: usize,
    /// Inlined kernels and the functions that they are part of.
    homes: Vec<(usize, FuncId)>,
    /// The function that is being written.
    here: FuncId,
}

/// Adds the entries and all that they call to `functions`, which has the kernels already. Also gives which functions inlined
/// kernels are part of.
pub(crate) fn emit(
    program: &Program<'_>,
    frame: &mut Frame,
    functions: &mut Functions,
) -> (EntryIds, Vec<(usize, FuncId)>) {
    let helpers = Helpers::new(functions, program.trace);
    let definitions = Definitions::new(program);
    let arguments = program.kernels.iter().filter_map(|k| Some(k.arguments.as_ref()?.len() + 1)).max();
    let arguments = frame.add_pointers(arguments.unwrap_or(0));
    let mut emitter = Emitter {
        program,
        frame,
        arguments,
        helpers,
        definitions,
        waiting: Vec::new(),
        blocks: 0,
        known: FxHashMap::default(),
        values: None,
        frame_param: 0,
        homes: Vec::new(),
        here: FuncId(0),
    };
    let main = (!emitter.is_straight()).then(|| emitter.block(functions, &program.plan.main));
    while let Some((id, steps)) = emitter.waiting.pop() {
        emitter.here = id;
        functions.define(id, |functions, body| emitter.steps(functions, body, steps));
        emitter.inline(functions, id);
    }
    // From here on no new extent is asked for: the tables are complete.
    emitter.output_extents();
    emitter.define_definitions(functions);
    let run = emitter.run(functions, main);
    emitter.inline(functions, run);
    let workspace_bytes = emitter.workspace_bytes(functions);
    let (bind, output_dims) = (emitter.bind(functions), emitter.output_dims(functions));
    (EntryIds { bind, output_dims, workspace_bytes, run }, emitter.homes)
}

impl<'a> Emitter<'a> {
    /// The function of a block, written later.
    fn block(&mut self, functions: &mut Functions, block: &'a Block) -> FuncId {
        self.steps_function(functions, &block.steps)
    }

    fn steps_function(&mut self, functions: &mut Functions, steps: &'a [Step]) -> FuncId {
        let name = format!("nnc_block_{}", self.blocks);
        self.blocks += 1;
        let id = functions.declare(name, 1, Some(cranelift_codegen::ir::types::I32));
        self.waiting.push((id, steps));
        id
    }

    /// Where the value of an extent is.
    fn value(&mut self, extent: &Extent) -> FrameValue {
        match self.known.get(extent) {
            Some(&value) => value,
            None => {
                let value = self.frame.extent(extent);
                self.known.insert(extent.clone(), value);
                value
            }
        }
    }

    /// Whether all that a run does can be one function: kernels that are inlined, with nothing that sizes or data decide.
    fn is_straight(&self) -> bool {
        let Program { module, plan, slots, inlined, .. } = self.program;
        let stays = |step: &Step| match step {
            Step::Nest(step) => inlined.has(step.kernel),
            Step::Groups(step) => inlined.has(step.kernel),
            Step::Rows(step) => inlined.has(step.kernel),
            Step::Scatter(step) => inlined.has(step.kernel),
            Step::Copy { .. } | Step::Ensure { .. } => true,
            _ => false,
        };
        let fixed = module.symbols.is_empty() && slots.dynamic_buffers() == 0;
        let told = plan.outputs.iter().any(|o| o.unbounded || !o.extents.is_empty());
        fixed && !told && inlined.count() > 0 && plan.main.steps.iter().all(stays)
    }

    /// Puts inlined kernels into a function.
    fn inline(&self, functions: &mut Functions, id: FuncId) {
        let declared = &mut functions.list[id.0];
        if let (Some(function), false) = (&mut declared.function, self.program.inlined.count() == 0) {
            declared.optimise |= self.program.inlined.apply(function);
        }
    }
}
