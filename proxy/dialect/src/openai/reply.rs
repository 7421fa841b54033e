//! Whole replies and errors.

pub(crate) mod odd;
pub(crate) mod usual;

use serde::ser::{Serialize, Serializer};
use serde_json::Value;
use understudy_call::{Choice, Part, Reply};

use super::call;
use super::choice::{finish_word, is_flat_reply};
use super::error::ErrorOut;
use super::logprobs::logprobs_out;
use super::message::PartsOut;
use super::stream::Assembler;
use super::usage::usage_out;
use super::wire::Writer;
use crate::DialectError;

pub(crate) fn parse_reply(status: u16, content_type: &str, body: &[u8]) -> Result<Reply, DialectError> {
    let failed = status >= 400;
    if is_stream(content_type, body.trim_ascii_start()) {
        let mut stream = Assembler::default();
        let read = stream.push(body);
        let reply = stream.finish();
        // A failure that is told as a stream without an error in it is still one.
        if !failed || (read.is_ok() && reply.error.is_some()) {
            return read.map(|()| reply);
        }
    }
    if !failed && let Some(reply) = usual::read(body) {
        return Ok(reply);
    }
    odd::read(failed, body)
}

/// Whether a body is server-sent events: it says so, or begins as they do, and neither
/// says nor begins as JSON.
fn is_stream(content_type: &str, body: &[u8]) -> bool {
    let json = body.starts_with(b"{")
        || content_type.as_bytes().windows(4).any(|word| word.eq_ignore_ascii_case(b"json"));
    let says =
        || content_type.trim_start().get(..17).is_some_and(|t| t.eq_ignore_ascii_case("text/event-stream"));
    let begins = || [&b"data:"[..], b"event:", b":"].iter().any(|p| body.starts_with(p));
    !json && (says() || begins())
}

pub(crate) fn render_reply(reply: &Reply) -> Vec<u8> {
    // The nouns hold nothing that JSON cannot say: a number that is not finite
    // becomes null.
    serde_json::to_vec(&Out(reply)).unwrap_or_default()
}

/// Whether there is nothing but an error.
pub(crate) fn is_bare_error(r: &Reply) -> bool {
    r.error.is_some()
        && r.choices.is_empty()
        && r.id.is_empty()
        && r.model.is_empty()
        && r.created == 0
        && r.usage.is_none()
}

struct Out<'a>(&'a Reply);

impl Serialize for Out<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let r = self.0;
        let mut w = Writer::new(s.serialize_map(None)?);
        if !is_bare_error(r) {
            w.put("id", &r.id)?;
            w.put("object", "chat.completion")?;
            w.put("created", &r.created)?;
            w.put("model", &r.model)?;
            let choices: Vec<ChoiceOut<'_>> = r.choices.iter().map(ChoiceOut).collect();
            w.put("choices", &choices)?;
            if let Some(usage) = &r.usage {
                w.put("usage", &usage_out(usage, &r.extra))?;
            }
            w.put("system_fingerprint", r.extra.get("system_fingerprint").unwrap_or(&Value::Null))?;
        }
        if let Some(error) = &r.error {
            w.put("error", &ErrorOut(error, &r.extra))?;
        }
        w.kept(&r.extra)?;
        w.end()
    }
}

struct ChoiceOut<'a>(&'a Choice);

impl Serialize for ChoiceOut<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let c = self.0;
        let mut w = Writer::new(s.serialize_map(None)?);
        w.put("index", &c.index)?;
        w.put("message", &MessageOut(c))?;
        w.put("logprobs", &logprobs_out(&c.logprobs, c.extra.get("@logprobs")))?;
        w.put("finish_reason", &c.finish.as_ref().map(finish_word))?;
        if let Some(Value::Object(outer)) = c.extra.get("@choice") {
            w.noted(outer)?;
        }
        w.end()
    }
}

struct MessageOut<'a>(&'a Choice);

impl Serialize for MessageOut<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let c = self.0;
        let mut w = Writer::new(s.serialize_map(None)?);
        w.put("role", "assistant")?;
        let note = c.extra.get("@content");
        if note.is_some() || !is_flat_reply(&c.content) {
            // A refusal or sound beside a list would be in it.
            let extras = note.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            w.put("content", &PartsOut { parts: &c.content, extras })?;
            w.put("refusal", &Value::Null)?;
        } else {
            let (mut text, mut refusal, mut audio) = (None, None, None);
            for part in &c.content {
                match part {
                    Part::Text(t) => text = Some(t),
                    Part::Refusal(t) => refusal = Some(t),
                    Part::Audio(v) => audio = Some(v),
                    _ => {}
                }
            }
            w.put("content", &text)?;
            w.put("refusal", &refusal)?;
            w.put_some("audio", audio)?;
        }
        call::put_calls(&mut w, &c.tool_calls, &c.extra)?;
        w.put("annotations", c.extra.get("annotations").unwrap_or(&Value::Array(Vec::new())))?;
        w.kept(&c.extra)?;
        w.end()
    }
}
