//! `Understudy`: a model behind a URL by which the tasks of many pods may be answered.
//!
//! A pod that is created while it stands gets it into its sidecar's configuration, as
//! `[remote.NAME]`: by variables, as everything else, and its key by a reference to a
//! Secret of the pod's own namespace, which nobody here reads. It rehearses there and
//! is served where it earns it, like any understudy. What pods have of it is counted
//! into its status.
#![allow(unreachable_pub, reason = "kube's derive makes helper types that are public and go nowhere")]

pub(crate) mod status;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::SecretKeySelector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema, ResourceExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::crd::holds_for;
use crate::resources::{Key, Shelf, full_name, key};

/// A model that pods may be answered by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "understudy.dev",
    version = "v1alpha1",
    kind = "Understudy",
    plural = "understudies",
    namespaced,
    category = "understudy",
    derive = "PartialEq",
    status = "UnderstudyStatus",
    printcolumn = r#"{"name": "Model", "type": "string", "jsonPath": ".spec.remote.model"}"#,
    printcolumn = r#"{"name": "URL", "type": "string", "jsonPath": ".spec.remote.base_url"}"#,
    printcolumn = r#"{"name": "Pods", "type": "integer", "jsonPath": ".status.pods"}"#,
    printcolumn = r#"{"name": "Behind", "type": "integer", "jsonPath": ".status.behind"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
pub struct UnderstudySpec {
    /// Labels of the pods it is for; without it, all injected pods of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Keys of the configuration's `[remote.NAME]`; the name is the object's.
    pub remote: Remote,
    /// The key of a Secret in each pod's namespace that the server wants; none without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretKey>,
}

/// Keys of the configuration's `[remote.NAME]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new(
        "self.base_url.matches('^https?://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[1-9][0-9]{0,3}|:[1-5][0-9]{4})?(/[A-Za-z0-9._~-]+)*/?$')"
    ).message("base_url is an http:// or https:// URL with a host and without a query, such as https://models.example.com/v1"),
    validation = Rule::new(
        "!self.base_url.matches('^https?://([^/:]*[.])?([0-9]+|0[xX][0-9A-Fa-f]*)([:/]|$)') || self.base_url.matches('^https?://((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])([:/]|$)')"
    ).message("the last part of base_url's host is a number only in an IPv4 address, four numbers from 0 to 255 such as 10.0.0.9")
)]
pub struct Remote {
    /// The server's address, with the version (`https://host/v1`).
    #[schemars(length(max = 500))]
    pub base_url: String,
    /// The model's name there.
    #[schemars(length(min = 1, max = 200))]
    pub model: String,
    /// Whether the server gives log-probabilities; without them it takes every call of a task, or none.
    #[serde(default)]
    pub logprobs: bool,
    /// Tokens a day, both ways, of each pod; 0 means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000_000_000_u64))]
    pub budget_tokens: Option<u64>,
}

/// A key of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretKey {
    /// The Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// What pods have of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct UnderstudyStatus {
    /// The generation that is told here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Injected pods it is for whose sidecars have it as it is now.
    pub pods: u32,
    /// Those that were created before it was so; they get it when they are created anew.
    pub behind: u32,
    /// Why no pod gets it, where that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// An understudy as a pod's sidecar gets it.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// `namespace/name@generation`, for the pod's status.
    pub name: String,
    /// What the configuration's variables of it begin with.
    pub prefix: String,
    /// The sidecar's variables, as Kubernetes has them.
    pub variables: Vec<Value>,
}

impl Given {
    fn of(understudy: &Understudy) -> Self {
        let UnderstudySpec { remote, secret, .. } = &understudy.spec;
        let word: String = understudy
            .name_any()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
            .collect();
        let prefix = format!("UNDERSTUDY_REMOTE_{word}_");
        let plain = |key: &str, value: String| json!({"name": format!("{prefix}{key}"), "value": value});
        let mut variables = vec![
            plain("BASE_URL", remote.base_url.clone()),
            plain("MODEL", remote.model.clone()),
            plain("LOGPROBS", remote.logprobs.to_string()),
        ];
        variables.extend(remote.budget_tokens.map(|tokens| plain("BUDGET_TOKENS", tokens.to_string())));
        if let Some(secret) = secret {
            // Not one of our own names: those are keys of the configuration.
            let holds = format!("REMOTE_UNDERSTUDY_KEY_{word}");
            variables.push(plain("KEY_ENV", holds.clone()));
            // Optional: a pod must start where the Secret is not there yet.
            let reference = SecretKeySelector {
                name: secret.name.clone(),
                key: secret.key.clone(),
                optional: Some(true),
            };
            variables.push(json!({"name": holds, "valueFrom": {"secretKeyRef": reference}}));
        }
        Self { name: as_given(understudy), prefix, variables }
    }
}

/// Why no pod may have it. A sidecar takes the same for a mistake in its configuration: it
/// would not start, and its pod would wait for it. The API server's rule knows most of it.
fn problem(remote: &Remote) -> Option<String> {
    let why = match reqwest::Url::parse(&remote.base_url) {
        Err(e) => e.to_string(),
        Ok(url)
            if ["http", "https"].contains(&url.scheme())
                && url.has_host()
                && url.query().is_none()
                && url.username().is_empty() =>
        {
            return None;
        }
        Ok(_) => "it must be an http:// or https:// URL with a host, without a query".to_owned(),
    };
    Some(format!("no pod gets it: remote.base_url is {:?}: {why}", remote.base_url))
}

/// As a pod's status names it.
fn as_given(understudy: &Understudy) -> String {
    format!("{}@{}", full_name(&key(understudy)), understudy.metadata.generation.unwrap_or_default())
}

/// A pod, as its status has it.
struct Pod {
    labels: BTreeMap<String, String>,
    has: BTreeSet<String>,
}

/// All understudies, and what pods have of them.
pub(crate) struct Understudies {
    /// Those of this namespace are for all pods.
    home: String,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    all: BTreeMap<Key, Understudy>,
    pods: BTreeMap<Key, Pod>,
}

impl Understudies {
    pub(crate) fn new(home: &str) -> Self {
        Self { home: home.to_owned(), inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_pod(&self, key: Key, labels: BTreeMap<String, String>, has: BTreeSet<String>) {
        self.inner().pods.insert(key, Pod { labels, has });
    }

    pub(crate) fn remove_pod(&self, key: &Key) {
        self.inner().pods.remove(key);
    }

    pub(crate) fn pods_listed(&self, listed: &BTreeSet<Key>) {
        self.inner().pods.retain(|k, _| listed.contains(k));
    }

    fn is_for(&self, understudy: &Understudy, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        let of = understudy.namespace().unwrap_or_default();
        holds_for(understudy.spec.selector.as_ref(), &of, &self.home, namespace, labels)
    }

    /// What a pod that is created now gets. Of two with one name the namespace's own
    /// comes before the one for all, and the older before the younger.
    pub(crate) fn of(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Vec<Given> {
        let inner = self.inner();
        let gets = |u: &Understudy| problem(&u.spec.remote).is_none() && self.is_for(u, namespace, labels);
        let mut all: Vec<_> = inner.all.iter().filter(|(_, u)| gets(u)).collect();
        all.sort_by_key(|(key, u)| (key.0 != namespace, u.creation_timestamp().map(|t| t.0), *key));
        let mut given: Vec<Given> = Vec::new();
        for new in all.into_iter().map(|(_, u)| Given::of(u)) {
            if given.iter().all(|g| g.prefix != new.prefix) {
                given.push(new);
            }
        }
        given
    }

    /// Those whose status is to be written, with that status.
    fn told(&self) -> Vec<Understudy> {
        let inner = self.inner();
        let counted = inner.all.values().filter_map(|understudy| {
            let name = as_given(understudy);
            let mut status = UnderstudyStatus {
                observed_generation: understudy.metadata.generation,
                problem: problem(&understudy.spec.remote),
                ..UnderstudyStatus::default()
            };
            for (key, pod) in &inner.pods {
                if pod.has.contains(&name) {
                    status.pods += 1;
                } else if status.problem.is_none() && self.is_for(understudy, &key.0, &pod.labels) {
                    status.behind += 1;
                }
            }
            (understudy.status.as_ref() != Some(&status))
                .then(|| Understudy { status: Some(status), ..understudy.clone() })
        });
        counted.collect()
    }
}

impl Shelf for Understudies {
    type Kind = Understudy;

    fn set(&self, understudy: Understudy) {
        self.inner().all.insert(key(&understudy), understudy);
    }

    fn remove(&self, key: &Key) {
        self.inner().all.remove(key);
    }

    fn listed(&self, listed: &BTreeSet<Key>) {
        self.inner().all.retain(|k, _| listed.contains(k));
    }
}
