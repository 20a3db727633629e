//! threads - a pool of workers that runs parallel loops in equal contiguous parts.
//!
//! A loop over `[0, n)` is cut into as many parts as the pool has threads, whoever runs them: part `k` always has the
//! same bounds and the worker number `k`. The calling thread takes part 0; other parts are claimed from one atomic
//! word by whichever thread is free, the caller included, so a worker that sleeps or was descheduled delays nothing.
//! A loop inside a loop runs inline. After start nothing is allocated.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::abi::{BodyFn, FloatState};

/// Most threads a pool can have.
pub const MAX_THREADS: usize = 1024;

/// How long an idle thread looks for work before it sleeps: about what waking it would cost.
const SPIN: Duration = Duration::from_micros(100);

/// Threads this process may use: what its affinity mask and its cgroup's quota leave.
#[must_use]
pub fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS)
}

thread_local! {
    /// Pool (its address) and number of the part this thread is running; no pool has the address 0.
    static RUNNING: Cell<(usize, i64)> = const { Cell::new((0, 0)) };
}

/// A pool of threads.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    threads: usize,
}

#[derive(Debug)]
struct Shared {
    /// The current loop: [`Ticket`].
    ticket: Padded<AtomicU64>,
    /// Parts that are not finished.
    pending: Padded<AtomicUsize>,
    /// Written while `pending` is zero and the ticket has no part left; read by who has claimed a part.
    job: UnsafeCell<Job>,
    /// A loop is under way.
    busy: AtomicBool,
    stop: AtomicBool,
    spin: Duration,

    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,

    caller_sleeps: AtomicBool,
    caller: Mutex<()>,
    finished: Condvar,
}

#[derive(Debug)]
#[repr(align(128))]
struct Padded<T>(T);

#[derive(Clone, Copy, Debug)]
struct Job {
    n: i64,
    parts: i64,
    body: BodyFn,
    arg: *mut c_void,
}

// SAFETY: `job` is the only field that is not Sync by itself. It is written by the thread that holds `busy` while no
// part can be claimed and none is pending, and read only by threads that claimed a part of the loop it describes,
// which was published after it was written: writes and reads never overlap. `arg` is passed on, not looked into;
// `Pool::parallel_for` makes its caller promise that it may cross threads.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// The word that parts are claimed from: epoch (40 bits), number of parts (12), next part (12).
#[derive(Clone, Copy)]
struct Ticket(u64);

impl Ticket {
    fn next(self) -> u64 {
        self.0 & 0xfff
    }

    fn parts(self) -> u64 {
        self.0 >> 12 & 0xfff
    }

    fn has_work(self) -> bool {
        self.next() < self.parts()
    }

    /// The ticket of the next loop; its part 0 is already the caller's.
    fn following(self, parts: u64) -> Self {
        Self(((self.0 >> 24) + 1) << 24 | parts << 12 | 1)
    }
}

const _: () = assert!(MAX_THREADS < 0xfff);

fn lock(mutex: &Mutex<()>) -> MutexGuard<'_, ()> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bounds of one of `parts` equal parts of `[0, n)`.
fn bounds(n: i64, parts: i64, part: i64) -> (i64, i64) {
    let (each, more) = (n / parts, n % parts);
    let begin = part * each + part.min(more);
    (begin, begin + each + i64::from(part < more))
}

extern "C" fn no_body(_: *mut c_void, _: i64, _: i64, _: i64) {}

impl Shared {
    /// Takes a part of the current loop, if there is one left.
    fn claim(&self) -> Option<i64> {
        let mut ticket = Ticket(self.ticket.0.load(Ordering::Acquire));
        while ticket.has_work() {
            let taken = self.ticket.0.compare_exchange_weak(
                ticket.0,
                ticket.0 + 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match taken {
                Ok(_) => return Some(ticket.next() as i64),
                Err(now) => ticket = Ticket(now),
            }
        }
        None
    }

    /// Runs a claimed part.
    fn run_part(&self, part: i64) {
        // SAFETY: the part is claimed and not finished, so `job` is not written (see `Sync`), and the job's
        // submitter keeps the promise of `parallel_for`.
        unsafe {
            let job = *self.job.get();
            self.call(job, part);
        }
        if self.pending.0.fetch_sub(1, Ordering::SeqCst) == 1 && self.caller_sleeps.load(Ordering::SeqCst) {
            let _guard = lock(&self.caller);
            self.finished.notify_one();
        }
    }

    /// Calls the body for one part.
    ///
    /// # Safety
    /// The promise of [`Pool::parallel_for`].
    unsafe fn call(&self, job: Job, part: i64) {
        let (begin, end) = bounds(job.n, job.parts, part);
        let outer = RUNNING.replace((self.address(), part));
        // SAFETY: by the caller's promise; bodies are `extern "C"` and do not unwind.
        unsafe { (job.body)(job.arg, begin, end, part) };
        RUNNING.set(outer);
    }

    /// Tells pools apart.
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// What a worker thread does.
    fn work(&self) {
        let _state = FloatState::enter();
        let mut idle_since = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            if let Some(part) = self.claim() {
                self.run_part(part);
                idle_since = Instant::now();
            } else if idle_since.elapsed() < self.spin {
                pause();
            } else {
                self.park();
                idle_since = Instant::now();
            }
        }
    }

    /// Sleeps until there is work or the pool goes.
    fn park(&self) {
        let mut guard = lock(&self.sleep);
        // Submitters publish first and look at `sleepers` then; this does it the other way round. So either they see
        // the sleeper, and must wait for the lock to wake it, or this sees their work.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while !Ticket(self.ticket.0.load(Ordering::SeqCst)).has_work() && !self.stop.load(Ordering::SeqCst) {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Waits until no part is pending.
    fn wait(&self) {
        if self.pending.0.load(Ordering::SeqCst) == 0 {
            return;
        }
        let since = Instant::now();
        while since.elapsed() < self.spin {
            pause();
            if self.pending.0.load(Ordering::SeqCst) == 0 {
                return;
            }
        }
        let mut guard = lock(&self.caller);
        self.caller_sleeps.store(true, Ordering::SeqCst);
        while self.pending.0.load(Ordering::SeqCst) != 0 {
            guard = self.finished.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.caller_sleeps.store(false, Ordering::SeqCst);
    }
}

fn pause() {
    for _ in 0..16 {
        std::hint::spin_loop();
    }
}

impl Pool {
    /// Starts a pool of `threads` threads (1 to [`MAX_THREADS`]), the calling one included. Where the system gives
    /// fewer, those do all parts.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let threads = threads.clamp(1, MAX_THREADS);
        // With more threads than processors, who spins keeps another from working.
        let spin = if threads <= available_threads() { SPIN } else { Duration::ZERO };
        let shared = Arc::new(Shared {
            ticket: Padded(AtomicU64::new(0)),
            pending: Padded(AtomicUsize::new(0)),
            job: UnsafeCell::new(Job { n: 0, parts: 1, body: no_body, arg: std::ptr::null_mut() }),
            busy: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            spin,
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
            caller_sleeps: AtomicBool::new(false),
            caller: Mutex::new(()),
            finished: Condvar::new(),
        });
        let start = |index: usize| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(format!("nnc-{index}")).spawn(move || shared.work()).ok()
        };
        let workers = (1..threads).map_while(start).collect();
        Self { shared, workers, threads }
    }

    /// Parts that loops are cut into.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `body` over `[0, n)` and returns when all of it is done.
    ///
    /// # Safety
    /// `body` may be called with `arg` and any disjoint parts of `[0, n)` at once, on any thread, until this returns.
    pub unsafe fn parallel_for(&self, n: i64, body: BodyFn, arg: *mut c_void) {
        if n <= 0 {
            return;
        }
        let shared = &*self.shared;
        let (pool, inside) = RUNNING.get();
        if pool == shared.address() {
            // SAFETY: by the caller's promise; `inside` is the number of the part of this pool the thread is in.
            unsafe { body(arg, 0, n, inside) };
            return;
        }
        let parts = (self.threads as i64).min(n);
        let job = Job { n, parts, body, arg };
        if parts == 1 || shared.busy.swap(true, Ordering::Acquire) {
            // Another session has the pool: the same parts, one after the other.
            for part in 0..parts {
                // SAFETY: by the caller's promise.
                unsafe { shared.call(job, part) };
            }
            return;
        }
        // SAFETY: `busy` makes this the only submitter; the last loop has no part left to claim and none pending.
        unsafe { *shared.job.get() = job };
        shared.pending.0.store(parts as usize, Ordering::SeqCst);
        let last = Ticket(shared.ticket.0.load(Ordering::Relaxed));
        shared.ticket.0.store(last.following(parts as u64).0, Ordering::SeqCst);
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            let _guard = lock(&shared.sleep);
            if parts as usize == self.threads {
                shared.wake.notify_all();
            } else {
                (1..parts).for_each(|_| shared.wake.notify_one());
            }
        }
        let mut part = Some(0);
        while let Some(mine) = part {
            shared.run_part(mine);
            part = shared.claim();
        }
        shared.wait();
        shared.busy.store(false, Ordering::Release);
    }

    /// Runs `body(begin, end, worker)` over `[0, n)`. A panic in it is passed on when all parts are done.
    pub fn for_each<F: Fn(i64, i64, i64) + Sync>(&self, n: i64, body: F) {
        struct Closure<F> {
            body: F,
            panic: Mutex<Option<Box<dyn Any + Send>>>,
        }
        /// # Safety
        /// `arg` is a `Closure<F>` that outlives the call.
        unsafe extern "C" fn enter<F: Fn(i64, i64, i64) + Sync>(
            arg: *mut c_void,
            begin: i64,
            end: i64,
            worker: i64,
        ) {
            // SAFETY: by this function's contract; the closure is only ever borrowed shared.
            let closure = unsafe { &*arg.cast::<Closure<F>>() };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (closure.body)(begin, end, worker))) {
                let mut first = closure.panic.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert(panic);
            }
        }
        let closure = Closure { body, panic: Mutex::new(None) };
        // SAFETY: `closure` outlives the call and is Sync, since `F` is.
        unsafe { self.parallel_for(n, enter::<F>, (&raw const closure).cast_mut().cast()) };
        if let Some(panic) = closure.panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(panic);
        }
    }

    /// The `parallel_for` of a context whose `pool` is a `*const Pool`.
    ///
    /// # Safety
    /// `pool` points to a live `Pool`, and the promise of [`Pool::parallel_for`] holds.
    pub(crate) unsafe extern "C" fn hook(pool: *const c_void, n: i64, body: BodyFn, arg: *mut c_void) {
        // SAFETY: by this function's contract.
        let pool = unsafe { &*pool.cast::<Pool>() };
        if n < 0 {
            let (running, inside) = RUNNING.get();
            let worker = if running == pool.shared.address() { inside } else { 0 };
            // SAFETY: by this function's contract.
            unsafe { body(arg, 0, n.saturating_neg(), worker) };
            return;
        }
        // SAFETY: by this function's contract.
        unsafe { pool.parallel_for(n, body, arg) };
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        {
            let _guard = lock(&self.shared.sleep);
            self.shared.stop.store(true, Ordering::SeqCst);
            self.shared.wake.notify_all();
        }
        for worker in self.workers.drain(..) {
            // A worker cannot panic; were it to, there is nothing left to do about it here.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests;
