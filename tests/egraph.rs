//! egraph - what equality saturation has to hold beyond its rules: the same text every time, whole replacements, limits.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{fs, path::Path};

use nnc::{
    Compiler, OptLevel, Options,
    ir::{Module, text, verify::verify},
    passes::{
        cost::of_module,
        manager::{Watch, run_pass},
        pass::{ConstEval, PassCx},
        target::TargetDesc,
    },
};
use nnc_ir::{
    constant::Constant,
    eval::{ConstEval as Evaluator, EvalLimits},
    ops::Op,
};

struct Consts;

impl ConstEval for Consts {
    fn fold(&self, op: &Op, operands: &[Constant]) -> Option<Vec<Constant>> {
        Evaluator { limits: EvalLimits::GENEROUS }.fold(op, operands)
    }
}

fn texts() -> Vec<Module> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ir/egraph");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|p| text::parse(&fs::read_to_string(p).unwrap(), &|_| None).unwrap()).collect()
}

#[test]
fn the_same_module_becomes_the_same_text() {
    let compiler = Compiler::new(Options { level: OptLevel::O3, ..Options::default() });
    for module in texts() {
        let run = || text::print(&compiler.run_passes(module.clone(), &["egraph"]).unwrap().module);
        assert_eq!(run(), run());
    }
}

#[test]
fn any_fuel_gives_whole_replacements() {
    for module in texts() {
        let run = |fuel: usize| {
            let mut module = module.clone();
            let mut cx = PassCx::new(&Consts, &TargetDesc::GENERIC);
            cx.fuel = fuel;
            let report = run_pass(&mut module, "egraph", &mut cx, Watch::default()).unwrap();
            assert!(report.rewrites.len() <= fuel, "{} rewrites of {fuel}", report.rewrites.len());
            assert_eq!(verify(&module), Ok(()));
            (report.rewrites, text::print(&module))
        };
        let (all, result) = run(usize::MAX);
        for fuel in 0..=all.len() {
            let (some, text) = run(fuel);
            assert_eq!(some[..], all[..some.len()]);
            assert!(fuel < all.len() || text == result);
        }
    }
}

/// A chain of 40 sums of transposed sums has more forms than fit; what it becomes is no worse, and the same again.
#[test]
fn limits_end_the_search() {
    let mut lines =
        String::from("nnir 1\nphase imported\nmodule (%0 \"x\" : f32[8,8], %1 \"y\" : f32[8,8]) {\n");
    let mut last = 0;
    for i in 0..40 {
        let at = 2 + 3 * i;
        lines += &format!("  %{at} = transpose %{last} {{perm=[1,0]}} : f32[8,8] loc(\"t{i}\")\n");
        lines += &format!("  %{} = matmul %{at}, %{} : f32[8,8] loc(\"m{i}\")\n", at + 1, i % 2);
        lines += &format!("  %{} = add %{}, %{at} : f32[8,8] loc(\"a{i}\")\n", at + 2, at + 1);
        last = at + 2;
    }
    lines += &format!("  return %{last} \"z\"\n}}\n");
    let module = text::parse(&lines, &|_| None).unwrap();
    let compiler = Compiler::new(Options { level: OptLevel::O3, ..Options::default() });
    let lowered = compiler.run_passes(module.clone(), &["egraph"]).unwrap();
    let flops = |module: &Module| of_module(module).contraction_flops;
    assert!(flops(&lowered.module) <= flops(&module));
    let again = compiler.run_passes(module, &["egraph"]).unwrap();
    assert_eq!(text::print(&lowered.module), text::print(&again.module));
}
