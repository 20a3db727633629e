//! memory - sharing memory changes no bit of any result, and takes less of it.
//!
//! `NNC_SEEDS` chooses other programs, as for `generated`.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use nnc::{
    Compiler, Failure, OptLevel, Options,
    cpu::{CompileOptions, Compiled},
    ir::{
        Module,
        constant::{Constant, Payload},
        dtype::{DType, Scalar},
        eval::{EvalLimits, Tensor, evaluate},
        extent::Extent,
        graph::{ValueId, loc},
        ops::{Add, Broadcast, MatMul, Mul, Op},
        text,
        types::TensorType,
    },
    runtime::Program,
};
use std::sync::{Arc, Weak};

use nnc_kit::generate::{Case, generate};

/// Fails with all the seeds that fail, and gives what the others gave.
fn for_seeds<R: Send>(test: impl Fn(&Case) -> Result<R, String> + Sync) -> Vec<R> {
    support::for_seeds(&support::seeds(1000..1300), |seed| test(&generate(seed)))
}

fn compile(module: &Module, level: OptLevel, options: CompileOptions) -> Result<Compiled, String> {
    compile_with(module, Options { level, ..Options::default() }, options)
}

fn compile_with(module: &Module, passes: Options, options: CompileOptions) -> Result<Compiled, String> {
    let compiler = Compiler::new(passes);
    let lowered = compiler.optimize(module.clone()).map_err(|e| e.to_string())?;
    compiler.generate_with(&lowered.module, options).map_err(|e| e.to_string())
}

fn run(case: &Case, compiled: Compiled, threads: usize) -> Result<Vec<Vec<Tensor>>, String> {
    let program = Program::load(compiled.image).map_err(|e| e.to_string())?;
    let body = case.module.region(case.module.body());
    let outputs: Vec<DType> = body.results.iter().map(|&v| case.module.ty(v).dtype).collect();
    case.runs.iter().map(|inputs| support::run(&program, inputs, &outputs, threads)).collect()
}

#[test]
fn results_written_over_operands_are_the_same() {
    // Without passes there are more kernels that only one reads.
    let kernels =
        for_seeds(|case| Ok(sharing_keeps(case, OptLevel::O0)? + sharing_keeps(case, OptLevel::O2)?));
    let all: usize = kernels.iter().sum();
    println!("{all} kernels in place in {} programs", kernels.len());
    assert!(all >= 200 || kernels.len() < 300, "only {all} kernels were in place");
}

/// How many kernels of a program write over operands, after a comparison with one where none does.
fn sharing_keeps(case: &Case, level: OptLevel) -> Result<usize, String> {
    let keep = CompileOptions { keep_operands: true, ..CompileOptions::default() };
    let apart = compile(&case.module, level, keep)?;
    let shared = compile(&case.module, level, CompileOptions::default())?;
    let in_place = shared.report.in_place.len();
    let peaks = (shared.report.peak_live_bytes, apart.report.peak_live_bytes);
    if peaks.0 > peaks.1 {
        return Err(format!("{level:?}: {} bytes in use at once, {} without sharing", peaks.0, peaks.1));
    }
    let want = run(case, apart, 1)?;
    for threads in [1, 3] {
        let shared = compile(&case.module, level, CompileOptions::default())?;
        if run(case, shared, threads)? != want {
            return Err(format!("{level:?}: in place, {threads} threads give other bits"));
        }
    }
    Ok(in_place)
}

/// Compiles within a limit; `None` if that is not to be had.
fn limited(module: &Module, passes: Options, limit: i64) -> Result<Option<(Compiled, usize)>, String> {
    let compiler = Compiler::new(Options { max_memory: Some(limit), ..passes });
    let lowered = match compiler.optimize(module.clone()) {
        Ok(lowered) => lowered,
        Err(Failure::Model(problems)) if problems.iter().all(|p| p.code.0 == 508) => return Ok(None),
        Err(e) => return Err(e.to_string()),
    };
    let report = lowered.memory.as_ref().ok_or("no report of the limit")?;
    let compiled = compiler.generate(&lowered.module).map_err(|e| e.to_string())?;
    if compiled.report.arena_bytes > limit || report.arena_bytes != compiled.report.arena_bytes {
        return Err(format!("{report:?} for {} bytes of arena", compiled.report.arena_bytes));
    }
    Ok(Some((compiled, report.recomputed.len())))
}

#[test]
fn limits_are_held_and_change_no_bit() {
    let found = for_seeds(|case| {
        let module = case.pinned(0);
        // Without fusing there are more values to be kept.
        let without = if case.seed % 2 == 0 { vec![] } else { vec!["fuse".to_owned()] };
        let passes = Options { without, ..Options::default() };
        let free = compile_with(&module, passes.clone(), CompileOptions::default())?;
        if free.report.arena_bytes == 0 || !free.report.symbolic_arena.is_empty() {
            return Ok((0, 0));
        }
        let arena = free.report.arena_bytes;
        let case = Case { module, runs: vec![case.runs[0].clone()], ..generate(0) };
        let want = run(&case, free, 1)?;
        let mut found = (0, 0);
        for limit in [arena, arena * 3 / 4, arena / 2] {
            let Some((compiled, recomputed)) = limited(&case.module, passes.clone(), limit)? else {
                continue;
            };
            if run(&case, compiled, 2)? != want {
                return Err(format!("other bits within {limit} bytes"));
            }
            found = (found.0 + 1, found.1 + recomputed);
        }
        Ok(found)
    });
    let held: usize = found.iter().map(|f| f.0).sum();
    let recomputed: usize = found.iter().map(|f| f.1).sum();
    println!("{held} limits held, {recomputed} values computed again");
    assert!(held >= 100 || found.len() < 300, "only {held} limits were held");
}

/// Three scales with a skip each, as segmentation networks have them.
const SKIPS: &str = "nnir 1\nphase imported\nmodule (%0 \"x\" : f32[64]) {\n\
    %1 = broadcast %0 {shape=[64,64]} : f32[64,64]\n\
    %2 = tanh %1 : f32[64,64]\n\
    %3 = matmul %2, %2 : f32[64,64]\n\
    %4 = exp %3 : f32[64,64]\n\
    %5 = matmul %4, %4 : f32[64,64]\n\
    %6 = matmul %5, %5 : f32[64,64]\n\
    %7 = matmul %6, %6 : f32[64,64]\n\
    %8 = matmul %7, %4 : f32[64,64]\n\
    %9 = matmul %8, %2 : f32[64,64]\n\
    %10 = reduce %9 {kind=max, axes=[0,1], keep=false} : f32[]\n\
    return %10 \"y\"\n}\n";

#[test]
fn skips_are_computed_again_within_a_limit() {
    let module = text::parse(SKIPS, &|_| None).unwrap();
    let x: Vec<u8> = (0..64).flat_map(|i| (i as f32 / 4096.0).to_le_bytes()).collect();
    let inputs = [Tensor { dtype: DType::F32, dims: vec![64], bytes: x }];
    let plane = 64 * 64 * 4;
    // Rounding passes would multiply in another order, and fusing computes what is cheap in each reader anyway.
    let without = vec!["fuse".to_owned(), "fuse-rows".to_owned()];
    let exact = Options { level: OptLevel::O1, without, ..Options::default() };
    let program = |limit: i64| limited(&module, exact.clone(), limit).unwrap();
    let result = |compiled: Compiled| {
        let program = Program::load(compiled.image).unwrap();
        support::run(&program, &inputs, &[DType::F32], 1).unwrap()
    };
    let (free, none) = program(16 * plane).unwrap();
    assert_eq!(none, 0, "below the limit nothing is computed twice");
    assert_eq!(free.report.arena_bytes, 4 * plane);
    let want = result(free);
    let (tight, again) = program(3 * plane).expect("`tanh` of a broadcast is computed again from the input");
    assert!(again > 0 && tight.report.arena_bytes <= 3 * plane, "{:?}", tight.report);
    assert_eq!(result(tight), want);
    assert!(program(plane).is_none(), "a product needs its operands and its result");
    evaluate(&module, &inputs, &EvalLimits::GENEROUS).unwrap();
}

/// A product by a weight of 256 KiB, scaled; what holds the weight.
fn scaled_product(product_is_result: bool) -> (Module, Weak<Vec<u8>>) {
    let shape = [4, 256].map(Extent::Const).to_vec();
    let mut m = Module::new();
    let x = m.add_input("x", TensorType::new(DType::F32, shape.clone()));
    let bytes: Arc<Vec<u8>> = Arc::new((0..256 * 256).flat_map(|i| (1.0 + i as f32).to_le_bytes()).collect());
    let held = Arc::downgrade(&bytes);
    let payload = Payload::Range { offset: 0, len: bytes.len(), buffer: bytes };
    let body = m.body();
    let w = m.append_constant(body, Constant::new(DType::F32, &[256, 256], payload).unwrap(), &loc("w"));
    let factors: Vec<Scalar> = (0..256).map(|i| Scalar::f32(1.5 + i as f32)).collect();
    let s = m.append_constant(body, Constant::from_scalars(DType::F32, &[256], &factors), &loc("s"));
    let mut op = |op: Op, operands: &[ValueId]| m.append(body, op, operands, &[], &loc("n")).unwrap()[0];
    let y = op(MatMul {}.into(), &[x, w]);
    let s = op(Broadcast { shape: shape.clone() }.into(), &[s]);
    let mut z = op(Mul {}.into(), &[y, s]);
    if product_is_result {
        z = op(Add {}.into(), &[z, y]);
    }
    m.set_outputs(&[("z".to_owned(), z)]);
    (m, held)
}

/// Weights that are scaled are not held as they were until the pass is over, nor until what is dead is removed.
#[test]
fn a_weight_goes_when_it_is_scaled() {
    let compiler = Compiler::new(Options::default());
    for product_is_result in [false, true] {
        let (module, held) = scaled_product(product_is_result);
        assert!(held.upgrade().is_some());
        let passes = ["reach-canonical", "fold-affine"];
        let lowered = compiler.run_passes(module, &passes).unwrap();
        let rewrites: usize = lowered.reports.iter().map(|r| r.rewrites.len()).sum();
        assert_eq!(rewrites > 0, !product_is_result, "a product with another reader stays");
        assert_eq!(held.upgrade().is_some(), product_is_result);
    }
}
