//! bench-runner - one model under rten or tract, as a process that stays loaded and is asked for slices of time.
//!
//! `bench-runner rten|tract MODEL INPUTS-DIR THREADS OUTPUTS-DIR` speaks the protocol of `bench/peers.py`: a line of JSON
//! when loaded, and one for each line `SECONDS` that it reads.

mod array;
mod rten_engine;
mod tract_engine;

use std::{
    error::Error,
    io::{BufRead, stdin},
    path::Path,
    time::{Duration, Instant},
};

use array::Array;
use serde_json::json;

/// Whatever went wrong: this is a tool for people who read its messages.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A loaded model with its inputs bound.
trait Engine {
    /// Runs once and keeps the outputs.
    fn run(&mut self) -> Outcome<()>;
    /// The outputs of the last run.
    fn outputs(&self) -> Outcome<Vec<Array>>;
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [engine, model, inputs, threads, outputs] = args.as_slice() else {
        eprintln!("bench-runner rten|tract MODEL INPUTS-DIR THREADS OUTPUTS-DIR");
        std::process::exit(2);
    };
    let threads = threads.parse().unwrap_or(1);
    let (model, inputs, outputs) = (Path::new(model), Path::new(inputs), Path::new(outputs));
    let done = match engine.as_str() {
        "rten" => rten_engine::in_pool(threads, || {
            serve(|| rten_engine::Rten::load(model, inputs), rten_engine::VERSION, outputs)
        }),
        "tract" => {
            serve(|| tract_engine::Tract::load(model, inputs, threads), tract_engine::VERSION, outputs)
        }
        _ => Err(format!("no engine '{engine}'").into()),
    };
    if let Err(error) = done {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

/// Loads, runs once, writes the outputs, and then runs slices for as long as it is asked to.
fn serve<E: Engine>(load: impl FnOnce() -> Outcome<E>, version: &str, outputs: &Path) -> Outcome<()> {
    let base = memory_mb("VmRSS:");
    let start = Instant::now();
    let mut engine = load()?;
    let load_ms = ms(start.elapsed());
    let start = Instant::now();
    engine.run()?;
    let first_ms = ms(start.elapsed());
    std::fs::create_dir_all(outputs)?;
    for (i, array) in engine.outputs()?.iter().enumerate() {
        array.write(&outputs.join(format!("{i}.npy")))?;
    }
    println!(
        "{}",
        json!({"load_ms": load_ms, "first_ms": first_ms, "version": version, "base_rss_mb": base})
    );
    for line in stdin().lock().lines() {
        let length = Duration::from_secs_f64(line?.trim().parse()?);
        println!("{}", slice(&mut engine, length)?);
    }
    Ok(())
}

/// Runs for about `length`, and at least once.
fn slice(engine: &mut impl Engine, length: Duration) -> Outcome<serde_json::Value> {
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.is_empty() || start.elapsed() < length {
        let call = Instant::now();
        engine.run()?;
        times.push(call.elapsed());
    }
    times.sort_unstable();
    let quantile = |q: usize| ms(times[(times.len() - 1) * q / 10]);
    Ok(json!({
        "p10_ms": quantile(1), "median_ms": quantile(5), "p90_ms": quantile(9), "calls": times.len(),
        "peak_rss_mb": memory_mb("VmHWM:"),
    }))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A line of the system's memory figures of this process, in MB.
fn memory_mb(field: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix(field))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}
