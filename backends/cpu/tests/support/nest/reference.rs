//! reference - what a nest gives, computed one point after another.

use super::{Symbols, value};
use nnc_ir::{
    dtype::{DType, Scalar},
    eval::program::eval_program,
    form::{Bounds, Combine, Ix, Load, LoopForm},
    program::Binary,
};

/// What a form gives, computed one point after another; the second part says whether an index was out of range.
pub(crate) fn reference(form: &LoopForm, symbols: &Symbols, operands: &[Vec<u8>]) -> (Vec<Vec<u8>>, bool) {
    let space: Vec<i64> = form.space.iter().map(|e| value(e, symbols)).collect();
    let reduce: Vec<i64> = form.reduce.iter().map(|e| value(e, symbols)).collect();
    let mut out: Vec<Vec<u8>> = vec![Vec::new(); form.results.len()];
    let fault = std::cell::Cell::new(false);
    for point in points(&space) {
        let values = |p: &nnc_ir::program::Program, at: &[i64], accs: &[Scalar]| {
            let load = |k: usize| read(form, symbols, operands, k, at, &fault);
            eval_program(p, &load, accs, &|ix| index(form, symbols, operands, ix, at, &fault))
        };
        let results = match form.combine {
            None => values(&form.body, &point, &[]),
            Some(combine) => {
                let dtype = form.body.result_dtypes().next().unwrap();
                let mut acc = Accumulator::new(combine, dtype);
                for r in points(&reduce) {
                    let at = [&point[..], &r[..]].concat();
                    acc.join(values(&form.body, &at, &[])[0]);
                }
                values(&form.finish, &point, &[acc.value()])
            }
        };
        for ((bytes, x), dtype) in out.iter_mut().zip(results).zip(&form.results) {
            let mut element = [0; 8];
            x.store(*dtype, &mut element);
            bytes.extend(&element[..dtype.bytes()]);
        }
    }
    (out, fault.get())
}

/// Every position of a space, in row-major order.
pub(crate) fn points(extents: &[i64]) -> Vec<Vec<i64>> {
    extents.iter().fold(vec![vec![]], |all, &n| {
        all.iter().flat_map(|p| (0..n).map(move |i| [&p[..], &[i]].concat())).collect()
    })
}

struct Accumulator {
    combine: Combine,
    best: Scalar,
    place: i64,
    next: i64,
}

impl Accumulator {
    fn new(combine: Combine, dtype: DType) -> Self {
        let best = match combine {
            Combine::Sum => Scalar::zero(dtype),
            Combine::Product => Scalar::int(dtype, 1),
            Combine::Max | Combine::ArgMax { .. } => Scalar::lowest(dtype),
            Combine::Min | Combine::ArgMin { .. } => Scalar::highest(dtype),
        };
        Self { combine, best, place: 0, next: 0 }
    }

    fn binary(op: Binary, x: Scalar, y: Scalar) -> Scalar {
        let mut b = nnc_ir::program::Builder::new();
        let (p, q) = (b.constant(x), b.constant(y));
        let r = b.binary(op, p, q);
        let program = b.finish([r]);
        eval_program(&program, &|_| unreachable!(), &[], &|_| unreachable!())[0]
    }

    fn join(&mut self, x: Scalar) {
        let op = match self.combine {
            Combine::Sum => Binary::Add,
            Combine::Product => Binary::Mul,
            Combine::Max => Binary::Max,
            Combine::Min => Binary::Min,
            Combine::ArgMax { last } | Combine::ArgMin { last } => {
                let greatest = matches!(self.combine, Combine::ArgMax { .. });
                let nan = |x: Scalar| x.as_f64().is_some_and(f64::is_nan);
                let less = |x, y| Self::binary(Binary::Lt, x, y).bits != 0;
                let above = if greatest { less(self.best, x) } else { less(x, self.best) };
                let same = !less(self.best, x) && !less(x, self.best) && !nan(x) && !nan(self.best);
                let better = match (nan(x), nan(self.best)) {
                    (true, true) => last,
                    (true, false) => true,
                    (false, true) => false,
                    (false, false) => above || (last && same),
                };
                if better || self.next == 0 {
                    (self.best, self.place) = (x, self.next);
                }
                self.next += 1;
                return;
            }
        };
        self.best = Self::binary(op, self.best, x);
    }

    fn value(&self) -> Scalar {
        match self.combine {
            Combine::ArgMax { .. } | Combine::ArgMin { .. } => Scalar::i64(self.place),
            _ => self.best,
        }
    }
}

pub(crate) fn index(
    form: &LoopForm,
    symbols: &Symbols,
    operands: &[Vec<u8>],
    ix: &Ix,
    at: &[i64],
    fault: &std::cell::Cell<bool>,
) -> i64 {
    let of = |ix: &Ix| index(form, symbols, operands, ix, at, fault);
    match ix {
        Ix::Axis(a) => at[*a],
        Ix::Extent(e) => value(e, symbols),
        Ix::Add(a, b) => of(a) + of(b),
        Ix::Mul(a, by) => of(a) * value(by, symbols),
        Ix::FloorDiv(a, by) => of(a).div_euclid(value(by, symbols)),
        Ix::Mod(a, by) => of(a).rem_euclid(value(by, symbols)),
        Ix::Min(a, b) => of(a).min(of(b)),
        Ix::Max(a, b) => of(a).max(of(b)),
        Ix::Bcast(a, e) => {
            if value(e, symbols) == 1 {
                0
            } else {
                of(a)
            }
        }
        Ix::Wrap(a, e) => {
            let x = of(a);
            if x < 0 { x + value(e, symbols) } else { x }
        }
        Ix::Load(k) => read(form, symbols, operands, *k, at, fault).as_i64().unwrap(),
    }
}

pub(crate) fn read(
    form: &LoopForm,
    symbols: &Symbols,
    operands: &[Vec<u8>],
    k: usize,
    at: &[i64],
    fault: &std::cell::Cell<bool>,
) -> Scalar {
    let load: &Load = &form.loads[k];
    let extents: Vec<i64> = load.extents.iter().map(|e| value(e, symbols)).collect();
    let mut offset = 0;
    for (ix, extent) in load.index.iter().zip(&extents) {
        let mut i = index(form, symbols, operands, ix, at, fault);
        if !(0..*extent).contains(&i) {
            match load.bounds {
                Bounds::Inside => panic!("index {i} of {extent}"),
                Bounds::Guard(s) => return s,
                Bounds::Check => {
                    fault.set(true);
                    i = 0;
                }
            }
        }
        offset = offset * extent + i;
    }
    if extents.contains(&0) {
        return Scalar::zero(load.dtype);
    }
    Scalar::load(load.dtype, &operands[load.operand][offset as usize * load.dtype.bytes()..])
}
