//! run - `nnc run`: one run, from files to files.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use nnc::{
    CompiledModel, Failure, Tensor, TensorView, io,
    runtime::{Program, Signature},
};

use super::{
    Outcome,
    args::{ErrorFormat, RunArgs},
    output::{say, tell},
    process::{memory_mb, page_faults},
    source, tune,
};

pub(crate) fn run(args: &RunArgs, format: ErrorFormat) -> Outcome {
    let options = args.options.to_tuned_options(&args.tune)?;
    let path = args.options.tuning.path.as_deref();
    let given = |program: &Program| inputs(args, program.signature());
    let session = args.session.to_options();
    let options = tune::measured((&args.tune, path), options, &args.model, (session, &given), format)?;
    let model = source::load_or_compile(&args.model, options, format)?;
    let inputs = inputs(args, model.signature())?;
    let mut session = nnc::Session::new(&args.session.to_options());
    let start = Instant::now();
    let outputs = model.run_in(&mut session, &inputs)?;
    if args.verbose {
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        let whence = if model.is_cached() { "from the cache" } else { "to compile or load" };
        tell!("{:.1} ms {whence}, {:.3} ms the run", ms(model.compile_time()), ms(start.elapsed()));
        tell!(
            "{} bytes of weights, {} of arena, {:.1} MB at most in the process, {} page faults",
            model.program().image().weights.total_bytes(),
            session.workspace_bytes(),
            memory_mb("VmHWM:"),
            page_faults()
        );
    }
    match &args.outputs {
        Some(dir) => write_outputs(dir, &model, &outputs)?,
        None => {
            for (port, tensor) in model.signature().outputs.iter().zip(&outputs) {
                say!("{}", summary(&port.name, tensor));
            }
        }
    }
    Ok(0)
}

fn inputs(args: &RunArgs, signature: &Signature) -> Result<Vec<Tensor>, Failure> {
    if let Some(dir) = &args.inputs_dir {
        return source::read_inputs_dir(dir, signature);
    }
    let mut named: Vec<(&str, Tensor)> = Vec::new();
    for (name, path) in &args.inputs {
        named.push((name, read_named(name, path)?));
    }
    let views: Vec<(&str, TensorView<'_>)> = named.iter().map(|(n, t)| (*n, t.view())).collect();
    Ok(signature.arrange(&views)?.iter().map(TensorView::to_tensor).collect::<Result<_, _>>()?)
}

fn read_named(name: &str, path: &Path) -> Result<Tensor, Failure> {
    if path.extension().is_none_or(|e| e != "npz") {
        return io::read_tensor(path);
    }
    let entries = io::read_npz(path)?;
    let found = entries.into_iter().find(|(entry, _)| entry == name);
    found
        .map(|(_, t)| t)
        .ok_or_else(|| Failure::single(603, format!("'{}' has no entry '{name}'", path.display())))
}

/// Writes each output as `NAME.npy`.
fn write_outputs(dir: &Path, model: &CompiledModel, outputs: &[Tensor]) -> Result<(), Failure> {
    std::fs::create_dir_all(dir)
        .map_err(|e| Failure::single(602, format!("cannot make '{}': {e}", dir.display())))?;
    for (port, tensor) in model.signature().outputs.iter().zip(outputs) {
        io::write_npy(&dir.join(format!("{}.npy", source::file_name_of(&port.name))), tensor)?;
    }
    Ok(())
}

/// One line on a tensor: type, least, greatest and mean element, and where the greatest is.
fn summary(name: &str, tensor: &Tensor) -> String {
    let values = tensor.view().to_f64s();
    let dims: Vec<String> = tensor.dims().iter().map(ToString::to_string).collect();
    let head = format!("{}: {}[{}]", nnc::ir::diag::escape(name), tensor.elem(), dims.join(","));
    if values.is_empty() {
        return head;
    }
    let min = values.iter().copied().fold(f64::INFINITY, f64::min);
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let arg = values.iter().position(|&x| x == max).unwrap_or(0);
    format!("{head} min {min:.6} max {max:.6} mean {mean:.6} argmax {arg}")
}
