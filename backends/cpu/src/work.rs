//! work - what a kernel does in one call, as formulas over symbols: for profiles, which know their values.

use nnc_ir::{
    compose::rows::RowForm,
    extent::{Extent, product},
    form::{LoopForm, ScatterForm},
    types::TensorType,
};
use nnc_runtime::Work;

/// Operations and bytes.
#[derive(Clone, Debug)]
pub(crate) struct Amounts {
    flops: Extent,
    /// By operand.
    read: Vec<(usize, Extent)>,
    written: Extent,
}

impl Amounts {
    pub(crate) fn of_nest(form: &LoopForm) -> Self {
        let space = product(&form.space);
        let turns = &space * &product(&form.reduce);
        // What is done to factors first, once for many products, does not count.
        let body = match form.factors() {
            Some(_) => 2,
            None => form.body.operations() + i64::from(form.combine.is_some()),
        };
        let mut read: Vec<(usize, Extent, Extent)> = Vec::new();
        for load in &form.loads {
            let (whole, part) = (product(&load.extents), turns.clone());
            let (whole, part) = (whole.scale(width(load.dtype)), part.scale(width(load.dtype)));
            match read.iter_mut().find(|(operand, ..)| *operand == load.operand) {
                Some((_, _, parts)) => *parts = &*parts + &part,
                None => read.push((load.operand, whole, part)),
            }
        }
        let written = form.results.iter().map(|&d| width(d)).sum();
        Self {
            flops: &turns.scale(body) + &space.scale(form.finish.operations()),
            read: read.into_iter().map(|(o, whole, parts)| (o, whole.min_with(&parts))).collect(),
            written: space.scale(written),
        }
    }

    /// A product and what reads it as operand `read`: what lies between them stays in registers.
    pub(crate) fn of_groups(product: &LoopForm, finish: &LoopForm, operands: usize, read: usize) -> Self {
        let (first, then) = (Self::of_nest(product), Self::of_nest(finish));
        let others =
            then.read.into_iter().filter(|(o, _)| *o != read).map(|(o, bytes)| (operands + o, bytes));
        Self {
            flops: &first.flops + &then.flops,
            read: first.read.into_iter().chain(others).collect(),
            written: then.written,
        }
    }

    /// What stages hand to each other stays in the cache.
    pub(crate) fn of_rows(rows: &RowForm) -> Self {
        let mut sum = Self { flops: Extent::ZERO, read: Vec::new(), written: Extent::ZERO };
        for stage in &rows.stages {
            let one = Self::of_nest(&stage.form);
            sum.flops = &sum.flops + &one.flops;
            if stage.result.is_some() {
                sum.written = &sum.written + &one.written;
            }
            for (operand, bytes) in one.read.into_iter().filter(|(operand, _)| *operand < rows.operands) {
                match sum.read.iter_mut().find(|(o, _)| *o == operand) {
                    Some((_, most)) => *most = most.max_with(&bytes),
                    None => sum.read.push((operand, bytes)),
                }
            }
        }
        sum
    }

    /// Kernels one after another; `inner` says which operands of each pass between them, which is no traffic.
    pub(crate) fn of_tiled(members: Vec<(Amounts, Vec<bool>)>) -> Self {
        let mut sum = Self { flops: Extent::ZERO, read: Vec::new(), written: Extent::ZERO };
        for (one, inner) in members {
            sum.flops = &sum.flops + &one.flops;
            sum.read
                .extend(one.read.into_iter().filter(|(operand, _)| !inner.get(*operand).is_some_and(|&i| i)));
            sum.written = one.written;
        }
        sum
    }

    /// Updates are read and written.
    pub(crate) fn of_scatter(form: &ScatterForm, ty: &TensorType) -> Self {
        let points = product(&form.space);
        let reads = form.loads.iter().map(|l| (l.operand, points.scale(width(l.dtype)))).collect();
        Self { flops: Extent::ZERO, read: reads, written: points.scale(width(ty.dtype)) }
    }

    /// As the program records them.
    pub(crate) fn formulas(&self) -> Work {
        let read = self.read.iter().fold(Extent::ZERO, |sum, (_, bytes)| &sum + bytes);
        Work { flops: self.flops.to_string(), read: read.to_string(), written: self.written.to_string() }
    }
}

fn width(dtype: nnc_ir::dtype::DType) -> i64 {
    i64::try_from(dtype.bytes()).expect("elements are small")
}

#[cfg(test)]
mod tests {
    use super::*;
    use nnc_ir::{
        dtype::DType,
        entity::EntityId,
        extent::SymbolId,
        form::Form,
        ops::{MatMul, Op},
    };

    #[test]
    fn a_product_counts_two_operations_a_term() {
        let n = Extent::symbol(SymbolId::new(0));
        let ty = |dims: &[&Extent]| TensorType {
            dtype: DType::F32,
            shape: dims.iter().map(|&e| e.clone()).collect(),
        };
        let (k, m) = (Extent::Const(8), Extent::Const(4));
        let (a, b, c) = (ty(&[&n, &k]), ty(&[&k, &m]), ty(&[&n, &m]));
        let op: Op = MatMul {}.into();
        let Form::Loops(form) = op.def().form(&[&a, &b], &[&c]) else { panic!("a nest") };
        let work = Amounts::of_nest(&form).formulas();
        assert_eq!((&*work.flops, &*work.written), ("64*s0", "16*s0"));
        let read = nnc_ir::text::extent::parse_extent(&work.read).unwrap();
        assert_eq!(read.eval(&|_| Some(10)), Some(10 * 8 * 4 + 8 * 4 * 4));
    }
}
