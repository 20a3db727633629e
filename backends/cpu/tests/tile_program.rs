//! tile_program - emitted vector programs against the scalar reference, bit for bit.

mod support;

use cranelift_codegen::ir::types::{F32, F32X4, I32, I32X4};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};
use cranelift_frontend::FunctionBuilder;
use nnc_cpu::tile::{Lanes, emit_program};
use nnc_tile::program::{Lane, LaneType, Op, Ref, VectorProgram};
use support::{Code, Rng, compile, host_isa};

const N_INPUTS: u16 = 4;

fn input_type(k: u16) -> LaneType {
    if k < 3 { LaneType::F32 } else { LaneType::I32 }
}

/// A program in which every op has the same chance, and every value that nothing reads is a result.
fn random_program(rng: &mut Rng, n_ops: usize) -> VectorProgram {
    let mut p = VectorProgram::new();
    let mut all: Vec<Ref> = (0..N_INPUTS).map(|k| p.push(Op::Input(k, input_type(k)))).collect();
    all.push(p.f32(SPECIAL[rng.below(SPECIAL.len())]));
    all.push(p.i32(rng.next() as i32));
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

const SPECIAL: [f32; 22] = [
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

fn random_lane(rng: &mut Rng, ty: LaneType) -> Lane {
    match (ty, rng.below(3)) {
        (LaneType::F32, 0) => Lane::F32(SPECIAL[rng.below(SPECIAL.len())]),
        (LaneType::F32, 1) => Lane::F32(rng.unit() * 100.0),
        (LaneType::F32, _) => Lane::F32(rng.unit()),
        (LaneType::I32, 0) => Lane::I32([0, -1, 1, i32::MIN, i32::MAX][rng.below(5)]),
        (LaneType::I32, _) => Lane::I32(rng.next() as i32),
    }
}

/// Function (inputs, results): both point to rows of four lanes, one row a value.
fn compile_program(p: &VectorProgram, lanes: Lanes, opt_level: &str) -> Code {
    compile(&*host_isa(opt_level), 2, emit(p, lanes))
}

fn emit<'a>(p: &'a VectorProgram, lanes: Lanes) -> impl FnOnce(&mut FunctionBuilder, &[Value]) + 'a {
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
            let inputs: Vec<_> = (0..N_INPUTS)
                .map(|k| b.ins().load(ty(input_type(k)), flags, args[0], i32::from(k) * 16 + step * 4))
                .collect();
            for (k, value) in emit_program(b, p, lanes, &inputs).into_iter().enumerate() {
                b.ins().store(flags, value, args[1], k as i32 * 16 + step * 4);
            }
        }
    }
}

/// Whether the bits of a NaN became data: then results may differ, as the NaN's payload is unspecified.
fn depends_on_nan_bits(p: &VectorProgram, values: &[Lane]) -> bool {
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

fn check(p: &VectorProgram, code: &Code, rng: &mut Rng, what: &str) -> usize {
    // SAFETY: the code was compiled from a function of this signature.
    let run: extern "C" fn(*const u32, *mut u32) = unsafe { std::mem::transmute(code.ptr()) };
    let mut n_compared = 0;
    for _ in 0..16 {
        let inputs: Vec<[Lane; 4]> =
            (0..N_INPUTS).map(|k| std::array::from_fn(|_| random_lane(rng, input_type(k)))).collect();
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
        let p = random_program(&mut rng, n_ops);
        for (lanes, opt) in [(Lanes::Four, "none"), (Lanes::Four, "speed"), (Lanes::One, "speed")] {
            let code = compile_program(&p, lanes, opt);
            n_compared += check(&p, &code, &mut rng, &format!("seed {seed} {lanes:?} {opt}"));
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
    let listing = compile_program(&p, Lanes::Four, "none").listing;
    assert!(listing.contains("vminps") && listing.contains("vmaxps"), "{listing}");
    assert!(!listing.contains("cmpps"), "{listing}");
}

#[test]
fn programs_compile_for_arm() {
    let isa = support::arm_isa();
    for seed in 0..100 {
        let p = random_program(&mut Rng::new(seed), 30);
        let ctx = support::context(&*isa, 2, emit(&p, Lanes::Four));
        assert!(!support::machine_code(&*isa, ctx).0.is_empty());
    }
}
