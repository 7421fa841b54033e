//! How far two replies agree, and why not.
//!
//! A score is *fidelity to the provider*, call by call: whether the understudy
//! said what the provider said, not whether the errand succeeded.
//!
//! - `tools`: calls compared as the Berkeley Function Calling Leaderboard's
//!   AST check does (names, required and unexpected arguments, types, sets of
//!   calls without order), strict where a string is an id, a path, an amount or
//!   an expression.
//! - `json`: structure and leaves.
//! - `text`: numbers, dates, identifiers, URLs, signs and negations must be the
//!   same and the words must match but for case and punctuation. Embedding
//!   similarity never counts: entity swaps and negations lie near 0.9.
//!
//! From the pass mark 1.0 on two replies agree. What lies below is reported as
//! the share that matched, so that a person sees how near a miss was.

mod exact;
mod json;
mod text;
mod tools;

use serde::{Deserialize, Serialize};
use understudy_call::{Format, Part, Reply, Request};

/// How far two replies agree, and why not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// 0 to 1: the share of what was compared that matched.
    pub value: f64,
    /// Whether the replies agree.
    pub agrees: bool,
    /// For tool calls: whether the names agree, arguments aside.
    pub name_agrees: Option<bool>,
    /// The first difference.
    pub why: Difference,
}

/// The first difference between two replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Difference {
    /// None: they agree.
    None,
    /// One is not a whole reply.
    NotWhole,
    /// One calls tools, the other does not.
    Kind,
    /// One refuses, the other does not.
    Refusal,
    /// Another number of calls.
    CallCount,
    /// Another tool.
    ToolName,
    /// The arguments are not JSON, or not an object.
    NotJson,
    /// An argument is missing.
    MissingArgument,
    /// An argument is not in the reference.
    UnexpectedArgument,
    /// A value has another type.
    Type,
    /// A value differs.
    Value,
    /// JSON of another structure.
    Structure,
    /// A number, date, identifier or URL differs.
    Fact,
    /// One negates, the other does not.
    Negation,
    /// The words differ.
    Words,
}

impl Difference {
    /// The name used in counters and tables.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::NotWhole => "not_whole",
            Self::Kind => "kind",
            Self::Refusal => "refusal",
            Self::CallCount => "call_count",
            Self::ToolName => "tool_name",
            Self::NotJson => "not_json",
            Self::MissingArgument => "missing_argument",
            Self::UnexpectedArgument => "unexpected_argument",
            Self::Type => "type",
            Self::Value => "value",
            Self::Structure => "structure",
            Self::Fact => "fact",
            Self::Negation => "negation",
            Self::Words => "words",
        }
    }
}

/// What was compared, while it is being compared.
#[derive(Debug, Clone, Copy)]
struct Tally {
    matched: u32,
    compared: u32,
    first: Difference,
}

impl Tally {
    const fn new() -> Self {
        Self { matched: 0, compared: 0, first: Difference::None }
    }

    fn matched(&mut self) {
        self.matched += 1;
        self.compared += 1;
    }

    fn differs(&mut self, why: Difference) {
        self.compared += 1;
        if self.first == Difference::None {
            self.first = why;
        }
    }

    /// Counts a value as matched, or as differing for this reason.
    fn judge(&mut self, same: bool, why: Difference) {
        if same {
            self.matched();
        } else {
            self.differs(why);
        }
    }

    fn add(&mut self, other: Self) {
        self.matched += other.matched;
        self.compared += other.compared;
        if self.first == Difference::None {
            self.first = other.first;
        }
    }

    fn score(self, name_agrees: Option<bool>) -> Score {
        let agrees = self.first == Difference::None;
        let value = if self.compared == 0 {
            f64::from(u8::from(agrees))
        } else {
            f64::from(self.matched) / f64::from(self.compared)
        };
        Score { value, agrees, name_agrees, why: self.first }
    }
}

fn differ(why: Difference) -> Score {
    Score { value: 0.0, agrees: false, name_agrees: None, why }
}

/// Compares an answer with the provider's reply to the same call. Pure.
///
/// Text beside tool calls is not compared: agents act on the calls.
#[must_use]
pub fn compare(request: &Request, reference: &Reply, answer: &Reply) -> Score {
    let (Some(wanted), Some(given)) = (reference.first(), answer.first()) else {
        return differ(Difference::NotWhole);
    };
    if !reference.is_whole() || !answer.is_whole() {
        return differ(Difference::NotWhole);
    }
    match (wanted.tool_calls.is_empty(), given.tool_calls.is_empty()) {
        (false, false) => {
            return tools::compare(&request.tools, &wanted.tool_calls, &given.tool_calls);
        }
        (true, true) => {}
        _ => {
            return Score { name_agrees: Some(false), ..differ(Difference::Kind) };
        }
    }
    let refuses = |parts: &[Part]| parts.iter().any(|p| matches!(p, Part::Refusal(_)));
    match (refuses(&wanted.content), refuses(&given.content)) {
        (true, true) => return Tally::new().score(None),
        (false, false) => {}
        _ => return differ(Difference::Refusal),
    }
    let (wanted, given) = (wanted.text(), given.text());
    let schema = match &request.format {
        Format::JsonSchema { schema, .. } => Some(&**schema),
        _ => None,
    };
    match (json::parse(&wanted), json::parse(&given)) {
        (Some(w), Some(g)) => json::compare(schema, &w, &g).score(None),
        (Some(_), None) => differ(Difference::NotJson),
        (None, _) => text::compare(&wanted, &given).score(None),
    }
}

#[cfg(test)]
mod tests;
