//! failure - why something did not work: the three kinds that are never mixed.

use std::fmt;

use nnc_ir::diag::{Diagnostic, NodeLoc};
use nnc_passes::pass::Bug;

/// Why compiling, loading or running did not work.
#[derive(Debug)]
pub enum Failure {
    /// Problems of the model, all that were found.
    Model(Vec<Diagnostic>),
    /// A problem of an artefact, a call or the machine.
    Runtime(nnc_runtime::Error),
    /// A bug of nnc.
    Bug(Bug),
}

impl Failure {
    /// A single error of the command line's own.
    #[must_use]
    pub fn single(code: u16, message: impl Into<String>) -> Self {
        Failure::Model(vec![Diagnostic::error(code, message)])
    }

    /// Exit status of the command line. Of several problems the first error counts.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Failure::Model(problems) => {
                problems.iter().find(|d| d.is_error()).map_or(3, |d| d.code.exit_status())
            }
            // Extents of a call that contradict each other keep the code they have in a model.
            Failure::Runtime(error) if error.code() == 236 => 8,
            Failure::Runtime(error) => nnc_ir::diag::Code(error.code()).exit_status(),
            Failure::Bug(_) => 101,
        }
    }

    /// The problems as diagnostics.
    #[must_use]
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        match self {
            Failure::Model(problems) => problems.clone(),
            Failure::Runtime(error) => vec![of_runtime(error)],
            Failure::Bug(bug) => vec![Diagnostic::error(999, bug.to_string())],
        }
    }
}

fn of_runtime(error: &nnc_runtime::Error) -> Diagnostic {
    let mut d = Diagnostic::error(error.code(), error.message());
    if let Some(name) = error.node() {
        d.loc.node = Some(NodeLoc { index: 0, name: name.to_owned(), op: String::new(), opset: 0 });
    }
    d.help = error.help().map(str::to_owned);
    d
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Model(problems) => {
                let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
                f.write_str(&texts.join("\n"))
            }
            Failure::Runtime(error) => write!(f, "{error}"),
            Failure::Bug(bug) => write!(f, "{bug}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<nnc_runtime::Error> for Failure {
    fn from(error: nnc_runtime::Error) -> Self {
        Failure::Runtime(error)
    }
}

impl From<Bug> for Failure {
    fn from(bug: Bug) -> Self {
        Failure::Bug(bug)
    }
}

impl From<Vec<Diagnostic>> for Failure {
    fn from(problems: Vec<Diagnostic>) -> Self {
        Failure::Model(problems)
    }
}
