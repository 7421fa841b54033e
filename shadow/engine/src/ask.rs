//! From a request to what the generator is asked.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use understudy_call::{CallText, Format, Ineligible, Priority, Request, ToolChoice};
use understudy_onnx::{Adapter, Decoding, Grammar, Prompt, Voice};

/// Most tokens of a reply that names no limit.
const DEFAULT_MAX_TOKENS: usize = 1024;

/// The extension field of a request.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Extension {
    pub(crate) deadline_ms: Option<u64>,
    pub(crate) bar: Option<f64>,
    pub(crate) priority: Option<Priority>,
    pub(crate) tools_in_prompt: Option<bool>,
    pub(crate) reply: Option<ReplyForm>,
    pub(crate) adapter: Option<String>,
    pub(crate) calls: CallText,
}

impl Extension {
    /// `None` when the request has none.
    pub(crate) fn of(request: &Request) -> Result<Option<Self>, String> {
        let Some(v) = request.extra.get("understudy").filter(|v| !v.is_null()) else { return Ok(None) };
        serde_json::from_value(v.clone()).map(Some).map_err(|e| format!("field `understudy`: {e}"))
    }
}

/// What the reply is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReplyForm {
    ToolCall,
    /// As the request's tools and format leave it, or nothing at all.
    OrNothing,
    Json,
    Text,
}

/// A request, understood.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) prompt: Prompt,
    pub(crate) decoding: Decoding,
    pub(crate) priority: Priority,
    pub(crate) deadline: Duration,
    /// Names asks whose replies are of like length.
    pub(crate) form: u64,
    /// Whether a reply that was cut off is of use to the caller.
    pub(crate) cut_is_answer: bool,
}

impl Ask {
    /// `seed` is drawn by the caller, for requests that name none; `adapter` is
    /// the one that the extension names.
    pub(crate) fn of(
        request: &Request,
        extended: Option<Extension>,
        adapter: Option<Arc<Adapter>>,
        voice: &Voice,
        default_deadline: Duration,
        seed: u64,
    ) -> Result<Self, String> {
        if let Some(why) = request.ineligible.iter().find(|w| !ours(**w)) {
            return Err(format!("the engine does not do `{}`", why.label()));
        }
        let cut_is_answer = extended.is_none();
        let ext = extended.unwrap_or_default();
        let grammar = grammar(request, ext.reply, ext.calls);
        let tools = if ext.tools_in_prompt.unwrap_or(true) { request.tools.as_slice() } else { &[] };
        // An adapter has learnt its tools: they only constrain its reply.
        let prompt = match &adapter {
            Some(a) => a.render_chat(&request.messages),
            None => voice.render_chat(&request.messages, tools),
        };
        let prompt = prompt.map_err(|e| e.to_string())?;
        let s = &request.sampling;
        let decoding = Decoding {
            max_tokens: s.max_tokens.map_or(DEFAULT_MAX_TOKENS, |n| n as usize),
            // Greedy unless a temperature is asked for: the likeliest reply is
            // the one that can be compared.
            temperature: s.temperature.unwrap_or(0.0) as f32,
            top_p: s.top_p.unwrap_or(1.0) as f32,
            seed: s.seed.map_or(seed, |n| n as u64),
            stop: s.stop.clone(),
            bar: ext.bar,
            want_logprobs: s.logprobs.unwrap_or(false),
            grammar,
            adapter,
        };
        Ok(Self {
            form: form_of(request, &ext),
            prompt: Prompt(prompt),
            decoding,
            priority: ext.priority.unwrap_or(Priority::Live),
            deadline: ext.deadline_ms.map_or(default_deadline, Duration::from_millis),
            cut_is_answer,
        })
    }
}

/// Whether the engine can do what keeps a call with the provider: it gives
/// log-probabilities, and it may ignore fields that it does not know.
fn ours(why: Ineligible) -> bool {
    matches!(why, Ineligible::Logprobs | Ineligible::UnknownField | Ineligible::StoredState)
}

fn grammar(request: &Request, reply: Option<ReplyForm>, written: CallText) -> Option<Grammar> {
    let calls = |choice: ToolChoice| Grammar::ToolCall {
        or_nothing: reply == Some(ReplyForm::OrNothing),
        tools: request.tools.clone(),
        choice,
        parallel: request.parallel_tool_calls.unwrap_or(true),
        written,
    };
    let json = || match &request.format {
        Format::JsonSchema { schema, .. } => Some(Grammar::JsonSchema(Value::clone(schema))),
        Format::JsonObject => Some(Grammar::JsonObject),
        Format::Text => None,
    };
    match reply {
        Some(ReplyForm::ToolCall) => Some(calls(match &request.tool_choice {
            ToolChoice::Named(name) => ToolChoice::Named(name.clone()),
            _ => ToolChoice::Required,
        })),
        Some(ReplyForm::Json) => json().or(Some(Grammar::JsonObject)),
        Some(ReplyForm::Text) => None,
        _ if request.tools.is_empty() || request.tool_choice == ToolChoice::None => json(),
        Some(ReplyForm::OrNothing) | None => Some(calls(request.tool_choice.clone())),
    }
}

fn form_of(request: &Request, ext: &Extension) -> u64 {
    let mut h = DefaultHasher::new();
    for t in &request.tools {
        t.name.hash(&mut h);
    }
    if let Format::JsonSchema { name, schema, .. } = &request.format {
        name.hash(&mut h);
        schema.as_object().map(|o| o.keys().collect::<Vec<_>>()).hash(&mut h);
        schema
            .get("properties")
            .and_then(Value::as_object)
            .map(|o| o.keys().collect::<Vec<_>>())
            .hash(&mut h);
    }
    ext.reply.map(|r| r as u8).hash(&mut h);
    ext.adapter.hash(&mut h);
    ext.calls.hash(&mut h);
    h.finish()
}
