//! The nouns of a call: one request to a provider and its reply, without the
//! provider's accent, and the two traits behind which answers come from.
//!
//! A *dialect* turns a provider's bytes into these nouns and back. They were
//! checked against three wire formats so that none is one of them by accident:
//!
//! | noun | OpenAI Chat | Anthropic Messages | OpenAI Responses |
//! | --- | --- | --- | --- |
//! | [`Message`] of role system | `messages[role=system/developer]` | `system` | `instructions` |
//! | [`Part::Text`] | `content` string or `text` part | `text` block | `input_text`, `output_text` |
//! | [`ToolCall`] | `tool_calls[]` | `tool_use` block | `function_call` item |
//! | tool result: role [`Role::Tool`] | `role: tool`, `tool_call_id` | `tool_result` block | `function_call_output` item |
//! | [`Tool`] | `tools[].function` | `tools[]`, `input_schema` | `tools[]` of type function |
//! | [`Format::JsonSchema`] | `response_format` | `output_format` | `text.format` |
//! | [`Finish`] | `finish_reason` | `stop_reason` | `status`, `incomplete_details` |
//! | [`Usage`] | `usage` | `usage` | `usage` |
//! | [`Choice`] | `choices[]` | always one | always one |
//!
//! What a dialect does not know is kept in `extra`, so that it survives, and is
//! named in [`Request::ineligible`], so that nothing answers it by guessing.
//!
//! No I/O here.

mod exchange;
mod latest;
mod reply;
mod request;
mod responder;
mod verbatim;

pub use exchange::{
    AnsweredBy, Asked, Belongs, ConversationKey, Credential, Exchange, ExchangeId, FormHash, Lane, Metadata,
    Sizes, StandIns, Timings, Truncation,
};
pub use latest::Latest;
pub use reply::{Choice, Finish, Reply, ReplyError, TokenLogprob, Usage};
pub use request::{Format, Ineligible, Message, Part, Request, Role, Sampling, Tool, ToolCall, ToolChoice};
pub use responder::{
    Answer, Ask, CallText, Declined, EmbedError, Embedder, Priority, Responder, UnderstudyId,
};
pub use verbatim::{Blank, Schema, Tools, Verbatim};

/// The wire API in which a call was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Dialect {
    /// OpenAI Chat Completions, `POST …/chat/completions`.
    OpenaiChat,
    /// Anthropic Messages: passed through, recorded as metadata.
    AnthropicMessages,
    /// Anything else: passed through, recorded as metadata.
    Other,
}

impl Dialect {
    /// The name used in records, labels and headers.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::OpenaiChat => "openai-chat",
            Self::AnthropicMessages => "anthropic-messages",
            Self::Other => "other",
        }
    }
}
