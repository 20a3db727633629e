//! tile_fma - multiply-adds of targets that have no instruction for them have its bits.

mod support;

use cranelift_codegen::{
    ir::{InstBuilder, MemFlagsData, types::F32X4},
    isa::TargetIsa,
};
use nnc_cpu::tile::{Arithmetic, Lanes, emit_program};
use nnc_tile::program::{Op, VectorProgram};
use support::{Code, Rng, compile, host_isa, plain_isa};

/// Function (three rows of four f32, one row of results).
fn multiply_add(isa: &dyn TargetIsa) -> Code {
    let mut p = VectorProgram::new();
    let [x, y, z] = [0, 1, 2].map(|k| p.input(k));
    let sum = p.push(Op::Fma(x, y, z));
    p.result(sum);
    compile(isa, 2, |b, args| {
        let flags = MemFlagsData::new().with_notrap();
        let inputs = [0, 16, 32].map(|at| b.ins().load(F32X4, flags, args[0], at));
        let sum = emit_program(b, Arithmetic::of(isa), &p, Lanes::Four, &inputs)[0];
        b.ins().store(flags, sum, args[1], 0);
    })
}

/// Numbers at the ends of the ranges, with few and with many bits.
const SPECIAL: [u32; 24] = [
    0,
    1,
    2,
    3,
    0x0000_ffff,
    0x007f_ffff,
    0x0080_0000,
    0x0080_0001,
    0x0100_0000,
    0x1a00_0000,
    0x1a00_0001,
    0x2080_0000,
    0x3300_0000,
    0x3380_0000,
    0x3f7f_ffff,
    0x3f80_0000,
    0x3f80_0001,
    0x3fc0_0000,
    0x4b7f_ffff,
    0x4b80_0001,
    0x7f00_0000,
    0x7f7f_ffff,
    0x7f80_0000,
    0x7fc0_0000,
];

fn check(code: &Code, rows: [[f32; 4]; 3]) {
    // SAFETY: the code was compiled from a function of this signature.
    let run: extern "C" fn(*const f32, *mut f32) = unsafe { std::mem::transmute(code.ptr()) };
    let mut out = [0f32; 4];
    run(rows.as_flattened().as_ptr(), out.as_mut_ptr());
    for (lane, got) in out.into_iter().enumerate() {
        let [x, y, z] = rows.map(|row| row[lane]);
        let want = x.mul_add(y, z);
        let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
        assert!(same, "{x:e} * {y:e} + {z:e} is {got:e}, expected {want:e}");
    }
}

#[test]
fn special_and_random_values_are_rounded_once() {
    for isa in [plain_isa("none"), plain_isa("speed"), host_isa("none")] {
        let code = multiply_add(&*isa);
        let signed = SPECIAL.iter().flat_map(|&bits| [bits, bits | 1 << 31]).map(f32::from_bits);
        let all: Vec<f32> = signed.collect();
        for &x in &all {
            for &y in &all {
                for z in all.chunks(4) {
                    check(&code, [[x; 4], [y; 4], [z[0], z[1], z[2], z[3]]]);
                }
            }
        }
        let mut rng = Rng::new(1);
        for _ in 0..500_000 {
            let rows = [0; 3].map(|_| [0; 4].map(|_| f32::from_bits(rng.next() as u32)));
            check(&code, rows);
            // Near one another in magnitude, so that they cancel or meet at a half.
            let mut near = |exponent: u32, spread: usize| {
                let bits = (rng.next() as u32) & [0x807f_ffff, 0x8000_0fff, 0x807f_f000][rng.below(3)];
                f32::from_bits(bits | (exponent + rng.below(spread) as u32) << 23)
            };
            let rows =
                [[0; 4].map(|_| near(125, 4)), [0; 4].map(|_| near(125, 4)), [0; 4].map(|_| near(96, 60))];
            check(&code, rows);
            // Products and sums about the smallest normal number.
            let rows =
                [[0; 4].map(|_| near(40, 30)), [0; 4].map(|_| near(50, 30)), [0; 4].map(|_| near(0, 6))];
            check(&code, rows);
        }
    }
}
