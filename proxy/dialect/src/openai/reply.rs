//! Whole replies and errors.

use serde::Deserialize;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};
use understudy_call::{Choice, Finish, Part, Reply, ReplyError, TokenLogprob, Usage};

use super::error::{ErrorOut, take_error};
use super::message::{Content, PartsOut, is_flat};
use super::stream::Assembler;
use super::tool;
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

/// A field of a reply's or a chunk's head.
pub(crate) fn head_field(reply: &mut Reply, key: &str, v: Value) {
    match (key, v) {
        ("id", Value::String(s)) => reply.id = s,
        ("model", Value::String(s)) => reply.model = s,
        ("created", Value::Number(n)) => {
            reply.created = n.as_i64().or_else(|| n.as_f64().map(|f| f as i64)).unwrap_or_default();
        }
        ("usage", Value::Object(map)) => take_usage(reply, map),
        // Constant, empty, or padding against an eavesdropper.
        ("object" | "obfuscation", _)
        | ("id" | "model" | "created" | "usage" | "system_fingerprint" | "service_tier", Value::Null) => {}
        (key, v) => keep(&mut reply.extra, key, v),
    }
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

/// One way to say the same: no empty text beside tool calls, a refusal or
/// sound (some servers put one there, and streams begin with one), and no note
/// that content was a list where it can be nothing else.
pub(crate) fn tidy(choice: &mut Choice) {
    let list = choice.extra.get("@content").is_some();
    let beside = !choice.tool_calls.is_empty() || choice.content.len() > 1;
    if !list && beside && matches!(choice.content.first(), Some(Part::Text(t)) if t.is_empty()) {
        choice.content.remove(0);
    }
    if !is_flat_reply(&choice.content) && choice.extra.get("@content").is_some_and(Value::is_string) {
        choice.extra.shift_remove("@content");
    }
}

fn is_flat_reply(parts: &[Part]) -> bool {
    match parts {
        [said @ .., Part::Audio(_)] => is_flat(said, true),
        said => is_flat(said, true),
    }
}

pub(crate) fn finish(reason: &str) -> Finish {
    match reason {
        "stop" => Finish::Stop,
        "length" => Finish::Length,
        "tool_calls" => Finish::ToolCalls,
        "content_filter" => Finish::ContentFilter,
        other => Finish::Other(other.to_owned()),
    }
}

pub(crate) fn finish_word(finish: &Finish) -> &str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::ContentFilter => "content_filter",
        Finish::Other(word) => word,
        _ => "stop",
    }
}

/// Log-probabilities, of a whole reply or one chunk more.
pub(crate) fn logprobs(choice: &mut Choice, map: Map<String, Value>) -> Result<(), Fault> {
    for (key, v) in map {
        match (key.as_str(), v) {
            (_, Value::Null) => {}
            ("content", Value::Array(list)) => {
                for v in list {
                    choice.logprobs.push(token(v).map_err(|e| e.within("content"))?);
                }
            }
            (key, v) => {
                let rest = choice.extra.entry("@logprobs").or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(rest) = rest {
                    super::stream::merge(rest, key, v);
                }
            }
        }
    }
    Ok(())
}

fn token(v: Value) -> Result<TokenLogprob, Fault> {
    let Value::Object(mut extra) = v else {
        return Err(Fault::expected("an object"));
    };
    let token = super::wire::text(&mut extra, "token")?;
    let logprob = extra
        .remove("logprob")
        .and_then(|v| v.as_f64())
        .ok_or(Fault::expected("a number").within("logprob"))?;
    Ok(TokenLogprob { token, logprob, extra })
}

/// Takes the counts that have a noun; what else counts something is noted.
pub(crate) fn take_usage(reply: &mut Reply, mut map: Map<String, Value>) {
    fn count(map: &mut Map<String, Value>, key: &str) -> u64 {
        match map.get(key).and_then(Value::as_u64) {
            Some(n) => map.remove(key).map_or(0, |_| n),
            None => 0,
        }
    }
    fn detail(map: &mut Map<String, Value>, group: &str, key: &str) -> u64 {
        map.get_mut(group).and_then(Value::as_object_mut).map_or(0, |m| count(m, key))
    }
    fn says_nothing(v: &mut Value) -> bool {
        match v {
            Value::Object(m) => {
                m.retain(|_, v| !says_nothing(v));
                m.is_empty()
            }
            Value::Null => true,
            v => v.as_f64() == Some(0.0),
        }
    }
    let usage = Usage {
        input_tokens: count(&mut map, "prompt_tokens"),
        output_tokens: count(&mut map, "completion_tokens"),
        cached_input_tokens: detail(&mut map, "prompt_tokens_details", "cached_tokens"),
        reasoning_tokens: detail(&mut map, "completion_tokens_details", "reasoning_tokens"),
    };
    if map.get("total_tokens").and_then(Value::as_u64)
        == Some(usage.input_tokens.saturating_add(usage.output_tokens))
    {
        map.remove("total_tokens");
    }
    reply.usage = Some(usage);
    let mut rest = Value::Object(map);
    if says_nothing(&mut rest) {
        reply.extra.shift_remove("@usage");
    } else {
        reply.extra.insert("@usage".to_owned(), rest);
    }
}

pub(crate) fn usage_out(usage: &Usage, extra: &Map<String, Value>) -> Value {
    fn lay_over(under: &mut Value, over: &Value) {
        match (under, over) {
            (Value::Object(under), Value::Object(over)) => {
                for (k, v) in over {
                    lay_over(under.entry(k.clone()).or_insert(Value::Null), v);
                }
            }
            (under, over) => *under = over.clone(),
        }
    }
    let mut out = json!({
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens.saturating_add(usage.output_tokens),
        "prompt_tokens_details": { "cached_tokens": usage.cached_input_tokens, "audio_tokens": 0 },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    });
    if let Some(rest) = extra.get("@usage") {
        lay_over(&mut out, rest);
    }
    out
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

pub(crate) fn logprobs_out(tokens: &[TokenLogprob], rest: Option<&Value>) -> Value {
    if tokens.is_empty() && rest.is_none() {
        return Value::Null;
    }
    let tokens: Vec<Value> = tokens
        .iter()
        .map(|t| {
            let mut map = Map::from_iter([
                ("token".to_owned(), t.token.clone().into()),
                ("logprob".to_owned(), t.logprob.into()),
            ]);
            map.extend(t.extra.clone());
            Value::Object(map)
        })
        .collect();
    let mut out = json!({ "content": tokens, "refusal": null });
    if let (Value::Object(out), Some(Value::Object(rest))) = (&mut out, rest) {
        out.extend(rest.clone());
    }
    out
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
