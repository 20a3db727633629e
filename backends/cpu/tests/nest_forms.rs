//! nest_forms - sums of floats stay within their error bound; concat and scatter.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "support/nest/mod.rs"]
mod nest;
mod support;

use nest::{Buffer, Symbols, compile_form, compile_with, points, random, same_bits, value};
use nnc_cpu::{
    kernel::OperandRef,
    lower::{
        concat::concat_requests,
        lower_nest,
        scatter::{ScatterRequest, lower_scatter},
    },
};
use nnc_ir::{
    dtype::{DType, Scalar},
    entity::EntityId,
    extent::{Extent, SymbolId},
    form::{Bounds, Combine, Ix, Load, LoopForm, ScatterCombine, ScatterForm},
    program::Builder,
    types::TensorType,
};
use support::Rng;

fn sym(i: usize) -> Extent {
    Extent::symbol(SymbolId::new(i))
}

fn floats(rng: &mut Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.unit()).collect()
}

fn bytes(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// `gamma_n` of Higham 2002, section 3.1: n roundings in any order err by this much, relative to the sum of magnitudes.
fn gamma(n: usize) -> f64 {
    let nu = n as f64 * f64::from(f32::EPSILON) / 2.0;
    nu / (1.0 - nu)
}

#[test]
fn float_sums_are_within_their_bound_and_independent_of_the_cut() {
    let mut rng = Rng::new(11);
    let lengths = [0, 1, 3, 4, 5, 7, 8, 15, 16, 17, 33, 100, 1000];
    for case in 0..120 {
        // Products of an [m, k] and a [k, n] operand, summed over k; either axis may be the contiguous one.
        let (m, n, k) = (1 + rng.below(5), lengths[rng.below(11)], lengths[rng.below(13)]);
        let symbols: Symbols = vec![m as i64, n as i64, k as i64];
        let symbolic = rng.below(2) == 0;
        let e = |i: usize| if symbolic { sym(i) } else { Extent::Const(symbols[i]) };
        let transposed = rng.below(2) == 0;
        let at = |a: usize, b: usize| vec![Ix::Axis(a), Ix::Axis(b)];
        let (rhs_index, rhs_extents) =
            if transposed { (at(1, 2), [e(1), e(2)]) } else { (at(2, 1), [e(2), e(1)]) };
        let load = |operand: usize, index: Vec<Ix>, extents: &[Extent]| Load {
            operand,
            dtype: DType::F32,
            index,
            extents: extents.to_vec(),
            bounds: Bounds::Inside,
        };
        let mut b = Builder::new();
        let (x, y) = (b.load(0, DType::F32), b.load(1, DType::F32));
        let product = b.mul(x, y);
        let mut f = Builder::new();
        let (acc, bias) = (f.acc(0, DType::F32), f.load(2, DType::F32));
        let out = f.add(acc, bias);
        let form = LoopForm {
            space: vec![e(0), e(1)],
            reduce: vec![e(2)],
            loads: vec![
                load(0, at(0, 2), &[e(0), e(2)]),
                load(1, rhs_index, &rhs_extents),
                load(2, vec![Ix::Axis(1)], &[e(1)]),
            ],
            body: b.finish([product]),
            combine: Some(Combine::Sum),
            finish: f.finish([out]),
            results: vec![DType::F32],
        };
        let (a, w, bias) = (floats(&mut rng, m * k), floats(&mut rng, n * k), floats(&mut rng, n));
        let compiled = compile_form(&form, 3, vec![None]);
        let inputs = [&a, &w, &bias].map(|x| Buffer::new(&bytes(x)));
        let mut first: Option<Vec<u8>> = None;
        for parts in [1, 2, 5] {
            let output = Buffer::new(&vec![0xcc; 4 * m * n]);
            compiled.run(&symbols, &[&inputs[0], &inputs[1], &inputs[2], &output], parts);
            assert_eq!(first.get_or_insert_with(|| output.bytes().to_vec()), output.bytes(), "case {case}");
        }
        let have = first.unwrap();
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let term = |p: usize| {
                let w = if transposed { w[j * k + p] } else { w[p * n + j] };
                f64::from(a[i * k + p]) * f64::from(w)
            };
            let sum: f64 = (0..k).map(term).sum::<f64>() + f64::from(bias[j]);
            let magnitude: f64 = (0..k).map(|p| term(p).abs()).sum::<f64>() + f64::from(bias[j]).abs();
            let x = Scalar::load(DType::F32, &have[4 * (i * n + j)..]).as_f64().unwrap();
            let bound = gamma(k + 2) * magnitude;
            assert!((x - sum).abs() <= bound, "case {case} at {i}, {j}: {x} is not {sum} within {bound}");
        }
    }
}

#[test]
fn concat_places_every_operand() {
    let mut rng = Rng::new(12);
    for case in 0..60 {
        let dtype = DType::ALL[rng.below(13)];
        let rank = 1 + rng.below(3);
        let axis = rng.below(rank);
        let count = 1 + rng.below(4);
        let symbolic = rng.below(2) == 0;
        let lengths = [0, 1, 3, 4, 5, 7, 16, 17, 33];
        let common: Vec<i64> = (0..rank).map(|_| lengths[rng.below(9)]).collect();
        let mut symbols: Symbols = Vec::new();
        let mut extent = |x: i64| {
            symbols.push(x);
            if symbolic { sym(symbols.len() - 1) } else { Extent::Const(x) }
        };
        let shape: Vec<Extent> = common.iter().map(|&x| extent(x)).collect();
        let types: Vec<TensorType> = (0..count)
            .map(|_| {
                let mut shape = shape.clone();
                shape[axis] = extent(lengths[rng.below(9)]);
                TensorType::new(dtype, shape)
            })
            .collect();
        let total = types.iter().fold(Extent::ZERO, |sum, ty| &sum + &ty.shape[axis]);
        let mut shape = shape;
        shape[axis] = total;
        let result = TensorType::new(dtype, shape);
        let elements = |ty: &TensorType| value(&ty.elements(), &symbols) as usize;
        let data: Vec<Vec<u8>> = types.iter().map(|ty| random(&mut rng, dtype, elements(ty))).collect();

        let outer: i64 = common[..axis].iter().product();
        let mut want = Vec::new();
        for o in 0..outer as usize {
            for part in &data {
                let row = part.len() / outer as usize;
                want.extend(&part[o * row..(o + 1) * row]);
            }
        }
        let inputs: Vec<Buffer> = data.iter().map(|d| Buffer::new(d)).collect();
        let output = Buffer::new(&vec![0xcc; elements(&result) * dtype.bytes()]);
        let all: Vec<&Buffer> = inputs.iter().chain([&output]).collect();
        for part in 0..count {
            let compiled = compile_with(count + 1, |slots, cx| {
                let operands: Vec<(OperandRef, TensorType)> = slots[..count]
                    .iter()
                    .map(|&pointer| OperandRef { pointer, constant: None, range: None })
                    .zip(types.iter().cloned())
                    .collect();
                let requests = concat_requests("concat", axis, &operands, slots[count], &result, 7);
                // Requests number their own operand 0; buffers keep their slots.
                lower_nest(&requests[part], cx)
            });
            compiled.run(&symbols, &all, 2);
        }
        assert!(same_bits(dtype, &want, output.bytes()), "case {case}: {types:?} along {axis}");
    }
}

#[test]
fn scatter_writes_in_order_and_records_what_is_out_of_range() {
    let mut rng = Rng::new(13);
    let combines = [
        ScatterCombine::Replace,
        ScatterCombine::Add,
        ScatterCombine::Mul,
        ScatterCombine::Max,
        ScatterCombine::Min,
    ];
    for case in 0..80 {
        let combine = combines[case % 5];
        let dtype = [DType::F32, DType::I64, DType::U8, DType::F16][rng.below(4)];
        let (rows, columns, updates) = (rng.below(6) as i64, 1 + rng.below(9) as i64, rng.below(8) as i64);
        let symbols: Symbols = vec![rows, columns, updates];
        let symbolic = rng.below(2) == 0;
        let e = |i: usize| if symbolic { sym(i) } else { Extent::Const(symbols[i]) };
        let ty = TensorType::new(dtype, vec![e(0), e(1)]);
        let load = |operand: usize, dtype: DType, index: Vec<Ix>, extents: &[Extent]| Load {
            operand,
            dtype,
            index,
            extents: extents.to_vec(),
            bounds: Bounds::Inside,
        };
        let form = ScatterForm {
            space: vec![e(2), e(1)],
            loads: vec![
                load(2, dtype, LoopForm::identity(2), &[e(2), e(1)]),
                load(1, DType::I64, vec![Ix::Axis(0)], &[e(2)]),
            ],
            index: vec![Ix::Load(1).wrap(&e(0)), Ix::Axis(1)],
            combine,
        };
        let reach = rows + i64::from(rng.below(4) == 0);
        let indices: Vec<i64> =
            (0..updates).map(|_| rng.below((2 * reach).max(1) as usize) as i64 - reach).collect();
        let data = random(&mut rng, dtype, (rows * columns) as usize);
        let update = random(&mut rng, dtype, (updates * columns) as usize);

        let n = dtype.bytes();
        let mut want = data.clone();
        let mut fault = false;
        for p in points(&[updates, columns]) {
            let row = indices[p[0] as usize];
            let row = if row < 0 { row + rows } else { row };
            if !(0..rows).contains(&row) {
                fault = true;
                continue;
            }
            let at = (row * columns + p[1]) as usize * n;
            let x = Scalar::load(dtype, &update[(p[0] * columns + p[1]) as usize * n..]);
            let y = Scalar::load(dtype, &want[at..]);
            let mut b = Builder::new();
            let (x, y) = (b.constant(x), b.constant(y));
            let z = match combine {
                ScatterCombine::Replace => x,
                ScatterCombine::Add => b.add(y, x),
                ScatterCombine::Mul => b.mul(y, x),
                ScatterCombine::Max => b.max(y, x),
                ScatterCombine::Min => b.min(y, x),
            };
            let program = b.finish([z]);
            let z =
                nnc_ir::eval::program::eval_program(&program, &|_| unreachable!(), &[], &|_| unreachable!());
            z[0].store(dtype, &mut want[at..]);
        }

        let indices: Vec<u8> = indices.iter().flat_map(|i| i.to_le_bytes()).collect();
        let buffers = [&data, &indices, &update].map(|b| Buffer::new(b));
        let output = Buffer::new(&vec![0xcc; data.len()]);
        let all = [&buffers[0], &buffers[1], &buffers[2], &output];
        let mut record = [0; 3];
        for copy in [true, false] {
            let compiled = compile_with(4, |slots, cx| {
                let request = ScatterRequest {
                    name: "scatter".into(),
                    form: form.clone(),
                    operands: slots[..3]
                        .iter()
                        .map(|&pointer| OperandRef { pointer, constant: None, range: None })
                        .collect(),
                    result: slots[3],
                    ty: ty.clone(),
                    fault_node: 7,
                };
                if copy { lower_nest(&request.copy(), cx) } else { lower_scatter(&request, cx) }
            });
            record = compiled.run(&symbols, &all, 1);
        }
        assert_eq!(record[0] != 0, fault, "case {case}: {record:?}");
        assert!(same_bits(dtype, &want, output.bytes()), "case {case}: {combine:?} of {dtype} {symbols:?}");
    }
}
