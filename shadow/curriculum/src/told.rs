//! What the provider told of its own tokens, where the call asked for it.

use serde::Serialize;
use serde_json::Value;
use understudy_call::Choice;

/// Alternatives kept of a token: what comes after them weighs little.
const MOST: usize = 5;

/// A token of the provider's reply, and what it might have been.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    /// The token's text.
    pub token: String,
    /// The likeliest texts in its place with their log-probabilities (natural
    /// logarithm), the likeliest first.
    pub top: Vec<(String, f64)>,
}

/// What they take of the memory.
pub(crate) fn bytes(tokens: &[Told]) -> usize {
    let of = |t: &Told| {
        let text: usize = t.top.iter().map(|(t, _)| t.len()).sum();
        size_of::<Told>() + t.token.len() + text + t.top.len() * size_of::<(String, f64)>()
    };
    tokens.iter().map(of).sum()
}

/// The tokens of a reply that is a text; none where no token has alternatives.
pub(crate) fn told(choice: &Choice) -> Vec<Told> {
    if !choice.tool_calls.is_empty() {
        return Vec::new();
    }
    let of = |t: &understudy_call::TokenLogprob| {
        let others = t.extra.get("top_logprobs").and_then(Value::as_array);
        let read = |v: &Value| Some((v.get("token")?.as_str()?.to_owned(), v.get("logprob")?.as_f64()?));
        let mut top: Vec<(String, f64)> = others.into_iter().flatten().filter_map(read).collect();
        top.sort_by(|a, b| b.1.total_cmp(&a.1));
        top.truncate(MOST);
        Told { token: t.token.clone(), top }
    };
    let all: Vec<Told> = choice.logprobs.iter().map(of).collect();
    if all.iter().all(|t| t.top.len() < 2) { Vec::new() } else { all }
}
