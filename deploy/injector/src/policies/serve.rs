//! The long poll: a sidecar says by what it goes, and is answered when that changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, HeaderMap, RETRY_AFTER};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::json;

use super::{Known, Report};
use crate::clock::now;
use crate::service::Service;

/// The longest that an answer is waited for; connections that are silent for longer
/// are cut by what lies between in some clusters.
const LONGEST: Duration = Duration::from_secs(30);

/// How long a pod that is not known yet is waited for: its creation is on its way here.
const ARRIVES: Duration = Duration::from_secs(5);

/// Between two looks for such a pod.
const LOOK: Duration = Duration::from_millis(100);

/// What a sidecar asks.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    /// The version that it has.
    known: String,
    /// How long it can wait, in seconds.
    wait_s: u64,
    report: Option<Report>,
}

/// `POST /v1/policy`: the document, or 204 where nothing has changed in time.
pub(crate) async fn policy(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    Json(asked): Json<Asked>,
) -> Response {
    let Some(callers) = &service.callers else {
        return refuse(StatusCode::NOT_FOUND, "policies are not served: the chart has none for sidecars");
    };
    let bearer = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
    let judged = match bearer {
        Some(token) => callers.judge(token).await,
        None => Ok(None),
    };
    let caller = match judged {
        Ok(Some(caller)) => caller,
        Ok(None) => {
            let why = format!("a pod's token for the audience {:?} is needed", callers.audience);
            return refuse(StatusCode::UNAUTHORIZED, &why);
        }
        Err(e) => {
            tracing::warn!(error = &e as &dyn std::error::Error, "a token cannot be reviewed");
            return later("the API server does not review tokens now");
        }
    };
    if let Some(report) = asked.report {
        service.policies.hear(&caller.pod, &caller.uid, report, now());
    }
    let wait = Duration::from_secs(asked.wait_s).min(LONGEST);
    let mut changes = service.policies.changes();
    let began = Instant::now();
    loop {
        changes.borrow_and_update();
        // How long there is, and how long until the next look at the latest.
        let (end, look) = match service.policies.of(&caller.pod, &caller.uid) {
            Known::Document(document) if document.version != asked.known => {
                return Json(&*document).into_response();
            }
            Known::Document(_) => (wait, wait),
            Known::NotYet => (ARRIVES, LOOK),
            Known::Ending => return later("this replica ends"),
        };
        let left = end.saturating_sub(began.elapsed());
        if left.is_zero() {
            return match service.policies.of(&caller.pod, &caller.uid) {
                Known::Document(_) => StatusCode::NO_CONTENT.into_response(),
                _ => later("the pod is not known here yet"),
            };
        }
        let _ = tokio::time::timeout(left.min(look), changes.changed()).await;
    }
}

fn refuse(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({"error": why}))).into_response()
}

fn later(why: &str) -> Response {
    const AFTER: [(HeaderName, &str); 1] = [(RETRY_AFTER, "1")];
    (StatusCode::SERVICE_UNAVAILABLE, AFTER, Json(json!({"error": why}))).into_response()
}
