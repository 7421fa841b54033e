use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Schema, Tools};

/// What an agent asks of a model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// The model's name as the agent wrote it; a local reply echoes it.
    pub model: String,
    /// System text first, then the turns, in the order given.
    pub messages: Vec<Message>,
    /// The tools on offer.
    #[serde(skip_serializing_if = "no_tools")]
    pub tools: Tools,
    /// Which of them may or must be called.
    pub tool_choice: ToolChoice,
    /// Whether several calls may come in one reply; `None` is the provider's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// The form that the reply's text must have.
    pub format: Format,
    /// How tokens are drawn, and when to stop.
    pub sampling: Sampling,
    /// The reply is wanted as a stream of chunks.
    pub stream: bool,
    /// The stream is to end with a chunk that carries the usage.
    pub include_usage: bool,
    /// Fields that keep the call with the provider, by name; see [`Ineligible`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ineligible: Vec<Ineligible>,
    /// Fields this dialect does not know, as they came.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

fn no_tools(tools: &Tools) -> bool {
    tools.is_empty()
}

impl Request {
    /// The system text: all system and developer messages, joined by a blank line.
    #[must_use]
    pub fn system_text(&self) -> String {
        let mut all = String::new();
        for m in self.messages.iter().filter(|m| m.role == Role::System) {
            if !all.is_empty() {
                all.push_str("\n\n");
            }
            all.push_str(&m.text());
        }
        all
    }

    /// The turns: everything that is not system text.
    pub fn turns(&self) -> impl DoubleEndedIterator<Item = &Message> {
        self.turns_after(0)
    }

    /// The turns behind the first `opening` messages ([`crate::Metadata::opening`]).
    pub fn turns_after(&self, opening: u16) -> impl DoubleEndedIterator<Item = &Message> {
        self.messages.iter().skip(usize::from(opening)).filter(|m| m.role != Role::System)
    }
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, part by part; one text part for a plain string, none for `null`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub content: Vec<Part>,
    /// The tools that an assistant calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Of a tool's result: the call that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// The speaker's name, where given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Fields this dialect does not know, as they came.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

impl Message {
    /// A message of plain text.
    #[must_use]
    pub fn text_of(role: Role, text: impl Into<String>) -> Self {
        Self {
            role,
            content: vec![Part::Text(text.into())],
            tool_calls: Vec::new(),
            tool_call_id: None,
            name: None,
            extra: Map::new(),
        }
    }

    /// All text parts, joined without a separator.
    #[must_use]
    pub fn text(&self) -> String {
        self.content
            .iter()
            .filter_map(|p| if let Part::Text(t) = p { Some(t.as_str()) } else { None })
            .collect()
    }
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The operator's instructions (`system`, `developer`).
    System,
    /// The person or program that asks.
    User,
    /// The model.
    Assistant,
    /// The result of a tool's call.
    Tool,
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Part {
    /// Text.
    Text(String),
    /// The model's words for not answering.
    Refusal(String),
    /// An image, as it came.
    Image(Value),
    /// Sound, as it came.
    Audio(Value),
    /// A file, as it came.
    File(Value),
    /// A part this dialect does not know, as it came.
    Other(Value),
}

/// A tool on offer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does, in the operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema of its arguments; `Value::Null` where none was given.
    #[serde(default)]
    pub parameters: Value,
    /// Whether arguments must follow the schema exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// Fields this dialect does not know, as they came.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

/// One call of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The call's id, by which its result refers to it.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments as JSON text, exactly as the model wrote it.
    pub arguments: String,
}

/// Which tools may or must be called.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// No tool.
    None,
    /// At least one tool.
    Required,
    /// This tool.
    Named(String),
}

/// The form that the reply's text must have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Any text.
    #[default]
    Text,
    /// Some JSON object.
    JsonObject,
    /// JSON that follows a schema.
    JsonSchema {
        /// The schema's name.
        name: String,
        /// JSON Schema.
        schema: Schema,
        /// Whether the reply must follow it exactly.
        strict: Option<bool>,
    },
}

/// How tokens are drawn, and when to stop. `None` is the provider's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampling {
    /// Most tokens in the reply.
    pub max_tokens: Option<u32>,
    /// Softmax temperature, 0 to 2.
    pub temperature: Option<f64>,
    /// Nucleus mass, 0 to 1.
    pub top_p: Option<f64>,
    /// Seed of the draw.
    pub seed: Option<i64>,
    /// Texts at which to stop.
    pub stop: Vec<String>,
    /// How many choices are wanted.
    pub n: Option<u32>,
    /// Whether log-probabilities of the reply's tokens are wanted.
    pub logprobs: Option<bool>,
    /// How many alternatives a token.
    pub top_logprobs: Option<u32>,
}

/// Why a call stays with the provider whatever its task: a field that an
/// understudy cannot honour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ineligible {
    /// More than one choice is wanted.
    ManyChoices,
    /// Log-probabilities are wanted.
    Logprobs,
    /// Tokens are biased by hand, or penalised.
    LogitBias,
    /// The provider keeps state (`store`, `previous_response_id`).
    StoredState,
    /// A tool that the provider runs itself.
    HostedTool,
    /// An image, sound or file in a message, or asked for.
    Media,
    /// Signed thinking or encrypted reasoning in the history.
    Reasoning,
    /// A field this dialect does not know, or one that is given twice.
    UnknownField,
    /// Sampling at a temperature or with a setting the engine does not have.
    Sampling,
}

impl Ineligible {
    /// The name used in counters.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::ManyChoices => "many_choices",
            Self::Logprobs => "logprobs",
            Self::LogitBias => "logit_bias",
            Self::StoredState => "stored_state",
            Self::HostedTool => "hosted_tool",
            Self::Media => "media",
            Self::Reasoning => "reasoning",
            Self::UnknownField => "unknown_field",
            Self::Sampling => "sampling",
        }
    }
}
