//! element - what one element may be, and instructions on such elements.

use nnc_ir::{
    dtype::{DType, Scalar},
    eval::program::{Leaf, Machine},
    program::{Binary, Builder, Inst, Program, Ref, Unary},
};

/// What one element may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// These bits (of the compute type); any NaN for a NaN.
    Point(Scalar),
    /// A float between the two, neither of which is NaN.
    Range(f64, f64),
    /// Nothing is known.
    Any,
}

impl Bound {
    /// The range between two floats, rounded to `dtype`.
    pub(super) fn range(dtype: DType, lo: f64, hi: f64) -> Bound {
        let (lo, hi) = (round(dtype, lo), round(dtype, hi));
        if lo.is_finite() && hi.is_finite() { Bound::Range(lo, hi) } else { Bound::Any }
    }
    /// The ends, unless the element may be NaN or no float at all.
    pub(super) fn ends(self) -> Option<(f64, f64)> {
        match self {
            Bound::Point(x) => x.as_f64().filter(|x| !x.is_nan()).map(|x| (x, x)),
            Bound::Range(lo, hi) => Some((lo, hi)),
            Bound::Any => None,
        }
    }
    /// The bits, if they are known.
    pub(super) fn point(self) -> Option<Scalar> {
        if let Bound::Point(x) = self { Some(x) } else { None }
    }
    /// The least bound that holds both.
    pub(super) fn hull(self, other: Bound) -> Bound {
        if self == other {
            return self;
        }
        match (self.ends(), other.ends()) {
            (Some(a), Some(b)) => Bound::Range(a.0.min(b.0), a.1.max(b.1)),
            _ => Bound::Any,
        }
    }
    /// What storing in `dtype` makes of it.
    pub(super) fn stored(self, dtype: DType) -> Bound {
        if dtype.compute() == dtype {
            return self;
        }
        let through = |x: f64| {
            let mut bytes = [0; 8];
            Scalar::f32(x as f32).store(dtype, &mut bytes);
            Scalar::load(dtype, &bytes)
        };
        match self {
            Bound::Point(x) => Bound::Point(through(f64::from(x.to_f32()))),
            Bound::Range(lo, hi) => {
                let (lo, hi) = (through(lo).to_f32(), through(hi).to_f32());
                Bound::range(DType::F32, f64::from(lo), f64::from(hi))
            }
            Bound::Any => Bound::Any,
        }
    }
}

/// `x` rounded to nearest in a float type.
fn round(dtype: DType, x: f64) -> f64 {
    if dtype == DType::F32 { f64::from(x as f32) } else { x }
}

/// A program made ready to run on bounds.
pub(super) struct Runner<'p> {
    program: &'p Program,
    /// The whole program, for points.
    machine: Machine<'p>,
    /// Each instruction that has operands, as a program of its own.
    singles: Vec<Option<Program>>,
}

impl<'p> Runner<'p> {
    pub(super) fn new(program: &'p Program) -> Self {
        let machine = Machine::new(program, 1).expect("operations build well-typed programs");
        let single = |(inst, dtype): &(Inst, DType)| {
            let refs = inst.refs();
            if refs.is_empty() {
                return None;
            }
            let mut b = Builder::new();
            let leaves: Vec<Ref> =
                refs.iter().enumerate().map(|(k, &r)| b.load(k, program.dtype(r))).collect();
            let mut next = leaves.iter();
            let inst = inst.map_refs(|_| *next.next().expect("as many as there are"));
            let r = b.push(inst, *dtype);
            Some(b.finish([r]))
        };
        Self { program, machine, singles: program.insts().iter().map(single).collect() }
    }

    /// Results for elements that `leaf` gives.
    pub(super) fn run(&mut self, leaf: &mut dyn FnMut(Leaf<'p>) -> Bound) -> Vec<Bound> {
        let mut leaves: Vec<Bound> = Vec::with_capacity(self.program.insts().len());
        for (inst, _) in self.program.insts() {
            leaves.push(match inst {
                Inst::Load(k) => leaf(Leaf::Load(*k)),
                Inst::Acc(k) => leaf(Leaf::Acc(*k)),
                Inst::Index(ix) => leaf(Leaf::Index(ix)),
                Inst::Const(c) => Bound::Point(*c),
                _ => Bound::Any,
            });
        }
        let is_leaf = |inst: &Inst| inst.refs().is_empty();
        let known = self
            .program
            .insts()
            .iter()
            .zip(&leaves)
            .all(|((inst, _), b)| !is_leaf(inst) || b.point().is_some());
        if known {
            let mut next = leaves
                .iter()
                .zip(self.program.insts())
                .filter(|(_, (inst, _))| matches!(inst, Inst::Load(_) | Inst::Acc(_) | Inst::Index(_)));
            let run: Result<(), ()> = self.machine.run(1, |_, row| {
                row[0] = next.next().and_then(|(b, _)| b.point()).map_or(0, |x| x.bits);
                Ok(())
            });
            debug_assert!(run.is_ok());
            let point = |&r: &Ref| {
                Bound::Point(Scalar { dtype: self.program.dtype(r), bits: self.machine.row(r)[0] })
            };
            return self.program.results.iter().map(point).collect();
        }
        let mut values = leaves;
        for (at, (inst, dtype)) in self.program.insts().iter().enumerate() {
            if let Some(single) = &self.singles[at] {
                values[at] = step(self.program, inst, *dtype, single, &values);
            }
        }
        self.program.results.iter().map(|r| values[r.index()]).collect()
    }
}

fn step(program: &Program, inst: &Inst, dtype: DType, single: &Program, values: &[Bound]) -> Bound {
    let operands: Vec<Bound> = inst.refs().iter().map(|r| values[r.index()]).collect();
    if operands.iter().all(|b| b.point().is_some()) {
        let load = |k: usize| operands[k].point().unwrap_or(Scalar::zero(dtype));
        return Bound::Point(nnc_ir::eval::eval_program(single, &load, &[], &|_| 0)[0]);
    }
    let get = |r: Ref| values[r.index()];
    match inst {
        Inst::Unary(op, a) => unary(*op, dtype, get(*a)),
        Inst::Binary(op, a, b) => binary(*op, program.dtype(*a), get(*a), get(*b), a == b),
        Inst::Fma(a, b, c) | Inst::MulAdd(a, b, c) => fma(dtype, get(*a), get(*b), get(*c)),
        Inst::Select(c, a, b) => match get(*c) {
            Bound::Point(c) => get(if c.bits != 0 { *a } else { *b }),
            _ => get(*a).hull(get(*b)),
        },
        Inst::Cast(_, a) => cast(dtype, get(*a), single),
        _ => Bound::Any,
    }
}

fn unary(op: Unary, dtype: DType, a: Bound) -> Bound {
    let Some((lo, hi)) = a.ends().filter(|_| dtype.is_float()) else { return Bound::Any };
    match op {
        Unary::Neg => Bound::Range(-hi, -lo),
        Unary::Abs if lo >= 0.0 => Bound::Range(lo, hi),
        Unary::Abs if hi <= 0.0 => Bound::Range(-hi, -lo),
        Unary::Abs => Bound::Range(0.0, hi.max(-lo)),
        Unary::Sqrt if lo >= 0.0 => Bound::range(dtype, lo.sqrt(), hi.sqrt()),
        Unary::Floor => Bound::Range(lo.floor(), hi.floor()),
        Unary::Ceil => Bound::Range(lo.ceil(), hi.ceil()),
        Unary::Trunc => Bound::Range(lo.trunc(), hi.trunc()),
        Unary::Nearest => Bound::Range(lo.round_ties_even(), hi.round_ties_even()),
        Unary::Sqrt | Unary::Not => Bound::Any,
    }
}

/// The hull of `f` at the corners; nothing is known if one is NaN or infinite.
fn corners(dtype: DType, a: (f64, f64), b: (f64, f64), f: impl Fn(f64, f64) -> f64) -> Bound {
    let all = [f(a.0, b.0), f(a.0, b.1), f(a.1, b.0), f(a.1, b.1)];
    if all.iter().any(|x| !x.is_finite()) {
        return Bound::Any;
    }
    let (lo, hi) = all.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &x| (l.min(x), h.max(x)));
    Bound::range(dtype, lo, hi)
}

fn binary(op: Binary, dtype: DType, a: Bound, b: Bound, same: bool) -> Bound {
    let truth = |x: bool| Bound::Point(Scalar::bool(x));
    let nan = |b: Bound| b.point().and_then(Scalar::as_f64).is_some_and(f64::is_nan);
    let (Some(x), Some(y)) = (a.ends(), b.ends()) else {
        // Against NaN every comparison is decided, and so are the extremes.
        return match op {
            _ if !dtype.is_float() || !(nan(a) || nan(b)) => Bound::Any,
            Binary::Eq | Binary::Lt | Binary::Le => truth(false),
            Binary::Ne => truth(true),
            Binary::Max | Binary::Min => b,
            Binary::Add | Binary::Sub | Binary::Mul | Binary::Div => {
                if nan(a) {
                    a
                } else {
                    b
                }
            }
            _ => Bound::Any,
        };
    };
    match op {
        // One and the same element is equal to itself, as it is not NaN.
        Binary::Ne | Binary::Lt if same => truth(false),
        Binary::Eq | Binary::Le if same => truth(true),
        Binary::Add => corners(dtype, x, y, |x, y| x + y),
        Binary::Sub => corners(dtype, x, y, |x, y| x - y),
        Binary::Mul if same => {
            let squares = corners(dtype, x, x, |x, y| x * y);
            match squares {
                Bound::Range(lo, hi) => {
                    Bound::Range(if x.0 <= 0.0 && x.1 >= 0.0 { 0.0 } else { lo.max(0.0) }, hi)
                }
                other => other,
            }
        }
        Binary::Mul => corners(dtype, x, y, |x, y| x * y),
        Binary::Div if y.0 > 0.0 || y.1 < 0.0 => corners(dtype, x, y, |x, y| x / y),
        Binary::Max => Bound::Range(x.0.max(y.0), x.1.max(y.1)),
        Binary::Min => Bound::Range(x.0.min(y.0), x.1.min(y.1)),
        Binary::Lt if x.1 < y.0 => truth(true),
        Binary::Lt if x.0 >= y.1 => truth(false),
        Binary::Le if x.1 <= y.0 => truth(true),
        Binary::Le if x.0 > y.1 => truth(false),
        Binary::Eq if x.1 < y.0 || y.1 < x.0 => truth(false),
        Binary::Ne if x.1 < y.0 || y.1 < x.0 => truth(true),
        _ => Bound::Any,
    }
}

fn fma(dtype: DType, a: Bound, b: Bound, c: Bound) -> Bound {
    let (Some(a), Some(b), Some(c)) = (a.ends(), b.ends(), c.ends()) else { return Bound::Any };
    let at = |x: f64, y: f64, z: f64| {
        if dtype == DType::F32 { f64::from((x as f32).mul_add(y as f32, z as f32)) } else { x.mul_add(y, z) }
    };
    corners(dtype, a, b, |x, y| at(x, y, c.0)).hull(corners(dtype, a, b, |x, y| at(x, y, c.1)))
}

fn cast(to: DType, a: Bound, single: &Program) -> Bound {
    let Some((lo, hi)) = a.ends() else { return Bound::Any };
    if to.is_float() {
        return Bound::range(to, lo, hi);
    }
    if to == DType::Bool {
        return if lo > 0.0 || hi < 0.0 { Bound::Point(Scalar::bool(true)) } else { Bound::Any };
    }
    let from = single.insts()[0].1;
    let at = |x: f64| nnc_ir::eval::eval_program(single, &|_| Scalar::float(from, x), &[], &|_| 0)[0];
    if at(lo) == at(hi) { Bound::Point(at(lo)) } else { Bound::Any }
}
