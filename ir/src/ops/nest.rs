//! nest - helpers to write forms and inference shortly.

use crate::{
    dtype::DType,
    extent::{Atom, Extent, SymbolId},
    form::{Bounds, Form, Ix, Load, LoopForm},
    program::{Builder, Program, Ref},
    types::TensorType,
};

/// Defines an operation without attributes that computes each element from those at the same place.
///
/// `name: mnemonic, elements it takes [-> element type of the result], body`.
macro_rules! pointwise_op {
    ($(#[$doc:meta])* $name:ident: $mnemonic:literal, $elements:ident $(-> $result:ident)?, $body:expr) => {
        attrs! { $(#[$doc])* $name {} }

        impl $crate::ops::OpDef for $name {
            fn infer(
                &self,
                cx: &$crate::ops::InferCx<'_>,
            ) -> Result<Vec<$crate::types::TensorType>, String> {
                let ty = $crate::ops::nest::elementwise(
                    $mnemonic,
                    $crate::ops::nest::Elements::$elements,
                    cx.operands,
                )?;
                $(let ty = ty.with_dtype($crate::dtype::DType::$result);)?
                Ok(vec![ty])
            }
            fn form(
                &self,
                operands: &[&$crate::types::TensorType],
                results: &[&$crate::types::TensorType],
            ) -> $crate::form::Form {
                $crate::ops::nest::pointwise(operands, results[0], $body)
            }
        }
    };
}

/// Which element types an operation takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Elements {
    /// Every type.
    Any,
    /// Floats.
    Float,
    /// Floats and integers.
    Number,
    /// Integers.
    Int,
    /// `bool`.
    Bool,
    /// `bool` and integers.
    Bits,
}

impl Elements {
    /// Checks (C2) of an operation.
    pub(super) fn check(self, op: &str, dtype: DType) -> Result<(), String> {
        let (what, holds) = match self {
            Elements::Any => ("any", true),
            Elements::Float => ("float", dtype.is_float()),
            Elements::Number => ("number", dtype != DType::Bool),
            Elements::Int => ("integer", dtype.is_int()),
            Elements::Bool => ("bool", dtype == DType::Bool),
            Elements::Bits => ("bool or integer", !dtype.is_float()),
        };
        require(op, what, holds, dtype)
    }
}

/// The common type (C1) of the operands, of elements that the operation takes (C2).
pub(super) fn elementwise(
    op: &str,
    elements: Elements,
    operands: &[&TensorType],
) -> Result<TensorType, String> {
    let ty = same_type(op, operands)?;
    elements.check(op, ty.dtype)?;
    Ok(ty.clone())
}

/// Checks that all operands have the type of the first (C1), and gives it.
pub(super) fn same_type<'a>(op: &str, operands: &[&'a TensorType]) -> Result<&'a TensorType, String> {
    let (first, rest) = operands.split_first().ok_or_else(|| format!("{op}: needs an operand"))?;
    match rest.iter().find(|ty| *ty != first) {
        Some(odd) => Err(format!("{op} (C1): {odd} differs from {first}")),
        None => Ok(first),
    }
}

/// Checks that `dtype` is one the operation takes.
pub(super) fn require(op: &str, what: &str, holds: bool, dtype: DType) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{op} (C2): needs {what} elements, has {dtype}")) }
}

/// Checks that an axis is one of `ty`.
pub(super) fn check_axis(op: &str, constraint: &str, axis: usize, ty: &TensorType) -> Result<(), String> {
    if axis < ty.rank() {
        Ok(())
    } else {
        Err(format!("{op} ({constraint}): axis {axis} is outside of {ty}"))
    }
}

/// Greatest magnitude of strides, paddings and the like: sums of a few products of it with a position stay in `i64`.
const MAX_ATTRIBUTE: i64 = 1 << 31;

/// Checks that every number lies between `least` and 2^31.
pub(super) fn check_range(
    op: &str,
    constraint: &str,
    what: &str,
    values: &[i64],
    least: i64,
) -> Result<(), String> {
    match values.iter().find(|&&x| x < least || x > MAX_ATTRIBUTE) {
        Some(x) => Err(format!("{op} ({constraint}): {what} {x} is outside of {least}..={MAX_ATTRIBUTE}")),
        None => Ok(()),
    }
}

/// Checks that two extents may be equal.
pub(super) fn check_same(
    op: &str,
    constraint: &str,
    what: &str,
    a: &Extent,
    b: &Extent,
) -> Result<(), String> {
    if a.same(b) == Some(false) { Err(format!("{op} ({constraint}): {what} is {a} and {b}")) } else { Ok(()) }
}

/// Checks that no known extent is negative.
pub(super) fn check_extents(op: &str, constraint: &str, shape: &[Extent]) -> Result<(), String> {
    match shape.iter().find(|e| e.as_const().is_some_and(|c| c < 0)) {
        Some(e) => Err(format!("{op} ({constraint}): extent {e} is negative")),
        None => Ok(()),
    }
}

/// Whether the extent is known to be at least 1.
pub(super) fn is_positive(extent: &Extent) -> bool {
    extent.as_const().is_some_and(|c| c > 0)
}

/// The symbol, if the extent is nothing else.
fn as_symbol(extent: &Extent) -> Option<SymbolId> {
    let Extent::Expr(p) = extent else { return None };
    match (&p.terms[..], p.constant) {
        ([term], 0) if term.coefficient == 1 => match term.atoms[..] {
            [Atom::Symbol(s)] => Some(s),
            _ => None,
        },
        _ => None,
    }
}

/// What an extern form says of results whose axes `(result, axis)` have the extent `count`.
pub(super) fn defines(axes: &[(usize, usize)], count: &Extent) -> Vec<(usize, usize, SymbolId)> {
    as_symbol(count).map_or(vec![], |s| axes.iter().map(|&(result, axis)| (result, axis, s)).collect())
}

/// The number of an axis, or of axes, as an attribute of an extern form.
pub(super) fn axis_attr(axis: usize) -> i64 {
    i64::try_from(axis).expect("a tensor has few axes")
}

/// Reads operand `operand` at `index`, always in range.
pub(super) fn load(operand: usize, ty: &TensorType, index: Vec<Ix>) -> Load {
    Load { operand, dtype: ty.dtype, index, extents: ty.shape.clone(), bounds: Bounds::Inside }
}

/// Reads operand `operand` at `index` with `bounds`.
pub(super) fn load_within(operand: usize, ty: &TensorType, index: Vec<Ix>, bounds: Bounds) -> Load {
    Load { bounds, ..load(operand, ty, index) }
}

/// A nest without reduction: reads every operand at the same place and computes `body`.
pub(super) fn pointwise(
    operands: &[&TensorType],
    result: &TensorType,
    body: impl FnOnce(&mut Builder, &[Ref]) -> Ref,
) -> Form {
    let rank = result.rank();
    let loads: Vec<Load> =
        operands.iter().enumerate().map(|(i, ty)| load(i, ty, LoopForm::identity(rank))).collect();
    let mut b = Builder::new();
    let inputs: Vec<Ref> = loads.iter().enumerate().map(|(k, l)| b.load(k, l.dtype)).collect();
    let value = body(&mut b, &inputs);
    map_form(result, loads, b.finish([value]))
}

/// A nest without reduction that only moves elements: the result is the last load. A load's index refers to loads
/// before it, so the integers that decide where come first.
pub(super) fn movement(result: &TensorType, loads: Vec<Load>) -> Form {
    let mut b = Builder::new();
    let last = loads.len() - 1;
    let value = b.load(last, loads[last].dtype);
    map_form(result, loads, b.finish([value]))
}

/// A nest without reduction with any loads and body.
pub(super) fn map_form(result: &TensorType, loads: Vec<Load>, body: Program) -> Form {
    Form::Loops(LoopForm {
        space: result.shape.clone(),
        reduce: Vec::new(),
        loads,
        body,
        combine: None,
        finish: Program::default(),
        results: vec![result.dtype],
    })
}

/// The program that gives load 0.
pub(super) fn first_load(dtype: DType) -> Program {
    let mut b = Builder::new();
    let x = b.load(0, dtype);
    b.finish([x])
}

/// The program that gives the product of loads 0 and 1.
pub(super) fn product_of_loads(lhs: DType, rhs: DType) -> Program {
    let mut b = Builder::new();
    let (x, y) = (b.load(0, lhs), b.load(1, rhs));
    let product = b.mul(x, y);
    b.finish([product])
}

/// The program that gives accumulator 0.
pub(super) fn accumulator(dtype: DType) -> Program {
    let mut b = Builder::new();
    let acc = b.acc(0, dtype);
    b.finish([acc])
}
