//! An earlier exchange that an understudy may learn from.

use serde_json::{Map, Value};
use understudy_call::{
    AnsweredBy, CallText, Choice, ConversationKey, Credential, Exchange, ExchangeId, Finish, Format,
    Part as Piece, Request, StandIns, ToolCall,
};
use understudy_tasks::{Frame, Part};

use crate::window::Sight;

/// An exchange of the provider's, as an understudy may learn it.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The exchange.
    pub exchange: ExchangeId,
    /// Its place in the journal.
    pub seq: u64,
    /// Its conversation; all zero where none is known.
    pub conversation: ConversationKey,
    /// Who called.
    pub credential: Credential,
    /// What varies.
    pub part: Part,
    /// [`Part::text`] of it.
    pub part_text: String,
    /// Where in it the turns begin ([`Part::turns_at`]).
    pub turns_at: usize,
    /// Its embedding, where it has been made.
    pub embedding: Option<Vec<f32>>,
    /// What the provider answered.
    pub reply: Choice,
    /// [`label`] of the reply.
    pub label: String,
    /// Tokens that the provider counted for the reply; `None` where it told none.
    pub tokens: Option<u32>,
    /// The reply repeats a value of its request that was redacted in both: an
    /// understudy may learn to repeat such a value, and may never say this reply.
    pub echoes: bool,
}

impl Example {
    /// What may be learnt of an exchange at `seq`: its [`Example::reference`], unless
    /// the reply has a redacted value of the provider's own. Of that only the
    /// stand-in is known, and whoever learnt it would say the stand-in to the agent.
    #[must_use]
    pub fn of(seq: u64, exchange: &Exchange) -> Option<Self> {
        Self::reference(seq, exchange).filter(|_| exchange.reply_is_known())
    }

    /// The provider's answer in an exchange at `seq`, to compare with; `None` unless
    /// it answered whole and with one choice. An audited call's reply is the
    /// provider's too, but from the second turn on its history may hold the
    /// understudy's own words, so only a first turn is taken from it.
    #[must_use]
    pub fn reference(seq: u64, exchange: &Exchange) -> Option<Self> {
        let (request, reply) = (exchange.request.as_ref()?, exchange.reply.as_ref()?);
        let meta = &exchange.meta;
        let part = understudy_tasks::part(request, meta.opening);
        let by_provider = match &meta.answered_by {
            AnsweredBy::Provider => exchange.understudy_reply.is_none() || !part.is_multi_turn(),
            AnsweredBy::Understudy(_) => exchange.understudy_reply.is_some() && !part.is_multi_turn(),
            AnsweredBy::Nobody => false,
        };
        let [choice] = reply.choices.as_slice() else {
            return None;
        };
        if !by_provider || !exchange.has_whole_reply() {
            return None;
        }
        let choice = plain(choice);
        Some(Self {
            exchange: exchange.id,
            seq,
            conversation: meta.conversation.unwrap_or(ConversationKey([0; 16])),
            credential: meta.credential,
            part_text: part.text(),
            turns_at: part.turns_at(),
            part,
            embedding: None,
            label: label(&choice),
            reply: choice,
            tokens: reply.usage.and_then(|u| u32::try_from(u.output_tokens).ok()).filter(|n| *n > 0),
            echoes: exchange.stand_ins == StandIns::Echoed,
        })
    }
}

impl Example {
    /// The same inside its task's frame, without its vector, which was of the whole; `None`
    /// where it is not in it.
    #[must_use]
    pub fn framed(&self, frame: &Frame) -> Option<Self> {
        let part = frame.part(&self.part)?;
        let (part_text, turns_at) = (part.text(), part.turns_at());
        Some(Self { part_text, turns_at, part, embedding: None, ..self.clone() })
    }

    /// What is embedded of it for versions that are made now.
    #[must_use]
    pub fn seen(&self) -> String {
        Sight::Turns.of(&self.part_text, self.turns_at)
    }

    /// Whose errand it was: a call without a conversation is one of its own.
    #[must_use]
    pub fn errand(&self) -> ConversationKey {
        if self.conversation.0 == [0; 16] { ConversationKey(self.exchange.0) } else { self.conversation }
    }
}

/// A choice without what is of one call only: ids, log-probabilities, extras.
#[must_use]
pub fn plain(choice: &Choice) -> Choice {
    Choice {
        index: 0,
        content: choice.content.clone(),
        tool_calls: choice.tool_calls.iter().map(|c| ToolCall { id: String::new(), ..c.clone() }).collect(),
        finish: choice.finish.clone().or(Some(Finish::Stop)),
        ..Choice::default()
    }
}

/// A reply's label: two replies that mean the same in every case have the same
/// one. JSON is written with its keys in order and without spaces, text
/// trimmed, and parallel tool calls in order of name and arguments. What is said
/// beside calls is no part of it, as it is none of the score: it is put otherwise
/// each time.
#[must_use]
pub fn label(choice: &Choice) -> String {
    let mut calls: Vec<String> =
        choice.tool_calls.iter().map(|c| format!("{} {}", c.name, normal_json(&c.arguments))).collect();
    calls.sort_unstable();
    if !calls.is_empty() {
        return calls.join("\n");
    }
    let mut said = String::new();
    for piece in &choice.content {
        match piece {
            Piece::Text(t) => said.push_str(t),
            Piece::Refusal(t) => {
                said.push_str("refusal: ");
                said.push_str(t);
            }
            // Media is never a label that a head could answer with.
            other => said.push_str(&format!("{other:?}")),
        }
    }
    normal_json(said.trim())
}

/// The stratum of a label: itself where it is short, else its beginning and a
/// hash, so that it fits a table and a metric.
#[must_use]
pub fn stratum(choice: &Choice, label: &str) -> String {
    const MOST: usize = 64;
    // A JSON object of one short text is named by that text.
    if choice.tool_calls.is_empty()
        && let Ok(Value::Object(fields)) = serde_json::from_str(label)
        && let (1, Some(Value::String(only))) = (fields.len(), fields.values().next())
        && only.chars().count() <= MOST
    {
        return only.clone();
    }
    if label.chars().count() <= MOST {
        return label.to_owned();
    }
    let hash = blake3::hash(label.as_bytes()).to_hex();
    let start: String = label.chars().take(MOST - 9).collect();
    format!("{start}…{}", hash.get(..8).unwrap_or_default())
}

/// The stratum of an answer that is not one of a few: the tools that it calls;
/// of JSON the values that its schema chooses from a list; else its form.
#[must_use]
pub fn stratum_in(request: &Request, choice: &Choice) -> String {
    if !choice.tool_calls.is_empty() {
        let mut names: Vec<&str> = choice.tool_calls.iter().map(|c| c.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        return names.join("+");
    }
    let Ok(Value::Object(fields)) = serde_json::from_str(&choice.text()) else {
        return "text".to_owned();
    };
    let properties = match &request.format {
        Format::JsonSchema { schema, .. } => schema.get("properties"),
        _ => None,
    };
    let chosen: Vec<&str> = fields
        .iter()
        .filter(|(name, _)| properties.and_then(|p| p.get(*name)).is_some_and(|p| p.get("enum").is_some()))
        .filter_map(|(_, value)| value.as_str())
        .collect();
    if chosen.is_empty() { "json".to_owned() } else { chosen.join(",") }
}

/// JSON with its keys in order and without spaces; what is not an object or a
/// list stays as it is.
fn normal_json(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(mut v @ (Value::Object(_) | Value::Array(_))) => {
            v.sort_all_objects();
            v.to_string()
        }
        _ => text.to_owned(),
    }
}

/// The reply as a model writes it that has not learnt another form: a tool call as
/// `{"name": …, "arguments": {…}}`, several as a list of those, else the text.
/// `None` where it is neither (a refusal, media).
#[must_use]
pub fn spoken(choice: &Choice) -> Option<String> {
    if choice.tool_calls.is_empty() {
        let all_text =
            !choice.content.is_empty() && choice.content.iter().all(|p| matches!(p, Piece::Text(_)));
        return all_text.then(|| choice.text());
    }
    calls_text(&choice.tool_calls, CallText::Json)
}

/// Tool calls as a model writes them; `None` where arguments are no JSON.
#[must_use]
pub fn calls_text(calls: &[ToolCall], written: CallText) -> Option<String> {
    let calls: Option<Vec<String>> =
        calls.iter().map(|c| Some(call_text(&c.name, &arguments(&c.arguments)?, written))).collect();
    Some(joined(&calls?, written))
}

/// Arguments as they were written; none at all are an empty object.
#[must_use]
pub fn arguments(text: &str) -> Option<Value> {
    if text.trim().is_empty() { Some(Value::Object(Map::new())) } else { serde_json::from_str(text).ok() }
}

/// One call with its arguments.
#[must_use]
pub fn call_text(name: &str, arguments: &Value, written: CallText) -> String {
    let arguments = spaced(arguments);
    match written {
        CallText::Json => format!("{{\"name\": {}, \"arguments\": {arguments}}}", Value::from(name)),
        CallText::Line => format!(">{name} {arguments}"),
    }
}

/// One call as it is, several as a list or one a line.
#[must_use]
pub fn joined(calls: &[String], written: CallText) -> String {
    match (calls, written) {
        ([one], _) => one.clone(),
        (more, CallText::Json) => format!("[{}]", more.join(", ")),
        (more, CallText::Line) => more.join("\n"),
    }
}

/// JSON on one line with a space after commas and colons, which small models
/// have seen most.
#[must_use]
pub fn spaced(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(k, v)| format!("{}: {}", Value::String(k.clone()), spaced(v))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(spaced).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}
