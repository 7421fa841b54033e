//! Who may ask an engine in a cluster: pods whose token the API server finds to be
//! genuine and meant for us (`TokenReview`, authentication.k8s.io/v1).
//!
//! A verdict is kept for a while, so that a call waits for the API server once a
//! minute at most. When it is away, whoever was known goes on being known: a call
//! must not fail for a control plane's sake.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::StatusCode;
use http::header::AUTHORIZATION;
use serde_json::{Value, json};

use crate::EngineError;
use crate::http::error;

/// How long a verdict holds.
const HOLDS: Duration = Duration::from_secs(60);

/// How long it goes on holding while the API server is away: a token's usual life.
const HOLDS_ALONE: Duration = Duration::from_secs(3_600);

/// Verdicts that are kept: more pods than a cluster has.
const MOST: usize = 65_536;

/// Time for a review.
const WITHIN: Duration = Duration::from_secs(2);

/// Where a pod finds its own account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Asks the API server of the cluster that we are in.
pub(crate) struct Callers {
    http: reqwest::Client,
    url: String,
    token_file: PathBuf,
    audience: String,
    keys: [RandomState; 2],
    holds: Duration,
    holds_alone: Duration,
    seen: Mutex<HashMap<[u64; 2], Seen>>,
}

#[derive(Clone, Copy)]
struct Seen {
    at: Instant,
    genuine: bool,
}

/// What became of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Genuine,
    Refused,
    /// The API server is away, and the token was not known before.
    Unknown,
}

impl Callers {
    /// Reviews for `audience`, at the API server that a pod is told of.
    pub(crate) fn of_cluster(audience: &str) -> Result<Self, EngineError> {
        let told = |name: &str| std::env::var(name).map_err(|_| EngineError::NoCluster(name.to_owned()));
        let (host, port) = (told("KUBERNETES_SERVICE_HOST")?, told("KUBERNETES_SERVICE_PORT")?);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        Self::at(&format!("https://{host}:{port}"), Path::new(ACCOUNT), audience)
    }

    /// The same for any API server and account.
    pub(crate) fn at(server: &str, account: &Path, audience: &str) -> Result<Self, EngineError> {
        let mut build = reqwest::Client::builder().no_proxy().timeout(WITHIN);
        if server.starts_with("https") {
            let file = account.join("ca.crt");
            let authority =
                std::fs::read(&file).map_err(|_| EngineError::NoCluster(file.display().to_string()))?;
            let trusted = reqwest::Certificate::from_pem_bundle(&authority).map_err(EngineError::Client)?;
            build = build.tls_certs_only(trusted);
        }
        Ok(Self {
            http: build.build().map_err(EngineError::Client)?,
            url: format!("{server}/apis/authentication.k8s.io/v1/tokenreviews"),
            token_file: account.join("token"),
            audience: audience.to_owned(),
            keys: [RandomState::new(), RandomState::new()],
            holds: HOLDS,
            holds_alone: HOLDS_ALONE,
            seen: Mutex::default(),
        })
    }

    async fn judge(&self, token: &str) -> Verdict {
        let [high, low] = &self.keys;
        let name = [high.hash_one(token), low.hash_one(token)];
        let known = self.seen().get(&name).copied();
        if let Some(seen) = known.filter(|s| s.at.elapsed() < self.holds) {
            return Verdict::of(seen.genuine);
        }
        match self.review(token).await {
            Some(genuine) => {
                let mut seen = self.seen();
                if seen.len() >= MOST {
                    seen.retain(|_, s| s.at.elapsed() < self.holds);
                }
                if seen.len() < MOST {
                    seen.insert(name, Seen { at: Instant::now(), genuine });
                }
                Verdict::of(genuine)
            }
            None => match known {
                Some(seen) if seen.genuine && seen.at.elapsed() < self.holds_alone => Verdict::Genuine,
                _ => Verdict::Unknown,
            },
        }
    }

    /// `None`: nobody could say.
    async fn review(&self, token: &str) -> Option<bool> {
        // Read each time: the kubelet renews it.
        let own = tokio::fs::read_to_string(&self.token_file).await.ok()?;
        let ask = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [self.audience]},
        });
        let answer = self.http.post(&self.url).bearer_auth(own.trim()).json(&ask).send().await;
        let answer = answer
            .inspect_err(|e| tracing::warn!(error = e as &dyn std::error::Error, "no token review"))
            .ok()?;
        if answer.status() != StatusCode::CREATED && answer.status() != StatusCode::OK {
            tracing::warn!(
                status = answer.status().as_u16(),
                "no token review: may our account create them?"
            );
            return None;
        }
        let said: Value = answer.json().await.ok()?;
        let status = said.get("status")?;
        // An API server that does not know of audiences leaves them out: then the
        // token is for itself, and not for us.
        let audiences = status.get("audiences").and_then(Value::as_array);
        let ours = audiences.is_some_and(|all| all.iter().any(|a| *a == self.audience.as_str()));
        Some(status.get("authenticated") == Some(&Value::Bool(true)) && ours)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, HashMap<[u64; 2], Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Verdict {
    fn of(genuine: bool) -> Self {
        if genuine { Self::Genuine } else { Self::Refused }
    }
}

/// What is anybody's: a kubelet has no token of ours, nor has Prometheus.
const OPEN: [&str; 2] = ["/healthz", "/metrics"];

/// Lets genuine callers pass.
pub(crate) async fn check(State(callers): State<Arc<Callers>>, request: Request, next: Next) -> Response {
    if OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let bearer = request.headers().get(AUTHORIZATION).and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
    let verdict = match bearer {
        Some(token) => callers.judge(token).await,
        None => Verdict::Refused,
    };
    match verdict {
        Verdict::Genuine => next.run(request).await,
        Verdict::Refused => error(
            StatusCode::UNAUTHORIZED,
            &format!("a token for the audience {:?} is needed", callers.audience),
            "invalid_request_error",
            Some("unauthorized"),
        ),
        Verdict::Unknown => error(
            StatusCode::SERVICE_UNAVAILABLE,
            "the API server does not answer, so the token cannot be reviewed",
            "declined",
            Some("unavailable"),
        ),
    }
}

#[cfg(test)]
mod tests;
