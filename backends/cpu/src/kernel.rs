//! kernel - what a kernel is to the rest of the backend: a request, and the function made of it.
//!
//! A kernel is `extern "C" fn(frame: *mut i64, begin: i64, end: i64, worker: i64)`: it does items `begin..end` of its
//! outermost parallel loop. Items never share results, so any partition gives the same bits.

use cranelift_codegen::{
    ir::{AbiParam, Block, Function, InstBuilder, Signature, UserFuncName, Value, types::I64},
    isa::TargetIsa,
};
use cranelift_frontend::FunctionBuilder;
use nnc_ir::{constant::Constant, extent::Extent, form::LoopForm};
use nnc_tile::winograd::Winograd;

use crate::{
    choice::Choices,
    frame::{Frame, PointerSlot},
    lower::Packing,
    range::Range,
    wide::WideTiles,
};

/// A buffer as a kernel reads it.
#[derive(Clone, Debug)]
pub struct OperandRef {
    /// Where its address is.
    pub pointer: PointerSlot,
    /// Its value, if it is known when compiling: contractions pack it.
    pub constant: Option<Constant>,
    /// How large its elements are, if something is known of it.
    pub range: Option<Range>,
}

/// One loop nest to be made into a kernel.
#[derive(Clone, Debug)]
pub struct NestRequest {
    /// Symbol name, unique in the program.
    pub name: String,
    /// The nest, with prologue and epilogue composed into it.
    pub form: LoopForm,
    /// Operands by number in `form.loads`.
    pub operands: Vec<OperandRef>,
    /// One a result of the form.
    pub results: Vec<PointerSlot>,
    /// Element strides of the results' axes and offset in elements, where they are not row-major and 0: a result that is
    /// a slice of a larger tensor (concat in place).
    pub placement: Vec<Option<Placement>>,
    /// Number that the fault record names the node by.
    pub fault_node: i64,
}

/// Where a result lies inside of a larger tensor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Placement {
    /// Elements to the first element.
    pub offset: Extent,
    /// Elements from one position of an axis to the next.
    pub strides: Vec<Extent>,
}

/// A compiled function in CLIF, with what its caller must know.
pub struct Kernel {
    /// Signature `(i64 frame, i64 begin, i64 end, i64 worker)`.
    pub function: Function,
    /// Symbol name.
    pub name: String,
    /// Number of items of the outermost parallel loop.
    pub items: Extent,
    /// Rough cost of one item, in scalar operations: below a threshold no other thread is woken.
    pub item_cost: Extent,
    /// Bytes of scratch a worker needs (a multiple of 64; 0 if none).
    pub scratch_bytes: Extent,
    /// Whether it may record a fault (the caller then looks at the record).
    pub may_fault: bool,
    /// Whether the instructions are in a good order already: then it is to be compiled without Cranelift's optimiser,
    /// which would make it slower.
    pub scheduled: bool,
    /// Why a contraction is done by plain loops and not by tiles, if it is.
    pub plain: Option<&'static str>,
    /// Which elements which items compute, if items go through the result from its first element to its last.
    pub pace: Option<Pace>,
}

/// How far items get: elements of the result are numbered in the order of the nest's space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Elements that are cut into blocks of their own, one such segment after the other.
    pub segment: i64,
    /// Elements of a block; the last of a segment may have fewer.
    pub block: i64,
    /// Items of a block.
    pub items: i64,
}

impl Pace {
    /// The pace of items that compute blocks of so many elements, if all of it is known when compiling.
    #[must_use]
    pub fn new(segment: &Extent, block: &Extent, items: &Extent) -> Option<Pace> {
        let positive = |e: &Extent| e.as_const().filter(|&n| n > 0);
        Some(Pace { segment: positive(segment)?, block: positive(block)?, items: positive(items)? })
    }

    /// Blocks of a segment.
    #[must_use]
    pub fn blocks(&self) -> i64 {
        (self.segment + self.block - 1) / self.block
    }

    /// Items that compute all elements before `element`, and perhaps more.
    #[must_use]
    pub fn items_for(&self, element: i64) -> i64 {
        let (segment, rest) = (element / self.segment, element % self.segment);
        (segment * self.blocks() + (rest + self.block - 1) / self.block) * self.items
    }

    /// Items that compute elements before `element` and none from there on.
    #[must_use]
    pub fn items_before(&self, element: i64) -> i64 {
        let (segment, rest) = (element / self.segment, element % self.segment);
        (segment * self.blocks() + rest / self.block) * self.items
    }

    /// Elements that are there after so many items: those of blocks that are complete.
    #[must_use]
    pub fn elements(&self, items: i64) -> i64 {
        let block = items / self.items;
        let (segment, rest) = (block / self.blocks(), block % self.blocks());
        segment * self.segment + (rest * self.block).min(self.segment)
    }
}

/// What minimal filtering may do, and what its cost depends on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filtering {
    /// The largest squares by which convolutions may be done; they round differently.
    pub most: Option<Winograd>,
    /// Bytes of all constants of the program: few of them stay in a cache from one run to the next.
    pub weights: i64,
}

/// A constant made while lowering.
#[derive(Clone, Debug)]
pub enum Weight {
    /// It is there.
    Ready(Constant),
    /// It is to be packed, when the kernel is made and the constant that it is packed from may have no other reader.
    Packing(Packing),
}

impl Weight {
    /// The constant.
    ///
    /// # Errors
    /// E0501 when there is no memory for it.
    pub fn make(self) -> nnc_runtime::Result<Constant> {
        match self {
            Weight::Ready(constant) => Ok(constant),
            Weight::Packing(packing) => packing.make(),
        }
    }
}

/// What lowering may use.
pub struct LowerCx<'a> {
    /// Target.
    pub isa: &'a dyn TargetIsa,
    /// Slots.
    pub frame: &'a mut Frame,
    /// Constants made while lowering, such as packed weights, with the slots of their addresses.
    pub packed: &'a mut Vec<(Weight, PointerSlot)>,
    /// Tiles with wide code that kernels call.
    pub tiles: &'a mut WideTiles,
    /// Of convolutions.
    pub filtering: Filtering,
    /// Decisions of the kernel that is lowered.
    pub choices: Choices,
}

impl LowerCx<'_> {
    /// Gives a constant made while lowering a pointer slot.
    pub fn add_weight(&mut self, constant: Constant) -> PointerSlot {
        self.add(Weight::Ready(constant))
    }

    /// Likewise one that is to be packed.
    pub fn add_packing(&mut self, packing: Packing) -> PointerSlot {
        self.add(Weight::Packing(packing))
    }

    fn add(&mut self, weight: Weight) -> PointerSlot {
        let slot = self.frame.add_pointer();
        self.packed.push((weight, slot));
        slot
    }
}

/// A function with the signature of kernels and nothing in it.
pub(crate) fn empty_kernel(isa: &dyn TargetIsa) -> Function {
    let mut signature = Signature::new(isa.default_call_conv());
    signature.params = vec![AbiParam::new(I64); 4];
    Function::with_name_signature(UserFuncName::default(), signature)
}

/// Opens the first two blocks of a kernel: its entry, which holds what is read from the frame and nothing else, and the
/// block that code goes on in. Gives the entry and the parameters.
pub(crate) fn open_kernel(b: &mut FunctionBuilder<'_>) -> (Block, Vec<Value>) {
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let params = b.block_params(entry).to_vec();
    let start = b.create_block();
    b.ins().jump(start, &[]);
    b.switch_to_block(start);
    (entry, params)
}
