//! step - what a program does, one thing after another.

use nnc_ir::{
    compose::rows::RowForm,
    extent::{Extent, SymbolId},
    form::{LoopForm, ScatterForm},
    types::TensorType,
};
use nnc_runtime::externs::Extern;

use crate::{
    kernel::{OperandRef, Placement},
    lower::rows::result_of,
    plan::{BufferId, Region},
    range::Range,
};

/// Steps in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Block {
    /// In order.
    pub(crate) steps: Vec<Step>,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Calls a kernel made of a nest.
    Nest(Box<NestStep>),
    /// Calls a kernel made of a product and the nest that joins groups of its columns.
    Groups(Box<GroupsStep>),
    /// Calls a kernel made of a row nest.
    Rows(Box<RowsStep>),
    /// Calls several kernels by turns, each for a few rows.
    Tiled(Box<TiledStep>),
    /// Calls a kernel that writes at computed places.
    Scatter(Box<ScatterStep>),
    /// Makes sure that a buffer has so many bytes, if it is one whose size data decide.
    Ensure {
        /// The buffer.
        buffer: BufferId,
        /// How many bytes.
        bytes: Extent,
    },
    /// Copies bytes.
    Copy {
        /// From the start of this buffer.
        from: BufferId,
        /// To the start of this one.
        to: BufferId,
        /// How many bytes.
        bytes: Extent,
    },
    /// Writes extents as `i64`.
    StoreExtents {
        /// Where.
        to: BufferId,
        /// The extents.
        values: Vec<Extent>,
    },
    /// Binds symbols to the elements of an `i64` vector.
    ReadExtents {
        /// The vector.
        from: BufferId,
        /// One an element.
        symbols: Vec<SymbolId>,
        /// Number of the node, for faults.
        node: i64,
    },
    /// Binds symbols to extents.
    Define(Define),
    /// Calls a function of the runtime.
    Extern(Box<ExternStep>),
    /// One of two blocks.
    If(Box<IfStep>),
    /// A block repeated.
    Loop(Box<LoopStep>),
    /// A block a step.
    Scan(Box<ScanStep>),
}

/// A nest or a row nest, as regions see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemberStep<'a> {
    /// Number of the kernel.
    pub(crate) kernel: usize,
    /// When it runs.
    pub(crate) at: usize,
    /// By number in the form's loads.
    pub(crate) operands: &'a [BufferId],
    /// One a result.
    pub(crate) results: &'a [BufferId],
    /// Numbers of the nodes it computes.
    pub(crate) nodes: &'a [u32],
    /// What gives the result, if that is one with its axes in their order.
    pub(crate) form: Option<&'a LoopForm>,
}

impl Step {
    /// The step as part of a region, if it can be one.
    pub(crate) fn member(&self) -> Option<MemberStep<'_>> {
        Some(match self {
            Step::Nest(step) => {
                let NestStep { kernel, at, operands, results, nodes, form, .. } = &**step;
                MemberStep { kernel: *kernel, at: *at, operands, results, nodes, form: Some(form) }
            }
            Step::Rows(step) => {
                let RowsStep { kernel, at, operands, results, nodes, form, .. } = &**step;
                let form = result_of(form).map(|stage| &stage.form);
                MemberStep { kernel: *kernel, at: *at, operands, results, nodes, form }
            }
            _ => return None,
        })
    }
}

/// A nest to be made into a kernel.
#[derive(Clone, Debug)]
pub(crate) struct NestStep {
    /// Number of the kernel.
    pub(crate) kernel: usize,
    /// What it is for, as part of the kernel's name.
    pub(crate) what: String,
    /// The nest.
    pub(crate) form: LoopForm,
    /// By number in the form's loads.
    pub(crate) operands: Vec<BufferId>,
    /// How large their integers are, as far as it is known; operands that came later have none.
    pub(crate) ranges: Vec<Option<Range>>,
    /// One a result.
    pub(crate) results: Vec<BufferId>,
    /// One a result.
    pub(crate) placement: Vec<Option<Placement>>,
    /// Numbers of the nodes it computes; faults name the first.
    pub(crate) nodes: Vec<u32>,
    /// When it runs: lives of buffers are counted in it.
    pub(crate) at: usize,
    /// Whether it writes a result over an operand.
    pub(crate) in_place: bool,
    /// Whether its results have their channels last.
    pub(crate) channels_last: bool,
}

impl NestStep {
    /// Operands as lowering sees them, made of their buffers.
    pub(crate) fn operands_by(&self, of: impl Fn(BufferId) -> OperandRef) -> Vec<OperandRef> {
        let range = |number: usize| self.ranges.get(number).copied().flatten();
        let one = |(number, &buffer)| OperandRef { range: range(number), ..of(buffer) };
        self.operands.iter().enumerate().map(one).collect()
    }
}

/// A product, and the only nest that reads it, to be made into one kernel: what lies between them is never in memory.
#[derive(Clone, Debug)]
pub(crate) struct GroupsStep {
    /// Number of the kernel.
    pub(crate) kernel: usize,
    /// What it is for, as part of the kernel's name.
    pub(crate) what: String,
    /// The product.
    pub(crate) product: NestStep,
    /// The nest.
    pub(crate) finish: NestStep,
    /// Number of the operand of the nest that the product is.
    pub(crate) read: usize,
    /// Numbers of the nodes of both.
    pub(crate) nodes: Vec<u32>,
    /// Number of the cell that counts the steps of the loop around it.
    pub(crate) counter: Option<usize>,
}

impl GroupsStep {
    /// The operands of both, without what lies between them.
    pub(crate) fn operands(&self) -> Vec<BufferId> {
        let rest = self.finish.operands.iter().enumerate().filter(|(at, _)| *at != self.read);
        self.product.operands.iter().chain(rest.map(|(_, b)| b)).copied().collect()
    }
}

/// A row nest to be made into a kernel.
#[derive(Clone, Debug)]
pub(crate) struct RowsStep {
    /// Number of the kernel.
    pub(crate) kernel: usize,
    /// What it is for, as part of the kernel's name.
    pub(crate) what: String,
    /// The nest.
    pub(crate) form: RowForm,
    /// By number.
    pub(crate) operands: Vec<BufferId>,
    /// One a result.
    pub(crate) results: Vec<BufferId>,
    /// Numbers of the nodes it computes; faults name the first.
    pub(crate) nodes: Vec<u32>,
    /// When it runs: lives of buffers are counted in it.
    pub(crate) at: usize,
}

/// Kernels that run by turns, so that what passes between them stays in the cache.
#[derive(Clone, Debug)]
pub(crate) struct TiledStep {
    /// Number of the kernel that calls the others.
    pub(crate) kernel: usize,
    /// What it is for, as part of the kernel's name.
    pub(crate) what: String,
    /// Nests and row nests in order, each with one result.
    pub(crate) members: Block,
    /// Results of all members but the last: they have no memory but in a turn.
    pub(crate) inner: Vec<BufferId>,
    /// For each member the axes of its result in the order in which it goes through them.
    pub(crate) walks: Vec<Vec<usize>>,
    /// Elements of the last result that a turn computes.
    pub(crate) elements: i64,
    /// Numbers of the nodes that all of them compute.
    pub(crate) nodes: Vec<u32>,
}

impl TiledStep {
    /// Its members as their turns see them.
    pub(crate) fn region(&self) -> Region<'_> {
        Region { steps: self.members.steps.iter().collect(), inner: &self.inner, walks: &self.walks }
    }
}

/// Updates written into a copy of a tensor that has been made already.
#[derive(Clone, Debug)]
pub(crate) struct ScatterStep {
    /// Number of the kernel.
    pub(crate) kernel: usize,
    /// What it is for, as part of the kernel's name.
    pub(crate) what: String,
    /// The form.
    pub(crate) form: ScatterForm,
    /// Type of the data and of the result.
    pub(crate) ty: TensorType,
    /// By number in the form's loads; operand 0 is the data.
    pub(crate) operands: Vec<BufferId>,
    /// The copy.
    pub(crate) result: BufferId,
    /// Numbers of the nodes it computes; faults name the first.
    pub(crate) nodes: Vec<u32>,
}

/// Symbols and the extents they are bound to.
#[derive(Clone, Debug)]
pub(crate) struct Define {
    /// In order; all values are taken before any symbol changes.
    pub(crate) symbols: Vec<(SymbolId, Extent)>,
    /// Number of the node, for faults.
    pub(crate) node: i64,
}

/// A call of the runtime.
#[derive(Clone, Debug)]
pub(crate) struct ExternStep {
    /// Which function.
    pub(crate) function: Extern,
    /// Its attributes.
    pub(crate) attrs: Vec<i64>,
    /// Buffer, element type code and extents of each operand.
    pub(crate) operands: Vec<(BufferId, u8, Vec<Extent>)>,
    /// Likewise of each result; the bytes are what the buffer holds.
    pub(crate) results: Vec<ExternResult>,
    /// Symbols from the extents that the call writes: result, axis, symbol.
    pub(crate) defines: Vec<(usize, usize, SymbolId)>,
    /// Number of the node, for faults.
    pub(crate) node: i64,
}

/// A result of a call: buffer, element type code, rank, and the bytes it may fill.
pub(crate) type ExternResult = (BufferId, u8, usize, Extent);

/// One of two blocks.
#[derive(Clone, Debug)]
pub(crate) struct IfStep {
    /// A `bool`.
    pub(crate) condition: BufferId,
    /// Where it is true.
    pub(crate) then: Block,
    /// Where it is false.
    pub(crate) otherwise: Block,
}

/// A value that goes from one iteration to the next. Iterations read `current` and write `next`; then the two change
/// places.
#[derive(Clone, Debug)]
pub(crate) struct Carried {
    /// Where it is before the first iteration.
    pub(crate) initial: BufferId,
    /// What the body reads.
    pub(crate) current: BufferId,
    /// What the body writes.
    pub(crate) next: BufferId,
    /// Bytes of the value.
    pub(crate) bytes: Extent,
}

/// Slices of a large tensor, one an iteration.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    /// The large one.
    pub(crate) whole: BufferId,
    /// What the body reads or writes.
    pub(crate) slice: BufferId,
    /// Bytes of a slice.
    pub(crate) bytes: Extent,
    /// Whether iterations walk it from its end.
    pub(crate) reversed: bool,
}

/// A block repeated while a condition holds.
#[derive(Clone, Debug)]
pub(crate) struct LoopStep {
    /// Most iterations: `i64`.
    pub(crate) trips: BufferId,
    /// Whether to begin: `bool`.
    pub(crate) condition: BufferId,
    /// Where the body reads the number of the iteration.
    pub(crate) iteration: BufferId,
    /// Where the body reads the condition.
    pub(crate) condition_param: BufferId,
    /// Values from one iteration to the next.
    pub(crate) carried: Vec<Carried>,
    /// Values of all iterations joined; `whole` grows where its size is not bounded.
    pub(crate) stacked: Vec<Slice>,
    /// The body, which ends by having all of `next` and all slices written.
    pub(crate) body: Block,
    /// Whether to go on: `bool`.
    pub(crate) condition_result: BufferId,
    /// Number of the cell that counts iterations.
    pub(crate) counter: usize,
    /// The symbol that the number of iterations is bound to.
    pub(crate) count: Option<SymbolId>,
    /// How many iterations the stacked values have room for, where that is known before; without `count` as many as there
    /// must be.
    pub(crate) limit: Option<Extent>,
    /// Number of the node, for faults.
    pub(crate) node: i64,
}

/// A block for each step along the leading axis.
#[derive(Clone, Debug)]
pub(crate) struct ScanStep {
    /// Number of the cell that counts steps.
    pub(crate) counter: usize,
    /// How many steps.
    pub(crate) steps: Extent,
    /// Values from one step to the next.
    pub(crate) carried: Vec<Carried>,
    /// What the steps walk along.
    pub(crate) scanned: Vec<Slice>,
    /// What they write.
    pub(crate) stacked: Vec<Slice>,
    /// The body, which ends by having all of `next` and all slices written.
    pub(crate) body: Block,
}
