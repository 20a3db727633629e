//! trace - one run as a file that Perfetto and Chrome's trace viewer open: a track of kernels and one of each thread's parts.

use std::path::Path;

use nnc::{
    Failure,
    runtime::{Image, Span},
};
use serde_json::{Value, json};

/// Writes the kernels of one run.
pub(super) fn write(path: &Path, image: &Image, spans: &[Span]) -> Result<(), Failure> {
    let begin = spans.iter().map(|s| s.start).min().unwrap_or_default();
    let us = |d: std::time::Duration| d.as_secs_f64() * 1e6;
    let event = |name: &str, track: i64, start, time, args: Value| {
        json!({
            "name": name, "ph": "X", "pid": 1, "tid": track,
            "ts": us(start) - us(begin), "dur": us(time), "args": args,
        })
    };
    let mut events = vec![
        json!({ "name": "process_name", "ph": "M", "pid": 1, "args": { "name": format!("nnc {}", image.name) } }),
        json!({ "name": "thread_name", "ph": "M", "pid": 1, "tid": 0, "args": { "name": "kernels" } }),
    ];
    let workers = spans.iter().flat_map(|s| &s.parts).map(|p| p.worker).max().unwrap_or(-1);
    for worker in 0..=workers {
        let name = format!("part {worker}");
        events.push(
            json!({ "name": "thread_name", "ph": "M", "pid": 1, "tid": worker + 1, "args": { "name": name } }),
        );
    }
    for span in spans {
        let kernel = span.kernel.and_then(|k| image.kernels.get(k));
        let name = kernel.map_or("?", |k| k.name.as_str());
        let numbers = kernel.map(|k| &k.nodes[..]).unwrap_or_default();
        let nodes: Vec<&str> =
            numbers.iter().filter_map(|&n| image.nodes.get(n as usize)).map(String::as_str).collect();
        events.push(event(
            name,
            0,
            span.start,
            span.time,
            json!({ "nodes": nodes, "items": span.iterations }),
        ));
        for part in &span.parts {
            events.push(event(name, part.worker + 1, part.start, part.time, json!({})));
        }
    }
    let text = json!({ "traceEvents": events, "displayTimeUnit": "ms" }).to_string();
    std::fs::write(path, text)
        .map_err(|e| Failure::single(602, format!("cannot write '{}': {e}", path.display())))
}
