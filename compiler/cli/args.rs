//! args - what the command line accepts.

mod shared;
mod values;

pub(crate) use shared::{CacheFolder, CompileOptions, SessionArgs, TimingArgs, TuneArgs};

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use values::{parse_bytes, parse_calls, parse_input};

/// Compiles ONNX models to machine code.
#[derive(Parser)]
#[command(
    name = "nnc",
    version,
    about,
    after_help = "Example:\n  nnc compile model.onnx --target cpu\n  nnc run model.nnc --input x=image.npy --outputs out"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// How errors are printed on standard error
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub(crate) error_format: ErrorFormat,
}

/// How errors are printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ErrorFormat {
    /// For people
    Text,
    /// One object a line: code, severity, message, node, tensor, help
    Json,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Compile a model
    Compile(CompileArgs),
    /// Run a model once
    Run(RunArgs),
    /// Time a model
    Bench(BenchArgs),
    /// Time the kernels of a model
    Profile(ProfileArgs),
    /// Show or empty the compile cache
    Cache(CacheArgs),
    /// Compare models with the expected outputs of ONNX test folders
    Verify(VerifyArgs),
    /// Say everything that is wrong with or unsupported in a model
    Check(CheckArgs),
    /// Show inputs, outputs, kernels, runtime functions and memory of a model
    Inspect(InspectArgs),
    /// Run passes and print the module
    Opt(OptArgs),
    /// Say what passes did to nodes, and why they left others alone
    Explain(ExplainArgs),
}

#[derive(Args)]
#[command(after_help = "Example:\n  nnc compile model.onnx --target cpu --dim batch=1 -o model.nnc")]
pub(crate) struct CompileArgs {
    /// ONNX file
    pub(crate) model: PathBuf,
    /// Kind of machine
    #[arg(long, default_value = "cpu", value_parser = ["cpu"])]
    pub(crate) target: String,
    /// Output file [default: beside the model]
    #[arg(short, long)]
    pub(crate) output: Option<PathBuf>,
    /// What to write
    #[arg(long, value_enum, default_value = "nnc")]
    pub(crate) emit: Emit,
    #[command(flatten)]
    pub(crate) options: CompileOptions,
    #[command(flatten)]
    pub(crate) tune: TuneArgs,
    /// Target triple, as aarch64-unknown-linux-gnu [default: this machine's]
    #[arg(long)]
    pub(crate) triple: Option<String>,
    /// Most bytes of intermediates that the program may need (with K, M or G: times 1024, ...): where they would be more, values are
    /// computed again instead of kept. (`nnc run --max-memory` is another limit: all that a run may take)
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) max_memory: Option<i64>,
    /// Base of the names of generated functions
    #[arg(long, default_value = "model")]
    pub(crate) name: String,
    /// Show how often each pass rewrote something, and how long it took, on standard error
    #[arg(long)]
    pub(crate) time_passes: bool,
    /// Leave the module after each pass, and a diff, in this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) dump_ir: Option<PathBuf>,
    /// Show what each pass did: nodes, kernels, arithmetic and traffic before and after, rules applied, time
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Print what each pass did and what was made as one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `compile` writes.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Emit {
    /// Artefact that `nnc run` and the library load
    Nnc,
    /// The module after all passes, as text
    Ir,
    /// Cranelift IR of every function
    Clif,
    /// Disassembly
    Asm,
}

#[derive(Args)]
#[command(after_help = "Example:\n  nnc run model.onnx --input x=image.npy --outputs out")]
pub(crate) struct RunArgs {
    /// ONNX file or .nnc artefact
    pub(crate) model: PathBuf,
    /// An input from a .npy, .npz (entry of that name) or .pb file
    #[arg(long = "input", value_name = "NAME=FILE", value_parser = parse_input)]
    pub(crate) inputs: Vec<(String, PathBuf)>,
    /// Folder with the inputs: NAME.npy, or 0.npy, 1.npy ..., or input_0.pb ...
    #[arg(long = "inputs", value_name = "DIR")]
    pub(crate) inputs_dir: Option<PathBuf>,
    /// Folder for the outputs, NAME.npy each; without it a summary is printed
    #[arg(long, value_name = "DIR")]
    pub(crate) outputs: Option<PathBuf>,
    /// Show times and memory on standard error
    #[arg(short, long)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    #[command(flatten)]
    pub(crate) options: CompileOptions,
    #[command(flatten)]
    pub(crate) tune: TuneArgs,
}

#[derive(Args)]
#[command(after_help = "Example:\n  nnc bench model.onnx --inputs inputs --threads 1 --json")]
pub(crate) struct BenchArgs {
    /// ONNX file or .nnc artefact
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) timing: TimingArgs,
    #[command(flatten)]
    pub(crate) tune: TuneArgs,
    /// Instead: how many calls to time
    #[arg(long, conflicts_with = "seconds", value_parser = parse_calls)]
    pub(crate) calls: Option<usize>,
    /// Folder for the outputs [default: a new one in the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    pub(crate) outputs: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = "Example:\n  nnc profile model.onnx --inputs inputs --threads 1 --trace trace.json")]
pub(crate) struct ProfileArgs {
    /// ONNX file or .nnc artefact (of which kernels too small for several threads are not seen)
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) timing: TimingArgs,
    /// Write a run of median length as a trace that Perfetto opens
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = "Example:\n  nnc cache clear --cache ~/.cache/nnc")]
pub(crate) struct CacheArgs {
    /// What to do
    #[arg(value_enum)]
    pub(crate) action: CacheAction,
    #[command(flatten)]
    pub(crate) folder: CacheFolder,
}

/// What `cache` does.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CacheAction {
    /// Say how many programs there are, and their bytes
    Show,
    /// Remove all programs
    Clear,
}

#[derive(Args)]
#[command(
    after_help = "Example:\n  nnc verify tests/cases/*\n  nnc verify --models cache --rel-max 1e-5 reference/*"
)]
pub(crate) struct VerifyArgs {
    /// ONNX test folders: model.onnx and test_data_set_*/{input,output}_*.pb
    #[arg(required = true)]
    pub(crate) dirs: Vec<PathBuf>,
    /// Where the models are, as FOLDER-NAME.onnx, if not in the folders
    #[arg(long, value_name = "DIR")]
    pub(crate) models: Option<PathBuf>,
    /// Relative tolerance
    #[arg(long, default_value_t = 1e-3)]
    pub(crate) rtol: f64,
    /// Absolute tolerance
    #[arg(long, default_value_t = 1e-7)]
    pub(crate) atol: f64,
    /// Instead: greatest difference over the greatest expected magnitude of an output
    #[arg(long, conflicts_with_all = ["rtol", "atol"])]
    pub(crate) rel_max: Option<f64>,
    /// Write a result a case, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Print the figures of every case
    #[arg(short, long)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    #[command(flatten)]
    pub(crate) options: CompileOptions,
}

#[derive(Args)]
#[command(after_help = "Example:\n  nnc check model.onnx")]
pub(crate) struct CheckArgs {
    /// ONNX file
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) options: CompileOptions,
}

#[derive(Args)]
#[command(after_help = "Example:\n  nnc inspect model.onnx --json")]
pub(crate) struct InspectArgs {
    /// ONNX file or .nnc artefact
    pub(crate) model: PathBuf,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) options: CompileOptions,
}

#[derive(Args)]
#[command(
    after_help = "Example:\n  nnc opt model.onnx --passes canonicalize,reach-canonical,fuse --emit ir\n  nnc opt model.onnx --bisect\n  nnc opt --list-passes"
)]
pub(crate) struct OptArgs {
    /// ONNX file or .nnir text
    #[arg(required_unless_present = "list_passes")]
    pub(crate) model: Option<PathBuf>,
    /// Passes in order, with commas between [default: those of -O2]
    #[arg(long, value_delimiter = ',')]
    pub(crate) passes: Option<Vec<String>>,
    /// Print names, phases, exactness and help of all passes
    #[arg(long)]
    pub(crate) list_passes: bool,
    /// What to print
    #[arg(long, value_enum, default_value = "ir")]
    pub(crate) emit: OptEmit,
    /// Instead: run the program with fewer and with more rewrites, and name the pass and the rewrite at which results part;
    /// ends with 1 if they do
    #[arg(long)]
    pub(crate) bisect: bool,
    /// With --bisect: folder with the inputs [default: made up]
    #[arg(long, value_name = "DIR", requires = "bisect")]
    pub(crate) inputs: Option<PathBuf>,
    /// With --bisect: greatest difference over the greatest magnitude of an output that counts as equal
    #[arg(long, default_value_t = 1e-4, requires = "bisect")]
    pub(crate) rel_max: f64,
    #[command(flatten)]
    pub(crate) options: CompileOptions,
}

/// What `opt` prints.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OptEmit {
    /// The module
    Ir,
    /// What each pass changed
    Diff,
}

#[derive(Args)]
#[command(
    after_help = "Example:\n  nnc explain model.onnx --pass fuse\n  nnc explain model.onnx --node /conv1/Conv"
)]
pub(crate) struct ExplainArgs {
    /// ONNX file or .nnir text
    pub(crate) model: PathBuf,
    /// Which pass [default: all]
    #[arg(long)]
    pub(crate) pass: Option<String>,
    /// Only what concerns the ONNX nodes whose names contain this
    #[arg(long)]
    pub(crate) node: Option<String>,
    #[command(flatten)]
    pub(crate) options: CompileOptions,
}
