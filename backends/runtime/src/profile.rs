//! profile - when each kernel ran and for how long.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::code::Code;
use crate::image::Kernel;
use crate::threads::Pool;

/// One call of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Index into [`Image::kernels`](crate::Image::kernels); `None` for code that is in none of them.
    pub kernel: Option<usize>,
    /// Length of the loop that was cut into parts; 1 for a kernel that is not split.
    pub iterations: i64,
    /// Time since the profile was started.
    pub start: Duration,
    /// Time until all parts were done.
    pub time: Duration,
    /// The parts that were run, in the order of their ends.
    pub parts: Vec<Part>,
}

/// A part of a call, run by one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Number of the part, which is that of the thread whose turn it would be; any idle one may have taken it.
    pub worker: i64,
    /// Time since the profile was started.
    pub start: Duration,
    /// How long it ran.
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
        for Call { body, iterations, begin, time, parts } in calls {
            let (address, first) = body;
            let kernel = code.offset_of(address).and_then(|offset| {
                let after = by_offset.partition_point(|&kernel| kernels[kernel].offset <= offset);
                let kernel = *by_offset.get(after.checked_sub(1)?)?;
                let begin = kernels[kernel].offset;
                let inside = offset - begin < kernels[kernel].len;
                // Of several with one function, the number that it was called with.
                let is_told = |&told: &usize| kernels.get(told).is_some_and(|told| told.offset == begin);
                let shared = after > 1 && kernels[by_offset[after - 2]].offset == begin;
                let told = if shared { usize::try_from(first).ok().filter(is_told) } else { Some(kernel) };
                told.filter(|_| inside)
            });
            let since = |begin: Instant| begin.saturating_duration_since(self.started);
            let parts = parts.into_iter();
            let parts =
                parts.map(|(worker, begin, time)| Part { worker, start: since(begin), time }).collect();
            self.spans.push(Span { kernel, iterations, start: since(begin), time, parts });
        }
    }
}

/// Notes the calls of one run. It stands between the code and the pool.
#[derive(Debug)]
pub(crate) struct Recorder<'a> {
    pub(crate) pool: &'a Pool,
    calls: Mutex<Vec<Call>>,
}

/// One call, by the address of the body and the first number of what it is called with.
#[derive(Debug)]
pub(crate) struct Call {
    body: (usize, i64),
    iterations: i64,
    begin: Instant,
    time: Duration,
    parts: Vec<(i64, Instant, Duration)>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(pool: &'a Pool) -> Self {
        Self { pool, calls: Mutex::new(Vec::new()) }
    }

    /// Runs `body` over `[0, n)` on the pool, or, where `n` is negative, over `[0, -n)` here; notes the call and its parts.
    pub(crate) fn run(&self, called: (usize, i64), n: i64, body: impl Fn(i64, i64, i64) + Sync) {
        let parts = Mutex::new(Vec::new());
        let part = |begin: i64, end: i64, worker: i64| {
            let start = Instant::now();
            body(begin, end, worker);
            let time = start.elapsed();
            parts.lock().unwrap_or_else(PoisonError::into_inner).push((worker, start, time));
        };
        let begin = Instant::now();
        match n < 0 {
            true => part(0, n.saturating_neg(), 0),
            false => self.pool.for_each(n, part),
        }
        let time = begin.elapsed();
        let parts = parts.into_inner().unwrap_or_else(PoisonError::into_inner);
        let call = Call { body: called, iterations: n.max(1), begin, time, parts };
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    pub(crate) fn into_calls(self) -> Vec<Call> {
        self.calls.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::image::Work;

    #[test]
    fn calls_are_found_in_unsorted_kernels() {
        let code = Code::new(&[0xc3; 100]).unwrap();
        let kernel =
            |offset, len| Kernel { name: String::new(), offset, len, nodes: vec![], work: Work::default() };
        let kernels = [kernel(50, 10), kernel(10, 20), kernel(60, 40)];
        let base = code.bytes().as_ptr().addr();
        let pool = Pool::new(1);
        let recorder = Recorder::new(&pool);
        let mut profile = Profile::start();
        for offset in [0, 10, 29, 30, 50, 59, 60, 99, 100] {
            recorder.run((base + offset, 0), if offset == 50 { -7 } else { 1 }, |_, _, _| {});
        }
        profile.add(recorder.into_calls(), &code, &kernels);
        let found: Vec<_> = profile.spans.iter().map(|span| span.kernel).collect();
        let (a, b, c) = (Some(0), Some(1), Some(2));
        assert_eq!(found, [None, b, b, None, a, a, c, c, None]);
        assert!(profile.spans.iter().all(|span| span.iterations == 1 && span.parts.len() == 1));
    }

    #[test]
    fn calls_of_one_function_are_told_apart() {
        let code = Code::new(&[0xc3; 100]).unwrap();
        let kernel =
            |offset| Kernel { name: String::new(), offset, len: 10, nodes: vec![], work: Work::default() };
        let kernels = [kernel(50), kernel(10), kernel(50), kernel(50)];
        let base = code.bytes().as_ptr().addr();
        let pool = Pool::new(1);
        let recorder = Recorder::new(&pool);
        let mut profile = Profile::start();
        for (offset, first) in [(50, 2), (50, 0), (50, 3), (50, 1), (50, 4), (50, -1), (10, 99)] {
            recorder.run((base + offset, first), 1, |_, _, _| {});
        }
        profile.add(recorder.into_calls(), &code, &kernels);
        let found: Vec<_> = profile.spans.iter().map(|span| span.kernel).collect();
        assert_eq!(found, [Some(2), Some(0), Some(3), None, None, None, Some(1)]);
    }
}
