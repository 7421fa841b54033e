//! OpenAI's Batch API: `{"custom_id", "method", "url", "body"}` lines of the
//! input file, `{"custom_id", "response": {"status_code", "body"}}` lines of the
//! output file. A call is complete when both were seen, in whichever order the
//! files were named; of the others there are halves.
//!
//! Ids are one batch's own, and many programs count from one in each. So where two
//! requests, or two responses, wait under one id, neither is joined to anything: one
//! batch named after the other, its input first, each is complete before its ids come
//! again. Only where outputs come first can a request without a response be joined to a
//! later batch's under the same id.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::Value;
use understudy_call::StandIns;

use super::{Halves, LineError, LogFormat, LoggedCall, marks, reply, request, time_of};

#[derive(Default)]
pub(super) struct Batch {
    asked: HashMap<String, Value>,
    answered: HashMap<String, Value>,
    /// Ids of which nobody can tell whose half is whose.
    ambiguous: HashSet<String>,
    /// Halves that waited under them.
    dropped: Halves,
    /// The responses that were joined last, by id: one that comes again, as where a file is
    /// named twice, is no other call's.
    joined: HashMap<String, u64>,
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
        if self.ambiguous.contains(&id) {
            return Err(twice(&id));
        }
        if let Some(body) = line.get("body") {
            if let Some(answer) = self.answered.remove(&id) {
                self.joined.insert(id.clone(), mark_of(&answer));
                return Ok(vec![join(&id, body, &answer)?]);
            }
            if !waits(&mut self.asked, &id, body.clone()) {
                self.dropped.unanswered += 1;
                return Err(self.give_up(id));
            }
        } else if line.get("response").is_some_and(Value::is_object) {
            if self.joined.get(&id) == Some(&mark_of(&line)) {
                return Ok(Vec::new());
            }
            if let Some(body) = self.asked.remove(&id) {
                self.joined.insert(id.clone(), mark_of(&line));
                return Ok(vec![join(&id, &body, &line)?]);
            }
            if !waits(&mut self.answered, &id, line) {
                self.dropped.unasked += 1;
                return Err(self.give_up(id));
            }
        } else {
            return Err(LineError("the batch gave no response to this call".to_owned()));
        }
        Ok(Vec::new())
    }

    fn halves(&self) -> Halves {
        Halves {
            unanswered: self.asked.len() + self.dropped.unanswered,
            unasked: self.answered.len() + self.dropped.unasked,
        }
    }
}

impl Batch {
    fn give_up(&mut self, id: String) -> LineError {
        let why = twice(&id);
        self.ambiguous.insert(id);
        why
    }
}

/// Keeps a half until the other one comes, and says whether it could: where another half
/// waits under its id neither is kept.
fn waits(waiting: &mut HashMap<String, Value>, id: &str, half: Value) -> bool {
    match waiting.remove(id) {
        // The same line once more, as where a file was named twice.
        Some(there) if there != half => return false,
        _ => waiting.insert(id.to_owned(), half),
    };
    true
}

/// What tells one line from another: two responses never have the same id and words.
fn mark_of(line: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    line.to_string().hash(&mut hasher);
    hasher.finish()
}

fn twice(id: &str) -> LineError {
    LineError(format!(
        "custom_id {id} comes twice: which reply is to which request cannot be told; name one batch at a time, its \
         input before its output"
    ))
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
