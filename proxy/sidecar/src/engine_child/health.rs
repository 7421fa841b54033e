//! Looks at the engine from outside.

use std::path::Path;
use std::time::Duration;

/// Asks for its health over its socket.
pub(super) struct Asking {
    http: reqwest::Client,
}

impl Asking {
    pub(super) fn new(socket: &Path) -> Result<Self, String> {
        let http = reqwest::Client::builder()
            .unix_socket(socket.to_path_buf())
            .build()
            .map_err(|e| e.to_string())?;
        Ok(Self { http })
    }

    /// What it says of itself within this time.
    pub(super) async fn ask(&self, within: Duration) -> Option<serde_json::Value> {
        let reply = self.http.get("http://engine/healthz").timeout(within).send().await.ok()?;
        if !reply.status().is_success() {
            return None;
        }
        reply.json().await.ok()
    }
}

/// The longest step under way in any of its models.
pub(super) fn longest_step(said: &serde_json::Value) -> Duration {
    let models = said.get("models").and_then(serde_json::Value::as_object);
    let steps = models.into_iter().flat_map(|m| m.values()).filter_map(|m| m.get("step_ms")?.as_u64());
    Duration::from_millis(steps.max().unwrap_or_default())
}

/// Bytes of memory that are the process's own and not a mapped file's (`RssAnon`, proc(5)).
pub(super) fn anonymous_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
