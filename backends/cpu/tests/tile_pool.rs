//! tile_pool - wide code of pools against the scalar reference, bit for bit, between guard pages.

mod support;

use nnc_tile::{
    Tile,
    epilogue::EpilogueInput,
    pool::{HALF_SLACK, LINE_SLACK, Pool, PoolArg, PoolOperand, PoolOperands, SLACK},
    stream::{Join, Walk},
};
use nnc_x86::Level;
use support::random::random_epilogue;
use support::{Guarded, Rng, call, load};

const POISON: f32 = 1e30;

/// Numbers, with zeros of both signs, infinities and what is no number between them.
fn elements(rng: &mut Rng, n: usize) -> Vec<f32> {
    let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let wild = rng.below(4) == 0;
    (0..n).map(|_| if wild && rng.below(4) == 0 { special[rng.below(5)] } else { rng.unit() }).collect()
}

fn run(seed: u64, level: Level) {
    let mut rng = Rng::new(seed);
    let epilogue = (rng.below(2) == 0).then(|| random_epilogue(&mut rng));
    let walk = |kind: &EpilogueInput| match kind {
        EpilogueInput::Col | EpilogueInput::Tile => Walk::Along,
        _ => Walk::Same,
    };
    let widest = [3, 14][rng.below(2)];
    let (height, width) = (1 + rng.below(10), 1 + rng.below(widest));
    let spec = Pool {
        join: [Join::Sum, Join::Max, Join::Min][rng.below(3)],
        height: height as u32,
        width: width as u32,
        apart: [1, 1, 2, 7, 32][rng.below(5)],
        row_stride: 1 + rng.below(3) as u32,
        ahead: [0, 1, 40][rng.below(3)],
        stride: 1,
        // `call` has room for so many arguments.
        cells: epilogue.as_ref().is_none_or(|e| e.inputs.len() < 3) && rng.below(2) == 0,
        operands: epilogue.iter().flat_map(|e| e.inputs.iter().map(walk)).collect(),
        finish: epilogue.map(|e| e.program),
    };
    let stride = if spec.cells { 1 } else { 1 + rng.below(2) as u32 };
    let spec = Pool { stride, ..spec };
    let tile = Tile::Pool(spec.clone());
    assert!(nnc_x86::supports(&tile, level), "seed {seed}: {spec:?}");
    let code = nnc_x86::emit(&tile, level).unwrap_or_else(|e| panic!("seed {seed}: {e:?}\n{spec:?}"));
    let code = load(&code, String::new());
    let most = [6, 20, 150][rng.below(3)];
    let (rows, n, x_height, x_width) = (rng.below(9), rng.below(most), rng.below(8), 1 + rng.below(most));
    let group = 1 + rng.below(rows.max(1) + 1);
    let cells = if spec.cells { rng.below(4) } else { 1 };
    let (x_cell, left) = (rng.below(20), rng.below(20));
    let reach = (spec.width as usize - 1) * spec.apart as usize + 1;
    let span = cells.saturating_sub(1) * x_cell + n.saturating_sub(1) * spec.stride as usize + reach;
    let longest = span.max(left + x_width);
    let half = longest.div_ceil(2) + HALF_SLACK;
    let pitch = if spec.stride == 2 { 2 * half } else { longest + LINE_SLACK } + rng.below(9);
    let x_row = x_width + rng.below(3);
    let y_cell = n + rng.below(3);
    let y_row = cells * y_cell + rng.below(3);
    let top = rng.below(14) as i64 - 9;
    let x = elements(&mut rng, if x_height == 0 { 0 } else { (x_height - 1) * x_row + x_width });
    let end = |row: usize, cell: usize, along: usize| {
        if rows * cells * n == 0 { 0 } else { (rows - 1) * row + (cells - 1) * cell + along }
    };
    let mut y = vec![POISON; 16 + end(y_row, y_cell, n)];
    let operands: Vec<(Vec<f32>, usize, usize)> = (spec.operands.iter())
        .map(|walk| {
            let along = if *walk == Walk::Along { n } else { 1 };
            let cell = [0, along + rng.below(2)][rng.below(2)];
            let row = [0, cells * cell + along][rng.below(2)];
            (elements(&mut rng, end(row, cell, along)), row, cell)
        })
        .collect();
    let (gx, mut gy) = (Guarded::from(&x), Guarded::from(&y));
    let lines = Guarded::new(group.min(rows) * pitch + SLACK, f32::NAN);
    let guarded: Vec<Guarded> = operands.iter().map(|(x, ..)| Guarded::from(x)).collect();
    let args: Vec<i64> = (spec.args().into_iter())
        .map(|arg| match arg {
            PoolArg::X => gx.address(),
            PoolArg::Y => gy.address() + 64,
            PoolArg::Lines => lines.address(),
            PoolArg::Top => top,
            PoolArg::Operand(k) => guarded[k].address(),
            PoolArg::Rows => rows as i64,
            PoolArg::Group => group as i64,
            PoolArg::XHeight => x_height as i64,
            PoolArg::XWidth => x_width as i64,
            PoolArg::XRow => x_row as i64,
            PoolArg::Left => left as i64,
            PoolArg::Span => span as i64,
            PoolArg::Pitch => pitch as i64,
            PoolArg::Half => half as i64,
            PoolArg::YRow => y_row as i64,
            PoolArg::N => n as i64,
            PoolArg::Cells => cells as i64,
            PoolArg::XCell => x_cell as i64,
            PoolArg::YCell => y_cell as i64,
            PoolArg::OperandRow(k) => operands[k].1 as i64,
            PoolArg::OperandCell(k) => operands[k].2 as i64,
        })
        .collect();
    // SAFETY: the operands are as large as the spec and the arguments say.
    unsafe { call(&code, &args) };
    spec.reference(&mut PoolOperands {
        x: &x,
        y: &mut y[16..],
        rows,
        top,
        x_height,
        x_width,
        x_row,
        left,
        span,
        y_row,
        n,
        cells,
        x_cell,
        y_cell,
        operands: operands
            .iter()
            .map(|(elements, row, cell)| PoolOperand { elements, row: *row, cell: *cell })
            .collect(),
    });
    for (idx, (want, got)) in y.iter().zip(gy.slice()).enumerate() {
        let same = want.to_bits() == got.to_bits() || (want.is_nan() && got.is_nan());
        assert!(same, "seed {seed}: y[{idx}] is {got}, expected {want}; {rows} rows of {n}\n{spec:?}");
    }
}

#[test]
fn wide_pools_have_the_bits_of_the_reference() {
    for level in support::host_levels() {
        (0..2000).for_each(|seed| run(seed, level));
    }
}
