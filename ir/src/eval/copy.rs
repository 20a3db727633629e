//! copy - concatenations and scatters.

use crate::{
    dtype::Scalar,
    eval::{
        element,
        error::{Budget, EvalError},
        index::{At, Index},
        nest::for_each_row,
        read::{IndexRow, Readers},
        tensor::{Slot, gather, put, strides},
    },
    extent::Extent,
    form::{ScatterCombine, ScatterForm},
    program::Binary,
};

/// Operands one after another along `axis`.
pub(super) fn concat(axis: usize, operands: &[Slot], budget: &mut Budget) -> Result<Slot, EvalError> {
    let first = operands.first().ok_or_else(|| EvalError::bug("concat of nothing"))?;
    let mut dims = first.dims.clone();
    dims[axis] = operands.iter().map(|o| o.dims[axis]).sum();
    if let Some(odd) = operands.iter().find(|o| !same_but(&o.dims, &dims, axis)) {
        let message = format!("{:?} does not join {:?} along axis {axis}", odd.dims, first.dims);
        return Err(EvalError::new(236, message));
    }
    budget.take_points(&dims)?;
    budget.elements(&dims, first.dtype.bytes())?;
    let outer: i64 = dims[..axis].iter().product();
    let mut bytes = Vec::new();
    for i in 0..outer as usize {
        for operand in operands {
            let chunk = operand.bytes().len() / outer as usize;
            bytes.extend_from_slice(&operand.bytes()[i * chunk..(i + 1) * chunk]);
        }
    }
    Ok(Slot::new(first.dtype, &dims, bytes))
}

fn same_but(a: &[i64], b: &[i64], axis: usize) -> bool {
    a.len() == b.len() && (0..a.len()).all(|i| i == axis || a[i] == b[i])
}

/// A copy of operand 0 with updates written into it.
pub(super) fn scatter(
    form: &ScatterForm,
    operands: &[Slot],
    extent: &dyn Fn(&Extent) -> Result<i64, EvalError>,
    budget: &mut Budget,
) -> Result<Slot, EvalError> {
    let dims: Vec<i64> = form.space.iter().map(extent).collect::<Result<_, _>>()?;
    budget.take_points(&dims)?;
    let mut result = operands[0].clone();
    let (dtype, extents, strides) = (result.dtype, result.dims.clone(), strides(&result.dims));
    let join = match form.combine {
        ScatterCombine::Replace => None,
        ScatterCombine::Add => Some(Binary::Add),
        ScatterCombine::Mul => Some(Binary::Mul),
        ScatterCombine::Max => Some(Binary::Max),
        ScatterCombine::Min => Some(Binary::Min),
    };
    let join = match join {
        None => None,
        Some(op) => {
            let f = element::binary(op, dtype.compute());
            Some(f.ok_or_else(|| EvalError::bug(format!("scatter joins {dtype} by {op:?}")))?)
        }
    };
    let readers = Readers::new(&form.loads, operands, &dims, extent)?;
    let index: Vec<Index> =
        form.index.iter().map(|ix| Index::new(ix, dims.len(), extent)).collect::<Result<_, _>>()?;

    let bytes = result.bytes_mut();
    // The lane is the innermost axis, so that updates come in row-major order.
    let mut at = At { position: vec![0; dims.len()], lane: dims.len().checked_sub(1) };
    for_each_row(&mut at, 0..dims.len(), &dims, &mut |at, n| {
        let mut offsets = vec![0i64; n];
        let mut row = IndexRow::from_elem(0, n);
        for (index, (&extent, &stride)) in index.iter().zip(extents.iter().zip(&strides)) {
            readers.index(index, at, &mut row)?;
            if let Some(bad) = row.iter().find(|&&x| x < 0 || x >= extent) {
                return Err(EvalError::new(805, format!("index {bad} not in [0, {extent})")));
            }
            offsets.iter_mut().zip(&row).for_each(|(offset, x)| *offset += x * stride);
        }
        let mut updates = vec![0; n];
        readers.row(0, at, &mut updates)?;
        for (&offset, &update) in offsets.iter().zip(&updates) {
            let (mut old, mut new) = ([0], [update]);
            if let Some(f) = join {
                gather(dtype, bytes, std::iter::once(offset as usize), &mut old);
                f(&mut new, &old, &[update]);
            }
            put(dtype, bytes, offset as usize, 0, &new);
        }
        Ok(())
    })?;
    Ok(result)
}

/// Elements of a scalar `bool` or integer.
pub(super) fn scalar(slot: &Slot) -> Result<i64, EvalError> {
    let one = (slot.elements() == 1).then(|| slot.scalar(0));
    one.and_then(Scalar::as_i64).ok_or_else(|| EvalError::bug("a scalar integer was expected"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dtype::DType,
        eval::{EvalLimits, Tensor},
        form::{Bounds, Ix, Load},
    };

    #[test]
    fn updates_are_written_in_order() {
        let load = |operand: usize, dtype: DType| Load {
            operand,
            dtype,
            index: vec![Ix::Axis(0)],
            extents: vec![Extent::Const(3)],
            bounds: Bounds::Inside,
        };
        let scattered = |combine: ScatterCombine, places: &[i64]| {
            let form = ScatterForm {
                space: vec![Extent::Const(3)],
                loads: vec![load(2, DType::F16), load(1, DType::I64)],
                index: vec![Ix::Load(1)],
                combine,
            };
            let half = |x: &[f32]| {
                Tensor::from_scalars(
                    DType::F16,
                    &[x.len() as i64],
                    &x.iter().map(|&x| Scalar::f32(x)).collect::<Vec<_>>(),
                )
            };
            let operands = [half(&[1., 2.]), Tensor::i64s(&[3], places), half(&[3., 5., 7.])]
                .map(|t| Slot::of_tensor(&t));
            let known = |e: &Extent| Ok(e.as_const().expect("tests use constants"));
            let result = scatter(&form, &operands, &known, &mut Budget::new(&EvalLimits::GENEROUS))?;
            Ok::<_, EvalError>(
                result.into_tensor().scalars().into_iter().map(Scalar::to_f32).collect::<Vec<_>>(),
            )
        };
        assert_eq!(scattered(ScatterCombine::Replace, &[0, 1, 0]).expect("runs"), [7., 5.]);
        assert_eq!(scattered(ScatterCombine::Add, &[0, 1, 0]).expect("runs"), [11., 7.]);
        assert_eq!(scattered(ScatterCombine::Mul, &[0, 1, 0]).expect("runs"), [21., 10.]);
        assert_eq!(scattered(ScatterCombine::Max, &[0, 0, 0]).expect("runs"), [7., 2.]);
        assert_eq!(scattered(ScatterCombine::Min, &[0, 1, 1]).expect("runs"), [1., 2.]);
        assert_eq!(scattered(ScatterCombine::Add, &[0, 2, 0]).expect_err("out of range").code, 805);
    }
}
