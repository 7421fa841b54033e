//! Which pod asks, by the API server's word for its token (`TokenReview`,
//! authentication.k8s.io/v1).

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::PostParams;
use kube::{Api, Client};

use crate::resources::Key;

/// How long a verdict on a token holds.
const HOLDS: Duration = Duration::from_secs(60);

/// Verdicts that are kept.
const MOST: usize = 65_536;

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
    pub(super) audience: String,
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

    /// # Errors
    /// The API server does not review tokens.
    pub(super) async fn judge(&self, token: &str) -> Result<Option<Caller>, kube::Error> {
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
