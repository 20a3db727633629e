//! bench - `nnc bench`: how long a run takes.

use std::time::{Duration, Instant};

use nnc::{CompiledModel, Failure, Session, Tensor, TensorView, TensorViewMut, io};
use serde_json::json;

use super::{
    Outcome,
    args::{BenchArgs, ErrorFormat},
    output::say,
    source,
};

pub(crate) fn run(args: &BenchArgs, format: ErrorFormat) -> Outcome {
    let base_rss = memory_mb("VmRSS:");
    let model = source::load_or_compile(&args.model, args.options.to_options(), format)?;
    let inputs = source::read_inputs_dir(&args.inputs, model.signature())?;
    let mut session = Session::new(&args.session.to_options());
    let start = Instant::now();
    let mut outputs = model.run_in(&mut session, &inputs)?;
    let first = start.elapsed();
    let mut times = measure(&model, &mut session, &inputs, &mut outputs, args.seconds)?;
    times.sort_unstable();
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let quantile = |q: usize| ms(times[(times.len() - 1) * q / 100]);
    let dir = match &args.outputs {
        Some(dir) => dir.clone(),
        None => std::env::temp_dir().join(format!("nnc-bench-{}", std::process::id())),
    };
    std::fs::create_dir_all(&dir)
        .map_err(|e| Failure::single(602, format!("cannot make '{}': {e}", dir.display())))?;
    for (i, tensor) in outputs.iter().enumerate() {
        io::write_npy(&dir.join(format!("{i}.npy")), tensor)?;
    }
    let figures = json!({
        "median_ms": quantile(50), "p10_ms": quantile(10), "p90_ms": quantile(90), "calls": times.len(),
        "compile_ms": ms(model.compile_time()), "first_ms": ms(first),
        "peak_rss_mb": memory_mb("VmHWM:"), "base_rss_mb": base_rss,
        "arena_bytes": session.workspace_bytes(), "outputs_dir": dir,
    });
    if args.json {
        say!("{figures}");
    } else {
        say!(
            "{:.4} ms median of {} calls ({:.4} to {:.4})",
            quantile(50),
            times.len(),
            quantile(10),
            quantile(90)
        );
        say!(
            "{:.1} ms to compile, {:.3} ms first call, {} bytes of arena",
            ms(model.compile_time()),
            ms(first),
            session.workspace_bytes()
        );
    }
    Ok(0)
}

/// Times calls for about `length`, after a tenth of that as warm-up, and at least one.
fn measure(
    model: &CompiledModel,
    session: &mut Session,
    inputs: &[Tensor],
    outputs: &mut [Tensor],
    length: Duration,
) -> Result<Vec<Duration>, Failure> {
    let views: Vec<TensorView<'_>> = inputs.iter().map(Tensor::view).collect();
    let mut times = Vec::new();
    for (share, keep) in [(10, false), (1, true)] {
        let start = Instant::now();
        let budget = length / share;
        while start.elapsed() < budget || (keep && times.is_empty()) {
            let mut targets: Vec<TensorViewMut<'_>> = outputs.iter_mut().map(Tensor::view_mut).collect();
            let call = Instant::now();
            model.run_into(session, &views, &mut targets)?;
            if keep {
                times.push(call.elapsed());
            }
        }
    }
    Ok(times)
}

/// A line of this process's memory figures, in MB; 0 where the system has none.
fn memory_mb(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(field));
    let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0);
    kib / 1024.0
}
