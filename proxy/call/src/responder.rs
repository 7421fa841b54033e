use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::{Credential, ExchangeId, Reply, Request};

/// Names an understudy exactly to the version: a short kind and a hash over
/// weights, adapter, template, examples, decoding, runtime and execution
/// provider, as `kind-0123456789ab`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnderstudyId(pub String);

impl fmt::Display for UnderstudyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose turn it is when a model has more than one thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// A trial: gives way between tokens.
    Shadow,
    /// An agent is waiting.
    Live,
}

/// How a model writes a tool call as text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallText {
    /// `{"name": "find", "arguments": {"id": 7}}`, several as a list: what
    /// models have seen most.
    #[default]
    Json,
    /// `>find {"id": 7}`, one a line: a third of the tokens around the
    /// arguments, for a model that has learnt it.
    Line,
}

impl CallText {
    /// Whether this is how a model writes one unless it is told otherwise.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a text that is no call would be taken for the beginning of one.
    #[must_use]
    pub fn begins(self, text: &str) -> bool {
        match self {
            Self::Json => text.starts_with(['{', '[']),
            Self::Line => text.starts_with('>'),
        }
    }
}

/// One call put to an understudy.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The call.
    pub request: &'a Request,
    /// So many of its messages are of the form ([`crate::Metadata::opening`]).
    pub opening: u16,
    /// Who calls: examples come from this credential's exchanges only.
    pub credential: Credential,
    /// The exchange itself when it is already captured, so that it is never its own example.
    pub exchange: Option<ExchangeId>,
    /// The time the understudy has; past it the answer is worthless.
    pub deadline: Duration,
    /// The bar of confidence. `None` asks for the answer whatever its
    /// confidence (trials measure the whole curve).
    pub bar: Option<f64>,
    /// Whose turn it is.
    pub priority: Priority,
}

/// An understudy's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// A whole, checked reply.
    pub reply: Reply,
    /// How sure the understudy is; greater is surer. Comparable only within one understudy.
    pub confidence: f64,
    /// The tool or label that the understudy itself chose.
    pub stratum: String,
    /// How long it took.
    pub spent: Duration,
}

/// Why an understudy did not answer. Each one is a fallback to the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Declined {
    /// Its confidence stayed below the bar.
    BelowBar,
    /// The stratum it chose has too few judged conversations.
    Rare,
    /// The stratum it chose agrees too seldom.
    Weak,
    /// The deadline could not have been met, so it did not begin.
    TooSlow,
    /// It began, and the deadline passed.
    Late,
    /// It has no room for another call.
    Busy,
    /// The call does not fit its context, or its reply the call's limits.
    TooLong,
    /// Its output was not a valid reply.
    Invalid,
    /// The part is unlike what it has seen.
    Novel,
    /// It said a value that its task always takes from the call's own words, and that
    /// stands nowhere in them.
    Unquoted,
    /// It has learnt that such a call is the provider's: a text that is never said again.
    Deferred,
    /// It cannot be reached, or it failed.
    Unavailable,
    /// Whoever asked went away.
    Cancelled,
    /// Its budget is spent.
    Budget,
}

impl Declined {
    /// All of them, for whoever counts each.
    pub const ALL: [Self; 14] = [
        Self::BelowBar,
        Self::Rare,
        Self::Weak,
        Self::TooSlow,
        Self::Late,
        Self::Busy,
        Self::TooLong,
        Self::Invalid,
        Self::Novel,
        Self::Unquoted,
        Self::Deferred,
        Self::Unavailable,
        Self::Cancelled,
        Self::Budget,
    ];

    /// Whether nothing was learnt of the understudy: it could not be asked, or not to
    /// the end, for reasons that do not lie in the call.
    #[must_use]
    pub fn is_unasked(self) -> bool {
        matches!(self, Self::Unavailable | Self::Busy | Self::Cancelled | Self::Budget)
    }

    /// The name used in counters.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::BelowBar => "below_bar",
            Self::Rare => "rare",
            Self::Weak => "weak",
            Self::TooSlow => "too_slow",
            Self::Late => "late",
            Self::Busy => "busy",
            Self::TooLong => "too_long",
            Self::Invalid => "invalid",
            Self::Novel => "novel",
            Self::Unquoted => "unquoted",
            Self::Deferred => "deferred",
            Self::Unavailable => "unavailable",
            Self::Cancelled => "cancelled",
            Self::Budget => "budget",
        }
    }
}

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Someone who may answer a call in the provider's stead.
pub trait Responder: Send + Sync {
    /// Its name, exact to the version.
    fn id(&self) -> &UnderstudyId;

    /// Answers, or says why not. Dropping the future cancels the work.
    fn respond<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Answer, Declined>>;
}

/// Turns texts into vectors of unit length, all of one dimension.
pub trait Embedder: Send + Sync {
    /// Name and version of the model, as part of an understudy's own version;
    /// empty while it is not known. It changes where another engine takes over.
    fn id(&self) -> String;

    /// One vector a text, in order.
    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        priority: Priority,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>>;
}

/// Why there are no vectors.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    /// The engine cannot be reached, or refused.
    #[error("embedder unavailable: {0}")]
    Unavailable(String),
    /// The vectors came in another number or dimension than promised.
    #[error("embedder answered with {got} vectors for {wanted} texts")]
    Mismatch {
        /// Texts sent.
        wanted: usize,
        /// Vectors received.
        got: usize,
    },
}
