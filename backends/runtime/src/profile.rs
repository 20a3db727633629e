//! profile - when each kernel ran and for how long.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::code::Code;
use crate::image::Kernel;
use crate::threads::Pool;

/// One call of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Index into [`Image::kernels`](crate::Image::kernels); `None` for code that is in none of them.
    pub kernel: Option<usize>,
    /// Length of the loop that was cut into parts; 1 for a kernel that is not split.
    pub iterations: i64,
    /// Time since the profile was started.
    pub start: Duration,
    /// Time until all parts were done.
    pub time: Duration,
}

/// Spans collected by a session.
#[derive(Debug)]
pub(crate) struct Profile {
    started: Instant,
    pub(crate) spans: Vec<Span>,
}

impl Profile {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), spans: Vec::new() }
    }

    /// Adds what a recorder saw of a program.
    pub(crate) fn add(&mut self, calls: Vec<Call>, code: &Code, kernels: &[Kernel]) {
        let mut by_offset: Vec<_> = (0..kernels.len()).collect();
        by_offset.sort_by_key(|&kernel| kernels[kernel].offset);
        for Call { body, iterations, begin, time } in calls {
            let kernel = code.offset_of(body).and_then(|offset| {
                let after = by_offset.partition_point(|&kernel| kernels[kernel].offset <= offset);
                let kernel = *by_offset.get(after.checked_sub(1)?)?;
                (offset - kernels[kernel].offset < kernels[kernel].len).then_some(kernel)
            });
            let start = begin.saturating_duration_since(self.started);
            self.spans.push(Span { kernel, iterations, start, time });
        }
    }
}

/// Notes the calls of one run. It stands between the code and the pool.
#[derive(Debug)]
pub(crate) struct Recorder<'a> {
    pub(crate) pool: &'a Pool,
    calls: Mutex<Vec<Call>>,
}

/// One call, by the address of the body.
#[derive(Debug)]
pub(crate) struct Call {
    body: usize,
    iterations: i64,
    begin: Instant,
    time: Duration,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(pool: &'a Pool) -> Self {
        Self { pool, calls: Mutex::new(Vec::new()) }
    }

    /// Runs `call` and notes it.
    pub(crate) fn note(&self, body: usize, iterations: i64, call: impl FnOnce()) {
        let begin = Instant::now();
        call();
        let time = begin.elapsed();
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push(Call { body, iterations, begin, time });
    }

    pub(crate) fn into_calls(self) -> Vec<Call> {
        self.calls.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn calls_are_found_in_unsorted_kernels() {
        let code = Code::new(&[0xc3; 100]).unwrap();
        let kernel = |offset, len| Kernel { name: String::new(), offset, len, nodes: vec![] };
        let kernels = [kernel(50, 10), kernel(10, 20), kernel(60, 40)];
        let base = code.bytes().as_ptr().addr();
        let pool = Pool::new(1);
        let recorder = Recorder::new(&pool);
        let mut profile = Profile::start();
        for offset in [0, 10, 29, 30, 50, 59, 60, 99, 100] {
            recorder.note(base + offset, 1, || {});
        }
        profile.add(recorder.into_calls(), &code, &kernels);
        let found: Vec<_> = profile.spans.iter().map(|span| span.kernel).collect();
        let (a, b, c) = (Some(0), Some(1), Some(2));
        assert_eq!(found, [None, b, b, None, a, a, c, c, None]);
    }
}
