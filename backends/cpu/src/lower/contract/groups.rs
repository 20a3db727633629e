//! groups - a product and the nest that joins columns of it, as one problem: gates of recurrent cells, gated units.
//!
//! ```text
//! t = a x b + x                  b: [k, groups * n]
//! y[m, j] = f(t[m, c0 + j], t[m, c1 + j], ..., other operands at [m, j])
//! ```
//!
//! The columns of `y` are the problem's; each has a sum in every group, and `f` is the epilogue that joins them. So `t` is
//! never in memory. Panels of B have the columns of all groups side by side.

use nnc_ir::{
    constant::Constant,
    dtype::{DType, Scalar},
    extent::{Extent, product as extent_of},
    form::{Bounds, LoopForm},
    program::{Inst, MulAdds, Program},
};
use nnc_tile::{
    epilogue::{Epilogue, EpilogueInput},
    program::{Ref as Lane, VectorProgram},
};

use super::{
    Refusal,
    analyze::{BFrom, Linear, Problem},
    epilogue::{self, Operand},
    split::{self, Nest},
};
use crate::{kernel::NestRequest, lower::access::Access, tile::Arithmetic};

/// Most groups: more than these leave no registers for several rows.
const MOST: usize = 4;
/// Most operands of the epilogue.
const OPERANDS: usize = 12;

/// A product, the nest that reads it, and the number of the operand that it is there.
#[derive(Clone, Copy)]
pub(crate) struct Pair<'a> {
    pub(crate) product: &'a NestRequest,
    pub(crate) finish: &'a NestRequest,
    pub(crate) read: usize,
}

/// An operand of the epilogue before it has a number.
#[derive(Clone, PartialEq)]
struct Wanted {
    /// Number of the load in the joined nest.
    load: usize,
    /// Number of the operand in the joined request.
    operand: usize,
    kind: EpilogueInput,
    row_stride: Extent,
    base: Extent,
}

impl Wanted {
    /// Columns from `other` on, if both are columns of one tensor.
    fn behind(&self, other: &Wanted) -> Option<u32> {
        let columns = matches!(self.kind, EpilogueInput::Col | EpilogueInput::Tile);
        let alike = self.operand == other.operand && self.kind == other.kind;
        let by = (&self.base - &other.base).as_const().filter(|_| columns && alike)?;
        u32::try_from(by).ok().filter(|by| *by < 1 << 20 && self.row_stride == other.row_stride)
    }
}

/// What the second nest computes, over axes that are no formality.
struct After {
    nest: Nest,
    rows: Vec<usize>,
    column: usize,
    places: Vec<Option<Linear>>,
}

impl After {
    fn of(finish: &NestRequest) -> Option<After> {
        let form = &finish.form;
        if form.combine.is_some() || form.results.len() > 2 {
            return None;
        }
        let pointwise = LoopForm { finish: form.body.clone(), ..form.clone() };
        let nest = split::nest(&NestRequest { form: pointwise, ..finish.clone() });
        let column = nest.space.checked_sub(1)?;
        let of_load = |l: &nnc_ir::form::Load| match (l.bounds, l.dtype) {
            (Bounds::Inside, DType::F32) => Linear::of(&Access::of_load(l, &nest.extents)),
            _ => None,
        };
        let places = nest.loads.iter().map(of_load).collect();
        Some(After { rows: (0..column).collect(), column, places, nest })
    }

    /// Distances of rows and of columns.
    fn steps(&self, at: &Linear) -> Option<(Extent, Extent)> {
        Some((at.stride(&self.rows, &self.nest.extents)?, at.coefficients[self.column].clone()))
    }
}

const APART: Refusal = "columns are joined that lie apart";

impl Problem {
    /// The two nests as one problem, and the request whose operands and results it has.
    pub(super) fn of_groups(pair: &Pair<'_>) -> Result<(Problem, NestRequest), Refusal> {
        // Only wide tiles do it, and all machines that have these have the instruction.
        let settled = |r: &NestRequest| NestRequest { form: r.form.settled(MulAdds::Fused), ..r.clone() };
        let (product, finish, read) = (&settled(pair.product), &settled(pair.finish), pair.read);
        let pair = &Pair { product, finish, read };
        let own = Problem::of(product)?;
        let BFrom::Linear { at: b_at, n_stride } = &own.b_from else { return Err(APART) };
        let constant = product.operands[own.nest.loads[own.b].operand].constant.as_ref();
        let known = |axes: &[usize]| {
            axes.iter().all(|&a| own.nest.extents[a].as_const().is_some_and(|n| n > 0))
                && axes.iter().all(|&a| b_at.coefficients[a].as_const().is_some())
        };
        let whole = own.extent(&own.n).as_const().ok_or(APART)?;
        let plain = own.outer.is_empty() && own.prologue.is_none() && own.is_single();
        let packed = constant.is_some_and(|c| c.dtype() == DType::F32) && b_at.base.as_const().is_some();
        if !plain
            || !packed
            || !known(&own.n)
            || !known(&own.k)
            || product.placement.iter().any(Option::is_some)
        {
            return Err("its weights are not known, or there is more than a product");
        }
        let after = After::of(finish).ok_or("what follows is no nest of elements")?;
        let extents = &after.nest.extents;
        if extent_of(after.rows.iter().map(|&r| &extents[r])) != own.extent(&own.m) {
            return Err(APART);
        }
        let groups = Groups::of(&after, read, whole)?;
        let shift = product.operands.len();
        let n_loads = own.nest.loads.len();
        let mut translation = Translation {
            own: &own,
            after: &after,
            groups: &groups,
            pair,
            wanted: Vec::new(),
            numbers: Vec::new(),
        };
        translation.program()?;
        let inputs = translation.give_numbers()?;
        let program = translation.program()?;
        let (ordered, kinds): (Vec<Wanted>, Vec<EpilogueInput>) = inputs.into_iter().unzip();

        // One axis of rows, if there are any, one of columns, and those of the sum.
        let rows = own.extent(&own.m);
        let has_rows = !own.m.is_empty();
        let column = usize::from(has_rows);
        let sums = own.k.iter().map(|&k| own.nest.extents[k].clone());
        let axes: Vec<Extent> =
            has_rows.then_some(rows).into_iter().chain([extents[after.column].clone()]).chain(sums).collect();
        let k: Vec<usize> = (column + 1..axes.len()).collect();
        let linear = |base: Extent, row: Extent, col: Extent, of_k: &dyn Fn(usize) -> Extent| Linear {
            base,
            coefficients: (has_rows.then_some(row).into_iter())
                .chain([col])
                .chain(own.k.iter().map(|&k| of_k(k)))
                .collect(),
        };
        let none = |_: usize| Extent::ZERO;
        let mut results = Vec::new();
        for at in Linear::of_results(&after.nest) {
            let (row, col) = after.steps(&at).filter(|(_, col)| col.is(1)).ok_or(APART)?;
            results.push((linear(at.base, row.clone(), col, &none), row));
        }
        let mut results = results.into_iter();
        let (c_at, c_row) = results.next().ok_or(APART)?;
        let operands = ordered.iter().zip(&kinds).map(|(w, &kind)| {
            let operand = Operand { load: w.load, kind, row_stride: w.row_stride.clone() };
            (operand, linear(w.base.clone(), Extent::ZERO, Extent::ZERO, &none))
        });
        let operands: Vec<(Operand, Linear)> = operands.collect();
        let stores = finish.form.results.iter().map(|&d| epilogue::element(d, false).ok_or(epilogue::STORED));
        let stores = stores.collect::<Result<Vec<_>, _>>()?;
        let sums = u16::try_from(groups.0.len()).map_err(|_| APART)?;
        let mut loads = own.nest.loads.clone();
        loads.extend(after.nest.loads.iter().cloned().map(|mut load| {
            load.operand += shift;
            load
        }));
        debug_assert_eq!(loads.len(), n_loads + after.nest.loads.len());
        let nest =
            Nest { extents: axes, space: column + 1, loads, finish: Program::default(), results: Vec::new() };
        let of_k = |at: &Linear| {
            let coefficients = at.coefficients.clone();
            move |k: usize| coefficients[k].clone()
        };
        let problem = Problem {
            splats: vec![],
            product: own.product,
            further_operands: vec![],
            nest,
            outer: Vec::new(),
            m: if has_rows { vec![0] } else { Vec::new() },
            n: vec![column],
            flat: true,
            k,
            a: own.a,
            b: own.b,
            a_at: linear(own.a_at.base.clone(), own.a_row.clone(), Extent::ZERO, &of_k(&own.a_at)),
            a_row: own.a_row.clone(),
            a_k: own.a_k.clone(),
            b_from: BFrom::Linear {
                at: linear(b_at.base.clone(), Extent::ZERO, n_stride.clone(), &of_k(b_at)),
                n_stride: n_stride.clone(),
            },
            prologue: None,
            c_at,
            c_row,
            further: results.collect(),
            epilogue: Some(Epilogue { program, sums, inputs: kinds, stores }),
            operands,
            level: None,
            arithmetic: Arithmetic { fused: true },
            groups: groups.0,
        };
        let request = NestRequest {
            operands: product.operands.iter().chain(&finish.operands).cloned().collect(),
            results: finish.results.clone(),
            placement: finish.placement.clone(),
            ..product.clone()
        };
        Ok((problem, request))
    }
}

/// First columns of the groups, in order.
struct Groups(Vec<i64>);

impl Groups {
    fn of(after: &After, read: usize, whole: i64) -> Result<Groups, Refusal> {
        let own = after.nest.extents[after.column].as_const().ok_or(APART)?;
        let mut first = Vec::new();
        for (load, at) in after.nest.loads.iter().zip(&after.places).filter(|(l, _)| l.operand == read) {
            let at = at.as_ref().ok_or(APART)?;
            let (row, col) = after.steps(at).ok_or(APART)?;
            let in_rows = after.rows.is_empty() || row.is(whole);
            let start = at.base.as_const().filter(|s| (0..=whole - own).contains(s));
            first.push(start.filter(|_| in_rows && col.is(1)).ok_or(APART)?);
            debug_assert_eq!(load.operand, read);
        }
        first.sort_unstable();
        first.dedup();
        if (2..=MOST).contains(&first.len()) {
            Ok(Groups(first))
        } else {
            Err("it joins no groups of columns")
        }
    }
}

/// The epilogue in the making: once to find its operands, and again when these have numbers.
struct Translation<'a> {
    own: &'a Problem,
    after: &'a After,
    groups: &'a Groups,
    pair: &'a Pair<'a>,
    wanted: Vec<Wanted>,
    /// Which input each of those is.
    numbers: Vec<usize>,
}

impl Translation<'_> {
    fn program(&mut self) -> Result<VectorProgram, Refusal> {
        let mut out = VectorProgram::new();
        let (own, after, pair) = (self.own, self.after, *self.pair);
        let mut sums: Vec<Lane> = Vec::new();
        for (group, &first) in self.groups.0.iter().enumerate() {
            let acc = out.input(u16::try_from(group).map_err(|_| APART)?);
            let results = epilogue::splice(&mut out, &own.nest.finish, &mut |out, inst| match *inst {
                Inst::Acc(_) => Ok(acc),
                Inst::Load(l) => match splat_of(pair.product, &own.nest, l) {
                    Some(c) => epilogue::constant(out, c),
                    None => {
                        let (o, at) = (own.operands.iter().find(|(o, _)| o.load == l)).ok_or(APART)?;
                        let columns = matches!(o.kind, EpilogueInput::Col | EpilogueInput::Tile);
                        let by = Extent::Const(if columns { first } else { 0 });
                        self.operand(
                            out,
                            Wanted {
                                load: l,
                                operand: own.nest.loads[l].operand,
                                kind: o.kind,
                                row_stride: o.row_stride.clone(),
                                base: &at.base + &by,
                            },
                        )
                    }
                },
                _ => Err(APART),
            })?;
            sums.push(results[0]);
        }
        let results = epilogue::splice(&mut out, &after.nest.finish, &mut |out, inst| {
            let Inst::Load(l) = *inst else { return Err(APART) };
            let load = &after.nest.loads[l];
            if let Some(c) = splat_of(pair.finish, &after.nest, l) {
                return epilogue::constant(out, c);
            }
            let at = after.places[l].as_ref().ok_or(APART)?;
            if load.operand == pair.read {
                let group = self.groups.0.iter().position(|&c| at.base.is(c)).ok_or(APART)?;
                return Ok(sums[group]);
            }
            let (row, col) = after.steps(at).ok_or(APART)?;
            let kind = epilogue::kind(&row, &col)?;
            self.operand(
                out,
                Wanted {
                    load: own.nest.loads.len() + l,
                    operand: pair.product.operands.len() + load.operand,
                    kind,
                    row_stride: row,
                    base: at.base.clone(),
                },
            )
        })?;
        results.into_iter().for_each(|r| out.result(r));
        Ok(out)
    }

    /// An operand as an input of the program; its number is right when all are known.
    fn operand(&mut self, out: &mut VectorProgram, wanted: Wanted) -> Result<Lane, Refusal> {
        let at = match self.wanted.iter().position(|w| *w == wanted) {
            Some(at) => at,
            None => {
                self.wanted.push(wanted);
                self.wanted.len() - 1
            }
        };
        let number = self.groups.0.len() + self.numbers.get(at).copied().unwrap_or(at);
        Ok(out.input(u16::try_from(number).map_err(|_| APART)?))
    }

    /// The operands in the order of their inputs: what lies behind columns of another comes after it.
    fn give_numbers(&mut self) -> Result<Vec<(Wanted, EpilogueInput)>, Refusal> {
        if self.wanted.len() > OPERANDS {
            return Err("what joins the columns reads too many operands");
        }
        let mut order: Vec<usize> = (0..self.wanted.len()).collect();
        // A tensor's first columns first.
        let before = |w: &Wanted| self.wanted.iter().filter(|o| w.behind(o).is_some_and(|by| by > 0)).count();
        order.sort_by_key(|&i| before(&self.wanted[i]));
        let mut inputs: Vec<(Wanted, EpilogueInput)> = Vec::new();
        self.numbers = vec![0; self.wanted.len()];
        for i in order {
            let wanted = &self.wanted[i];
            self.numbers[i] = inputs.len();
            let owner = inputs.iter().enumerate().find_map(|(at, (other, kind))| {
                let owns = !matches!(kind, EpilogueInput::Behind { .. });
                wanted.behind(other).filter(|_| owns).map(|by| (at, by))
            });
            let kind = match owner {
                Some((at, by)) => EpilogueInput::Behind { input: u16::try_from(at).map_err(|_| APART)?, by },
                None => wanted.kind,
            };
            inputs.push((wanted.clone(), kind));
        }
        Ok(inputs)
    }
}

/// The element that a load reads everywhere, if it is one and known.
fn splat_of(request: &NestRequest, nest: &Nest, load: usize) -> Option<Scalar> {
    let load = &nest.loads[load];
    let constant: Option<&Constant> = request.operands.get(load.operand)?.constant.as_ref();
    epilogue::splat_of(constant).filter(|c| load.bounds == Bounds::Inside && c.dtype == DType::F32)
}
