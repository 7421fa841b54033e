//! What a namespace needs before a pod of it can be injected: the ConfigMap with the
//! base-URL variables, and the one with the authority that the engine's certificate
//! is checked by. They are made when the first pod comes, and brought up to date when
//! the authority changes; and they are applied again now and then, since somebody may
//! have deleted them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::core::Status;
use kube::{Api, Client};
use serde_json::json;

use crate::Settings;
use crate::clock::now;

/// The API server waits three seconds for an admission; this comes out of them.
const WITHIN: Duration = Duration::from_millis(1_500);

/// How long what a namespace was seen to have is taken for granted, in seconds. The
/// namespace itself may have been deleted and made anew meanwhile; an apply that
/// changes nothing writes nothing.
const GRANTED: i64 = 60;

/// As whom we write to the API server.
pub(crate) const OWNER: &str = "understudy-injector";

/// Why a namespace has not what it needs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NamespaceError {
    #[error("its ConfigMap {name} could not be written")]
    Write {
        name: String,
        #[source]
        source: kube::Error,
    },
    #[error("its ConfigMaps could not be written within {WITHIN:?}")]
    Slow,
    #[error("it is gone, or about to be")]
    Gone,
}

/// What the namespaces have, as far as this replica has seen to it.
pub(crate) struct Namespaces {
    client: Client,
    known: Mutex<Known>,
}

/// Of each namespace, whom it was seen to trust, and when, in Unix seconds.
#[derive(Debug, Default)]
struct Known(BTreeMap<String, (String, i64)>);

impl Known {
    fn has(&self, namespace: &str, trusted: &str, now: i64) -> bool {
        let seen = self.0.get(namespace);
        seen.is_some_and(|(whom, at)| whom == trusted && (0..GRANTED).contains(&(now - at)))
    }
}

impl Namespaces {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// Sees to it that a namespace has both ConfigMaps, with `trusted` as it is now.
    pub(crate) async fn prepare(
        &self,
        namespace: &str,
        settings: &Settings,
        trusted: &str,
    ) -> Result<(), NamespaceError> {
        let now = now();
        if self.known().has(namespace, trusted, now) {
            return Ok(());
        }
        let writing = async {
            self.write(namespace, &settings.variables_config_map, &settings.variables).await?;
            if settings.engine.is_some() || settings.policies.is_some() {
                let data = BTreeMap::from([("ca.crt".to_owned(), trusted.to_owned())]);
                self.write(namespace, &settings.ca_config_map, &data).await?;
            }
            Ok(())
        };
        match tokio::time::timeout(WITHIN, writing).await.unwrap_or(Err(NamespaceError::Slow)) {
            Ok(()) => {
                self.known().0.insert(namespace.to_owned(), (trusted.to_owned(), now));
                Ok(())
            }
            Err(e) => {
                if matches!(e, NamespaceError::Gone) {
                    self.forget(namespace);
                }
                Err(e)
            }
        }
    }

    /// Those that this replica has seen to.
    pub(crate) fn seen_to(&self) -> Vec<String> {
        self.known().0.keys().cloned().collect()
    }

    /// A namespace has no injected pod any more, and need not be looked after.
    pub(crate) fn forget(&self, namespace: &str) {
        self.known().0.remove(namespace);
    }

    /// No namespace but these has injected pods.
    pub(crate) fn keep(&self, namespaces: &BTreeSet<String>) {
        self.known().0.retain(|namespace, _| namespaces.contains(namespace));
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(
        &self,
        namespace: &str,
        name: &str,
        data: &BTreeMap<String, String>,
    ) -> Result<(), NamespaceError> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let wanted = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": OWNER}},
            "data": data,
        });
        let params = PatchParams::apply(OWNER).force();
        match maps.patch(name, &params, &Patch::Apply(wanted)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(refused)) if is_gone(&refused) => Err(NamespaceError::Gone),
            Err(source) => Err(NamespaceError::Write { name: name.to_owned(), source }),
        }
    }
}

/// Whether the API server refused since there is no such namespace, or since it is being
/// deleted (`NamespaceTerminating`).
fn is_gone(refused: &Status) -> bool {
    let mut causes = refused.details.iter().flat_map(|d| &d.causes);
    refused.is_not_found() || causes.any(|c| c.reason == "NamespaceTerminating")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_namespace_has_is_taken_for_granted_for_a_while() {
        let known = Known([("agents".to_owned(), ("a".to_owned(), 100))].into());
        assert!(known.has("agents", "a", 100) && known.has("agents", "a", 159));
        assert!(!known.has("agents", "a", 160), "it may have been deleted and made anew");
        assert!(!known.has("agents", "b", 101), "the authority is another");
        assert!(!known.has("agents", "a", 99), "a clock that was put back knows nothing");
        assert!(!known.has("others", "a", 100));
    }

    #[test]
    fn a_namespace_that_is_gone_is_no_fault() {
        let status = |text: &str| serde_json::from_str::<Status>(text).unwrap();
        let gone = r#"{"status": "Failure", "code": 404, "reason": "NotFound", "message": "not found"}"#;
        assert!(is_gone(&status(gone)));
        let ends = r#"{"status": "Failure", "code": 403, "reason": "Forbidden", "message": "it ends",
            "details": {"causes": [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]}}"#;
        assert!(is_gone(&status(ends)));
        let refused = r#"{"status": "Failure", "code": 403, "reason": "Forbidden", "message": "not by you"}"#;
        assert!(!is_gone(&status(refused)));
    }
}
