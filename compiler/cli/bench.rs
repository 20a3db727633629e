//! bench - `nnc bench`: how long a run takes.

use std::time::{Duration, Instant};

use nnc::{CompiledModel, Failure, Session, Tensor, TensorView, TensorViewMut, io, runtime::Program};
use serde_json::json;

use super::{
    Outcome,
    args::{BenchArgs, ErrorFormat},
    output::say,
    process::{cpu_ms, memory_mb, page_faults},
    samples::Samples,
    source, tune,
};

pub(crate) fn run(args: &BenchArgs, format: ErrorFormat) -> Outcome {
    let base_rss = memory_mb("VmRSS:");
    let dir = args.timing.inputs.as_deref();
    let inputs = |program: &Program| match dir {
        Some(dir) => source::read_inputs_dir(dir, program.signature()),
        None => nnc::sample::sample_inputs(program),
    };
    let options = args.timing.options.to_tuned_options(&args.tune)?;
    let path = args.timing.options.tuning.path.as_deref();
    let session = args.timing.session.to_options();
    let options = tune::measured((&args.tune, path), options, &args.model, (session, &inputs), format)?;
    let model = source::load_or_compile(&args.model, options, format)?;
    let inputs = inputs(model.program())?;
    let mut session = Session::new(&args.timing.session.to_options());
    let start = Instant::now();
    let mut outputs = model.run_in(&mut session, &inputs)?;
    let first = start.elapsed();
    let Measured { samples, cpu_ms, page_faults } =
        measure(&model, &mut session, &inputs, &mut outputs, (args.timing.seconds, args.calls))?;
    let (calls, times) = (samples.calls(), samples.sorted());
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let quantile = |q: usize| times.get(times.len().saturating_sub(1) * q / 100).map_or(0.0, |&t| ms(t));
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
        "median_ms": quantile(50), "p10_ms": quantile(10), "p90_ms": quantile(90), "calls": calls,
        "compile_ms": ms(model.compile_time()), "cached": model.is_cached(), "first_ms": ms(first),
        "peak_rss_mb": memory_mb("VmHWM:"), "base_rss_mb": base_rss,
        "cpu_ms": cpu_ms, "page_faults": page_faults,
        "arena_bytes": session.workspace_bytes(), "outputs_dir": dir,
    });
    if args.timing.json {
        say!("{figures}");
    } else {
        say!("{:.4} ms median of {} calls ({:.4} to {:.4})", quantile(50), calls, quantile(10), quantile(90));
        say!(
            "{:.1} ms to compile, {:.3} ms first call, {} bytes of arena, {:.1} MB at most, {page_faults} page faults",
            ms(model.compile_time()),
            ms(first),
            session.workspace_bytes(),
            memory_mb("VmHWM:")
        );
    }
    Ok(0)
}

/// What calls took.
struct Measured {
    samples: Samples,
    /// Processor time of all threads, a call.
    cpu_ms: f64,
    /// In all calls together, after the warm-up.
    page_faults: u64,
}

/// Times calls for about `length`, after a tenth of that as warm-up, and at least one; or as many as are asked for, after one.
fn measure(
    model: &CompiledModel,
    session: &mut Session,
    inputs: &[Tensor],
    outputs: &mut [Tensor],
    (length, calls): (Duration, Option<usize>),
) -> Result<Measured, Failure> {
    let views: Vec<TensorView<'_>> = inputs.iter().map(Tensor::view).collect();
    let mut samples = Samples::new();
    let (mut cpu, mut faults) = (0.0, 0);
    for (share, keep) in [(10, false), (1, true)] {
        (cpu, faults) = (cpu_ms(), page_faults());
        let start = Instant::now();
        let budget = length / share;
        let mut done = 0;
        let goes_on = |done: usize| match calls {
            Some(calls) => done < if keep { calls } else { 1 },
            None => start.elapsed() < budget || (keep && done == 0),
        };
        while goes_on(done) {
            let mut targets: Vec<TensorViewMut<'_>> = outputs.iter_mut().map(Tensor::view_mut).collect();
            let call = Instant::now();
            model.run_into(session, &views, &mut targets)?;
            if keep {
                samples.push(call.elapsed());
            }
            done += 1;
        }
    }
    let page_faults = page_faults() - faults;
    let cpu_ms = (cpu_ms() - cpu) / samples.calls().max(1) as f64;
    Ok(Measured { samples, cpu_ms, page_faults })
}
