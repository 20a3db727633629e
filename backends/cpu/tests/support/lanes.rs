//! lanes - random vector programs and what to run them on.

use super::Rng;
use nnc_tile::program::{Lane, LaneType, Op, Ref, VectorProgram};

/// A program in which every op has the same chance, and every value that nothing reads is a result.
pub(crate) fn random_program(rng: &mut Rng, inputs: &[LaneType], n_ops: usize) -> VectorProgram {
    let mut p = VectorProgram::new();
    let mut all: Vec<Ref> = (0u16..).zip(inputs).map(|(k, ty)| p.push(Op::Input(k, *ty))).collect();
    all.push(p.f32(SPECIAL[rng.below(SPECIAL.len())]));
    all.push(p.i32(rng.next() as i32));
    assert!(!inputs.is_empty(), "a program has an input");
    for _ in 0..n_ops {
        let mut pick = |p: &VectorProgram, ty: LaneType| {
            loop {
                let r = all[rng.below(all.len())];
                if p.lane_type(r) == ty {
                    return r;
                }
            }
        };
        let (a, b, c) = (pick(&p, LaneType::F32), pick(&p, LaneType::F32), pick(&p, LaneType::F32));
        let (i, j, k) = (pick(&p, LaneType::I32), pick(&p, LaneType::I32), pick(&p, LaneType::I32));
        let n = rng.below(32) as u8;
        let op = match rng.below(37) {
            0 => Op::Add(a, b),
            1 => Op::Sub(a, b),
            2 => Op::Mul(a, b),
            3 => Op::Div(a, b),
            4 => Op::Min(a, b),
            5 => Op::Max(a, b),
            6 => Op::Fma(a, b, c),
            7 => Op::Sqrt(a),
            8 => Op::Neg(a),
            9 => Op::Abs(a),
            10 => Op::Floor(a),
            11 => Op::Ceil(a),
            12 => Op::Trunc(a),
            13 => Op::Nearest(a),
            14 => Op::Lt(a, b),
            15 => Op::Le(a, b),
            16 => Op::Eq(a, b),
            17 => Op::Ne(a, b),
            18 => Op::Select(i, a, b),
            19 => Op::Select(i, j, k),
            20 => Op::And(i, j),
            21 => Op::Or(i, j),
            22 => Op::Xor(i, j),
            23 => Op::Not(i),
            24 => Op::Shl(i, n),
            25 => Op::ShrU(i, n),
            26 => Op::ShrS(i, n),
            27 => Op::IAdd(i, j),
            28 => Op::ISub(i, j),
            29 => Op::IMul(i, j),
            30 => Op::Bitcast(a),
            31 => Op::Bitcast(i),
            32 => Op::ConvI32ToF32(i),
            33 => Op::TruncF32ToI32(a),
            34 => Op::Lt(i, j),
            35 => Op::Eq(i, j),
            _ => {
                // A select on a comparison is what programs have most; emitters treat it specially.
                let mask = p.push(Op::Lt(a, b));
                Op::Select(mask, c, a)
            }
        };
        all.push(p.push(op));
    }
    let used: Vec<Ref> = p.ops().iter().flat_map(Op::operands).collect();
    for idx in 0..p.ops().len() {
        if !used.contains(&Ref(idx as u16)) {
            p.result(Ref(idx as u16));
        }
    }
    p
}

pub(crate) const SPECIAL: [f32; 22] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    1e-40,
    -1e-40,
    1e30,
    -3e38,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    2147483520.0,
    2147483648.0,
    -2147483648.0,
    -2147483904.0,
    8388607.5,
    f32::MIN_POSITIVE,
];

/// A lane, one that is out of the ordinary in a third of the cases.
pub(crate) fn random_lane(rng: &mut Rng, ty: LaneType) -> Lane {
    match (ty, rng.below(3)) {
        (LaneType::F32, 0) => Lane::F32(SPECIAL[rng.below(SPECIAL.len())]),
        (LaneType::F32, 1) => Lane::F32(rng.unit() * 100.0),
        (LaneType::F32, _) => Lane::F32(rng.unit()),
        (LaneType::I32, 0) => Lane::I32([0, -1, 1, i32::MIN, i32::MAX][rng.below(5)]),
        (LaneType::I32, _) => Lane::I32(rng.next() as i32),
    }
}

/// Whether the bits of a NaN became data: then results may differ, as the NaN's payload is unspecified.
pub(crate) fn depends_on_nan_bits(p: &VectorProgram, values: &[Lane]) -> bool {
    let is_nan = |r: &Ref| matches!(values[usize::from(r.0)], Lane::F32(x) if x.is_nan());
    p.ops().iter().any(|op| match op {
        Op::Bitcast(a) => is_nan(a),
        // A bitwise blend of a NaN with anything, unless the mask is whole.
        Op::Select(m, a, b) => {
            (is_nan(a) || is_nan(b)) && !matches!(values[usize::from(m.0)].bits(), 0 | u32::MAX)
        }
        _ => false,
    })
}
