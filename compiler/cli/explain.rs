//! explain - `nnc explain`: why a pass left nodes alone.

use nnc::{Compiler, passes::pipeline::pipeline};

use super::{
    Outcome,
    args::{ErrorFormat, ExplainArgs},
    output::say,
    source,
};

pub(crate) fn run(args: &ExplainArgs, format: ErrorFormat) -> Outcome {
    let options = args.options.to_options();
    let module = source::load_module(&args.model, &options, format)?;
    let mut names = pipeline(options.level);
    if let Some(end) = names.iter().rposition(|n| *n == args.pass) {
        names.truncate(end + 1);
    } else {
        names.push(&args.pass);
    }
    let lowered = Compiler::new(options).run_passes(module, &names)?;
    let Some(report) = lowered.reports.last().filter(|r| r.name == args.pass) else {
        say!("{} does not run at this level", args.pass);
        return Ok(0);
    };
    say!(
        "{}: {} rewrites, {} nodes before, {} after",
        report.name,
        report.rewrites.len(),
        report.cost.0.nodes,
        report.cost.1.nodes
    );
    for miss in &report.misses {
        let names: Vec<&str> = miss.loc.iter().map(AsRef::as_ref).collect();
        say!("{} ({}): {}", nnc::ir::diag::escape(&names.join(", ")), miss.op, miss.reason);
    }
    Ok(0)
}
