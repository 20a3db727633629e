//! problems - the diagnostics of one import, collected up to a limit.

use nnc_ir::diag::Diagnostic;

/// Diagnostics in the order they were found.
#[derive(Debug)]
pub(crate) struct Problems {
    list: Vec<Diagnostic>,
    limit: usize,
    n_dropped: usize,
    n_errors: usize,
}

impl Problems {
    pub(crate) fn new(limit: usize) -> Self {
        Self { list: Vec::new(), limit, n_dropped: 0, n_errors: 0 }
    }

    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        let error = diagnostic.is_error();
        self.n_errors += usize::from(error);
        // The first error must not be lost behind warnings.
        if self.list.len() < self.limit || (error && self.n_errors == 1) {
            self.list.push(diagnostic);
        } else {
            self.n_dropped += 1;
        }
    }

    /// Whether further problems are only counted, so that nothing need be said about them.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= self.limit && self.n_errors > 0
    }

    /// Number of errors so far.
    pub(crate) fn n_errors(&self) -> usize {
        self.n_errors
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.n_errors > 0
    }

    pub(crate) fn into_list(mut self) -> Vec<Diagnostic> {
        if let (Some(last), true) = (self.list.last_mut(), self.n_dropped > 0) {
            last.notes.push(format!("{} further problems are not listed", self.n_dropped));
        }
        self.list
    }

    /// Warnings if there is no error, else everything.
    pub(crate) fn into_result(self) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
        if self.has_errors() { Err(self.into_list()) } else { Ok(self.into_list()) }
    }
}
