//! generated - 2,000 random programs: text, passes and compiled code hold to what the evaluator gives.
//!
//! Exact passes keep the bits, alone, in the order of a pipeline, and in random order and repetition. What other passes
//! make lies within the bounds of the program as generated whose operands are perturbed by [`ROUNDINGS`] each; compiled
//! code, within the bounds that reordered sums have. These two bounds are derived where they are computed
//! (`nnc_kit::bounds`).
//!
//! `NNC_SEEDS` chooses others: a number, a list `3,17`, or a range `500..900`. A failing seed says how to repeat it.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use nnc::{
    Compiler, OptLevel, Options,
    ir::{
        Module,
        dtype::DType,
        eval::{EvalLimits, Tensor, evaluate},
        hash::content_hash,
        text,
        verify::verify,
    },
    passes::{
        PASSES,
        pass::{Exactness, PassInfo},
        pipeline::pipeline,
    },
    runtime::{Program, artefact},
};
use nnc_ir::graph::Phase;
use nnc_kit::{
    bounds::{Agreement, BoundTensor, bounds, bounds_of_rewrites, check},
    generate::{Case, generate},
    rng::Rng,
};
use support::on_all_cores;

/// Seeds beyond the usual ones that once found a bug.
const FOUND: [u64; 3] = [204, 1104, 4270];
/// Roundings of an operand that rewrites may add or leave out: a mix has at most 16 passes, and a rule moves an operand
/// past at most four operations.
const ROUNDINGS: f64 = 64.0;
/// Passes in a mix, at most.
const MIX: usize = 16;

/// Runs `test` for every seed and fails with all the seeds that fail.
fn for_seeds<R: Send>(name: &str, test: impl Fn(&Case) -> Result<R, String> + Sync) -> Vec<R> {
    let seeds = support::seeds((0..2000).chain(FOUND));
    let results = on_all_cores(&seeds, |&seed| test(&generate(seed)));
    let mut passed = Vec::new();
    let mut failed = Vec::new();
    for (seed, result) in seeds.iter().zip(results) {
        match result {
            Ok(r) => passed.push(r),
            Err(e) => failed.push((seed, e)),
        }
    }
    for (seed, e) in failed.iter().take(12) {
        println!("seed {seed}: {e}\n  repeat: NNC_SEEDS={seed} cargo test --test generated {name}\n");
    }
    let numbers: Vec<String> = failed.iter().map(|(s, _)| s.to_string()).collect();
    assert!(failed.is_empty(), "{} of {} seeds fail: {}", failed.len(), seeds.len(), numbers.join(","));
    passed
}

fn run_evaluator(module: &Module, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    evaluate(module, inputs, &EvalLimits::GENEROUS).map_err(|e| e.to_string())
}

#[test]
fn programs_are_printed_and_read_back_as_they_are() {
    for_seeds("programs_are_printed", |case| {
        let violations = verify(&case.module).err().unwrap_or_default();
        if let Some(v) = violations.first() {
            return Err(format!("the verifier refuses what the generator made: {v}"));
        }
        let printed = text::print(&case.module);
        let constants = text::collect_constants(&case.module);
        let read =
            text::parse(&printed, &|digest| constants.get(digest).cloned()).map_err(|e| e.to_string())?;
        if text::print(&read) != printed {
            return Err("what was read prints differently".into());
        }
        if content_hash(&read) != content_hash(&case.module) {
            return Err("what was read has another hash".into());
        }
        Ok(())
    });
}

/// The same bits, any NaN for a NaN.
fn same(before: &[Tensor], after: &[Tensor]) -> Result<(), String> {
    if before.len() != after.len() {
        return Err(format!("{} outputs became {}", before.len(), after.len()));
    }
    for (i, (want, got)) in before.iter().zip(after).enumerate() {
        check(&BoundTensor::from(want), got).map_err(|e| format!("output {i}: {e}"))?;
    }
    Ok(())
}

#[test]
fn exact_passes_keep_the_bits() {
    let rewrites = for_seeds("exact_passes", |case| {
        let compiler = Compiler::new(Options { level: OptLevel::O2, ..Options::default() });
        let mut rewrites = 0;
        let want: Vec<Vec<Tensor>> =
            case.runs.iter().map(|inputs| run_evaluator(&case.module, inputs)).collect::<Result<_, _>>()?;
        let mut apply = |module: &mut Module, name: &str| -> Result<(), String> {
            let before = text::print(module);
            let lowered =
                compiler.run_passes(module.clone(), &[name]).map_err(|e| format!("{name}: {e}\n{before}"))?;
            rewrites += lowered.reports.iter().map(|r| r.rewrites.len()).sum::<usize>();
            for (inputs, want) in case.runs.iter().zip(&want) {
                let got = run_evaluator(&lowered.module, inputs).and_then(|got| same(want, &got));
                got.map_err(|e| format!("{name}: {e}\n{before}becomes\n{}", text::print(&lowered.module)))?;
            }
            *module = lowered.module;
            Ok(())
        };
        // Each alone, then one after another as at O2.
        for pass in PASSES.iter().filter(|p| p.exactness == Exactness::Exact && p.needs == Phase::Imported) {
            apply(&mut case.module.clone(), pass.name)?;
        }
        let mut module = case.module.clone();
        for name in pipeline(OptLevel::O2) {
            if PASSES.iter().any(|p| p.name == name && p.exactness == Exactness::Exact) {
                apply(&mut module, name)?;
            }
        }
        Ok(rewrites)
    });
    println!("{} rewrites in {} programs", rewrites.iter().sum::<usize>(), rewrites.len());
}

fn compiler(level: OptLevel) -> Compiler {
    Compiler::new(Options { level, ..Options::default() })
}

/// A random list of passes, with repetition, that respects their phases.
fn mix(seed: u64, may: impl Fn(&PassInfo) -> bool) -> Vec<&'static str> {
    let mut rng = Rng::new(seed ^ 0x6d69_7865);
    let passes: Vec<&PassInfo> = PASSES.iter().filter(|p| may(p)).collect();
    let (mut phase, mut names) = (Phase::Imported, Vec::new());
    for _ in 0..1 + rng.below(MIX) {
        let pass = *rng.pick(&passes);
        if pass.needs > phase {
            names.push("reach-canonical");
            phase = Phase::Canonical;
        }
        names.push(pass.name);
    }
    names
}

#[test]
fn exact_passes_in_any_order_keep_the_bits() {
    for_seeds("exact_passes_in_any_order", |case| {
        let names = mix(case.seed, |p| p.exactness == Exactness::Exact);
        let told = |e: String| format!("{}: {e}\n{}", names.join(","), text::print(&case.module));
        let lowered = compiler(OptLevel::O3).run_passes(case.module.clone(), &names);
        let lowered = lowered.map_err(|e| told(e.to_string()))?;
        for inputs in &case.runs {
            let (want, got) =
                (run_evaluator(&case.module, inputs)?, run_evaluator(&lowered.module, inputs).map_err(told)?);
            same(&want, &got).map_err(|e| told(format!("{e}\nbecomes\n{}", text::print(&lowered.module))))?;
        }
        Ok(())
    });
}

/// What results may be after rewrites that round otherwise; `None` where a perturbed float decides how often a loop runs.
fn perturbed(case: &Case, inputs: &[Tensor]) -> Option<Vec<BoundTensor>> {
    bounds_of_rewrites(&case.module, inputs, ROUNDINGS).ok()
}

#[test]
fn pipelines_and_mixes_of_all_passes_keep_what_is_computed() {
    let agreements = for_seeds("pipelines_and_mixes", |case| {
        let mut agreement = Agreement::default();
        let mixed = mix(case.seed, |p| p.exactness != Exactness::Approximate);
        let pipelines = [OptLevel::O1, OptLevel::O2, OptLevel::O3].map(|l| (l, pipeline(l)));
        for (level, names) in pipelines.into_iter().chain([(OptLevel::O3, mixed)]) {
            let told =
                |e: String| format!("{level:?} {}: {e}\n{}", names.join(","), text::print(&case.module));
            let lowered = compiler(level).run_passes(case.module.clone(), &names);
            let lowered = lowered.map_err(|e| told(e.to_string()))?;
            for inputs in &case.runs {
                let Some(allowed) = perturbed(case, inputs) else { continue };
                let got = run_evaluator(&lowered.module, inputs).map_err(told)?;
                for (i, (bound, got)) in allowed.iter().zip(&got).enumerate() {
                    let held = check(bound, got).map_err(|e| {
                        told(format!("output {i}: {e}\nbecomes\n{}", text::print(&lowered.module)))
                    });
                    agreement.add(held?);
                }
            }
        }
        Ok(agreement)
    });
    let mut total = Agreement::default();
    agreements.iter().for_each(|a| total.add(*a));
    println!("{} programs: {total:?}", agreements.len());
}

/// Compiles a module, twice: both times the same bytes. With the program comes what it was made from, if a pass that may
/// round otherwise had a hand in it.
fn compile(module: &Module, level: OptLevel) -> Result<(Program, Option<Module>), String> {
    let compiler = Compiler::new(Options { level, verify_code: true, ..Options::default() });
    let image = || {
        let lowered = compiler.optimize(module.clone()).map_err(|e| e.to_string())?;
        let image = compiler.generate(&lowered.module).map_err(|e| e.to_string())?.image;
        Ok::<_, String>((image, lowered))
    };
    let (first, lowered) = image()?;
    let bytes = |image: &nnc::runtime::Image| artefact::to_bytes(image).map_err(|e| e.to_string());
    if bytes(&first)? != bytes(&image()?.0)? {
        return Err("compiling twice gives different bytes".into());
    }
    let is_exact = |name: &str| PASSES.iter().any(|p| p.name == name && p.exactness == Exactness::Exact);
    let rounded = lowered.reports.iter().any(|r| !r.rewrites.is_empty() && !is_exact(r.name));
    Ok((Program::load(first).map_err(|e| e.to_string())?, rounded.then_some(lowered.module)))
}

/// Runs a program on all inputs of `runs`, with 1, 2 and 4 threads, and holds the results to the bounds.
fn hold(
    case: &Case,
    module: &Module,
    level: OptLevel,
    allowed: &[Vec<BoundTensor>],
) -> Result<Agreement, String> {
    let mut agreement = Agreement::default();
    let (program, rounded) = compile(module, level)?;
    let body = module.region(module.body());
    let outputs: Vec<DType> = body.results.iter().map(|&v| module.ty(v).dtype).collect();
    for (run, (inputs, allowed)) in case.runs.iter().zip(allowed).enumerate() {
        let at = |e: String| format!("run {run}: {e}");
        let got = support::run(&program, inputs, &outputs, 1).map_err(at)?;
        let allowed = match &rounded {
            Some(module) => &bounds(module, inputs).map_err(at)?,
            None => allowed,
        };
        for (i, (bound, got)) in allowed.iter().zip(&got).enumerate() {
            agreement.add(check(bound, got).map_err(|e| at(format!("output {i}: {e}")))?);
        }
        for threads in [2, 4] {
            if support::run(&program, inputs, &outputs, threads).map_err(at)? != got {
                return Err(at(format!("{threads} threads give other bits than one")));
            }
        }
    }
    Ok(agreement)
}

#[test]
fn compiled_code_gives_what_the_evaluator_gives() {
    let agreements = for_seeds("compiled_code", |case| {
        let mut agreement = Agreement::default();
        let allowed: Vec<Vec<BoundTensor>> = (0..case.runs.len())
            .map(|run| bounds(&case.pinned(run), &case.runs[run]))
            .collect::<Result<_, _>>()?;
        let mut programs = vec![(case.module.clone(), &allowed[..], "as it is")];
        if case.is_symbolic() {
            programs.push((case.pinned(0), &allowed[..1], "with its extents pinned"));
        }
        for (module, allowed, what) in programs {
            for level in [OptLevel::O0, OptLevel::O2] {
                let held = hold(case, &module, level, allowed);
                agreement.add(held.map_err(|e| format!("{what}, {level:?}: {e}\n{}", text::print(&module)))?);
            }
        }
        Ok(agreement)
    });
    let mut total = Agreement::default();
    agreements.iter().for_each(|a| total.add(*a));
    println!("{} programs: {total:?}", agreements.len());
}
