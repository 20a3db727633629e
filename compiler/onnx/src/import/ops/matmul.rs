//! matmul - MatMul and Gemm.

use nnc_ir::{
    extent::{Extent, product},
    graph::ValueId,
    ops,
};

use crate::import::{
    Outcome, Problem,
    cx::{OpCx, one},
    table::{Row, row},
};

pub(crate) const ROWS: &[Row] = &[row("MatMul", 1, 2..=2, matmul), row("Gemm", 1, 2..=3, gemm)];

fn matmul(cx: &mut OpCx<'_>) -> Outcome {
    let (a, b) = (cx.value(0)?, cx.value(1)?);
    cx.same_dtype(&[a, b])?;
    one(matmul_of(cx, a, b)?)
}

/// The product as numpy has it: of vectors, matrices, and batches of these.
pub(crate) fn matmul_of(cx: &mut OpCx<'_>, a: ValueId, b: ValueId) -> Result<ValueId, Problem> {
    let (ra, rb) = (cx.rank(a), cx.rank(b));
    if ra == 0 || rb == 0 {
        return cx.error(230, format!("MatMul of {} and {}", cx.ty(a), cx.ty(b)));
    }
    let lhs = if ra == 1 { cx.unsqueeze(a, 0)? } else { a };
    let rhs = if rb == 1 { cx.unsqueeze(b, 1)? } else { b };
    let (ls, rs) = (cx.shape(lhs), cx.shape(rhs));
    let (k, other) = (ls[ls.len() - 1].clone(), rs[rs.len() - 2].clone());
    let message = format!("inner extents differ: {} times {}", cx.ty(a), cx.ty(b));
    cx.need_equal(230, &k, &other, || message)?;
    let y = if rs.len() == 2 {
        // One matrix for the whole batch: rows of the batch are rows of one product.
        let rows = product(&ls[..ls.len() - 1]);
        let flat = cx.reshape(lhs, vec![rows, k])?;
        let y = cx.emit(ops::MatMul {}, &[flat, rhs])?;
        cx.reshape(y, [&ls[..ls.len() - 1], &rs[1..]].concat())?
    } else {
        let rank = ls.len().max(rs.len());
        let batch = |s: &[Extent]| s[..s.len() - 2].to_vec();
        cx.broadcast_shapes(&[batch(&ls), batch(&rs)])?;
        let widen = |s: Vec<Extent>| [vec![Extent::ONE; rank - s.len()], s].concat();
        let lhs = cx.reshape(lhs, widen(ls))?;
        let rhs = cx.reshape(rhs, widen(rs))?;
        cx.emit(ops::MatMul {}, &[lhs, rhs])?
    };
    let y = if rb == 1 { cx.squeeze(y, cx.rank(y) - 1)? } else { y };
    if ra == 1 { cx.squeeze(y, cx.rank(y) - 1 - usize::from(rb != 1)) } else { Ok(y) }
}

fn gemm(cx: &mut OpCx<'_>) -> Outcome {
    let (mut a, mut b) = (cx.value(0)?, cx.value(1)?);
    cx.same_dtype(&[a, b])?;
    cx.skip_attrs(&["broadcast"]);
    let (alpha, beta) = (cx.float_or("alpha", 1.0)?, cx.float_or("beta", 1.0)?);
    for (i, v) in [a, b].into_iter().enumerate() {
        if cx.rank(v) != 2 {
            let problem = cx.need_rank(i, v, 2);
            return match problem {
                Err(p) => {
                    Err(Box::new(p.help("Gemm takes matrices; insert Reshape, or use MatMul for batches")))
                }
                Ok(()) => cx.error(212, "Gemm takes matrices"),
            };
        }
    }
    if cx.flag_or("transA", false)? {
        a = cx.transpose(a, &[1, 0])?;
    }
    if cx.flag_or("transB", false)? {
        b = cx.transpose(b, &[1, 0])?;
    }
    let (k, other) = (cx.shape(a)[1].clone(), cx.shape(b)[0].clone());
    cx.need_equal(230, &k, &other, || format!("inner extents differ: {k} and {other}"))?;
    let mut y = cx.emit(ops::MatMul {}, &[a, b])?;
    if alpha != 1.0 {
        let alpha = cx.number_like(y, alpha.into())?;
        y = cx.mul(y, alpha)?;
    }
    let Some(mut c) = cx.optional_value(2)? else { return one(y) };
    if beta == 0.0 {
        return one(y);
    }
    cx.same_dtype(&[y, c])?;
    if beta != 1.0 {
        let beta = cx.number_like(c, beta.into())?;
        c = cx.mul(c, beta)?;
    }
    let shape = cx.shape(y);
    let c = cx.broadcast_to_checked(c, &shape)?;
    one(cx.add(y, c)?)
}
