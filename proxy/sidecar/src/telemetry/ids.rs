//! Span ids that follow from exchange ids.

use std::cell::Cell;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use understudy_call::ExchangeId;

thread_local! {
    static NEXT: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// Gives the ids that were announced on this thread, else random ones.
#[derive(Debug, Default)]
pub(super) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        NEXT.get().map_or_else(|| self.0.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        NEXT.get().map_or_else(|| self.0.new_span_id(), |(_, span)| span)
    }
}

/// Announces the next span's ids on this thread.
pub(super) fn announce(exchange: ExchangeId) {
    NEXT.set(Some((trace_of(exchange), span_of(exchange))));
}

/// Forgets what was announced: the next span is another's.
pub(super) fn forget() {
    NEXT.take();
}

/// The trace that a call begins where the agent began none: the exchange's own id.
fn trace_of(exchange: ExchangeId) -> TraceId {
    TraceId::from_bytes(exchange.0)
}

/// The span of a call.
fn span_of(exchange: ExchangeId) -> SpanId {
    let hash = blake3::hash(&exchange.0);
    let mut bytes = [0u8; 8];
    for (to, from) in bytes.iter_mut().zip(hash.as_bytes()) {
        *to = *from;
    }
    SpanId::from_bytes(bytes)
}

/// The context of a call's span, for links.
pub(crate) fn context_of(exchange: ExchangeId, traceparent: Option<&str>) -> SpanContext {
    span_context(exchange, traceparent).0
}

/// The same, and whether its trace is the agent's.
pub(crate) fn span_context(exchange: ExchangeId, traceparent: Option<&str>) -> (SpanContext, bool) {
    let agent = traceparent.and_then(parse_traceparent);
    let (trace, flags) =
        agent.as_ref().map_or((trace_of(exchange), TraceFlags::SAMPLED), |c| (c.trace_id(), c.trace_flags()));
    (SpanContext::new(trace, span_of(exchange), flags, true, TraceState::default()), agent.is_some())
}

/// W3C Trace Context, version 00: `00-<trace id>-<parent id>-<flags>`.
pub(crate) fn parse_traceparent(text: &str) -> Option<SpanContext> {
    let mut parts = text.trim().split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex =
        |s: &str, len| s.len() == len && s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !hex(version, 2) || version == "ff" || !hex(trace, 32) || !hex(span, 16) || !hex(flags, 2) {
        return None;
    }
    if version == "00" && parts.next().is_some() {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()? & 1);
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        flags,
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}
