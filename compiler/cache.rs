//! cache - programs kept in a folder, by what they are made of: the imported module, the options, the processor and this
//! build of nnc.
//!
//! An entry is an artefact, `KEY.nnc`, written whole or not at all and digested, so that a damaged one is noticed, and
//! made again. What is in the folder is run: it needs the same trust as nnc itself.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use nnc_cpu::Target;
use nnc_ir::{Module, hash::content_hash};
use nnc_runtime::{Image, artefact, default_max_memory};

use crate::{Failure, Options};

/// The note by which an entry says which key it was made for.
const KEY_NOTE: &str = "cache_key";

/// A folder of programs.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

/// What a cache holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheSize {
    /// Programs.
    pub programs: usize,
    /// Bytes of their files.
    pub bytes: u64,
}

impl Cache {
    /// The cache in a folder, which need not exist yet.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The key of a program.
    pub(crate) fn key(module: &Module, target: &Target, options: &Options) -> String {
        // Not what decides the module (shapes), nor what only watches.
        let Options { level, without, winograd, training, name, max_memory, trace, .. } = options;
        let facts = format!(
            "{} {level:?} {without:?} {winograd:?} {training:?} {name:?} {max_memory:?} {trace} {} {:?} {:?}",
            this_build(),
            target.triple,
            target.desc,
            target.features
        );
        let tuning = options.tuning.as_ref().map(|file| file.tuning(&target.processor()));
        let mut hasher = blake3::Hasher::new();
        hasher.update(&content_hash(module)).update(facts.as_bytes());
        for (kernel, given) in tuning.iter().flatten() {
            hasher.update(format!("{kernel}\t{given}\n").as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.nnc"))
    }

    /// The program with a key; `None` if there is none, or a damaged one.
    pub(crate) fn get(&self, key: &str) -> Option<Image> {
        let mut image = artefact::read(&self.path(key), default_max_memory()).ok()?;
        let at = image.notes.iter().position(|(name, text)| name == KEY_NOTE && text == key)?;
        image.notes.remove(at);
        Some(image)
    }

    /// Keeps a program. That it cannot be written is no error: it is made again the next time.
    pub(crate) fn put(&self, key: &str, image: &mut Image) {
        if fs::create_dir_all(&self.folder).is_err() {
            return;
        }
        image.notes.push((KEY_NOTE.to_owned(), key.to_owned()));
        let _ = artefact::write(image, &self.path(key));
        image.notes.pop();
    }

    /// How much there is.
    ///
    /// # Errors
    /// E0603 if the folder cannot be read.
    pub fn size(&self) -> Result<CacheSize, Failure> {
        let mut size = CacheSize::default();
        for path in self.entries().map_err(|e| self.unreadable(&e))? {
            size.programs += 1;
            size.bytes += path.metadata().map_or(0, |m| m.len());
        }
        Ok(size)
    }

    /// Removes all programs, and nothing else that may be in the folder.
    ///
    /// # Errors
    /// E0603 if the folder cannot be read, E0602 if a file cannot be removed.
    pub fn clear(&self) -> Result<CacheSize, Failure> {
        let size = self.size()?;
        for path in self.entries().map_err(|e| self.unreadable(&e))? {
            fs::remove_file(&path)
                .map_err(|e| Failure::single(602, format!("cannot remove '{}': {e}", path.display())))?;
        }
        Ok(size)
    }

    fn unreadable(&self, error: &io::Error) -> Failure {
        Failure::single(603, format!("cannot read '{}': {error}", self.folder.display()))
    }

    /// Files that are named as entries are.
    fn entries(&self) -> io::Result<Vec<PathBuf>> {
        let is_entry = |path: &Path| {
            let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
            path.extension().is_some_and(|e| e == "nnc")
                && stem.len() == 64
                && stem.bytes().all(|b| b.is_ascii_hexdigit())
        };
        let listed = match fs::read_dir(&self.folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed?,
        };
        let paths = listed.filter_map(|entry| Some(entry.ok()?.path()));
        Ok(paths.filter(|path| is_entry(path)).collect())
    }
}

/// What tells this build of nnc from others: two builds of one version may make different code.
fn this_build() -> String {
    let file = std::env::current_exe().and_then(fs::metadata);
    let built = file.map(|m| {
        let changed = m.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        format!("{} {changed:?}", m.len())
    });
    format!("{} {}", env!("CARGO_PKG_VERSION"), built.unwrap_or_default())
}
