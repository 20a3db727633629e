//! fold - evaluation of single operations on constants, for the passes.

use crate::{
    constant::{Constant, Payload, Transposed},
    dtype::Scalar,
    eval::{
        copy,
        error::{Budget, EvalError, EvalLimits},
        nest,
        tensor::Slot,
    },
    extent::Extent,
    form::Form,
    ops::{InferCx, Op},
    types::TensorType,
};

/// Constants of at least so many bytes are transposed when somebody reads them.
const LARGE: usize = 1 << 20;

/// Folds operations whose operands are constants; results are those of the evaluator, bit for bit.
#[derive(Clone, Copy, Debug)]
pub struct ConstEval {
    /// What one folding may spend; beyond it nothing is folded.
    pub limits: EvalLimits,
}

impl ConstEval {
    /// Results of `op` for `operands`; `None` if they depend on a run, the operation owns regions or calls the runtime,
    /// it fails, or the limits do not suffice.
    ///
    /// Elements that repeat stay one element, and a view shares the bytes of its operand, as a large one does whose axes change
    /// places.
    #[must_use]
    pub fn fold(&self, op: &Op, operands: &[Constant]) -> Option<Vec<Constant>> {
        if let Some(transposed) = transposed(op, operands) {
            return Some(vec![transposed]);
        }
        let types: Vec<TensorType> = operands.iter().map(Constant::ty).collect();
        let types: Vec<&TensorType> = types.iter().collect();
        op.check_arity(types.len()).ok()?;
        let results = op.def().infer(&InferCx { operands: &types, regions: &[] }).ok()?;
        let results: Vec<&TensorType> = results.iter().collect();
        let dims: Vec<Vec<i64>> = results.iter().map(|ty| ty.dims()).collect::<Option<_>>()?;
        let mut budget = Budget::new(&self.limits);
        match op.def().form(&types, &results) {
            Form::Loops(form) => {
                let values: Vec<Option<Scalar>> = operands.iter().map(Constant::as_splat).collect();
                if let Some(values) = nest::splat(&form, &values) {
                    budget.elements(&dims[0], results[0].dtype.bytes()).ok()?;
                    let splat = |(i, &value): (usize, &Scalar)| {
                        Constant::new(results[i].dtype, &dims[i], Payload::Splat(rounded(results[i], value)))
                    };
                    return values.iter().enumerate().map(splat).collect();
                }
                let operands: Vec<Slot> = operands.iter().map(Slot::of_constant).collect();
                constants(nest::evaluate(&form, &operands, &extent, &mut budget).ok()?)
            }
            Form::View => {
                let view = Constant::new(operands[0].dtype(), &dims[0], operands[0].payload().clone())?;
                (view.elements() == operands[0].elements()).then(|| vec![view])
            }
            Form::Concat { axis } => {
                let operands: Vec<Slot> = operands.iter().map(Slot::of_constant).collect();
                constants(vec![copy::concat(axis, &operands, &mut budget).ok()?])
            }
            Form::Scatter(form) => {
                let operands: Vec<Slot> = operands.iter().map(Slot::of_constant).collect();
                constants(vec![copy::scatter(&form, &operands, &extent, &mut budget).ok()?])
            }
            Form::Extents(extents) => {
                let values: Vec<Scalar> =
                    extents.iter().map(|e| e.as_const().map(Scalar::i64)).collect::<Option<_>>()?;
                Some(vec![Constant::from_scalars(results[0].dtype, &dims[0], &values)])
            }
            Form::Constant | Form::ReadExtents(_) | Form::Region | Form::Composite | Form::Extern(_) => None,
        }
    }
}

/// What an operation gives that only moves the axes of a large constant.
#[must_use]
pub fn transposed(op: &Op, operands: &[Constant]) -> Option<Constant> {
    let (Op::Transpose(op), [of]) = (op, operands) else { return None };
    let Payload::Range { len: LARGE.., .. } = of.payload() else { return None };
    let dims: Vec<i64> = op.perm.iter().map(|&p| of.dims().get(p).copied()).collect::<Option<_>>()?;
    Constant::new(of.dtype(), &dims, Payload::Transposed(Transposed::new(of.clone(), &op.perm)?))
}

fn extent(e: &Extent) -> Result<i64, EvalError> {
    e.as_const().ok_or_else(|| EvalError::bug(format!("{e} is known when running only")))
}

fn constants(results: Vec<Slot>) -> Option<Vec<Constant>> {
    results.into_iter().map(|slot| slot.into_tensor().into_constant()).collect()
}

/// What an element of `ty` is after a store: `f16` and `bf16` round.
fn rounded(ty: &TensorType, value: Scalar) -> Scalar {
    let mut element = [0; 8];
    value.store(ty.dtype, &mut element);
    Scalar::load(ty.dtype, &element)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dtype::DType, entity::EntityId, extent::SymbolId, ops};

    #[test]
    fn folding_keeps_splats_and_shares_bytes() {
        let fold = ConstEval { limits: EvalLimits { tensor_bytes: 1 << 20, points: 1 << 10 } };
        let splat = |dims: &[i64], x: f32| {
            Constant::new(DType::F32, dims, Payload::Splat(Scalar::f32(x))).expect("valid")
        };
        let got = fold
            .fold(&ops::Add {}.into(), &[splat(&[300, 300], 1.5), splat(&[300, 300], 2.0)])
            .expect("folds");
        assert!(matches!(got[0].payload(), Payload::Splat(s) if *s == Scalar::f32(3.5)));
        assert!(
            fold.fold(&ops::Add {}.into(), &[splat(&[3000, 300], 1.5), splat(&[3000, 300], 2.0)]).is_none()
        );

        let vector = Constant::from_scalars(DType::F32, &[4], &[1., 2., 3., 4.].map(Scalar::f32));
        let matrix = vec![Extent::Const(2), Extent::Const(2)];
        let got =
            fold.fold(&ops::Reshape { shape: matrix }.into(), std::slice::from_ref(&vector)).expect("folds");
        assert_eq!(got[0].dims(), [2, 2]);
        let got = fold.fold(&ops::Transpose { perm: vec![1, 0] }.into(), &got).expect("folds");
        assert_eq!(got[0].scalars(), [1., 3., 2., 4.].map(Scalar::f32));
        let wide = vec![Extent::Const(2000), Extent::Const(4)];
        assert!(
            fold.fold(&ops::Broadcast { shape: wide }.into(), &[vector]).is_none(),
            "over the limit of points"
        );
        let unknown = ops::Extents { values: vec![Extent::symbol(SymbolId::new(0))] };
        assert!(fold.fold(&unknown.into(), &[]).is_none());
    }
}
