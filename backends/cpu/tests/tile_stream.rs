//! tile_stream - wide code of streams against the scalar reference, bit for bit, between guard pages.

mod support;

use nnc_tile::{
    Tile,
    program::{Lane, LaneType, Op, VectorProgram},
    stream::{Element, Input, Join, Output, Stream, StreamArg, StreamOperands, Walk},
};
use nnc_x86::Level;
use support::{
    Guarded, Rng, call, host_levels,
    lanes::{depends_on_nan_bits, random_lane, random_program},
    load,
};

/// What no element is before it is written.
const POISON: u8 = 0xa5;

struct Case {
    spec: Stream,
    n: usize,
    rows: usize,
    /// Bytes between rows, beyond what they have.
    gap: usize,
    /// Output 0 is written over input 0.
    in_place: bool,
}

fn random_case(rng: &mut Rng) -> Case {
    let elements =
        [Element::F32, Element::F32, Element::F32, Element::I32, Element::U8, Element::I8, Element::Bool];
    let narrow = rng.below(3) == 0;
    let inputs: Vec<Input> = (0..1 + rng.below(3))
        .map(|k| {
            let walk = if k > 0 && rng.below(3) == 0 { Walk::Same } else { Walk::Along };
            let choice = if narrow && walk == Walk::Along { 7 } else { 4 };
            Input { element: elements[rng.below(choice)], walk }
        })
        .collect();
    let types: Vec<LaneType> = inputs.iter().map(|i| i.element.lane_type()).collect();
    let most = [8, 8, 8, 40][rng.below(4)];
    let n_ops = 1 + rng.below(most);
    let mut program = random_program(rng, &types, n_ops);
    // A few of its results.
    let results = program.results().to_vec();
    let mut kept = VectorProgram::new();
    for op in program.ops() {
        kept.push(*op);
    }
    for k in 0..results.len().min(1 + rng.below(3)) {
        kept.result(results[results.len() - 1 - k]);
    }
    program = kept;
    let folds = rng.below(2) == 0;
    let outputs =
        program.results().iter().map(|&r| match (program.lane_type(r), folds && rng.below(3) > 0) {
            (LaneType::F32, true) => {
                Output::Fold([Join::Sum, Join::Product, Join::Max, Join::Min][rng.below(4)])
            }
            (LaneType::F32, false) => Output::Store(Element::F32),
            (LaneType::I32, true) => Output::Fold(Join::IntSum),
            (LaneType::I32, false) if narrow => Output::Store(elements[3 + rng.below(4)]),
            (LaneType::I32, false) => Output::Store(Element::I32),
        });
    let outputs: Vec<Output> = outputs.collect();
    let rows = rng.below(2) == 0;
    let n = [rng.below(20), rng.below(70), rng.below(300)][rng.below(3)];
    let partials = [16, 32, 64][rng.below(3)];
    let ahead = rng.below(3);
    let same_size = matches!(outputs[0], Output::Store(e) if e.bytes() == inputs[0].element.bytes());
    Case {
        in_place: same_size && inputs[0].walk == Walk::Along && rng.below(3) == 0,
        spec: Stream { program, finish: finish(rng, &outputs), inputs, outputs, ahead, rows, partials },
        n,
        rows: if rows { rng.below(4) } else { 1 },
        gap: if rng.below(2) == 0 { 0 } else { 12 },
    }
}

/// Something that is done to what is folded, where that is f32.
fn finish(rng: &mut Rng, outputs: &[Output]) -> Option<VectorProgram> {
    let whole = |o: &Output| matches!(o, Output::Fold(join) if join.lane_type() == LaneType::I32);
    if rng.below(2) == 0 || outputs.iter().any(whole) {
        return None;
    }
    let mut program = VectorProgram::new();
    let (x, one, small) = (program.input(0), program.f32(1.0), program.f32(1e-3));
    let scaled = program.push(Op::Fma(x, small, one));
    let result = match rng.below(3) {
        0 => program.push(Op::Mul(x, small)),
        1 => program.push(Op::Div(one, x)),
        _ => {
            let root = program.push(Op::Sqrt(scaled));
            program.push(Op::Div(one, root))
        }
    };
    program.result(result);
    Some(program)
}

/// Bytes of an operand, and from one row to the next.
fn span(case: &Case, element: Element, along: bool) -> (usize, usize) {
    let row = element.bytes() * if along { case.n } else { 1 };
    let step = row + case.gap;
    (if case.rows == 0 { 0 } else { (case.rows - 1) * step + row }, step)
}

fn random_bytes(rng: &mut Rng, element: Element, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    for at in (0..len / element.bytes()).map(|i| i * element.bytes()) {
        match element {
            Element::F32 | Element::I32 => {
                let lane = random_lane(rng, element.lane_type());
                bytes[at..at + 4].copy_from_slice(&lane.bits().to_le_bytes());
            }
            Element::U8 | Element::I8 => bytes[at] = rng.next() as u8,
            Element::Bool => bytes[at] = [0, 1, 1, 0x80][rng.below(4)],
        }
    }
    bytes
}

/// Which rows and elements depend on what NaN have as bits.
fn unspecified(case: &Case, inputs: &[(Vec<u8>, usize)]) -> Vec<Vec<bool>> {
    let of_element = |r: usize, i: usize| {
        let lanes: Vec<Lane> = case
            .spec
            .inputs
            .iter()
            .zip(inputs)
            .map(|(input, (bytes, step))| {
                let at = r * step + if input.walk == Walk::Along { i * input.element.bytes() } else { 0 };
                match input.element {
                    Element::F32 | Element::I32 => {
                        let word = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
                        Lane::from_bits(input.element.lane_type(), word)
                    }
                    Element::U8 => Lane::I32(i32::from(bytes[at])),
                    Element::I8 => Lane::I32(i32::from(bytes[at] as i8)),
                    Element::Bool => Lane::I32(-i32::from(bytes[at] != 0)),
                }
            })
            .collect();
        depends_on_nan_bits(&case.spec.program, &case.spec.program.eval_ops(&lanes))
    };
    (0..case.rows).map(|r| (0..case.n).map(|i| of_element(r, i)).collect()).collect()
}

/// Whether it was compared.
fn run(case: &Case, rng: &mut Rng, level: Level, what: &str) -> bool {
    let tile = Tile::Stream(case.spec.clone());
    if !nnc_x86::supports(&tile, level) {
        return false;
    }
    let code = load(&nnc_x86::emit(&tile, level).unwrap_or_else(|e| panic!("{what}: {e:?}")), String::new());
    let inputs: Vec<(Vec<u8>, usize)> = (case.spec.inputs.iter())
        .map(|input| {
            let (len, step) = span(case, input.element, input.walk == Walk::Along);
            (random_bytes(rng, input.element, len), step)
        })
        .collect();
    let mut outputs: Vec<(Vec<u8>, usize)> = (case.spec.outputs.iter())
        .map(|output| {
            let (len, step) = match output {
                Output::Store(element) => span(case, *element, true),
                Output::Fold(_) => span(case, Element::F32, false),
            };
            (vec![POISON; len], step)
        })
        .collect();
    if case.in_place {
        outputs[0].0.copy_from_slice(&inputs[0].0);
    }
    let guarded_in: Vec<Guarded> = inputs.iter().map(|(bytes, _)| Guarded::of_bytes(bytes)).collect();
    let mut guarded_out: Vec<Guarded> = outputs.iter().map(|(bytes, _)| Guarded::of_bytes(bytes)).collect();
    let args: Vec<i64> = (case.spec.args().into_iter())
        .map(|arg| match arg {
            StreamArg::N => case.n as i64,
            StreamArg::Input(0) if case.in_place => guarded_out[0].address(),
            StreamArg::Input(k) => guarded_in[k].address(),
            StreamArg::Output(k) => guarded_out[k].address(),
            // Nothing is read or written there.
            StreamArg::Ahead(k) => [0, 4096 * k as i64][k % 2],
            StreamArg::AheadStep(_) => 1 << 20,
            StreamArg::Rows => case.rows as i64,
            StreamArg::InputStep(k) => inputs[k].1 as i64,
            StreamArg::OutputStep(k) => outputs[k].1 as i64,
        })
        .collect();
    // SAFETY: the operands are as large as the spec and the steps say.
    unsafe { call(&code, &args) };
    case.spec.reference(&mut StreamOperands {
        n: case.n,
        rows: case.rows,
        inputs: inputs.iter().map(|(bytes, step)| (&bytes[..], *step)).collect(),
        outputs: outputs.iter_mut().map(|(bytes, step)| (&mut bytes[..], *step)).collect(),
    });
    let loose = unspecified(case, &inputs);
    for (k, (output, (want, step))) in case.spec.outputs.iter().zip(&outputs).enumerate() {
        let got = guarded_out[k].bytes();
        let (element, across) = match output {
            Output::Store(element) => (*element, case.n),
            Output::Fold(join) if join.lane_type() == LaneType::F32 => (Element::F32, 1),
            Output::Fold(_) => (Element::I32, 1),
        };
        for (r, i) in (0..case.rows).flat_map(|r| (0..across).map(move |i| (r, i))) {
            let skip = match output {
                Output::Store(_) => loose[r][i],
                Output::Fold(_) => loose[r].iter().any(|l| *l),
            };
            let at = r * step + i * element.bytes();
            let (want, got) = (&want[at..][..element.bytes()], &got[at..][..element.bytes()]);
            let nan = |b: &[u8]| {
                element == Element::F32 && f32::from_le_bytes(b.try_into().expect("four bytes")).is_nan()
            };
            assert!(
                skip || want == got || (nan(want) && nan(got)),
                "{what}: output {k}, row {r}, element {i} of {}: {got:?}, expected {want:?}\n{:#?}",
                case.n,
                case.spec
            );
        }
        // Between the rows nothing was written.
        let row = across * element.bytes();
        for r in 0..case.rows.saturating_sub(1) {
            assert_eq!(&got[r * step + row..(r + 1) * step], &want[r * step + row..(r + 1) * step], "{what}");
        }
    }
    true
}

/// `(1 + p) 2^n` in two factors, as exponentials have it, for `n` from -254 to 128 and beyond both.
fn scaled_in_two_factors(rng: &mut Rng) -> VectorProgram {
    let mut program = VectorProgram::new();
    let bits = program.push(Op::Input(0, LaneType::I32));
    let mask = program.push(Op::ConstI32(511));
    let steps = program.push(Op::And(bits, mask));
    let steps = program.push(Op::ConvI32ToF32(steps));
    let (step, first) = (program.f32(0.75), program.f32(-220.0));
    let x = program.push(Op::Fma(steps, step, first));
    let (least, most) = (program.f32(-176.0), program.f32(89.0));
    let x = program.push(Op::Max(least, x));
    let x = program.push(Op::Min(most, x));
    let rest = program.push(Op::ShrU(bits, 9));
    let rest = program.push(Op::ConvI32ToF32(rest));
    let (small, low) = (program.f32(0.7 / 8_388_608.0), program.f32(-0.3));
    let p = program.push(Op::Fma(rest, small, low));
    let (log2_e, magic) = (program.f32(std::f32::consts::LOG2_E), program.f32(12_583_166.0));
    let shifted = program.push(Op::Fma(x, log2_e, magic));
    let n = program.push(Op::Sub(shifted, magic));
    let bits = program.push(Op::Bitcast(shifted));
    let half = program.push(Op::ShrS(bits, 1));
    let other = program.push(Op::ISub(bits, half));
    let factors = [half, other].map(|n| {
        let bits = program.push(Op::Shl(n, 23));
        program.push(Op::Bitcast(bits))
    });
    let once = program.push(Op::Fma(p, factors[0], factors[0]));
    let (a, b) = if rng.below(2) == 0 { (once, factors[1]) } else { (factors[1], once) };
    let y = program.push(Op::Mul(a, b));
    program.result(y);
    if rng.below(2) == 0 {
        program.result(if rng.below(2) == 0 { y } else { n });
    }
    program
}

#[test]
fn powers_of_two_in_two_factors_have_the_bits_of_the_reference() {
    for level in host_levels() {
        for seed in 0..300 {
            let mut rng = Rng::new(seed);
            let program = scaled_in_two_factors(&mut rng);
            let outputs: Vec<Output> = (program.results().iter())
                .map(|_| [Output::Store(Element::F32), Output::Fold(Join::Max)][rng.below(2)])
                .collect();
            let inputs = vec![Input { element: Element::I32, walk: Walk::Along }];
            let spec = Stream { program, inputs, outputs, ahead: 0, rows: false, partials: 32, finish: None };
            let case = Case { spec, n: rng.below(700), rows: 1, gap: 0, in_place: false };
            assert!(run(&case, &mut rng, level, &format!("seed {seed} {level:?}")), "seed {seed}");
        }
    }
}

#[test]
fn random_streams_have_the_bits_of_the_reference() {
    let (mut compared, mut asked) = (0, 0);
    for level in host_levels() {
        for seed in 0..4000 {
            let mut rng = Rng::new(seed);
            let case = random_case(&mut rng);
            asked += 1;
            compared += usize::from(run(&case, &mut rng, level, &format!("seed {seed} {level:?}")));
        }
    }
    assert!(compared * 3 >= asked * 2, "most are supported: {compared} of {asked}");
}
