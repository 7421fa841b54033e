//! A reply of the usual shape, which nearly all are, read field by field into the nouns.
//!
//! Nothing odd is decided here: this reading only gives up, and [`super::odd`] begins
//! again. So it may refuse what it likes, but what it takes must be what the other would
//! have taken: a property test compares the two. That is why even what no noun holds
//! (`object`, `role`) is looked at.

use serde::de::{Error as _, MapAccess};
use serde_json::{Map, Value};
use understudy_call::{Choice, Part, Reply};

use crate::openai::call;
use crate::openai::choice::{finish, seconds, tidy};
use crate::openai::logprobs::logprobs;
use crate::openai::message::Content;
use crate::openai::usage::Counts;
use crate::openai::wire::{Fault, Fields, List, Object, Text, keep};

/// The reply, if nothing about it is odd.
pub(crate) fn read(body: &[u8]) -> Option<Reply> {
    let Object(whole) = serde_json::from_slice::<Object<Whole>>(body).ok()?;
    Some(whole.reply)
}

#[derive(Default)]
struct Whole {
    reply: Reply,
    has_choices: bool,
    usage: Option<Object<Counts>>,
}

impl<'de> Fields<'de> for Whole {
    const EXPECTED: &'static str = "a chat completion object";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let reply = &mut self.reply;
        match key {
            "id" => reply.id = map.next_value::<Option<_>>()?.unwrap_or_default(),
            "model" => reply.model = map.next_value::<Option<_>>()?.unwrap_or_default(),
            "created" => {
                reply.created = match map.next_value::<Value>()? {
                    Value::Number(n) => seconds(&n),
                    Value::Null => 0,
                    _ => return Err(A::Error::custom("an odd time")),
                }
            }
            "choices" => {
                let List(list) = map.next_value::<List<Object<Chosen>>>()?;
                reply.choices = list.into_iter().map(|Object(chosen)| chosen.choice).collect();
                self.has_choices = true;
            }
            "usage" => self.usage = map.next_value()?,
            "system_fingerprint" | "service_tier" => match map.next_value::<Value>()? {
                Value::Null => {
                    reply.extra.shift_remove(key);
                }
                v => keep(&mut reply.extra, key, v),
            },
            "error" => map.next_value::<()>()?,
            "object" | "obfuscation" => pass(map)?,
            _ => keep(&mut reply.extra, key, map.next_value()?),
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<(), Fault> {
        if !self.has_choices {
            return Err(Fault::missing("choices"));
        }
        if let Some(Object(counts)) = self.usage.take() {
            counts.give(&mut self.reply);
        }
        Ok(())
    }
}

#[derive(Default)]
struct Chosen {
    choice: Choice,
    said: Said,
    logprobs: Option<Map<String, Value>>,
    outer: Map<String, Value>,
}

impl<'de> Fields<'de> for Chosen {
    const EXPECTED: &'static str = "a choice object";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "index" => self.choice.index = map.next_value::<Option<_>>()?.unwrap_or_default(),
            "message" => self.said = map.next_value::<Object<_>>()?.0,
            "finish_reason" => {
                self.choice.finish = map.next_value::<Option<Text<'_>>>()?.map(|Text(word)| finish(&word))
            }
            "logprobs" => self.logprobs = map.next_value()?,
            _ => {
                self.outer.insert(key.to_owned(), map.next_value()?);
            }
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<(), Fault> {
        let choice = &mut self.choice;
        std::mem::take(&mut self.said).give(choice);
        if let Some(map) = self.logprobs.take() {
            logprobs(choice, map)?;
        }
        if !self.outer.is_empty() {
            let outer = std::mem::take(&mut self.outer);
            choice.extra.insert("@choice".to_owned(), Value::Object(outer));
        }
        tidy(choice);
        Ok(())
    }
}

/// The message of a choice.
#[derive(Default)]
struct Said {
    content: Content,
    refusal: Option<String>,
    audio: Option<Value>,
    annotations: Option<Value>,
    calls: Vec<Object<call::Reading>>,
    extra: Map<String, Value>,
}

impl<'de> Fields<'de> for Said {
    const EXPECTED: &'static str = "a message object";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "role" => pass(map)?,
            "content" => self.content = map.next_value()?,
            "refusal" => self.refusal = map.next_value()?,
            "audio" => self.audio = map.next_value()?,
            "annotations" => self.annotations = map.next_value()?,
            "tool_calls" => {
                self.calls = map.next_value::<Option<List<_>>>()?.map(|l| l.0).unwrap_or_default()
            }
            // Which of a legacy call and others counts depends on their order.
            "function_call" => map.next_value::<()>()?,
            _ => keep(&mut self.extra, key, map.next_value()?),
        }
        Ok(())
    }
}

impl Said {
    fn give(self, choice: &mut Choice) {
        choice.extra = self.extra;
        choice.content = self.content.parts;
        if let Some(spelling) = self.content.spelling {
            choice.extra.insert("@content".to_owned(), spelling);
        }
        choice.content.extend(self.refusal.map(Part::Refusal));
        choice.content.extend(self.audio.map(Part::Audio));
        let (calls, spelling) = call::gather(self.calls);
        choice.tool_calls = calls;
        if let Some(spelling) = spelling {
            choice.extra.insert("@tool_calls".to_owned(), spelling);
        }
        let empty = |v: &Value| v.as_array().is_some_and(Vec::is_empty);
        if let Some(annotations) = self.annotations.filter(|v| !empty(v)) {
            keep(&mut choice.extra, "annotations", annotations);
        }
    }
}

/// Passes over a text, or null, that no noun holds.
fn pass<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<Option<Text<'de>>>().map(drop)
}
