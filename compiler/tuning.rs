//! tuning - a file of measured choices: which way of doing a kernel is fastest on which processor.
//!
//! ```text
//! # nnc tuning: version, processor, kernel, choices
//! 0.1.0<tab>x86-64-v4 on AMD EPYC 9R45 48K 1024K 32768K<tab>f32 1x56x56x64 over ... #0123456789abcdef<tab>tile=8x48 rows=2
//! ```
//!
//! One line an entry, with tabs between its fields, in the order of bytes; `*` in place of a processor is any. So files of
//! several machines are merged by putting their lines together. An entry counts for the version of nnc that measured it
//! and for its processor alone: others stay in the file and are not used.

use std::{collections::BTreeMap, fmt, fs, io, path::Path, str::FromStr};

use nnc_cpu::choice::{Given, Tuning};
use nnc_ir::diag::Diagnostic;

use crate::Failure;

/// This version of nnc.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What stands for every processor.
const ANY: &str = "*";
/// First line of a file.
const HEAD: &str = "# nnc tuning: version, processor, kernel, choices";
/// Bytes of a file, at most.
const LIMIT: u64 = 64 << 20;

/// The entries of a tuning file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TuningFile {
    entries: BTreeMap<Entry, Given>,
}

/// What an entry is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    version: String,
    processor: String,
    kernel: String,
}

impl TuningFile {
    /// Reads a file.
    ///
    /// # Errors
    /// E0601 if it cannot be read, E0604 for each line that says nothing.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Failure> {
        let path = path.as_ref();
        let unreadable =
            |why: &dyn fmt::Display| Failure::single(601, format!("cannot read '{}': {why}", path.display()));
        if fs::metadata(path).map_err(|e| unreadable(&e))?.len() > LIMIT {
            return Err(unreadable(&"it is larger than a tuning file can be"));
        }
        let bytes = fs::read(path).map_err(|e| unreadable(&e))?;
        let text = std::str::from_utf8(&bytes).map_err(|e| unreadable(&e))?;
        Self::parse(text, &path.display().to_string())
    }

    /// Likewise, or no entries if there is no such file.
    ///
    /// # Errors
    /// As [`TuningFile::read`].
    pub fn read_or_empty(path: impl AsRef<Path>) -> Result<Self, Failure> {
        match fs::metadata(path.as_ref()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            _ => Self::read(path),
        }
    }

    /// The entries in a text, which messages call `name`.
    ///
    /// # Errors
    /// E0604 for each line that says nothing, or something else than another line.
    pub fn parse(text: &str, name: &str) -> Result<Self, Failure> {
        let mut file = Self::default();
        let mut problems = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Err(why) = file.add_line(line) {
                let message = format!("'{name}' line {}: {why}", number + 1);
                problems.push(
                    Diagnostic::error(604, message)
                        .help("an entry is VERSION, PROCESSOR, KERNEL and CHOICES with tabs between them"),
                );
            }
        }
        if problems.is_empty() { Ok(file) } else { Err(Failure::Model(problems)) }
    }

    fn add_line(&mut self, line: &str) -> Result<(), String> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [version, processor, kernel, choices] = fields[..] else {
            return Err(format!("{} fields", fields.len()));
        };
        if [version, processor, kernel].contains(&"") {
            return Err("a field is empty".to_owned());
        }
        let given = Given::from_str(choices)?;
        let entry = Entry { version: version.into(), processor: processor.into(), kernel: kernel.into() };
        match self.entries.get(&entry) {
            Some(other) if *other != given => Err(format!("another line says {other} of the same kernel")),
            _ => {
                self.entries.insert(entry, given);
                Ok(())
            }
        }
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// E0602 if it cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), Failure> {
        let path = path.as_ref();
        let mut part = path.as_os_str().to_owned();
        part.push(format!(".{}.part", std::process::id()));
        let written = fs::write(&part, self.to_string()).and_then(|()| fs::rename(&part, path));
        written.map_err(|e| {
            // It may not be there, and the first problem is the one to tell.
            let _ = fs::remove_file(&part);
            Failure::single(602, format!("cannot write '{}': {e}", path.display()))
        })
    }

    /// Sets what this version of nnc does for a kernel on a processor: as its cost model says, if nothing is given.
    pub fn set(&mut self, processor: &str, kernel: &str, given: Option<Given>) {
        let entry = Entry { version: VERSION.into(), processor: processor.into(), kernel: kernel.to_owned() };
        match given.filter(|given| !given.0.is_empty()) {
            Some(given) => self.entries.insert(entry, given),
            None => self.entries.remove(&entry),
        };
    }

    /// What this version of nnc uses on a processor.
    #[must_use]
    pub fn tuning(&self, processor: &str) -> Tuning {
        let of = |wanted: &'static str, processor: &str| {
            let processor = if wanted == ANY { ANY.to_owned() } else { processor.to_owned() };
            let mine =
                self.entries.iter().filter(move |(e, _)| e.version == VERSION && e.processor == processor);
            mine.map(|(entry, given)| (entry.kernel.clone(), given.clone()))
        };
        of(ANY, processor).chain(of("", processor)).collect()
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A note on entries for a processor that another version of nnc measured, if there are some.
    pub(crate) fn stale(&self, processor: &str) -> Option<Diagnostic> {
        let mine = |e: &&Entry| e.processor == processor || e.processor == ANY;
        let others = self.entries.keys().filter(mine).filter(|e| e.version != VERSION).count();
        let message =
            format!("{others} tuning entries are of another version of nnc than {VERSION} and are not used");
        (others > 0).then(|| Diagnostic::warning(604, message).help("tune again with --tune"))
    }
}

impl fmt::Display for TuningFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        for (Entry { version, processor, kernel }, given) in &self.entries {
            writeln!(f, "{version}\t{processor}\t{kernel}\t{given}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(lines: &[&str]) -> Result<TuningFile, Failure> {
        let lines: Vec<String> = lines.iter().map(|l| l.replace('|', "\t").replace("NOW", VERSION)).collect();
        TuningFile::parse(&lines.join("\n"), "t")
    }

    #[test]
    fn files_are_sorted_and_read_back() {
        let a = file(&["# a note", "", "NOW|p|k2|rows=2", "NOW|p|k1|tile=8x48 rows=3", "0.0.1|q|k1|rows=2"]);
        let a = a.unwrap();
        let text = a.to_string();
        assert_eq!(TuningFile::parse(&text, "t").unwrap(), a);
        assert!(text.find("k1\ttile").unwrap() < text.find("k2").unwrap(), "{text}");
        // Two files are one by their lines.
        let b = file(&["NOW|q|k1|rows=5", "NOW|p|k2|rows=2"]).unwrap().to_string();
        let both = TuningFile::parse(&(text + &b), "t").unwrap();
        assert_eq!(both.len(), 4);
    }

    #[test]
    fn entries_count_for_their_version_and_processor() {
        let lines =
            ["NOW|p|k1|rows=2", "NOW|q|k1|rows=3", "0.0.1|p|k2|rows=4", "NOW|*|k1|rows=5", "NOW|*|k3|rows=6"];
        let file = file(&lines).unwrap();
        let rows = |processor: &str| -> Vec<(String, String)> {
            file.tuning(processor).iter().map(|(k, g)| (k.clone(), g.to_string())).collect()
        };
        let pairs = |all: &[(&str, &str)]| -> Vec<(String, String)> {
            all.iter().map(|(k, g)| ((*k).to_owned(), (*g).to_owned())).collect()
        };
        assert_eq!(rows("p"), pairs(&[("k1", "rows=2"), ("k3", "rows=6")]));
        assert_eq!(rows("r"), pairs(&[("k1", "rows=5"), ("k3", "rows=6")]));
        assert!(file.stale("p").unwrap().message.starts_with("1 tuning entries"));
        assert!(file.stale("q").is_none());
    }

    #[test]
    fn other_entries_stay_when_one_is_set() {
        let mut file = file(&["NOW|p|k1|rows=2", "NOW|q|k1|rows=3", "0.0.1|p|k1|rows=4"]).unwrap();
        file.set("p", "k1", None);
        file.set("p", "k2", Some("panels=2".parse().unwrap()));
        let text = file.to_string();
        assert_eq!(file.len(), 3);
        assert!(text.contains("\tk2\tpanels=2\n") && text.contains("q\tk1\trows=3\n"), "{text}");
    }

    #[test]
    fn lines_that_say_nothing_are_all_named() {
        let bad =
            ["NOW|p|k", "NOW||k|rows=1", "NOW|p|k|", "NOW|p|k|rows=1", "NOW|p|k|rows=2", "NOW|p|k|hours=1"];
        let Err(Failure::Model(problems)) = file(&bad) else { panic!("must be refused") };
        assert_eq!(problems.len(), 5);
        assert!(problems.iter().all(|p| p.code.0 == 604));
        assert!(problems[3].message.contains("line 5: another line says rows=1"), "{}", problems[3].message);
    }
}
