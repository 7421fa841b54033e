//! What the cluster's owner says of every sidecar: the chart's values.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::ServeError;

/// The injector's file, as the chart writes it (`injector.json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// What is injected.
    pub injection: Settings,
    /// The injector itself.
    pub controller: Controller,
}

impl File {
    /// Reads it.
    ///
    /// # Errors
    /// [`ServeError::Settings`].
    pub fn read(path: &Path) -> Result<Self, ServeError> {
        let failed = |why: String| ServeError::Settings { path: path.display().to_string(), why };
        let bytes = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|e| failed(e.to_string()))
    }
}

/// The names of the injector's own objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Controller {
    /// Where it runs.
    pub namespace: String,
    /// The Service that leads to the webhook.
    pub service: String,
    /// The Service that leads to the engine, where there is one.
    #[serde(default)]
    pub engine_service: Option<String>,
    /// The MutatingWebhookConfiguration.
    pub webhook: String,
    /// The Lease that tells who writes.
    pub lease: String,
    /// The certificates.
    pub certificates: Certificates,
}

/// How certificates are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Certificates {
    /// The Secret with authority and keys.
    pub secret: String,
    /// The Secret with what the engine shows.
    pub engine_secret: String,
    /// Names that they hold for beside the Services' own.
    #[serde(default)]
    pub also: Vec<String>,
    /// How long an authority holds.
    pub authority_seconds: u64,
    /// How long a server certificate holds.
    pub server_seconds: u64,
    /// How long an authority is trusted before it signs.
    pub settle_seconds: u64,
}

/// What every sidecar is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Settings {
    /// The sidecar's image.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub image_pull_policy: String,
    /// Where the agent's calls come in, on the pod's loopback.
    pub gateway_port: u16,
    /// Health and metrics, on the pod's address.
    pub health_port: u16,
    /// The sidecar's `resources`, as Kubernetes has them.
    pub resources: Value,
    /// The ConfigMap with the base-URL variables, in every namespace that opted in.
    pub variables_config_map: String,
    /// The variables in it: base URLs that point at the sidecar.
    pub variables: BTreeMap<String, String>,
    /// Where a pod's journal is kept that names no place of its own.
    pub journal_size: String,
    /// The ConfigMap with the certificate authority of both, in every namespace that opted in.
    pub ca_config_map: String,
    /// Where sidecars hear of policies; without it they go by their configuration alone.
    pub policies: Option<PolicyService>,
    /// The engine behind a Service; without one the provider answers every call.
    pub engine: Option<EngineService>,
    /// An engine's container in the pod itself, for pods that ask for it.
    pub engine_container: Option<EngineContainer>,
    /// Variables for every sidecar: `UNDERSTUDY_SECTION_KEY`.
    pub environment: BTreeMap<String, String>,
    /// More variables for every sidecar, as Kubernetes has them (`EnvVar`): their values
    /// may come from Secrets of the pod's namespace.
    pub env: Vec<Value>,
    /// The longest that a container waits for the sidecar where no start-up
    /// probe may be used, in seconds.
    pub wait_seconds: u32,
}

impl Settings {
    /// Whether every sidecar has a variable of this name from the chart.
    pub(crate) fn sets(&self, name: &str) -> bool {
        self.environment.contains_key(name) || self.env.iter().any(|v| v["name"] == name)
    }

    /// Its value, unless a Secret or the like has that. Those of `env` come first.
    pub(crate) fn plain(&self, name: &str) -> Option<&str> {
        match self.env.iter().find(|v| v["name"] == name) {
            Some(variable) => variable["value"].as_str(),
            None => self.environment.get(name).map(String::as_str),
        }
    }
}

/// The injector as sidecars ask it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PolicyService {
    /// `https://injector.namespace.svc:port`.
    pub address: String,
    /// The audience of the pods' tokens.
    pub audience: String,
}

/// The engine role behind a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EngineService {
    /// `https://engine.namespace.svc:port`.
    pub address: String,
    /// The audience of the pods' tokens.
    pub audience: String,
}

/// An engine beside the sidecar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EngineContainer {
    /// The image, models included.
    pub image: String,
    /// Its `resources`.
    pub resources: Value,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            image: concat!("understudy:", env!("CARGO_PKG_VERSION")).to_owned(),
            image_pull_policy: "IfNotPresent".to_owned(),
            gateway_port: 4141,
            health_port: 9191,
            // What a loaded gateway with its journal takes, and as much again.
            resources: json!({"requests": {"cpu": "20m", "memory": "48Mi"}, "limits": {"memory": "128Mi"}}),
            variables_config_map: "understudy-variables".to_owned(),
            variables: BTreeMap::new(),
            journal_size: "1Gi".to_owned(),
            ca_config_map: "understudy-ca".to_owned(),
            policies: None,
            engine: None,
            engine_container: None,
            environment: BTreeMap::new(),
            env: Vec::new(),
            wait_seconds: 20,
        }
    }
}
