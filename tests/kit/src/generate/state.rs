//! state - a program under way: its values, the bounds on them, and how nodes are added.

use nnc_ir::{
    constant::{Constant, Payload},
    dtype::{DType, Scalar},
    entity::EntityId,
    eval::Tensor,
    extent::{Extent, Symbol, SymbolId, SymbolOrigin},
    graph::{Constraint, ConstraintKind, Module, Provenance, RegionId, ValueId, loc},
    ops::{self, Op},
    types::TensorType,
};

use super::Kind;
use crate::rng::{Fill, Rng, element};

/// Most elements of a tensor.
pub(super) const MAX_ELEMENTS: i64 = 4096;

/// Extents that straddle vector widths and tiles; short ones are more likely.
const EXTENTS: [i64; 24] =
    [1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 40, 63, 64, 65];

/// Greatest value of a symbol; the least is 1.
const SYMBOL_MAX: i64 = 72;

/// Runs of a symbolic program.
const RUNS: usize = 3;

/// A value with a bound on the magnitude of its elements (of those that are finite).
#[derive(Clone, Copy, Debug)]
pub(super) struct Val {
    pub(super) id: ValueId,
    pub(super) mag: f64,
}

/// A program under way.
pub(super) struct Gen {
    pub(super) rng: Rng,
    pub(super) module: Module,
    pub(super) kind: Kind,
    pub(super) fill: Fill,
    /// The region that grows.
    pub(super) region: RegionId,
    /// Values of that region.
    pub(super) live: Vec<Val>,
    /// Inside of a control-flow region.
    pub(super) depth: usize,
    /// Values of the symbols, run by run.
    bindings: Vec<Vec<i64>>,
    loc: Provenance,
}

impl Gen {
    pub(super) fn new(rng: Rng, kind: Kind, fill: Fill) -> Self {
        let module = Module::new();
        let region = module.body();
        let bindings = vec![Vec::new()];
        Self { rng, module, kind, fill, region, live: Vec::new(), depth: 0, bindings, loc: loc("main") }
    }

    /// Nodes of the region that grows.
    pub(super) fn nodes(&self) -> usize {
        self.module.region(self.region).nodes.len()
    }

    // Types.

    pub(super) fn ty(&self, v: Val) -> TensorType {
        self.module.ty(v.id).clone()
    }
    pub(super) fn dtype(&self, v: Val) -> DType {
        self.module.ty(v.id).dtype
    }
    pub(super) fn shape(&self, v: Val) -> Vec<Extent> {
        self.module.ty(v.id).shape.clone()
    }
    pub(super) fn rank(&self, v: Val) -> usize {
        self.module.ty(v.id).rank()
    }
    /// Value of an extent in every run.
    pub(super) fn values(&self, extent: &Extent) -> Vec<i64> {
        let value = |binding: &Vec<i64>| {
            extent.eval(&|s: SymbolId| binding.get(s.index()).copied().filter(|&x| x >= 0))
        };
        self.bindings.iter().map(|b| value(b).unwrap_or(MAX_ELEMENTS + 1)).collect()
    }
    /// Greatest value of an extent over the runs.
    pub(super) fn most(&self, extent: &Extent) -> i64 {
        self.values(extent).into_iter().max().unwrap_or(0)
    }
    /// Least value of an extent over the runs.
    pub(super) fn least(&self, extent: &Extent) -> i64 {
        self.values(extent).into_iter().min().unwrap_or(0)
    }
    /// Elements of a shape, at most.
    pub(super) fn elements(&self, shape: &[Extent]) -> i64 {
        let most = |run: usize| shape.iter().map(|e| self.values(e)[run]).fold(1i64, i64::saturating_mul);
        (0..self.bindings.len()).map(most).max().unwrap_or(0)
    }
    /// Whether a tensor of that shape is small enough.
    pub(super) fn fits(&self, shape: &[Extent]) -> bool {
        self.elements(shape) <= MAX_ELEMENTS
    }
    /// A symbol that data decide cannot be known before the run.
    pub(super) fn is_known(&self, shape: &[Extent]) -> bool {
        shape.iter().all(|e| self.most(e) <= MAX_ELEMENTS)
    }

    // Choice.

    /// A value that satisfies `wanted`; later ones are more likely.
    pub(super) fn choose(&mut self, wanted: impl Fn(&Self, Val) -> bool) -> Option<Val> {
        let fit: Vec<Val> = self.live.iter().copied().filter(|&v| wanted(self, v)).collect();
        if fit.is_empty() {
            return None;
        }
        let recent = fit.len().saturating_sub(4);
        Some(if self.rng.chance(60) {
            fit[recent + self.rng.below(fit.len() - recent)]
        } else {
            *self.rng.pick(&fit)
        })
    }
    /// A value of floats.
    pub(super) fn choose_float(&mut self) -> Option<Val> {
        self.choose(|g, v| g.dtype(v).is_float())
    }
    /// A random extent; 0 now and then.
    pub(super) fn extent(&mut self) -> i64 {
        if self.rng.chance(2) { 0 } else { *self.rng.pick(&EXTENTS) }
    }
    /// A random element type; mostly `f32`.
    pub(super) fn element_type(&mut self) -> DType {
        let others = [DType::I64, DType::Bool, DType::F16, DType::I32, DType::F64, DType::U8];
        if self.rng.chance(70) { DType::F32 } else { *self.rng.pick(&others) }
    }
    /// A shape of up to `rank` axes that fits.
    fn random_shape(&mut self, rank: usize) -> Vec<Extent> {
        let mut shape = Vec::new();
        for _ in 0..rank {
            let extent = if self.module.symbols.is_empty() || !self.rng.chance(30) {
                Extent::Const(self.extent())
            } else {
                Extent::symbol(SymbolId::new(self.rng.below(self.module.symbols.len())))
            };
            shape.push(extent);
            if !self.fits(&shape) {
                shape.pop();
                shape.push(Extent::Const(self.rng.range(1, 3)));
            }
            if !self.fits(&shape) {
                shape.pop();
            }
        }
        shape
    }

    // Nodes.

    /// Adds a node.
    pub(super) fn add(&mut self, op: impl Into<Op>, operands: &[Val], mag: f64) -> Val {
        self.add_results(op, operands, &[], mag)[0]
    }
    /// Adds a node with any number of results.
    ///
    /// # Panics
    /// If the operation refuses the operands: the generator should not have asked.
    pub(super) fn add_results(
        &mut self,
        op: impl Into<Op>,
        operands: &[Val],
        regions: &[RegionId],
        mag: f64,
    ) -> Vec<Val> {
        let ids: Vec<ValueId> = operands.iter().map(|v| v.id).collect();
        let op = op.into();
        let name = loc(&format!("{}_{}", op.mnemonic(), self.module.node_count()));
        let text = format!("{op:?} of {:?}", operands.iter().map(|&v| self.ty(v)).collect::<Vec<_>>());
        let results = self.module.append(self.region, op, &ids, regions, &name);
        let results = results.unwrap_or_else(|e| panic!("the generator made {text}: {e}"));
        let bound =
            |g: &Self, id: ValueId| if g.module.ty(id).dtype == DType::U8 { mag.max(255.0) } else { mag };
        let results: Vec<Val> = results.into_iter().map(|id| Val { id, mag: bound(self, id) }).collect();
        self.live.extend(&results);
        results
    }
    /// Adds a constant of random elements.
    pub(super) fn constant(&mut self, dtype: DType, dims: &[i64]) -> Val {
        let fill = self.fill;
        let n = dims.iter().product::<i64>().max(0) as usize;
        if self.rng.chance(15) {
            let x = element(&mut self.rng, dtype, fill);
            return self.splat(dtype, dims, x);
        }
        let elements: Vec<Scalar> = (0..n).map(|_| element(&mut self.rng, dtype, fill)).collect();
        self.constant_of(dtype, dims, &elements)
    }
    /// Adds a constant of these elements.
    pub(super) fn constant_of(&mut self, dtype: DType, dims: &[i64], elements: &[Scalar]) -> Val {
        let constant = Constant::from_scalars(dtype, dims, elements);
        let id = self.module.append_constant(self.region, constant, &loc("constant"));
        Val { id, mag: elements.iter().map(|&x| magnitude(x)).fold(0.0, f64::max) }
    }
    /// Adds a constant of one element, everywhere.
    pub(super) fn splat(&mut self, dtype: DType, dims: &[i64], x: Scalar) -> Val {
        let constant =
            Constant::new(dtype, dims, Payload::Splat(x)).expect("the scalar has the compute type");
        let id = self.module.append_constant(self.region, constant, &loc("splat"));
        Val { id, mag: magnitude(x) }
    }
    /// `v` repeated to `shape`.
    pub(super) fn broadcast(&mut self, v: Val, shape: &[Extent]) -> Val {
        if self.shape(v) == shape {
            v
        } else {
            self.add(ops::Broadcast { shape: shape.to_vec() }, &[v], v.mag)
        }
    }
    /// The number `x` in the type and shape of `like`.
    pub(super) fn number(&mut self, like: Val, x: f64) -> Val {
        let ty = self.ty(like);
        let x =
            if ty.dtype.is_float() { Scalar::float(ty.dtype, x) } else { Scalar::int(ty.dtype, x as i64) };
        let splat = match ty.dims() {
            Some(dims) if self.rng.chance(50) => self.splat(ty.dtype, &dims, x),
            _ => self.splat(ty.dtype, &[], x),
        };
        self.broadcast(splat, &ty.shape)
    }
    /// `v` scaled down by a power of two, so that its magnitude is at most `limit`; and whole again if it must be.
    pub(super) fn within(&mut self, v: Val, limit: f64) -> Val {
        let dtype = self.dtype(v);
        if self.fill == Fill::Special || v.mag <= limit || !dtype.is_float() {
            return v;
        }
        let factor = (limit / v.mag).log2().floor().exp2();
        let factor_value = self.number(v, factor);
        let scaled = self.add(ops::Mul {}, &[v, factor_value], v.mag * factor);
        if self.kind == Kind::Whole {
            self.add(ops::Floor {}, &[scaled], v.mag * factor + 1.0)
        } else {
            scaled
        }
    }
    /// Greatest magnitude that values of an element type should have.
    pub(super) fn limit(&self, dtype: DType) -> f64 {
        match (self.kind, dtype) {
            (Kind::Whole, DType::F16) => 512.0,
            (Kind::Whole, _) => 4096.0,
            (_, DType::F16) => 1000.0,
            _ => 1e6,
        }
    }

    // Beginning and end.

    /// Adds symbols and inputs.
    pub(super) fn inputs(&mut self) {
        if self.rng.chance(40) {
            self.symbols();
        }
        let inputs = 1 + self.rng.below(3);
        let symbols = self.module.symbols.len();
        for i in 0..inputs {
            let dtype = if i == 0 && self.kind != Kind::Exact { DType::F32 } else { self.element_type() };
            let rank = *self.rng.pick(&[0, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5]);
            let mut shape = if i == 0 && symbols > 0 { Vec::new() } else { self.random_shape(rank) };
            if i == 0 && symbols > 0 {
                // Every symbol is an axis of input 0.
                shape = (0..symbols).map(|s| Extent::symbol(SymbolId::new(s))).collect();
                let channels = Extent::Const(*self.rng.pick(&[1, 2, 3, 4, 8]));
                shape.insert(if self.rng.chance(50) { 1 } else { shape.len() }, channels);
                if !self.fits(&shape) {
                    shape.retain(|e| e.as_const().is_none());
                }
                for s in 0..symbols {
                    let id = SymbolId::new(s);
                    let axis = shape.iter().position(|e| *e == Extent::symbol(id)).expect("it was put there");
                    self.module.symbols[id].origin = SymbolOrigin::Input { input: 0, axis };
                }
            }
            let id = self.module.add_input(&format!("x{i}"), TensorType::new(dtype, shape));
            let mag = if self.fill == Fill::Whole { 3.0 } else { 16.0 };
            self.live.push(Val { id, mag });
        }
        if symbols == 2 && self.rng.chance(50) {
            self.broadcast_of_symbols();
        }
    }

    /// One or two symbols, with their values in each run.
    fn symbols(&mut self) {
        let n = 1 + self.rng.below(2);
        self.bindings = vec![Vec::new(); RUNS];
        for i in 0..n {
            let origin = SymbolOrigin::Input { input: 0, axis: 0 };
            let name = ["N", "T"][i].to_owned();
            self.module.symbols.push(Symbol { name, min: 1, max: SYMBOL_MAX, origin, bound: None });
            for run in 0..RUNS {
                let value = (*self.rng.pick(&EXTENTS)).min(if n == 2 { 40 } else { SYMBOL_MAX });
                self.bindings[run].push(if run == 0 && self.rng.chance(30) { 1 } else { value });
            }
        }
    }

    /// Adds the sum of a row and a row whose extents are unknown and must broadcast.
    fn broadcast_of_symbols(&mut self) {
        for binding in &mut self.bindings {
            if binding[0] != binding[1] {
                binding[self.rng.below(2)] = if self.rng.chance(50) { 1 } else { binding[0].min(binding[1]) };
            }
            if binding[0] != 1 && binding[1] != 1 {
                binding[1] = binding[0];
            }
        }
        let (n, t) = (Extent::symbol(SymbolId::new(0)), Extent::symbol(SymbolId::new(1)));
        let joint = n.broadcast(&t).expect("unknown extents may broadcast");
        for side in [&n, &t] {
            let kind = ConstraintKind::Broadcasts(side.clone(), joint.clone());
            self.module.constraints.push(Constraint { kind, loc: self.loc.clone() });
        }
        let rows: Vec<Val> = [n, t]
            .into_iter()
            .map(|e| {
                let row = self.add(
                    ops::Iota { axis: 0, shape: vec![e], dtype: DType::F32 },
                    &[],
                    SYMBOL_MAX as f64,
                );
                self.broadcast(row, std::slice::from_ref(&joint))
            })
            .collect();
        self.add(ops::Add {}, &rows, 2.0 * SYMBOL_MAX as f64);
    }

    /// Declares the outputs: the last value, and a few others, perhaps an input.
    pub(super) fn finish(&mut self) {
        let body = self.module.body();
        let params = self.module.region(body).params.len();
        let mut outputs = vec![*self.live.last().expect("there is an input")];
        let others = self.rng.below(3);
        for _ in 0..others {
            let v = self.live[self.rng.below(self.live.len())];
            outputs.push(v);
        }
        if self.rng.chance(5) {
            outputs.push(self.live[self.rng.below(params)]);
        }
        let named: Vec<_> = outputs.iter().enumerate().map(|(i, v)| (format!("y{i}"), v.id)).collect();
        self.module.set_outputs(&named);
    }

    /// Inputs of every run.
    pub(super) fn runs(&mut self) -> Vec<Vec<Tensor>> {
        let params = self.module.region(self.module.body()).params.clone();
        let mut runs = Vec::new();
        for run in 0..self.bindings.len() {
            let tensors = params.iter().map(|&p| {
                let ty = self.module.ty(p).clone();
                let dims: Vec<i64> = ty.shape.iter().map(|e| self.values(e)[run]).collect();
                let n = dims.iter().product::<i64>() as usize;
                let elements: Vec<Scalar> =
                    (0..n).map(|_| element(&mut self.rng, ty.dtype, self.fill)).collect();
                Tensor::from_scalars(ty.dtype, &dims, &elements)
            });
            runs.push(tensors.collect());
        }
        runs
    }
}

/// Magnitude of an element, 0 if it is not finite.
fn magnitude(x: Scalar) -> f64 {
    let x = x.as_f64().or(x.as_i64().map(|i| i as f64)).unwrap_or(0.0).abs();
    if x.is_finite() { x } else { 0.0 }
}
