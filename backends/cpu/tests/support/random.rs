//! random - operands and epilogues for tests of tiles.

use super::Rng;
use nnc_tile::epilogue::{Epilogue, EpilogueInput};
use nnc_tile::program::{Op, Ref, VectorProgram};

/// Some arithmetic over the accumulator and every input.
pub(crate) fn random_epilogue(rng: &mut Rng) -> Epilogue {
    let kinds = [EpilogueInput::Row, EpilogueInput::Col, EpilogueInput::Tile, EpilogueInput::Scalar];
    let inputs: Vec<EpilogueInput> = (0..rng.below(4)).map(|_| kinds[rng.below(4)]).collect();
    let mut p = VectorProgram::new();
    let mut value = p.input(0);
    for k in 0..inputs.len() {
        let x: Ref = p.input(k as u16 + 1);
        value = p.push(match rng.below(4) {
            0 => Op::Add(value, x),
            1 => Op::Mul(value, x),
            2 => Op::Fma(value, x, x),
            _ => Op::Max(value, x),
        });
    }
    let zero = p.f32(0.0);
    let value = p.push(Op::Max(value, zero));
    p.result(value);
    Epilogue { program: p, inputs }
}

pub(crate) fn random_elements(rng: &mut Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.unit()).collect()
}

/// Elements from the first to the last one a strided block touches.
pub(crate) fn span(rows: usize, row_stride: usize, cols: usize, col_stride: usize) -> usize {
    if rows == 0 || cols == 0 { 0 } else { (rows - 1) * row_stride + (cols - 1) * col_stride + 1 }
}
