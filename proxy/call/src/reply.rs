use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Part, ToolCall};

/// What a model answered, put together again where it came as a stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reply {
    /// The provider's id of the reply.
    pub id: String,
    /// The model that answered, in the provider's words.
    pub model: String,
    /// Unix seconds at which the provider made it; 0 where it does not say.
    pub created: i64,
    /// The choices; one unless the request asked for more.
    pub choices: Vec<Choice>,
    /// Tokens counted by whoever answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The provider's error, where the reply is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ReplyError>,
    /// Fields this dialect does not know, as they came.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

/// One choice of a reply.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Choice {
    /// Its place among the choices.
    pub index: u32,
    /// What is said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub content: Vec<Part>,
    /// The tools that are called.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Why it ended; `None` when the stream broke off before it said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish: Option<Finish>,
    /// Log-probabilities of the reply's tokens, where asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logprobs: Vec<TokenLogprob>,
    /// Fields this dialect does not know, as they came.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

impl Choice {
    /// All text parts, joined without a separator.
    #[must_use]
    pub fn text(&self) -> String {
        self.content
            .iter()
            .filter_map(|p| if let Part::Text(t) = p { Some(t.as_str()) } else { None })
            .collect()
    }
}

impl Reply {
    /// The first choice, which is the only one unless more were asked for.
    #[must_use]
    pub fn first(&self) -> Option<&Choice> {
        self.choices.first()
    }

    /// Whether this is a whole answer: no error, at least one choice, and each
    /// choice ended of its own accord (not by length, filter or a broken stream).
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.error.is_none()
            && !self.choices.is_empty()
            && self.choices.iter().all(|c| matches!(c.finish, Some(Finish::Stop | Finish::ToolCalls)))
    }
}

/// Why a choice ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finish {
    /// The model ended, or a stop text was reached.
    Stop,
    /// The token limit was reached.
    Length,
    /// The model calls tools.
    ToolCalls,
    /// The provider's filter cut it.
    ContentFilter,
    /// A reason this dialect does not know, as it came.
    Other(String),
}

/// Tokens of a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub input_tokens: u64,
    /// Tokens of the reply, reasoning included.
    pub output_tokens: u64,
    /// Tokens of the prompt that the provider had cached.
    pub cached_input_tokens: u64,
    /// Tokens of the reply spent on reasoning.
    pub reasoning_tokens: u64,
}

/// A token of a reply with its log-probability (natural logarithm).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token's text.
    pub token: String,
    /// Its log-probability.
    pub logprob: f64,
    /// Alternatives and bytes, as they came.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

/// An error in the provider's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplyError {
    /// The provider's message.
    pub message: String,
    /// The provider's kind of error.
    pub kind: Option<String>,
    /// The provider's code.
    pub code: Option<String>,
}
