//! cli - commands, their arguments, and how they end.

mod args;
mod bench;
mod cache;
mod check;
mod compile;
mod explain;
mod inspect;
mod opt;
mod output;
mod process;
mod profile;
mod report;
mod run;
mod samples;
mod source;
mod trace;
mod tune;
mod verify;

use std::process::ExitCode;

use clap::Parser;
use nnc::Failure;

use args::{Cli, Command};

/// Runs the command line of this process. Exit status: 0 ok, 1 a check failed, 2 usage, 3 to 8 by the code of the error.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    nnc::runtime::give_back_large_blocks();
    let format = cli.error_format;
    let result = match cli.command {
        Command::Compile(args) => compile::run(&args, format),
        Command::Run(args) => run::run(&args, format),
        Command::Bench(args) => bench::run(&args, format),
        Command::Profile(args) => profile::run(&args, format),
        Command::Cache(args) => cache::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Check(args) => check::run(&args, format),
        Command::Inspect(args) => inspect::run(&args, format),
        Command::Opt(args) => opt::run(&args, format),
        Command::Explain(args) => explain::run(&args, format),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            output::report(&failure, format);
            ExitCode::from(failure.exit_status())
        }
    }
}

/// What a command ends with: an exit status, or why it could not do its work.
type Outcome = Result<u8, Failure>;
