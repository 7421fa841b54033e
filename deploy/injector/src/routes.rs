//! What the injector answers.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{CONNECTION, HeaderValue};
use axum::http::{StatusCode, Version};
use axum::middleware::{Next, from_fn_with_state};
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
        .layer(from_fn_with_state(Arc::clone(&service), farewell))
        .with_state(service)
}

/// An API server keeps its connections, speaks HTTP/1.1 on them, and does not send a
/// review again that meets one which is just being closed: the pod comes as it is. So
/// before they are closed they are given up answer by answer. HTTP/2 says it by itself.
async fn farewell(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let is_http1 = request.version() <= Version::HTTP_11;
    let mut response = next.run(request).await;
    if is_http1 && service.takes_leave() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use kube::Client;
    use kube::client::Body;

    use super::*;

    #[tokio::test]
    async fn who_takes_leave_gives_up_its_connections_with_an_answer() {
        // Nothing is asked of the API server.
        let client = Client::new(Router::new().into_service::<Body>(), "default");
        let service = Arc::new(Service::new(crate::tests::settings(), "understudy", client));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/mutate", listener.local_addr().unwrap());
        let router = webhook(Arc::clone(&service));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let told = async || {
            let answer = http.post(&url).body("no review").send().await.unwrap();
            assert_eq!(answer.status(), 400);
            answer.headers().get(CONNECTION).cloned()
        };
        assert_eq!(told().await, None);
        service.take_leave();
        assert_eq!(told().await.unwrap(), "close");
    }
}
