//! Plays recorded replies: a server that knows the recorded answer to each
//! recorded request and gives it after a provider-like delay.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Response, StatusCode};
use axum::routing::post;
use serde_json::{Map, Value, json};

use crate::openai;

/// One recorded call: what an agent would send, and what the provider said.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The request's body.
    pub request: Value,
    /// The assistant message.
    pub reply: Value,
    /// The line's own marks (`split`, `novel`, `solved`, `id`).
    pub marks: Map<String, Value>,
}

/// Reads `NAME.calls.jsonl` or `NAME.trajectories.jsonl` beside `NAME.agent.json`.
///
/// # Errors
/// A file is missing or not what it should be.
pub fn recorded(folder: &Path, name: &str) -> Result<Vec<Recorded>> {
    let agent: Value = serde_json::from_slice(
        &std::fs::read(folder.join(format!("{name}.agent.json"))).context("the agent's description")?,
    )?;
    let mut shared = Map::new();
    for key in ["model", "tools", "tool_choice", "response_format"] {
        if let Some(value) = agent.get(key).filter(|v| !v.is_null()) {
            shared.insert(key.to_owned(), value.clone());
        }
    }
    let system = json!({"role": "system", "content": agent["system"]});
    let calls = folder.join(format!("{name}.calls.jsonl"));
    let file = if calls.exists() { calls } else { folder.join(format!("{name}.trajectories.jsonl")) };
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let mut all = Vec::new();
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        let line: Value = serde_json::from_str(line)?;
        let messages = line["messages"].as_array().context("messages")?.clone();
        let marks: Map<String, Value> = line
            .as_object()
            .context("object")?
            .iter()
            .filter(|(k, _)| !matches!(k.as_str(), "messages" | "reply"))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let mut one = |before: &[Value], reply: &Value| {
            let mut body = shared.clone();
            let messages: Vec<Value> =
                std::iter::once(system.clone()).chain(before.iter().cloned()).collect();
            body.insert("messages".to_owned(), Value::Array(messages));
            all.push(Recorded { request: Value::Object(body), reply: with_ids(reply), marks: marks.clone() });
        };
        match line.get("reply") {
            Some(reply) => one(&messages, reply),
            None => {
                for (i, m) in messages.iter().enumerate().filter(|(_, m)| m["role"] == "assistant") {
                    one(&messages[..i], m);
                }
            }
        }
    }
    Ok(all)
}

fn with_ids(reply: &Value) -> Value {
    let mut reply = reply.clone();
    if let Some(calls) = reply.get_mut("tool_calls").and_then(Value::as_array_mut) {
        for (i, call) in calls.iter_mut().enumerate() {
            if call.get("id").is_none() {
                call["id"] = json!(format!("call_{i}"));
            }
        }
    }
    reply
}

struct Playback {
    replies: HashMap<String, Value>,
    delay: Duration,
}

/// What of a request decides the recorded reply: its messages.
fn key(request: &Value) -> String {
    request["messages"].to_string()
}

/// The server's routes. The last reply of several to the same request is played.
pub fn router(calls: &[Recorded], delay: Duration) -> Router {
    let replies = calls.iter().map(|c| (key(&c.request), c.reply.clone())).collect();
    let state = Arc::new(Playback { replies, delay });
    Router::new().route("/v1/chat/completions", post(play)).with_state(state)
}

async fn play(State(playback): State<Arc<Playback>>, body: Bytes) -> Response<Body> {
    let serial = openai::serial(&body);
    let Ok(request) = serde_json::from_slice::<Value>(&body) else {
        return openai::error(StatusCode::BAD_REQUEST, "invalid_request_error", "not JSON");
    };
    let Some(reply) = playback.replies.get(&key(&request)) else {
        return openai::error(StatusCode::NOT_FOUND, "invalid_request_error", "this call was not recorded");
    };
    tokio::time::sleep(playback.delay).await;
    openai::answer(&request, reply, serial, Duration::ZERO)
}
