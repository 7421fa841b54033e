use understudy_call::Dialect;

/// Why bytes did not become nouns. It never carries what stood in the bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialectError {
    /// The dialect is recognised but not decoded: the call passes through.
    #[error("dialect {} is not decoded yet: pass the call through", .0.label())]
    Undecoded(Dialect),
    /// The bytes are not what the dialect says they should be.
    #[error("malformed body at {at}{}: {problem}", place(*.line, *.column))]
    Malformed {
        /// The place as a path of field names and places in lists, `body` for the whole.
        at: String,
        /// What was expected there.
        problem: String,
        /// Line of the body (or of the stream's event), from 1; 0 where not known.
        line: usize,
        /// Column likewise.
        column: usize,
    },
    /// The nouns could not be written as JSON.
    #[error("the request cannot be written as JSON: a number is not finite")]
    Unwritable,
}

/// Where in the text, if that is known: what was read out of other JSON has no lines.
fn place(line: usize, column: usize) -> String {
    if line == 0 { String::new() } else { format!(" (line {line}, column {column})") }
}

impl DialectError {
    /// The name used in counters.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Undecoded(_) => "undecoded",
            Self::Malformed { .. } => "malformed",
            Self::Unwritable => "unwritable",
        }
    }
}
