//! epilogue - pointwise ops applied to the accumulators of a tile before they are stored.

use crate::program::{LaneType, Op, VectorProgram};

/// A vector program over the accumulator (its input 0) and operands from memory (its inputs 1, 2, ...); its first
/// result is what is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Epilogue {
    /// What is computed; inputs and first result are f32.
    pub program: VectorProgram,
    /// Where input `i + 1` of the program comes from.
    pub inputs: Vec<EpilogueInput>,
}

/// Where an operand of an epilogue comes from; every kind has a pointer to f32 elements as run-time argument.
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
}

impl Epilogue {
    /// Checks that the program takes the accumulator and the inputs, all f32, and returns an f32.
    ///
    /// # Panics
    /// If it does not: a spec is made by a compiler, never by a user.
    pub fn check(&self) {
        assert!(
            self.program.n_inputs() <= self.inputs.len() + 1,
            "an epilogue input for every input of the program"
        );
        assert!(!self.program.results().is_empty(), "an epilogue has a result");
        let first = self.program.results()[0];
        assert!(self.program.lane_type(first) == LaneType::F32, "the result of an epilogue is f32");
        let all_f32 = self.program.ops().iter().all(|op| !matches!(op, Op::Input(_, LaneType::I32)));
        assert!(all_f32, "the inputs of an epilogue are f32");
    }
}

/// Elements an epilogue input points to, for the references.
#[derive(Clone, Copy, Debug)]
pub struct EpilogueOperand<'a> {
    /// Elements from the one the pointer argument points to.
    pub elements: &'a [f32],
    /// Row stride in elements, for [`EpilogueInput::Tile`].
    pub stride: usize,
}

impl EpilogueOperand<'_> {
    /// The element for row `m` and column `n` of the tile.
    #[must_use]
    pub fn at(&self, kind: EpilogueInput, m: usize, n: usize) -> f32 {
        match kind {
            EpilogueInput::Row => self.elements[m],
            EpilogueInput::Col => self.elements[n],
            EpilogueInput::Tile => self.elements[m * self.stride + n],
            EpilogueInput::Scalar => self.elements[0],
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
    let Some(epilogue) = epilogue else { return acc };
    let mut inputs = vec![acc];
    inputs.extend(epilogue.inputs.iter().zip(operands).map(|(kind, operand)| operand.at(*kind, m, n)));
    epilogue.program.eval_f32(&inputs)
}
