//! What happens in the worker, told to the log and to telemetry.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use tracing::Span;
use understudy_call::{Exchange, ExchangeId};
use understudy_policy::{Decision, Outcome, Trial, TrialKind};
use understudy_rehearsal::worker::Happened;

use crate::telemetry::spans::{DecisionSeen, Told, TrialSeen};
use crate::telemetry::{Outward, ids, own};

/// Tells; it knows which call is being read, so that its trials find its trace.
pub(super) struct Telling {
    outward: Option<Outward>,
    reading: Mutex<Option<Reading>>,
}

/// The captured call that is being read.
#[derive(Clone)]
struct Reading {
    seq: u64,
    exchange: ExchangeId,
    /// Its span.
    call: SpanContext,
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
        let reading = Reading { seq, exchange: exchange.id, call: call.clone() };
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = Some(reading);
        own::read_record(seq, call)
    }

    /// Something happened.
    pub(super) fn tell(&self, what: Happened) {
        match what {
            Happened::Decision(d) => {
                tracing::info!(
                    task = %d.task, from = d.from.label(), to = d.to.label(), why = d.why.label(), seq = d.seq, "decided"
                );
                if let Some(outward) = &self.outward {
                    outward.tell(Told::Decision(Box::new(self.decided(*d))));
                }
            }
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

    fn read_now(&self) -> Option<Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn decided(&self, decision: Decision) -> DecisionSeen {
        // A person's order comes between two calls, and is about neither.
        let reading = self.read_now().filter(|r| r.seq == decision.seq && decision.by.is_none());
        DecisionSeen {
            call: reading.map_or(SpanContext::NONE, |r| r.call),
            task: decision.task.to_string(),
            understudy: decision.understudy.map(|id| id.0),
            from: decision.from.label(),
            to: decision.to.label(),
            demotes: decision.to < decision.from,
            why: decision.why.label(),
            numbers: decision.numbers,
        }
    }

    fn seen(&self, trial: &Trial) -> TrialSeen {
        let call = self
            .read_now()
            .filter(|r| r.exchange == trial.exchange)
            .map_or_else(|| ids::context_of(trial.exchange, None), |r| r.call);
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
