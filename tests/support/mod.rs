//! support - what the integration tests share: tensors of both worlds, work on all cores, where models are.
#![allow(dead_code, reason = "each test uses some of it")]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use nnc::{Session, SessionOptions, TensorView, cpu::elem_type, ir, runtime};

/// Where models are: fixtures, references, and the cache that `models/fetch.py` fills.
pub(crate) fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

/// Seeds of generated programs: `usual`, or those that `NNC_SEEDS` names as a number, a list `3,17`, or a range `500..900`.
pub(crate) fn seeds(usual: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let Ok(text) = std::env::var("NNC_SEEDS") else { return usual.into_iter().collect() };
    let number =
        |t: &str| t.trim().parse::<u64>().unwrap_or_else(|_| panic!("NNC_SEEDS={text}: what is `{t}`?"));
    match text.split_once("..") {
        Some((from, to)) => (number(from)..number(to)).collect(),
        None => text.split(',').map(number).collect(),
    }
}

/// Results of `work` on each item, in order, from one thread a core. A panic becomes an error.
pub(crate) fn on_all_cores<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, String> + Sync,
) -> Vec<Result<R, String>> {
    let next = AtomicUsize::new(0);
    let slots: Vec<Mutex<Option<Result<R, String>>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let run = || {
        while let Some((i, item)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, items.get(i)?)))
        {
            let result = catch_unwind(AssertUnwindSafe(|| work(item)));
            let result = result.unwrap_or_else(|cause| {
                let text = cause
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or(cause.downcast_ref::<&str>().copied());
                Err(format!("panicked: {}", text.unwrap_or("?")))
            });
            *slots[i].lock().unwrap() = Some(result);
        }
    };
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..cores {
            thread::Builder::new().stack_size(64 << 20).spawn_scoped(scope, run).unwrap();
        }
    });
    slots.into_iter().map(|slot| slot.into_inner().unwrap().unwrap()).collect()
}

/// What a test gives for each seed, from one thread a core. Fails with all the seeds that fail.
pub(crate) fn for_seeds<R: Send>(seeds: &[u64], test: impl Fn(u64) -> Result<R, String> + Sync) -> Vec<R> {
    let results = on_all_cores(seeds, |&seed| test(seed));
    let told = seeds
        .iter()
        .zip(&results)
        .filter_map(|(seed, r)| Some(format!("seed {seed}: {}", r.as_ref().err()?)));
    let failed: Vec<String> = told.collect();
    assert!(failed.is_empty(), "{} of {} fail:\n{}", failed.len(), seeds.len(), failed.join("\n"));
    results.into_iter().filter_map(Result::ok).collect()
}

/// Runs a program on tensors of the evaluator, with `threads` threads.
pub(crate) fn run(
    program: &runtime::Program,
    inputs: &[ir::eval::Tensor],
    outputs: &[ir::dtype::DType],
    threads: usize,
) -> Result<Vec<ir::eval::Tensor>, String> {
    let options = SessionOptions { threads, ..SessionOptions::host() };
    let views: Vec<TensorView<'_>> = inputs
        .iter()
        .map(|t| TensorView { elem: elem_type(t.dtype), dims: &t.dims, bytes: &t.bytes })
        .collect();
    let results = program.run(&mut Session::new(&options), &views).map_err(|e| e.to_string())?;
    let tensor = |(t, &dtype): (&nnc::Tensor, &ir::dtype::DType)| {
        if t.elem() != elem_type(dtype) {
            return Err(format!("an output is {}, must be {dtype}", t.elem()));
        }
        Ok(ir::eval::Tensor { dtype, dims: t.dims().to_vec(), bytes: t.bytes().to_vec() })
    };
    results.iter().zip(outputs).map(tensor).collect()
}
