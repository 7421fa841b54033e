//! Which traces are kept. An agent's own choice is followed. Of the traces that begin
//! here a share is kept, and all of those in which something went otherwise than it
//! should: a fallback, a demotion, an error.

use opentelemetry::trace::{Link, SpanContext, SpanKind, TraceFlags, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};
use understudy_call::ExchangeId;
use understudy_gateway::{CallSeen, TraceContext};

use super::ids;

/// Attributes for whose sake a span is kept.
const TELLING: [&str; 3] = ["error.type", "understudy.fallback", DEMOTED];

/// On a decision that takes a task back.
pub(super) const DEMOTED: &str = "understudy.demoted";

/// Keeps a share, and whatever is telling.
#[derive(Debug, Clone)]
struct Share(Sampler);

impl ShouldSample for Share {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let is_telling = attributes.iter().any(|a| TELLING.contains(&a.key.as_str()));
        let sampler = if is_telling { &Sampler::AlwaysOn } else { &self.0 };
        sampler.should_sample(parent, trace, name, kind, attributes, links)
    }
}

/// The sampler of a share.
pub(super) fn sampler(share: f64) -> Sampler {
    Sampler::ParentBased(Box::new(Share(Sampler::TraceIdRatioBased(share))))
}

/// The trace of a call, in hexadecimal digits, where it is kept; what a metric's
/// exemplar refers to.
pub(crate) fn exemplar(call: &CallSeen, share: f64) -> Option<String> {
    let (context, continued) = ids::span_context(call.id, call.traceparent.as_deref());
    let is_telling = call.error.is_some() || call.fallback.is_some() || call.meta.status >= 400;
    let kept = is_kept(&context, continued, share) || (is_telling && !continued);
    kept.then(|| context.trace_id().to_string())
}

/// What a call's provider is told of its trace. Whether a trace that begins here turns
/// out to be telling is not known yet, so of these only the share is announced as kept.
pub(crate) fn outgoing(exchange: ExchangeId, agent: Option<&str>, share: f64) -> TraceContext {
    let (context, continued) = ids::span_context(exchange, agent);
    let flags = TraceFlags::default().with_sampled(is_kept(&context, continued, share));
    let traceparent = format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id());
    TraceContext { traceparent, continued }
}

fn is_kept(context: &SpanContext, continued: bool, share: f64) -> bool {
    if continued { context.is_sampled() } else { is_in_share(context.trace_id(), share) }
}

fn is_in_share(trace: TraceId, share: f64) -> bool {
    let sampler = Sampler::TraceIdRatioBased(share);
    sampler.should_sample(None, trace, "", &SpanKind::Client, &[], &[]).decision
        == SamplingDecision::RecordAndSample
}
