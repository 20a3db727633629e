//! session - what runs of one thread at a time share: memory, threads, limits and the wish to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::arena::{RunBlocks, Workspace};
use crate::known::Known;
use crate::memory::default_max_memory;
use crate::profile::{Profile, Span};
use crate::program::Tables;
use crate::threads::{Pool, available_threads};

/// How a session is set up.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Threads that a run uses, the calling one included. The result does not depend on it.
    pub threads: usize,
    /// Most bytes a run may take: workspace, outputs and allocations together.
    pub max_memory: u64,
    /// Fills the workspace with this byte before each run, to find code that reads what it did not write.
    pub poison: Option<u8>,
}

impl SessionOptions {
    /// What this machine offers: all threads and most of the memory the process may use.
    #[must_use]
    pub fn host() -> Self {
        Self { threads: available_threads(), max_memory: default_max_memory(), poison: None }
    }
}

/// The state that runs use and leave for the next one. Any program can run in any session; each keeps its memory, so
/// that running the same program on the same extents again allocates nothing.
#[derive(Debug)]
pub struct Session {
    pub(crate) pool: Arc<Pool>,
    pub(crate) max_memory: u64,
    pub(crate) poison: Option<u8>,
    pub(crate) workspace: Workspace,
    pub(crate) blocks: RunBlocks,
    pub(crate) cancel: CancelToken,
    pub(crate) tables: Tables,
    pub(crate) known: Known,
    pub(crate) profile: Option<Profile>,
}

impl Session {
    /// A session with threads of its own.
    #[must_use]
    pub fn new(options: &SessionOptions) -> Self {
        Self::with_pool(Arc::new(Pool::new(options.threads)), options)
    }

    /// A session that shares threads with others. While one of them has the threads, the others run without.
    #[must_use]
    pub fn with_pool(pool: Arc<Pool>, options: &SessionOptions) -> Self {
        Self {
            pool,
            max_memory: options.max_memory,
            poison: options.poison,
            workspace: Workspace::new(),
            blocks: RunBlocks::new(),
            cancel: CancelToken::default(),
            tables: Tables::default(),
            known: Known::default(),
            profile: None,
        }
    }

    /// The threads.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Threads a run uses.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Bytes of workspace this session holds.
    #[must_use]
    pub fn workspace_bytes(&self) -> usize {
        self.workspace.len()
    }

    /// Values of the program's symbols in the last run, in the order of its signature; 0 for those that data decide.
    #[must_use]
    pub fn symbols(&self) -> &[i64] {
        self.tables.symbols()
    }

    /// Notes the kernels that runs call from now on.
    pub fn start_profile(&mut self) {
        self.profile = Some(Profile::start());
    }

    /// Ends the profile and returns what was noted, in the order of the calls' ends.
    pub fn stop_profile(&mut self) -> Vec<Span> {
        self.profile.take().map_or_else(Vec::new, |profile| profile.spans)
    }

    /// A handle by which another thread can stop the session's runs.
    #[must_use]
    pub fn cancel_token(&self) -> CancelToken {
        self.cancel.clone()
    }
}

/// Stops runs from another thread.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicI32>);

impl CancelToken {
    /// Makes the current and later runs end with E0808.
    pub fn cancel(&self) {
        self.0.store(1, Ordering::Relaxed);
    }

    /// Allows runs again.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Whether runs are to end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Where compiled code reads the wish.
    pub(crate) fn address(&self) -> *const i32 {
        self.0.as_ptr()
    }
}
