//! prologue - what is done to an operand before it is multiplied, while a panel of it is made in scratch memory.
//!
//! Each element of a panel is computed once for all rows that the panel is multiplied with: a batch norm and a rectifier
//! before a convolution of window 1 cost as much as copying its panels.

use cranelift_codegen::ir::{
    InstBuilder, Value,
    types::{F32, F32X4},
};
use nnc_ir::{
    dtype::{DType, Scalar},
    extent::Extent,
    program::{Inst, Program},
};
use nnc_tile::{
    gemm::Cols,
    program::{LaneType, VectorProgram},
};

use super::{
    Refusal,
    analyze::{Linear, Problem},
    emit::Gen,
    epilogue,
    pack::flags,
    panel::At,
};
use crate::{
    kernel::NestRequest,
    tile::{Lanes, emit_program},
};

/// A factor of the product that is computed.
#[derive(Clone, Debug)]
pub(super) struct Prologue {
    /// From the elements of `parts`, in order.
    program: VectorProgram,
    parts: Vec<Part>,
}

/// One read of it.
#[derive(Clone, Debug)]
struct Part {
    load: usize,
    at: Linear,
    along: Along,
}

/// How neighbours along the columns lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Along {
    /// They are one element.
    Same,
    /// They are neighbours.
    Next,
}

/// Most reads of a computed factor.
const MOST: usize = 4;

impl Prologue {
    /// The factor as lanes compute it, over the columns `n`; `linear` says where the elements of a load lie.
    pub(super) fn of(
        factor: &Program,
        splat: &dyn Fn(usize) -> Option<Scalar>,
        linear: &dyn Fn(usize) -> Option<Linear>,
        n: &[usize],
        extents: &[Extent],
    ) -> Result<Prologue, Refusal> {
        let mut parts = Vec::new();
        for (inst, dtype) in factor.insts() {
            let Inst::Load(load) = *inst else { continue };
            if splat(load).is_some() {
                continue;
            }
            let at = linear(load).filter(|_| *dtype == DType::F32);
            let at = at.ok_or("what a factor is computed of is no f32 at linear places")?;
            let along = match at.stride(n, extents) {
                Some(Extent::Const(0)) => Along::Same,
                Some(Extent::Const(1)) => Along::Next,
                _ => return Err("what a factor is computed of lies apart along columns"),
            };
            parts.push(Part { load, at, along });
        }
        if parts.len() > MOST {
            return Err("a factor is computed of more operands than there are registers for");
        }
        let input = |load: usize| parts.iter().position(|p| p.load == load);
        let program = epilogue::lanes(factor, splat, &input)
            .ok_or("a factor is computed by something that lanes of 32 bits do not")?;
        if program.lane_type(program.results()[0]) != LaneType::F32 {
            return Err("tiles multiply f32");
        }
        Ok(Prologue { program, parts })
    }

    /// Where each part begins for an item.
    pub(super) fn origins(
        &self,
        g: &mut Gen<'_, '_>,
        p: &Problem,
        request: &NestRequest,
        around: &[(usize, Value)],
    ) -> Vec<Value> {
        let of = |part: &Part| {
            let slot = request.operands[p.nest.loads[part.load].operand].pointer;
            part.at.address(g, slot, around, None, 4)
        };
        self.parts.iter().map(of).collect()
    }

    /// Writes a panel: rows of its width for all positions of the sum. Lanes beyond the columns of the panel are left as
    /// they are: tiles compute with them and store nothing of it.
    pub(super) fn panel(&self, g: &mut Gen<'_, '_>, p: &Problem, origins: &[Value], to: Value, at: At) {
        let from: Vec<Value> =
            self.parts.iter().zip(origins).map(|(part, &o)| self.moved(g, part, o, at.start)).collect();
        let sums = self.sums(p);
        let width = i64::from(at.width);
        match at.cols {
            Cols::Const(cols) => {
                let cols = i32::from(cols);
                let whole = cols / 4 * 4;
                self.walk(g, (&from, to), width, &sums, &mut |g, from, to| {
                    (0..whole).step_by(4).for_each(|j| self.compute(g, from, to, j, Lanes::Four));
                    (whole..cols).for_each(|j| self.compute(g, from, to, j, Lanes::One));
                });
            }
            Cols::Arg => {
                let cols = at.cols_value.expect("a run-time number of columns comes with its value");
                let (zero, whole) = (g.int(0), g.b.ins().band_imm_s(cols, -4));
                for (begin, end, step, lanes) in [(zero, whole, 4, Lanes::Four), (whole, cols, 1, Lanes::One)]
                {
                    g.carry((begin, end), step, &[], |g, j, _| {
                        let from: Vec<Value> = self
                            .parts
                            .iter()
                            .zip(&from)
                            .map(|(part, &f)| self.moved(g, part, f, j))
                            .collect();
                        let to = g.address(to, &[(j, Extent::ONE)]);
                        self.walk(g, (&from, to), width, &sums, &mut |g, from, to| {
                            self.compute(g, from, to, 0, lanes);
                        });
                        vec![]
                    });
                }
            }
        }
    }

    /// Writes the sums of `count` neighbours along `axis`, `length` elements each, one after another; `from` is where each
    /// part begins. Here the columns that the factor was made for are the sum.
    pub(super) fn sums_of(
        &self,
        g: &mut Gen<'_, '_>,
        (from, to): (&[Value], Value),
        (axis, count): (usize, Value),
        length: i64,
    ) {
        let (zero, whole) = (g.int(0), g.int(length / 4 * 4));
        let init = [from, &[to]].concat();
        g.carry((zero, count), 1, &init, |g, _, at| {
            let (&to, from) = at.split_last().expect("the target's own address is the last");
            let moved = |g: &mut Gen<'_, '_>, j: Value| -> Vec<Value> {
                self.parts.iter().zip(from).map(|(part, &f)| self.moved(g, part, f, j)).collect()
            };
            g.carry((zero, whole), 4, &[], |g, j, _| {
                let (from, to) = (moved(g, j), g.address(to, &[(j, Extent::ONE)]));
                self.compute(g, &from, to, 0, Lanes::Four);
                vec![]
            });
            if length % 4 > 0 {
                let (from, to) = (moved(g, whole), g.address(to, &[(whole, Extent::ONE)]));
                (0..(length % 4) as i32).for_each(|j| self.compute(g, &from, to, j, Lanes::One));
            }
            let step = |(part, &f): (&Part, &Value)| (f, part.at.coefficients[axis].scale(4));
            let steps: Vec<(Value, Extent)> = self.parts.iter().zip(from).map(step).collect();
            let mut next: Vec<Value> = steps.iter().map(|(f, step)| g.plus(*f, step)).collect();
            next.push(g.plus(to, &Extent::Const(4 * length)));
            next
        });
    }

    /// The address of a part from column `column` on.
    fn moved(&self, g: &mut Gen<'_, '_>, part: &Part, from: Value, column: Value) -> Value {
        match part.along {
            Along::Same => from,
            Along::Next => g.address(from, &[(column, Extent::ONE)]),
        }
    }

    /// Axes of the sum with the distances of each part, as one where they are one for all.
    fn sums(&self, p: &Problem) -> Vec<(Extent, Vec<Extent>)> {
        let extents = &p.nest.extents;
        let whole: Option<Vec<Extent>> =
            self.parts.iter().map(|part| part.at.stride(&p.k, extents)).collect();
        match whole {
            Some(_) if p.k.is_empty() => vec![],
            Some(steps) => vec![(p.extent(&p.k), steps)],
            None => {
                let steps =
                    |axis: usize| self.parts.iter().map(|t| t.at.coefficients[axis].clone()).collect();
                p.k.iter().map(|&axis| (extents[axis].clone(), steps(axis))).collect()
            }
        }
    }

    /// Runs `body` for every position of the sum, with the addresses there.
    fn walk(
        &self,
        g: &mut Gen<'_, '_>,
        (from, to): (&[Value], Value),
        width: i64,
        sums: &[(Extent, Vec<Extent>)],
        body: &mut dyn FnMut(&mut Gen<'_, '_>, &[Value], Value),
    ) {
        let Some(((extent, steps), rest)) = sums.split_first() else { return body(g, from, to) };
        let below = rest.iter().fold(Extent::ONE, |p, (e, _)| &p * e);
        let (zero, n) = (g.int(0), g.extent(extent));
        let init = [from, &[to]].concat();
        g.carry((zero, n), 1, &init, |g, _, at| {
            let (to, from) = at.split_last().expect("the panel's own address is the last");
            self.walk(g, (from, *to), width, rest, body);
            let mut next: Vec<Value> =
                from.iter().zip(steps).map(|(&f, step)| g.plus(f, &step.scale(4))).collect();
            next.push(g.plus(*to, &below.scale(4 * width)));
            next
        });
    }

    /// Computes and stores columns from `column` on.
    fn compute(&self, g: &mut Gen<'_, '_>, from: &[Value], to: Value, column: i32, lanes: Lanes) {
        let mut inputs = Vec::with_capacity(from.len());
        for (part, &from) in self.parts.iter().zip(from) {
            inputs.push(match (part.along, lanes) {
                (Along::Next, Lanes::Four) => g.b.ins().load(F32X4, flags(), from, 4 * column),
                (Along::Next, Lanes::One) => g.b.ins().load(F32, flags(), from, 4 * column),
                (Along::Same, Lanes::One) => g.b.ins().load(F32, flags(), from, 0),
                (Along::Same, Lanes::Four) => {
                    let x = g.b.ins().load(F32, flags(), from, 0);
                    g.b.ins().splat(F32X4, x)
                }
            });
        }
        let value = emit_program(g.b, g.arithmetic, &self.program, lanes, &inputs)[0];
        g.b.ins().store(flags(), value, to, 4 * column);
    }
}
