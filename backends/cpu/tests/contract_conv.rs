//! contract_conv - convolutions by tiles are within their error bound, the same for every cut, and touch nothing else.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "support/contract.rs"]
mod contract;
#[path = "support/nest/mod.rs"]
mod nest;
mod support;

use contract::{Graph, Shapes, check, conv_epilogue, epilogue, length, run};
use nest::{compile_known_at, next_machine};
use nnc_cpu::kernel::Placement;
use nnc_ir::{
    extent::Extent,
    graph::ValueId,
    ops::{Conv, Transpose},
};
use support::Rng;

fn conv_output(input: &Extent, kernel: i64, stride: i64, dilation: i64, pads: i64) -> Extent {
    let span = &(input + &Extent::Const(pads)) - &Extent::Const((kernel - 1) * dilation + 1);
    &span.floor_div(&Extent::Const(stride)) + &Extent::ONE
}

#[test]
fn convolutions() {
    let mut rng = Rng::new(2);
    for case in 0..240 {
        let mut shapes = Shapes::new(rng.below(2) == 0);
        let rank = [1, 2, 2, 2, 3][rng.below(5)];
        let groups = [1, 1, 1, 2, 3][rng.below(5)];
        let (n, c, m) = (1 + rng.below(2) as i64, 1 + rng.below(5) as i64, 2 + rng.below(20) as i64);
        let depthwise = rng.below(4) == 0;
        let (groups, c, m) = if depthwise { (c + 1, 1, 1 + rng.below(2) as i64) } else { (groups, c, m) };
        let n = shapes.dim(n);
        let more = if rank == 3 { 4 } else { 20 };
        let Windows { sizes, kernel, strides, dilations, pads_before, spatial } =
            random_windows(&mut rng, &mut shapes, rank, (0, more));
        let input = [vec![n, Extent::Const(groups * c)], sizes].concat();
        let what = format!(
            "case {case}: {:?} {} groups {groups} c {c} m {m} kernel {kernel:?} strides {strides:?} dilations {dilations:?} pads {pads_before:?} out {spatial:?}",
            shapes.values, shapes.symbolic
        );
        let mut g = Graph::new();
        let x = g.input(&input);
        let weight: Vec<Extent> = [vec![Extent::Const(groups * m), Extent::Const(c)], kernel].concat();
        let w = g.input(&weight);
        let y = g.op(Conv { groups, strides, dilations, pads_before, spatial: spatial.clone() }, &[x, w]);
        let y = conv_epilogue(&mut g, y, &mut rng);
        let form = g.form(y);
        // Windows that have all one place: rows are then the vector axis, and nothing may be padded.
        if spatial.iter().all(|e| e.is(1)) {
            continue;
        }
        check(&what, &form, &shapes, &[1], &mut rng);
    }
}

/// Windows over more of the input than caches hold, whose sums are done channel by channel.
#[test]
fn convolutions_by_slices_of_channels() {
    let mut rng = Rng::new(21);
    for case in 0..9 {
        let shapes = Shapes::new(false);
        let (c, m, height, width) = (12, 3 + rng.below(4) as i64, 96, 30 + rng.below(20) as i64);
        let (kernel, pad) = ([height, 3], [0, rng.below(2) as i64]);
        let strides = vec![1, 1 + rng.below(2) as i64];
        let [c, m, height, width] = [c, m, height, width].map(Extent::Const);
        let spatial = vec![Extent::ONE, conv_output(&width, 3, strides[1], 1, 2 * pad[1])];
        let mut g = Graph::new();
        let x = g.input(&[Extent::Const(2), c.clone(), height, width]);
        let w = g.input(&[vec![m, c], kernel.map(Extent::Const).to_vec()].concat());
        let conv = Conv { groups: 1, strides, dilations: vec![1, 1], pads_before: pad.to_vec(), spatial };
        let what = format!("case {case}: {conv:?}");
        let y = g.op(conv, &[x, w]);
        let y = conv_epilogue(&mut g, y, &mut rng);
        let form = g.form(y);
        check(&what, &form, &shapes, &[1], &mut rng);
    }
}

/// Windows along some axes.
struct Windows {
    /// Extents of the input.
    sizes: Vec<Extent>,
    kernel: Vec<Extent>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    pads_before: Vec<i64>,
    spatial: Vec<Extent>,
}

/// Random windows; an input is longer than its window by the first of `room`, and by less than the second beyond that.
fn random_windows(rng: &mut Rng, shapes: &mut Shapes, rank: usize, room: (i64, usize)) -> Windows {
    let none = || Vec::with_capacity(rank);
    let (strides, dilations, pads_before) = (none(), none(), none());
    let mut w = Windows { sizes: vec![], kernel: vec![], strides, dilations, pads_before, spatial: vec![] };
    for _ in 0..rank {
        let (k, s, d) = ([1, 2, 3, 3, 5][rng.below(5)], 1 + rng.below(3) as i64, [1, 1, 2][rng.below(3)]);
        let (before, after) = (rng.below(k as usize) as i64, rng.below(k as usize) as i64);
        let size = shapes.dim((k - 1) * d + 1 + room.0 + rng.below(room.1) as i64);
        w.spatial.push(conv_output(&size, k, s, d, before + after));
        w.sizes.push(size);
        w.kernel.push(Extent::Const(k));
        w.strides.push(s);
        w.dilations.push(d);
        w.pads_before.push(before);
    }
    w
}

/// Puts channels, axis 1, last, or back.
fn channels_last(g: &mut Graph, x: ValueId, last: bool) -> ValueId {
    let rank = g.m.ty(x).shape.len();
    let perm: Vec<usize> = if last {
        [0].into_iter().chain(2..rank).chain([1]).collect()
    } else {
        [0, rank - 1].into_iter().chain(1..rank - 1).collect()
    };
    g.op(Transpose { perm }, &[x])
}

#[test]
fn convolutions_with_channels_last() {
    let mut rng = Rng::new(8);
    for case in 0..240 {
        let mut shapes = Shapes::new(rng.below(2) == 0);
        let rank = 1 + rng.below(2);
        let depthwise = rng.below(2) == 0;
        let groups = if depthwise { length(&mut rng) } else { [1, 1, 2][rng.below(3)] };
        let (c, m) = if depthwise { (1, 1) } else { (1 + rng.below(9) as i64, length(&mut rng)) };
        let first = !depthwise && rng.below(3) == 0;
        let n = shapes.dim(1 + rng.below(2) as i64);
        let Windows { sizes, kernel, strides, dilations, pads_before, spatial } =
            random_windows(&mut rng, &mut shapes, rank, (1, 20));
        let mut input = [vec![n], sizes].concat();
        let what = format!(
            "case {case}: {:?} {} groups {groups} c {c} m {m} kernel {kernel:?} strides {strides:?} dilations {dilations:?} pads {pads_before:?} out {spatial:?} {first}",
            shapes.values, shapes.symbolic
        );
        // One window along an axis, or one channel: nothing is left to be a row, or to be a column.
        if spatial.iter().any(|e| e.is(1)) {
            continue;
        }
        if groups * m == 1
            || (groups > 1 && m == 1 && !depthwise)
            || (depthwise && kernel.iter().all(|k| k.is(1)))
        {
            continue;
        }
        let mut g = Graph::new();
        input.insert(if first { 1 } else { rank + 1 }, Extent::Const(groups * c));
        let x = g.input(&input);
        let x = if first { x } else { channels_last(&mut g, x, false) };
        let w = g.input(&[vec![Extent::Const(groups * m), Extent::Const(c)], kernel].concat());
        let y = g.op(Conv { groups, strides, dilations, pads_before, spatial }, &[x, w]);
        let y = channels_last(&mut g, y, true);
        let y = epilogue(&mut g, y, &mut rng);
        let form = g.form(y);
        check(&what, &form, &shapes, &[1], &mut rng);
    }
}

#[test]
fn results_may_lie_inside_of_a_larger_tensor() {
    let mut rng = Rng::new(6);
    for window in [1, 3] {
        let c = Extent::Const;
        let mut g = Graph::new();
        let (x, w) = (g.input(&[c(2), c(4), c(9), c(7)]), g.input(&[c(5), c(4), c(window), c(window)]));
        let conv = Conv {
            groups: 1,
            strides: vec![1; 2],
            dilations: vec![1; 2],
            pads_before: vec![window / 2; 2],
            spatial: vec![c(9), c(7)],
        };
        let y = g.op(conv, &[x, w]);
        let form = g.form(y);
        let floats =
            |rng: &mut Rng, n: usize| (0..n).flat_map(|_| rng.unit().to_le_bytes()).collect::<Vec<u8>>();
        let operands = [floats(&mut rng, 2 * 4 * 63), floats(&mut rng, (20 * window * window) as usize)];
        let machine = next_machine();
        let dense = compile_known_at(machine, &form, &[None, None], vec![None]);
        let want = run(&dense, &vec![], &operands, 4 * 2 * 5 * 63, 1);
        // Channels 3 to 8 of eleven.
        let place = Placement { offset: c(3 * 63), strides: vec![c(11 * 63), c(63), c(7), c(1)] };
        let placed = compile_known_at(machine, &form, &[None, None], vec![Some(place)]);
        assert!(dense.scheduled && placed.scheduled);
        let have = run(&placed, &vec![], &operands, 4 * 2 * 11 * 63, 2);
        for (i, byte) in have.iter().enumerate() {
            let (image, at) = (i / (4 * 11 * 63), i % (4 * 11 * 63));
            let inside = (4 * 3 * 63..4 * 8 * 63).contains(&at);
            let expected = if inside { want[image * 4 * 5 * 63 + at - 4 * 3 * 63] } else { 0xcc };
            assert_eq!(*byte, expected, "window {window}, byte {i}");
        }
    }
}
