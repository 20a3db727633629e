//! math_accuracy - functions spelt in primitives against `f64` arithmetic: the limits are those of docs/numerics.md.
//!
//! `f32`: every 4099th bit pattern, so every binade has about two thousand; with `--ignored` every 127th. `f64`: every binade a few hundred, and a
//! dense sample where the function is not trivial. `cargo test -p nnc-ir --test math_accuracy -- --nocapture` prints what
//! was measured.

use nnc_ir::{
    dtype::{DType, Scalar},
    eval::program::{Leaf, Machine},
    math,
    program::{Builder, MulAdds, Program, Ref},
};

const NUMERICS: &str = include_str!("../../docs/numerics.md");

/// The limit in ULP for `name`, from the table of the document: of `f64`, or of `f32` with multiply-adds of a kind.
fn limit(name: &str, dtype: DType, mul_adds: MulAdds) -> f64 {
    let row = NUMERICS.lines().find(|l| l.starts_with(&format!("| `{name}` |")));
    let row = row.unwrap_or_else(|| panic!("no row for {name}"));
    let column = match (dtype, mul_adds) {
        (DType::F64, _) => 4,
        (_, MulAdds::Fused) => 2,
        (_, MulAdds::Separate) => 3,
    };
    row.split('|').nth(column).and_then(|c| c.trim().parse().ok()).expect("a limit")
}

fn program(dtype: DType, operands: usize, f: &dyn Fn(&mut Builder, &[Ref]) -> Ref) -> Program {
    let mut b = Builder::new();
    let loads: Vec<Ref> = (0..operands).map(|k| b.load(k, dtype)).collect();
    let y = f(&mut b, &loads);
    b.finish([y])
}

/// Results of `program` for columns of operands, as bits.
fn run(program: &Program, columns: &[&[u64]]) -> Vec<u64> {
    const WIDTH: usize = 256;
    let mut machine = Machine::new(program, WIDTH).expect("well-typed");
    let n = columns[0].len();
    let mut out = Vec::with_capacity(n);
    for start in (0..n).step_by(WIDTH) {
        let end = n.min(start + WIDTH);
        let done = machine.run(end - start, |leaf, row| {
            let Leaf::Load(k) = leaf else { return Err("only loads") };
            row.copy_from_slice(&columns[k][start..end]);
            Ok(())
        });
        done.expect("only loads");
        out.extend(&machine.row(program.results[0])[..end - start]);
    }
    out
}

fn f32_patterns(step: usize) -> Vec<u64> {
    let specials = [0.0f32, 1.0, f32::INFINITY, f32::MIN_POSITIVE, f32::MAX, f32::NAN];
    let specials = specials.into_iter().flat_map(|x| [x.to_bits(), (-x).to_bits()]);
    (0..=u32::MAX).step_by(step).chain(specials).map(u64::from).collect()
}

fn f64_patterns() -> Vec<u64> {
    let specials = [0.0f64, 1.0, f64::INFINITY, f64::MIN_POSITIVE, f64::MAX, f64::NAN];
    let specials = specials.into_iter().flat_map(|x| [x.to_bits(), (-x).to_bits()]);
    let all = (0..=u64::MAX).step_by((1 << 45) - 1);
    let dense = (-200_000..200_000).map(|i| (f64::from(i) * 1.2e-4).to_bits());
    all.chain(dense).chain(specials).collect()
}

/// Distance in units of the last place of `want` (of `f32` if `single`); infinite where one is NaN or infinite and the
/// other is not.
fn ulps(got: f64, want: f64, single: bool) -> f64 {
    // 2^-1074 and 2^-149: the least units. Rounded to the type, an overflow is an infinity.
    let rounded = if single { f64::from(want as f32) } else { want };
    if got.is_nan() || want.is_nan() {
        return if got.is_nan() && want.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if got == rounded {
        // Even the sign of zero.
        let same_sign = got != 0.0 || got.is_sign_negative() == rounded.is_sign_negative();
        return if same_sign {
            if rounded.is_infinite() { 0.0 } else { unit_distance(got, want, single) }
        } else {
            f64::INFINITY
        };
    }
    if got.is_infinite() || rounded.is_infinite() {
        let greatest = if single { f64::from(f32::MAX) } else { f64::MAX };
        let near = |x: f64| if x.is_infinite() { greatest.copysign(x) } else { x };
        return 1.0 + unit_distance(near(got), near(rounded), single);
    }
    unit_distance(got, want, single)
}

fn unit_distance(got: f64, want: f64, single: bool) -> f64 {
    let (least, digits) = if single { (-149, 23) } else { (-1074, 52) };
    let exponent = if want == 0.0 { -2000 } else { want.abs().log2().floor() as i32 };
    let unit = (exponent - digits).max(least);
    // In two steps, for units that are denormal.
    let half = unit / 2;
    (got - want).abs() / f64::powi(2.0, half) / f64::powi(2.0, unit - half)
}

/// Greatest distance and where.
fn worst(bits: &[&[u64]], got: &[u64], dtype: DType, want: &dyn Fn(&[f64]) -> f64) -> (f64, Vec<f64>) {
    let value = |bits: u64| {
        if dtype == DType::F32 { f64::from(f32::from_bits(bits as u32)) } else { f64::from_bits(bits) }
    };
    let mut worst = (0.0, vec![]);
    for (i, &got) in got.iter().enumerate() {
        let x: Vec<f64> = bits.iter().map(|column| value(column[i])).collect();
        let distance = ulps(value(got), want(&x), dtype == DType::F32);
        if distance.is_nan() || distance > worst.0 {
            worst = (distance, x);
        }
    }
    worst
}

/// Error function: the series (Abramowitz & Stegun 7.1.5), beyond 1 the continued fraction (7.1.14).
fn erf(x: f64) -> f64 {
    let a = x.abs();
    let square = a * a;
    let power = (-square).exp() * (1.0 - a.mul_add(a, -square));
    let y = if a < 1.0 {
        // Least terms first, so that only the last sum rounds.
        let terms = (1..30).scan(a, |power, n| {
            *power *= -square / f64::from(n);
            Some(*power / f64::from(2 * n + 1))
        });
        let small: f64 = terms.collect::<Vec<_>>().into_iter().rev().sum();
        std::f64::consts::FRAC_2_SQRT_PI * (a + small)
    } else if a < 10.0 {
        let fraction = (1..400).rev().fold(a, |f, n| a + f64::from(n) / 2.0 / f);
        1.0 - power / fraction * std::f64::consts::FRAC_2_SQRT_PI / 2.0
    } else {
        if a.is_nan() { a } else { 1.0 }
    };
    y.copysign(x)
}

type Function = fn(&mut Builder, Ref) -> Ref;
type Reference = fn(f64) -> f64;
const UNARY: [(&str, Function, Reference); 20] =
    [
        ("exp", math::exp, f64::exp),
        ("log", math::log, f64::ln),
        ("tanh", math::tanh, f64::tanh),
        ("erf", math::erf, erf),
        ("sigmoid", math::sigmoid, |x| {
            if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) }
        }),
        ("expm1", math::expm1, f64::exp_m1),
        ("log1p", math::log1p, f64::ln_1p),
        ("sin", math::sin, f64::sin),
        ("cos", math::cos, f64::cos),
        ("tan", math::tan, f64::tan),
        ("asin", math::asin, f64::asin),
        ("acos", math::acos, f64::acos),
        ("atan", math::atan, f64::atan),
        ("sinh", math::sinh, f64::sinh),
        ("cosh", math::cosh, f64::cosh),
        ("asinh", math::asinh, asinh),
        ("acosh", math::acosh, acosh),
        ("atanh", math::atanh, atanh),
        ("abs", math::abs, f64::abs),
        ("sign", math::sign, |x| if x == 0.0 || x.is_nan() { x } else { x.signum() }),
    ];

// The standard library's lose digits.
fn asinh(x: f64) -> f64 {
    let a = x.abs();
    let y =
        if a > 1e8 { a.ln() + std::f64::consts::LN_2 } else { (a + a * a / (1.0 + a.hypot(1.0))).ln_1p() };
    y.copysign(x)
}
fn acosh(x: f64) -> f64 {
    let t = x - 1.0;
    if x > 1e8 {
        x.ln() + std::f64::consts::LN_2
    } else if x < 1.0 {
        f64::NAN
    } else {
        (t + (t * (t + 2.0)).sqrt()).ln_1p()
    }
}
fn atanh(x: f64) -> f64 {
    let a = x.abs();
    (0.5 * (2.0 * a / (1.0 - a)).ln_1p()).copysign(x)
}

fn check_unary(dtype: DType, mul_adds: MulAdds, patterns: &[u64], functions: &[(&str, Function, Reference)]) {
    let mut failures = Vec::new();
    for &(name, f, want) in functions {
        let program = program(dtype, 1, &|b, x| f(b, x[0])).settled(mul_adds);
        // `f64` sines and the like promise nothing for great arguments.
        let is_periodic = dtype == DType::F64 && ["sin", "cos", "tan"].contains(&name);
        let kept: Vec<u64> = patterns
            .iter()
            .copied()
            .filter(|&p| {
                let a = f64::from_bits(p).abs();
                !is_periodic || a <= 268_435_456.0 || !a.is_finite()
            })
            .collect();
        let got = run(&program, &[&kept]);
        let (distance, at) = worst(&[&kept], &got, dtype, &|x| want(x[0]));
        println!(
            "{name:8} {dtype} {mul_adds:?} {distance:7.3} at {:e} ({} instructions)",
            at.first().unwrap_or(&0.0),
            program.insts().len()
        );
        let limit = limit(name, dtype, mul_adds);
        if distance > limit {
            failures.push(format!("{name} {dtype} {mul_adds:?}: {distance} ULP at {at:?}, limit {limit}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn unary_functions_of_f32_keep_their_limits() {
    check_unary(DType::F32, MulAdds::Fused, &f32_patterns(4099), &UNARY);
}

#[test]
fn unary_functions_of_f32_keep_their_limits_without_multiply_adds() {
    check_unary(DType::F32, MulAdds::Separate, &f32_patterns(4099), &UNARY);
}

#[test]
#[ignore = "takes minutes"]
fn functions_of_f32_keep_their_limits_on_many_values() {
    for mul_adds in [MulAdds::Fused, MulAdds::Separate] {
        // Those that are computed in f32.
        check_unary(DType::F32, mul_adds, &f32_patterns(127), &UNARY[..5]);
    }
}

/// Beside the multiple of its operand's size that it may be off by, half a unit of the last place.
#[test]
fn gelu_keeps_its_limit() {
    let want = |x: f64| x / 2.0 * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2));
    let near: Vec<u64> = (-700_000..700_000).map(|i| u64::from((i as f32 * 1e-5).to_bits())).collect();
    let single = [f32_patterns(4099), near].concat();
    let wide: Vec<u64> = (-70_000..70_000).map(|i| (f64::from(i) * 1e-4).to_bits()).collect();
    let cases = [
        (DType::F32, MulAdds::Fused, &single),
        (DType::F32, MulAdds::Separate, &single),
        (DType::F64, MulAdds::Fused, &wide),
    ];
    for (dtype, mul_adds, patterns) in cases {
        let program = program(dtype, 1, &|b, x| math::gelu(b, x[0])).settled(mul_adds);
        let is_single = dtype == DType::F32;
        let (unit, least) =
            if is_single { (f64::powi(2.0, -24), f64::powi(2.0, -149)) } else { (f64::EPSILON / 2.0, 0.0) };
        let value =
            |bits: u64| if is_single { f64::from(f32::from_bits(bits as u32)) } else { f64::from_bits(bits) };
        let mut worst = (0.0, 0.0);
        for (&bits, got) in patterns.iter().zip(run(&program, &[patterns])) {
            let (x, got) = (value(bits), value(got));
            if x.is_nan() || x == f64::NEG_INFINITY {
                assert!(got.is_nan(), "gelu of {x} is {got}");
                continue;
            }
            if x.abs() >= 5.4 && is_single {
                assert!(got == x.max(0.0), "gelu of {x} is {got}");
                continue;
            }
            let distance = ((got - want(x)).abs() - least / 2.0) / (x.abs() * unit);
            if distance > worst.0 {
                worst = (distance, x);
            }
        }
        println!(
            "gelu {dtype} {mul_adds:?} {:.3} at {:e} ({} instructions)",
            worst.0,
            worst.1,
            program.insts().len()
        );
        let limit = limit("gelu", dtype, mul_adds);
        assert!(worst.0 <= limit, "gelu {dtype} {mul_adds:?}: {} at {:e}, limit {limit}", worst.0, worst.1);
    }
}

#[test]
fn unary_functions_of_f64_keep_their_limits() {
    check_unary(DType::F64, MulAdds::Fused, &f64_patterns(), &UNARY);
}

/// Pseudorandom bits (Steele, Lea & Flood 2014).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Pairs: special values, any bits, and numbers of moderate size.
fn pairs(dtype: DType) -> [Vec<u64>; 2] {
    let encode = |x: f64| Scalar::float(dtype, x).bits;
    let specials: Vec<u64> =
        [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 7.25, 1e9, 9e15, 1e30, 1e-30, 1e-40, f64::INFINITY, f64::NAN]
            .into_iter()
            .flat_map(|x| [encode(x), encode(-x)])
            .collect();
    let (mut xs, mut ys) = (Vec::new(), Vec::new());
    for &x in &specials {
        for &y in &specials {
            xs.push(x);
            ys.push(y);
        }
    }
    let mut state = 1;
    let mask = if dtype == DType::F32 { u64::from(u32::MAX) } else { u64::MAX };
    let unit = |state: &mut u64| (random(state) >> 11) as f64 / f64::powi(2.0, 53);
    for _ in 0..200_000 {
        xs.push(random(&mut state) & mask);
        ys.push(random(&mut state) & mask);
        let size = f64::exp2(40.0 * unit(&mut state) - 20.0);
        xs.push(encode(size));
        ys.push(encode((unit(&mut state) - 0.5) * 1400.0 / size.ln().abs().max(1e-3)));
        xs.push(encode(200.0 * (unit(&mut state) - 0.5)));
        ys.push(encode((20.0 * (unit(&mut state) - 0.5)).round()));
    }
    [xs, ys]
}

#[test]
fn powers_keep_their_limits() {
    for dtype in [DType::F32, DType::F64] {
        let [x, y] = pairs(dtype);
        let program = program(dtype, 2, &|b, x| math::pow(b, x[0], x[1]));
        let got = run(&program, &[&x, &y]);
        let (distance, at) = worst(&[&x, &y], &got, dtype, &|x| x[0].powf(x[1]));
        println!("pow      {dtype} {distance:7.3} at {at:?} ({} instructions)", program.insts().len());
        assert!(distance <= limit("pow", dtype, MulAdds::Fused), "{dtype}: {distance} at {at:?}");
    }
}

#[test]
fn remainders_of_f32_are_exact_and_floored_ones_take_the_sign_of_the_divisor() {
    let [x, y] = pairs(DType::F32);
    let truncated = program(DType::F32, 2, &|b, x| math::rem(b, x[0], x[1]));
    let floored = program(DType::F32, 2, &|b, x| math::floor_mod(b, x[0], x[1]));
    let (rem, modulo) = (run(&truncated, &[&x, &y]), run(&floored, &[&x, &y]));
    let f = |bits: u64| f32::from_bits(bits as u32);
    let same = |a: f32, b: f32| (a.is_nan() && b.is_nan()) || a.to_bits() == b.to_bits();
    for i in 0..x.len() {
        let (a, m) = (f(x[i]), f(y[i]));
        let want = a % m;
        assert!(same(f(rem[i]), want), "{a:e} rem {m:e} is {:e}, not {want:e}", f(rem[i]));
        let want = if want == 0.0 {
            0f32.copysign(m)
        } else if (want < 0.0) != (m < 0.0) {
            want + m
        } else {
            want
        };
        assert!(same(f(modulo[i]), want), "{a:e} mod {m:e} is {:e}, not {want:e}", f(modulo[i]));
    }
}

#[test]
fn remainders_of_f64_are_exact_up_to_quotients_of_2_to_150() {
    let [x, y] = pairs(DType::F64);
    let program = program(DType::F64, 2, &|b, x| math::rem(b, x[0], x[1]));
    for (i, got) in run(&program, &[&x, &y]).into_iter().enumerate() {
        let (a, m, got) = (f64::from_bits(x[i]), f64::from_bits(y[i]), f64::from_bits(got));
        if (a / m).abs() > f64::powi(2.0, 150) && m != 0.0 {
            continue;
        }
        let want = a % m;
        assert!(
            (got.is_nan() && want.is_nan()) || got.to_bits() == want.to_bits(),
            "{a:e} rem {m:e}: {got:e}, not {want:e}"
        );
    }
}

#[test]
fn extremes_keep_nan() {
    let [x, y] = pairs(DType::F32);
    let f = |bits: u64| f32::from_bits(bits as u32);
    let greater = run(&program(DType::F32, 2, &|b, x| math::max(b, x[0], x[1])), &[&x, &y]);
    let lesser = run(&program(DType::F32, 2, &|b, x| math::min(b, x[0], x[1])), &[&x, &y]);
    for i in 0..x.len() {
        let (a, b) = (f(x[i]), f(y[i]));
        if a.is_nan() || b.is_nan() {
            assert!(f(greater[i]).is_nan() && f(lesser[i]).is_nan(), "{a} {b}");
        } else {
            assert!(f(greater[i]) == a.max(b) && f(lesser[i]) == a.min(b), "{a} {b}");
        }
    }
}

#[test]
fn integer_powers_wrap_and_negative_ones_are_quotients() {
    for dtype in DType::ALL.into_iter().filter(|d| d.is_int()) {
        let program = program(dtype, 2, &|b, x| math::pow(b, x[0], x[1]));
        for base in [-3i64, -2, -1, 0, 1, 2, 3, 10, 77] {
            for exponent in [-3i64, -2, -1, 0, 1, 2, 3, 5, 31, 62, 100] {
                let (x, y) = (Scalar::int(dtype, base), Scalar::int(dtype, exponent));
                let (base, exponent) = (x.as_i64().expect("int"), y.as_i64().expect("int"));
                let got = run(&program, &[&[x.bits], &[y.bits]])[0];
                let wrapped = |times: u64| (0..times).fold(1i64, |p, _| p.wrapping_mul(base));
                let want = match (base, exponent) {
                    (_, 0..=255) => wrapped(exponent.cast_unsigned()),
                    (_, e) if dtype.is_unsigned_int() => {
                        // Great exponents: by squaring.
                        let (mut p, mut s, mut e) = (1i64, base, e.cast_unsigned());
                        while e > 0 {
                            p = if e & 1 == 1 { p.wrapping_mul(s) } else { p };
                            s = s.wrapping_mul(s);
                            e >>= 1;
                        }
                        p
                    }
                    (1, _) => 1,
                    (-1, e) => {
                        if e % 2 == 0 {
                            1
                        } else {
                            -1
                        }
                    }
                    _ => 0,
                };
                assert_eq!(got, Scalar::int(dtype, want).bits, "{dtype} {base}^{exponent}");
            }
        }
    }
}

#[test]
fn the_functions_of_inner_loops_use_only_what_has_lanes() {
    let lanes: [(&str, Function); 5] = [
        ("exp", math::exp),
        ("log", math::log),
        ("tanh", math::tanh),
        ("erf", math::erf),
        ("sigmoid", math::sigmoid),
    ];
    for (name, f) in lanes {
        let program = program(DType::F32, 1, &|b, x| f(b, x[0]));
        for (inst, dtype) in program.insts() {
            assert!([DType::F32, DType::I32, DType::Bool].contains(dtype), "{name}: {inst:?}");
            assert!(!matches!(inst, nnc_ir::program::Inst::Cast(..)), "{name}: {inst:?}");
        }
    }
}
