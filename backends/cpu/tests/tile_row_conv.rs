//! tile_row_conv - emitted depthwise rows against the scalar reference, bit for bit, between guard pages.

mod support;

use cranelift_codegen::isa::TargetIsa;
use nnc_cpu::tile::row_conv_function;
use nnc_tile::Tile;
use nnc_tile::epilogue::{EpilogueInput, EpilogueOperand};
use nnc_tile::gemm::{Init, Stride};
use nnc_tile::row_conv::{RowConv, RowConvArg, RowConvOperands, Tap, Width};
use nnc_x86::Level;
use support::random::{random_elements, random_epilogue, span};
use support::{Guarded, Rng, call, compile_function, host_isa, load, plain_isa, step_of};

const POISON: f32 = 1e30;

/// What makes the code of a tile.
#[derive(Clone, Copy)]
enum Emitter<'a> {
    Clif(&'a dyn TargetIsa),
    Wide(Level),
}

fn run(seed: u64, emitter: Emitter<'_>) {
    let mut rng = Rng::new(seed);
    let (height, window) = (1 + rng.below(5), 1 + rng.below(5));
    let width = [1, 2, 3, 4, 5, 7, 14, 16, 17, 28, 33, 63][rng.below(12)];
    let x_row = width + 12;
    let mut spec = RowConv::window(height as u16, window as u32, Stride::Arg);
    if rng.below(2) == 0 {
        spec.x_row = Stride::Const(x_row as u32);
    }
    if rng.below(2) == 0 {
        spec.width = Width::Const(width as u32);
    }
    if rng.below(3) == 0 {
        spec.taps = spec.taps.iter().map(|tap| Tap { row: tap.row, at: 2 * tap.at }).collect();
    }
    spec.init = if rng.below(2) == 0 { Init::Zero } else { Init::Load };
    spec.epilogue = (rng.below(3) > 0).then(|| random_epilogue(&mut rng));

    let (rows, x_step, c_step) = (rng.below(4), x_row * (1 + rng.below(2)), width + rng.below(3));
    let readable = if spec.width == Width::Arg { width } else { width.next_multiple_of(4) };
    let farthest =
        spec.taps.iter().map(|t| usize::from(t.row) * x_row + t.at as usize).max().expect("there are taps");
    let x = random_elements(&mut rng, span(rows, x_step, farthest + readable, 1));
    let w = random_elements(&mut rng, spec.taps.len());
    let mut c = vec![POISON; 16 + span(rows, c_step, width, 1)];
    for r in 0..rows {
        c[16 + r * c_step..][..width].fill_with(|| rng.unit());
    }
    let kinds = spec.epilogue.as_ref().map_or(vec![], |e| e.inputs.clone());
    let stride = width + 3;
    let inputs: Vec<Vec<f32>> = kinds
        .iter()
        .map(|kind| {
            let n = match kind {
                EpilogueInput::Row => rows,
                EpilogueInput::Col => width,
                EpilogueInput::Tile => span(rows, stride, width, 1),
                EpilogueInput::Scalar | EpilogueInput::Behind { .. } => 1,
            };
            random_elements(&mut rng, n)
        })
        .collect();

    let code = match emitter {
        Emitter::Clif(isa) => compile_function(isa, row_conv_function(&spec, isa)),
        Emitter::Wide(level) => {
            let tile = Tile::RowConv(spec.clone());
            if !nnc_x86::supports(&tile, level) {
                let few = spec.x_row == Stride::Arg && height > 3;
                assert!(few || level == Level::Avx2, "seed {seed}: not supported {spec:?}");
                return;
            }
            let bytes = nnc_x86::emit(&tile, level);
            load(&bytes.unwrap_or_else(|e| panic!("seed {seed}: {e:?}\n{spec:?}")), String::new())
        }
    };
    let (gx, gw, mut gc) = (Guarded::from(&x), Guarded::from(&w), Guarded::from(&c));
    let guarded: Vec<Guarded> = inputs.iter().map(|x| Guarded::from(x)).collect();
    let args: Vec<i64> = spec
        .args()
        .into_iter()
        .map(|arg| match arg {
            RowConvArg::X => gx.address(),
            RowConvArg::W => gw.address(),
            RowConvArg::C => gc.address() + 64,
            RowConvArg::Rows => rows as i64,
            RowConvArg::XStep => x_step as i64,
            RowConvArg::CStep => c_step as i64,
            RowConvArg::XRow => x_row as i64,
            RowConvArg::Width => width as i64,
            RowConvArg::Epilogue(i) => guarded[i].address(),
            RowConvArg::EpilogueStride(_) => stride as i64,
        })
        .collect();
    // SAFETY: the operands are as large as the spec and the strides say.
    unsafe { call(&code, &args) };

    let operands = &mut RowConvOperands {
        x: &x,
        w: &w,
        c: &mut c[16..],
        rows,
        x_step,
        c_step,
        x_row,
        width,
        epilogue: inputs.iter().map(|x| EpilogueOperand { elements: x, stride }).collect(),
    };
    match emitter {
        Emitter::Clif(isa) => spec.reference_by(operands, step_of(isa)),
        Emitter::Wide(_) => spec.reference(operands),
    }
    for (idx, (want, got)) in c.iter().zip(gc.slice()).enumerate() {
        assert!(
            want.to_bits() == got.to_bits(),
            "seed {seed}: c[{idx}] is {got}, expected {want}; {rows} rows of {width}\n{spec:?}"
        );
    }
}

#[test]
fn random_windows_have_the_bits_of_the_reference() {
    let isa = host_isa("none");
    (0..300).for_each(|seed| run(seed, Emitter::Clif(&*isa)));
}

#[test]
fn windows_without_multiply_adds_have_the_bits_of_products_and_sums() {
    let isa = plain_isa("none");
    (0..300).for_each(|seed| run(seed, Emitter::Clif(&*isa)));
}

#[test]
fn wide_windows_have_the_bits_of_the_reference() {
    for level in support::host_levels() {
        (0..1000).for_each(|seed| run(seed, Emitter::Wide(level)));
    }
}
