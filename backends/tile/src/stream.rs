//! stream - pointwise arithmetic along rows, and what is folded of it: y\[r, i\] = program(x0\[r, i\], x1\[r, i\], ...).
//!
//! ```text
//!   for r in 0..rows, for i in 0..n
//!     inputs     Along: element i of row r        Same: the one element of row r
//!     outputs    Store: element i of row r        Fold: one element a row, joined from all i
//! ```
//!
//! A fold keeps [`Stream::partials`] partial results, each starting from what changes nothing: partial `p` joins the
//! values of elements p, p + partials, p + 2 * partials, ... in this order. Then the second half of the partials joins
//! the first, element by element, until one is left. The order depends on nothing but the spec.
//!
//! An output may be an input of kind [`Walk::Along`] itself, with the same rows: an element is read before it is stored.
//! Counts are in elements, distances in bytes, since operands have elements of several sizes.

use crate::program::{Lane, LaneType, VectorProgram};

/// How an element lies in memory, and what a lane holds for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Element {
    /// Binary32; so is the lane.
    F32,
    /// 32 bits; so is the lane.
    I32,
    /// A byte; the lane is it with zeros before, and the lane's low byte is stored.
    U8,
    /// A byte; the lane is it with its sign before, and the lane's low byte is stored.
    I8,
    /// A byte, 0 or another; the lane is a mask. Of a lane, its sign bit is stored as 0 or 1.
    Bool,
}

impl Element {
    /// Bytes in memory.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Element::F32 | Element::I32 => 4,
            Element::U8 | Element::I8 | Element::Bool => 1,
        }
    }

    /// Type of the lane.
    #[must_use]
    pub fn lane_type(self) -> LaneType {
        if self == Element::F32 { LaneType::F32 } else { LaneType::I32 }
    }

    /// The lane of the element at `at`.
    pub(crate) fn read(self, bytes: &[u8], at: usize) -> Lane {
        match self {
            Element::F32 | Element::I32 => {
                let word = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
                Lane::from_bits(self.lane_type(), u32::from_le_bytes(word))
            }
            Element::U8 => Lane::I32(i32::from(bytes[at])),
            Element::I8 => Lane::I32(i32::from(bytes[at].cast_signed())),
            Element::Bool => Lane::I32(-i32::from(bytes[at] != 0)),
        }
    }

    /// Stores a lane at `at`.
    pub(crate) fn write(self, lane: Lane, bytes: &mut [u8], at: usize) {
        let word = lane.bits().to_le_bytes();
        match self {
            Element::F32 | Element::I32 => bytes[at..at + 4].copy_from_slice(&word),
            Element::U8 | Element::I8 => bytes[at] = word[0],
            Element::Bool => bytes[at] = word[3] >> 7,
        }
    }
}

/// Where the elements of an input are along a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Walk {
    /// Next to each other.
    Along,
    /// There is one for the whole row, which is read unless the row is empty.
    Same,
}

/// An input of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Input {
    /// What lies in memory.
    pub element: Element,
    /// Where.
    pub walk: Walk,
}

/// What joins two values of a fold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Join {
    /// f32 `a + b`, from 0.
    Sum,
    /// f32 `a * b`, from 1.
    Product,
    /// f32 `a > b ? a : b`, from minus infinity.
    Max,
    /// f32 `a < b ? a : b`, from infinity.
    Min,
    /// i32 `a + b`, wrapping, from 0.
    IntSum,
}

impl Join {
    /// Type of the values.
    #[must_use]
    pub fn lane_type(self) -> LaneType {
        if self == Join::IntSum { LaneType::I32 } else { LaneType::F32 }
    }

    /// What changes nothing when it is joined, as bits.
    #[must_use]
    pub fn identity(self) -> u32 {
        match self {
            Join::Sum => 0f32.to_bits(),
            Join::Product => 1f32.to_bits(),
            Join::Max => f32::NEG_INFINITY.to_bits(),
            Join::Min => f32::INFINITY.to_bits(),
            Join::IntSum => 0,
        }
    }

    pub(crate) fn apply(self, a: Lane, b: Lane) -> Lane {
        match self {
            Join::Sum => Lane::F32(a.f32() + b.f32()),
            Join::Product => Lane::F32(a.f32() * b.f32()),
            Join::Max => Lane::F32(if a.f32() > b.f32() { a.f32() } else { b.f32() }),
            Join::Min => Lane::F32(if a.f32() < b.f32() { a.f32() } else { b.f32() }),
            Join::IntSum => Lane::I32(a.i32().wrapping_add(b.i32())),
        }
    }
}

/// What becomes of a result of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Output {
    /// It is stored, element by element.
    Store(Element),
    /// It is joined along the row, and one element is stored.
    Fold(Join),
}

/// Pointwise arithmetic along rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stream {
    /// What is computed for each element.
    pub program: VectorProgram,
    /// One for each input of the program.
    pub inputs: Vec<Input>,
    /// One for each result of the program.
    pub outputs: Vec<Output>,
    /// For so many operands, rows of f32 are asked for on the way that later calls read, as long as this one's. Nothing is read of
    /// them, and they need not be there.
    pub ahead: usize,
    /// Whether there are several rows: their number and a distance for each operand are arguments. Else there is one.
    pub rows: bool,
    /// Partial results of a fold: a power of two.
    pub partials: u16,
    /// What becomes of each folded element before it is stored: f32 to f32.
    pub finish: Option<VectorProgram>,
}

impl Stream {
    /// Whether any result is folded.
    #[must_use]
    pub fn folds(&self) -> bool {
        self.outputs.iter().any(|o| matches!(o, Output::Fold(_)))
    }

    /// Checks what every emitter relies on.
    ///
    /// # Panics
    /// If the spec does not say a possible tile: a spec is made by a compiler, never by a user.
    pub fn check(&self) {
        use crate::program::Op;
        for op in self.program.ops() {
            if let Op::Input(k, ty) = op {
                let input =
                    self.inputs.get(usize::from(*k)).expect("an input for every input of the program");
                assert!(input.element.lane_type() == *ty, "input {k} has lanes of its type");
            }
        }
        assert!(self.outputs.len() == self.program.results().len(), "an output for every result");
        for (output, &result) in self.outputs.iter().zip(self.program.results()) {
            let want = match output {
                Output::Store(element) => element.lane_type(),
                Output::Fold(join) => join.lane_type(),
            };
            assert!(self.program.lane_type(result) == want, "a result has lanes of its type");
        }
        assert!(self.partials.is_power_of_two(), "partial results are halved");
        if let Some(finish) = &self.finish {
            let float = |output: &Output| match output {
                Output::Store(_) => true,
                Output::Fold(join) => join.lane_type() == LaneType::F32,
            };
            let gives = matches!(finish.results(), &[r] if finish.lane_type(r) == LaneType::F32);
            let takes = finish.n_inputs() <= 1 && finish.input_type(0) != Some(LaneType::I32);
            assert!(gives && takes && self.outputs.iter().all(float), "what is folded is finished as f32");
        }
    }

    /// Run-time arguments of the tile in the order of its stand-alone function, all 64-bit.
    #[must_use]
    pub fn args(&self) -> Vec<StreamArg> {
        use StreamArg as Arg;
        let mut args = vec![Arg::N];
        args.extend((0..self.inputs.len()).map(Arg::Input));
        args.extend((0..self.outputs.len()).map(Arg::Output));
        args.extend((0..self.ahead).map(Arg::Ahead));
        if self.rows {
            args.push(Arg::Rows);
            args.extend((0..self.inputs.len()).map(Arg::InputStep));
            args.extend((0..self.outputs.len()).map(Arg::OutputStep));
            args.extend((0..self.ahead).map(Arg::AheadStep));
        }
        args
    }

    /// Computes the tile, element by element: what every emitter is tested against.
    ///
    /// # Panics
    /// If an operand is too short.
    pub fn reference(&self, operands: &mut StreamOperands) {
        let rows = if self.rows { operands.rows } else { 1 };
        for r in 0..rows {
            self.reference_row(operands, r);
        }
    }

    fn reference_row(&self, operands: &mut StreamOperands, r: usize) {
        let n_partials = usize::from(self.partials);
        let identity = |output: &Output| match output {
            Output::Store(_) => Lane::I32(0),
            Output::Fold(join) => Lane::from_bits(join.lane_type(), join.identity()),
        };
        let mut partials: Vec<Vec<Lane>> =
            self.outputs.iter().map(|output| vec![identity(output); n_partials]).collect();
        for i in 0..operands.n {
            let read = |(input, (bytes, step)): (&Input, &(&[u8], usize))| {
                let along = if input.walk == Walk::Along { i } else { 0 };
                input.element.read(bytes, r * step + along * input.element.bytes())
            };
            let inputs: Vec<Lane> = self.inputs.iter().zip(&operands.inputs).map(read).collect();
            let results = self.program.eval(&inputs);
            for (k, (output, value)) in self.outputs.iter().zip(results).enumerate() {
                match output {
                    Output::Store(element) => {
                        let (bytes, step) = &mut operands.outputs[k];
                        element.write(value, bytes, r * *step + i * element.bytes());
                    }
                    Output::Fold(join) => {
                        let partial = &mut partials[k][i % n_partials];
                        *partial = join.apply(*partial, value);
                    }
                }
            }
        }
        for (k, (output, partials)) in self.outputs.iter().zip(&mut partials).enumerate() {
            let Output::Fold(join) = output else { continue };
            while partials.len() > 1 {
                let upper = partials.split_off(partials.len() / 2);
                for (a, b) in partials.iter_mut().zip(upper) {
                    *a = join.apply(*a, b);
                }
            }
            let (bytes, step) = &mut operands.outputs[k];
            let element = if join.lane_type() == LaneType::F32 { Element::F32 } else { Element::I32 };
            let value = self.finish.as_ref().map_or(partials[0], |finish| finish.eval(&partials[..1])[0]);
            element.write(value, bytes, r * *step);
        }
    }
}

/// A run-time argument of a [`Stream`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StreamArg {
    /// Elements of a row, possibly 0.
    N,
    /// Pointer to the first element of an input.
    Input(usize),
    /// Pointer to the first element of an output.
    Output(usize),
    /// Pointer to the first element of a row that is asked for.
    Ahead(usize),
    /// Number of rows, possibly 0.
    Rows,
    /// Bytes from one row of an input to the next.
    InputStep(usize),
    /// Bytes from one row of an output to the next.
    OutputStep(usize),
    /// Bytes from one row that is asked for to the next.
    AheadStep(usize),
}

/// What the reference computes with.
#[derive(Debug)]
pub struct StreamOperands<'a> {
    /// Elements of a row.
    pub n: usize,
    /// Number of rows.
    pub rows: usize,
    /// Bytes of each input, and those from one row to the next.
    pub inputs: Vec<(&'a [u8], usize)>,
    /// Bytes of each output, and those from one row to the next.
    pub outputs: Vec<(&'a mut [u8], usize)>,
}
