//! tile_lane_conv - emitted depthwise columns against the scalar reference, bit for bit, between guard pages.

mod support;

use nnc_cpu::tile::lane_conv_function;
use nnc_tile::Tile;
use nnc_tile::epilogue::{EpilogueInput, EpilogueOperand};
use nnc_tile::gemm::{Init, Stride};
use nnc_tile::lane_conv::{LaneConv, LaneConvArg, LaneConvOperands, Taps};
use nnc_tile::row_conv::Width;
use nnc_x86::Level;
use support::random::{random_elements, random_epilogue, span};
use support::{Guarded, Rng, call, compile_function, host_isa, plain_isa, step_of};

const POISON: f32 = 1e30;

/// What makes the code of a tile: nnc-cpu, the same for a target without multiply-adds, nnc-x86.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Emitter {
    Clif,
    Plain,
    Wide(Level),
}

fn run(seed: u64, emitter: Emitter) -> bool {
    let mut rng = Rng::new(seed);
    let channels = [1, 2, 3, 4, 5, 8, 12, 15, 16, 24, 31, 32, 37, 64, 72][rng.below(15)];
    let width = [1, 2, 3, 4, 5, 7, 8, 14, 17][rng.below(9)];
    let n_taps = [1, 3, 9, 9, 10, 25][rng.below(6)];
    let (x_step, c_step) = (channels * (1 + rng.below(2)), channels + rng.below(3));
    let w_step = channels + rng.below(3);
    let at: Vec<u32> = (0..n_taps).map(|_| (channels * rng.below(12)) as u32).collect();
    let listed = rng.below(2) == 0;
    // A list may leave taps out, in any order.
    let list: Vec<(i64, i64)> = (0..rng.below(n_taps + 1))
        .map(|_| rng.below(n_taps))
        .map(|t| (i64::from(at[t]), (t * w_step) as i64))
        .collect();
    let mut stride = |n: usize| if rng.below(2) == 0 { Stride::Const(n as u32) } else { Stride::Arg };
    let mut spec = LaneConv {
        taps: if listed { Taps::Listed } else { Taps::Fixed { at: at.clone(), w_step: w_step as u32 } },
        channels: channels as u32,
        width: Width::Arg,
        x_step: stride(x_step),
        c_step: stride(c_step),
        init: Init::Zero,
        epilogue: None,
    };
    if rng.below(2) == 0 {
        spec.width = Width::Const(width as u32);
    }
    if rng.below(2) == 0 {
        spec.init = Init::Load;
    }
    spec.epilogue = (rng.below(3) > 0).then(|| random_epilogue(&mut rng));

    let farthest = at.iter().max().map_or(0, |&at| at as usize);
    let x = random_elements(&mut rng, span(width, x_step, farthest + channels, 1));
    let w = random_elements(&mut rng, span(n_taps, w_step, channels, 1));
    let mut c = vec![POISON; 16 + span(width, c_step, channels, 1)];
    for i in 0..width {
        c[16 + i * c_step..][..channels].fill_with(|| rng.unit());
    }
    let kinds = spec.epilogue.as_ref().map_or(vec![], |e| e.inputs.clone());
    let stride = channels + 3;
    let inputs: Vec<Vec<f32>> = kinds
        .iter()
        .map(|kind| {
            let n = match kind {
                EpilogueInput::Row => width,
                EpilogueInput::Col => channels,
                EpilogueInput::Tile => span(width, stride, channels, 1),
                EpilogueInput::Scalar | EpilogueInput::Behind { .. } => 1,
            };
            random_elements(&mut rng, n)
        })
        .collect();

    let mut step: fn(f32, f32, f32) -> f32 = f32::mul_add;
    let code = match emitter {
        Emitter::Clif | Emitter::Plain => {
            let isa = if emitter == Emitter::Clif { host_isa("none") } else { plain_isa("none") };
            step = step_of(&*isa);
            compile_function(&*isa, lane_conv_function(&spec, &*isa))
        }
        Emitter::Wide(level) => {
            let tile = Tile::LaneConv(spec.clone());
            if !nnc_x86::supports(&tile, level) {
                return false;
            }
            let bytes = nnc_x86::emit(&tile, level).unwrap_or_else(|e| panic!("seed {seed}: {e:?}"));
            support::load(&bytes, String::new())
        }
    };
    let (gx, gw, mut gc) = (Guarded::from(&x), Guarded::from(&w), Guarded::from(&c));
    let guarded: Vec<Guarded> = inputs.iter().map(|x| Guarded::from(x)).collect();
    let pairs: Vec<i64> = list.iter().flat_map(|&(x, w)| [x, w]).collect();
    let args: Vec<i64> = spec
        .args()
        .into_iter()
        .map(|arg| match arg {
            LaneConvArg::X => gx.address(),
            LaneConvArg::W => gw.address(),
            LaneConvArg::C => gc.address() + 64,
            LaneConvArg::Taps => pairs.as_ptr() as i64,
            LaneConvArg::TapCount => list.len() as i64,
            LaneConvArg::Width => width as i64,
            LaneConvArg::XStep => x_step as i64,
            LaneConvArg::CStep => c_step as i64,
            LaneConvArg::Epilogue(i) => guarded[i].address(),
            LaneConvArg::EpilogueStride(_) => stride as i64,
        })
        .collect();
    // SAFETY: the operands are as large as the spec and the strides say.
    unsafe { call(&code, &args) };

    let operands = &mut LaneConvOperands {
        x: &x,
        w: &w,
        c: &mut c[16..],
        taps: &list,
        width,
        x_step,
        c_step,
        epilogue: inputs.iter().map(|x| EpilogueOperand { elements: x, stride }).collect(),
    };
    spec.reference_by(operands, step);
    for (idx, (want, got)) in c.iter().zip(gc.slice()).enumerate() {
        assert!(
            want.to_bits() == got.to_bits(),
            "seed {seed} {emitter:?}: c[{idx}] is {got}, expected {want}; {width} columns\n{spec:?}"
        );
    }
    true
}

#[test]
fn random_windows_have_the_bits_of_the_reference() {
    (0..600).for_each(|seed| assert!(run(seed, Emitter::Clif)));
}

#[test]
fn windows_without_multiply_adds_have_the_bits_of_products_and_sums() {
    (0..600).for_each(|seed| assert!(run(seed, Emitter::Plain)));
}

#[test]
fn wide_tiles_have_the_bits_of_the_reference() {
    for level in support::host_levels() {
        let done = (0..4000).filter(|&seed| run(seed, Emitter::Wide(level))).count();
        assert!(done > 3000, "only {done} of the random tiles have wide code");
    }
}
