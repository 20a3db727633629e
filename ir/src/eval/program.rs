//! program - interprets scalar programs, a row of elements at a time.

use crate::{
    dtype::{DType, Scalar},
    eval::element::{self, BinaryRow, TernaryRow, UnaryRow},
    form::Ix,
    program::{Inst, Program, Ref},
};

/// What `program` computes for one element.
///
/// `load` gives the element that a load reads, `accs` the accumulators, `index` the value of an index expression.
///
/// # Panics
/// If the program is ill-typed ([`Machine::new`] says how).
pub fn eval_program(
    program: &Program,
    load: &dyn Fn(usize) -> Scalar,
    accs: &[Scalar],
    index: &dyn Fn(&Ix) -> i64,
) -> Vec<Scalar> {
    let mut machine = Machine::new(program, 1).expect("operations build well-typed programs");
    let run: Result<(), std::convert::Infallible> = machine.run(1, |leaf, row| {
        row[0] = match leaf {
            Leaf::Load(k) => load(k).bits,
            Leaf::Acc(k) => accs[k].bits,
            Leaf::Index(ix) => index(ix).cast_unsigned(),
        };
        Ok(())
    });
    let Ok(()) = run;
    let scalar = |&r: &Ref| Scalar { dtype: program.dtype(r), bits: machine.row(r)[0] };
    program.results.iter().map(scalar).collect()
}

/// An instruction whose value comes from outside of the program.
#[derive(Clone, Copy, Debug)]
pub enum Leaf<'p> {
    /// `Inst::Load`.
    Load(usize),
    /// `Inst::Acc`.
    Acc(usize),
    /// `Inst::Index`.
    Index(&'p Ix),
}

/// An instruction with its meaning looked up.
enum Step<'p> {
    Leaf(Leaf<'p>),
    Const,
    Copy(Ref),
    Unary(UnaryRow, Ref),
    Binary(BinaryRow, Ref, Ref),
    Ternary(TernaryRow, Ref, Ref, Ref),
}

/// A program made ready to run over rows of up to `width` elements: one row of bits an instruction.
pub struct Machine<'p> {
    steps: Vec<Step<'p>>,
    rows: Vec<u64>,
    width: usize,
}

impl<'p> Machine<'p> {
    /// Looks up what each instruction does.
    ///
    /// # Errors
    /// The first instruction that reads values of types it is not defined for, or has not the type it should have.
    pub fn new(program: &'p Program, width: usize) -> Result<Self, String> {
        let mut rows = vec![0; program.insts().len() * width];
        let mut steps = Vec::with_capacity(program.insts().len());
        for (at, (inst, dtype)) in program.insts().iter().enumerate() {
            let ill_typed = || format!("ill-typed instruction %{at} = {inst:?} : {dtype}");
            if inst.refs().iter().any(|r| r.index() >= at) {
                return Err(format!("instruction %{at} = {inst:?} reads a later one"));
            }
            steps.push(step(program, inst, *dtype).ok_or_else(ill_typed)?);
            if let Inst::Const(c) = inst {
                rows[at * width..(at + 1) * width].fill(c.bits);
            }
        }
        match program.results.iter().find(|r| r.index() >= steps.len()) {
            Some(r) => Err(format!("result %{} is not an instruction", r.0)),
            None => Ok(Self { steps, rows, width }),
        }
    }

    /// Computes `n` elements; `fill` writes what a leaf gives for each.
    ///
    /// # Errors
    /// Those of `fill`.
    ///
    /// # Panics
    /// If `n` exceeds the width.
    pub fn run<E>(
        &mut self,
        n: usize,
        mut fill: impl FnMut(Leaf<'p>, &mut [u64]) -> Result<(), E>,
    ) -> Result<(), E> {
        for (at, step) in self.steps.iter().enumerate() {
            // Instructions read earlier rows only: `new` has checked it.
            let (before, rest) = self.rows.split_at_mut(at * self.width);
            let row = |r: Ref| &before[r.index() * self.width..][..n];
            let out = &mut rest[..n];
            match *step {
                Step::Leaf(leaf) => fill(leaf, out)?,
                Step::Const => {}
                Step::Copy(a) => out.copy_from_slice(row(a)),
                Step::Unary(f, a) => f(out, row(a)),
                Step::Binary(f, a, b) => f(out, row(a), row(b)),
                Step::Ternary(f, a, b, c) => f(out, row(a), row(b), row(c)),
            }
        }
        Ok(())
    }

    /// The elements of a value that the last run computed.
    #[must_use]
    pub fn row(&self, r: Ref) -> &[u64] {
        &self.rows[r.index() * self.width..][..self.width]
    }
}

/// `None` if the instruction is ill-typed.
fn step<'p>(program: &Program, inst: &'p Inst, dtype: DType) -> Option<Step<'p>> {
    let ty = |r: Ref| program.dtype(r);
    let step = match inst {
        Inst::Load(k) => Step::Leaf(Leaf::Load(*k)),
        Inst::Acc(k) => Step::Leaf(Leaf::Acc(*k)),
        Inst::Index(ix) => (dtype == DType::I64).then_some(Step::Leaf(Leaf::Index(ix)))?,
        Inst::Const(c) => (dtype == c.dtype).then_some(Step::Const)?,
        Inst::Unary(op, a) => {
            let f = element::unary(*op, dtype)?;
            (ty(*a) == dtype).then_some(Step::Unary(f, *a))?
        }
        Inst::Binary(op, a, b) => {
            let f = element::binary(*op, ty(*a))?;
            let gives = if op.is_comparison() { DType::Bool } else { ty(*a) };
            (ty(*a) == ty(*b) && gives == dtype).then_some(Step::Binary(f, *a, *b))?
        }
        Inst::Fma(a, b, c) | Inst::MulAdd(a, b, c) => {
            let f = element::fma(dtype)?;
            [a, b, c].iter().all(|r| ty(**r) == dtype).then_some(Step::Ternary(f, *a, *b, *c))?
        }
        Inst::Select(c, a, b) => {
            let fits = ty(*c) == DType::Bool && ty(*a) == dtype && ty(*b) == dtype;
            fits.then_some(Step::Ternary(element::select, *c, *a, *b))?
        }
        Inst::Cast(to, a) => {
            let f = element::cast(ty(*a), dtype)?;
            (*to == dtype).then_some(Step::Unary(f, *a))?
        }
        Inst::Bitcast(to, a) => {
            (*to == dtype && ty(*a).bytes() == dtype.bytes()).then_some(Step::Copy(*a))?
        }
    };
    (dtype.compute() == dtype).then_some(step)
}

#[cfg(test)]
mod tests;
