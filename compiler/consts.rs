//! consts - how the passes get constants computed: by the evaluator, or, where there is much to compute, by compiled code.
//!
//! Both give the same bits (docs/numerics.md) for nests that sum nothing, and only these are compiled.

use std::{
    cell::{OnceCell, RefCell},
    collections::HashMap,
    sync::Arc,
};

use nnc_cpu::{CompileOptions, Target, compile, elem_type};
use nnc_ir::{
    Module,
    constant::{Constant, Payload},
    eval::{ConstEval, EvalLimits, transposed},
    extent::Extent,
    form::{Bounds, Form},
    graph::{Phase, loc},
    ops::{InferCx, Op},
    types::TensorType,
};
use nnc_runtime::{Program, Session, SessionOptions, TensorView};

/// Largest folding: beyond it a node stays and is computed when running.
const LIMITS: EvalLimits = EvalLimits { tensor_bytes: 1 << 30, points: 1 << 28 };
/// From so many elements on, compiling takes less time than it saves.
const COMPILED_ELEMENTS: i64 = 1 << 16;

/// Computes operations on constants.
pub(crate) struct Evaluator {
    evaluator: ConstEval,
    /// This machine, once it is asked for; `None` if there is no code for it.
    host: OnceCell<Option<Target>>,
    /// Programs for operations by what they look like; `None` for those that have none.
    programs: RefCell<HashMap<String, Option<Program>>>,
}

impl Evaluator {
    pub(crate) fn new() -> Self {
        let (host, programs) = (OnceCell::new(), RefCell::default());
        Self { evaluator: ConstEval { limits: LIMITS }, host, programs }
    }

    fn host(&self) -> Option<&Target> {
        self.host.get_or_init(|| Target::new("native", None, false).ok()).as_ref()
    }

    /// Results of compiled code; `None` where the evaluator had better do it.
    fn compiled(&self, op: &Op, operands: &[Constant]) -> Option<Vec<Constant>> {
        let types: Vec<TensorType> = operands.iter().map(Constant::ty).collect();
        if operands.iter().all(|c| c.as_splat().is_some()) || !is_large_nest(op, &types) {
            return None;
        }
        let mut programs = self.programs.borrow_mut();
        let key = format!("{op:?} {types:?}");
        let program = programs.entry(key).or_insert_with(|| program(op, &types, self.host()?)).as_ref()?;
        let bytes: Vec<_> = operands.iter().map(Constant::bytes).collect();
        let inputs: Vec<TensorView<'_>> = (operands.iter().zip(&bytes))
            .map(|(c, bytes)| TensorView { elem: elem_type(c.dtype()), dims: c.dims(), bytes })
            .collect();
        let mut session = Session::new(&SessionOptions { threads: 1, ..SessionOptions::host() });
        let results = program.run(&mut session, &inputs).ok()?;
        let dtypes = result_types(op, &types)?;
        let constant = |(tensor, ty): (nnc_runtime::Tensor, TensorType)| {
            let (dims, len) = (tensor.dims().to_vec(), tensor.bytes().len());
            Constant::new(
                ty.dtype,
                &dims,
                Payload::Range { buffer: Arc::new(tensor.into_bytes()), offset: 0, len },
            )
        };
        results.into_iter().zip(dtypes).map(constant).collect()
    }
}

fn result_types(op: &Op, operands: &[TensorType]) -> Option<Vec<TensorType>> {
    let operands: Vec<&TensorType> = operands.iter().collect();
    op.check_arity(operands.len()).ok()?;
    op.def().infer(&InferCx { operands: &operands, regions: &[] }).ok()
}

/// Whether an operation is a nest that sums nothing, cannot fail, and has many elements, all of known extents.
fn is_large_nest(op: &Op, operands: &[TensorType]) -> bool {
    let Some(results) = result_types(op, operands) else { return false };
    let (operands, results): (Vec<_>, Vec<_>) = (operands.iter().collect(), results.iter().collect());
    let Form::Loops(form) = op.def().form(&operands, &results) else { return false };
    let elements = form.space.iter().map(Extent::as_const).try_fold(1i64, |n, e| n.checked_mul(e?));
    form.combine.is_none()
        && form.loads.iter().all(|l| l.bounds != Bounds::Check)
        && elements.is_some_and(|n| n >= COMPILED_ELEMENTS && n.unsigned_abs() <= LIMITS.points)
}

/// A program of one operation.
fn program(op: &Op, operands: &[TensorType], host: &Target) -> Option<Program> {
    let mut module = Module::new();
    let inputs: Vec<_> =
        operands.iter().enumerate().map(|(i, ty)| module.add_input(&format!("x{i}"), ty.clone())).collect();
    let body = module.body();
    let results = module.append(body, op.clone(), &inputs, &[], &loc("constant")).ok()?;
    let outputs: Vec<_> = results.iter().enumerate().map(|(i, &v)| (format!("y{i}"), v)).collect();
    module.set_outputs(&outputs);
    module.phase = Phase::Canonical;
    let compiled = compile(&module, host, &CompileOptions::default()).ok()?;
    Program::load(compiled.image).ok()
}

impl nnc_passes::pass::ConstEval for Evaluator {
    fn fold(&self, op: &Op, operands: &[Constant]) -> Option<Vec<Constant>> {
        // What only moves the axes of a large constant costs nothing.
        match transposed(op, operands) {
            Some(transposed) => Some(vec![transposed]),
            None => self.compiled(op, operands).or_else(|| self.evaluator.fold(op, operands)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nnc_ir::{
        dtype::{DType, Scalar},
        ops::{Broadcast, Cast, Div, Exp, Mul},
    };
    use nnc_passes::pass::ConstEval as _;

    fn numbers(dtype: DType, dims: &[i64]) -> Constant {
        let n: i64 = dims.iter().product();
        let odd = [f64::NAN, f64::INFINITY, -0.0, 1e-45, 3e38, -7.25];
        let element = |i: i64| {
            let special = odd.get(usize::try_from(i % 97).unwrap_or(99));
            match special.filter(|_| dtype.is_float()) {
                Some(x) => Scalar::float(dtype, *x),
                None if dtype.is_float() => Scalar::float(dtype, (i as f64 * 0.37).sin() * 9.0),
                None => Scalar::int(dtype, i % 251 - 120),
            }
        };
        Constant::from_scalars(dtype, dims, &(0..n).map(element).collect::<Vec<_>>())
    }

    #[test]
    fn compiled_code_gives_the_bits_of_the_evaluator() {
        let dims = [300, 257];
        let (x, y) = (numbers(DType::F32, &dims), numbers(DType::F32, &[257]));
        let shape: Vec<Extent> = dims.iter().map(|&d| Extent::Const(d)).collect();
        let small = ConstEval { limits: LIMITS };
        let large = Evaluator::new();
        let cases: Vec<(Op, Vec<Constant>)> = vec![
            (Mul {}.into(), vec![x.clone(), x.clone()]),
            (Div {}.into(), vec![x.clone(), x.clone()]),
            (Exp {}.into(), vec![x.clone()]),
            (Broadcast { shape }.into(), vec![y]),
            (Cast { to: DType::F32 }.into(), vec![numbers(DType::I8, &dims)]),
            (Cast { to: DType::F16 }.into(), vec![x.clone()]),
        ];
        for (op, operands) in cases {
            let (want, got) = (small.fold(&op, &operands), large.compiled(&op, &operands));
            let bytes = |c: Option<Vec<Constant>>| {
                c.map(|c| c.iter().map(|c| c.bytes().into_owned()).collect::<Vec<_>>())
            };
            let is_nan = |c: &Constant, i: usize| c.element(i).as_f64().is_some_and(f64::is_nan);
            let (Some(w), Some(g)) = (&want, &got) else {
                panic!("{op:?}: {} {}", want.is_some(), got.is_some())
            };
            let same = (0..w[0].elements())
                .all(|i| w[0].element(i) == g[0].element(i) || is_nan(&w[0], i) && is_nan(&g[0], i));
            assert!(
                same && bytes(want.clone()).map(|b| b[0].len()) == bytes(got.clone()).map(|b| b[0].len()),
                "{op:?}"
            );
        }
        assert!(
            large.fold(&Mul {}.into(), &[numbers(DType::F32, &[8]), numbers(DType::F32, &[8])]).is_some()
        );
    }
}
