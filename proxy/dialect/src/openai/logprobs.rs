//! Log-probabilities, in and out.

use serde_json::{Map, Value, json};
use understudy_call::{Choice, TokenLogprob};

use super::merge::merge;
use super::wire::{Fault, text};

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
                    merge(rest, key, v);
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
    let token = text(&mut extra, "token")?;
    let logprob = extra
        .remove("logprob")
        .and_then(|v| v.as_f64())
        .ok_or(Fault::expected("a number").within("logprob"))?;
    Ok(TokenLogprob { token, logprob, extra })
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
