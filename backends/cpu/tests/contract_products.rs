//! contract_products - products of matrices by tiles are within their error bound, whatever their sizes.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "support/contract.rs"]
mod contract;
#[path = "support/nest/mod.rs"]
mod nest;
mod support;

use contract::{Graph, Shapes, check, epilogue, length};
use nnc_ir::{
    extent::Extent,
    ops::{MatMul, Transpose},
};
use support::Rng;

#[test]
fn products_of_matrices() {
    let mut rng = Rng::new(1);
    for case in 0..160 {
        let mut shapes = Shapes::new(rng.below(2) == 0);
        let (b0, b1) = (shapes.dim(1 + rng.below(3) as i64), shapes.dim(1 + rng.below(2) as i64));
        let (m, n, k) =
            (shapes.dim(length(&mut rng)), shapes.dim(length(&mut rng) + 1), shapes.dim(length(&mut rng)));
        let mut g = Graph::new();
        let batch = rng.below(4);
        let lhs_batch: Vec<Extent> = match batch {
            0 => vec![],
            1 => vec![b0.clone()],
            _ => vec![b0.clone(), b1.clone()],
        };
        let rhs_batch: Vec<Extent> = if rng.below(3) == 0 {
            lhs_batch.iter().map(|_| Extent::ONE).collect()
        } else {
            lhs_batch.clone()
        };
        let rank = lhs_batch.len() + 2;
        let mut swap: Vec<usize> = (0..rank).collect();
        swap.swap(rank - 2, rank - 1);
        let operand = |g: &mut Graph, batch: &[Extent], rows: &Extent, cols: &Extent, transposed: bool| {
            let (a, b) = if transposed { (cols, rows) } else { (rows, cols) };
            let v = g.input(&[batch, &[a.clone(), b.clone()]].concat());
            if transposed { g.op(Transpose { perm: swap.clone() }, &[v]) } else { v }
        };
        let (ta, tb) = (rng.below(4) == 0, rng.below(3) == 0);
        let x = operand(&mut g, &lhs_batch, &m, &k, ta);
        let w = operand(&mut g, &rhs_batch, &k, &n, tb);
        let y = g.op(MatMul {}, &[x, w]);
        let known = if shapes.symbolic || rng.below(2) == 0 { vec![] } else { vec![1] };
        let y = epilogue(&mut g, y, &mut rng);
        let form = g.form(y);
        let what = format!(
            "case {case}: {:?} {lhs_batch:?} {rhs_batch:?} {:?} {ta} {tb} {known:?}",
            shapes.values, shapes.symbolic
        );
        // Where the columns are one, rows are what is left to be the vector axis.
        check(&what, &form, &shapes, &known, &mut rng);
    }
}

/// Sums of several chains: B may be constant or known only to the run, its columns one or apart, and rows may be any number.
#[test]
fn products_with_few_columns() {
    let mut rng = Rng::new(31);
    for case in 0..60 {
        let symbolic = rng.below(3) == 0;
        let mut shapes = Shapes::new(symbolic);
        let m = shapes.dim([1, 2, 7, 30, 64, 65, 79][rng.below(7)]);
        let n = [1, 1, 2, 3, 5, 6, 7, 8, 9, 11, 12, 18][rng.below(12)];
        let k = [15, 16, 17, 24, 32, 39, 61][rng.below(7)];
        let (n, k) = (Extent::Const(n), Extent::Const(k));
        let batch = rng.below(4) == 0;
        let batch: Vec<Extent> = if batch { vec![shapes.dim(2)] } else { vec![] };
        let mut g = Graph::new();
        let x = g.input(&[&batch[..], &[m.clone(), k.clone()]].concat());
        let of_b = if rng.below(2) == 0 {
            &batch[..]
        } else {
            &batch.iter().map(|_| Extent::ONE).collect::<Vec<_>>()
        };
        let transposed = rng.below(2) == 0;
        let w = if transposed {
            let w = g.input(&[of_b, &[n.clone(), k.clone()]].concat());
            let rank = of_b.len();
            let perm = (0..rank).chain([rank + 1, rank]).collect();
            g.op(Transpose { perm }, &[w])
        } else {
            g.input(&[of_b, &[k.clone(), n.clone()]].concat())
        };
        // Of a symbolic batch the weight is no constant.
        let known =
            if of_b.iter().all(|e| e.as_const().is_some()) && rng.below(2) == 0 { vec![1] } else { vec![] };
        let y = g.op(MatMul {}, &[x, w]);
        let y = epilogue(&mut g, y, &mut rng);
        let form = g.form(y);
        let what = format!(
            "case {case}: {:?} n {n:?} k {k:?} {symbolic} {batch:?} {of_b:?} {transposed} {known:?}",
            shapes.values
        );
        // A single number is no product of matrices.
        if n.is(1) && m.is(1) && batch.is_empty() {
            continue;
        }
        check(&what, &form, &shapes, &known, &mut rng);
    }
}

/// Columns that do not fill vectors, of a constant or a matrix that is copied while running, as it lies or transposed.
#[test]
fn products_of_columns_in_parts() {
    let mut rng = Rng::new(3);
    for case in 0..36 {
        let mut shapes = Shapes::new(false);
        let [m, n, k] = [96 + rng.below(20), 13 + rng.below(35), 17 + rng.below(33)];
        let [m, n, k] = [m, n, k].map(|x| shapes.dim(x as i64));
        let mut g = Graph::new();
        let x = g.input(&[m.clone(), k.clone()]);
        let transposed = rng.below(3) == 0;
        let w = match transposed {
            false => g.input(&[k, n]),
            true => {
                let w = g.input(&[n, k]);
                g.op(Transpose { perm: vec![1, 0] }, &[w])
            }
        };
        let y = g.op(MatMul {}, &[x, w]);
        let y = epilogue(&mut g, y, &mut rng);
        let known = if rng.below(2) == 0 { vec![] } else { vec![1] };
        let what = format!("case {case}: {:?} {transposed} {known:?}", shapes.values);
        check(&what, &g.form(y), &shapes, &known, &mut rng);
    }
}
