//! form - how an operation iterates: the one description that evaluator and backends share.
//!
//! A [`LoopForm`] is a perfect nest
//!
//! ```text
//! for i in space { acc = init; for r in reduce { acc = combine(acc, body(loads at (i, r))) }; result[i] = finish(acc, loads at i) }
//! ```
//!
//! Axes are numbered through `space` and then `reduce`. Without reduction axes there are no accumulators: `body` is
//! evaluated once an element and its results are those of the form.

mod index;

pub use index::{Affine, Ix};

use crate::{
    dtype::{DType, Scalar},
    extent::{Extent, SymbolId},
    program::{Binary, Builder, Inst, MulAdds, Program, Ref},
};

/// What happens where an index lies outside its operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bounds {
    /// It never does.
    Inside,
    /// The load gives this value and reads nothing (padding); the scalar has the compute type of the operand.
    Guard(Scalar),
    /// The run fails with E0805; the load gives element 0 of the axis, or zero if the operand is empty.
    Check,
}

/// How a form reads one operand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Load {
    /// Which operand.
    pub operand: usize,
    /// Storage type of the operand.
    pub dtype: DType,
    /// One index an axis of the operand.
    pub index: Vec<Ix>,
    /// The operand's own extents.
    pub extents: Vec<Extent>,
    /// Out-of-range indices.
    pub bounds: Bounds,
}

/// How a reduction joins values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Combine {
    /// Sum from 0.
    Sum,
    /// Product from 1.
    Product,
    /// `Binary::Max` from the least value.
    Max,
    /// `Binary::Min` from the greatest value.
    Min,
    /// Position (flattened over the reduction axes, `i64`) of the greatest element; of equal ones the first, or the
    /// last. The body gives the element; the accumulator is the position. NaN counts as greatest.
    ArgMax {
        /// Of equal elements the last.
        last: bool,
    },
    /// Likewise of the least element. NaN counts as least.
    ArgMin {
        /// Of equal elements the last.
        last: bool,
    },
}

impl Combine {
    /// Type of the accumulator for a body of type `body`.
    #[must_use]
    pub fn acc_dtype(self, body: DType) -> DType {
        match self {
            Combine::ArgMax { .. } | Combine::ArgMin { .. } => DType::I64,
            _ => body,
        }
    }
}

/// A perfect loop nest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoopForm {
    /// Extents of the result's axes.
    pub space: Vec<Extent>,
    /// Extents of the reduction axes.
    pub reduce: Vec<Extent>,
    /// Reads; those that `finish` uses index by space axes alone.
    pub loads: Vec<Load>,
    /// Evaluated at each point. With reduction axes: one result, fed to `combine`. Without: the form's results.
    pub body: Program,
    /// Present exactly if `reduce` is not empty.
    pub combine: Option<Combine>,
    /// With reduction axes: from accumulator 0 (and loads) to the results. Otherwise empty.
    pub finish: Program,
    /// Storage types of the results; each is the program's result type or a storage type of it (`f16` of `f32`).
    pub results: Vec<DType>,
}

/// What a loop nest is good for; derived, never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// No reduction, and arithmetic on the elements.
    Pointwise,
    /// No reduction and no arithmetic: elements move.
    Movement,
    /// A reduction that is no contraction.
    Reduce,
    /// A sum of products of two factors that have no load in common: matmul, convolution, perhaps with something done to
    /// their operands first.
    Contraction,
}

impl LoopForm {
    /// Which class the nest is of.
    #[must_use]
    pub fn class(&self) -> Class {
        if self.combine.is_none() {
            let moves = self.body.insts().iter().all(|(inst, _)| matches!(inst, Inst::Load(_)));
            return if moves { Class::Movement } else { Class::Pointwise };
        }
        if self.factor_refs().is_some() { Class::Contraction } else { Class::Reduce }
    }

    /// The same nest for a target: programs without multiply-adds of which only the target knows how they round.
    #[must_use]
    pub fn settled(&self, mul_adds: MulAdds) -> LoopForm {
        let (body, finish) = (self.body.settled(mul_adds), self.finish.settled(mul_adds));
        LoopForm { body, finish, ..self.clone() }
    }

    /// The two factors whose product is summed, if they have no load in common and no use for the place they are at.
    fn factor_refs(&self) -> Option<[Ref; 2]> {
        let &[result] = &self.body.results[..] else { return None };
        let Inst::Binary(Binary::Mul, x, y) = *self.body.inst(result) else { return None };
        let insts = self.body.insts();
        let mut needed = vec![[false; 2]; insts.len()];
        (needed[x.index()][0], needed[y.index()][1]) = (true, true);
        let mut loads = [false; 2];
        for i in (0..insts.len()).rev().filter(|&i| i != result.index()) {
            let by = needed[i];
            match &insts[i].0 {
                Inst::Index(_) => return None,
                Inst::Load(_) if by == [true, true] => return None,
                Inst::Load(_) => (loads[0], loads[1]) = (loads[0] | by[0], loads[1] | by[1]),
                other => {
                    for r in other.refs() {
                        needed[r.index()] = [needed[r.index()][0] | by[0], needed[r.index()][1] | by[1]];
                    }
                }
            }
        }
        (self.combine == Some(Combine::Sum) && loads == [true, true]).then_some([x, y])
    }

    /// The two factors whose product is summed, as programs of loads, if the nest is a contraction.
    #[must_use]
    pub fn factors(&self) -> Option<[Program; 2]> {
        let program = |factor: Ref| {
            let mut b = Builder::new();
            let mut body = self.body.clone();
            body.results = vec![factor];
            let results = b.splice(&body, &mut |b, inst, dtype| b.push(inst.clone(), dtype));
            b.finish(results)
        };
        Some(self.factor_refs()?.map(program))
    }

    /// The two loads whose product is summed, if that is what the nest does, with nothing done to them first.
    #[must_use]
    pub fn product_loads(&self) -> Option<(usize, usize)> {
        let [(Inst::Load(a), _), (Inst::Load(b), _), (product, _)] = self.body.insts() else { return None };
        let is_product = matches!(product, Inst::Binary(Binary::Mul, _, _));
        (self.combine == Some(Combine::Sum) && is_product && a != b).then_some((*a, *b))
    }

    /// Number of axes, space and reduction.
    #[must_use]
    pub fn axes(&self) -> usize {
        self.space.len() + self.reduce.len()
    }

    /// Extent of an axis.
    #[must_use]
    pub fn axis_extent(&self, axis: usize) -> &Extent {
        self.space.get(axis).unwrap_or_else(|| &self.reduce[axis - self.space.len()])
    }

    /// The index expressions of an identity map over the space axes.
    #[must_use]
    pub fn identity(rank: usize) -> Vec<Ix> {
        (0..rank).map(Ix::Axis).collect()
    }

    /// The form with its index expressions replaced.
    #[must_use]
    pub fn map_indices(&self, index: &dyn Fn(&Ix) -> Ix) -> LoopForm {
        let load = |load: &Load| Load { index: load.index.iter().map(index).collect(), ..load.clone() };
        LoopForm {
            loads: self.loads.iter().map(load).collect(),
            body: self.body.map_indices(index),
            finish: self.finish.map_indices(index),
            ..self.clone()
        }
    }

    /// The form with its space axes in another order: `order` has old numbers.
    #[must_use]
    pub fn in_order(&self, order: &[usize]) -> LoopForm {
        let place = |axis: usize| Ix::Axis(order.iter().position(|&old| old == axis).unwrap_or(axis));
        let space = order.iter().map(|&old| self.space[old].clone()).collect();
        LoopForm { space, ..self.map_indices(&|ix| ix.substitute(&place, &|k| k)) }
    }
}

/// How elements are written back by a scatter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScatterCombine {
    /// The update replaces; the last one in row-major order of the updates wins.
    Replace,
    /// Sum with what is there.
    Add,
    /// Product with what is there.
    Mul,
    /// `Binary::Max` with what is there.
    Max,
    /// `Binary::Min` with what is there.
    Min,
}

/// A copy of operand 0 into which updates are written, one after another in row-major order.
///
/// For every point of `space` (the shape of the updates): `result[index] = combine(result[index], loads[0])`; the
/// other loads are integers that `index` refers to. Indices out of range fail with E0805.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScatterForm {
    /// Extents of the updates.
    pub space: Vec<Extent>,
    /// Load 0 reads the update.
    pub loads: Vec<Load>,
    /// Where in the result, one index an axis.
    pub index: Vec<Ix>,
    /// How to write.
    pub combine: ScatterCombine,
}

/// A function of the runtime that generated code calls; the runtime's allowlist implements each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExternForm {
    /// Name in the allowlist.
    pub name: &'static str,
    /// Attributes in the order that function documents.
    pub attrs: Vec<i64>,
    /// For each axis of each result whose extent only the call decides: (result, axis, symbol it defines).
    pub defines: Vec<(usize, usize, SymbolId)>,
}

/// How an operation iterates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// A perfect nest.
    Loops(LoopForm),
    /// The bytes of operand 0 in the same order, with another shape.
    View,
    /// Operands one after another along `axis`.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// Writes at computed places.
    Scatter(ScatterForm),
    /// A value known when compiling.
    Constant,
    /// Extents as an `i64` vector (or scalar).
    Extents(Vec<Extent>),
    /// Reads symbols from an `i64` vector; no result. Negative values fail with E0224.
    ReadExtents(Vec<SymbolId>),
    /// Control flow or fusion: the regions say.
    Region,
    /// To be decomposed before the Canonical phase ends.
    Composite,
    /// The runtime's allowlist.
    Extern(ExternForm),
}

impl Form {
    /// The nest, if it is one.
    #[must_use]
    pub fn loops(&self) -> Option<&LoopForm> {
        if let Form::Loops(l) = self { Some(l) } else { None }
    }
}
