//! tile_transpose - wide transpositions against the scalar reference, between guard pages: nothing else is written.

mod support;

use nnc_tile::{
    Tile,
    transpose::{Transpose, TransposeArg},
};
use support::random::{random_elements, span};
use support::{Guarded, Rng, call, host_levels, load};

const POISON: f32 = 1e30;

#[test]
fn wide_transpositions_write_what_the_reference_writes() {
    for level in host_levels() {
        for seed in 0..600 {
            let mut rng = Rng::new(seed);
            let spec = Transpose { pairs: seed % 3 == 0 };
            let code = nnc_x86::emit(&Tile::Transpose(spec), level).unwrap_or_else(|e| panic!("{e:?}"));
            let code = load(&code, String::new());
            let most = [20, 70][rng.below(2)];
            let (rows, columns) = (rng.below(most), if spec.pairs { 2 } else { rng.below(most) });
            let x_step = rows + rng.below(3);
            let y_step = if spec.pairs { 2 } else { columns + rng.below(3) };
            let x = random_elements(&mut rng, span(columns, x_step, rows, 1));
            let mut want = vec![POISON; span(rows, y_step, columns, 1)];
            let (gx, mut gy) = (Guarded::from(&x), Guarded::from(&want));
            let value = |arg| match arg {
                TransposeArg::X => gx.address(),
                TransposeArg::Y => gy.address(),
                TransposeArg::Rows => rows as i64,
                TransposeArg::Columns => columns as i64,
                TransposeArg::XStep => x_step as i64,
                TransposeArg::YStep => y_step as i64,
            };
            let args: Vec<i64> = spec.args().into_iter().map(value).collect();
            // SAFETY: the operands are as large as the arguments say.
            unsafe { call(&code, &args) };
            spec.reference(&x, &mut want, rows, columns, [x_step, y_step]);
            assert!(want == gy.slice(), "seed {seed}: {rows} x {columns} with {level:?}");
        }
    }
}
