//! The engine's numbers as Prometheus text, without a word of any ask.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::queue::Load;
use crate::shared::Engine;

const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Row {
    model: &'static str,
    priority: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// `GET /metrics`. What waits is what an autoscaler goes by.
pub(crate) async fn metrics(State(engine): State<Arc<Engine>>) -> Response {
    let (waiting, running) = (Family::<Row, Gauge>::default(), Family::<Row, Gauge>::default());
    let chat = engine.chat.as_ref().map(|c| ("chat", c.queue.load()));
    let embed = engine.embed.as_ref().map(|e| ("embed", e.queue.load()));
    for (model, load) in [chat, embed].into_iter().flatten() {
        let Load { live, shadow, running_live, running_shadow } = load;
        for (priority, waits, runs) in [("live", live, running_live), ("shadow", shadow, running_shadow)] {
            let row = Row { model, priority };
            waiting.get_or_create(&row).set(i64::try_from(waits).unwrap_or(i64::MAX));
            running.get_or_create(&row).set(i64::try_from(runs).unwrap_or(i64::MAX));
        }
    }
    let declined = Family::<Reason, Counter>::default();
    for (reason, count) in engine.declined() {
        declined.get_or_create(&Reason { reason }).inc_by(count);
    }
    let mut all = Registry::with_prefix("understudy_engine");
    all.register("waiting", "Asks that wait", waiting);
    all.register("running", "Asks that are being answered", running);
    all.register("declined", "Asks that were not answered, by reason", declined);
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = encode(&mut text, &all);
    ([(CONTENT_TYPE, KIND)], text).into_response()
}
