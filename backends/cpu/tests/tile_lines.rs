//! tile_lines - wide copies of rows against the scalar reference, between guard pages: nothing else is written.

mod support;

use nnc_tile::{
    Tile,
    lines::{Lines, LinesArg},
};
use support::random::{random_elements, span};
use support::{Guarded, Rng, call, host_levels, load};

const POISON: f32 = 1e30;

#[test]
fn wide_copies_write_what_the_reference_writes() {
    for level in host_levels() {
        for seed in 0..600 {
            let mut rng = Rng::new(seed);
            let spec = Lines { phases: 1 + (seed % 2) as u8 };
            let code = nnc_x86::emit(&Tile::Lines(spec), level).unwrap_or_else(|e| panic!("{e:?}"));
            let code = load(&code, String::new());
            let most = [20, 200][rng.below(2)];
            let (rows, width) = (rng.below(4), rng.below(most));
            let half = width.div_ceil(usize::from(spec.phases));
            let (x_row, line) = (width + rng.below(3), half + rng.below(3));
            let x = random_elements(&mut rng, span(rows, x_row, width, 1));
            let mut want = vec![vec![POISON; span(rows, line, half, 1)]; spec.phases.into()];
            let gx = Guarded::from(&x);
            let mut got: Vec<Guarded> = want.iter().map(|to| Guarded::from(to)).collect();
            let value = |arg| match arg {
                LinesArg::X => gx.address(),
                LinesArg::Rows => rows as i64,
                LinesArg::Width => width as i64,
                LinesArg::XRow => x_row as i64,
                LinesArg::Line => line as i64,
                LinesArg::To(phase) => got[usize::from(phase)].address(),
            };
            let args: Vec<i64> = spec.args().into_iter().map(value).collect();
            // SAFETY: the operands are as large as the arguments say.
            unsafe { call(&code, &args) };
            let mut to: Vec<&mut [f32]> = want.iter_mut().map(Vec::as_mut_slice).collect();
            spec.reference(&x, &mut to, [rows, width], [x_row, line]);
            for (phase, (want, got)) in want.iter().zip(&mut got).enumerate() {
                assert!(want == got.slice(), "seed {seed}: {rows} rows of {width}, phase {phase}, {level:?}");
            }
        }
    }
}
