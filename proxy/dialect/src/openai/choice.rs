//! What whole replies and chunks have in common: the head's fields, how a choice ends,
//! and one way to say the same.

use serde_json::{Number, Value};
use understudy_call::{Choice, Finish, Part, Reply};

use super::message::is_flat;
use super::usage::take_usage;
use super::wire::keep;

/// A field of a reply's or a chunk's head.
pub(crate) fn head_field(reply: &mut Reply, key: &str, v: Value) {
    match (key, v) {
        ("id", Value::String(s)) => reply.id = s,
        ("model", Value::String(s)) => reply.model = s,
        ("created", Value::Number(n)) => reply.created = seconds(&n),
        ("usage", Value::Object(map)) => take_usage(reply, map),
        // Constant, empty, or padding against an eavesdropper.
        ("object" | "obfuscation", _)
        | ("id" | "model" | "created" | "usage" | "system_fingerprint" | "service_tier", Value::Null) => {}
        (key, v) => keep(&mut reply.extra, key, v),
    }
}

/// Unix seconds; some servers write them with a fraction.
pub(crate) fn seconds(n: &Number) -> i64 {
    n.as_i64().or_else(|| n.as_f64().map(|f| f as i64)).unwrap_or_default()
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

/// Whether content can stand as one text.
pub(crate) fn is_flat_reply(parts: &[Part]) -> bool {
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
