//! The long poll: a sidecar says by what it goes, and is answered when that changes.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, HeaderMap, RETRY_AFTER};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse as _, Response};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::PostParams;
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::json;

use super::{Known, Report};
use crate::resources::Key;
use crate::service::{Service, now};

/// How long a verdict on a token holds.
const HOLDS: Duration = Duration::from_secs(60);

/// Verdicts that are kept.
const MOST: usize = 65_536;

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

/// A pod, as its token names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) pod: Key,
    pub(crate) uid: String,
}

/// Verdicts by a keyed hash of the token, and when they were given.
type Seen = HashMap<[u64; 2], (Instant, Option<Caller>)>;

/// Who asks, by the API server's word.
pub(crate) struct Callers {
    client: Client,
    audience: String,
    keys: [RandomState; 2],
    seen: Mutex<Seen>,
}

impl Callers {
    pub(crate) fn new(client: Client, audience: &str) -> Self {
        Self {
            client,
            audience: audience.to_owned(),
            keys: [RandomState::new(), RandomState::new()],
            seen: Mutex::default(),
        }
    }

    async fn judge(&self, token: &str) -> Result<Option<Caller>, kube::Error> {
        let [high, low] = &self.keys;
        let name = [high.hash_one(token), low.hash_one(token)];
        let fresh = |seen: &Seen| {
            seen.get(&name).filter(|(at, _)| at.elapsed() < HOLDS).map(|(_, caller)| caller.clone())
        };
        if let Some(caller) = fresh(&self.seen.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(caller);
        }
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: Some(vec![self.audience.clone()]),
            },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let status = reviews.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
        let caller = caller(&status, &self.audience);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST {
            seen.retain(|_, (at, _)| at.elapsed() < HOLDS);
        }
        if seen.len() < MOST {
            seen.insert(name, (Instant::now(), caller.clone()));
        }
        Ok(caller)
    }
}

/// The pod that a genuine token for us is bound to.
pub(super) fn caller(status: &TokenReviewStatus, audience: &str) -> Option<Caller> {
    let ours = status.audiences.as_ref().is_some_and(|all| all.iter().any(|a| a == audience));
    if status.authenticated != Some(true) || !ours {
        return None;
    }
    let user = status.user.as_ref()?;
    let account = user.username.as_deref()?.strip_prefix("system:serviceaccount:")?;
    let (namespace, _) = account.split_once(':')?;
    let extra = |what: &str| {
        user.extra.as_ref()?.get(&format!("authentication.kubernetes.io/{what}"))?.first().cloned()
    };
    Some(Caller { pod: (namespace.to_owned(), extra("pod-name")?), uid: extra("pod-uid")? })
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
