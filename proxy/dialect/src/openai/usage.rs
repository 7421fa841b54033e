//! Token counts, in and out.

use serde::de::MapAccess;
use serde_json::{Map, Value, json};
use understudy_call::{Reply, Usage};

use super::wire::{Fields, Object};

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

/// Whether nothing is counted; what counts nothing is left out on the way.
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

/// What [`take_usage`] takes, read field by field. A count that is no count has no
/// place here.
#[derive(Default)]
pub(crate) struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    of_input: Details<false>,
    of_output: Details<true>,
    rest: Map<String, Value>,
}

impl<'de> Fields<'de> for Counts {
    const EXPECTED: &'static str = "an object of counts";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "prompt_tokens" => self.input = map.next_value()?,
            "completion_tokens" => self.output = map.next_value()?,
            "total_tokens" => self.total = map.next_value()?,
            "prompt_tokens_details" => {
                self.of_input = map.next_value::<Option<Object<_>>>()?.unwrap_or_default().0
            }
            "completion_tokens_details" => {
                self.of_output = map.next_value::<Option<Object<_>>>()?.unwrap_or_default().0
            }
            _ => note(&mut self.rest, key, map.next_value()?),
        }
        Ok(())
    }
}

impl Counts {
    pub(crate) fn give(self, reply: &mut Reply) {
        let usage = Usage {
            input_tokens: self.input.unwrap_or_default(),
            output_tokens: self.output.unwrap_or_default(),
            cached_input_tokens: self.of_input.count.unwrap_or_default(),
            reasoning_tokens: self.of_output.count.unwrap_or_default(),
        };
        let mut rest = self.rest;
        let sum = usage.input_tokens.saturating_add(usage.output_tokens);
        if let Some(total) = self.total.filter(|total| *total != sum) {
            note(&mut rest, "total_tokens", total.into());
        }
        note(&mut rest, "prompt_tokens_details", Value::Object(self.of_input.rest));
        note(&mut rest, "completion_tokens_details", Value::Object(self.of_output.rest));
        reply.usage = Some(usage);
        if !rest.is_empty() {
            reply.extra.insert("@usage".to_owned(), Value::Object(rest));
        }
    }
}

/// The details of the reply's tokens (`true`) or the prompt's: each has one count with
/// a noun.
#[derive(Default)]
struct Details<const REPLY: bool> {
    count: Option<u64>,
    rest: Map<String, Value>,
}

impl<'de, const REPLY: bool> Fields<'de> for Details<REPLY> {
    const EXPECTED: &'static str = "an object of counts";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "cached_tokens" if !REPLY => self.count = map.next_value()?,
            "reasoning_tokens" if REPLY => self.count = map.next_value()?,
            _ => note(&mut self.rest, key, map.next_value()?),
        }
        Ok(())
    }
}

/// Notes a count, the last one that is given, if it counts anything.
fn note(rest: &mut Map<String, Value>, key: &str, mut v: Value) {
    if says_nothing(&mut v) {
        rest.shift_remove(key);
    } else {
        rest.insert(key.to_owned(), v);
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
