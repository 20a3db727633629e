//! nest_exact - kernels of nests give the evaluator's bits, for every element type, form of index and shape.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "support/nest/mod.rs"]
mod nest;
mod support;

use nest::{Symbols, check, random, value};
use nnc_ir::{
    dtype::{DType, Scalar},
    entity::EntityId,
    extent::{Extent, SymbolId, product},
    form::{Bounds, Combine, Ix, Load, LoopForm},
    program::{Binary, Builder, Inst, Program, Ref, Unary},
};
use support::Rng;

const LENGTHS: [i64; 9] = [0, 1, 3, 4, 5, 7, 16, 17, 33];

fn sym(i: usize) -> Extent {
    Extent::symbol(SymbolId::new(i))
}

fn load(operand: usize, dtype: DType, index: Vec<Ix>, extents: &[Extent], bounds: Bounds) -> Load {
    Load { operand, dtype, index, extents: extents.to_vec(), bounds }
}

fn map_form(space: &[Extent], loads: Vec<Load>, body: Program, results: &[DType]) -> LoopForm {
    LoopForm {
        space: space.to_vec(),
        reduce: vec![],
        loads,
        body,
        combine: None,
        finish: Program::default(),
        results: results.to_vec(),
    }
}

fn movement(space: &[Extent], loads: Vec<Load>) -> LoopForm {
    let mut b = Builder::new();
    let dtype = loads[0].dtype;
    let x = b.load(0, dtype);
    map_form(space, loads, b.finish([x]), &[dtype])
}

fn operands(rng: &mut Rng, form: &LoopForm, symbols: &Symbols) -> Vec<Vec<u8>> {
    let n = form.loads.iter().map(|l| l.operand + 1).max().unwrap_or(0);
    (0..n)
        .map(|i| {
            let load = form.loads.iter().find(|l| l.operand == i).unwrap();
            let elements = value(&product(&load.extents), symbols);
            random(rng, load.dtype, elements as usize)
        })
        .collect()
}

type Operation = Box<dyn Fn(&mut Builder, &[Ref]) -> Ref>;

/// A program that applies one operation to operands of type `dtype`, or `None` if it is not defined.
fn operations(dtype: DType) -> Vec<(String, Operation)> {
    use Binary as B;
    use Unary as U;
    let mut out: Vec<(String, Operation)> = Vec::new();
    let (float, int) = (dtype.is_float(), dtype.is_int());
    let mut unary = |op: U| out.push((format!("{op:?}"), Box::new(move |b, x| b.unary(op, x[0]))));
    if float || int {
        [U::Neg, U::Abs].into_iter().for_each(&mut unary);
    }
    if float {
        [U::Sqrt, U::Floor, U::Ceil, U::Trunc, U::Nearest].into_iter().for_each(&mut unary);
    } else {
        unary(U::Not);
    }
    let mut binary = |op: B| out.push((format!("{op:?}"), Box::new(move |b, x| b.binary(op, x[0], x[1]))));
    [B::Max, B::Min, B::Eq, B::Ne, B::Lt, B::Le].into_iter().for_each(&mut binary);
    if float || int {
        [B::Add, B::Sub, B::Mul, B::Div].into_iter().for_each(&mut binary);
    }
    if int {
        [B::Rem, B::Shl, B::ShrU, B::ShrS].into_iter().for_each(&mut binary);
    }
    if !float {
        [B::And, B::Or, B::Xor].into_iter().for_each(&mut binary);
    }
    if float {
        out.push(("fma".into(), Box::new(|b, x| b.fma(x[0], x[1], x[2]))));
        out.push(("mul_add".into(), Box::new(|b, x| b.mul_add(x[0], x[1], x[2]))));
    }
    out.push((
        "select".into(),
        Box::new(|b, x| {
            let c = b.lt(x[0], x[1]);
            b.select(c, x[1], x[2])
        }),
    ));
    for to in DType::ALL {
        if to.compute() == to && to != dtype.compute() {
            out.push((format!("cast to {to}"), Box::new(move |b, x| b.cast(to, x[0]))));
            if to.bytes() == dtype.compute().bytes() && to != DType::Bool && dtype != DType::Bool {
                out.push((format!("bitcast to {to}"), Box::new(move |b, x| b.bitcast(to, x[0]))));
            }
        }
    }
    out
}

#[test]
fn every_operation_on_every_type() {
    let mut rng = Rng::new(1);
    for dtype in DType::ALL {
        for (name, op) in operations(dtype) {
            let space = [Extent::Const(5), Extent::Const(33)];
            let loads = (0..3)
                .map(|k| {
                    // The third operand broadcasts along the last axis.
                    let index = if k == 2 { vec![Ix::Axis(0)] } else { LoopForm::identity(2) };
                    load(k, dtype, index, &space[..if k == 2 { 1 } else { 2 }], Bounds::Inside)
                })
                .collect();
            let mut b = Builder::new();
            let x: Vec<Ref> = (0..3).map(|k| b.load(k, dtype)).collect();
            let y = op(&mut b, &x);
            let result = b.dtype(y);
            let result = if result == dtype.compute() { dtype } else { result };
            let form = map_form(&space, loads, b.finish([y]), &[result]);
            let operands = operands(&mut rng, &form, &vec![]);
            check(&format!("{name} of {dtype}"), &form, &vec![], &operands);
        }
    }
}

#[test]
fn shapes_static_and_symbolic() {
    let mut rng = Rng::new(2);
    for symbolic in [false, true] {
        for case in 0..60 {
            let dtype = [DType::F32, DType::F32, DType::I32, DType::F16, DType::U8, DType::I64][rng.below(6)];
            let rank = rng.below(4);
            let dims: Vec<i64> = (0..rank).map(|_| LENGTHS[rng.below(9)]).collect();
            let space: Vec<Extent> =
                (0..rank).map(|i| if symbolic { sym(i) } else { Extent::Const(dims[i]) }).collect();
            // The second operand broadcasts along random axes, the third wherever its extents happen to be 1.
            let kept: Vec<usize> = (0..rank).filter(|_| rng.below(2) == 0).collect();
            let mut symbols = dims.clone();
            let mut maybe: Vec<Extent> = Vec::new();
            for &d in &dims {
                let e = if rng.below(2) == 0 { 1 } else { d };
                maybe.push(if symbolic { sym(symbols.len()) } else { Extent::Const(e) });
                symbols.push(e);
            }
            let loads = vec![
                load(0, dtype, LoopForm::identity(rank), &space, Bounds::Inside),
                load(
                    1,
                    dtype,
                    kept.iter().map(|&a| Ix::Axis(a)).collect(),
                    &kept.iter().map(|&a| space[a].clone()).collect::<Vec<_>>(),
                    Bounds::Inside,
                ),
                load(
                    2,
                    dtype,
                    (0..rank).map(|a| Ix::Axis(a).bcast(&maybe[a])).collect(),
                    &maybe,
                    Bounds::Inside,
                ),
            ];
            let mut b = Builder::new();
            let x: Vec<Ref> = (0..3).map(|k| b.load(k, dtype)).collect();
            let s = b.add(x[0], x[1]);
            let y = b.mul(s, x[2]);
            let c = b.lt(x[0], y);
            let form = map_form(&space, loads, b.finish([y, c]), &[dtype, DType::Bool]);
            let operands = operands(&mut rng, &form, &symbols);
            check(&format!("case {case} {dtype}"), &form, &symbols, &operands);
        }
    }
}

#[test]
fn movements_of_every_type() {
    let mut rng = Rng::new(3);
    for dtype in DType::ALL {
        for case in 0..12 {
            let (h, w) = (LENGTHS[rng.below(9)], LENGTHS[rng.below(9)]);
            let symbols = vec![h, w];
            let symbolic = case % 2 == 1;
            let e = |i: usize| if symbolic { sym(i) } else { Extent::Const(symbols[i]) };
            let input = [e(0), e(1)];
            let half = |e: &Extent| e.ceil_div(&Extent::Const(2));
            let form = match case / 2 {
                // Transpose.
                0 => movement(
                    &[e(1), e(0)],
                    vec![load(0, dtype, vec![Ix::Axis(1), Ix::Axis(0)], &input, Bounds::Inside)],
                ),
                // Every other element, from the end.
                1 => {
                    let from_end = |a: usize| Ix::Axis(a).times(-2).plus(Ix::Extent(&e(a) - &Extent::ONE));
                    let index = vec![from_end(0), from_end(1)];
                    movement(&[half(&e(0)), half(&e(1))], vec![load(0, dtype, index, &input, Bounds::Inside)])
                }
                // Padding by 2 before and 3 after.
                2 => {
                    let space = [&e(0) + &Extent::Const(5), &e(1) + &Extent::Const(5)];
                    let index = (0..2).map(|a| Ix::Axis(a).plus(Ix::int(-2))).collect();
                    let value = Scalar::int(dtype, 3);
                    movement(&space, vec![load(0, dtype, index, &input, Bounds::Guard(value))])
                }
                // The same elements in another shape.
                3 => {
                    let n = &e(0) * &e(1);
                    let index = vec![Ix::Axis(0).floor_div(e(1)), Ix::Axis(0).modulo(e(1))];
                    movement(&[n], vec![load(0, dtype, index, &input, Bounds::Inside)])
                }
                // Edge and reflection.
                4 => {
                    let space = [&e(0) + &Extent::Const(4), &e(1) + &Extent::Const(4)];
                    let clamp = |a: usize| {
                        Ix::Axis(a).plus(Ix::int(-2)).max(Ix::int(0)).min(Ix::Extent(&e(a) - &Extent::ONE))
                    };
                    if h == 0 || w == 0 {
                        continue;
                    }
                    movement(&space, vec![load(0, dtype, vec![clamp(0), clamp(1)], &input, Bounds::Inside)])
                }
                // Rows by index, counted from the end where negative; some are out of range.
                _ => {
                    let count = Extent::Const(6);
                    let row = Ix::Load(1).wrap(&e(0));
                    let loads = vec![
                        load(0, dtype, vec![row, Ix::Axis(1)], &input, Bounds::Check),
                        load(1, DType::I32, vec![Ix::Axis(0)], std::slice::from_ref(&count), Bounds::Inside),
                    ];
                    movement(&[count, e(1)], loads)
                }
            };
            let mut operands = operands(&mut rng, &form, &symbols);
            if let Some(indices) = operands.get_mut(1) {
                let reach = if rng.below(2) == 0 { h.max(1) } else { h + 2 };
                for chunk in indices.chunks_mut(4) {
                    let i = rng.below(2 * reach as usize) as i32 - reach as i32;
                    chunk.copy_from_slice(&i.to_le_bytes());
                }
            }
            check(&format!("case {case} of {dtype}"), &form, &symbols, &operands);
        }
    }
}

/// Rows that are woven into one another: pixels that a transposed convolution of stride 2 made apart.
#[test]
fn rows_by_turns() {
    let mut rng = Rng::new(9);
    for width in LENGTHS.into_iter().chain([32, 64, 77]) {
        let n = |x: i64| Extent::Const(x);
        // [c, i, j, y, x] to [c, y, i, x, j].
        let space = [n(2), n(3), n(2), n(width), n(2)];
        let from = [n(2), n(2), n(2), n(3), n(width)];
        let index = [0, 2, 4, 1, 3].map(Ix::Axis).to_vec();
        for dtype in [DType::F32, DType::I32, DType::U8] {
            let form = movement(&space, vec![load(0, dtype, index.clone(), &from, Bounds::Inside)]);
            let operands = operands(&mut rng, &form, &vec![]);
            check(&format!("{dtype:?} {width}"), &form, &vec![], &operands);
        }
    }
}

#[test]
fn reductions_of_integers_and_choices() {
    let mut rng = Rng::new(4);
    let combines = [
        Combine::Sum,
        Combine::Product,
        Combine::Max,
        Combine::Min,
        Combine::ArgMax { last: false },
        Combine::ArgMax { last: true },
        Combine::ArgMin { last: false },
        Combine::ArgMin { last: true },
    ];
    for case in 0..240 {
        let combine = combines[case % 8];
        let choice = matches!(combine, Combine::ArgMax { .. } | Combine::ArgMin { .. });
        let dtype = if choice {
            DType::ALL[rng.below(13)]
        } else {
            [DType::I8, DType::U8, DType::I16, DType::I32, DType::U32, DType::I64, DType::U64][rng.below(7)]
        };
        let rank = 1 + rng.below(3);
        let symbols: Symbols = (0..rank).map(|_| LENGTHS[rng.below(9)]).collect();
        let symbolic = rng.below(2) == 0;
        let extents: Vec<Extent> =
            (0..rank).map(|i| if symbolic { sym(i) } else { Extent::Const(symbols[i]) }).collect();
        let reduced: Vec<bool> = (0..rank).map(|i| i == case % rank || rng.below(3) == 0).collect();
        let pick = |want: bool| (0..rank).filter(|&i| reduced[i] == want).collect::<Vec<_>>();
        let (space, reduce) = (pick(false), pick(true));
        let order = [&space[..], &reduce[..]].concat();
        let index = (0..rank).map(|i| Ix::Axis(order.iter().position(|&a| a == i).unwrap())).collect();
        let mut b = Builder::new();
        let x = b.load(0, dtype);
        let body = b.finish([x]);
        let mut f = Builder::new();
        let acc = f.acc(0, combine.acc_dtype(dtype));
        // The epilogue reads a row of its own.
        let scale = f.load(1, DType::I32);
        let scale = f.cast(combine.acc_dtype(dtype), scale);
        let y = if choice || dtype != DType::Bool { f.add(acc, scale) } else { acc };
        let form = LoopForm {
            space: space.iter().map(|&a| extents[a].clone()).collect(),
            reduce: reduce.iter().map(|&a| extents[a].clone()).collect(),
            loads: vec![
                load(0, dtype, index, &extents, Bounds::Inside),
                load(
                    1,
                    DType::I32,
                    if space.is_empty() { vec![Ix::int(0)] } else { vec![Ix::Axis(0)] },
                    &if space.is_empty() { vec![Extent::ONE] } else { vec![extents[space[0]].clone()] },
                    Bounds::Inside,
                ),
            ],
            body,
            combine: Some(combine),
            finish: f.finish([y]),
            results: vec![combine.acc_dtype(dtype)],
        };
        let operands = operands(&mut rng, &form, &symbols);
        check(&format!("case {case}: {combine:?} of {dtype} over {reduced:?}"), &form, &symbols, &operands);
    }
}

#[test]
fn windows_with_padding() {
    let mut rng = Rng::new(5);
    for case in 0..80 {
        // Integers, so that the order of sums does not matter; f32 maxima without NaN.
        let (dtype, combine) = [(DType::I32, Combine::Sum), (DType::F32, Combine::Max)][case % 2];
        let symbolic = rng.below(2) == 0;
        let symbols: Symbols =
            vec![1 + rng.below(3) as i64, 1 + rng.below(20) as i64, 1 + rng.below(40) as i64];
        let e = |i: usize| if symbolic { sym(i) } else { Extent::Const(symbols[i]) };
        let (kernel, stride, pad) = (1 + rng.below(4) as i64, 1 + rng.below(3) as i64, rng.below(3) as i64);
        let dilation = 1 + rng.below(2) as i64;
        let out = |e: &Extent| {
            let last = e + &Extent::Const(2 * pad - dilation * (kernel - 1) - 1);
            &last.floor_div(&Extent::Const(stride)).max_with(&Extent::Const(-1)) + &Extent::ONE
        };
        let space = vec![e(0), out(&e(1)), out(&e(2))];
        let at =
            |a: usize| Ix::Axis(a).times(stride).plus(Ix::Axis(a + 2).times(dilation)).plus(Ix::int(-pad));
        let guard = if combine == Combine::Sum { Scalar::i32(0) } else { Scalar::f32(f32::NEG_INFINITY) };
        let mut b = Builder::new();
        let x = b.load(0, dtype);
        let body = if combine == Combine::Sum {
            let w = b.load(1, dtype);
            let product = b.mul(x, w);
            b.finish([product])
        } else {
            b.finish([x])
        };
        let mut f = Builder::new();
        let acc = f.acc(0, dtype);
        let k = Extent::Const(kernel);
        let form = LoopForm {
            space,
            reduce: vec![k.clone(), k.clone()],
            loads: vec![
                load(0, dtype, vec![Ix::Axis(0), at(1), at(2)], &[e(0), e(1), e(2)], Bounds::Guard(guard)),
                load(
                    1,
                    dtype,
                    vec![Ix::Axis(0), Ix::Axis(3), Ix::Axis(4)],
                    &[e(0), k.clone(), k],
                    Bounds::Inside,
                ),
            ],
            body,
            combine: Some(combine),
            finish: f.finish([acc]),
            results: vec![dtype],
        };
        let mut operands = operands(&mut rng, &form, &symbols);
        if dtype == DType::F32 {
            for chunk in operands.iter_mut().flat_map(|o| o.chunks_mut(4)) {
                chunk.copy_from_slice(&rng.unit().to_le_bytes());
            }
        }
        let what = format!("case {case}: kernel {kernel} stride {stride} pad {pad} dilation {dilation}");
        check(&what, &form, &symbols, &operands);
    }
}

#[test]
fn index_values_and_long_axes() {
    let mut rng = Rng::new(6);
    // Longer than one block of an item.
    for n in [40_000, 100_003] {
        for extent in [Extent::Const(n), sym(0)] {
            let mut b = Builder::new();
            let i = b.push(Inst::Index(Ix::Axis(0).times(3).plus(Ix::int(1))), DType::I64);
            let i = b.cast(DType::F32, i);
            let x = b.load(0, DType::F32);
            let y = b.add(x, i);
            let loads =
                vec![load(0, DType::F32, vec![Ix::Axis(0)], std::slice::from_ref(&extent), Bounds::Inside)];
            let form = map_form(&[extent], loads, b.finish([y]), &[DType::F32]);
            let operands = operands(&mut rng, &form, &vec![n]);
            check("index", &form, &vec![n], &operands);
        }
    }
}
