//! What happens in the worker, told to the log and to telemetry.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use tracing::Span;
use understudy_call::{Exchange, ExchangeId};
use understudy_policy::{Outcome, Trial, TrialKind};
use understudy_rehearsal::worker::Happened;

use crate::telemetry::spans::{Told, TrialSeen};
use crate::telemetry::{Outward, ids, own};

/// Tells; it knows which call is being read, so that its trials find its trace.
pub(super) struct Telling {
    outward: Option<Outward>,
    reading: Mutex<Option<(ExchangeId, SpanContext)>>,
}

impl Telling {
    /// Without `outward` only the log is told.
    pub(super) fn new(outward: Option<Outward>) -> Self {
        Self { outward, reading: Mutex::default() }
    }

    /// A captured call is read from now on; the span of that.
    pub(super) fn reading(&self, seq: u64, exchange: &Exchange) -> Span {
        if self.outward.is_none() {
            return Span::none();
        }
        let traceparent = exchange.meta.headers.iter().find(|(name, _)| name == "traceparent");
        let call = ids::context_of(exchange.id, traceparent.map(|(_, value)| value.as_str()));
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = Some((exchange.id, call.clone()));
        own::read_record(seq, call)
    }

    /// Something happened.
    pub(super) fn tell(&self, what: Happened) {
        match what {
            Happened::Decision(d) => tracing::info!(
                task = %d.task, from = d.from.label(), to = d.to.label(), why = d.why.label(), seq = d.seq, "decided"
            ),
            Happened::Made(ids) => {
                let ids: Vec<String> = ids.into_iter().map(|id| id.0).collect();
                tracing::info!(versions = ids.join(" "), "new versions were made");
            }
            Happened::Trial(trial) => {
                if let Some(outward) = &self.outward {
                    outward.tell(Told::Trial(Box::new(self.seen(&trial))));
                }
            }
            _ => {}
        }
    }

    fn seen(&self, trial: &Trial) -> TrialSeen {
        let reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let call = reading
            .filter(|(exchange, _)| *exchange == trial.exchange)
            .map_or_else(|| ids::context_of(trial.exchange, None), |(_, call)| call);
        let (score, agrees, why) = match &trial.outcome {
            Outcome::Answered { score, agrees, .. } => (Some(*score), *agrees, None),
            Outcome::Declined(why) => (None, false, Some(why.label())),
        };
        let spent = Duration::from_secs_f64((trial.spent_ms / 1000.0).max(0.0));
        TrialSeen {
            call,
            within: Context::current().span().span_context().clone(),
            task: trial.task.to_string(),
            understudy: trial.understudy.0.clone(),
            score,
            agrees,
            why,
            audit: trial.kind == TrialKind::Audit,
            started: SystemTime::now() - spent,
            spent,
        }
    }
}
