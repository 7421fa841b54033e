//! Token counts, in and out.

use serde_json::{Map, Value, json};
use understudy_call::{Reply, Usage};

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
