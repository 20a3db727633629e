//! nest_pool - pools in both layouts are done by pool tiles and give the evaluator's bits.
//!
//! Elements are small whole numbers, so that sums are exact in any order.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "support/nest/mod.rs"]
mod nest;
mod support;

use nest::{Buffer, Symbols, compile_known_at, reference, value};
use nnc_ir::{
    dtype::{DType, Scalar},
    entity::EntityId,
    extent::{Extent, SymbolId, product},
    form::{Bounds, Combine, Ix, Load, LoopForm},
    program::{Builder, Program},
};
use support::{Rng, host_levels};

const F: DType = DType::F32;

/// A window axis: windows, and where their taps are.
struct Axis {
    extent: i64,
    windows: i64,
    taps: i64,
    stride: i64,
    step: i64,
    pad: i64,
}

fn axis(rng: &mut Rng, most: usize, strides: usize, steps: usize) -> Axis {
    let (extent, taps) = (1 + rng.below(most) as i64, 2 + rng.below(5) as i64);
    let (stride, step) = (1 + rng.below(strides) as i64, 1 + rng.below(steps) as i64);
    let pad = rng.below(taps as usize) as i64;
    let after = rng.below(taps as usize) as i64;
    let reach = (taps - 1) * step + 1;
    let windows = ((extent + pad + after - reach).max(0) / stride + 1).max(2);
    Axis { extent, windows, taps, stride, step, pad }
}

fn known(rng: &mut Rng, x: i64, symbols: &mut Symbols) -> Extent {
    if rng.below(6) > 0 {
        return Extent::Const(x);
    }
    symbols.push(x);
    Extent::symbol(SymbolId::new(symbols.len() - 1))
}

/// The end of a pool: as it is, scaled, or with an operand for each channel and one for each pixel.
fn finish(rng: &mut Rng, space: &[Extent], channel: usize) -> (Program, Vec<Load>) {
    let mut f = Builder::new();
    let acc = f.acc(0, F);
    let load = |operand, index: Vec<usize>| Load {
        operand,
        dtype: F,
        extents: index.iter().map(|&a| space[a].clone()).collect(),
        index: index.into_iter().map(Ix::Axis).collect(),
        bounds: Bounds::Inside,
    };
    match rng.below(4) {
        0 => {
            let scale = f.f32(0.25);
            let y = f.mul(acc, scale);
            (f.finish([y]), vec![])
        }
        1 => {
            let (scale, other) = (f.load(1, F), f.load(2, F));
            let y = f.mul(acc, scale);
            let y = f.add(y, other);
            let pixels = (0..space.len()).filter(|&a| a > 0 && a != channel).collect();
            (f.finish([y]), vec![load(1, vec![channel]), load(2, pixels)])
        }
        2 => {
            let other = f.load(1, F);
            let y = f.max(acc, other);
            (f.finish([y]), vec![load(1, (0..space.len()).collect())])
        }
        _ => (f.finish([acc]), vec![]),
    }
}

fn order<T>(last: bool, n: T, c: T, y: T, x: T) -> Vec<T> {
    if last { vec![n, y, x, c] } else { vec![n, c, y, x] }
}

fn pool(rng: &mut Rng) -> (LoopForm, Symbols) {
    let last = rng.below(2) == 0;
    let mut symbols = vec![];
    let y = axis(rng, 20, 3, 1);
    let x = if last { axis(rng, 12, 3, 2) } else { axis(rng, 70, 2, 2) };
    let (n, c) = (1 + rng.below(2) as i64, 1 + rng.below(if last { 40 } else { 4 }) as i64);
    let (n, c) = (Extent::Const(n), if last { Extent::Const(c.max(4)) } else { known(rng, c, &mut symbols) });
    // Without the first window axis, with it as a plain axis, or with both.
    let plain = rng.below(4) == 0;
    let reduce = if plain { vec![x.taps] } else { vec![y.taps, x.taps] };
    let rows = if plain { y.extent } else { y.windows };
    let (rows, windows) = (known(rng, rows, &mut symbols), Extent::Const(x.windows));
    let height = if plain { rows.clone() } else { known(rng, y.extent, &mut symbols) };
    let width = Extent::Const(x.extent);
    let space = order(last, n.clone(), c.clone(), rows, windows);
    let [ys, xs, channel] = if last { [1, 2, 3] } else { [2, 3, 1] };
    let at = |a: &Axis, space: usize, tap: usize| {
        Ix::Axis(space).times(a.stride).plus(Ix::Axis(tap).times(a.step)).plus(Ix::int(-a.pad))
    };
    let row = if plain { Ix::Axis(ys) } else { at(&y, ys, 4) };
    let column = at(&x, xs, 4 + usize::from(!plain));
    let combine = [Combine::Max, Combine::Min, Combine::Sum][rng.below(3)];
    let outside = match combine {
        Combine::Max => Scalar::lowest(F),
        Combine::Min => Scalar::highest(F),
        _ => Scalar::zero(F),
    };
    let mut b = Builder::new();
    let element = b.load(0, F);
    let (finish, more) = finish(rng, &space, channel);
    // The operand may have more channels than are read.
    let (start, more_channels) = if last && rng.below(3) == 0 { (3, 8) } else { (0, 0) };
    let load = Load {
        operand: 0,
        dtype: F,
        index: order(last, Ix::Axis(0), Ix::Axis(channel).plus(Ix::int(start)), row, column),
        extents: order(last, n, &c + &Extent::Const(more_channels), height, width),
        bounds: Bounds::Guard(outside),
    };
    let form = LoopForm {
        loads: std::iter::once(load).chain(more).collect(),
        space,
        reduce: reduce.into_iter().map(Extent::Const).collect(),
        body: b.finish([element]),
        combine: Some(combine),
        finish,
        results: vec![F],
    };
    (form, symbols)
}

#[test]
fn random_pools_are_done_by_tiles_and_give_the_bits_of_the_evaluator() {
    let mut rng = Rng::new(5);
    for number in 0..150 {
        let (form, symbols) = pool(&mut rng);
        let operands: Vec<Vec<u8>> = (form.loads.iter())
            .map(|l| {
                let n = value(&product(&l.extents), &symbols);
                (0..n).flat_map(|_| (1.0 + rng.below(64) as f32).to_le_bytes()).collect()
            })
            .collect();
        let (want, _) = reference(&form, &symbols, &operands);
        for level in host_levels() {
            let compiled = compile_known_at(Some(level), &form, &vec![None; operands.len()], vec![None]);
            let columns = form.space.last().and_then(Extent::as_const).unwrap_or(i64::MAX);
            assert!(compiled.tiles > 0 || columns < 4, "number {number}: no tile with {level:?}\n{form:?}");
            for parts in 1..4 {
                let inputs: Vec<Buffer> = operands.iter().map(|bytes| Buffer::new(bytes)).collect();
                let output = Buffer::new(&vec![0xff; want[0].len()]);
                let all: Vec<&Buffer> = inputs.iter().chain([&output]).collect();
                compiled.run(&symbols, &all, parts);
                for (i, (want, got)) in want[0].chunks(4).zip(output.bytes().chunks(4)).enumerate() {
                    let [want, got] = [want, got].map(|b| f32::from_le_bytes(b.try_into().unwrap()));
                    assert!(
                        want.to_bits() == got.to_bits(),
                        "number {number} with {level:?} in {parts} parts: element {i} is {got}, not {want}\n{form:?}"
                    );
                }
            }
        }
    }
}
