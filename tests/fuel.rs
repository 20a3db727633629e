//! fuel - a pass that stops half way leaves a valid module that means the same: bisection depends on it.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use nnc::{
    Compiler, OptLevel, Options,
    ir::{
        Module,
        eval::{EvalLimits, Tensor, evaluate},
        text,
    },
    passes::pipeline::pipeline,
};
use nnc_kit::{
    bounds::{BoundTensor, check},
    generate::generate,
};
use support::for_seeds;

/// Programs that are tried.
const SEEDS: u64 = 150;

fn run(module: &Module, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    evaluate(module, inputs, &EvalLimits::GENEROUS).map_err(|e| e.to_string())
}

/// What `fuse` makes of a program with any fuel is valid (the manager verifies) and gives the same bits.
fn hold(seed: u64) -> Result<usize, String> {
    let case = generate(seed);
    let compiler = Compiler::new(Options { level: OptLevel::O1, ..Options::default() });
    let before: Vec<&str> = pipeline(OptLevel::O1).into_iter().take_while(|p| *p != "fuse").collect();
    let module = compiler.run_passes(case.module.clone(), &before).map_err(|e| e.to_string())?.module;
    let want: Vec<Vec<Tensor>> =
        case.runs.iter().map(|inputs| run(&module, inputs)).collect::<Result<_, _>>()?;
    for fuel in 0.. {
        let fused = compiler.run_passes_within(module.clone(), &["fuse"], fuel);
        let fused = fused.map_err(|e| format!("fuel {fuel}: {e}"))?;
        for (inputs, want) in case.runs.iter().zip(&want) {
            let got = run(&fused.module, inputs)?;
            for (want, got) in want.iter().zip(&got) {
                let same = check(&BoundTensor::from(want), got);
                same.map_err(|e| format!("fuel {fuel}: {e}\n{}", text::print(&fused.module)))?;
            }
        }
        let rewrites: usize = fused.reports.iter().map(|r| r.rewrites.len()).sum();
        if rewrites > fuel {
            return Err(format!("fuel {fuel}: {rewrites} rewrites"));
        }
        if rewrites < fuel {
            return Ok(rewrites);
        }
    }
    Ok(0)
}

#[test]
fn fuse_with_any_fuel_keeps_the_bits() {
    let seeds: Vec<u64> = (0..SEEDS).collect();
    let results = for_seeds(&seeds, hold);
    let rewrites: usize = results.iter().sum();
    assert!(rewrites > 2 * seeds.len(), "only {rewrites} joins in {SEEDS} programs");
}
