//! args - what the command line accepts.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use nnc::cpu::Winograd;
use nnc::{Failure, OptLevel, Options, SessionOptions, Training, TuningFile};

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

/// What every command that compiles takes.
#[derive(Args, Clone)]
pub(crate) struct CompileOptions {
    /// Optimization level: 0 required passes, 1 exact passes, 2 also rounding ones, 3 also costlier searches
    #[arg(short = 'O', default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=3))]
    pub(crate) level: u8,
    /// Leave a pass out, or winograd: convolutions by minimal filtering
    #[arg(long, value_name = "PASS")]
    pub(crate) without: Vec<String>,
    /// Largest squares of convolutions by minimal filtering: those of 6 results along an axis round twice as much as those of 4
    #[arg(long, value_name = "2|4|6", default_value = "4", value_parser = parse_winograd)]
    pub(crate) winograd: Winograd,
    /// Compile the form for inference, or the model as it is written [default: strip; verify: keep]
    #[arg(long, value_enum)]
    pub(crate) training: Option<TrainingForm>,
    /// Pin a symbol: N=1
    #[arg(long = "dim", value_name = "NAME=N", value_parser = parse_dim)]
    pub(crate) dims: Vec<(String, i64)>,
    /// Replace the declared shape of an input: x=1,3,224,224
    #[arg(long = "shape", value_name = "NAME=D,D,...", value_parser = parse_shape)]
    pub(crate) shapes: Vec<(String, Vec<i64>)>,
    /// Instruction set: native, x86-64-v2, x86-64-v3, x86-64-v4, generic
    #[arg(long, default_value = "native")]
    pub(crate) cpu: String,
    #[command(flatten)]
    pub(crate) cache: CacheFolder,
    #[command(flatten)]
    pub(crate) tuning: TuningPath,
}

/// Where measured choices are.
#[derive(Args, Clone)]
pub(crate) struct TuningPath {
    /// Use the choices of this file that were measured on this kind of processor
    #[arg(id = "tuning", long = "tuning", value_name = "FILE")]
    pub(crate) path: Option<PathBuf>,
}

/// What commands take that can measure choices.
#[derive(Args, Clone)]
pub(crate) struct TuneArgs {
    /// Measure how the kernels of the model are fastest on this machine, and put that into the file of --tuning
    #[arg(long, requires = "tuning")]
    pub(crate) tune: bool,
    /// Time after which nothing new is tried
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = parse_seconds, requires = "tune")]
    pub(crate) tune_seconds: Duration,
}

/// Where the compile cache is.
#[derive(Args, Clone)]
pub(crate) struct CacheFolder {
    /// Keep compiled programs in this folder, and take them from there [default: NNC_CACHE; without it none is kept]
    #[arg(long = "cache", value_name = "DIR")]
    path: Option<PathBuf>,
}

impl CacheFolder {
    /// The folder, if there is to be a cache.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        let named = || std::env::var_os("NNC_CACHE").filter(|v| !v.is_empty()).map(PathBuf::from);
        self.path.clone().or_else(named)
    }
}

/// What becomes of training forms.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TrainingForm {
    /// Taken out: batch normalization by running statistics, no dropout, no losses, optimizers or gradients
    Strip,
    /// Compiled as they are written
    Keep,
}

impl CompileOptions {
    /// Likewise, as the model is written unless the user says otherwise.
    pub(crate) fn to_options_as_written(&self) -> Result<Options, Failure> {
        let training = self.training.or(Some(TrainingForm::Keep));
        Self { training, ..self.clone() }.to_options()
    }

    /// The options; E06 for a tuning file that cannot be read.
    pub(crate) fn to_options(&self) -> Result<Options, Failure> {
        let tuning = self.tuning.path.as_ref().map(TuningFile::read).transpose()?;
        Ok(Options { tuning, ..self.without_tuning() })
    }

    /// Likewise, for a command that may write that file first.
    pub(crate) fn to_tuned_options(&self, tune: &TuneArgs) -> Result<Options, Failure> {
        match self.tuning.path.as_ref().filter(|_| tune.tune) {
            Some(path) => {
                Ok(Options { tuning: Some(TuningFile::read_or_empty(path)?), ..self.without_tuning() })
            }
            None => self.to_options(),
        }
    }

    fn without_tuning(&self) -> Options {
        let level = [OptLevel::O0, OptLevel::O1, OptLevel::O2, OptLevel::O3][usize::from(self.level.min(3))];
        Options {
            level,
            without: self.without.clone(),
            winograd: self.winograd,
            training: match self.training {
                Some(TrainingForm::Keep) => Training::Keep,
                Some(TrainingForm::Strip) | None => Training::Strip,
            },
            cpu: self.cpu.clone(),
            cache: self.cache.folder(),
            dims: self.dims.clone(),
            shapes: self.shapes.clone(),
            ..Options::default()
        }
    }
}

/// What every command that runs takes.
#[derive(Args, Clone)]
pub(crate) struct SessionArgs {
    /// Threads [default: the cores this process may use]
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// Most bytes a run may take: workspace, outputs and allocations [default: most of what the process may use]
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_memory: Option<u64>,
}

impl SessionArgs {
    pub(crate) fn to_options(&self) -> SessionOptions {
        let host = SessionOptions::host();
        SessionOptions {
            threads: self.threads.unwrap_or(host.threads),
            max_memory: self.max_memory.unwrap_or(host.max_memory),
            ..host
        }
    }
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

/// What commands share that run a model again and again.
#[derive(Args)]
pub(crate) struct TimingArgs {
    /// Folder with the inputs: 0.npy, 1.npy ... in the model's order, or NAME.npy [default: made up]
    #[arg(long, value_name = "DIR")]
    pub(crate) inputs: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    /// How long to repeat
    #[arg(long, default_value = "2", value_parser = parse_seconds)]
    pub(crate) seconds: Duration,
    /// One line of JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) options: CompileOptions,
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

fn parse_winograd(text: &str) -> Result<Winograd, String> {
    let way = Winograd::ALL.into_iter().find(|way| way.m().to_string() == text);
    way.ok_or_else(|| "must be 2, 4 or 6".to_owned())
}

fn parse_dim(text: &str) -> Result<(String, i64), String> {
    let (name, value) = text.split_once('=').ok_or("needs NAME=N")?;
    Ok((name.to_owned(), value.parse().map_err(|e| format!("'{value}': {e}"))?))
}

fn parse_shape(text: &str) -> Result<(String, Vec<i64>), String> {
    let (name, dims) = text.rsplit_once('=').ok_or("needs NAME=D,D,...")?;
    let dims = dims.split(',').filter(|d| !d.is_empty());
    let dims = dims.map(|d| d.trim().parse().map_err(|e| format!("'{d}': {e}")));
    Ok((name.to_owned(), dims.collect::<Result<_, String>>()?))
}

fn parse_bytes(text: &str) -> Result<i64, String> {
    let upper = text.to_ascii_uppercase();
    let (digits, shift) = match upper.strip_suffix(['K', 'M', 'G']) {
        Some(digits) if upper.ends_with('K') => (digits, 10),
        Some(digits) if upper.ends_with('M') => (digits, 20),
        Some(digits) => (digits, 30),
        None => (upper.as_str(), 0),
    };
    let number: i64 = digits.parse().map_err(|e| format!("'{text}': {e}"))?;
    let bytes = number.checked_mul(1 << shift).filter(|b| *b >= 0);
    bytes.ok_or_else(|| format!("'{text}' is out of range"))
}

/// So many that their times have room in memory.
fn parse_calls(text: &str) -> Result<usize, String> {
    let calls: usize = text.parse().map_err(|e| format!("{e}"))?;
    (1..=1 << 24)
        .contains(&calls)
        .then_some(calls)
        .ok_or_else(|| format!("{calls} is not in 1 to {}", 1 << 24))
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|e| format!("{e}"))?;
    Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())
}

fn parse_input(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("needs NAME=FILE")?;
    Ok((name.to_owned(), file.into()))
}
