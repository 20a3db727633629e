//! shape - Constant, Identity, Shape, Size and other operators whose results are often known when compiling.

use nnc_ir::{dtype::DType, extent::Extent};

use crate::import::{
    Outcome, constant,
    cx::{OpCx, one},
    known,
    table::{Row, row},
    value::{Binding, Imported},
};
use crate::model::AttrValue;

pub(crate) const ROWS: &[Row] = &[
    row("Constant", 1, 0..=0, constant_op),
    row("Identity", 1, 1..=1, identity),
    row("Shape", 1, 1..=1, shape),
    row("Size", 1, 1..=1, size),
];

/// The constant of whichever attribute is there.
fn constant_op(cx: &mut OpCx<'_>) -> Outcome {
    let names = [
        "value",
        "value_float",
        "value_floats",
        "value_int",
        "value_ints",
        "value_string",
        "value_strings",
        "sparse_value",
    ];
    let Some((name, value)) = names.iter().find_map(|n| Some((*n, cx.attr(n)?))) else {
        return cx.error(204, "Constant needs the attribute 'value'");
    };
    let n = |len: usize| vec![i64::try_from(len).unwrap_or(0)];
    let scalars = |dtype, dims: &[i64], all: Vec<nnc_ir::dtype::Scalar>| {
        nnc_ir::constant::Constant::from_scalars(dtype, dims, &all)
    };
    use nnc_ir::dtype::Scalar;
    let constant = match value {
        AttrValue::Tensor(t) | AttrValue::SparseTensor(t) => constant::constant(t)?,
        AttrValue::Float(x) => scalars(DType::F32, &[], vec![Scalar::f32(*x)]),
        AttrValue::Floats(x) => scalars(DType::F32, &n(x.len()), x.iter().map(|&x| Scalar::f32(x)).collect()),
        AttrValue::Int(x) => scalars(DType::I64, &[], vec![Scalar::i64(*x)]),
        AttrValue::Ints(x) => nnc_ir::constant::Constant::i64s(x),
        other => {
            let message = format!("Constant with '{name}' of type {} is not supported", other.type_name());
            return cx.unsupported(message);
        }
    };
    let (region, loc) = (cx.region, cx.loc.clone());
    one(known::bind_constant(&mut cx.importer.module, region, constant, &loc))
}

fn identity(cx: &mut OpCx<'_>) -> Outcome {
    match cx.binding(0) {
        Some(binding) => one(binding.clone()),
        None => cx.error(203, "input 0 of Identity is required but empty"),
    }
}

fn shape(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.value(0)?;
    let shape = cx.shape(x);
    let rank = i64::try_from(shape.len()).unwrap_or(0);
    let clamp = |at: i64| usize::try_from(if at < 0 { at.saturating_add(rank) } else { at }.clamp(0, rank));
    let (start, end) = (clamp(cx.int_or("start", 0)?), clamp(cx.int_or("end", rank)?));
    let (start, end) = (start.unwrap_or(0), end.unwrap_or(0));
    let part: Vec<Extent> = shape.get(start..end).unwrap_or(&[]).to_vec();
    one(cx.extents(part, DType::I64, 1)?)
}

fn size(cx: &mut OpCx<'_>) -> Outcome {
    let elements = cx.ty(cx.value(0)?).elements();
    let result: Imported = cx.extents(vec![elements], DType::I64, 0)?;
    Ok(vec![Binding::Tensor(result)])
}
