//! rules - every rule of every pass is seen to fire a hundred times on random left sides, and keeps what is computed.
//!
//! `NNC_RULE` chooses one rule by name; a failure says which seed made the graph.
//!
//! An Exact rule keeps the bits. For a Rounding one both sides are evaluated, and may differ by rounding alone: on a way
//! from an input to an output of a draft lie at most 2^6 roundings, and values are so chosen that none is magnified more
//! than 2^4 times over the greatest output. So outputs differ by at most `2^10 u max|y|`, `u` the unit roundoff.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::BTreeMap;

use nnc::{
    Compiler, OptLevel, Options,
    ir::{
        Module,
        dtype::DType,
        eval::{EvalLimits, Tensor, evaluate},
        text,
        verify::verify,
    },
    passes::{
        PASSES,
        pass::{Exactness, Rule},
    },
};
use nnc_ir::graph::Phase;
use nnc_kit::{
    bounds::{BoundTensor, check},
    draft::Draft,
    rules,
};
use support::on_all_cores;

/// How often each rule must fire.
const FIRES: usize = 100;
/// Graphs that are made for it at most.
const GRAPHS: u64 = 400;

type Work = (&'static str, &'static Rule, fn(&mut Draft));

fn work() -> Vec<Work> {
    let wanted = std::env::var("NNC_RULE").ok();
    let mut work = Vec::new();
    for pass in PASSES {
        let rows =
            rules::PASSES.iter().find(|(name, _)| *name == pass.name).map_or(&[][..], |(_, rows)| rows);
        for rule in pass.rules.iter().filter(|r| wanted.as_deref().is_none_or(|w| w == r.name)) {
            let make = rows.iter().find(|(name, _)| *name == rule.name).map(|(_, make)| *make);
            let make =
                make.unwrap_or_else(|| panic!("tests/kit/src/rules has no left side for '{}'", rule.name));
            work.push((pass.name, *rule, make));
        }
    }
    work
}

#[test]
fn rules_fire_and_keep_what_is_computed() {
    let work = work();
    let results = on_all_cores(&work, |(pass, rule, make)| hold(pass, rule, *make));
    let failed: Vec<String> = work
        .iter()
        .zip(results)
        .filter_map(|((pass, rule, _), result)| Some(format!("{pass}: {}: {}", rule.name, result.err()?)))
        .collect();
    assert!(failed.is_empty(), "{} rules fail:\n{}", failed.len(), failed.join("\n"));
}

/// Makes graphs until the rule has fired often enough.
fn hold(pass: &str, rule: &Rule, make: fn(&mut Draft)) -> Result<(), String> {
    // No memory at all: `recompute` computes again what it can.
    let compiler = Compiler::new(Options { level: OptLevel::O3, max_memory: Some(0), ..Options::default() });
    let mut fired = 0;
    for seed in 0..GRAPHS {
        if fired >= FIRES {
            return Ok(());
        }
        let mut draft = Draft::new(seed);
        make(&mut draft);
        let (mut module, inputs) = draft.finish();
        if PASSES.iter().any(|p| p.name == pass && p.needs > Phase::Imported) {
            module.phase = Phase::Canonical;
        }
        let before = text::print(&module);
        if let Err(violations) = verify(&module) {
            return Err(format!("seed {seed}: the draft is not valid: {}\n{before}", violations[0]));
        }
        let lowered = compiler
            .run_passes(module.clone(), &[pass])
            .map_err(|e| format!("seed {seed}: {e}\n{before}"))?;
        let rewrites = lowered.reports.iter().flat_map(|r| &r.rewrites);
        let fires = rewrites.filter(|r| r.rule == rule.name).count();
        if fires == 0 {
            continue;
        }
        fired += fires;
        let rounds = lowered.reports.iter().flat_map(|r| &r.rewrites).any(|r| rounding(pass, r.rule));
        let (left, kept_inputs) = ports(&module, &lowered.module, &inputs);
        let kept = run(&module, &inputs)
            .map(|all| left.iter().map(|&i| all[i].clone()).collect::<Vec<_>>())
            .and_then(|want| Ok((want, run(&lowered.module, &kept_inputs)?)))
            .and_then(|(want, got)| if rounds { close(&inputs, &want, &got) } else { same(&want, &got) });
        kept.map_err(|e| format!("seed {seed}: {e}\n{before}becomes\n{}", text::print(&lowered.module)))?;
    }
    if fired >= FIRES { Ok(()) } else { Err(format!("fired {fired} times on {GRAPHS} graphs")) }
}

/// Positions of the outputs that a module still has, and the inputs it still takes: a pass may drop what training has.
fn ports(before: &Module, after: &Module, inputs: &[Tensor]) -> (Vec<usize>, Vec<Tensor>) {
    let find = |names: &[String], name: &String| names.iter().position(|n| n == name);
    let outputs = after.output_names.iter().filter_map(|name| find(&before.output_names, name)).collect();
    let left = after.input_names.iter().filter_map(|name| find(&before.input_names, name));
    (outputs, left.map(|i| inputs[i].clone()).collect())
}

fn rounding(pass: &str, rule: &str) -> bool {
    let rules = PASSES.iter().filter(|p| p.name == pass).flat_map(|p| p.rules);
    rules.into_iter().any(|r| r.name == rule && r.exactness != Exactness::Exact)
}

fn run(module: &Module, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    evaluate(module, inputs, &EvalLimits::GENEROUS).map_err(|e| e.to_string())
}

/// The same bits, any NaN for a NaN.
fn same(want: &[Tensor], got: &[Tensor]) -> Result<(), String> {
    for (i, (want, got)) in want.iter().zip(got).enumerate() {
        check(&BoundTensor::from(want), got).map_err(|e| format!("output {i}: {e}"))?;
    }
    Ok(())
}

fn unit_roundoff(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => 2f64.powi(-24),
        DType::F64 => 2f64.powi(-53),
        DType::F16 => 2f64.powi(-11),
        DType::BF16 => 2f64.powi(-8),
        _ => 0.0,
    }
}

/// Within the bound of the header; values inside may be as narrow as the inputs.
fn close(inputs: &[Tensor], want: &[Tensor], got: &[Tensor]) -> Result<(), String> {
    let inputs = inputs.iter().map(|t| unit_roundoff(t.dtype)).fold(0.0, f64::max);
    for (i, (want, got)) in want.iter().zip(got).enumerate() {
        let unit = unit_roundoff(want.dtype).max(inputs);
        let numbers = |t: &Tensor| t.scalars().iter().map(|s| s.as_f64().unwrap_or(0.0)).collect::<Vec<_>>();
        let (want, got) = (numbers(want), numbers(got));
        let greatest = want.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let allowed = 1024.0 * unit * greatest;
        for (at, (w, g)) in want.iter().zip(&got).enumerate() {
            if (w - g).abs() > allowed || w.is_nan() != g.is_nan() {
                return Err(format!("output {i}, element {at}: {g}, not {w} within {allowed:e}"));
            }
        }
    }
    Ok(())
}

#[test]
fn rules_have_names_laws_and_sources_of_their_own() {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for pass in PASSES {
        for rule in pass.rules {
            assert!(seen.insert(rule.name, pass.name).is_none(), "two rules are called '{}'", rule.name);
            assert!(rule.law.contains('='), "{}: the law has no two sides", rule.name);
            assert!(!rule.source.is_empty(), "{}: no source", rule.name);
            assert!(rule.exactness <= pass.exactness, "{}: less exact than its pass", rule.name);
        }
    }
    for (pass, rows) in rules::PASSES {
        let info = PASSES.iter().find(|p| p.name == *pass).unwrap_or_else(|| panic!("no pass '{pass}'"));
        for (name, _) in *rows {
            assert!(info.rules.iter().any(|r| r.name == *name), "{pass} has no rule '{name}'");
        }
    }
}
