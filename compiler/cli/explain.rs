//! explain - `nnc explain`: what passes did to nodes, why they left others alone, and which contractions tiles left to
//! plain loops.

use nnc::{
    Compiler,
    ir::diag::escape,
    passes::{
        find,
        pass::{Miss, PassReport, Rewrite},
        pipeline::pipeline,
    },
};

use super::{
    Outcome,
    args::{ErrorFormat, ExplainArgs},
    output::say,
    source,
};

pub(crate) fn run(args: &ExplainArgs, format: ErrorFormat) -> Outcome {
    let options = args.options.to_options()?;
    let module = source::load_module(&args.model, &options, format)?;
    let mut passes = pipeline(options.level);
    if let Some(pass) = &args.pass {
        match passes.iter().rposition(|n| n == pass) {
            Some(end) => passes.truncate(end + 1),
            None => passes.push(pass),
        }
    }
    let compiler = Compiler::new(options);
    let lowered = compiler.run_passes(module, &passes)?;
    let wanted = |r: &&PassReport| args.pass.as_ref().is_none_or(|p| p == r.name);
    let reports: Vec<&PassReport> = lowered.reports.iter().filter(wanted).collect();
    if let (true, Some(pass)) = (reports.is_empty(), &args.pass) {
        say!("{pass} does not run at this level");
    }
    let about = |loc: &[std::sync::Arc<str>]| {
        args.node.as_ref().is_none_or(|node| loc.iter().any(|name| name.contains(node.as_str())))
    };
    for report in reports {
        let rewrites: Vec<&Rewrite> = report.rewrites.iter().filter(|r| about(&r.loc)).collect();
        let misses: Vec<&Miss> = report.misses.iter().filter(|m| about(&m.loc)).collect();
        // Of a single node people want to read what happened, not what did not.
        if rewrites.is_empty() && misses.is_empty() && (args.pass.is_none() || args.node.is_some()) {
            continue;
        }
        explain(report, &rewrites, &misses);
    }
    if args.pass.is_none() {
        let compiled = compiler.generate(&lowered.module)?;
        for (name, why) in &compiled.report.plain_products {
            let kernel = compiled.image.kernels.iter().find(|k| k.name == *name);
            let numbers = kernel.map_or(&[][..], |k| &k.nodes[..]);
            let loc: Vec<std::sync::Arc<str>> = (numbers.iter())
                .filter_map(|&n| compiled.image.nodes.get(n as usize))
                .map(|name| name.as_str().into())
                .collect();
            if about(&loc) {
                say!("code: {name}: {}: a contraction by plain loops, not tiles: {why}", names(&loc));
            }
        }
    }
    Ok(0)
}

fn explain(report: &PassReport, rewrites: &[&Rewrite], misses: &[&Miss]) {
    say!(
        "{}: {} rewrites, {} nodes before, {} after",
        report.name,
        report.rewrites.len(),
        report.nodes.0,
        report.nodes.1
    );
    let law =
        |rule: &str| find(report.name).and_then(|p| p.rules.iter().find(|r| r.name == rule)).map(|r| r.law);
    let why = |r: &Rewrite| if r.detail.is_empty() { String::new() } else { format!(" ({})", r.detail) };
    let done = rewrites.iter().map(|r| format!("  {}: {}{}", names(&r.loc), r.rule, why(r)));
    once(done.collect());
    let mut rules: Vec<&str> = rewrites.iter().map(|r| r.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    for rule in rules {
        say!("  ({rule}: {})", law(rule).unwrap_or_default());
    }
    let left = misses.iter().map(|m| format!("  {} ({}): left alone: {}", names(&m.loc), m.op, m.reason));
    once(left.collect());
}

/// Prints lines, those that repeat once and with their number.
fn once(lines: Vec<String>) {
    let mut counts: Vec<(String, usize)> = Vec::new();
    let mut places: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
    for line in lines {
        match places.get(&line) {
            Some(&at) => counts[at].1 += 1,
            None => {
                places.insert(line.clone(), counts.len());
                counts.push((line, 1));
            }
        }
    }
    for (line, count) in counts {
        match count {
            1 => say!("{line}"),
            _ => say!("{line} ({count} times)"),
        }
    }
}

/// The names of ONNX nodes, of many the first and the last.
fn names(loc: &[std::sync::Arc<str>]) -> String {
    match loc {
        [] => "(no ONNX node)".to_owned(),
        [first, .., last] if loc.len() > 4 => {
            format!("{} .. {} ({} nodes)", escape(first), escape(last), loc.len())
        }
        _ => escape(&loc.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ")),
    }
}
