//! random - operands and epilogues for tests of tiles.

use super::Rng;
use nnc_tile::epilogue::{Epilogue, EpilogueInput};
use nnc_tile::program::{LaneType, Op, Ref, VectorProgram};
use nnc_tile::stream::Element;

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
    Epilogue::new(p, inputs)
}

/// An epilogue that joins the sums of several groups of columns and operands, some of which lie behind others; it stores the
/// result, and a sum or two of the groups.
pub(crate) fn random_groups(rng: &mut Rng) -> Epilogue {
    let sums = 2 + rng.below(3);
    let kinds = [EpilogueInput::Row, EpilogueInput::Col, EpilogueInput::Tile, EpilogueInput::Scalar];
    let mut inputs: Vec<EpilogueInput> = (0..rng.below(3)).map(|_| kinds[rng.below(4)]).collect();
    for input in 0..inputs.len() {
        if matches!(inputs[input], EpilogueInput::Col | EpilogueInput::Tile) {
            let by = rng.below(40) as u32;
            inputs.push(EpilogueInput::Behind { input: input as u16, by });
        }
    }
    let mut p = VectorProgram::new();
    let mut value = p.f32(0.5);
    for k in 0..sums + inputs.len() {
        let x = p.input(k as u16);
        value = p.push(match rng.below(5) {
            0 => Op::Add(value, x),
            1 => Op::Mul(value, x),
            2 => Op::Fma(value, x, x),
            3 => Op::Sub(x, value),
            _ => Op::Max(value, x),
        });
    }
    p.result(value);
    for group in 0..rng.below(3) {
        let sum = p.input(group as u16);
        p.result(sum);
    }
    let stores = vec![Element::F32; p.results().len()];
    Epilogue { program: p, sums: sums as u16, inputs, stores }
}

/// An epilogue of sums of integers: operands of 32 bits, some integers, then f32, then perhaps bytes.
pub(crate) fn random_int_epilogue(rng: &mut Rng) -> Epilogue {
    let kinds = [EpilogueInput::Row, EpilogueInput::Col, EpilogueInput::Tile, EpilogueInput::Scalar];
    let inputs: Vec<EpilogueInput> = (0..rng.below(5)).map(|_| kinds[rng.below(4)]).collect();
    let whole = rng.below(inputs.len() + 1);
    let mut p = VectorProgram::new();
    let mut sum = p.push(Op::Input(0, LaneType::I32));
    for k in 0..whole {
        let x = p.push(Op::Input(k as u16 + 1, LaneType::I32));
        sum = p.push([Op::IAdd(sum, x), Op::IMul(sum, x), Op::ISub(x, sum)][rng.below(3)]);
    }
    let mut value = p.push(Op::ConvI32ToF32(sum));
    for k in whole..inputs.len() {
        let x = p.input(k as u16 + 1);
        value = p.push([Op::Mul(value, x), Op::Add(value, x), Op::Max(value, x)][rng.below(3)]);
    }
    let [least, most] = [-128.0, 127.0].map(|x| p.f32(x));
    let clipped = p.push(Op::Max(value, least));
    let clipped = p.push(Op::Min(clipped, most));
    let byte = p.push(Op::TruncF32ToI32(clipped));
    let mut stores = vec![];
    for _ in 0..1 + rng.below(2) {
        let element = [Element::F32, Element::I32, Element::U8, Element::I8][rng.below(4)];
        p.result(match element {
            Element::F32 => value,
            Element::I32 => sum,
            _ => byte,
        });
        stores.push(element);
    }
    Epilogue { program: p, sums: 1, inputs, stores }
}

/// A random epilogue whose last results are stored as such elements, C's first; some do without the last operation.
pub(crate) fn random_results(rng: &mut Rng, stores: &[Element]) -> Epilogue {
    let mut e = random_epilogue(rng);
    let sum = e.program.results()[0];
    let (scale, zero, most) = (e.program.f32(37.5), e.program.f32(-128.0), e.program.f32(127.0));
    let mut p = VectorProgram::new();
    // The same operations, with results of their own.
    e.program.ops().iter().for_each(|op| {
        p.push(*op);
    });
    let scaled = p.push(Op::Mul(sum, scale));
    let clipped = p.push(Op::Max(scaled, zero));
    let clipped = p.push(Op::Min(clipped, most));
    let whole = p.push(Op::TruncF32ToI32(clipped));
    let acc = p.input(0);
    for (k, element) in stores.iter().enumerate() {
        let float = [sum, acc, scaled][(k + rng.below(3)) % 3];
        p.result(if *element == Element::F32 { float } else { whole });
    }
    Epilogue { program: p, sums: e.sums, inputs: e.inputs, stores: stores.to_vec() }
}

pub(crate) fn random_elements(rng: &mut Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.unit()).collect()
}

/// Elements that are any 32 bits, extremes among them.
pub(crate) fn random_bits(rng: &mut Rng, n: usize) -> Vec<f32> {
    let byte = |rng: &mut Rng| match rng.below(4) {
        0 => [0u8, 255, 128, 127][rng.below(4)],
        _ => rng.below(256) as u8,
    };
    (0..n).map(|_| f32::from_bits(u32::from_le_bytes([0; 4].map(|_: u8| byte(rng))))).collect()
}

/// Elements from the first to the last one a strided block touches.
pub(crate) fn span(rows: usize, row_stride: usize, cols: usize, col_stride: usize) -> usize {
    if rows == 0 || cols == 0 { 0 } else { (rows - 1) * row_stride + (cols - 1) * col_stride + 1 }
}
