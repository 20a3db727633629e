//! draft - a small random graph under way: dimensions, inputs, constants, nodes, outputs.

use nnc_ir::{
    constant::Constant,
    dtype::{DType, Scalar},
    eval::Tensor,
    extent::Extent,
    graph::{Module, ValueId, loc},
    ops::{Broadcast, ConstantOp, Op},
    types::TensorType,
};

use crate::rng::{Fill, Rng, element};

/// A graph under way, with the inputs it will be run on.
pub struct Draft {
    /// Choices come from here.
    pub rng: Rng,
    /// The graph so far.
    pub module: Module,
    /// Element type of what [`Draft::input`] and [`Draft::weight`] make.
    pub dtype: DType,
    inputs: Vec<Tensor>,
    outputs: Vec<(String, ValueId)>,
    nodes: usize,
}

impl Draft {
    /// An empty graph of `f32`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            module: Module::new(),
            dtype: DType::F32,
            inputs: Vec::new(),
            outputs: Vec::new(),
            nodes: 0,
        }
    }

    /// A small extent: 1 to 9.
    pub fn extent(&mut self) -> i64 {
        *self.rng.pick(&[1, 2, 2, 3, 3, 4, 5, 7, 8, 9])
    }

    /// A shape of `rank` small extents.
    pub fn shape(&mut self, rank: usize) -> Vec<i64> {
        (0..rank).map(|_| self.extent()).collect()
    }

    /// A shape of a rank within the range.
    pub fn any_shape(&mut self, least: usize, greatest: usize) -> Vec<i64> {
        let rank = least + self.rng.below(greatest - least + 1);
        self.shape(rank)
    }

    /// A permutation of `0..rank`.
    pub fn permutation(&mut self, rank: usize) -> Vec<usize> {
        let mut perm: Vec<usize> = (0..rank).collect();
        for i in (1..rank).rev() {
            let j = self.rng.below(i + 1);
            perm.swap(i, j);
        }
        perm
    }

    fn elements(&mut self, dims: &[i64], fill: Fill) -> Vec<Scalar> {
        let n: i64 = dims.iter().product();
        (0..n).map(|_| element(&mut self.rng, self.dtype, fill)).collect()
    }

    /// A new input of moderate numbers.
    pub fn input(&mut self, dims: &[i64]) -> ValueId {
        self.input_of(dims, Fill::Finite)
    }

    /// A new input with NaN, infinities, zeros of both signs and extremes among its elements.
    pub fn special(&mut self, dims: &[i64]) -> ValueId {
        self.input_of(dims, Fill::Special)
    }

    fn input_of(&mut self, dims: &[i64], fill: Fill) -> ValueId {
        let elements = self.elements(dims, fill);
        self.add_input(Tensor::from_scalars(self.dtype, dims, &elements))
    }

    /// A new input of numbers between -1.5 and 0.5.
    pub fn small(&mut self, dims: &[i64]) -> ValueId {
        let tensor = small(&mut self.rng, dims);
        self.add_input(tensor)
    }

    fn add_input(&mut self, tensor: Tensor) -> ValueId {
        let ty = TensorType::of(tensor.dtype, &tensor.dims);
        self.inputs.push(tensor);
        self.module.add_input(&format!("x{}", self.inputs.len()), ty)
    }

    /// A constant of random elements.
    pub fn weight(&mut self, dims: &[i64]) -> ValueId {
        let elements = self.elements(dims, Fill::Finite);
        self.constant(Constant::from_scalars(self.dtype, dims, &elements))
    }

    /// A constant of elements that `element` gives, one after another.
    pub fn weight_by(
        &mut self,
        dtype: DType,
        dims: &[i64],
        mut element: impl FnMut(&mut Rng) -> f64,
    ) -> ValueId {
        let n: i64 = dims.iter().product();
        let elements: Vec<Scalar> = (0..n).map(|_| Scalar::float(dtype, element(&mut self.rng))).collect();
        self.constant(Constant::from_scalars(dtype, dims, &elements))
    }

    /// A constant.
    pub fn constant(&mut self, value: Constant) -> ValueId {
        self.node(ConstantOp { value }, &[])
    }

    /// The number `x` in the draft's element type, spread over `dims`.
    pub fn splat(&mut self, x: f64, dims: &[i64]) -> ValueId {
        let value = Constant::scalar(self.dtype, Scalar::float(self.dtype, x));
        let value = self.constant(value);
        self.spread(value, dims)
    }

    /// `value` broadcast to `dims` by ONNX's rule.
    pub fn spread(&mut self, value: ValueId, dims: &[i64]) -> ValueId {
        let shape = dims.iter().map(|&d| Extent::Const(d)).collect();
        self.node(Broadcast { shape }, &[value])
    }

    /// `value` broadcast to the extents of another.
    pub fn like(&mut self, value: ValueId, other: ValueId) -> ValueId {
        let shape = self.module.ty(other).shape.clone();
        self.node(Broadcast { shape }, &[value])
    }

    /// Extents of a value.
    ///
    /// # Panics
    /// If one is known when running only.
    #[must_use]
    pub fn dims(&self, value: ValueId) -> Vec<i64> {
        self.module.ty(value).dims().expect("drafts have known extents")
    }

    /// A node of one result with a name of its own.
    pub fn node(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> ValueId {
        self.nodes(op, operands)[0]
    }

    /// A node with a name of its own.
    ///
    /// # Panics
    /// If the operation refuses the operands.
    pub fn nodes(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> Vec<ValueId> {
        self.nodes += 1;
        let (body, name) = (self.module.body(), loc(&format!("n{}", self.nodes)));
        self.module.append(body, op, operands, &[], &name).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Declares an output.
    pub fn output(&mut self, value: ValueId) {
        self.outputs.push((format!("y{}", self.outputs.len()), value));
    }

    /// Declares an output in one of three cases: another reader of something inside.
    pub fn maybe_output(&mut self, value: ValueId) {
        if self.rng.chance(33) {
            self.output(value);
        }
    }

    /// The module and its inputs.
    #[must_use]
    pub fn finish(mut self) -> (Module, Vec<Tensor>) {
        self.module.set_outputs(&self.outputs);
        (self.module, self.inputs)
    }
}

/// Numbers between -1.5 and 0.5.
#[must_use]
pub fn small(rng: &mut Rng, dims: &[i64]) -> Tensor {
    let n: i64 = dims.iter().product();
    let elements: Vec<f32> = (0..n).map(|_| (rng.unit() - 0.5) as f32).collect();
    Tensor::f32s(dims, &elements)
}
