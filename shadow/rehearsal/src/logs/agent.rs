//! Recorded agents: `NAME.calls.jsonl` with one call a line (`messages` without
//! the system prompt, `reply`), or `NAME.trajectories.jsonl` with one whole
//! conversation a line, in which each assistant message is the reply to all
//! that stands before it. `NAME.agent.json` beside it has what all calls share:
//! `system`, `model`, `tools`, `tool_choice`, `response_format`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use understudy_call::StandIns;

use super::{LineError, LogError, LogFormat, LoggedCall, marks, reply_of_message, request};

#[derive(Default)]
pub(super) struct Agent {
    /// What all calls of the file share, as the body of a request.
    shared: Map<String, Value>,
    system: Option<Value>,
}

/// The file that is read beside a log of this kind.
#[must_use]
pub fn beside(path: &Path) -> PathBuf {
    let file = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let name = file.split('.').next().unwrap_or(file);
    path.with_file_name(format!("{name}.agent.json"))
}

impl LogFormat for Agent {
    fn name(&self) -> &'static str {
        "agent"
    }

    fn knows(&self, first: &Value) -> bool {
        first.get("agent").is_some_and(Value::is_string) && first.get("messages").is_some_and(Value::is_array)
    }

    fn open(&mut self, path: &Path) -> Result<(), LogError> {
        let beside = beside(path);
        let problem =
            |problem: String| LogError::Beside { path: path.to_owned(), beside: beside.clone(), problem };
        let text = std::fs::read(&beside).map_err(|e| problem(e.to_string()))?;
        let agent: Value = serde_json::from_slice(&text).map_err(|e| problem(e.to_string()))?;
        self.system = agent
            .get("system")
            .filter(|s| s.is_string())
            .map(|s| serde_json::json!({"role": "system", "content": s}));
        self.shared = ["model", "tools", "tool_choice", "response_format"]
            .into_iter()
            .filter_map(|k| Some((k.to_owned(), agent.get(k).filter(|v| !v.is_null())?.clone())))
            .collect();
        Ok(())
    }

    fn calls(&mut self, line: Value) -> Result<Vec<LoggedCall>, LineError> {
        let messages = line
            .get("messages")
            .and_then(Value::as_array)
            .ok_or_else(|| LineError("no 'messages'".to_owned()))?;
        let id = line.get("id").and_then(Value::as_str);
        if let Some(reply) = line.get("reply") {
            return Ok(vec![self.call(&line, messages, reply, id.map(str::to_owned), None)?]);
        }
        messages
            .iter()
            .enumerate()
            .filter(|(_, m)| m.get("role").and_then(Value::as_str) == Some("assistant"))
            .map(|(i, reply)| {
                let before = messages.get(..i).unwrap_or_default();
                self.call(&line, before, reply, id.map(|id| format!("{id}#{i}")), id)
            })
            .collect()
    }
}

impl Agent {
    fn call(
        &self,
        line: &Value,
        messages: &[Value],
        reply: &Value,
        id: Option<String>,
        conversation: Option<&str>,
    ) -> Result<LoggedCall, LineError> {
        let mut body = self.shared.clone();
        body.insert("messages".to_owned(), self.system.iter().chain(messages).cloned().collect());
        let model = body.get("model").cloned().unwrap_or_else(|| Value::String("unknown".to_owned()));
        Ok(LoggedCall {
            request: request(&Value::Object(body))?,
            reply: reply_of_message(reply, &model)?,
            at_ms: None,
            took: None,
            conversation: conversation.map(str::to_owned),
            status: 200,
            id,
            stand_ins: StandIns::None,
            marks: marks(line, &["id"]),
        })
    }
}
