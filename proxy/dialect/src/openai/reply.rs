//! Whole replies and errors.

use serde::Deserialize;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};
use understudy_call::{Choice, Part, Reply, ReplyError};

use super::choice::{finish, finish_word, head_field, is_flat_reply, tidy};
use super::error::{ErrorOut, take_error};
use super::logprobs::{logprobs, logprobs_out};
use super::message::{Content, PartsOut};
use super::stream::Assembler;
use super::tool;
use super::usage::usage_out;
use super::wire::{Fault, Writer, keep, malformed, misfit};
use crate::DialectError;

/// How much of an error page that is not JSON becomes the error's message.
const PAGE_LIMIT: usize = 1024;

pub(crate) fn parse_reply(status: u16, content_type: &str, body: &[u8]) -> Result<Reply, DialectError> {
    let failed = status >= 400;
    let trimmed = body.trim_ascii_start();
    let json = content_type.to_ascii_lowercase().contains("json") || trimmed.starts_with(b"{");
    let events =
        content_type.trim_start().get(..17).is_some_and(|t| t.eq_ignore_ascii_case("text/event-stream"))
            || [&b"data:"[..], b"event:", b":"].iter().any(|p| trimmed.starts_with(p));
    if events && !json {
        let mut stream = Assembler::default();
        stream.push(body)?;
        return Ok(stream.finish());
    }
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(map)) => whole(map, failed).map_err(misfit),
        Ok(_) if !failed => Err(misfit(Fault::expected("a chat completion object"))),
        Err(e) if !failed => Err(malformed(&e)),
        _ => {
            let page = body.get(..PAGE_LIMIT).unwrap_or(body);
            let message = String::from_utf8_lossy(page).trim().to_owned();
            Ok(Reply { error: Some(ReplyError { message, kind: None, code: None }), ..Reply::default() })
        }
    }
}

fn whole(mut map: Map<String, Value>, failed: bool) -> Result<Reply, Fault> {
    let mut reply = Reply::default();
    match map.remove("error") {
        Some(v) if !v.is_null() => take_error(&mut reply, v),
        _ if failed => {
            take_error(&mut reply, Value::Object(map));
            return Ok(reply);
        }
        _ => {}
    }
    match map.remove("choices") {
        Some(Value::Array(list)) => {
            for (i, v) in list.into_iter().enumerate() {
                let at = |e: Fault| e.within(&format!("[{i}]")).within("choices");
                reply.choices.push(choice(v).map_err(at)?);
            }
        }
        None | Some(Value::Null) if reply.error.is_some() => {}
        None => return Err(Fault::missing("choices")),
        Some(_) => return Err(Fault::expected("a list").within("choices")),
    }
    for (key, v) in map {
        head_field(&mut reply, &key, v);
    }
    Ok(reply)
}

fn choice(v: Value) -> Result<Choice, Fault> {
    let Value::Object(map) = v else {
        return Err(Fault::expected("a choice object"));
    };
    let mut choice = Choice::default();
    let mut outer = Map::new();
    for (key, v) in map {
        match (key.as_str(), v) {
            ("index", v) => choice.index = v.as_u64().and_then(|i| i.try_into().ok()).unwrap_or_default(),
            ("message", Value::Object(m)) => message(&mut choice, m).map_err(|e| e.within("message"))?,
            ("finish_reason", Value::String(s)) => choice.finish = Some(finish(&s)),
            ("logprobs", Value::Object(l)) => logprobs(&mut choice, l).map_err(|e| e.within("logprobs"))?,
            ("finish_reason" | "logprobs", Value::Null) => {}
            (_, v) => {
                outer.insert(key, v);
            }
        }
    }
    if !outer.is_empty() {
        choice.extra.insert("@choice".to_owned(), Value::Object(outer));
    }
    tidy(&mut choice);
    Ok(choice)
}

fn message(choice: &mut Choice, map: Map<String, Value>) -> Result<(), Fault> {
    let (mut refusal, mut audio) = (None, None);
    for (key, v) in map {
        match (key.as_str(), v) {
            ("role", _) => {}
            ("refusal" | "tool_calls" | "function_call" | "audio" | "annotations", Value::Null) => {}
            ("content", v) => {
                let what = "a string, a list of parts or null";
                let content = Content::deserialize(v).map_err(|_| Fault::expected(what).within("content"))?;
                choice.content = content.parts;
                if let Some(spelling) = content.spelling {
                    choice.extra.insert("@content".to_owned(), spelling);
                }
            }
            ("refusal", Value::String(s)) => refusal = Some(Part::Refusal(s)),
            ("audio", v) => audio = Some(Part::Audio(v)),
            ("annotations", Value::Array(list)) if list.is_empty() => {}
            ("tool_calls", Value::Array(list)) => {
                let (calls, spelling) = tool::parse_calls(list).map_err(|e| e.within("tool_calls"))?;
                choice.tool_calls = calls;
                if let Some(spelling) = spelling {
                    choice.extra.insert("@tool_calls".to_owned(), spelling);
                }
            }
            ("function_call", v) => {
                let wrapped = Map::from_iter([("function".to_owned(), v)]);
                let (call, _) = tool::parse_call(Value::Object(wrapped))?;
                choice.tool_calls = vec![call];
                choice.extra.insert("@tool_calls".to_owned(), "function_call".into());
            }
            (key, v) => keep(&mut choice.extra, key, v),
        }
    }
    choice.content.extend(refusal);
    choice.content.extend(audio);
    Ok(())
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
        put_calls(&mut w, c)?;
        w.put("annotations", c.extra.get("annotations").unwrap_or(&Value::Array(Vec::new())))?;
        w.kept(&c.extra)?;
        w.end()
    }
}

fn put_calls<M: SerializeMap>(w: &mut Writer<M>, c: &Choice) -> Result<(), M::Error> {
    tool::put_calls(w, &c.tool_calls, &c.extra)
}
