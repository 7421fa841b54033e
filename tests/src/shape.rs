//! What a reply has to look like, whoever gave it.

use serde_json::Value;

use crate::peer::Answer;

/// A triage answer.
pub fn is_a_queue(text: &str) {
    let reply: Value = serde_json::from_str(text).unwrap();
    assert!(reply["queue"].is_string(), "{reply}");
}

/// Usage as the provider counts it.
pub fn counts_tokens(usage: &Value) {
    let n = |key: &str| usage[key].as_u64().unwrap();
    assert!(n("prompt_tokens") > 0 && n("completion_tokens") > 0, "{usage}");
    assert_eq!(n("total_tokens"), n("prompt_tokens") + n("completion_tokens"));
}

/// A stream's text and usage; its chunks must be as the provider's are.
#[must_use]
pub fn read(answer: &Answer) -> (String, Value) {
    assert!(answer.header("content-type").unwrap().starts_with("text/event-stream"));
    let mut events = answer.events();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
    let chunks: Vec<Value> = events.iter().map(|e| serde_json::from_str(e).unwrap()).collect();
    assert!(
        chunks.iter().all(|c| c["object"] == "chat.completion.chunk" && c["id"] == chunks[0]["id"]),
        "{chunks:?}"
    );
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant", "{chunks:?}");
    let choices: Vec<&Value> = chunks.iter().flat_map(|c| c["choices"].as_array().unwrap()).collect();
    let text = choices.iter().filter_map(|c| c["delta"]["content"].as_str()).collect();
    assert_eq!(choices.last().unwrap()["finish_reason"], "stop", "{chunks:?}");
    (text, chunks.last().unwrap()["usage"].clone())
}
