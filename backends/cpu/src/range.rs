//! range - how large the integers of a tensor are, by the program that makes them.
//!
//! A quantized tensor is made of bytes less a zero point, in 32 bits: `i32(q) - i32(z)`. Its elements are between -255 and
//! 255, and no two of them are more than 255 apart, since `z` is one number for all. Tiles then multiply them as bytes.

use nnc_ir::{
    dtype::DType,
    form::{Bounds, Ix, LoopForm},
    program::{Binary, Inst, Program},
};

/// Bounds of the elements of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// No element is less.
    pub least: i64,
    /// No element is greater.
    pub greatest: i64,
    /// No two elements are further apart.
    pub spread: i64,
}

impl Range {
    /// All numbers between two.
    #[must_use]
    pub fn between(least: i64, greatest: i64) -> Range {
        Range { least, greatest, spread: greatest - least }
    }

    /// Of each result of a nest whose elements are integers of at most 32 bits; `operand` gives what is known of operands.
    #[must_use]
    pub fn of_results(form: &LoopForm, operand: &dyn Fn(usize) -> Option<Range>) -> Vec<Option<Range>> {
        let program = if form.combine.is_none() { &form.body } else { &form.finish };
        let ranges = of_program(program, form, operand);
        let one = |(r, stored): (&nnc_ir::program::Ref, &DType)| {
            ranges[r.index()].filter(|_| program.dtype(*r) == *stored)
        };
        program.results.iter().zip(&form.results).map(one).collect()
    }

    /// The elements that a type of integers of at most 32 bits has; sums of two such ranges have room in 64 bits.
    #[must_use]
    pub fn all_of(dtype: DType) -> Option<Range> {
        Some(match dtype {
            DType::U8 => Range::between(0, 255),
            DType::I8 => Range::between(-128, 127),
            DType::U16 => Range::between(0, 65535),
            DType::I16 => Range::between(-32768, 32767),
            DType::I32 => Range::between(i64::from(i32::MIN), i64::from(i32::MAX)),
            _ => return None,
        })
    }

    /// With one more element.
    fn with(self, element: i64) -> Range {
        Range::between(self.least.min(element), self.greatest.max(element))
    }

    fn plus(self, other: Range) -> Range {
        Range {
            least: self.least + other.least,
            greatest: self.greatest + other.greatest,
            spread: self.spread + other.spread,
        }
    }

    fn negated(self) -> Range {
        Range { least: -self.greatest, greatest: -self.least, spread: self.spread }
    }

    /// Whether a type has all of it.
    fn fits(self, dtype: DType) -> bool {
        Range::all_of(dtype).is_some_and(|all| all.least <= self.least && self.greatest <= all.greatest)
    }
}

/// The ranges of all values of a program that are integers.
fn of_program(
    program: &Program,
    form: &LoopForm,
    operand: &dyn Fn(usize) -> Option<Range>,
) -> Vec<Option<Range>> {
    let mut ranges: Vec<Option<Range>> = Vec::new();
    // Whether a value is the same everywhere.
    let mut same: Vec<bool> = Vec::new();
    let fixed = |ix: &Ix| (0..form.axes()).all(|axis| !ix.mentions(axis)) && ix.loads().is_empty();
    for (inst, dtype) in program.insts() {
        let known = |l: usize| {
            let load = &form.loads[l];
            let inside = operand(load.operand).or_else(|| Range::all_of(load.dtype))?;
            match load.bounds {
                Bounds::Guard(outside) => Some(inside.with(outside.as_i64()?)),
                _ => Some(inside),
            }
        };
        let alike = match inst {
            Inst::Load(l) => {
                let one = known(*l).is_some_and(|r| r.spread == 0);
                one || form.loads[*l].index.iter().all(fixed)
            }
            Inst::Acc(_) | Inst::Index(_) => false,
            other => other.refs().into_iter().all(|r| same[r.index()]),
        };
        let at = |r: &nnc_ir::program::Ref| ranges[r.index()];
        let found = match inst {
            Inst::Load(l) => known(*l),
            Inst::Const(c) => c.as_i64().map(|c| Range::between(c, c)),
            Inst::Binary(Binary::Add, a, b) => at(a).zip(at(b)).map(|(a, b)| a.plus(b)),
            Inst::Binary(Binary::Sub, a, b) => at(a).zip(at(b)).map(|(a, b)| a.plus(b.negated())),
            Inst::Cast(_, x) => at(x),
            _ => None,
        };
        let found = found.filter(|r| r.fits(*dtype)).or_else(|| Range::all_of(*dtype));
        ranges.push(found.map(|r| if alike { Range { spread: 0, ..r } } else { r }));
        same.push(alike);
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use nnc_ir::{extent::Extent, form::Load, program::Builder};

    /// `i32(q) - i32(z)` where z has an axis or none.
    fn centred(z_index: Vec<Ix>, q: DType) -> LoopForm {
        let load = |operand: usize, index: Vec<Ix>, dtype: DType| Load {
            operand,
            dtype,
            extents: index.iter().map(|_| Extent::Const(9)).collect(),
            index,
            bounds: Bounds::Inside,
        };
        let mut b = Builder::new();
        let (x, z) = (b.load(0, q), b.load(1, DType::U8));
        let (x, z) = (b.cast(DType::I32, x), b.cast(DType::I32, z));
        let difference = b.binary(Binary::Sub, x, z);
        LoopForm {
            space: vec![Extent::Const(9)],
            reduce: vec![],
            loads: vec![load(0, vec![Ix::Axis(0)], q), load(1, z_index, DType::U8)],
            body: b.finish(vec![difference]),
            combine: None,
            finish: Program::default(),
            results: vec![DType::I32],
        }
    }

    #[test]
    fn bytes_less_one_number_are_255_apart() {
        let of = |form: &LoopForm, operand: Option<Range>| Range::of_results(form, &|_| operand)[0];
        let range = of(&centred(vec![], DType::U8), None);
        assert_eq!(range, Some(Range { least: -255, greatest: 255, spread: 255 }));
        let each = centred(vec![Ix::Axis(0)], DType::U8);
        assert_eq!(of(&each, None), Some(Range { least: -255, greatest: 255, spread: 510 }));
        let one = Range { least: 3, greatest: 5, spread: 0 };
        assert_eq!(of(&each, Some(one)), Some(Range { least: -2, greatest: 2, spread: 0 }));
        let range = of(&centred(vec![], DType::I32), None).map(|r| r.spread);
        assert_eq!(range, Some(i64::from(u32::MAX)), "what may wrap is any number");
    }
}
