//! `{"messages": […, assistant]}` with `tools`, `response_format`, `model` where
//! there are any: exports of stored completions, fine-tuning files. The last
//! assistant message is the reply to all that stands before it.

use serde_json::{Map, Value};

use super::{LineError, LogFormat, LoggedCall, marks, reply_of_message, request, time_of};

pub(super) struct Messages;

impl LogFormat for Messages {
    fn name(&self) -> &'static str {
        "messages"
    }

    fn knows(&self, first: &Value) -> bool {
        first.get("messages").is_some_and(Value::is_array)
    }

    fn calls(&mut self, line: Value) -> Result<Vec<LoggedCall>, LineError> {
        let mut messages = line.get("messages").and_then(Value::as_array).cloned().unwrap_or_default();
        // A stored completion carries its own choices beside the messages.
        let stored = line.pointer("/choices/0/message").cloned();
        let answer = match stored {
            Some(answer) => answer,
            None => messages.pop().ok_or_else(|| LineError("no messages".to_owned()))?,
        };
        if answer.get("role").and_then(Value::as_str) != Some("assistant") {
            return Err(LineError("the last message is not the assistant's: there is no reply".to_owned()));
        }
        let mut body = Map::new();
        for key in [
            "model",
            "tools",
            "tool_choice",
            "response_format",
            "temperature",
            "max_tokens",
            "parallel_tool_calls",
        ] {
            if let Some(value) = line.get(key).filter(|v| !v.is_null()) {
                body.insert(key.to_owned(), value.clone());
            }
        }
        let model = body.entry("model").or_insert_with(|| Value::String("unknown".to_owned())).clone();
        body.insert("messages".to_owned(), Value::Array(messages));
        Ok(vec![LoggedCall {
            request: request(&Value::Object(body))?,
            reply: reply_of_message(&answer, &model)?,
            at_ms: time_of(&line, &["created", "created_at", "timestamp"]),
            took: None,
            conversation: line.get("conversation_id").and_then(Value::as_str).map(str::to_owned),
            status: 200,
            id: line.get("id").and_then(Value::as_str).map(str::to_owned),
            marks: marks(&line, &[]),
        }])
    }
}
