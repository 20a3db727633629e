//! tests - nests against a naive walk.

use super::*;
use crate::{
    eval::{EvalLimits, Tensor, eval_program},
    form::{Bounds, Combine, Load},
    program::Builder,
};

fn nest(form: &LoopForm, operands: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
    let operands: Vec<Slot> = operands.iter().map(Slot::of_tensor).collect();
    let known = |e: &Extent| Ok(e.as_const().expect("tests use constants"));
    let results = evaluate(form, &operands, &known, &mut Budget::new(&EvalLimits::GENEROUS))?;
    Ok(results.into_iter().map(Slot::into_tensor).collect())
}

/// Element by element, exactly as `crate::form` says.
fn naive(form: &LoopForm, operands: &[Tensor]) -> Vec<Tensor> {
    fn index(ix: &Ix, at: &[i64], load: &dyn Fn(usize) -> Scalar) -> i64 {
        let of = |ix: &Ix| index(ix, at, load);
        let known = |e: &Extent| e.as_const().expect("tests use constants");
        match ix {
            Ix::Axis(a) => at[*a],
            Ix::Extent(e) => known(e),
            Ix::Add(a, b) => of(a) + of(b),
            Ix::Mul(a, by) => of(a) * known(by),
            Ix::FloorDiv(a, by) => of(a).div_euclid(known(by)),
            Ix::Mod(a, by) => of(a).rem_euclid(known(by)),
            Ix::Min(a, b) => of(a).min(of(b)),
            Ix::Max(a, b) => of(a).max(of(b)),
            Ix::Bcast(a, e) => {
                if known(e) == 1 {
                    0
                } else {
                    of(a)
                }
            }
            Ix::Wrap(a, e) => {
                if of(a) < 0 {
                    of(a) + known(e)
                } else {
                    of(a)
                }
            }
            Ix::Load(k) => load(*k).as_i64().expect("an integer"),
        }
    }
    fn load(form: &LoopForm, operands: &[Tensor], k: usize, at: &[i64]) -> Scalar {
        let l = &form.loads[k];
        let tensor = &operands[l.operand];
        let mut offset = 0;
        for (ix, &dim) in l.index.iter().zip(&tensor.dims) {
            let x = index(ix, at, &|k| load(form, operands, k, at));
            if x < 0 || x >= dim {
                let Bounds::Guard(value) = l.bounds else { panic!("out of range") };
                return value;
            }
            offset = offset * dim + x;
        }
        tensor.scalars()[offset as usize]
    }
    fn points(dims: &[Extent]) -> Vec<Vec<i64>> {
        dims.iter().fold(vec![vec![]], |points, dim| {
            let n = dim.as_const().expect("tests use constants");
            points.iter().flat_map(|p| (0..n).map(move |i| [&p[..], &[i]].concat())).collect()
        })
    }
    let program = |p: &Program, at: &[i64], accs: &[Scalar]| {
        eval_program(p, &|k| load(form, operands, k, at), accs, &|ix| {
            index(ix, at, &|k| load(form, operands, k, at))
        })
    };
    let mut results = vec![Vec::new(); form.results.len()];
    for point in points(&form.space) {
        let values = match form.combine {
            None => program(&form.body, &point, &[]),
            Some(combine) => {
                let dtype = form.body.result_dtypes().next().expect("one result");
                let mut acc = Accumulator::new(combine, dtype, 1);
                acc.start(1);
                for r in points(&form.reduce) {
                    let x = program(&form.body, &[&point[..], &r].concat(), &[]);
                    acc.join(&[x[0].bits]);
                }
                let acc = Scalar { dtype: combine.acc_dtype(dtype), bits: acc.values()[0] };
                program(&form.finish, &point, &[acc])
            }
        };
        results.iter_mut().zip(values).for_each(|(r, v)| r.push(v));
    }
    let dims: Vec<i64> = form.space.iter().filter_map(Extent::as_const).collect();
    let tensor = |(r, &d): (&Vec<Scalar>, &DType)| Tensor::from_scalars(d, &dims, r);
    results.iter().zip(&form.results).map(tensor).collect()
}

/// A convolution with padding over `[H, W, C]` and kernel `[3, 3, C]`: every axis may become the lane.
fn convolution(h: i64, w: i64, c: i64) -> (LoopForm, Vec<Tensor>) {
    let extents = |dims: &[i64]| dims.iter().map(|&d| Extent::Const(d)).collect::<Vec<_>>();
    let at = |space: usize, kernel: usize| Ix::Axis(space).plus(Ix::Axis(kernel)).plus(Ix::int(-1));
    let loads = vec![
        Load {
            operand: 0,
            dtype: DType::F32,
            index: vec![at(0, 2), at(1, 3), Ix::Axis(4)],
            extents: extents(&[h, w, c]),
            bounds: Bounds::Guard(Scalar::f32(0.0)),
        },
        Load {
            operand: 1,
            dtype: DType::F32,
            index: vec![Ix::Axis(2), Ix::Axis(3), Ix::Axis(4)],
            extents: extents(&[3, 3, c]),
            bounds: Bounds::Inside,
        },
    ];
    let mut body = Builder::new();
    let (x, k) = (body.load(0, DType::F32), body.load(1, DType::F32));
    let product = body.mul(x, k);
    let mut finish = Builder::new();
    let acc = finish.acc(0, DType::F32);
    let row = finish.index(Ix::Axis(0));
    let row = finish.cast(DType::F32, row);
    let sum = finish.add(acc, row);
    let form = LoopForm {
        space: extents(&[h, w]),
        reduce: extents(&[3, 3, c]),
        loads,
        body: body.finish([product]),
        combine: Some(Combine::Sum),
        finish: finish.finish([sum]),
        results: vec![DType::F32],
    };
    let values = |n: i64| (0..n).map(|i| (i * 37 % 101) as f32 / 7.0 - 5.0).collect::<Vec<_>>();
    let operands =
        vec![Tensor::f32s(&[h, w, c], &values(h * w * c)), Tensor::f32s(&[3, 3, c], &values(9 * c))];
    (form, operands)
}

#[test]
fn rows_along_any_axis_give_the_same_bits() {
    for (h, w, c) in [(2, 20, 3), (300, 2, 2), (1, 1, 300), (3, 2, 1), (0, 4, 2), (2, 3, 0)] {
        let (form, operands) = convolution(h, w, c);
        assert_eq!(nest(&form, &operands).expect("runs"), naive(&form, &operands), "{h} x {w} x {c}");
    }
}

#[test]
fn the_best_position_of_equals_nan_and_nothing() {
    let form = |combine: Combine, n: i64| {
        let mut body = Builder::new();
        let x = body.load(0, DType::F32);
        let mut finish = Builder::new();
        let acc = finish.acc(0, DType::I64);
        LoopForm {
            space: vec![],
            reduce: vec![Extent::Const(n)],
            loads: vec![Load {
                operand: 0,
                dtype: DType::F32,
                index: vec![Ix::Axis(0)],
                extents: vec![Extent::Const(n)],
                bounds: Bounds::Inside,
            }],
            body: body.finish([x]),
            combine: Some(combine),
            finish: finish.finish([acc]),
            results: vec![DType::I64],
        }
    };
    let best = |combine: Combine, x: &[f32]| {
        let n = x.len() as i64;
        nest(&form(combine, n), &[Tensor::f32s(&[n], x)]).expect("runs")[0].scalars()[0].as_i64()
    };
    let equals = [1., 3., -0.0, 0.0, 3., -0.0];
    assert_eq!(best(Combine::ArgMax { last: false }, &equals), Some(1));
    assert_eq!(best(Combine::ArgMax { last: true }, &equals), Some(4));
    assert_eq!(best(Combine::ArgMin { last: false }, &equals), Some(2));
    assert_eq!(best(Combine::ArgMin { last: true }, &equals), Some(5));
    let nan = [1., f32::NAN, f32::INFINITY, f32::NAN];
    assert_eq!(best(Combine::ArgMax { last: false }, &nan), Some(1));
    assert_eq!(best(Combine::ArgMin { last: true }, &nan), Some(3));
    assert_eq!(best(Combine::ArgMax { last: false }, &[]), Some(0));
    assert_eq!(best(Combine::ArgMax { last: true }, &[f32::NEG_INFINITY]), Some(0));
}

/// `result[i] = x[wrap(index[i])]`.
fn gather_form(n: i64, bounds: Bounds) -> LoopForm {
    let mut body = Builder::new();
    let x = body.load(1, DType::F32);
    let index = Load {
        operand: 1,
        dtype: DType::I64,
        index: vec![Ix::Axis(0)],
        extents: vec![Extent::Const(n)],
        bounds: Bounds::Inside,
    };
    let element = Load {
        operand: 0,
        dtype: DType::F32,
        index: vec![Ix::Load(0).wrap(&Extent::Const(4))],
        extents: vec![Extent::Const(4)],
        bounds,
    };
    LoopForm {
        space: vec![Extent::Const(n)],
        reduce: vec![],
        loads: vec![index, element],
        body: body.finish([x]),
        combine: None,
        finish: Program::default(),
        results: vec![DType::F32],
    }
}

#[test]
fn loads_at_loaded_places_are_checked_or_guarded() {
    let x = Tensor::f32s(&[4], &[0., 1., 2., 3.]);
    let form = gather_form(3, Bounds::Check);
    let got = nest(&form, &[x.clone(), Tensor::i64s(&[3], &[-1, 2, 0])]).expect("runs");
    assert_eq!(got, [Tensor::f32s(&[3], &[3., 2., 0.])]);
    let error = nest(&form, &[x.clone(), Tensor::i64s(&[3], &[0, 4, -9])]).expect_err("out of range");
    assert_eq!((error.code, error.message.as_str()), (805, "index 4 not in [0, 4)"));
    let form = gather_form(3, Bounds::Guard(Scalar::f32(-1.0)));
    let got = nest(&form, &[x, Tensor::i64s(&[3], &[0, 4, -9])]).expect("runs");
    assert_eq!(got, [Tensor::f32s(&[3], &[0., -1., -1.])]);
    let none = Tensor::f32s(&[0], &[]);
    let got = nest(&form, &[none, Tensor::i64s(&[3], &[0, 4, -9])]).expect("runs");
    assert_eq!(got, [Tensor::f32s(&[3], &[-1., -1., -1.])]);
}
