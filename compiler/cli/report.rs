//! report - what each pass did, as a table for people and as JSON.

use nnc::passes::{cost::Cost, pass::PassReport};
use serde_json::{Map, Value, json};

use super::output::tell;

/// Prints a line for each pass on standard error: rewrites, then what there is after it (nodes, and if they were watched
/// kernels, arithmetic, traffic), and the time it took.
pub(super) fn table(reports: &[PassReport]) {
    tell!(
        "{:<20} {:>8} {:>14} {:>14} {:>19} {:>19} {:>10}",
        "pass",
        "rewrites",
        "nodes",
        "kernels",
        "MFLOP",
        "MB moved",
        "time"
    );
    for r in reports {
        let ms = r.time.as_secs_f64() * 1e3;
        let [kernels, flops, bytes] = match &r.cost {
            Some((before, after)) => [
                change(before.kernels.to_string(), after.kernels.to_string()),
                change(millions(before.flops), millions(after.flops)),
                change(millions(before.bytes()), millions(after.bytes())),
            ],
            None => Default::default(),
        };
        let nodes = change(r.nodes.0.to_string(), r.nodes.1.to_string());
        let (name, rewrites) = (r.name, r.rewrites.len());
        tell!("{name:<20} {rewrites:>8} {nodes:>14} {kernels:>14} {flops:>19} {bytes:>19} {ms:>7.2} ms");
        for (rule, times) in rules(r) {
            tell!("  {times:>6} x {rule}");
        }
    }
}

/// `a > b`, or one figure where nothing changed.
fn change(before: String, after: String) -> String {
    if before == after { after } else { format!("{before} > {after}") }
}

fn millions(x: i64) -> String {
    format!("{:.2}", x as f64 / 1e6)
}

/// How often each rule was applied, in the order of their first times.
pub(super) fn rules(report: &PassReport) -> Vec<(&'static str, usize)> {
    let mut counts: Vec<(&'static str, usize)> = Vec::new();
    for rewrite in &report.rewrites {
        match counts.iter_mut().find(|(rule, _)| *rule == rewrite.rule) {
            Some((_, count)) => *count += 1,
            None => counts.push((rewrite.rule, 1)),
        }
    }
    counts
}

/// The same for programs.
pub(super) fn to_json(reports: &[PassReport]) -> Value {
    let one = |r: &PassReport| {
        let mut object = Map::new();
        object.insert("pass".into(), json!(r.name));
        object.insert("rewrites".into(), json!(r.rewrites.len()));
        let rules: Map<String, Value> = rules(r).into_iter().map(|(k, n)| (k.to_owned(), json!(n))).collect();
        object.insert("rules".into(), rules.into());
        object.insert("nodes".into(), json!([r.nodes.0, r.nodes.1]));
        if let Some((before, after)) = &r.cost {
            let mut pair = |name: &str, of: fn(&Cost) -> i64| {
                object.insert(name.into(), json!([of(before), of(after)]));
            };
            pair("kernels", |c| c.kernels);
            pair("flops", |c| c.flops);
            pair("bytes_read", |c| c.read);
            pair("bytes_written", |c| c.written);
        }
        object.insert("time_ms".into(), json!(r.time.as_secs_f64() * 1e3));
        Value::Object(object)
    };
    reports.iter().map(one).collect()
}
