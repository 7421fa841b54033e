//! A decision as a span: which task moved, why, and on what numbers.

use std::collections::BTreeMap;
use std::time::SystemTime;

use opentelemetry::trace::{Link, Span as _, SpanContext, SpanKind, Tracer as _};
use opentelemetry::{Context, KeyValue};

use super::Emitter;
use crate::telemetry::sampling::DEMOTED;

/// What telemetry needs of a decision.
#[derive(Debug, Clone)]
pub(crate) struct DecisionSeen {
    /// The span of the call whose reading brought it about; not valid where none did.
    pub(crate) call: SpanContext,
    pub(crate) task: String,
    pub(crate) understudy: Option<String>,
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    /// Whether it takes the task back.
    pub(crate) demotes: bool,
    pub(crate) why: &'static str,
    /// What it stands on, by the policy's own names.
    pub(crate) numbers: BTreeMap<String, f64>,
}

impl Emitter {
    /// A trace of its own: it is about many calls, and no agent's share of traces may
    /// lose the one that says that a task was taken back.
    pub(super) fn decided(&self, decision: DecisionSeen) {
        let (reason, stage) = (
            KeyValue::new("understudy.reason", decision.why),
            KeyValue::new("understudy.stage", decision.to),
        );
        self.instruments.decisions.add(1, &[reason.clone(), stage.clone()]);
        let mut attributes = vec![
            KeyValue::new("understudy.task", decision.task),
            KeyValue::new("understudy.stage.before", decision.from),
            stage,
            reason,
        ];
        if decision.demotes {
            attributes.push(KeyValue::new(DEMOTED, true));
        }
        attributes.extend(decision.understudy.map(|id| KeyValue::new("understudy.understudy", id)));
        let numbers = decision.numbers.into_iter();
        attributes.extend(numbers.map(|(name, n)| KeyValue::new(format!("understudy.decision.{name}"), n)));
        let links = decision.call.is_valid().then(|| {
            let link = KeyValue::new("understudy.link", "call");
            Link::new(decision.call, vec![link], 0)
        });
        let at = SystemTime::now();
        self.tracer
            .span_builder("decide")
            .with_kind(SpanKind::Internal)
            .with_start_time(at)
            .with_attributes(attributes)
            .with_links(links.into_iter().collect())
            .start_with_context(&self.tracer, &Context::new())
            .end_with_timestamp(at);
    }
}
