//! `{"request": …, "response": …}`: a log of any proxy or application. A body may be
//! the text that it was on the wire, a stream among them.

use std::time::Duration;

use serde_json::Value;
use understudy_call::StandIns;

use super::{LineError, LogFormat, LoggedCall, marks, reply, request, time_of};

pub(super) struct Pair;

impl LogFormat for Pair {
    fn name(&self) -> &'static str {
        "pair"
    }

    fn knows(&self, first: &Value) -> bool {
        first.get("request").is_some_and(Value::is_object)
            && first.get("response").is_some_and(|r| r.is_object() || r.is_string())
    }

    fn calls(&mut self, line: Value) -> Result<Vec<LoggedCall>, LineError> {
        let body = |side: &str| -> Result<Value, LineError> {
            let value = line.get(side).ok_or_else(|| LineError(format!("no '{side}'")))?;
            let inner = value.get("body").filter(|b| b.is_object() || b.is_string());
            Ok(inner.unwrap_or(value).clone())
        };
        let status = ["status", "status_code"]
            .iter()
            .find_map(|k| line.get(*k).or_else(|| line.get("response")?.get(*k)))
            .and_then(Value::as_u64)
            .and_then(|s| u16::try_from(s).ok())
            .unwrap_or(200);
        let took = ["duration_ms", "latency_ms", "took_ms"]
            .iter()
            .find_map(|k| line.get(*k).and_then(Value::as_f64))
            .and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok());
        let text = |k: &str| line.get(k).and_then(Value::as_str).map(str::to_owned);
        // First: it tells a call of another API, which the request often does not.
        let reply = reply(status, &body("response")?)?;
        Ok(vec![LoggedCall {
            request: request(&body("request")?)?,
            reply,
            at_ms: time_of(&line, &["timestamp", "time", "created_at", "started_at", "created"]),
            took,
            conversation: text("conversation_id")
                .or_else(|| text("session_id"))
                .or_else(|| text("thread_id")),
            status,
            id: text("id"),
            stand_ins: StandIns::None,
            marks: marks(&line, &[]),
        }])
    }
}
