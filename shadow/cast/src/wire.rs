//! One POST over HTTP, its failures told apart the way a fallback needs it.

use std::time::Duration;

use serde_json::Value;
use understudy_call::Declined;

/// Most bytes of an answer that are read. A chat reply of a small model is
/// kilobytes; a batch of embeddings as JSON is some 8 KiB a text.
const MOST_BYTES: usize = 16 << 20;

/// What came back.
pub(crate) struct Came {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
}

/// Posts `body` and reads the answer, all of it within `within`.
pub(crate) async fn post(
    http: &reqwest::Client,
    url: &str,
    key: Option<&str>,
    body: Vec<u8>,
    within: Duration,
) -> Result<Came, Declined> {
    let mut ask = http.post(url).header("content-type", "application/json").body(body);
    if let Some(key) = key {
        ask = ask.bearer_auth(key);
    }
    finish(ask, within).await
}

/// Gets, likewise.
pub(crate) async fn get(
    http: &reqwest::Client,
    url: &str,
    key: Option<&str>,
    within: Duration,
) -> Result<Came, Declined> {
    let mut ask = http.get(url);
    if let Some(key) = key {
        ask = ask.bearer_auth(key);
    }
    finish(ask, within).await
}

async fn finish(ask: reqwest::RequestBuilder, within: Duration) -> Result<Came, Declined> {
    tokio::time::timeout(within, read(ask)).await.unwrap_or(Err(Declined::TooSlow))
}

async fn read(ask: reqwest::RequestBuilder) -> Result<Came, Declined> {
    let mut answer = ask.send().await.map_err(|e| failure(&e))?;
    let status = answer.status().as_u16();
    let content_type = answer
        .headers()
        .get("content-type")
        .and_then(|v| v.to_str().ok())
        .unwrap_or("application/json")
        .to_owned();
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|e| failure(&e))? {
        if body.len() + piece.len() > MOST_BYTES {
            return Err(Declined::Invalid);
        }
        body.extend_from_slice(&piece);
    }
    Ok(Came { status, content_type, body })
}

fn failure(e: &reqwest::Error) -> Declined {
    // A connection that cannot be made in time is no engine, not a slow one.
    if e.is_timeout() && !e.is_connect() { Declined::TooSlow } else { Declined::Unavailable }
}

/// Why a status that is no answer came, by the code in the body where there is
/// one (the engine's own), else by the status.
pub(crate) fn declined(came: &Came) -> Declined {
    let code = serde_json::from_slice::<Value>(&came.body)
        .ok()
        .and_then(|v| v.get("error")?.get("code")?.as_str().map(str::to_owned))
        .unwrap_or_default();
    match code.as_str() {
        "below_bar" => Declined::BelowBar,
        "too_slow" => Declined::TooSlow,
        "busy" => Declined::Busy,
        "too_long" | "context_length_exceeded" => Declined::TooLong,
        "invalid" => Declined::Invalid,
        "cancelled" => Declined::Cancelled,
        "unavailable" => Declined::Unavailable,
        _ => match came.status {
            429 => Declined::Busy,
            413 => Declined::TooLong,
            400 | 422 => Declined::Invalid,
            408 | 504 => Declined::TooSlow,
            _ => Declined::Unavailable,
        },
    }
}
