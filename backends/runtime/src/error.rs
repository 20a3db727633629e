//! error - coded errors of loading and running a program.

use std::fmt;

/// Result of the runtime.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One problem: E05 a limit, E06 the file system, E07 an artefact, E08 a call (and E0236, extents that contradict).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    code: u16,
    message: String,
    node: Option<String>,
    help: Option<String>,
}

impl Error {
    /// A problem with its number, no node and no help yet. The message is lower case, without a full stop.
    #[must_use]
    pub fn new(code: u16, message: impl Into<String>) -> Self {
        Self { code, message: printable(message.into()), node: None, help: None }
    }

    /// Adds what would cure it.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(printable(help.into()));
        self
    }

    /// Adds the node it happened in, by the names of the model.
    #[must_use]
    pub fn with_node(mut self, node: impl Into<String>) -> Self {
        self.node = Some(printable(node.into()));
        self
    }

    /// The number: 802 for E0802.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.code
    }

    /// What is wrong, without code, node and help.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The node it happened in.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// What would cure it.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

/// The text with what could steer a terminal or turn its reading direction written out: names come from models.
fn printable(text: String) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(steers) {
        return text;
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if steers(c) { clean.extend(c.escape_unicode()) } else { clean.push(c) }
    }
    clean
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[E{:04}]: ", self.code)?;
        if let Some(node) = &self.node {
            write!(f, "{node}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

/// E0501: more memory than there is or than the limit allows.
pub(crate) fn out_of_memory(what: &str, bytes: impl fmt::Display, limit: Option<u64>) -> Error {
    match limit {
        Some(limit) => Error::new(501, format!("{what} needs {bytes} bytes, over the limit of {limit}"))
            .with_help("raise --max-memory, or use smaller inputs"),
        None => Error::new(501, format!("{what} needs {bytes} bytes, and the system has not that much")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_has_code_node_and_help() {
        let error = Error::new(805, "index 9 is out of range").with_node("gather_3").with_help("check it");
        assert_eq!(error.to_string(), "error[E0805]: gather_3: index 9 is out of range\n  help: check it");
    }

    #[test]
    fn names_cannot_steer_a_terminal() {
        let error = Error::new(802, "input 'a\x1b[2J\u{202e}é'").with_node("x\ny");
        assert_eq!(error.to_string(), "error[E0802]: x\\u{a}y: input 'a\\u{1b}[2J\\u{202e}é'");
    }
}
