//! profile - `nnc profile`: where the time of a run goes, by kernel and ONNX node, beside what the machine could do.

use std::time::{Duration, Instant};

use nnc::{
    Failure, Session, TensorView,
    ir::{diag::escape, entity::EntityId, extent::SymbolId, text::extent::parse_extent},
    runtime::{Image, Machine, Span},
};
use serde_json::{Value, json};

use super::{
    Outcome,
    args::{ErrorFormat, ProfileArgs},
    output::say,
    source, trace,
};

/// Most runs that are recorded.
const RUNS: usize = 1000;

/// What was measured of one kernel.
struct Row<'a> {
    name: &'a str,
    nodes: Vec<&'a str>,
    /// Calls in one run.
    calls: usize,
    /// Median over runs of the time of all calls.
    seconds: f64,
    /// In one call; `None` where data decide it, or nobody said.
    flops: Option<f64>,
    bytes: Option<f64>,
    /// Time that threads worked, over time of the calls and number of threads.
    busy: f64,
}

impl Row<'_> {
    /// Operations a second.
    fn rate(&self, amount: Option<f64>) -> Option<f64> {
        amount.map(|a| a * self.calls as f64 / self.seconds)
    }

    /// Least time the machine could do it in, over the time it took.
    fn share(&self, machine: &Machine) -> Option<f64> {
        let least = machine.least_seconds(self.flops?, self.bytes?);
        Some(least * self.calls as f64 / self.seconds)
    }
}

pub(crate) fn run(args: &ProfileArgs, format: ErrorFormat) -> Outcome {
    let options = nnc::Options { trace: true, ..args.timing.options.to_options()? };
    let model = source::load_or_compile(&args.model, options, format)?;
    let inputs = source::inputs_or_sample(args.timing.inputs.as_deref(), &model)?;
    let mut session = Session::new(&args.timing.session.to_options());
    let machine = Machine::measure(session.pool())?;
    let mut outputs = model.run_in(&mut session, &inputs)?;
    let views: Vec<TensorView<'_>> = inputs.iter().map(nnc::Tensor::view).collect();
    let mut once = |session: &mut Session| -> Result<Duration, Failure> {
        let mut targets: Vec<_> = outputs.iter_mut().map(nnc::Tensor::view_mut).collect();
        let start = Instant::now();
        model.run_into(session, &views, &mut targets)?;
        Ok(start.elapsed())
    };
    let mut plain = Vec::new();
    let start = Instant::now();
    while plain.is_empty() || start.elapsed() < args.timing.seconds / 4 && plain.len() < RUNS {
        plain.push(once(&mut session)?.as_secs_f64());
    }
    let mut runs: Vec<(f64, Vec<Span>)> = Vec::new();
    let start = Instant::now();
    while runs.is_empty() || start.elapsed() < args.timing.seconds && runs.len() < RUNS {
        session.start_profile();
        let time = once(&mut session)?.as_secs_f64();
        runs.push((time, session.stop_profile()));
    }
    let image = model.program().image();
    let whole = median(runs.iter().map(|(time, _)| *time));
    if let Some(path) = &args.trace {
        let typical = runs.iter().min_by(|a, b| (a.0 - whole).abs().total_cmp(&(b.0 - whole).abs()));
        trace::write(path, image, typical.map_or(&[], |(_, spans)| spans))?;
    }
    let rows = rows(image, session.symbols(), &runs, machine.threads);
    let report =
        Report { machine: &machine, plain: median(plain.into_iter()), whole, runs: runs.len(), rows };
    if args.timing.json {
        say!("{}", report.json())
    } else {
        report.print()
    }
    Ok(0)
}

/// Rows of the kernels that ran, the longest first.
fn rows<'a>(image: &'a Image, symbols: &[i64], runs: &[(f64, Vec<Span>)], threads: usize) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    let value = |formula: &str| {
        let symbol = |s: SymbolId| symbols.get(s.index()).copied().filter(|&x| x != 0);
        Some(parse_extent(formula)?.eval(&symbol)? as f64)
    };
    for (number, kernel) in image.kernels.iter().enumerate() {
        let of_kernel = |spans: &'_ [Span]| -> (usize, f64, f64) {
            let mine = spans.iter().filter(|s| s.kernel == Some(number));
            mine.fold((0, 0.0, 0.0), |(calls, time, busy), span| {
                let parts: f64 = span.parts.iter().map(|p| p.time.as_secs_f64()).sum();
                (calls + 1, time + span.time.as_secs_f64(), busy + parts)
            })
        };
        let sums: Vec<_> = runs.iter().map(|(_, spans)| of_kernel(spans)).collect();
        let seconds = median(sums.iter().map(|(_, time, _)| *time));
        let calls = sums.first().map_or(0, |(calls, ..)| *calls);
        if calls == 0 {
            continue;
        }
        let nodes = kernel.nodes.iter().filter_map(|&n| image.nodes.get(n as usize)).map(String::as_str);
        rows.push(Row {
            name: &kernel.name,
            nodes: nodes.collect(),
            calls,
            seconds: seconds.max(1e-9),
            flops: value(&kernel.work.flops),
            bytes: value(&kernel.work.read).zip(value(&kernel.work.written)).map(|(r, w)| r + w),
            busy: median(sums.iter().map(|(_, time, busy)| busy / time.max(1e-9))) / threads as f64,
        });
    }
    rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    rows
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

struct Report<'a> {
    machine: &'a Machine,
    /// Median time of a run that nothing watches.
    plain: f64,
    /// Median time of those that were recorded.
    whole: f64,
    runs: usize,
    rows: Vec<Row<'a>>,
}

impl Report<'_> {
    fn kernel_seconds(&self) -> f64 {
        self.rows.iter().map(|r| r.seconds).sum()
    }

    fn total(&self, amount: fn(&Row<'_>) -> Option<f64>) -> f64 {
        self.rows.iter().filter_map(|r| Some(amount(r)? * r.calls as f64)).sum()
    }

    /// Least time the machine could do all kernels in, one after another.
    fn least(&self) -> f64 {
        let least = |r: &Row<'_>| Some(self.machine.least_seconds(r.flops?, r.bytes?) * r.calls as f64);
        self.rows.iter().filter_map(least).sum()
    }

    fn print(&self) {
        let Machine { threads, flops, reads } = self.machine;
        let reads: Vec<String> =
            reads.iter().map(|(size, rate)| format!("{:.0} GB/s of {}", rate / 1e9, bytes(*size))).collect();
        let s = if *threads == 1 { "" } else { "s" };
        say!("machine, {threads} thread{s}: {:.1} GFLOP/s; reads {}", flops / 1e9, reads.join(", "));
        say!(
            "median of {} runs: {:.4} ms, {:.4} ms recorded; kernels {:.4} ms, the rest {:.4} ms",
            self.runs,
            self.plain * 1e3,
            self.whole * 1e3,
            self.kernel_seconds() * 1e3,
            (self.whole - self.kernel_seconds()).max(0.0) * 1e3
        );
        let flops = self.total(|r| r.flops);
        say!(
            "{:.4} GFLOP, {:.1} GFLOP/s; {:.1} MB; {:.1} % of the roofline",
            flops / 1e9,
            flops / self.plain / 1e9,
            self.total(|r| r.bytes) / 1e6,
            100.0 * self.least() / self.plain
        );
        say!("");
        say!(
            "{:>10} {:>6} {:>6} {:>10} {:>8} {:>9} {:>7} {:>6} {:>5}  {:<32} nodes",
            "ms",
            "%",
            "calls",
            "MFLOP",
            "GFLOP/s",
            "MB",
            "GB/s",
            "roof",
            "busy",
            "kernel"
        );
        for r in &self.rows {
            let number = |x: Option<f64>, scale: f64, digits: usize| match x {
                Some(x) => format!("{:.digits$}", x / scale),
                None => "-".to_owned(),
            };
            let calls = r.calls as f64;
            say!(
                "{:>10.4} {:>6.2} {:>6} {:>10} {:>8} {:>9} {:>7} {:>6} {:>5}  {:<32} {}",
                r.seconds * 1e3,
                100.0 * r.seconds / self.whole,
                r.calls,
                number(r.flops.map(|f| f * calls), 1e6, 3),
                number(r.rate(r.flops), 1e9, 1),
                number(r.bytes.map(|b| b * calls), 1e6, 3),
                number(r.rate(r.bytes), 1e9, 1),
                r.share(self.machine).map_or("-".into(), |x| format!("{:.0}%", 100.0 * x)),
                format!("{:.0}%", 100.0 * r.busy),
                r.name,
                escape(&r.nodes.join(", "))
            );
        }
    }

    fn json(&self) -> Value {
        let Machine { threads, flops, reads } = self.machine;
        let rows = self.rows.iter().map(|r| {
            json!({
                "kernel": r.name, "nodes": r.nodes, "calls": r.calls, "ms": r.seconds * 1e3,
                "flops": r.flops.map(|f| f * r.calls as f64), "bytes": r.bytes.map(|b| b * r.calls as f64),
                "gflops": r.rate(r.flops).map(|x| x / 1e9), "gb_per_s": r.rate(r.bytes).map(|x| x / 1e9),
                "roofline_share": r.share(self.machine), "busy": r.busy,
            })
        });
        let reads = reads.iter().map(|(size, rate)| json!({ "bytes": size, "gb_per_s": rate / 1e9 }));
        json!({
            "machine": {
                "threads": threads, "gflops": flops / 1e9, "reads": reads.collect::<Vec<_>>(),
            },
            "runs": self.runs, "median_ms": self.plain * 1e3, "recorded_ms": self.whole * 1e3,
            "kernels_ms": self.kernel_seconds() * 1e3, "flops": self.total(|r| r.flops),
            "bytes": self.total(|r| r.bytes), "roofline_ms": self.least() * 1e3,
            "kernels": rows.collect::<Vec<_>>(),
        })
    }
}

fn bytes(n: u64) -> String {
    match n {
        n if n >= 1 << 20 => format!("{} MiB", n >> 20),
        n => format!("{} KiB", n >> 10),
    }
}
