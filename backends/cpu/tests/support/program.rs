//! program - compiles a module, runs it in every way that must not matter, and compares with the evaluator.
#![allow(dead_code, reason = "each test uses its own part")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use nnc_cpu::{CompileOptions, Compiled, Target, compile};
use nnc_ir::{
    dtype::{DType, Scalar},
    eval::{EvalLimits, Tensor, evaluate},
    extent::{Extent, Symbol, SymbolOrigin},
    graph::{Module, RegionId, ValueId, loc},
    ops,
};
use nnc_runtime::{ElemType, Program, Session, SessionOptions, TensorView};

/// A module compiled for this machine.
pub(crate) struct Ready {
    pub(crate) module: Module,
    pub(crate) compiled: Compiled,
    pub(crate) program: Program,
}

pub(crate) fn ready(module: Module) -> Ready {
    let target = Target::new("native", None, true).unwrap_or_else(|e| panic!("{e}"));
    let compiled = compile(&module, &target, &CompileOptions::default()).unwrap_or_else(|e| panic!("{e:#?}"));
    let program = Program::load(compiled.image.clone()).unwrap_or_else(|e| panic!("{e}"));
    Ready { module, compiled, program }
}

pub(crate) fn elem(dtype: DType) -> ElemType {
    ElemType::from_name(dtype.name()).unwrap()
}

pub(crate) fn session(threads: usize, poison: Option<u8>) -> Session {
    Session::new(&SessionOptions { threads, max_memory: 1 << 30, poison })
}

impl Ready {
    /// Runs in a session; the outputs as the evaluator would give them.
    pub(crate) fn run(
        &self,
        session: &mut Session,
        inputs: &[Tensor],
    ) -> Result<Vec<Tensor>, nnc_runtime::Error> {
        let views: Vec<TensorView<'_>> = inputs
            .iter()
            .map(|t| TensorView { elem: elem(t.dtype), dims: &t.dims, bytes: &t.bytes })
            .collect();
        let outputs = self.program.run(session, &views)?;
        let back = |t: &nnc_runtime::Tensor| {
            let view = t.view();
            let dtype = DType::from_name(view.elem.name()).unwrap();
            Tensor { dtype, dims: view.dims.to_vec(), bytes: view.bytes.to_vec() }
        };
        Ok(outputs.iter().map(back).collect())
    }

    /// Compares with the evaluator on one and several threads, with two fillings of the workspace, twice in a session.
    pub(crate) fn check(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let want = evaluate(&self.module, inputs, &EvalLimits::GENEROUS).unwrap_or_else(|e| panic!("{e}"));
        let mut first: Option<Vec<Tensor>> = None;
        for threads in [1, 3] {
            for poison in [None, Some(0xa5), Some(0xff)] {
                let mut session = session(threads, poison);
                for _ in 0..2 {
                    let got = self.run(&mut session, inputs).unwrap_or_else(|e| panic!("{e}"));
                    same(&got, &want);
                    match &first {
                        Some(first) => assert_eq!(&got, first, "threads {threads}, poison {poison:?}"),
                        None => first = Some(got),
                    }
                }
            }
        }
        first.unwrap()
    }

    /// The code that both the program and the evaluator end with.
    pub(crate) fn fails(&self, inputs: &[Tensor]) -> u16 {
        let want = evaluate(&self.module, inputs, &EvalLimits::GENEROUS).expect_err("the evaluator fails");
        let got = self.run(&mut session(2, Some(0xa5)), inputs).expect_err("the program fails");
        assert_eq!(got.code(), want.code, "{got} against {want}");
        got.code()
    }
}

/// Whether all are equal, but for what the order of a sum may change.
pub(crate) fn same(got: &[Tensor], want: &[Tensor]) {
    assert_eq!(got.len(), want.len());
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert_eq!((got.dtype, &got.dims), (want.dtype, &want.dims), "output {i}");
        for (at, (g, w)) in got.scalars().iter().zip(want.scalars()).enumerate() {
            let close = match (g.as_f64(), w.as_f64()) {
                (Some(x), Some(y)) => {
                    (x - y).abs() <= 1e-4 * y.abs().max(1.0) || (x.is_nan() && y.is_nan()) || x == y
                }
                _ => g.bits == w.bits,
            };
            assert!(close, "output {i} at {at}: {g:?} instead of {w:?}");
        }
    }
}

pub(crate) fn symbol(m: &mut Module, name: &str, origin: SymbolOrigin) -> Extent {
    m.symbols.push(Symbol { name: name.into(), min: 0, max: 1 << 40, origin, bound: None }).into()
}

pub(crate) fn input_symbol(m: &mut Module, name: &str, input: usize, axis: usize) -> Extent {
    symbol(m, name, SymbolOrigin::Input { input, axis })
}

pub(crate) fn add(m: &mut Module, region: RegionId, op: impl Into<ops::Op>, operands: &[ValueId]) -> ValueId {
    let results = m.append(region, op, operands, &[], &loc("node")).unwrap_or_else(|e| panic!("{e}"));
    results.first().copied().unwrap_or_else(|| operands[0])
}

pub(crate) fn outputs(m: &mut Module, values: &[ValueId]) {
    let names: Vec<_> = values.iter().enumerate().map(|(i, &v)| (format!("y{i}"), v)).collect();
    m.set_outputs(&names);
}

/// Small numbers without a pattern that hides mistakes of a position.
pub(crate) fn numbers(dims: &[i64], seed: i64) -> Tensor {
    let n: i64 = dims.iter().product();
    let at = |i: i64| ((i + seed) * 37 % 101) as f32 / 16.0 - 3.0;
    Tensor::f32s(dims, &(0..n).map(at).collect::<Vec<_>>())
}

pub(crate) fn int(x: i64) -> Tensor {
    Tensor::from_scalars(DType::I64, &[], &[Scalar::i64(x)])
}

pub(crate) fn truth(x: bool) -> Tensor {
    Tensor::from_scalars(DType::Bool, &[], &[Scalar::bool(x)])
}
