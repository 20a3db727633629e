//! rnn - LSTM, GRU and RNN: one matrix product for the inputs of all steps, then a `scan` whose body multiplies the hidden
//! state and joins both.

use nnc_ir::{
    dtype::{DType, Scalar},
    extent::Extent,
    graph::ValueId,
};

use super::{
    gate::{Activation, activations},
    quantize::dynamic_of,
    recurrence::{Recurrence, Step},
};
use crate::import::{
    Outcome, Problem,
    cx::OpCx,
    table::{Row, row},
    value::Binding,
};

pub(crate) const ROWS: &[Row] = &[
    row("LSTM", 1, 3..=8, lstm),
    row("GRU", 1, 3..=6, gru),
    row("RNN", 1, 3..=6, rnn),
    row("DynamicQuantizeLSTM", 1, 3..=12, lstm).of("com.microsoft"),
];

/// What the three operators share; tensors have the time axis first.
struct Recurrent {
    /// `[steps, batch, inputs]`.
    x: ValueId,
    /// For the inputs.
    w: Weights,
    /// For the state.
    r: Weights,
    /// `[directions, 2 * gates * hidden]`: for the inputs, then for the state.
    b: Option<ValueId>,
    /// `[batch, 1]` of `i64`: how many steps each member has.
    lens: Option<ValueId>,
    /// One for each direction: whether it goes backwards.
    directions: Vec<bool>,
    /// For each direction.
    activations: Vec<Vec<Activation>>,
    clip: Option<f32>,
    /// Axes are batch, time (or direction) instead of time, batch.
    batch_first: bool,
    steps: Extent,
    batch: Extent,
    hidden: Extent,
}

/// Weights of all directions.
struct Weights {
    /// `[directions, gates * hidden, n]`; quantized ones are `[directions, n, gates * hidden]`.
    all: ValueId,
    /// Scale and zero point of quantized ones: one number a direction, or `[directions, gates * hidden]`.
    quantized: Option<[ValueId; 2]>,
}

impl Weights {
    /// Operand `i`; scale and zero point of quantized ones are operands `at` and `at + 1`.
    fn read(cx: &OpCx<'_>, i: usize, at: usize) -> Result<Self, Problem> {
        let all = cx.value(i)?;
        cx.need_rank(i, all, 3)?;
        let is_quantized = cx.op() == "DynamicQuantizeLSTM";
        let quantized = if is_quantized { Some([cx.value(at)?, cx.value(at + 1)?]) } else { None };
        cx.need_dtype(
            i,
            all,
            if is_quantized { "i8 or u8" } else { "floats" },
            if is_quantized {
                matches!(cx.dtype(all), DType::I8 | DType::U8)
            } else {
                cx.dtype(all).is_float()
            },
        )?;
        Ok(Self { all, quantized })
    }

    /// Shape as of weights that are not quantized.
    fn shape(&self, cx: &OpCx<'_>) -> Vec<Extent> {
        let mut shape = cx.shape(self.all);
        if self.quantized.is_some() {
            shape.swap(1, 2);
        }
        shape
    }

    /// What [`multiply`] takes for direction `at`: the matrix `[n, gates * hidden]`; for quantized ones as `i32` around its
    /// zero point, and its scale.
    fn factors(&self, cx: &mut OpCx<'_>, at: usize) -> Result<Vec<ValueId>, Problem> {
        let matrix = cx.index_axis(self.all, 0, at as i64)?;
        let Some([scale, zero_point]) = self.quantized else {
            return Ok(vec![cx.transpose(matrix, &[1, 0])?]);
        };
        let (scale, zero_point) =
            (cx.index_axis(scale, 0, at as i64)?, cx.index_axis(zero_point, 0, at as i64)?);
        let (matrix, zero_point) = (cx.cast(matrix, DType::I32)?, cx.cast(zero_point, DType::I32)?);
        Ok(vec![cx.sub(matrix, zero_point)?, scale])
    }
}

/// `x` times the matrix of [`Weights::factors`]; for a quantized one `x` is quantized to `u8` by its least and greatest
/// element, and the sum is exact.
fn multiply(cx: &mut OpCx<'_>, x: ValueId, factors: &[ValueId]) -> Result<ValueId, Problem> {
    let &[matrix, scale] = factors else { return matmul(cx, x, factors[0]) };
    let [x, x_scale, zero_point] = dynamic_of(cx, x)?;
    let (x, zero_point) = (cx.cast(x, DType::I32)?, cx.cast(zero_point, DType::I32)?);
    let x = cx.sub(x, zero_point)?;
    let sum = matmul(cx, x, matrix)?;
    let sum = cx.cast(sum, DType::F32)?;
    let scale = cx.mul(x_scale, scale)?;
    cx.mul(sum, scale)
}

impl Recurrent {
    fn read(cx: &mut OpCx<'_>, gates: i64, defaults: &[&str]) -> Result<Self, Problem> {
        cx.skip_attrs(&["hidden_size", "output_sequence"]);
        let mut x = cx.value(0)?;
        let (w, r) = (Weights::read(cx, 1, 8)?, Weights::read(cx, 2, 10)?);
        cx.need_rank(0, x, 3)?;
        cx.need_float(0, x)?;
        if w.quantized.is_none() {
            cx.same_dtype(&[x, w.all, r.all])?;
        }
        let batch_first = cx.flag_or("layout", false)?;
        if batch_first {
            x = cx.transpose(x, &[1, 0, 2])?;
        }
        let (shape, rows) = (cx.shape(x), r.shape(cx));
        let hidden = rows[2].clone();
        let directions = match cx.choice("direction", &["forward", "reverse", "bidirectional"])? {
            "forward" => vec![false],
            "reverse" => vec![true],
            _ => vec![false, true],
        };
        let n = Extent::Const(directions.len() as i64);
        let (wide, inputs) = (hidden.scale(gates), shape[2].clone());
        for (name, have, want) in [
            ("W", w.shape(cx), [n.clone(), wide.clone(), inputs]),
            ("R", rows, [n.clone(), wide.clone(), hidden.clone()]),
        ] {
            for (a, b) in have.iter().zip(&want) {
                cx.need_equal(212, a, b, || format!("{name} has shape {have:?}, needs {want:?}"))?;
            }
        }
        let b = cx.optional_value(3)?;
        if let Some(b) = b {
            let (have, want) = (cx.shape(b), [n, wide.scale(2)]);
            if have.len() != 2 || have.iter().zip(&want).any(|(a, b)| a.same(b) == Some(false)) {
                return cx.error(212, format!("B has shape {have:?}, needs {want:?}"));
            }
        }
        let (steps, batch) = (shape[0].clone(), shape[1].clone());
        let lens = lens(cx, &steps, &batch)?;
        let activations = activations(cx, directions.len(), defaults)?;
        let clip = cx.float("clip")?;
        Ok(Self { x, w, r, b, lens, directions, activations, clip, batch_first, steps, batch, hidden })
    }

    /// Part `at` of a tensor whose leading axis is the direction, without that axis.
    fn direction(&self, cx: &mut OpCx<'_>, v: ValueId, at: usize) -> Result<ValueId, Problem> {
        cx.index_axis(v, 0, at as i64)
    }

    /// `hidden` columns of the last axis from number `gate * hidden`.
    fn gates(&self, cx: &mut OpCx<'_>, v: ValueId, from: i64, count: i64) -> Result<ValueId, Problem> {
        let axis = cx.rank(v) - 1;
        cx.slice_axis(v, axis, self.hidden.scale(from), self.hidden.scale(count))
    }

    /// Biases for inputs and state of a direction, each `[gates * hidden]`.
    fn biases(&self, cx: &mut OpCx<'_>, gates: i64, at: usize) -> Result<Option<[ValueId; 2]>, Problem> {
        let Some(b) = self.b else { return Ok(None) };
        let b = self.direction(cx, b, at)?;
        Ok(Some([self.gates(cx, b, 0, gates)?, self.gates(cx, b, gates, gates)?]))
    }

    /// Products of the inputs of all steps, `[steps, batch, gates * hidden]`, with `bias` added.
    fn inputs(&self, cx: &mut OpCx<'_>, at: usize, bias: Option<ValueId>) -> Result<ValueId, Problem> {
        let shape = cx.shape(self.x);
        let rows = cx.reshape(self.x, vec![&shape[0] * &shape[1], shape[2].clone()])?;
        let w = self.w.factors(cx, at)?;
        let wide = cx.shape(w[0])[1].clone();
        let mut all = multiply(cx, rows, &w)?;
        if let Some(bias) = bias {
            all = cx.add(all, bias)?;
        }
        cx.reshape(all, vec![self.steps.clone(), self.batch.clone(), wide])
    }

    /// Initial state of a direction, `[batch, hidden]`: operand `i`, or zeros.
    fn initial(&self, cx: &mut OpCx<'_>, i: usize, at: usize) -> Result<ValueId, Problem> {
        let shape = vec![self.batch.clone(), self.hidden.clone()];
        let Some(v) = cx.optional_value(i)? else {
            let dtype = cx.dtype(self.x);
            return cx.full(Scalar::zero(dtype), dtype, &shape);
        };
        cx.need_rank(i, v, 3)?;
        cx.same_dtype(&[self.x, v])?;
        let v = if self.batch_first { cx.transpose(v, &[1, 0, 2])? } else { v };
        let have = cx.shape(v);
        for (a, b) in have[1..].iter().zip(&shape) {
            cx.need_equal(212, a, b, || format!("initial state of shape {have:?}, needs {shape:?}"))?;
        }
        let v = self.direction(cx, v, at)?;
        cx.reshape(v, shape)
    }

    /// Inputs of activations bounded by `clip`.
    fn clipped(&self, cx: &mut OpCx<'_>, x: ValueId) -> Result<ValueId, Problem> {
        let Some(clip) = self.clip else { return Ok(x) };
        let (low, high) = (cx.number_like(x, (-clip).into())?, cx.number_like(x, clip.into())?);
        let x = cx.max(x, low)?;
        cx.min(x, high)
    }

    fn activate(&self, cx: &mut OpCx<'_>, f: Activation, x: ValueId) -> Result<ValueId, Problem> {
        let x = self.clipped(cx, x)?;
        f.apply(cx, x)
    }

    /// Makes the scan of direction `at`. `states` are carried, the first one being the hidden state; `step` gets the
    /// states, the products of the inputs and the captures, and gives the next states.
    ///
    /// Gives the hidden states of all steps if wanted, then the last states.
    fn run<'b>(
        &self,
        cx: &mut OpCx<'b>,
        at: usize,
        states: &[ValueId],
        inputs: ValueId,
        captures: &[ValueId],
        step: impl FnOnce(&mut OpCx<'b>, &[ValueId], ValueId, &[ValueId]) -> Result<Vec<ValueId>, Problem>,
    ) -> Result<(Option<ValueId>, Vec<ValueId>), Problem> {
        let mut scanned = vec![inputs];
        let mut captures = captures.to_vec();
        if let Some(lens) = self.lens {
            scanned.push(cx.iota(vec![self.steps.clone()], 0, DType::I64)?);
            captures.push(lens);
        }
        let stack = cx.wants(0);
        let recurrence = Recurrence {
            carried: states,
            scanned: &scanned,
            captures: &captures,
            steps: self.steps.clone(),
            reversed: self.directions[at],
        };
        let results = recurrence.emit(cx, |cx, old, slices, captures| {
            let Some(_) = self.lens else {
                let carried = step(cx, old, slices[0], captures)?;
                let stacked = if stack { vec![carried[0]] } else { vec![] };
                return Ok(Step { carried, stacked });
            };
            let (captures, lens) = captures.split_at(captures.len() - 1);
            let mut carried = step(cx, old, slices[0], captures)?;
            // Past its end a member keeps its state and gives zeros.
            let runs = cx.lt(slices[1], lens[0])?;
            let zero = cx.number_like(carried[0], 0.0)?;
            let stacked = if stack { vec![cx.select(runs, carried[0], zero)?] } else { vec![] };
            for (new, &old) in carried.iter_mut().zip(old) {
                *new = cx.select(runs, *new, old)?;
            }
            Ok(Step { carried, stacked })
        })?;
        let (last, stacked) = results.split_at(states.len());
        Ok((stacked.first().copied(), last.to_vec()))
    }

    /// Results of the node from those of its directions.
    fn results(&self, cx: &mut OpCx<'_>, runs: &[(Option<ValueId>, Vec<ValueId>)]) -> Outcome {
        let mut results = Vec::new();
        let stacks: Option<Vec<ValueId>> = runs.iter().map(|r| r.0).collect();
        results.push(match stacks {
            None => Binding::Poison,
            Some(stacks) => {
                let stacks = stacks.into_iter().map(|y| cx.unsqueeze(y, 1)).collect::<Result<Vec<_>, _>>()?;
                let y = cx.concat(&stacks, 1)?;
                if self.batch_first { cx.transpose(y, &[2, 0, 1, 3])? } else { y }.into()
            }
        });
        for state in 0..runs[0].1.len() {
            let lasts = runs.iter().map(|r| cx.unsqueeze(r.1[state], 0)).collect::<Result<Vec<_>, _>>()?;
            let last = cx.concat(&lasts, 0)?;
            results.push(if self.batch_first { cx.transpose(last, &[1, 0, 2])? } else { last }.into());
        }
        Ok(results)
    }
}

/// Operand 4 as `i64[batch, 1]`, unless every member is known to have all steps.
fn lens(cx: &mut OpCx<'_>, steps: &Extent, batch: &Extent) -> Result<Option<ValueId>, Problem> {
    let Some(lens) = cx.optional(4)? else { return Ok(None) };
    cx.need_rank(4, lens.id, 1)?;
    cx.need_dtype(4, lens.id, "integers", cx.dtype(lens.id).is_int())?;
    let all = |lens: Vec<i64>| lens.iter().all(|&l| steps.is(l));
    if cx.ints_of(&lens).is_some_and(all) {
        return Ok(None);
    }
    let has = cx.shape(lens.id)[0].clone();
    cx.need_equal(212, &has, batch, || format!("{has} sequence lengths for a batch of {batch}"))?;
    let lens = cx.cast(lens.id, DType::I64)?;
    Ok(Some(cx.reshape(lens, vec![batch.clone(), Extent::ONE])?))
}

/// The sum of both biases.
fn joint(cx: &mut OpCx<'_>, biases: Option<[ValueId; 2]>) -> Result<Option<ValueId>, Problem> {
    match biases {
        None => Ok(None),
        Some([w, r]) => Ok(Some(cx.add(w, r)?)),
    }
}

fn matmul(cx: &mut OpCx<'_>, a: ValueId, b: ValueId) -> Result<ValueId, Problem> {
    cx.emit(nnc_ir::ops::MatMul {}, &[a, b])
}

fn rnn(cx: &mut OpCx<'_>) -> Outcome {
    let all = Recurrent::read(cx, 1, &["Tanh"])?;
    let mut runs = Vec::new();
    for at in 0..all.directions.len() {
        let biases = all.biases(cx, 1, at)?;
        let bias = joint(cx, biases)?;
        let inputs = all.inputs(cx, at, bias)?;
        let r = all.r.factors(cx, at)?;
        let h = all.initial(cx, 5, at)?;
        let f = all.activations[at][0];
        runs.push(all.run(cx, at, &[h], inputs, &r, |cx, states, x, captures| {
            let product = matmul(cx, states[0], captures[0])?;
            let sum = cx.add(product, x)?;
            Ok(vec![all.activate(cx, f, sum)?])
        })?);
    }
    all.results(cx, &runs)
}

fn gru(cx: &mut OpCx<'_>) -> Outcome {
    let all = Recurrent::read(cx, 3, &["Sigmoid", "Tanh"])?;
    let linear_first = cx.flag_or("linear_before_reset", false)?;
    let mut runs = Vec::new();
    for at in 0..all.directions.len() {
        let (f, g) = (all.activations[at][0], all.activations[at][1]);
        let biases = all.biases(cx, 3, at)?;
        let h = all.initial(cx, 5, at)?;
        let r = all.r.factors(cx, at)?;
        let run = if linear_first {
            // The state's bias is added to its product before the reset gate scales it.
            let inputs = all.inputs(cx, at, biases.map(|b| b[0]))?;
            let captures: Vec<ValueId> = r.into_iter().chain(biases.map(|b| b[1])).collect();
            all.run(cx, at, &[h], inputs, &captures, |cx, states, x, captures| {
                let mut product = matmul(cx, states[0], captures[0])?;
                if let Some(&bias) = captures.get(1) {
                    product = cx.add(product, bias)?;
                }
                let (gates_x, gates_h) = (all.gates(cx, x, 0, 2)?, all.gates(cx, product, 0, 2)?);
                let gates = cx.add(gates_x, gates_h)?;
                let gates = all.activate(cx, f, gates)?;
                let reset = all.gates(cx, gates, 1, 1)?;
                let (cell_x, cell_h) = (all.gates(cx, x, 2, 1)?, all.gates(cx, product, 2, 1)?);
                let cell_h = cx.mul(reset, cell_h)?;
                let cell = cx.add(cell_x, cell_h)?;
                blend(cx, &all, g, gates, cell, states[0])
            })?
        } else {
            let bias = joint(cx, biases)?;
            let inputs = all.inputs(cx, at, bias)?;
            let captures = [all.gates(cx, r[0], 0, 2)?, all.gates(cx, r[0], 2, 1)?];
            all.run(cx, at, &[h], inputs, &captures, |cx, states, x, captures| {
                let product = matmul(cx, states[0], captures[0])?;
                let gates_x = all.gates(cx, x, 0, 2)?;
                let gates = cx.add(gates_x, product)?;
                let gates = all.activate(cx, f, gates)?;
                let reset = all.gates(cx, gates, 1, 1)?;
                let kept = cx.mul(reset, states[0])?;
                let product = matmul(cx, kept, captures[1])?;
                let cell_x = all.gates(cx, x, 2, 1)?;
                let cell = cx.add(cell_x, product)?;
                blend(cx, &all, g, gates, cell, states[0])
            })?
        };
        runs.push(run);
    }
    all.results(cx, &runs)
}

/// `(1 - z) * g(cell) + z * h`, as `cell + z * (h - cell)` with one product.
fn blend(
    cx: &mut OpCx<'_>,
    all: &Recurrent,
    g: Activation,
    gates: ValueId,
    cell: ValueId,
    h: ValueId,
) -> Result<Vec<ValueId>, Problem> {
    let update = all.gates(cx, gates, 0, 1)?;
    let cell = all.activate(cx, g, cell)?;
    let change = cx.sub(h, cell)?;
    let change = cx.mul(update, change)?;
    Ok(vec![cx.add(cell, change)?])
}

fn lstm(cx: &mut OpCx<'_>) -> Outcome {
    let all = Recurrent::read(cx, 4, &["Sigmoid", "Tanh", "Tanh"])?;
    let coupled = cx.flag_or("input_forget", false)?;
    let peepholes = cx.optional_value(7)?;
    let mut runs = Vec::new();
    for at in 0..all.directions.len() {
        let biases = all.biases(cx, 4, at)?;
        let bias = joint(cx, biases)?;
        let inputs = all.inputs(cx, at, bias)?;
        let states = [all.initial(cx, 5, at)?, all.initial(cx, 6, at)?];
        let mut captures = all.r.factors(cx, at)?;
        if let Some(p) = peepholes {
            cx.need_rank(7, p, 2)?;
            captures.push(all.direction(cx, p, at)?);
        }
        let functions = &all.activations[at];
        runs.push(all.run(cx, at, &states, inputs, &captures, |cx, states, x, captures| {
            lstm_step(cx, &all, functions, coupled, states, x, captures)
        })?);
    }
    all.results(cx, &runs)
}

/// One step; gates come in the order input, output, forget, cell, peepholes in the order input, output, forget.
fn lstm_step(
    cx: &mut OpCx<'_>,
    all: &Recurrent,
    functions: &[Activation],
    coupled: bool,
    states: &[ValueId],
    x: ValueId,
    captures: &[ValueId],
) -> Result<Vec<ValueId>, Problem> {
    let (c, f) = (states[1], functions[0]);
    let (factors, peephole) = captures.split_at(if all.r.quantized.is_some() { 2 } else { 1 });
    let product = multiply(cx, states[0], factors)?;
    let sum = cx.add(product, x)?;
    let peephole = peephole.first().copied();
    let seen = |cx: &mut OpCx<'_>, gate: ValueId, at: i64, c: ValueId| match peephole {
        None => Ok(gate),
        Some(p) => {
            let p = all.gates(cx, p, at, 1)?;
            let p = cx.mul(p, c)?;
            cx.add(gate, p)
        }
    };
    let (input, output, forget) = if peephole.is_none() {
        let gates = all.gates(cx, sum, 0, 3)?;
        let gates = all.activate(cx, f, gates)?;
        (all.gates(cx, gates, 0, 1)?, Some(all.gates(cx, gates, 1, 1)?), all.gates(cx, gates, 2, 1)?)
    } else {
        let (input, forget) = (all.gates(cx, sum, 0, 1)?, all.gates(cx, sum, 2, 1)?);
        let (input, forget) = (seen(cx, input, 0, c)?, seen(cx, forget, 2, c)?);
        (all.activate(cx, f, input)?, None, all.activate(cx, f, forget)?)
    };
    let forget = if coupled {
        let unit = cx.number_like(input, 1.0)?;
        cx.sub(unit, input)?
    } else {
        forget
    };
    let cell = all.gates(cx, sum, 3, 1)?;
    let cell = all.activate(cx, functions[1], cell)?;
    let (kept, added) = (cx.mul(forget, c)?, cx.mul(input, cell)?);
    let c = cx.add(kept, added)?;
    let output = match output {
        Some(output) => output,
        None => {
            let output = all.gates(cx, sum, 1, 1)?;
            let output = seen(cx, output, 1, c)?;
            all.activate(cx, f, output)?
        }
    };
    let shown = all.activate(cx, functions[2], c)?;
    Ok(vec![cx.mul(output, shown)?, c])
}
