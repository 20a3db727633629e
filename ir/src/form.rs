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

use crate::{
    dtype::{DType, Scalar},
    extent::{Extent, SymbolId},
    program::{Binary, Builder, Inst, MulAdds, Program, Ref},
};

/// An index expression over iteration axes, in elements. Built by the methods, which fold constants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ix {
    /// Position on axis number `.0`.
    Axis(usize),
    /// A number fixed for the whole run.
    Extent(Extent),
    /// Sum.
    Add(Box<Ix>, Box<Ix>),
    /// Product with something fixed for the whole run.
    Mul(Box<Ix>, Extent),
    /// Quotient towards minus infinity by something fixed and positive.
    FloorDiv(Box<Ix>, Extent),
    /// Remainder of that quotient.
    Mod(Box<Ix>, Extent),
    /// The lesser.
    Min(Box<Ix>, Box<Ix>),
    /// The greater.
    Max(Box<Ix>, Box<Ix>),
    /// 0 where the extent is 1: an axis that may broadcast.
    Bcast(Box<Ix>, Extent),
    /// Negative values count from the end of an axis of that extent.
    Wrap(Box<Ix>, Extent),
    /// The integer that load number `.0` reads.
    Load(usize),
}

impl Ix {
    /// A constant.
    #[must_use]
    pub fn int(x: i64) -> Ix {
        Ix::Extent(Extent::Const(x))
    }
    /// `self + other`.
    #[must_use]
    pub fn plus(self, other: Ix) -> Ix {
        match (self, other) {
            (Ix::Extent(a), Ix::Extent(b)) => Ix::Extent(&a + &b),
            (x, Ix::Extent(Extent::Const(0))) | (Ix::Extent(Extent::Const(0)), x) => x,
            (a, b) => Ix::Add(Box::new(a), Box::new(b)),
        }
    }
    /// `self * by`.
    #[must_use]
    pub fn times(self, by: impl Into<Extent>) -> Ix {
        match (self, by.into()) {
            (Ix::Extent(a), b) => Ix::Extent(&a * &b),
            (_, Extent::Const(0)) => Ix::int(0),
            (x, Extent::Const(1)) => x,
            (Ix::Mul(x, a), b) => Ix::Mul(x, &a * &b),
            (x, b) => Ix::Mul(Box::new(x), b),
        }
    }
    /// `self / by` towards minus infinity.
    #[must_use]
    pub fn floor_div(self, by: impl Into<Extent>) -> Ix {
        match (self, by.into()) {
            (Ix::Extent(a), b) => Ix::Extent(a.floor_div(&b)),
            (x, Extent::Const(1)) => x,
            (x, b) => Ix::FloorDiv(Box::new(x), b),
        }
    }
    /// `self mod by`.
    #[must_use]
    pub fn modulo(self, by: impl Into<Extent>) -> Ix {
        match (self, by.into()) {
            (Ix::Extent(a), b) => Ix::Extent(a.modulo(&b)),
            (_, Extent::Const(1)) => Ix::int(0),
            (x, b) => Ix::Mod(Box::new(x), b),
        }
    }
    /// The lesser.
    #[must_use]
    pub fn min(self, other: Ix) -> Ix {
        Ix::Min(Box::new(self), Box::new(other))
    }
    /// The greater.
    #[must_use]
    pub fn max(self, other: Ix) -> Ix {
        Ix::Max(Box::new(self), Box::new(other))
    }
    /// Index on an axis of `extent` that may broadcast.
    #[must_use]
    pub fn bcast(self, extent: &Extent) -> Ix {
        match extent {
            Extent::Const(1) => Ix::int(0),
            Extent::Const(_) => self,
            Extent::Expr(_) => Ix::Bcast(Box::new(self), extent.clone()),
        }
    }
    /// Negative values count from the end.
    #[must_use]
    pub fn wrap(self, extent: &Extent) -> Ix {
        Ix::Wrap(Box::new(self), extent.clone())
    }

    /// Replaces axes and loads.
    #[must_use]
    pub fn substitute(&self, axis: &dyn Fn(usize) -> Ix, load: &dyn Fn(usize) -> usize) -> Ix {
        self.replace(&|part| match part {
            Ix::Axis(a) => Some(axis(*a)),
            Ix::Load(k) => Some(Ix::Load(load(*k))),
            _ => None,
        })
    }

    /// The expression with parts replaced where `with` says by what; of what it replaces it sees no parts.
    #[must_use]
    pub fn replace(&self, with: &dyn Fn(&Ix) -> Option<Ix>) -> Ix {
        if let Some(other) = with(self) {
            return other;
        }
        let sub = |x: &Ix| x.replace(with);
        match self {
            Ix::Axis(_) | Ix::Extent(_) | Ix::Load(_) => self.clone(),
            Ix::Add(a, b) => sub(a).plus(sub(b)),
            Ix::Mul(a, by) => sub(a).times(by.clone()),
            Ix::FloorDiv(a, by) => sub(a).floor_div(by.clone()),
            Ix::Mod(a, by) => sub(a).modulo(by.clone()),
            Ix::Min(a, b) => sub(a).min(sub(b)),
            Ix::Max(a, b) => sub(a).max(sub(b)),
            Ix::Bcast(a, e) => sub(a).bcast(e),
            Ix::Wrap(a, e) => sub(a).wrap(e),
        }
    }

    /// Calls `f` on this expression and every part of it.
    pub fn visit(&self, f: &mut dyn FnMut(&Ix)) {
        f(self);
        match self {
            Ix::Axis(_) | Ix::Extent(_) | Ix::Load(_) => {}
            Ix::Mul(a, _) | Ix::FloorDiv(a, _) | Ix::Mod(a, _) | Ix::Bcast(a, _) | Ix::Wrap(a, _) => {
                a.visit(f)
            }
            Ix::Add(a, b) | Ix::Min(a, b) | Ix::Max(a, b) => {
                a.visit(f);
                b.visit(f);
            }
        }
    }

    /// Whether it mentions an axis.
    #[must_use]
    pub fn mentions(&self, axis: usize) -> bool {
        let mut found = false;
        self.visit(&mut |part| found |= *part == Ix::Axis(axis));
        found
    }

    /// Numbers of the loads it reads.
    #[must_use]
    pub fn loads(&self) -> Vec<usize> {
        let mut found = Vec::new();
        self.visit(&mut |part| {
            if let Ix::Load(k) = part {
                found.push(*k);
            }
        });
        found
    }

    /// The expression as `base + sum of coefficient * axis` with coefficients fixed for the run, if it is one.
    ///
    /// A broadcast axis is not affine here unless its extent is known: its stride is chosen when running.
    #[must_use]
    pub fn affine(&self, axes: usize) -> Option<Affine> {
        match self {
            Ix::Axis(a) => {
                let mut coefficients = vec![Extent::ZERO; axes];
                *coefficients.get_mut(*a)? = Extent::ONE;
                Some(Affine { base: Extent::ZERO, coefficients })
            }
            Ix::Extent(e) => Some(Affine { base: e.clone(), coefficients: vec![Extent::ZERO; axes] }),
            Ix::Add(a, b) => {
                let (a, b) = (a.affine(axes)?, b.affine(axes)?);
                let sum = |(x, y): (&Extent, &Extent)| x + y;
                Some(Affine {
                    base: &a.base + &b.base,
                    coefficients: a.coefficients.iter().zip(&b.coefficients).map(sum).collect(),
                })
            }
            Ix::Mul(a, by) => {
                let a = a.affine(axes)?;
                Some(Affine {
                    base: &a.base * by,
                    coefficients: a.coefficients.iter().map(|c| c * by).collect(),
                })
            }
            _ => None,
        }
    }
}

/// `base + sum over axes of coefficient * position`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affine {
    /// Value at the origin.
    pub base: Extent,
    /// One an axis of the form, space axes first.
    pub coefficients: Vec<Extent>,
}

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
