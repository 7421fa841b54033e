//! What `understudy journal export` writes: `{"seq", "exchange"}`. Values that were
//! redacted stay the stand-ins that they became, and what is known of them comes along.

use serde_json::Value;
use understudy_call::{AnsweredBy, Exchange, Truncation};

use super::{LineError, LogFormat, LoggedCall};

pub(super) struct Journal;

impl LogFormat for Journal {
    fn name(&self) -> &'static str {
        "journal"
    }

    fn knows(&self, first: &Value) -> bool {
        first.get("seq").is_some_and(Value::is_u64) && first.get("exchange").is_some_and(Value::is_object)
    }

    fn calls(&mut self, mut line: Value) -> Result<Vec<LoggedCall>, LineError> {
        let not = |why: &str| LineError(why.to_owned());
        let exchange = line.get_mut("exchange").map(Value::take).ok_or_else(|| not("no 'exchange'"))?;
        let Exchange { id, meta, request, reply, understudy_reply, stand_ins, .. } =
            serde_json::from_value(exchange).map_err(|e| LineError(format!("exchange: {e}")))?;
        if matches!(meta.answered_by, AnsweredBy::Understudy(_)) && understudy_reply.is_none() {
            return Err(not("an understudy answered it, so what the provider would have said is not known"));
        }
        if meta.truncation != Truncation::Whole {
            return Err(not("not all of its bytes were captured"));
        }
        Ok(vec![LoggedCall {
            request: request.ok_or_else(|| not("its request was not decoded"))?,
            reply: reply.ok_or_else(|| not("its reply was not decoded, or none came"))?,
            // Of a rehearsal's journal it may be unknown.
            at_ms: Some(meta.timings.started_unix_ms).filter(|at| *at != 0),
            took: meta.timings.audit.or(meta.timings.total),
            conversation: meta.conversation.map(|key| key.to_string()),
            status: meta.status,
            id: Some(id.to_string()),
            stand_ins,
            marks: std::collections::BTreeMap::new(),
        }])
    }
}
