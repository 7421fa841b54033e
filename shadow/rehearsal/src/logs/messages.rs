//! `{"messages": […, assistant]}` with `tools`, `response_format`, `model` where
//! there are any: fine-tuning files, in which the last assistant message is the
//! reply to all that stands before it. Or a stored completion: what OpenAI lists
//! under `GET /v1/chat/completions`, the request's settings and the whole reply in
//! it, beside the `messages` that `GET /v1/chat/completions/{id}/messages` lists.
//!
//! Of a stored completion everything counts as it would have live: a reply cut by
//! its length is no reference, and a field that no understudy honours, `metadata`
//! with something in it among them, keeps the call with the provider.

use serde_json::{Map, Value};
use understudy_call::{Reply, StandIns};

use super::{LineError, LogFormat, LoggedCall, marks, name_calls, reply, reply_of_message, request, time_of};

pub(super) struct Messages;

/// The fields of a fine-tuning line that a request is made of.
const TUNED: [&str; 7] =
    ["model", "tools", "tool_choice", "response_format", "temperature", "max_tokens", "parallel_tool_calls"];

/// The fields of a stored completion that are the request's: all that "Create chat
/// completion" of OpenAI's API reference takes, but for the messages and for
/// `service_tier`, which the store says of the reply. They are named one by one
/// because a line may have marks of its own beside them (`split`, `solved`, …).
const ASKED: [&str; 33] = [
    "model",
    "tools",
    "tool_choice",
    "response_format",
    "temperature",
    "max_tokens",
    "max_completion_tokens",
    "parallel_tool_calls",
    "top_p",
    "seed",
    "stop",
    "n",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "frequency_penalty",
    "presence_penalty",
    "stream",
    "stream_options",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "store",
    "metadata",
    "modalities",
    "audio",
    "prediction",
    "reasoning_effort",
    "verbosity",
    "web_search_options",
    "functions",
    "function_call",
];

/// The fields of a stored completion that are the reply's.
const ANSWERED: [&str; 8] =
    ["id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier"];

impl LogFormat for Messages {
    fn name(&self) -> &'static str {
        "messages"
    }

    fn knows(&self, first: &Value) -> bool {
        first.get("messages").is_some_and(Value::is_array)
    }

    fn calls(&mut self, line: Value) -> Result<Vec<LoggedCall>, LineError> {
        let mut messages = line.get("messages").and_then(Value::as_array).cloned().unwrap_or_default();
        let stored = line.pointer("/choices/0/message").is_some_and(Value::is_object);
        let mut body = if stored { picked(&line, &ASKED) } else { picked(&line, &TUNED) };
        let model = body.entry("model").or_insert_with(|| Value::String("unknown".to_owned())).clone();
        let reply = if stored {
            messages.iter_mut().for_each(as_sent);
            stored_reply(&line)?
        } else {
            let last = messages.pop().ok_or_else(|| LineError("no messages".to_owned()))?;
            if last.get("role").and_then(Value::as_str) != Some("assistant") {
                return Err(LineError(
                    "the last message is not the assistant's: there is no reply".to_owned(),
                ));
            }
            reply_of_message(&last, &model)?
        };
        body.insert("messages".to_owned(), Value::Array(messages));
        Ok(vec![LoggedCall {
            request: request(&Value::Object(body))?,
            reply,
            at_ms: time_of(&line, &["created", "created_at", "timestamp"]),
            took: None,
            conversation: line.get("conversation_id").and_then(Value::as_str).map(str::to_owned),
            status: 200,
            id: line.get("id").and_then(Value::as_str).map(str::to_owned),
            stand_ins: StandIns::None,
            marks: marks(&line, &[]),
        }])
    }
}

/// Those of the fields that the line has and that say something.
fn picked(line: &Value, fields: &[&str]) -> Map<String, Value> {
    fields
        .iter()
        .filter_map(|k| Some(((*k).to_owned(), line.get(*k).filter(|v| !v.is_null())?.clone())))
        .collect()
}

/// A stored message as it was sent: the store gives it an `id`, and lists content
/// that came in parts as `content_parts` (OpenAI API reference, "Get chat messages").
fn as_sent(message: &mut Value) {
    let Some(message) = message.as_object_mut() else { return };
    message.shift_remove("id");
    let parts = message.shift_remove("content_parts");
    if let Some(parts) = parts.filter(|p| p.as_array().is_some_and(|p| !p.is_empty())) {
        message.insert("content".to_owned(), parts);
    }
}

/// The reply of a stored completion, read as it would be off the wire.
fn stored_reply(line: &Value) -> Result<Reply, LineError> {
    let mut body = picked(line, &ANSWERED);
    if let Some(choices) = body.get_mut("choices").and_then(Value::as_array_mut) {
        choices.iter_mut().filter_map(|c| c.get_mut("message")).for_each(name_calls);
    }
    reply(200, &Value::Object(body))
}
