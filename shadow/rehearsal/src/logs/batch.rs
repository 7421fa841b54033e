//! OpenAI's Batch API: `{"custom_id", "method", "url", "body"}` lines of the
//! input file, `{"custom_id", "response": {"status_code", "body"}}` lines of the
//! output file. A call is complete when both were seen, in whichever order the
//! files were named; of the others there are halves.

use std::collections::HashMap;

use serde_json::Value;
use understudy_call::StandIns;

use super::{Halves, LineError, LogFormat, LoggedCall, marks, reply, request, time_of};

#[derive(Default)]
pub(super) struct Batch {
    asked: HashMap<String, Value>,
    answered: HashMap<String, Value>,
}

impl LogFormat for Batch {
    fn name(&self) -> &'static str {
        "batch"
    }

    fn knows(&self, first: &Value) -> bool {
        first.get("custom_id").is_some() && (first.get("body").is_some() || first.get("response").is_some())
    }

    fn calls(&mut self, line: Value) -> Result<Vec<LoggedCall>, LineError> {
        let id = line
            .get("custom_id")
            .and_then(Value::as_str)
            .ok_or_else(|| LineError("no 'custom_id'".to_owned()))?
            .to_owned();
        if let Some(body) = line.get("body") {
            match self.answered.remove(&id) {
                Some(answer) => return Ok(vec![join(&id, body, &answer)?]),
                None => self.asked.insert(id, body.clone()),
            };
        } else if line.get("response").is_some_and(Value::is_object) {
            match self.asked.remove(&id) {
                Some(body) => return Ok(vec![join(&id, &body, &line)?]),
                None => self.answered.insert(id, line),
            };
        } else {
            return Err(LineError("the batch gave no response to this call".to_owned()));
        }
        Ok(Vec::new())
    }

    fn halves(&self) -> Halves {
        Halves { unanswered: self.asked.len(), unasked: self.answered.len() }
    }
}

fn join(id: &str, body: &Value, answer: &Value) -> Result<LoggedCall, LineError> {
    let response = answer.get("response").unwrap_or(&Value::Null);
    let status = response
        .get("status_code")
        .and_then(Value::as_u64)
        .and_then(|s| u16::try_from(s).ok())
        .unwrap_or(200);
    let answer_body = response.get("body").unwrap_or(&Value::Null);
    Ok(LoggedCall {
        request: request(body)?,
        reply: reply(status, answer_body)?,
        at_ms: time_of(answer_body, &["created"]),
        took: None,
        conversation: None,
        status,
        id: Some(id.to_owned()),
        stand_ins: StandIns::None,
        marks: marks(answer, &["custom_id"]),
    })
}
