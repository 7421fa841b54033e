//! A reply that is odd somewhere, read by way of a tree: an error, a field of a kind
//! that it should not have, a call of a legacy function. Here is decided what is kept
//! as it came and what is refused, and where.
//!
//! A field that is given twice counts as it was given last.

use serde::Deserialize;
use serde_json::{Map, Value};
use understudy_call::{Choice, Part, Reply, ReplyError};

use crate::DialectError;
use crate::openai::call;
use crate::openai::choice::{finish, head_field, tidy};
use crate::openai::error::take_error;
use crate::openai::logprobs::logprobs;
use crate::openai::message::Content;
use crate::openai::wire::{Fault, keep, malformed, misfit};

/// How much of an error page that is not JSON becomes the error's message.
const PAGE_LIMIT: usize = 1024;

pub(crate) fn read(failed: bool, body: &[u8]) -> Result<Reply, DialectError> {
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
                let (calls, spelling) = call::parse_calls(list).map_err(|e| e.within("tool_calls"))?;
                choice.tool_calls = calls;
                if let Some(spelling) = spelling {
                    choice.extra.insert("@tool_calls".to_owned(), spelling);
                }
            }
            ("function_call", v) => {
                let wrapped = Map::from_iter([("function".to_owned(), v)]);
                let (call, _) = call::parse_call(Value::Object(wrapped))?;
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
