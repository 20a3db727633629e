//! positions - what the end of a reduction computes from positions alone is a constant made when compiling.
//!
//! A mean that leaves padding out divides by the number of taps inside, which depends on where the window is and on nothing
//! else. Counted for each element it keeps the nest out of lanes; read from a constant of the plane's shape it does not.

use nnc_ir::{
    constant::Constant,
    dtype::{DType, Scalar},
    eval::eval_program,
    extent::Extent,
    form::{Bounds, Ix, Load, LoopForm},
    program::{Builder, Inst, Program, Ref},
};

/// Constants have at most so many elements.
const MOST_ELEMENTS: i64 = 1 << 16;

/// A form that reads a new operand, and the constant that is to be the operand.
pub(super) struct Read {
    pub(super) form: LoopForm,
    pub(super) constant: Constant,
}

/// The form with one value of its `finish` that depends on positions alone read from operand number `operand`.
pub(super) fn read_positions(form: &LoopForm, operand: usize) -> Option<Read> {
    form.combine?;
    let root = root(&form.finish)?;
    let axes = axes_of(&form.finish, root);
    let extent = |axis: usize| form.space.get(axis).and_then(Extent::as_const).filter(|&n| n > 0);
    let dims: Vec<i64> = (0..form.space.len())
        .map(|axis| if axes.contains(&axis) { extent(axis) } else { Some(1) })
        .collect::<Option<_>>()?;
    let many = dims.iter().try_fold(1i64, |n, &d| n.checked_mul(d).filter(|&n| n <= MOST_ELEMENTS));
    if axes.is_empty() || axes.iter().any(|&a| a >= form.space.len()) || many.is_none() {
        return None;
    }
    let constant = Constant::from_scalars(DType::F32, &dims, &evaluate(&form.finish, root, &dims)?);
    let index = |axis: usize| if dims[axis] == 1 { Ix::int(0) } else { Ix::Axis(axis) };
    let load = Load {
        operand,
        dtype: DType::F32,
        index: (0..dims.len()).map(index).collect(),
        extents: dims.iter().map(|&d| Extent::Const(d)).collect(),
        bounds: Bounds::Inside,
    };
    let mut new = form.clone();
    new.loads.push(load);
    new.finish = replaced(&form.finish, root, Inst::Load(new.loads.len() - 1));
    Some(Read { form: new, constant })
}

/// The form with a value of its `finish` that is the same everywhere and known when compiling as a constant: the count of
/// windows that have no padding.
pub(super) fn fold_counts(form: &LoopForm) -> Option<LoopForm> {
    form.combine?;
    let root = root(&form.finish)?;
    if !axes_of(&form.finish, root).is_empty() {
        return None;
    }
    let value = *evaluate(&form.finish, root, &[])?.first()?;
    Some(LoopForm { finish: replaced(&form.finish, root, Inst::Const(value)), ..form.clone() })
}

/// The last f32 value that is made of positions and constants alone, if it is made of positions.
fn root(program: &Program) -> Option<Ref> {
    let insts = program.insts();
    let mut of_positions = vec![(false, false); insts.len()];
    for (i, (inst, _)) in insts.iter().enumerate() {
        of_positions[i] = match inst {
            Inst::Const(_) => (true, false),
            Inst::Index(ix) => (ix.loads().is_empty(), true),
            Inst::Load(_) | Inst::Acc(_) => (false, false),
            _ => inst.refs().iter().fold((true, false), |(all, any), r| {
                let (pure, positions) = of_positions[r.index()];
                (all && pure, any || positions)
            }),
        };
    }
    let at = (0..insts.len()).rev().find(|&i| {
        let computed = !insts[i].0.refs().is_empty();
        computed && of_positions[i] == (true, true) && insts[i].1 == DType::F32
    })?;
    let user = insts.iter().flat_map(|(inst, _)| inst.refs()).chain(program.results.iter().copied());
    user.into_iter().find(|r| r.index() == at)
}

/// Axes that the value depends on.
fn axes_of(program: &Program, root: Ref) -> Vec<usize> {
    let mut needed = vec![false; program.insts().len()];
    needed[root.index()] = true;
    let mut axes = vec![];
    for (i, (inst, _)) in program.insts().iter().enumerate().rev().filter(|(i, _)| *i <= root.index()) {
        if !needed[i] {
            continue;
        }
        inst.refs().iter().for_each(|r| needed[r.index()] = true);
        if let Inst::Index(ix) = inst {
            axes.extend((0..64).filter(|&axis| ix.mentions(axis)));
        }
    }
    axes.sort_unstable();
    axes.dedup();
    axes
}

/// The value at all positions of a space of these extents.
fn evaluate(program: &Program, root: Ref, dims: &[i64]) -> Option<Vec<Scalar>> {
    // Only what the value needs: all else would want loads and accumulators.
    let mut needed = vec![false; program.insts().len()];
    needed[root.index()] = true;
    for (i, (inst, _)) in program.insts().iter().enumerate().rev() {
        if needed[i] {
            inst.refs().iter().for_each(|r| needed[r.index()] = true);
        }
    }
    let mut b = Builder::new();
    let mut map: Vec<Option<Ref>> = vec![None; program.insts().len()];
    for (i, (inst, dtype)) in program.insts().iter().enumerate().filter(|(i, _)| needed[*i]) {
        let known = inst.refs().iter().all(|r| map[r.index()].is_some());
        if !known {
            return None;
        }
        map[i] = Some(b.push(inst.map_refs(|r| map[r.index()].unwrap_or(r)), *dtype));
    }
    let alone = b.finish([map[root.index()]?]);
    let count: i64 = dims.iter().product();
    let mut out = Vec::with_capacity(usize::try_from(count).ok()?);
    for number in 0..count {
        let mut at = vec![0; dims.len()];
        let mut rest = number;
        for (axis, &n) in dims.iter().enumerate().rev() {
            (at[axis], rest) = (rest % n, rest / n);
        }
        let fine = alone.insts().iter().all(|(inst, _)| match inst {
            Inst::Index(ix) => position(ix, &at).is_some(),
            _ => true,
        });
        if !fine {
            return None;
        }
        let zero = |_: usize| Scalar::f32(0.0);
        out.push(*eval_program(&alone, &zero, &[], &|ix| position(ix, &at).unwrap_or(0)).first()?);
    }
    Some(out)
}

/// The value of an index expression; `None` if it is not known when compiling.
fn position(ix: &Ix, at: &[i64]) -> Option<i64> {
    let of = |ix: &Ix| position(ix, at);
    let above = |e: &Extent| e.as_const().filter(|&n| n > 0);
    Some(match ix {
        Ix::Axis(a) => *at.get(*a)?,
        Ix::Extent(e) => e.as_const()?,
        Ix::Add(a, b) => of(a)?.checked_add(of(b)?)?,
        Ix::Mul(a, by) => of(a)?.checked_mul(by.as_const()?)?,
        Ix::FloorDiv(a, by) => of(a)?.div_euclid(above(by)?),
        Ix::Mod(a, by) => of(a)?.rem_euclid(above(by)?),
        Ix::Min(a, b) => of(a)?.min(of(b)?),
        Ix::Max(a, b) => of(a)?.max(of(b)?),
        Ix::Bcast(a, e) => {
            if e.as_const()? == 1 {
                0
            } else {
                of(a)?
            }
        }
        Ix::Wrap(..) | Ix::Load(_) => return None,
    })
}

/// The program with a leaf in the place of a value.
fn replaced(program: &Program, root: Ref, leaf: Inst) -> Program {
    let mut b = Builder::new();
    let mut map: Vec<Ref> = Vec::with_capacity(program.insts().len());
    for (i, (inst, dtype)) in program.insts().iter().enumerate() {
        let new = if i == root.index() {
            b.push(leaf.clone(), *dtype)
        } else {
            b.push(inst.map_refs(|r| map[r.index()]), *dtype)
        };
        map.push(new);
    }
    let results: Vec<Ref> = program.results.iter().map(|r| map[r.index()]).collect();
    // What only the value needed is dropped.
    let finished = b.finish(results);
    let mut b = Builder::new();
    let results = b.splice(&finished, &mut |b, inst, dtype| b.push(inst.clone(), dtype));
    b.finish(results)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nnc_ir::{
        form::Form,
        ops::{OpDef, Pool, PoolKind},
        types::TensorType,
    };

    #[test]
    fn a_mean_without_padding_reads_its_counts() {
        let n = |x: i64| Extent::Const(x);
        let op = Pool {
            kind: PoolKind::Mean,
            kernel: vec![3],
            strides: vec![1],
            dilations: vec![1],
            pads_before: vec![1],
            spatial: vec![n(4)],
        };
        let ty = TensorType::new(DType::F32, vec![n(2), n(4)]);
        let Form::Loops(form) = op.form(&[&ty], &[&ty]) else { panic!("a pool is a nest") };
        let read = read_positions(&form, 1).unwrap_or_else(|| panic!("the count depends on positions"));
        assert_eq!(read.constant.dims(), [1, 4]);
        assert_eq!(read.constant.scalars(), [2.0, 3.0, 3.0, 2.0].map(Scalar::f32));
        assert!(!read.form.finish.insts().iter().any(|(inst, _)| matches!(inst, Inst::Index(_))));
        assert!(read_positions(&read.form, 2).is_none());
    }
}
