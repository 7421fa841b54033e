//! Errors, the provider's and our own.

use serde::ser::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use understudy_call::{Dialect, Reply, ReplyError};

use super::wire::Writer;

/// Takes an error in any of the shapes that servers of this dialect write:
/// OpenAI's object, a plain string, FastAPI's `detail`.
pub(crate) fn take_error(reply: &mut Reply, v: Value) {
    let mut error = ReplyError::default();
    let mut rest = Map::new();
    match v {
        Value::Object(map) => {
            for (key, v) in map {
                match (key.as_str(), v) {
                    ("message" | "detail", Value::String(s)) if error.message.is_empty() => error.message = s,
                    ("type", Value::String(s)) => error.kind = Some(s),
                    ("code", Value::String(s)) => error.code = Some(s),
                    ("code", Value::Number(n)) => error.code = Some(n.to_string()),
                    (_, Value::Null) | ("object", _) => {}
                    (_, v) => {
                        rest.insert(key, v);
                    }
                }
            }
        }
        Value::String(s) => error.message = s,
        other => error.message = other.to_string(),
    }
    if !rest.is_empty() {
        reply.extra.insert("@error".to_owned(), Value::Object(rest));
    }
    reply.error = Some(error);
}

/// Writes an error's object.
pub(crate) struct ErrorOut<'a>(pub(crate) &'a ReplyError, pub(crate) &'a Map<String, Value>);

impl Serialize for ErrorOut<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let rest = self.1.get("@error").and_then(Value::as_object);
        let mut w = Writer::new(s.serialize_map(None)?);
        w.put("message", &self.0.message)?;
        w.put("type", &self.0.kind)?;
        w.put("param", rest.and_then(|r| r.get("param")).unwrap_or(&Value::Null))?;
        w.put("code", &self.0.code)?;
        if let Some(rest) = rest {
            w.noted(rest)?;
        }
        w.end()
    }
}

pub(crate) fn render_error(d: Dialect, status: u16, kind: &str, message: &str) -> Vec<u8> {
    let kind = match (kind, status) {
        ("", 401) => "authentication_error",
        ("", 403) => "permission_error",
        ("", 404) => "not_found_error",
        ("", 429) => "rate_limit_error",
        ("", 400..=499) => "invalid_request_error",
        ("", _) if d == Dialect::AnthropicMessages => "api_error",
        ("", _) => "server_error",
        (kind, _) => kind,
    };
    let out = match d {
        Dialect::AnthropicMessages => {
            json!({ "type": "error", "error": { "type": kind, "message": message } })
        }
        _ => json!({ "error": { "message": message, "type": kind, "param": null, "code": null } }),
    };
    out.to_string().into_bytes()
}
