//! copies - a program for several vectors at once, op by op: while one waits for an operation, the others go on.

use crate::program::{Op, Ref, VectorProgram};

/// `n` copies of a program. Copy `c` has the inputs from `c * inputs` on; its results come after those of the copies
/// before it.
#[must_use]
pub fn copies(program: &VectorProgram, n: usize, inputs: usize) -> VectorProgram {
    let mut out = VectorProgram::new();
    let mut values: Vec<Vec<Ref>> = vec![Vec::with_capacity(program.ops().len()); n];
    for op in program.ops() {
        for (copy, values) in values.iter_mut().enumerate() {
            let op = match *op {
                Op::Input(k, ty) => {
                    let input = u16::try_from(copy * inputs + usize::from(k));
                    Op::Input(input.expect("programs have few inputs"), ty)
                }
                op => of_values(op, |r| values[usize::from(r.0)]),
            };
            values.push(out.push(op));
        }
    }
    for values in &values {
        program.results().iter().for_each(|r| out.result(values[usize::from(r.0)]));
    }
    out
}

/// The same op of other values.
fn of_values(op: Op, v: impl Fn(Ref) -> Ref) -> Op {
    match op {
        Op::Input(..) | Op::ConstF32(_) | Op::ConstI32(_) => op,
        Op::Add(a, b) => Op::Add(v(a), v(b)),
        Op::Sub(a, b) => Op::Sub(v(a), v(b)),
        Op::Mul(a, b) => Op::Mul(v(a), v(b)),
        Op::Div(a, b) => Op::Div(v(a), v(b)),
        Op::Min(a, b) => Op::Min(v(a), v(b)),
        Op::Max(a, b) => Op::Max(v(a), v(b)),
        Op::Fma(a, b, c) => Op::Fma(v(a), v(b), v(c)),
        Op::Sqrt(a) => Op::Sqrt(v(a)),
        Op::Neg(a) => Op::Neg(v(a)),
        Op::Abs(a) => Op::Abs(v(a)),
        Op::Floor(a) => Op::Floor(v(a)),
        Op::Ceil(a) => Op::Ceil(v(a)),
        Op::Trunc(a) => Op::Trunc(v(a)),
        Op::Nearest(a) => Op::Nearest(v(a)),
        Op::Lt(a, b) => Op::Lt(v(a), v(b)),
        Op::Le(a, b) => Op::Le(v(a), v(b)),
        Op::Eq(a, b) => Op::Eq(v(a), v(b)),
        Op::Ne(a, b) => Op::Ne(v(a), v(b)),
        Op::Select(m, a, b) => Op::Select(v(m), v(a), v(b)),
        Op::And(a, b) => Op::And(v(a), v(b)),
        Op::Or(a, b) => Op::Or(v(a), v(b)),
        Op::Xor(a, b) => Op::Xor(v(a), v(b)),
        Op::Not(a) => Op::Not(v(a)),
        Op::Shl(a, n) => Op::Shl(v(a), n),
        Op::ShrU(a, n) => Op::ShrU(v(a), n),
        Op::ShrS(a, n) => Op::ShrS(v(a), n),
        Op::IAdd(a, b) => Op::IAdd(v(a), v(b)),
        Op::ISub(a, b) => Op::ISub(v(a), v(b)),
        Op::IMul(a, b) => Op::IMul(v(a), v(b)),
        Op::Bitcast(a) => Op::Bitcast(v(a)),
        Op::ConvI32ToF32(a) => Op::ConvI32ToF32(v(a)),
        Op::TruncF32ToI32(a) => Op::TruncF32ToI32(v(a)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Lane;

    #[test]
    fn copies_compute_what_the_program_computes() {
        let mut p = VectorProgram::new();
        let (x, y, two) = (p.input(0), p.input(1), p.f32(2.0));
        let product = p.push(Op::Fma(x, two, y));
        let root = p.push(Op::Sqrt(product));
        p.result(root);
        p.result(product);
        let inputs = [1.0, 7.0, 2.0, 12.0, 3.0, 19.0].map(Lane::F32);
        let got: Vec<u32> = copies(&p, 3, 2).eval(&inputs).iter().map(|l| l.bits()).collect();
        let want: Vec<u32> = inputs.chunks(2).flat_map(|i| p.eval(i)).map(|l| l.bits()).collect();
        assert_eq!(got, want);
    }
}
