//! nest - loop nests on bounds.

use nnc_ir::{
    dtype::{DType, Scalar},
    eval::program::Leaf,
    extent::{Extent, floor_div},
    form::{Bounds, Class, Combine, Ix, Load, LoopForm, ScatterCombine, ScatterForm},
    program::{Binary, Builder, Program},
};

use super::{
    element::{Bound, Runner},
    run::BoundTensor,
};

/// Value of an extent.
pub(super) type ExtentOf<'a> = &'a dyn Fn(&Extent) -> Result<i64, String>;

/// An index expression with its extents known.
enum Index {
    Axis(usize),
    Int(i64),
    Add(Box<Index>, Box<Index>),
    Mul(Box<Index>, i64),
    FloorDiv(Box<Index>, i64),
    Mod(Box<Index>, i64),
    Min(Box<Index>, Box<Index>),
    Max(Box<Index>, Box<Index>),
    Wrap(Box<Index>, i64),
    Load(usize),
}

impl Index {
    fn new(ix: &Ix, extent: ExtentOf<'_>) -> Result<Index, String> {
        let part = |ix: &Ix| Index::new(ix, extent).map(Box::new);
        Ok(match ix {
            Ix::Axis(a) => Index::Axis(*a),
            Ix::Extent(e) => Index::Int(extent(e)?),
            Ix::Add(a, b) => Index::Add(part(a)?, part(b)?),
            Ix::Mul(a, by) => Index::Mul(part(a)?, extent(by)?),
            Ix::FloorDiv(a, by) => Index::FloorDiv(part(a)?, extent(by)?),
            Ix::Mod(a, by) => Index::Mod(part(a)?, extent(by)?),
            Ix::Min(a, b) => Index::Min(part(a)?, part(b)?),
            Ix::Max(a, b) => Index::Max(part(a)?, part(b)?),
            Ix::Bcast(a, e) => {
                if extent(e)? == 1 {
                    Index::Int(0)
                } else {
                    *part(a)?
                }
            }
            Ix::Wrap(a, e) => Index::Wrap(part(a)?, extent(e)?),
            Ix::Load(k) => Index::Load(*k),
        })
    }

    /// `None` where a load decides that is not a point.
    fn at(&self, position: &[i64], load: &dyn Fn(usize) -> Option<i64>) -> Option<i64> {
        Some(match self {
            Index::Axis(a) => position[*a],
            Index::Int(x) => *x,
            Index::Add(a, b) => a.at(position, load)?.wrapping_add(b.at(position, load)?),
            Index::Mul(a, by) => a.at(position, load)?.wrapping_mul(*by),
            Index::FloorDiv(a, by) => {
                if *by == 0 {
                    0
                } else {
                    floor_div(a.at(position, load)?, *by)
                }
            }
            Index::Mod(a, by) => {
                let a = a.at(position, load)?;
                if *by == 0 { 0 } else { a - floor_div(a, *by) * by }
            }
            Index::Min(a, b) => a.at(position, load)?.min(b.at(position, load)?),
            Index::Max(a, b) => a.at(position, load)?.max(b.at(position, load)?),
            Index::Wrap(a, e) => {
                let a = a.at(position, load)?;
                if a < 0 { a.wrapping_add(*e) } else { a }
            }
            Index::Load(k) => load(*k)?,
        })
    }
}

/// A load with its operand.
struct Reader<'a> {
    operand: &'a BoundTensor,
    index: Vec<Index>,
    bounds: Bounds,
}

struct Readers<'a>(Vec<Reader<'a>>);

impl<'a> Readers<'a> {
    fn new(loads: &[Load], operands: &'a [BoundTensor], extent: ExtentOf<'_>) -> Result<Self, String> {
        let reader = |l: &Load| {
            let index = l.index.iter().map(|ix| Index::new(ix, extent)).collect::<Result<_, _>>()?;
            Ok(Reader { operand: &operands[l.operand], index, bounds: l.bounds })
        };
        Ok(Self(loads.iter().map(reader).collect::<Result<_, String>>()?))
    }

    fn integer(&self, k: usize, position: &[i64]) -> Option<i64> {
        self.read(k, position).point().and_then(Scalar::as_i64)
    }

    fn read(&self, k: usize, position: &[i64]) -> Bound {
        let Reader { operand, index, bounds } = &self.0[k];
        let mut flat = 0;
        let mut outside = false;
        for (ix, &n) in index.iter().zip(&operand.dims) {
            let Some(x) = ix.at(position, &|k| self.integer(k, position)) else { return Bound::Any };
            outside |= x < 0 || x >= n;
            flat = flat * n + x;
        }
        match (outside, bounds) {
            (false, _) => operand.elements[flat as usize],
            (true, Bounds::Guard(value)) => Bound::Point(*value),
            (true, _) => Bound::Any,
        }
    }
}

/// Calls `f` with every position of `dims`, in row-major order.
fn for_each(dims: &[i64], f: &mut dyn FnMut(&[i64])) {
    if dims.contains(&0) {
        return;
    }
    let mut position = vec![0; dims.len()];
    loop {
        f(&position);
        let Some(axis) = (0..dims.len()).rev().find(|&a| position[a] + 1 < dims[a]) else { return };
        position[axis] += 1;
        position[axis + 1..].fill(0);
    }
}

/// Results of a nest.
pub(super) fn evaluate(
    form: &LoopForm,
    operands: &[BoundTensor],
    extent: ExtentOf<'_>,
) -> Result<Vec<BoundTensor>, String> {
    let space: Vec<i64> = form.space.iter().map(extent).collect::<Result<_, _>>()?;
    let reduce: Vec<i64> = form.reduce.iter().map(extent).collect::<Result<_, _>>()?;
    let readers = Readers::new(&form.loads, operands, extent)?;
    let mut results: Vec<BoundTensor> = form
        .results
        .iter()
        .map(|&d| BoundTensor { dtype: d, dims: space.clone(), elements: Vec::new() })
        .collect();
    let (mut body, mut finish) = (Stage::new(&form.body, extent)?, Stage::new(&form.finish, extent)?);
    let is_contraction = form.class() == Class::Contraction;
    let factors = form.factors();
    let mut factors: Option<Vec<Stage<'_>>> = match &factors {
        Some(factors) => Some(factors.iter().map(|f| Stage::new(f, extent)).collect::<Result<_, _>>()?),
        None => None,
    };
    for_each(&space, &mut |at| {
        let values = match form.combine {
            None => body.run(at, &readers, &[]),
            Some(combine) => {
                let mut terms = Terms::new(
                    combine,
                    form.body.result_dtypes().next().unwrap_or(DType::F32),
                    is_contraction,
                );
                for_each(&reduce, &mut |step| {
                    let point = [at, step].concat();
                    let term = body.run(&point, &readers, &[])[0];
                    let factors = factors.as_mut().map(|stages| {
                        let mut of = |side: usize| stages[side].run(&point, &readers, &[])[0];
                        (of(0), of(1))
                    });
                    terms.push_product(term, factors);
                });
                let joined = terms.join();
                finish.run(at, &readers, &[joined])
            }
        };
        for (result, value) in results.iter_mut().zip(values) {
            result.elements.push(value.stored(result.dtype));
        }
    });
    Ok(results)
}

/// A program with its index expressions.
struct Stage<'p> {
    runner: Runner<'p>,
    indices: Vec<(&'p Ix, Index)>,
}

impl<'p> Stage<'p> {
    fn new(program: &'p Program, extent: ExtentOf<'_>) -> Result<Self, String> {
        let mut indices = Vec::new();
        for (inst, _) in program.insts() {
            if let nnc_ir::program::Inst::Index(ix) = inst {
                indices.push((ix, Index::new(ix, extent)?));
            }
        }
        Ok(Self { runner: Runner::new(program), indices })
    }

    fn run(&mut self, at: &[i64], readers: &Readers<'_>, accs: &[Bound]) -> Vec<Bound> {
        let indices = &self.indices;
        self.runner.run(&mut |leaf| match leaf {
            Leaf::Load(k) => readers.read(k, at),
            Leaf::Acc(k) => accs[k],
            Leaf::Index(ix) => {
                let index = indices.iter().find(|(i, _)| *i == ix).map(|(_, index)| index);
                let value = index.and_then(|i| i.at(at, &|k| readers.integer(k, at)));
                value.map_or(Bound::Any, |x| Bound::Point(Scalar::i64(x)))
            }
        })
    }
}

/// The terms of a reduction.
struct Terms {
    combine: Combine,
    dtype: DType,
    is_contraction: bool,
    terms: Vec<Bound>,
    /// Some product was rounded, which a fused multiply-add would not have done.
    rounded: bool,
}

impl Terms {
    fn new(combine: Combine, dtype: DType, is_contraction: bool) -> Self {
        Self { combine, dtype, is_contraction, terms: Vec::new(), rounded: false }
    }

    /// Adds a term, perhaps the product of two factors.
    fn push_product(&mut self, term: Bound, factors: Option<(Bound, Bound)>) {
        let finite = |b: Bound| b.ends().is_some_and(|(l, h)| l.is_finite() && h.is_finite());
        let Some((a, b)) = factors.filter(|_| self.dtype.is_float()) else { return self.terms.push(term) };
        let whole = |b: Bound| b.ends().is_some_and(|(l, h)| l == h && l.fract() == 0.0);
        let exact = self.dtype == DType::F32
            && a.ends().zip(b.ends()).zip(term.ends()).is_some_and(|((a, b), t)| a.0 * b.0 == t.0);
        self.rounded |= !(exact || whole(a) && whole(b));
        // A product that overflows might not, fused.
        self.terms.push(if finite(a) && finite(b) && !finite(term) { Bound::Any } else { term });
    }

    fn join(&self) -> Bound {
        match self.combine {
            Combine::Sum if self.dtype.is_float() => self.sum(),
            Combine::Product if self.dtype.is_float() => self.product(),
            Combine::Sum => self.fold(Binary::Add, Scalar::zero(self.dtype)),
            Combine::Product => self.fold(Binary::Mul, Scalar::int(self.dtype, 1)),
            Combine::Max => self.extreme(Binary::Max, Scalar::lowest(self.dtype)),
            Combine::Min => self.extreme(Binary::Min, Scalar::highest(self.dtype)),
            Combine::ArgMax { last } => self.arg(true, last),
            Combine::ArgMin { last } => self.arg(false, last),
        }
    }

    fn fold(&self, op: Binary, identity: Scalar) -> Bound {
        let mut b = Builder::new();
        let (x, y) = (b.acc(0, self.dtype), b.acc(1, self.dtype));
        let joined = b.binary(op, x, y);
        let program = b.finish([joined]);
        let mut runner = Runner::new(&program);
        self.terms.iter().fold(Bound::Point(identity), |acc, &term| {
            runner.run(&mut |leaf| if matches!(leaf, Leaf::Acc(0)) { acc } else { term })[0]
        })
    }

    /// The greatest or least term. What comes of a NaN, and which of two zeros it is, the order decides.
    fn extreme(&self, op: Binary, identity: Scalar) -> Bound {
        let nan = |b: &Bound| b.point().and_then(Scalar::as_f64).is_some_and(f64::is_nan);
        if self.terms.len() > 1 && self.terms.iter().any(nan) {
            return Bound::Any;
        }
        match self.fold(op, identity) {
            Bound::Point(x) if x.as_f64() == Some(0.0) => Bound::Range(0.0, 0.0),
            other => other,
        }
    }

    fn unit(&self) -> f64 {
        if self.dtype == DType::F32 { f64::from(f32::EPSILON) / 2.0 } else { f64::EPSILON / 2.0 }
    }
    fn greatest(&self) -> f64 {
        if self.dtype == DType::F32 { f64::from(f32::MAX) } else { f64::MAX }
    }
    fn point(&self, x: f64) -> Bound {
        Bound::Point(Scalar::float(self.dtype, x))
    }

    fn sum(&self) -> Bound {
        let nan = |b: &Bound| b.point().and_then(Scalar::as_f64).is_some_and(f64::is_nan);
        if self.terms.iter().any(nan) {
            return self.point(f64::NAN);
        }
        let (mut lo, mut hi, mut total) = (0.0, 0.0, 0.0f64);
        let (mut up, mut down, mut whole) = (false, false, !self.rounded);
        for term in &self.terms {
            let Some((l, h)) = term.ends() else { return Bound::Any };
            up |= l == f64::INFINITY;
            down |= h == f64::NEG_INFINITY;
            if l.is_finite() && h.is_finite() {
                (lo, hi, total) = (lo + l, hi + h, total + l.abs().max(h.abs()));
            }
            whole &= l == h && l.fract() == 0.0;
        }
        let u = self.unit();
        let n = self.terms.len() as f64;
        let gamma = (n + 2.0) * u / (1.0 - (n + 2.0) * u);
        // The sums here are rounded too, in `f64`: twice gamma where that is the type.
        let gamma = if self.dtype == DType::F64 { 2.0 * gamma } else { gamma + n * f64::EPSILON };
        let finite_stays_finite = total * (1.0 + gamma) < self.greatest() / 2.0;
        match (up, down) {
            (true, true) => return self.point(f64::NAN),
            (true, false) if finite_stays_finite => return self.point(f64::INFINITY),
            (false, true) if finite_stays_finite => return self.point(f64::NEG_INFINITY),
            (false, false) if finite_stays_finite => {}
            _ => return Bound::Any,
        }
        let few =
            self.terms.len() <= 2 && !self.is_contraction && self.terms.iter().all(|t| t.point().is_some());
        if few || (whole && total <= 0.5 / u) {
            return self.fold(Binary::Add, Scalar::zero(self.dtype));
        }
        let tiny =
            n * if self.dtype == DType::F32 { f64::from(f32::from_bits(1)) } else { f64::from_bits(1) };
        let slack = gamma * total + tiny;
        Bound::range(self.dtype, lo - slack, hi + slack)
    }

    fn product(&self) -> Bound {
        if self.terms.len() <= 2 && self.terms.iter().all(|t| t.point().is_some()) {
            return self.fold(Binary::Mul, Scalar::int(self.dtype, 1));
        }
        let (mut lo, mut hi, mut most, mut least) = (1.0f64, 1.0f64, 1.0f64, 1.0f64);
        for term in &self.terms {
            let Some((l, h)) = term.ends() else { return Bound::Any };
            let all = [lo * l, lo * h, hi * l, hi * h];
            (lo, hi) = all.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), &x| (a.min(x), b.max(x)));
            most *= l.abs().max(h.abs()).max(1.0);
            least *= l.abs().min(h.abs()).min(1.0);
        }
        if self.terms.iter().all(|t| t.point().is_some_and(|x| x.as_f64() == Some(0.0)))
            && !self.terms.is_empty()
        {
            return Bound::Range(0.0, 0.0);
        }
        // Near the ends of the type's range the order decides what over- or underflows.
        if most > self.greatest().sqrt() || (least < 1.0 / self.greatest().sqrt() && least != 0.0) {
            return Bound::Any;
        }
        let n = self.terms.len() as f64;
        let slack = (n + 2.0) * 2.0 * self.unit();
        Bound::range(self.dtype, lo - lo.abs() * slack, hi + hi.abs() * slack)
    }

    fn arg(&self, greatest: bool, last: bool) -> Bound {
        let key = |b: &Bound| -> Option<(f64, f64)> {
            match b {
                // Integers of 64 bits keep their order well enough for the elements that programs here have.
                Bound::Point(x) => {
                    let x = x.as_f64().or(if x.dtype == DType::U64 {
                        Some(x.bits as f64)
                    } else {
                        x.as_i64().map(|i| i as f64)
                    })?;
                    let x = if x.is_nan() { f64::INFINITY } else { x.min(f64::MAX) };
                    Some((x, x))
                }
                Bound::Range(l, h) => Some((*l, *h)),
                Bound::Any => None,
            }
        };
        let sign = if greatest { 1.0 } else { -1.0 };
        let mut keys = Vec::new();
        for term in &self.terms {
            let is_nan = term.point().and_then(Scalar::as_f64).is_some_and(f64::is_nan);
            let Some((l, h)) = key(term) else { return Bound::Any };
            keys.push(match (is_nan, greatest) {
                (true, _) => (f64::INFINITY, f64::INFINITY),
                (_, true) => (l, h),
                (_, false) => (sign * h, sign * l),
            });
        }
        let mut best: Option<usize> = None;
        for (i, k) in keys.iter().enumerate() {
            if best.is_none_or(|b: usize| k.0 > keys[b].0 || (last && k.0 == keys[b].0)) {
                best = Some(i);
            }
        }
        let Some(best) = best else { return Bound::Any };
        let points = self.terms.iter().all(|t| t.point().is_some());
        let clear = keys.iter().enumerate().all(|(i, k)| i == best || k.1 < keys[best].0);
        if points || clear { Bound::Point(Scalar::i64(best as i64)) } else { Bound::Any }
    }
}

/// A copy of operand 0 with updates written into it.
pub(super) fn scatter(
    form: &ScatterForm,
    operands: &[BoundTensor],
    extent: ExtentOf<'_>,
) -> Result<BoundTensor, String> {
    let dims: Vec<i64> = form.space.iter().map(extent).collect::<Result<_, _>>()?;
    let readers = Readers::new(&form.loads, operands, extent)?;
    let index: Vec<Index> = form.index.iter().map(|ix| Index::new(ix, extent)).collect::<Result<_, _>>()?;
    let mut result = operands[0].clone();
    let dtype = result.dtype;
    let program = join_program(form.combine, dtype);
    let mut runner = program.as_ref().map(Runner::new);
    let mut lost = false;
    for_each(&dims, &mut |at| {
        let mut flat = Some(0i64);
        for (ix, &n) in index.iter().zip(&result.dims) {
            let x = ix.at(at, &|k| readers.integer(k, at)).filter(|x| (0..n).contains(x));
            flat = flat.zip(x).map(|(f, x)| f * n + x);
        }
        let Some(flat) = flat else {
            lost = true;
            return;
        };
        let (old, new) = (result.elements[flat as usize], readers.read(0, at));
        let joined = match &mut runner {
            None => new,
            Some(r) => r.run(&mut |leaf| if matches!(leaf, Leaf::Acc(0)) { old } else { new })[0],
        };
        result.elements[flat as usize] = joined.stored(dtype);
    });
    if lost {
        result.elements.fill(Bound::Any);
    }
    Ok(result)
}

fn join_program(combine: ScatterCombine, dtype: DType) -> Option<Program> {
    let op = match combine {
        ScatterCombine::Replace => return None,
        ScatterCombine::Add => Binary::Add,
        ScatterCombine::Mul => Binary::Mul,
        ScatterCombine::Max => Binary::Max,
        ScatterCombine::Min => Binary::Min,
    };
    let mut b = Builder::new();
    let (x, y) = (b.acc(0, dtype), b.acc(1, dtype));
    let joined = b.binary(op, x, y);
    Some(b.finish([joined]))
}
