//! shared - options that several commands take.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use nnc::cpu::Winograd;
use nnc::{Failure, OptLevel, Options, SessionOptions, Training, TuningFile};

use super::values::{parse_dim, parse_seconds, parse_shape, parse_winograd};

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
