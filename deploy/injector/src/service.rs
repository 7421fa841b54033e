//! The webhook's and the metrics' listeners, and what they share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use kube::Client;
use serde_json::json;

use crate::Settings;
use crate::breaker::Breaker;
use crate::metrics::Metrics;
use crate::namespaces::Namespaces;
use crate::pod::Around;
use crate::policies::Policies;
use crate::policies::serve::{Callers, policy};
use crate::review::{Reviewed, review};
use crate::skip::Skip;
use crate::understudies::{Given, Understudies};

/// An API server sends no object beyond 3 MiB.
const MOST_BYTES: usize = 8 << 20;

/// What the parts of the injector share.
pub(crate) struct Service {
    pub(crate) settings: Settings,
    pub(crate) client: Client,
    pub(crate) namespaces: Namespaces,
    pub(crate) metrics: Metrics,
    pub(crate) policies: Policies,
    pub(crate) understudies: Understudies,
    /// Who may ask for policies, where they are served.
    pub(crate) callers: Option<Callers>,
    breaker: Mutex<Breaker>,
    trusted: RwLock<String>,
}

impl Service {
    /// `home` is the namespace that the injector runs in.
    pub(crate) fn new(settings: Settings, home: &str, client: Client) -> Self {
        Self {
            policies: Policies::new(home),
            understudies: Understudies::new(home),
            callers: settings.policies.as_ref().map(|p| Callers::new(client.clone(), &p.audience)),
            settings,
            namespaces: Namespaces::new(client.clone()),
            client,
            metrics: Metrics::default(),
            breaker: Mutex::default(),
            trusted: RwLock::default(),
        }
    }

    pub(crate) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The authorities whom sidecars are to trust, PEM; empty until they are known.
    pub(crate) fn trusted(&self) -> String {
        self.trusted.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn trust(&self, trusted: String) {
        *self.trusted.write().unwrap_or_else(PoisonError::into_inner) = trusted;
    }

    fn is_ready(&self) -> bool {
        !self.trusted().is_empty()
    }
}

impl Around for Service {
    fn paused(&self, image: &str, namespace: &str) -> Option<String> {
        self.breaker().paused(image, namespace, now()).map(str::to_owned)
    }

    fn understudies(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Vec<Given> {
        self.understudies.of(namespace, labels)
    }
}

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

/// Unix seconds.
pub(crate) fn now() -> i64 {
    k8s_openapi::jiff::Timestamp::now().as_second()
}
