//! tile_program - emitted vector programs against the scalar reference, bit for bit.

mod support;

use cranelift_codegen::ir::types::{F32, F32X4, I32, I32X4};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};
use cranelift_codegen::isa::TargetIsa;
use cranelift_frontend::FunctionBuilder;
use nnc_cpu::tile::{Arithmetic, Lanes, emit_program};
use nnc_tile::program::{Lane, LaneType, Op, VectorProgram};
use support::{
    Code, Rng, compile, host_isa,
    lanes::{depends_on_nan_bits, random_lane, random_program},
    plain_isa,
};

/// Types of the inputs.
const INPUTS: [LaneType; 4] = [LaneType::F32, LaneType::F32, LaneType::F32, LaneType::I32];

/// Function (inputs, results): both point to rows of four lanes, one row a value.
fn compile_program(p: &VectorProgram, lanes: Lanes, isa: &dyn TargetIsa) -> Code {
    compile(isa, 2, emit(p, lanes, Arithmetic::of(isa)))
}

fn emit<'a>(
    p: &'a VectorProgram,
    lanes: Lanes,
    arithmetic: Arithmetic,
) -> impl FnOnce(&mut FunctionBuilder, &[Value]) + 'a {
    move |b, args| {
        let flags = MemFlagsData::new().with_notrap();
        let ty = |t: LaneType| match (t, lanes) {
            (LaneType::F32, Lanes::Four) => F32X4,
            (LaneType::I32, Lanes::Four) => I32X4,
            (LaneType::F32, Lanes::One) => F32,
            (LaneType::I32, Lanes::One) => I32,
        };
        let n_steps = if lanes == Lanes::Four { 1 } else { 4 };
        for step in 0..n_steps {
            let inputs: Vec<_> = (0i32..)
                .zip(INPUTS)
                .map(|(k, input)| b.ins().load(ty(input), flags, args[0], k * 16 + step * 4))
                .collect();
            for (k, value) in emit_program(b, arithmetic, p, lanes, &inputs).into_iter().enumerate() {
                b.ins().store(flags, value, args[1], k as i32 * 16 + step * 4);
            }
        }
    }
}

fn check(p: &VectorProgram, code: &Code, rng: &mut Rng, what: &str) -> usize {
    // SAFETY: the code was compiled from a function of this signature.
    let run: extern "C" fn(*const u32, *mut u32) = unsafe { std::mem::transmute(code.ptr()) };
    let mut n_compared = 0;
    for _ in 0..16 {
        let inputs: Vec<[Lane; 4]> =
            INPUTS.iter().map(|&ty| std::array::from_fn(|_| random_lane(rng, ty))).collect();
        let flat: Vec<u32> = inputs.iter().flatten().map(|l| l.bits()).collect();
        let mut out = vec![0u32; p.results().len() * 4];
        run(flat.as_ptr(), out.as_mut_ptr());
        for lane in 0..4 {
            let ins: Vec<Lane> = inputs.iter().map(|row| row[lane]).collect();
            let values = p.eval_ops(&ins);
            if depends_on_nan_bits(p, &values) {
                continue;
            }
            n_compared += 1;
            for (k, want) in p.eval(&ins).into_iter().enumerate() {
                let got = Lane::from_bits(want.lane_type(), out[k * 4 + lane]);
                let same = match (want, got) {
                    (Lane::F32(w), Lane::F32(g)) if w.is_nan() => g.is_nan(),
                    _ => want.bits() == got.bits(),
                };
                assert!(same, "{what}: result {k}: {got}, expected {want}\n{p:#?}\ninputs {ins:?}");
            }
        }
    }
    n_compared
}

#[test]
fn random_programs_have_the_bits_of_the_reference() {
    let mut n_compared = 0;
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let n_ops = 1 + rng.below(30);
        let p = random_program(&mut rng, &INPUTS, n_ops);
        for (idx, isa) in
            [host_isa("none"), host_isa("speed"), plain_isa("none"), plain_isa("speed")].iter().enumerate()
        {
            let lanes = if idx == 1 && rng.below(2) == 0 { Lanes::One } else { Lanes::Four };
            let code = compile_program(&p, lanes, &**isa);
            n_compared += check(&p, &code, &mut rng, &format!("seed {seed} {lanes:?} target {idx}"));
        }
    }
    assert!(n_compared > 20_000, "most cases are compared: {n_compared}");
}

#[test]
fn min_and_max_are_one_instruction_on_x86() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let mut p = VectorProgram::new();
    let (a, b) = (p.input(0), p.input(1));
    let lo = p.push(Op::Min(a, b));
    let hi = p.push(Op::Max(lo, a));
    p.result(hi);
    let listing = compile_program(&p, Lanes::Four, &*host_isa("none")).listing;
    assert!(listing.contains("vminps") && listing.contains("vmaxps"), "{listing}");
    assert!(!listing.contains("cmpps"), "{listing}");
}

#[test]
fn programs_compile_for_arm() {
    let isa = support::arm_isa();
    for seed in 0..100 {
        let p = random_program(&mut Rng::new(seed), &INPUTS, 30);
        let ctx = support::context(&*isa, 2, emit(&p, Lanes::Four, Arithmetic::of(&*isa)));
        assert!(!support::machine_code(&*isa, ctx).0.is_empty());
    }
}

#[test]
fn bounds_keep_what_is_no_number_and_signs_of_zeros() {
    let mut rng = Rng::new(5);
    for bits in [0.0f32, -0.0, 6.0, -1.0, f32::INFINITY, f32::NAN].map(f32::to_bits) {
        for upper in [false, true] {
            let mut p = VectorProgram::new();
            let (x, limit) = (p.input(0), p.push(Op::ConstF32(bits)));
            let bounded = p.push(if upper { Op::Min(x, limit) } else { Op::Max(x, limit) });
            let mask = p.push(Op::Ne(x, x));
            let kept = p.push(Op::Select(mask, x, bounded));
            // The sign of a zero is one of its quotient.
            let one = p.f32(1.0);
            let inverse = p.push(Op::Div(one, kept));
            p.result(kept);
            p.result(inverse);
            for isa in [host_isa("none"), plain_isa("none"), plain_isa("speed")] {
                for lanes in [Lanes::Four, Lanes::One] {
                    let code = compile_program(&p, lanes, &*isa);
                    for _ in 0..20 {
                        assert!(check(&p, &code, &mut rng, "bound") > 0);
                    }
                }
            }
        }
    }
}
