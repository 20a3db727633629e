//! contract - contractions by tiles: matrix products, convolutions, einsum, with what is fused to them.
//!
//! Reading order: `split` and `analyze` (what are rows, columns and sums), `epilogue` (the fused program), `direct`
//! (operands at linear places), `window`, `fill`, `conv` and `depthwise` (convolutions); `panel`, `pack`, `rows`,
//! `weights`, `tiles` and `emit` serve both. What is no case for tiles is the generic nest's.

mod analyze;
mod conv;
mod depthwise;
mod direct;
mod emit;
mod epilogue;
mod fill;
mod pack;
mod panel;
mod rows;
mod split;
mod tiles;
mod weights;
mod window;

use nnc_ir::form::Ix;

use self::{
    analyze::{BFrom, Problem},
    conv::Conv,
    depthwise::Depthwise,
    direct::Direct,
};
use super::scalar::Abilities;
use crate::kernel::{Kernel, LowerCx, NestRequest};

/// The kernel of a contraction, or `None` where it is none that tiles can do.
pub(super) fn lower(request: &NestRequest, cx: &mut LowerCx<'_>) -> Option<Kernel> {
    // Without fused multiply-add the tiles would call a library.
    if !Abilities::of(cx.isa).is_ok_and(|can| can.fma) {
        return None;
    }
    let problem = Problem::of(request)?;
    Some(match &problem.b_from {
        BFrom::Linear { .. } => Direct::new(&problem, request, cx)?.lower(&problem, request, cx),
        BFrom::Window(window) => match Depthwise::new(&problem, window) {
            Some(way) => way.lower(&problem, request, cx),
            None => Conv::new(&problem, window)?.lower(&problem, request, cx),
        },
    })
}

/// Whether an index mentions an axis.
fn mentions(ix: &Ix, axis: usize) -> bool {
    let mut found = false;
    ix.visit(&mut |part| found |= *part == Ix::Axis(axis));
    found
}
