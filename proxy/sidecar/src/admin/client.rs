//! The command line's side of the admin API.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::failure::Failure;
use crate::state::{self, Running};

/// A running proxy's admin API.
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Client {
    /// The proxy that runs with this state folder.
    ///
    /// # Errors
    /// When none does, or its token cannot be read.
    pub(crate) fn find(dir: &Path) -> Result<Self, Failure> {
        match state::find_running(dir) {
            Some(running) => Self::of(&running, dir),
            None => Err(state::not_found(dir)),
        }
    }

    /// This proxy.
    pub(crate) fn of(running: &Running, dir: &Path) -> Result<Self, Failure> {
        let path = state::token_file(dir);
        let token = std::fs::read_to_string(&path).map_err(|source| Failure::File { path, source })?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(2))
            .timeout(Duration::from_secs(60))
            .build()
            .map_err(|e| Failure::Failed(e.to_string()))?;
        Ok(Self { http, base: format!("http://{}", running.admin), token: token.trim().to_owned() })
    }

    /// Asks.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.send(self.http.get(format!("{}{path}", self.base))).await
    }

    /// Orders.
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, Failure> {
        self.send(self.http.post(format!("{}{path}", self.base)).json(body)).await
    }

    async fn send<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, Failure> {
        let reply = request.bearer_auth(&self.token).send().await.map_err(|e| {
            Failure::Unavailable(format!(
                "the running understudy cannot be reached at {}: {}",
                self.base,
                e.without_url()
            ))
        })?;
        let status = reply.status();
        let body = reply.bytes().await.map_err(|e| Failure::Admin(e.without_url().to_string()))?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|e| {
                Failure::Admin(format!("something else than expected ({e}); is it another version?"))
            });
        }
        let said = serde_json::from_slice::<Value>(&body)
            .ok()
            .and_then(|v| v.get("error")?.as_str().map(str::to_owned));
        Err(Failure::Admin(said.unwrap_or_else(|| status.to_string())))
    }
}

/// One path segment, percent-encoded.
pub(crate) fn segment(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(b).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
