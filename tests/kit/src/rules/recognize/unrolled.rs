//! unrolled - left sides of recurrences written step after step.

use nnc_ir::{
    extent::Extent,
    graph::ValueId,
    ops::{Add, Concat, MatMul, Reshape, Sigmoid, Slice, Tanh},
};

use super::{Draft, add, cut, extents, mul};

/// Some steps of an LSTM, forwards or backwards, of slices of one tensor or of tensors of their own.
pub(super) fn unrolled_lstm(d: &mut Draft) {
    let [steps, batch, inputs, n] = [4, 1, 2, 1].map(|n| n + d.rng.below(3) as i64);
    let (w, r, b) = (d.weight(&[inputs, 4 * n]), d.weight(&[n, 4 * n]), d.weight(&[4 * n]));
    let b = d.spread(b, &[batch, 4 * n]);
    let zero = d.splat(0.0, &[batch, n]);
    let mut h = if d.rng.chance(50) { d.input(&[batch, n]) } else { zero };
    let mut c = if d.rng.chance(50) { d.input(&[batch, n]) } else { zero };
    let time_first = d.rng.chance(50);
    let whole = if time_first { [steps, batch, inputs] } else { [batch, steps, inputs] };
    let x = d.input(&whole);
    let (backwards, apart, late) = (d.rng.chance(30), d.rng.chance(30), d.rng.chance(50));
    // Operands come in one order in all steps.
    let (flip_sum, flip_bias) = (d.rng.chance(50), d.rng.chance(50));
    let ordered = |d: &mut Draft, flip: bool, a, b| {
        let operands = if flip { [b, a] } else { [a, b] };
        d.node(Add {}, &operands)
    };
    for t in 0..steps {
        let at = if backwards { steps - 1 - t } else { t };
        let own = if apart { d.input(&[batch, inputs]) } else { step_of(d, x, usize::from(!time_first), at) };
        let (from_input, from_state) = (d.node(MatMul {}, &[own, w]), d.node(MatMul {}, &[h, r]));
        let gates = if late {
            let sum = ordered(d, flip_sum, from_input, from_state);
            ordered(d, flip_bias, sum, b)
        } else {
            let sum = ordered(d, flip_bias, from_input, b);
            ordered(d, flip_sum, sum, from_state)
        };
        let [i, f, o] = [0, 1, 2].map(|at| {
            let gate = cut(d, gates, at, n);
            d.node(Sigmoid {}, &[gate])
        });
        let g = cut(d, gates, 3, n);
        let g = d.node(Tanh {}, &[g]);
        let (kept, added) = (mul(d, f, c), mul(d, i, g));
        c = add(d, kept, added);
        let shown = d.node(Tanh {}, &[c]);
        h = mul(d, o, shown);
        d.maybe_output(h);
        d.maybe_output(c);
    }
    d.output(h);
}

/// Position `at` of an axis of three.
fn step_of(d: &mut Draft, x: ValueId, axis: usize, at: i64) -> ValueId {
    let mut dims = d.dims(x);
    let mut starts = vec![Extent::ZERO; 3];
    (starts[axis], dims[axis]) = (at.into(), 1);
    let part = d.node(Slice { starts, steps: vec![1; 3], shape: extents(&dims) }, &[x]);
    dims.remove(axis);
    d.node(Reshape { shape: extents(&dims) }, &[part])
}

/// Steps along one axis of three, joined along another, perhaps behind something else.
pub(super) fn joined_steps(d: &mut Draft) {
    let dims = [0; 3].map(|_| 3 + d.rng.below(3) as i64);
    let x = d.special(&dims);
    let (axis, backwards) = (d.rng.below(3), d.rng.chance(30));
    let mut rest = dims.to_vec();
    let steps = rest.remove(axis);
    let at = d.rng.below(3);
    let mut single = rest.clone();
    single.insert(at, 1);
    let mut parts = if d.rng.chance(30) { vec![d.special(&single)] } else { Vec::new() };
    for t in 0..steps {
        let step = step_of(d, x, axis, if backwards { steps - 1 - t } else { t });
        parts.push(d.node(Reshape { shape: extents(&single) }, &[step]));
    }
    let y = d.node(Concat { axis: at }, &parts);
    d.output(y);
}
