//! Who may ask an engine in a cluster: pods whose token the API server finds to be
//! genuine and meant for us (`TokenReview`, authentication.k8s.io/v1), and, where access
//! is restricted, whose account has the right to use this engine (`SubjectAccessReview`,
//! authorization.k8s.io/v1).
//!
//! A verdict is kept for a while, so that a call waits for the API server once a
//! minute at most. When it is away, whoever was known goes on being known, and hardly
//! waits for it: a call must not fail for a control plane's sake.

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

use crate::refusal::error;
use crate::{Access, EngineError};

/// How long a verdict holds.
const HOLDS: Duration = Duration::from_secs(60);

/// How long it goes on holding while the API server is away: a token's usual life.
const HOLDS_ALONE: Duration = Duration::from_secs(3_600);

/// How long a known caller's question waits for a review: one that the API server answers
/// is back in milliseconds, and one that it does not is not to cost the call its budget.
const PATIENCE: Duration = Duration::from_millis(100);

/// After a review that nobody answered a known caller's next is so much later.
const AGAIN: Duration = Duration::from_secs(5);

/// Verdicts that are kept: more pods than a cluster has.
const MOST: usize = 65_536;

/// Time for a review.
const WITHIN: Duration = Duration::from_secs(2);

/// Where a pod finds its own account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Asks the API server of the cluster that we are in.
pub(crate) struct Callers {
    http: reqwest::Client,
    server: String,
    token_file: PathBuf,
    audience: String,
    access: Option<Access>,
    keys: [RandomState; 2],
    holds: Duration,
    holds_alone: Duration,
    seen: Mutex<HashMap<[u64; 2], Seen>>,
}

#[derive(Clone, Copy)]
struct Seen {
    at: Instant,
    /// When the latest review began.
    tried: Instant,
    verdict: Verdict,
}

impl Seen {
    fn now(verdict: Verdict) -> Self {
        let at = Instant::now();
        Self { at, tried: at, verdict }
    }
}

/// What became of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Genuine, and allowed.
    Passed,
    /// Not genuine, or for somebody else.
    Refused,
    /// Genuine, and its account has not the right.
    Forbidden,
    /// The API server is away, and the token was not known before.
    Unknown,
}

impl Callers {
    /// Reviews for `audience`, at the API server that a pod is told of.
    pub(crate) fn of_cluster(audience: &str, access: Option<Access>) -> Result<Self, EngineError> {
        let told = |name: &str| std::env::var(name).map_err(|_| EngineError::NoCluster(name.to_owned()));
        let (host, port) = (told("KUBERNETES_SERVICE_HOST")?, told("KUBERNETES_SERVICE_PORT")?);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        Self::at(&format!("https://{host}:{port}"), Path::new(ACCOUNT), audience, access)
    }

    /// The same for any API server and account.
    pub(crate) fn at(
        server: &str,
        account: &Path,
        audience: &str,
        access: Option<Access>,
    ) -> Result<Self, EngineError> {
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
            server: server.to_owned(),
            token_file: account.join("token"),
            audience: audience.to_owned(),
            access,
            keys: [RandomState::new(), RandomState::new()],
            holds: HOLDS,
            holds_alone: HOLDS_ALONE,
            seen: Mutex::default(),
        })
    }

    async fn judge(self: &Arc<Self>, token: &str) -> Verdict {
        let [high, low] = &self.keys;
        let name = [high.hash_one(token), low.hash_one(token)];
        let known = self.seen().get(&name).copied();
        if let Some(seen) = known.filter(|s| s.at.elapsed() < self.holds) {
            return seen.verdict;
        }
        let passed = known.is_some_and(|s| s.verdict == Verdict::Passed && s.at.elapsed() < self.holds_alone);
        if passed && !self.tries(name) {
            return Verdict::Passed;
        }
        // It ends, and its verdict is kept, whether or not the question waits for it.
        let (callers, token) = (Arc::clone(self), token.to_owned());
        let review = tokio::spawn(async move { callers.renew(name, &token).await });
        let found = if passed {
            tokio::time::timeout(PATIENCE, review).await.ok().and_then(Result::ok)
        } else {
            review.await.ok()
        };
        match found.flatten() {
            Some(verdict) => verdict,
            None if passed => Verdict::Passed,
            None => Verdict::Unknown,
        }
    }

    /// Whether a known caller's review is due, and this question's to make.
    fn tries(&self, name: [u64; 2]) -> bool {
        let mut seen = self.seen();
        let Some(one) = seen.get_mut(&name) else { return true };
        let is_due = one.tried.elapsed() >= AGAIN.min(self.holds);
        if is_due {
            one.tried = Instant::now();
        }
        is_due
    }

    /// Reviews a token and keeps the verdict; `None`: nobody could say.
    async fn renew(&self, name: [u64; 2], token: &str) -> Option<Verdict> {
        let verdict = self.review(token).await?;
        let mut seen = self.seen();
        if seen.len() >= MOST {
            seen.retain(|_, s| s.at.elapsed() < self.holds);
        }
        if seen.len() < MOST {
            seen.insert(name, Seen::now(verdict));
        }
        Some(verdict)
    }

    /// `None`: nobody could say.
    async fn review(&self, token: &str) -> Option<Verdict> {
        let spec = json!({"token": token, "audiences": [self.audience]});
        let status = self.create("authentication.k8s.io", "TokenReview", spec).await?;
        // An API server that does not know of audiences leaves them out: then the
        // token is for itself, and not for us.
        let audiences = status.get("audiences").and_then(Value::as_array);
        let ours = audiences.is_some_and(|all| all.iter().any(|a| *a == self.audience.as_str()));
        if status.get("authenticated") != Some(&Value::Bool(true)) || !ours {
            return Some(Verdict::Refused);
        }
        let Some(access) = &self.access else {
            return Some(Verdict::Passed);
        };
        let user = status.get("user")?;
        let told = |name: &str| user.get(name).cloned().unwrap_or_default();
        let spec = json!({
            "user": told("username"), "uid": told("uid"), "groups": told("groups"), "extra": told("extra"),
            "resourceAttributes": {
                "verb": "use", "group": "understudy.dev", "resource": "engines",
                "namespace": access.namespace, "name": access.name,
            },
        });
        let status = self.create("authorization.k8s.io", "SubjectAccessReview", spec).await?;
        let allowed = status.get("allowed") == Some(&Value::Bool(true));
        Some(if allowed { Verdict::Passed } else { Verdict::Forbidden })
    }

    /// The status of a review. `None`: nobody made one.
    async fn create(&self, group: &str, kind: &str, spec: Value) -> Option<Value> {
        // Read each time: the kubelet renews it.
        let own = tokio::fs::read_to_string(&self.token_file).await.ok()?;
        let ask = json!({"apiVersion": format!("{group}/v1"), "kind": kind, "spec": spec});
        let url = format!("{}/apis/{group}/v1/{}s", self.server, kind.to_lowercase());
        let answer = self.http.post(url).bearer_auth(own.trim()).json(&ask).send().await;
        let answer = answer
            .inspect_err(|e| tracing::warn!(error = e as &dyn std::error::Error, kind, "no review"))
            .ok()?;
        if answer.status() != StatusCode::CREATED && answer.status() != StatusCode::OK {
            let status = answer.status().as_u16();
            tracing::warn!(status, kind, "no review: may our account create them?");
            return None;
        }
        answer.json::<Value>().await.ok()?.get("status").cloned()
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, HashMap<[u64; 2], Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
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
        Verdict::Passed => next.run(request).await,
        Verdict::Refused => error(
            StatusCode::UNAUTHORIZED,
            &format!("a token for the audience {:?} is needed", callers.audience),
            "invalid_request_error",
            Some("unauthorized"),
        ),
        Verdict::Forbidden => error(
            StatusCode::FORBIDDEN,
            "the account that the token is of has not the right to use this engine (verb use of engines.understudy.dev)",
            "invalid_request_error",
            Some("forbidden"),
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
