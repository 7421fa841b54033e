//! Redaction of the nouns of a call: every text that a person or a tool wrote.
//! Names of tools and models stay, for they are vocabulary.

use serde_json::{Map, Value};
use understudy_call::{Choice, Format, Message, Part, Reply, Request, Tool, ToolCall};

use super::{Redactor, card};

/// The smallest number of as many digits as the shortest card's.
const SHORTEST_CARD: u64 = 10_u64.pow(card::SHORTEST as u32 - 1);

impl Redactor {
    /// Redacts a request in place; says whether anything changed.
    pub fn request(&self, r: &mut Request) -> bool {
        let mut changed = false;
        for m in &mut r.messages {
            changed |= self.message(m);
        }
        for Tool { description, parameters, extra, .. } in &mut r.tools {
            changed |= description.as_mut().is_some_and(|d| self.replace(d));
            changed |= self.value(parameters);
            changed |= self.map(extra);
        }
        if let Format::JsonSchema { schema, .. } = &mut r.format {
            changed |= self.value(schema);
        }
        for stop in &mut r.sampling.stop {
            changed |= self.replace(stop);
        }
        changed | self.map(&mut r.extra)
    }

    /// Redacts a reply in place; says whether anything changed.
    pub fn reply(&self, r: &mut Reply) -> bool {
        let mut changed = false;
        for Choice { content, tool_calls, logprobs, extra, .. } in &mut r.choices {
            let text_changed = self.parts(content) | self.calls(tool_calls);
            if text_changed {
                // The tokens spell the text that was replaced.
                logprobs.clear();
            }
            changed |= text_changed | self.map(extra);
        }
        if let Some(error) = &mut r.error {
            changed |= self.replace(&mut error.message);
        }
        changed | self.map(&mut r.extra)
    }

    /// Redacts every string of a JSON value in place; says whether anything changed.
    pub fn value(&self, v: &mut Value) -> bool {
        match v {
            Value::String(s) => self.replace(s),
            Value::Array(all) => all.iter_mut().fold(false, |c, v| c | self.value(v)),
            Value::Object(map) => self.map(map),
            Value::Number(n) => {
                if n.as_u64().is_none_or(|n| n < SHORTEST_CARD) {
                    return false;
                }
                let text = n.to_string();
                match self.text(&text).parse::<u64>() {
                    Ok(new) if n.as_u64().is_some_and(|old| old != new) => {
                        *v = new.into();
                        true
                    }
                    _ => false,
                }
            }
            Value::Null | Value::Bool(_) => false,
        }
    }

    fn map(&self, map: &mut Map<String, Value>) -> bool {
        let mut changed = map.values_mut().fold(false, |c, v| c | self.value(v));
        if map.keys().any(|k| matches!(self.text(k), std::borrow::Cow::Owned(_))) {
            *map = std::mem::take(map).into_iter().map(|(k, v)| (self.text(&k).into_owned(), v)).collect();
            changed = true;
        }
        changed
    }

    fn message(&self, m: &mut Message) -> bool {
        let name = m.name.as_mut().is_some_and(|n| self.replace(n));
        name | self.parts(&mut m.content) | self.calls(&mut m.tool_calls) | self.map(&mut m.extra)
    }

    fn parts(&self, parts: &mut [Part]) -> bool {
        parts.iter_mut().fold(false, |changed, p| {
            changed
                | match p {
                    Part::Text(t) | Part::Refusal(t) => self.replace(t),
                    Part::Image(v) | Part::Audio(v) | Part::File(v) | Part::Other(v) => self.value(v),
                    _ => false,
                }
        })
    }

    fn calls(&self, calls: &mut [ToolCall]) -> bool {
        calls.iter_mut().fold(false, |changed, c| changed | self.replace(&mut c.arguments))
    }
}
