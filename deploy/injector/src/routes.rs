//! What the injector answers.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use crate::clock::now;
use crate::policies::serve::policy;
use crate::review::{Reviewed, review};
use crate::service::Service;
use crate::skip::Skip;

/// An API server sends no object beyond 3 MiB.
const MOST_BYTES: usize = 8 << 20;

/// The webhook and the sidecars' policies, over TLS.
pub(crate) fn webhook(service: Arc<Service>) -> Router {
    Router::new()
        .route("/mutate", post(mutate))
        .route("/v1/policy", post(policy))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .with_state(service)
}

/// Health and metrics, without content.
pub(crate) fn health(service: Arc<Service>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { Json(json!({"status": "ok"})) }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(service)
}

async fn ready(State(service): State<Arc<Service>>) -> Response {
    if service.is_ready() {
        return Json(json!({"status": "ok"})).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "no certificate yet"}))).into_response()
}

async fn metrics(State(service): State<Arc<Service>>) -> Response {
    let paused = service.breaker().all_paused(now());
    let text = service.metrics.encode(paused);
    ([("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}

async fn mutate(State(service): State<Arc<Service>>, body: Bytes) -> Response {
    let began = Instant::now();
    let reviewed = match review(&body, &service.settings, service.as_ref()) {
        Ok(reviewed) => reviewed,
        Err(e) => {
            service.metrics.admitted("malformed", began.elapsed());
            tracing::warn!(error = &e as &dyn std::error::Error, "no review");
            return (StatusCode::BAD_REQUEST, e.to_string()).into_response();
        }
    };
    let reviewed = prepared(&service, reviewed).await;
    let outcome = reviewed.skipped.as_ref().map_or("injected", Skip::label);
    service.metrics.admitted(outcome, began.elapsed());
    if let Some(skip) = &reviewed.skipped {
        tracing::info!(namespace = reviewed.namespace, why = skip.label(), "no sidecar: {}", skip.text());
    }
    Json(reviewed.body).into_response()
}

/// A pod whose namespace lacks what a sidecar needs is better off without one.
async fn prepared(service: &Service, reviewed: Reviewed) -> Reviewed {
    if reviewed.skipped.is_some() || reviewed.dry_run {
        return reviewed;
    }
    let trusted = service.trusted();
    match service.namespaces.prepare(&reviewed.namespace, &service.settings, &trusted).await {
        Ok(()) => reviewed,
        Err(e) => {
            let error: &dyn std::error::Error = &e;
            tracing::warn!(namespace = reviewed.namespace, error, "the namespace could not be prepared");
            reviewed.without(Skip::Namespace(e.to_string()))
        }
    }
}
