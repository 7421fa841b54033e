//! What a namespace needs before a pod of it can be injected: the ConfigMap with the
//! base-URL variables, and the one with the authority that the engine's certificate
//! is checked by. They are made when the first pod comes, and brought up to date when
//! the authority changes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::Settings;

/// The API server waits three seconds for an admission; this comes out of them.
const WITHIN: Duration = Duration::from_millis(1_500);

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
}

/// What the namespaces have, as far as this replica has seen to it.
pub(crate) struct Namespaces {
    client: Client,
    ready: Mutex<BTreeMap<String, String>>,
}

impl Namespaces {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, ready: Mutex::default() }
    }

    /// Sees to it that a namespace has both ConfigMaps, with `trusted` as it is now.
    pub(crate) async fn prepare(
        &self,
        namespace: &str,
        settings: &Settings,
        trusted: &str,
    ) -> Result<(), NamespaceError> {
        if self.ready().get(namespace).is_some_and(|t| t == trusted) {
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
        tokio::time::timeout(WITHIN, writing).await.map_err(|_| NamespaceError::Slow)??;
        self.ready().insert(namespace.to_owned(), trusted.to_owned());
        Ok(())
    }

    /// Those that this replica has seen to.
    pub(crate) fn seen_to(&self) -> Vec<String> {
        self.ready().keys().cloned().collect()
    }

    fn ready(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
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
        let wrote = maps.patch(name, &params, &Patch::Apply(wanted)).await;
        wrote.map(|_| ()).map_err(|source| NamespaceError::Write { name: name.to_owned(), source })
    }
}
