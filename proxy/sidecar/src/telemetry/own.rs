//! The proxy's own spans. All that the sidecar makes are made here, so that one
//! look shows that none has a field for content.

use opentelemetry::trace::{SpanContext, Status};
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The journal is opened.
pub(crate) fn open_journal() -> Span {
    info_span!("open journal")
}

/// What waits is written, and the journal closed.
pub(crate) fn close_journal() -> Span {
    info_span!("close journal")
}

/// The ledgers are folded from the journal.
pub(crate) fn restore_ledgers() -> Span {
    info_span!("restore ledgers")
}

/// A captured call is read: its trials, and all that follows from it.
pub(crate) fn read_record(seq: u64, call: SpanContext) -> Span {
    let span = info_span!("read record", understudy.seq = seq);
    span.add_link(call);
    span
}

/// What was learnt is made durable.
pub(crate) fn flush_records() -> Span {
    info_span!("flush records")
}

/// A person's order is obeyed.
pub(crate) fn obey_order(order: &'static str) -> Span {
    info_span!("obey order", understudy.order = order)
}

/// One life of the engine's process. It ends with the process, and says why.
pub(crate) fn run_engine() -> Span {
    info_span!("run engine", understudy.reason = Empty)
}

/// The engine's process until it first answers; `understudy.ready` is absent
/// where it never did.
pub(crate) fn start_engine() -> Span {
    info_span!("start engine", understudy.ready = Empty)
}

/// Does something within a span, which then says whether it failed.
pub(crate) async fn within<T, E>(span: Span, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let done = work.instrument(span.clone()).await;
    if done.is_err() {
        failed(&span);
    }
    done
}

/// Marks a span as failed. The error's text stays in the log.
pub(crate) fn failed(span: &Span) {
    span.set_status(Status::error(""));
}
