//! A streamed reply, put together from its chunks.

use std::borrow::Cow;

use serde_json::{Map, Value};
use understudy_call::{Choice, Part, Reply, ToolCall};

use super::choice::{finish, head_field, tidy};
use super::chunk::{Body, CallPiece, Chunk, Piece, Said};
use super::error::take_error;
use super::logprobs::logprobs;
use super::merge::merge;
use super::usage::take_usage;
use super::wire::{Fault, Object, Text, malformed, misfit};
use crate::{DialectError, sse};

/// Takes the bytes of a stream and gives the reply.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    events: sse::Events,
    state: State,
}

impl Assembler {
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), DialectError> {
        let Self { events, state } = self;
        let mut first = Ok(());
        events.push(bytes, |event| {
            if let Err(e) = state.take(event) {
                state.broken = true;
                if first.is_ok() {
                    first = Err(e);
                }
            }
        });
        first
    }

    pub(crate) fn done(&self) -> bool {
        self.state.done
    }

    pub(crate) fn finish(self) -> Reply {
        let Self { events, mut state } = self;
        // A last event without its blank line counts if it is whole.
        events.finish(|event| {
            let _whole = state.take(event);
        });
        state.reply()
    }
}

#[derive(Debug, Default)]
struct State {
    reply: Reply,
    drafts: Vec<Draft>,
    done: bool,
    broken: bool,
}

/// A choice while it comes.
#[derive(Debug, Default)]
struct Draft {
    choice: Choice,
    text: Option<String>,
    refusal: Option<String>,
    parts: Vec<Part>,
    audio: Map<String, Value>,
    calls: Vec<Call>,
    outer: Map<String, Value>,
    legacy: bool,
}

#[derive(Debug)]
struct Call {
    place: u64,
    call: ToolCall,
    extra: Map<String, Value>,
}

impl State {
    fn take(&mut self, event: sse::Event<'_>) -> Result<(), DialectError> {
        let data = event.data.trim_ascii();
        if self.done || data.is_empty() {
            return Ok(());
        }
        if data == b"[DONE]" {
            self.done = true;
            return Ok(());
        }
        if event.name == "error" {
            let mut v: Value = serde_json::from_slice(data).map_err(|e| malformed(&e))?;
            let inner = v.get_mut("error").map(Value::take).filter(|v| !v.is_null());
            take_error(&mut self.reply, inner.unwrap_or(v));
            return Ok(());
        }
        let Object(chunk) = serde_json::from_slice::<Object<Chunk<'_>>>(data).map_err(|e| malformed(&e))?;
        if let Some(Text(id)) = chunk.id
            && self.reply.id != id
        {
            self.reply.id = id.into_owned();
        }
        if let Some(Text(model)) = chunk.model
            && self.reply.model != model
        {
            self.reply.model = model.into_owned();
        }
        if let Some(v) = chunk.created {
            head_field(&mut self.reply, "created", v);
        }
        for (key, said) in chunk.repeated {
            if let Some(Text(said)) = said
                && self.reply.extra.get(key).and_then(Value::as_str) != Some(&*said)
            {
                self.reply.extra.insert(key.to_owned(), said.into());
            }
        }
        for (key, v) in chunk.rest {
            head_field(&mut self.reply, &key, v);
        }
        if let Some(usage) = chunk.usage {
            take_usage(&mut self.reply, usage);
        }
        if let Some(error) = chunk.error {
            take_error(&mut self.reply, error);
        }
        for (i, Object(piece)) in chunk.choices.into_iter().enumerate() {
            let at = |e: Fault| misfit(e.within(&format!("[{i}]")).within("choices"));
            self.draft(piece.index).add(piece).map_err(at)?;
        }
        Ok(())
    }

    fn draft(&mut self, index: u32) -> &mut Draft {
        let at = self.drafts.iter().position(|d| d.choice.index == index).unwrap_or_else(|| {
            let choice = Choice { index, ..Choice::default() };
            self.drafts.push(Draft { choice, ..Draft::default() });
            self.drafts.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "found or pushed just above")]
        &mut self.drafts[at]
    }

    fn reply(mut self) -> Reply {
        self.drafts.sort_by_key(|d| d.choice.index);
        self.reply.choices = self.drafts.into_iter().map(Draft::whole).collect();
        if self.broken {
            for choice in &mut self.reply.choices {
                choice.finish = None;
            }
        }
        self.reply
    }
}

impl Draft {
    fn add(&mut self, piece: Piece<'_>) -> Result<(), Fault> {
        let delta = piece.delta.0;
        match delta.content {
            Said::Nothing => {}
            Said::Text(text) => append(&mut self.text, &text),
            Said::List(content) => {
                for part in content.parts {
                    match part {
                        Part::Text(text) => append(&mut self.text, &text),
                        Part::Refusal(text) => append(&mut self.refusal, &text),
                        other => self.parts.push(other),
                    }
                }
            }
        }
        if let Some(Text(text)) = delta.refusal {
            append(&mut self.refusal, &text);
        }
        if let Some(Value::Object(audio)) = delta.audio {
            for (key, v) in audio {
                merge(&mut self.audio, &key, v);
            }
        }
        for Object(call) in delta.calls {
            self.call(call);
        }
        if let Some(function) = delta.function {
            self.legacy = true;
            self.call(CallPiece { place: Some(0), body: function.0, ..CallPiece::default() });
        }
        for (key, v) in delta.extra {
            merge(&mut self.choice.extra, &key, v);
        }
        for (key, v) in piece.outer {
            merge(&mut self.outer, &key, v);
        }
        if let Some(map) = piece.logprobs {
            logprobs(&mut self.choice, map).map_err(|e| e.within("logprobs"))?;
        }
        if let Some(Text(reason)) = piece.finish {
            self.choice.finish = Some(finish(&reason));
        }
        Ok(())
    }

    /// Adds to the call in its place. A new id in a place that has one already
    /// begins another call (some servers put every call in place 0); without a
    /// place, a piece with an id begins one.
    fn call(&mut self, piece: CallPiece<'_>) {
        let id = piece.id.map(|Text(id)| id).unwrap_or_default();
        let found = match piece.place {
            Some(place) => self.calls.iter_mut().rev().find(|c| c.place == place),
            None => self.calls.last_mut(),
        };
        let same =
            |c: &Call| id.is_empty() || c.call.id == id || (piece.place.is_some() && c.call.id.is_empty());
        match found {
            Some(call) if same(call) => call.add(id, piece.body, piece.extra),
            _ => {
                let place =
                    piece.place.unwrap_or_else(|| self.calls.last().map_or(0, |c| c.place.saturating_add(1)));
                let call = ToolCall { id: String::new(), name: String::new(), arguments: String::new() };
                let mut call = Call { place, call, extra: Map::new() };
                call.add(id, piece.body, piece.extra);
                self.calls.push(call);
            }
        }
    }

    fn whole(self) -> Choice {
        let mut choice = self.choice;
        choice.content = self.text.map(Part::Text).into_iter().collect();
        choice.content.extend(self.parts);
        choice.content.extend(self.refusal.map(Part::Refusal));
        if !self.audio.is_empty() {
            choice.content.push(Part::Audio(Value::Object(self.audio)));
        }
        let mut calls = self.calls;
        calls.sort_by_key(|c| c.place);
        if self.legacy {
            choice.extra.insert("@tool_calls".to_owned(), "function_call".into());
        } else if calls.iter().any(|c| !c.extra.is_empty()) {
            let extras = calls.iter_mut().map(|c| Value::Object(std::mem::take(&mut c.extra))).collect();
            choice.extra.insert("@tool_calls".to_owned(), Value::Array(extras));
        }
        choice.tool_calls = calls.into_iter().map(|c| c.call).collect();
        if !self.outer.is_empty() {
            choice.extra.insert("@choice".to_owned(), Value::Object(self.outer));
        }
        if choice.extra.get("annotations").and_then(Value::as_array).is_some_and(Vec::is_empty) {
            choice.extra.shift_remove("annotations");
        }
        tidy(&mut choice);
        choice
    }
}

impl Call {
    fn add(&mut self, id: Cow<'_, str>, body: Body<'_>, extra: Map<String, Value>) {
        if self.call.id.is_empty() {
            self.call.id = id.into_owned();
        }
        if let Some(Text(name)) = body.name {
            self.call.name.push_str(&name);
        }
        if let Some(Text(input)) = body.input {
            self.call.arguments.push_str(&input);
        }
        if !body.extra.is_empty() {
            merge(&mut self.extra, "function", Value::Object(body.extra));
        }
        for (key, v) in extra {
            merge(&mut self.extra, &key, v);
        }
    }
}

fn append(to: &mut Option<String>, text: &str) {
    to.get_or_insert_default().push_str(text);
}
