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
    /// The models that the engine says it has; a remote says nothing of the kind.
    pub(crate) models: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// The engine's header for it; `shadow/engine/src/http.rs` writes it.
const MODELS: &str = "x-understudy-models";

/// Why nothing came back.
pub(crate) struct Lost {
    pub(crate) why: Declined,
    /// No connection was made, so nobody can have done the work.
    pub(crate) unsent: bool,
}

impl From<Lost> for Declined {
    fn from(lost: Lost) -> Self {
        lost.why
    }
}

/// Posts `body` and reads the answer, all of it within `within`.
pub(crate) async fn post(
    http: &reqwest::Client,
    url: &str,
    key: Option<&str>,
    body: Vec<u8>,
    within: Duration,
) -> Result<Came, Lost> {
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
) -> Result<Came, Lost> {
    let mut ask = http.get(url);
    if let Some(key) = key {
        ask = ask.bearer_auth(key);
    }
    finish(ask, within).await
}

async fn finish(ask: reqwest::RequestBuilder, within: Duration) -> Result<Came, Lost> {
    let late = Lost { why: Declined::Late, unsent: false };
    tokio::time::timeout(within, read(ask)).await.unwrap_or(Err(late))
}

async fn read(ask: reqwest::RequestBuilder) -> Result<Came, Lost> {
    let mut answer = ask.send().await.map_err(|e| failure(&e))?;
    let status = answer.status().as_u16();
    let header = |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let content_type = header("content-type").unwrap_or_else(|| "application/json".to_owned());
    let models = header(MODELS);
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|e| failure(&e))? {
        if body.len() + piece.len() > MOST_BYTES {
            return Err(Lost { why: Declined::Invalid, unsent: false });
        }
        body.extend_from_slice(&piece);
    }
    Ok(Came { status, content_type, models, body })
}

fn failure(e: &reqwest::Error) -> Lost {
    let unsent = e.is_connect();
    // A connection that cannot be made in time is no engine, not a slow one.
    let why = if e.is_timeout() && !unsent { Declined::Late } else { Declined::Unavailable };
    Lost { why, unsent }
}

/// Why a status that is no answer came, by the code in the body where there is
/// one (the engine's own), else by the status.
pub(crate) fn declined(came: &Came) -> Declined {
    let said: Value = serde_json::from_slice(&came.body).unwrap_or_default();
    let of_error = |field: &str| said.pointer(&format!("/error/{field}")).and_then(Value::as_str);
    match of_error("code").unwrap_or_default() {
        "below_bar" => Declined::BelowBar,
        "too_slow" => Declined::TooSlow,
        "late" => Declined::Late,
        "busy" => Declined::Busy,
        "too_long" | "context_length_exceeded" => Declined::TooLong,
        "invalid" => Declined::Invalid,
        "cancelled" => Declined::Cancelled,
        "unavailable" => Declined::Unavailable,
        _ => match came.status {
            429 => Declined::Busy,
            // An older engine than what it is asked: nothing was learnt of the model.
            400 if of_error("message").is_some_and(|m| m.starts_with("field `understudy`")) => {
                Declined::Unavailable
            }
            413 => Declined::TooLong,
            400 | 422 => Declined::Invalid,
            408 | 504 => Declined::Late,
            _ => Declined::Unavailable,
        },
    }
}
