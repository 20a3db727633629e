//! sequence - sequences and optionals, which stand for their elements while importing; and operators that draw random numbers,
//! which nnc refuses.

use nnc_ir::{dtype::DType, extent::Extent};

use crate::import::{
    Outcome, Problem,
    cx::{OpCx, one},
    table::{MANY, Row, row},
    value::{Binding, Imported},
};

pub(crate) const ROWS: &[Row] = &[
    row("SequenceConstruct", 11, 1..=MANY, construct),
    row("SequenceEmpty", 11, 0..=0, empty),
    row("SequenceAt", 11, 2..=2, at),
    row("SequenceInsert", 11, 2..=3, insert),
    row("SequenceErase", 11, 1..=2, erase),
    row("SequenceLength", 11, 1..=1, length),
    row("SplitToSequence", 11, 1..=2, split),
    row("ConcatFromSequence", 11, 1..=1, concat),
    row("Optional", 15, 0..=1, optional),
    row("OptionalGetElement", 15, 1..=1, get_element),
    row("OptionalHasElement", 15, 0..=1, has_element),
    row("Bernoulli", 15, 1..=1, random),
    row("Multinomial", 7, 1..=1, random),
    row("RandomNormal", 1, 0..=0, random),
    row("RandomNormalLike", 1, 1..=1, random),
    row("RandomUniform", 1, 0..=0, random),
    row("RandomUniformLike", 1, 1..=1, random),
];

fn random(cx: &mut OpCx<'_>) -> Outcome {
    cx.unsupported(format!("{} draws random numbers: nnc gives the same results at every run", cx.op()))
}

fn construct(cx: &mut OpCx<'_>) -> Outcome {
    Ok(vec![Binding::Sequence(cx.all_inputs()?)])
}

fn empty(cx: &mut OpCx<'_>) -> Outcome {
    cx.skip_attrs(&["dtype"]);
    Ok(vec![Binding::Sequence(Vec::new())])
}

/// Position in operand `i`, which must be known, in a sequence of `len` places.
fn position(cx: &OpCx<'_>, i: usize, len: usize) -> Result<Option<usize>, Problem> {
    match cx.optional_ints(i)?.as_deref() {
        None => Ok(None),
        Some(&[p]) => {
            let n = i64::try_from(len).unwrap_or(i64::MAX);
            let at = if p < 0 { p.saturating_add(n) } else { p };
            match usize::try_from(at).ok().filter(|&a| a < len) {
                Some(at) => Ok(Some(at)),
                None => cx.error(227, format!("position {p} in a sequence of {len}")),
            }
        }
        Some(_) => cx.error(212, format!("input {i} of {} is no scalar", cx.op())),
    }
}

fn at(cx: &mut OpCx<'_>) -> Outcome {
    let all = cx.sequence(0)?;
    match position(cx, 1, all.len())? {
        Some(at) => one(all[at].clone()),
        None => cx.error(203, "SequenceAt needs a position"),
    }
}

fn insert(cx: &mut OpCx<'_>) -> Outcome {
    let mut all = cx.sequence(0)?;
    let value = cx.input(1)?;
    // One more place than there are elements; negative positions count from the last element.
    let negative = cx.optional_ints(2)?.is_some_and(|p| p.first().is_some_and(|&p| p < 0));
    let places = if negative { all.len() } else { all.len() + 1 };
    let at = position(cx, 2, places)?.unwrap_or(all.len());
    all.insert(at, value);
    Ok(vec![Binding::Sequence(all)])
}

fn erase(cx: &mut OpCx<'_>) -> Outcome {
    let mut all = cx.sequence(0)?;
    if all.is_empty() {
        return cx.error(227, "SequenceErase of an empty sequence");
    }
    let at = position(cx, 1, all.len())?.unwrap_or(all.len() - 1);
    all.remove(at);
    Ok(vec![Binding::Sequence(all)])
}

fn length(cx: &mut OpCx<'_>) -> Outcome {
    let n = i64::try_from(cx.sequence(0)?.len()).unwrap_or(i64::MAX);
    one(cx.extents(vec![Extent::Const(n)], DType::I64, 0)?)
}

fn split(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.value(0)?;
    let axis = cx.int_or("axis", 0)?;
    let axis = cx.axis(axis, cx.rank(x))?;
    let keep = cx.flag_or("keepdims", true)?;
    let Some(extent) = cx.shape(x)[axis].as_const() else {
        return cx
            .unsupported(format!("SplitToSequence along an axis of unknown extent {}", cx.shape(x)[axis]));
    };
    let (sizes, keep) = match cx.optional(1)? {
        None => (vec![1; usize::try_from(extent).unwrap_or(0)], keep),
        Some(given) => {
            let scalar = cx.rank(given.id) == 0;
            let sizes = cx.optional_ints(1)?.unwrap_or_default();
            match (&sizes[..], scalar) {
                (&[n], true) if n > 0 => {
                    let parts = (0..extent).step_by(usize::try_from(n).unwrap_or(1));
                    (parts.map(|start| n.min(extent - start)).collect(), true)
                }
                (_, true) => return cx.error(221, format!("SplitToSequence into parts of {sizes:?}")),
                _ => (sizes, true),
            }
        }
    };
    if sizes.iter().any(|&s| s < 0) || sizes.iter().sum::<i64>() != extent {
        return cx.error(221, format!("SplitToSequence into {sizes:?}, axis is {extent}"));
    }
    let mut parts: Vec<Imported> = Vec::with_capacity(sizes.len());
    let mut start = 0;
    for size in sizes {
        let part = cx.slice_axis(x, axis, Extent::Const(start), Extent::Const(size))?;
        parts.push(if keep { part } else { cx.squeeze(part, axis)? }.into());
        start += size;
    }
    Ok(vec![Binding::Sequence(parts)])
}

fn concat(cx: &mut OpCx<'_>) -> Outcome {
    let all = cx.sequence(0)?;
    let axis = cx.int("axis")?;
    let axis = cx.required("axis", axis)?;
    let Some(first) = all.first() else {
        return cx.unsupported("ConcatFromSequence of an empty sequence");
    };
    let new_axis = cx.flag_or("new_axis", false)?;
    let axis = cx.axis(axis, cx.rank(first.id) + usize::from(new_axis))?;
    let mut parts = Vec::with_capacity(all.len());
    for part in &all {
        parts.push(if new_axis { cx.unsqueeze(part.id, axis)? } else { part.id });
    }
    one(cx.concat(&parts, axis)?)
}

fn optional(cx: &mut OpCx<'_>) -> Outcome {
    cx.skip_attrs(&["type"]);
    Ok(vec![cx.binding(0).cloned().unwrap_or(Binding::Nothing)])
}

fn get_element(cx: &mut OpCx<'_>) -> Outcome {
    match cx.binding(0) {
        Some(Binding::Nothing) | None => cx.error(210, "OptionalGetElement of an optional without a value"),
        Some(binding) => one(binding.clone()),
    }
}

fn has_element(cx: &mut OpCx<'_>) -> Outcome {
    let has = !matches!(cx.binding(0), Some(Binding::Nothing) | None);
    one(cx.extents(vec![Extent::Const(i64::from(has))], DType::Bool, 0)?)
}
