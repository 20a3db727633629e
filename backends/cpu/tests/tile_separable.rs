//! tile_separable - emitted transforms of squares against the scalar reference, bit for bit, between guard pages.

mod support;

use nnc_cpu::tile::separable_function;
use nnc_tile::Tile;
use nnc_tile::epilogue::{Epilogue, EpilogueInput};
use nnc_tile::gemm::Stride;
use nnc_tile::program::{Op, Ref, VectorProgram};
use nnc_tile::separable::{Separable, SeparableArg, SeparableOperands, SquareOperand};
use nnc_tile::winograd::{Multiples, Winograd};
use nnc_x86::Level;
use support::random::{random_elements, random_epilogue, span};
use support::{Guarded, Rng, call, compile_function, host_isa, load, plain_isa};

const POISON: f32 = 1e30;

/// What makes the code of a tile.
#[derive(Clone, Copy)]
enum Emitter {
    Clif,
    /// For a target without multiply-adds, whose programs have the same bits.
    Plain,
    Wide(Level),
}

/// Some arithmetic along an axis; a result may be an input, or come twice.
fn random_program(rng: &mut Rng) -> VectorProgram {
    let way = Winograd::ALL[rng.below(Winograd::ALL.len())];
    let multiples = [Multiples::Fused, Multiples::Separate][rng.below(2)];
    match rng.below(6) {
        0 | 1 => return way.input(multiples),
        2 | 3 => return way.output(multiples),
        4 => return way.weights(multiples),
        _ => {}
    }
    let mut p = VectorProgram::new();
    let n = 1 + rng.below(5);
    let mut values: Vec<Ref> = (0..n).map(|k| p.input(k as u16)).collect();
    for _ in 0..rng.below(6) {
        let [a, b, c] = [0; 3].map(|_| values[rng.below(values.len())]);
        let by = p.f32([2.0, -4.0, 0.5][rng.below(3)]);
        values.push(p.push(match rng.below(4) {
            0 => Op::Add(a, b),
            1 => Op::Sub(a, b),
            2 => Op::Fma(a, by, c),
            _ => Op::Mul(a, b),
        }));
    }
    for _ in 0..1 + rng.below(4) {
        p.result(values[rng.below(values.len())]);
    }
    p
}

fn run(seed: u64, emitter: Emitter) {
    let mut rng = Rng::new(seed);
    let program = random_program(&mut rng);
    let (n, m) = (program.n_inputs(), program.results().len());
    let channels = [1, 3, 4, 7, 8, 15, 16, 17, 24, 32, 40, 64][rng.below(12)];
    // Rows of columns, or columns of rows.
    let mut steps = |count: usize| {
        let near = channels + rng.below(3);
        let far = near * count + rng.below(3);
        if rng.below(2) == 0 { [far, near] } else { [near, far] }
    };
    let (x_steps, y_steps, t_steps) = (steps(n), steps(m), steps(m));
    let mut stride = |n: usize| if rng.below(3) > 0 { Stride::Const(n as u32) } else { Stride::Arg };
    let (x, y) = (x_steps.map(&mut stride), y_steps.map(&mut stride));
    let random = |rng: &mut Rng| -> Epilogue {
        let mut e = random_epilogue(rng);
        for input in &mut e.inputs {
            if *input == EpilogueInput::Row {
                *input = EpilogueInput::Tile;
            }
        }
        e
    };
    let spec = Separable {
        program,
        channels: channels as u32,
        x,
        y,
        partial: rng.below(2) == 0,
        epilogue: (rng.below(3) > 0).then(|| random(&mut rng)),
    };
    let counts = if spec.partial { [1 + rng.below(m), 1 + rng.below(m)] } else { [m, m] };
    let code = match emitter {
        Emitter::Clif | Emitter::Plain => {
            let isa = if matches!(emitter, Emitter::Clif) { host_isa("none") } else { plain_isa("none") };
            compile_function(&*isa, separable_function(&spec, &*isa))
        }
        Emitter::Wide(level) => {
            let tile = Tile::Separable(spec.clone());
            let inputs = spec.epilogue.as_ref().map_or(0, |e| e.inputs.len());
            if !nnc_x86::supports(&tile, level) {
                // Eight inputs at distances known when running, or eight results in sixteen registers, are too many.
                assert!(inputs > 1 || n == 8 || m == 8, "seed {seed}: not supported {spec:?}");
                return;
            }
            let bytes = nnc_x86::emit(&tile, level);
            load(&bytes.unwrap_or_else(|e| panic!("seed {seed}: {e:?}\n{spec:?}")), String::new())
        }
    };
    let square = |steps: [usize; 2], counts: [usize; 2]| {
        (counts[0] - 1) * steps[0] + span(counts[1], steps[1], channels, 1)
    };
    let x = random_elements(&mut rng, square(x_steps, [n, n]));
    let mut y = vec![POISON; 16 + square(y_steps, counts)];
    let kinds = spec.epilogue.as_ref().map_or(vec![], |e| e.inputs.clone());
    let inputs: Vec<Vec<f32>> = kinds
        .iter()
        .map(|kind| {
            let n = match kind {
                EpilogueInput::Col => channels,
                EpilogueInput::Tile => square(t_steps, counts),
                _ => 1,
            };
            random_elements(&mut rng, n)
        })
        .collect();
    let (gx, mut gy) = (Guarded::from(&x), Guarded::from(&y));
    let guarded: Vec<Guarded> = inputs.iter().map(|x| Guarded::from(x)).collect();
    let args: Vec<i64> = spec
        .args()
        .into_iter()
        .map(|arg| match arg {
            SeparableArg::X => gx.address(),
            SeparableArg::Y => gy.address() + 64,
            SeparableArg::XRow => x_steps[0] as i64,
            SeparableArg::XCol => x_steps[1] as i64,
            SeparableArg::YRow => y_steps[0] as i64,
            SeparableArg::YCol => y_steps[1] as i64,
            SeparableArg::Rows => counts[0] as i64,
            SeparableArg::Cols => counts[1] as i64,
            SeparableArg::Epilogue(i) => guarded[i].address(),
            SeparableArg::EpilogueRow(_) => t_steps[0] as i64,
            SeparableArg::EpilogueCol(_) => t_steps[1] as i64,
        })
        .collect();
    // SAFETY: the operands are as large as the spec and the steps say.
    unsafe { call(&code, &args) };
    spec.reference(&mut SeparableOperands {
        x: &x,
        y: &mut y[16..],
        x_steps,
        y_steps,
        counts,
        epilogue: inputs.iter().map(|x| SquareOperand { elements: x, steps: t_steps }).collect(),
    });
    for (idx, (want, got)) in y.iter().zip(gy.slice()).enumerate() {
        assert!(
            want.to_bits() == got.to_bits(),
            "seed {seed}: y[{idx}] is {got}, expected {want}; counts {counts:?}\n{spec:?}"
        );
    }
}

#[test]
fn random_squares_have_the_bits_of_the_reference() {
    (0..300).for_each(|seed| run(seed, Emitter::Clif));
    (0..300).for_each(|seed| run(seed, Emitter::Plain));
}

#[test]
fn wide_squares_have_the_bits_of_the_reference() {
    for level in support::host_levels() {
        (0..600).for_each(|seed| run(seed, Emitter::Wide(level)));
    }
}
