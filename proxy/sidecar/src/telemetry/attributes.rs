//! What a call's bodies say about it, without what they say.

use std::borrow::Cow;

use opentelemetry::{Array, KeyValue, StringValue, Value};
use understudy_call::{Dialect, Finish, Format, Reply, Request};
use understudy_dialect::sse::Events;
use understudy_gateway::Recorded;

/// `gen_ai.operation.name`.
pub(super) fn operation(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenaiChat | Dialect::AnthropicMessages => "chat",
        _ => "call",
    }
}

/// The provider's name as it was called before, whoever that is.
pub(super) fn old_system(attributes: &[KeyValue]) -> Option<KeyValue> {
    let provider = attributes.iter().find(|a| a.key.as_str() == "gen_ai.provider.name")?;
    Some(KeyValue::new("gen_ai.system", provider.value.clone()))
}

/// A count as OpenTelemetry has it.
pub(super) fn whole(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The request, where its dialect is decoded.
pub(super) fn read_request(dialect: Dialect, bodies: &Recorded) -> Option<Request> {
    understudy_dialect::parse_request(dialect, &bodies.request.concat()).ok()
}

/// What a reply may swell to when its encoding is undone; more than is captured of one.
const MOST_BYTES: usize = 8 << 20;

/// The reply that the agent got, where its dialect is decoded.
pub(super) fn read_reply(dialect: Dialect, status: u16, bodies: &Recorded) -> Option<Reply> {
    if bodies.understudy_reply.is_some() {
        return bodies.understudy_reply.clone();
    }
    understudy_dialect::parse_reply(dialect, status, &bodies.reply_content_type, &plain_reply(bodies)?).ok()
}

/// The reply's bytes without their encoding.
fn plain_reply(bodies: &Recorded) -> Option<Vec<u8>> {
    let sent = bodies.reply.concat();
    let decoded = match understudy_capture::plain(&bodies.reply_encoding, &sent, MOST_BYTES)? {
        Cow::Owned(plain) => Some(plain),
        Cow::Borrowed(_) => None,
    };
    Some(decoded.unwrap_or(sent))
}

/// How many chunks the reply came in, the `[DONE]` at a stream's end not counted; 0
/// for a reply that was no stream.
pub(super) fn chunks(bodies: &Recorded) -> u64 {
    let kind = bodies.reply_content_type.trim_start().to_ascii_lowercase();
    if !kind.starts_with("text/event-stream") {
        return 0;
    }
    let mut chunks = 0;
    let plain = plain_reply(bodies).unwrap_or_default();
    Events::default().push(&plain, |event| chunks += u64::from(event.data != b"[DONE]"));
    chunks
}

/// `gen_ai.request.*`, `gen_ai.output.type`.
pub(super) fn of_request(r: &Request) -> Vec<KeyValue> {
    let mut all = vec![
        KeyValue::new("gen_ai.request.stream", r.stream),
        KeyValue::new("gen_ai.output.type", if r.format == Format::Text { "text" } else { "json" }),
    ];
    let s = &r.sampling;
    let mut number = |name: &'static str, value: Option<i64>| {
        if let Some(value) = value {
            all.push(KeyValue::new(name, value));
        }
    };
    number("gen_ai.request.max_tokens", s.max_tokens.map(i64::from));
    number("gen_ai.request.seed", s.seed);
    number("gen_ai.request.choice.count", s.n.filter(|n| *n != 1).map(i64::from));
    if let Some(t) = s.temperature {
        all.push(KeyValue::new("gen_ai.request.temperature", t));
    }
    if let Some(p) = s.top_p {
        all.push(KeyValue::new("gen_ai.request.top_p", p));
    }
    if !s.stop.is_empty() {
        let stop = s.stop.iter().cloned().map(StringValue::from).collect();
        all.push(KeyValue::new("gen_ai.request.stop_sequences", Value::Array(Array::String(stop))));
    }
    all
}

/// `gen_ai.response.*` but for the time to the first chunk.
pub(super) fn of_reply(r: &Reply) -> Vec<KeyValue> {
    let mut all = Vec::new();
    if !r.id.is_empty() {
        all.push(KeyValue::new("gen_ai.response.id", r.id.clone()));
    }
    if !r.model.is_empty() {
        all.push(KeyValue::new("gen_ai.response.model", r.model.clone()));
    }
    let reasons: Vec<StringValue> =
        r.choices.iter().filter_map(|c| c.finish.as_ref()).map(|f| StringValue::from(reason(f))).collect();
    if !reasons.is_empty() {
        all.push(KeyValue::new("gen_ai.response.finish_reasons", Value::Array(Array::String(reasons))));
    }
    all
}

fn reason(finish: &Finish) -> String {
    match finish {
        Finish::Stop => "stop".into(),
        Finish::Length => "length".into(),
        Finish::ToolCalls => "tool_calls".into(),
        Finish::ContentFilter => "content_filter".into(),
        Finish::Other(other) => other.clone(),
        _ => "other".into(),
    }
}
