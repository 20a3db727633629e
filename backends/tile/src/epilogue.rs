//! epilogue - pointwise ops applied to the accumulators of a tile before they are stored.

use crate::{
    program::{Lane, LaneType, Op, VectorProgram},
    stream::Element,
};

/// A vector program over the accumulator (its input 0) and operands from memory (its inputs 1, 2, ...). Its results are
/// stored: the first as C, others, which matrix products alone may have, as further outputs over the same elements.
///
/// In a matrix product it may join the sums of several columns, one of each group of columns: these are then its first
/// inputs, and operands from memory come after them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Epilogue {
    /// What is computed; inputs are f32, but for products of integers, whose sums are i32 and whose operands may be.
    pub program: VectorProgram,
    /// How many sums it joins: 1, but for matrix products.
    pub sums: u16,
    /// Where input `i + sums` of the program comes from.
    pub inputs: Vec<EpilogueInput>,
    /// What lies in memory of each result of the program.
    pub stores: Vec<Element>,
}

/// Where an operand of an epilogue comes from; every kind but `Behind` has a pointer to elements of 32 bits as run-time
/// argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EpilogueInput {
    /// Element `m` for row `m` of the tile: a bias over channels where rows are channels.
    Row,
    /// Element `n` for column `n` of the tile: a bias over columns.
    Col,
    /// Element `m * stride + n`, the stride a run-time argument: a residual. It may be C itself: an element is read
    /// before it is stored.
    Tile,
    /// One element for the whole tile.
    Scalar,
    /// The element `by` columns further on in the operand of an input before, which is of kind `Col` or `Tile`; it has no
    /// argument of its own. Matrix products alone have such inputs.
    Behind {
        /// Number of that input.
        input: u16,
        /// Columns.
        by: u32,
    },
}

impl Epilogue {
    /// An epilogue with one f32 result.
    #[must_use]
    pub fn new(program: VectorProgram, inputs: Vec<EpilogueInput>) -> Self {
        Epilogue { program, sums: 1, inputs, stores: vec![Element::F32] }
    }

    /// Whether it has one f32 result and no other.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.stores == [Element::F32]
    }

    /// Checks that the program takes the accumulator and the inputs, all f32, and returns one f32.
    ///
    /// # Panics
    /// If it does not: a spec is made by a compiler, never by a user.
    pub fn check_single(&self) {
        self.check();
        assert!(self.is_single(), "the one result of an epilogue is f32");
        assert!(self.sums == 1, "an element has one sum");
        let behind = |i: &EpilogueInput| matches!(i, EpilogueInput::Behind { .. });
        assert!(!self.inputs.iter().any(behind), "every operand has a pointer");
        let all_f32 = self.program.ops().iter().all(|op| !matches!(op, Op::Input(_, LaneType::I32)));
        assert!(all_f32, "the inputs of an epilogue are f32");
    }

    /// Checks that the program takes the accumulator and the inputs, and that its results can be stored.
    ///
    /// # Panics
    /// If it does not: a spec is made by a compiler, never by a user.
    pub fn check(&self) {
        assert!(
            self.program.n_inputs() <= self.inputs.len() + usize::from(self.sums),
            "an epilogue input for every input of the program"
        );
        assert!(self.sums > 0, "there is a sum");
        for (at, input) in self.inputs.iter().enumerate() {
            let EpilogueInput::Behind { input, .. } = *input else { continue };
            let before = self.inputs[..at].get(usize::from(input));
            assert!(
                matches!(before, Some(EpilogueInput::Col | EpilogueInput::Tile)),
                "an operand is behind columns of one before"
            );
        }
        assert!(!self.stores.is_empty(), "an epilogue has a result");
        assert!(self.stores.len() == self.program.results().len(), "every result is stored");
        for (result, element) in self.program.results().iter().zip(&self.stores) {
            assert!(*element != Element::Bool, "no truths are stored");
            assert!(
                self.program.lane_type(*result) == element.lane_type(),
                "lanes are of the element's type"
            );
        }
    }
}

/// Elements an epilogue input points to, for the references.
#[derive(Clone, Copy, Debug)]
pub struct EpilogueOperand<'a> {
    /// Elements from the one the pointer argument points to; none for [`EpilogueInput::Behind`].
    pub elements: &'a [f32],
    /// Row stride in elements, for [`EpilogueInput::Tile`].
    pub stride: usize,
}

impl EpilogueOperand<'_> {
    /// The element for row `m` and column `n` of the tile.
    ///
    /// # Panics
    /// If the input has no operand of its own.
    #[must_use]
    pub fn at(&self, kind: EpilogueInput, m: usize, n: usize) -> f32 {
        match kind {
            EpilogueInput::Row => self.elements[m],
            EpilogueInput::Col => self.elements[n],
            EpilogueInput::Tile => self.elements[m * self.stride + n],
            EpilogueInput::Scalar => self.elements[0],
            EpilogueInput::Behind { .. } => panic!("its operand is that of an input before"),
        }
    }
}

/// The stored value for an accumulator.
pub(crate) fn apply(
    epilogue: Option<&Epilogue>,
    operands: &[EpilogueOperand],
    acc: f32,
    m: usize,
    n: usize,
) -> f32 {
    results(epilogue, operands, &[acc], m, n)[0].f32()
}

/// The stored values for the accumulators that an epilogue joins.
pub(crate) fn results(
    epilogue: Option<&Epilogue>,
    operands: &[EpilogueOperand],
    sums: &[f32],
    m: usize,
    n: usize,
) -> Vec<Lane> {
    let sums = sums.iter().copied();
    let Some(epilogue) = epilogue else { return sums.map(Lane::F32).collect() };
    let elements = epilogue.inputs.iter().zip(operands).map(|(kind, operand)| match *kind {
        EpilogueInput::Behind { input, by } => {
            let input = usize::from(input);
            operands[input].at(epilogue.inputs[input], m, n + by as usize)
        }
        kind => operand.at(kind, m, n),
    });
    // What is no f32 is given by its bits.
    let lane = |(k, x): (usize, f32)| match epilogue.program.input_type(k) {
        Some(ty) => Lane::from_bits(ty, x.to_bits()),
        None => Lane::F32(x),
    };
    let inputs: Vec<Lane> = sums.chain(elements).enumerate().map(lane).collect();
    epilogue.program.eval(&inputs)
}

/// The arguments of an epilogue's operands: a pointer each, and for those of kind [`EpilogueInput::Tile`] their strides;
/// none for what is behind another.
pub(crate) fn epilogue_args<A>(
    epilogue: Option<&Epilogue>,
    pointer: impl Fn(usize) -> A,
    strides: impl Fn(usize) -> Vec<A>,
) -> Vec<A> {
    let inputs = epilogue.into_iter().flat_map(|e| &e.inputs).enumerate();
    let of = |(idx, input): (usize, &EpilogueInput)| {
        let own = (!matches!(input, EpilogueInput::Behind { .. })).then(|| pointer(idx));
        let tile = *input == EpilogueInput::Tile;
        own.into_iter().chain(if tile { strides(idx) } else { vec![] }).collect::<Vec<_>>()
    };
    inputs.flat_map(of).collect()
}
