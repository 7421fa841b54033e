//! Prometheus text, health and readiness, on a listener of their own. Names
//! and numbers, never content; no label whose values an agent could choose, but
//! for the ids of a bounded number of tasks.

mod tasks;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use understudy_call::AnsweredBy;
use understudy_gateway::CallSeen;

/// Seconds: local answers begin at milliseconds, reasoning models end at minutes.
const SECONDS: [f64; 14] =
    [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    provider: String,
    dialect: &'static str,
    lane: &'static str,
    answered_by: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TimeLabels {
    provider: String,
    answered_by: &'static str,
}

/// The trace behind a measured time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Trace {
    trace_id: String,
}

/// Of each bucket, the trace that came last.
type Timed = HistogramWithExemplars<Trace>;

/// A number read when somebody asks.
pub(crate) struct Read {
    /// Without the prefix `understudy_`.
    pub(crate) name: &'static str,
    /// In words.
    pub(crate) help: &'static str,
    /// Counters only grow.
    pub(crate) kind: Kind,
    /// A label's name, where there is one.
    pub(crate) label: Option<&'static str>,
    /// Its values (empty without a label) and their numbers.
    pub(crate) values: Box<dyn Fn() -> Vec<(String, f64)> + Send + Sync>,
}

/// What a number may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grow.
    Counter,
    /// Anything.
    Gauge,
}

impl fmt::Debug for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Read").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Collector for Read {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
        };
        let mut metric = encoder.encode_descriptor(self.name, self.help, None, kind)?;
        for (value, number) in (self.values)() {
            match (self.label, self.kind) {
                (Some(label), Kind::Counter) => {
                    ConstCounter::new(number).encode(metric.encode_family(&[(label, value)])?)?
                }
                (Some(label), Kind::Gauge) => {
                    ConstGauge::new(number).encode(metric.encode_family(&[(label, value)])?)?
                }
                (None, Kind::Counter) => return ConstCounter::new(number).encode(metric),
                (None, Kind::Gauge) => return ConstGauge::new(number).encode(metric),
            }
        }
        Ok(())
    }
}

/// Everything that is counted here, and what is read elsewhere.
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    calls: Family<CallLabels, Counter>,
    seconds: Family<TimeLabels, Timed, fn() -> Timed>,
    ready: AtomicBool,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("ready", &self.ready).finish_non_exhaustive()
    }
}

impl Metrics {
    /// Nothing counted yet, and not ready.
    pub(crate) fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("understudy");
        let calls = Family::default();
        registry.register("calls", "Calls that ended", calls.clone());
        let seconds: Family<TimeLabels, Timed, fn() -> Timed> =
            Family::new_with_constructor(|| Timed::new(SECONDS.into_iter()));
        registry.register("call_duration_seconds", "From a call's head to its reply's end", seconds.clone());
        Arc::new(Self { registry: Mutex::new(registry), calls, seconds, ready: AtomicBool::new(false) })
    }

    /// Adds a number that is read when somebody asks.
    pub(crate) fn read(&self, read: Read) {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).register_collector(Box::new(read));
    }

    /// Counts a call, whose trace is kept under this id.
    pub(crate) fn call(&self, call: &CallSeen, trace_id: Option<String>) {
        let answered_by = match call.meta.answered_by {
            AnsweredBy::Provider => "provider",
            AnsweredBy::Understudy(_) => "understudy",
            AnsweredBy::Nobody => "nobody",
        };
        self.calls
            .get_or_create(&CallLabels {
                provider: call.meta.provider.clone(),
                dialect: call.meta.dialect.label(),
                lane: call.meta.lane.label(),
                answered_by,
                status: class(call.meta.status),
            })
            .inc();
        if let Some(total) = call.meta.timings.total {
            let labels = TimeLabels { provider: call.meta.provider.clone(), answered_by };
            self.seconds.get_or_create(&labels).observe(
                total.as_secs_f64(),
                trace_id.map(|trace_id| Trace { trace_id }),
                None,
            );
        }
    }

    /// Whether calls are taken.
    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// The text.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if encode(&mut out, &registry).is_err() {
            out.clear();
        }
        out
    }
}

fn class(status: u16) -> &'static str {
    match status {
        0 => "none",
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

/// /metrics, /healthz, /readyz.
pub(crate) fn router(metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", get(async || Json(serde_json::json!({ "status": "ok" }))))
        .route("/readyz", get(ready))
        .with_state(metrics)
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    // What is read elsewhere may wait for a lock or a disk; who says whether calls are
    // taken must not.
    match tokio::task::spawn_blocking(move || metrics.text()).await {
        Ok(text) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn ready(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    if metrics.ready.load(Ordering::Acquire) {
        (StatusCode::OK, Json(serde_json::json!({ "status": "ready" })))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(serde_json::json!({ "status": "starting or draining" })))
    }
}
