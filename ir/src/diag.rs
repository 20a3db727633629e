//! diag - coded diagnostics: what is wrong with a model, where, and what would cure it.

use std::fmt;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The model is used all the same.
    Warning,
    /// The model is refused.
    Error,
}

/// A problem code such as `E0212`; its hundreds tell the family and the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u16);

impl Code {
    /// Exit status of the command line for an error of this code (interfaces: 3 invalid, 4 unsupported, 5 limit,
    /// 6 I/O, 7 artefact, 8 run-time call).
    #[must_use]
    pub fn exit_status(self) -> u8 {
        match self.0 / 100 {
            0..=3 => 3,
            4 => 4,
            5 => 5,
            6 => 6,
            7 => 7,
            _ => 8,
        }
    }
}

/// Where a problem is, in the terms of the ONNX model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Loc {
    /// Graph path, `main` or `main/if_3.then_branch`.
    pub graph: Option<String>,
    /// Index and name of the node, and its operator.
    pub node: Option<NodeLoc>,
    /// Tensor the problem is about.
    pub tensor: Option<String>,
    /// Byte offset in the file.
    pub byte: Option<u64>,
}

/// An ONNX node as diagnostics name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeLoc {
    /// Position in its graph.
    pub index: usize,
    /// The node's name, which may be empty.
    pub name: String,
    /// Operator type, with its domain if that is not the default.
    pub op: String,
    /// Opset version the model imports for that domain.
    pub opset: i64,
}

/// One problem of a model, an artefact or a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// Stable number, listed in docs/errors.md.
    pub code: Code,
    /// Error or warning.
    pub severity: Severity,
    /// Lower case, no full stop; names the thing and both sides.
    pub message: String,
    /// Place in the model.
    pub loc: Loc,
    /// Further facts.
    pub notes: Vec<String>,
    /// What would cure it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error with `code` and `message`, no place yet.
    #[must_use]
    pub fn error(code: u16, message: impl Into<String>) -> Self {
        Self {
            code: Code(code),
            severity: Severity::Error,
            message: message.into(),
            loc: Loc::default(),
            notes: Vec::new(),
            help: None,
        }
    }

    /// A warning with `code` and `message`.
    #[must_use]
    pub fn warning(code: u16, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Adds the cure.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds a further fact.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Adds the node.
    #[must_use]
    pub fn at_node(mut self, node: NodeLoc) -> Self {
        self.loc.node = Some(node);
        self
    }

    /// Adds the tensor.
    #[must_use]
    pub fn tensor(mut self, tensor: impl Into<String>) -> Self {
        self.loc.tensor = Some(tensor.into());
        self
    }

    /// Adds the graph.
    #[must_use]
    pub fn in_graph(mut self, graph: impl Into<String>) -> Self {
        self.loc.graph = Some(graph.into());
        self
    }

    /// Adds the byte offset in the file.
    #[must_use]
    pub fn at_byte(mut self, byte: u64) -> Self {
        self.loc.byte = Some(byte);
        self
    }

    /// Whether the model is refused for it.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, letter) = match self.severity {
            Severity::Error => ("error", 'E'),
            Severity::Warning => ("warning", 'W'),
        };
        write!(f, "{word}[{letter}{:04}]: ", self.code.0)?;
        if let Some(node) = &self.loc.node {
            write!(f, "{node}: ")?;
        }
        write!(f, "{}", escape(&self.message))?;
        let place = [
            self.loc.graph.as_ref().map(|g| format!("graph '{}'", escape(g))),
            self.loc.tensor.as_ref().map(|t| format!("tensor '{}'", escape(t))),
            self.loc.byte.map(|b| format!("byte {b}")),
        ];
        let place: Vec<String> = place.into_iter().flatten().collect();
        if !place.is_empty() {
            write!(f, "\n  in {}", place.join(", "))?;
        }
        for note in &self.notes {
            write!(f, "\n  note: {}", escape(note))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {}", escape(help))?;
        }
        Ok(())
    }
}

impl fmt::Display for NodeLoc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node #{}", self.index)?;
        if !self.name.is_empty() {
            write!(f, " '{}'", escape(&self.name))?;
        }
        write!(f, " ({}, opset {})", escape(&self.op), self.opset)
    }
}

/// Names come from untrusted files: control and direction characters must not reach a terminal.
#[must_use]
pub fn escape(text: &str) -> String {
    let harmless =
        |c: char| !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .map(|c| if harmless(c) { c.to_string() } else { format!("\\x{:02x}", u32::from(c)) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_names_node_tensor_and_cure_without_control_characters() {
        let node = NodeLoc { index: 7, name: "a\x1b[31m".into(), op: "Gemm".into(), opset: 13 };
        let d = Diagnostic::error(212, "input 1 'B' has rank 3, Gemm needs rank 2")
            .at_node(node)
            .in_graph("main")
            .help("insert Reshape");
        assert_eq!(
            d.to_string(),
            "error[E0212]: node #7 'a\\x1b[31m' (Gemm, opset 13): input 1 'B' has rank 3, Gemm needs rank 2\n  \
             in graph 'main'\n  help: insert Reshape"
        );
        assert_eq!(d.code.exit_status(), 3);
    }
}
