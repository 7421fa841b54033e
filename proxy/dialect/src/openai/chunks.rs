//! A whole reply, cut into the provider's chunks.
//!
//! A reply of this machine is whole before its first byte goes out, so the
//! pieces are words, not tokens as they came; where log-probabilities cover
//! the text exactly, the pieces are their tokens.

use serde::Serialize;
use serde_json::{Map, Value, json};
use understudy_call::{Choice, Part, Reply, TokenLogprob};

use super::call::CallOut;
use super::choice::finish_word;
use super::error::ErrorOut;
use super::logprobs::logprobs_out;
use super::reply::is_bare_error;
use super::usage::usage_out;

/// Longest piece in bytes: about ten tokens, so that text without blanks is
/// cut too.
const PIECE: usize = 40;

pub(crate) fn render_stream(reply: &Reply, include_usage: bool) -> Vec<Vec<u8>> {
    let mut out = Chunks::new(reply, include_usage);
    for choice in &reply.choices {
        out.choice(choice);
    }
    if reply.choices.is_empty() && !is_bare_error(reply) {
        out.event(b"\"choices\":[]", out.no_usage());
    }
    if let Some(usage) = reply.usage.as_ref().filter(|_| include_usage) {
        let mut tail = b",\"usage\":".to_vec();
        write(&mut tail, &usage_out(usage, &reply.extra));
        out.event(b"\"choices\":[]", &tail);
    }
    let mut events = out.events;
    if let Some(error) = &reply.error {
        let mut event = b"data: {\"error\":".to_vec();
        write(&mut event, &ErrorOut(error, &reply.extra));
        if is_bare_error(reply) {
            for (key, v) in kept(&reply.extra) {
                field(&mut event, key, v);
            }
        }
        event.extend_from_slice(b"}\n\n");
        events.push(event);
    } else if reply.choices.iter().all(|c| c.finish.is_some()) {
        events.push(b"data: [DONE]\n\n".to_vec());
    }
    events
}

struct Chunks {
    /// `{"id":…` up to the choices; the first chunk's carries the kept fields too.
    head: Vec<u8>,
    first: Option<Vec<u8>>,
    include_usage: bool,
    events: Vec<Vec<u8>>,
}

impl Chunks {
    fn new(r: &Reply, include_usage: bool) -> Self {
        let mut head = b"data: {\"id\":".to_vec();
        write(&mut head, &r.id);
        head.extend_from_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
        write(&mut head, &r.created);
        field(&mut head, "model", &r.model);
        let mut first = Vec::new();
        for (key, v) in kept(&r.extra) {
            let every = matches!(key, "system_fingerprint" | "service_tier");
            field(if every { &mut head } else { &mut first }, key, v);
        }
        if !r.extra.contains_key("system_fingerprint") {
            field(&mut head, "system_fingerprint", &Value::Null);
        }
        Self { head, first: Some(first), include_usage, events: Vec::new() }
    }

    /// The provider says `usage: null` in each chunk before the one that has it.
    fn no_usage(&self) -> &'static [u8] {
        if self.include_usage { b",\"usage\":null" } else { b"" }
    }

    fn event(&mut self, choices: &[u8], tail: &[u8]) {
        let mut event = self.head.clone();
        event.extend_from_slice(&self.first.take().unwrap_or_default());
        event.push(b',');
        event.extend_from_slice(choices);
        event.extend_from_slice(tail);
        event.extend_from_slice(b"}\n\n");
        self.events.push(event);
    }

    fn piece(
        &mut self,
        index: u32,
        delta: &impl Serialize,
        logprobs: &Value,
        outer: Option<&Value>,
        finish: Option<&str>,
    ) {
        let mut choices = b"\"choices\":[{\"index\":".to_vec();
        write(&mut choices, &index);
        field(&mut choices, "delta", delta);
        field(&mut choices, "logprobs", logprobs);
        field(&mut choices, "finish_reason", &finish);
        if let Some(Value::Object(outer)) = outer {
            for (key, v) in outer {
                field(&mut choices, key, v);
            }
        }
        choices.extend_from_slice(b"}]");
        self.event(&choices, self.no_usage());
    }

    fn delta(&mut self, index: u32, delta: &impl Serialize) {
        self.piece(index, delta, &Value::Null, None, None);
    }

    fn choice(&mut self, c: &Choice) {
        let (mut text, mut refusal) = (None::<String>, None::<String>);
        for part in &c.content {
            match part {
                Part::Text(t) => text.get_or_insert_default().push_str(t),
                Part::Refusal(t) => refusal.get_or_insert_default().push_str(t),
                _ => {}
            }
        }
        let by_token = !c.logprobs.is_empty() && text.as_deref().is_some_and(|t| covers(&c.logprobs, t));

        let mut role = Map::from_iter([
            ("role".to_owned(), "assistant".into()),
            ("content".to_owned(), text.as_ref().map_or(Value::Null, |_| "".into())),
            ("refusal".to_owned(), refusal.as_ref().map_or(Value::Null, |_| "".into())),
        ]);
        role.extend(kept(&c.extra).map(|(k, v)| (k.to_owned(), v.clone())));
        let at_once = if by_token { &[][..] } else { &c.logprobs[..] };
        let logprobs = logprobs_out(at_once, c.extra.get("@logprobs"));
        self.piece(c.index, &role, &logprobs, c.extra.get("@choice"), None);

        if by_token {
            for t in &c.logprobs {
                let logprobs = logprobs_out(std::slice::from_ref(t), None);
                self.piece(c.index, &json!({ "content": t.token }), &logprobs, None, None);
            }
        } else {
            for piece in pieces(text.as_deref().unwrap_or_default()) {
                self.delta(c.index, &json!({ "content": piece }));
            }
        }
        for piece in pieces(refusal.as_deref().unwrap_or_default()) {
            self.delta(c.index, &json!({ "refusal": piece }));
        }
        for part in &c.content {
            match part {
                Part::Audio(v) => self.delta(c.index, &json!({ "audio": v })),
                Part::Image(v) | Part::File(v) | Part::Other(v) => {
                    self.delta(c.index, &json!({ "content": [v] }))
                }
                _ => {}
            }
        }
        self.calls(c);
        if let Some(finish) = &c.finish {
            self.piece(c.index, &json!({}), &Value::Null, None, Some(finish_word(finish)));
        }
    }

    fn calls(&mut self, c: &Choice) {
        let note = c.extra.get("@tool_calls");
        if note.is_some_and(Value::is_string) {
            for call in c.tool_calls.iter().take(1) {
                self.delta(c.index, &json!({ "function_call": { "name": call.name, "arguments": "" } }));
                for piece in pieces(&call.arguments) {
                    self.delta(c.index, &json!({ "function_call": { "arguments": piece } }));
                }
            }
            return;
        }
        for (i, call) in c.tool_calls.iter().enumerate() {
            let extra = note.and_then(|n| n.get(i)).and_then(Value::as_object);
            let mut header = call.clone();
            header.arguments.clear();
            let header = CallOut { call: &header, extra };
            let (of, input) =
                if header.kind() == "custom" { ("custom", "input") } else { ("function", "arguments") };
            let mut map = Map::from_iter([("index".to_owned(), Value::from(i))]);
            if let Ok(Value::Object(rest)) = serde_json::to_value(&header) {
                map.extend(rest);
            }
            self.delta(c.index, &json!({ "tool_calls": [map] }));
            for piece in pieces(&call.arguments) {
                self.delta(c.index, &json!({ "tool_calls": [{ "index": i, of: { input: piece } }] }));
            }
        }
    }
}

/// Fields that were kept, under the names they have on the wire.
fn kept(extra: &Map<String, Value>) -> impl Iterator<Item = (&str, &Value)> {
    extra.iter().filter_map(|(key, v)| match key.strip_prefix('@') {
        Some(own) => own.starts_with('@').then_some((own, v)),
        None => Some((key.as_str(), v)),
    })
}

/// Whether the tokens are the text, cut.
fn covers(tokens: &[TokenLogprob], text: &str) -> bool {
    let mut rest = text;
    tokens.iter().all(|t| rest.strip_prefix(t.token.as_str()).map(|r| rest = r).is_some()) && rest.is_empty()
}

fn write(out: &mut Vec<u8>, v: &(impl Serialize + ?Sized)) {
    // Writing to memory fails only for maps whose keys are not strings: none here.
    let _written = serde_json::to_writer(out, v);
}

fn field(out: &mut Vec<u8>, key: &str, v: &(impl Serialize + ?Sized)) {
    out.push(b',');
    write(out, key);
    out.push(b':');
    write(out, v);
}

/// Cuts a text before each run of blanks, and where a piece grows too long.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut seen = false;
        let cut = rest
            .char_indices()
            .find(|(at, c)| {
                let blank = c.is_whitespace();
                let ends = *at >= PIECE || (blank && seen);
                seen |= !blank;
                ends
            })
            .map_or(rest.len(), |(at, _)| at);
        let (piece, more) = rest.split_at(cut);
        rest = more;
        Some(piece)
    })
}
