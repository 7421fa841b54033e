//! What generation is asked, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use understudy_call::{Declined, Finish};

use crate::adapter::Adapter;
use crate::grammar::{Grammar, GrammarError};
use crate::runtime::RuntimeError;
use crate::template::TemplateError;

/// What is asked: the whole text that the model reads, template included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt(pub String);

/// How tokens are drawn, and when to stop.
#[derive(Debug, Clone)]
pub struct Decoding {
    /// Most tokens of the reply.
    pub max_tokens: usize,
    /// 0 is greedy.
    pub temperature: f32,
    /// Nucleus mass, 0 to 1.
    pub top_p: f32,
    /// Of the draw.
    pub seed: u64,
    /// Texts at which to stop; they are not part of the reply.
    pub stop: Vec<String>,
    /// What the reply may look like; `None` is any text.
    pub grammar: Option<Grammar>,
    /// Decline as soon as the confidence is below.
    pub bar: Option<f64>,
    /// Whether [`Generation::tokens`] is wanted.
    pub want_logprobs: bool,
    /// Under which adapter the model runs; `None` is the base. The prompt should
    /// then be written by [`Adapter::render_chat`].
    pub adapter: Option<Arc<Adapter>>,
}

impl Default for Decoding {
    fn default() -> Self {
        Self {
            max_tokens: 256,
            temperature: 0.0,
            top_p: 1.0,
            seed: 0,
            stop: Vec::new(),
            grammar: None,
            bar: None,
            want_logprobs: false,
            adapter: None,
        }
    }
}

/// A token of the reply.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenOut {
    /// Its id.
    pub id: u32,
    /// Its text; empty for special tokens, U+FFFD for a piece of a character.
    pub text: String,
    /// Natural logarithm of its probability under the model's own softmax;
    /// `None` for a forced token that was fed without a step of its own.
    pub logprob: Option<f64>,
    /// Whether the grammar left no other.
    pub forced: bool,
}

/// What came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// The reply's text, without special tokens and stop sequences.
    pub text: String,
    /// Its tokens, where wanted.
    pub tokens: Vec<TokenOut>,
    /// Why it ended: [`Finish::Stop`] or [`Finish::Length`].
    pub finish: Finish,
    /// Whether a stop text ended it, which may have been in the middle of what the
    /// grammar was at.
    pub at_stop: bool,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of them that were not computed anew.
    pub cached_tokens: usize,
    /// Tokens of the reply, forced ones and the end included.
    pub reply_tokens: usize,
    /// Sum of the log-probabilities of freely chosen tokens: the confidence.
    pub free_sum: f64,
    /// The least of them; 0 when there is none.
    pub free_min: f64,
    /// How many there are.
    pub free_count: usize,
    /// Time spent computing the prompt.
    pub prefill: Duration,
    /// Time spent computing the reply.
    pub decode: Duration,
}

/// Asked between any two steps of a run.
pub trait Control {
    /// Whether to go on.
    fn between_tokens(&self) -> Step;
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Go on.
    Go,
    /// Stop, for this reason.
    Stop(Declined),
}

/// Never stops.
impl Control for () {
    fn between_tokens(&self) -> Step {
        Step::Go
    }
}

/// Why there is no generation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// It was stopped, or fell below the bar.
    #[error("declined: {0}")]
    Declined(Declined),
    /// The prompt does not fit.
    #[error("prompt of {tokens} tokens leaves no room in a context of {context}")]
    TooLong {
        /// Of the prompt.
        tokens: usize,
        /// Of the model.
        context: usize,
    },
    /// The grammar cannot be kept to.
    #[error(transparent)]
    Grammar(#[from] GrammarError),
    /// The conversation cannot be written.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The adapter was read for another model.
    #[error("adapter {0} was loaded for another model; load it with this one's slots")]
    OtherModel(String),
    /// The tokenizer refused the text.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The grammar's automaton or the model failed on the way.
    #[error("generation broke off: {0}")]
    Broken(String),
    /// ONNX Runtime failed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

impl GenerateError {
    /// The reason in the words of a call that falls back.
    #[must_use]
    pub fn declined(&self) -> Declined {
        match self {
            Self::Declined(d) => *d,
            Self::TooLong { .. } => Declined::TooLong,
            Self::Grammar(_) | Self::Template(_) | Self::Tokenizer(_) | Self::Broken(_) => Declined::Invalid,
            Self::Runtime(_) | Self::OtherModel(_) => Declined::Unavailable,
        }
    }
}
