//! The containers and volumes that come in.

#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use crate::ask::{Ask, ENGINE, EngineChoice, JournalPlace, NAME};
use crate::quantity::value;
use crate::understudies::Given;
use crate::{Settings, journal};

/// The journal's volume.
pub(crate) const STATE: &str = "understudy-state";
/// The volume with tokens and authority.
pub(crate) const IDENTITY: &str = "understudy-identity";
/// The volume in which sidecar and engine meet.
pub(crate) const SOCKET: &str = "understudy-socket";

const RESOURCE: &str = "k8s.pod.name=$(UNDERSTUDY_POD_NAME),k8s.namespace.name=$(UNDERSTUDY_POD_NAMESPACE),\
                        k8s.pod.uid=$(UNDERSTUDY_POD_UID),k8s.node.name=$(UNDERSTUDY_POD_NODE)";

/// What a container writes to the node's disk: its files, its log, and emptyDirs.
const STORAGE: &str = "ephemeral-storage";

const STATE_DIR: &str = "/var/lib/understudy";
const IDENTITY_DIR: &str = "/var/run/secrets/understudy";
const ENGINE_TOKEN: &str = "token";
const POLICY_TOKEN: &str = "policy-token";
const SOCKET_DIR: &str = "/var/run/understudy";

/// The engine of a pod, once the chart's and the pod's wishes are put together.
pub(crate) fn engine(ask: &Ask, settings: &Settings) -> EngineChoice {
    ask.engine.unwrap_or(if settings.engine.is_some() { EngineChoice::Service } else { EngineChoice::None })
}

/// The containers that come before those of a pod with this `spec`, in this order.
pub(crate) fn containers(ask: &Ask, settings: &Settings, given: &[Given], spec: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    if let (EngineChoice::Container, Some(own)) = (engine(ask, settings), &settings.engine_container) {
        // It has no probes: whoever waited for a model would keep the agent waiting.
        all.push(json!({
            "name": ENGINE,
            "image": own.image,
            "imagePullPolicy": settings.image_pull_policy,
            "restartPolicy": "Always",
            "args": ["engine", "--socket", format!("{SOCKET_DIR}/engine.sock")],
            "resources": offered(&own.resources, spec),
            "securityContext": restricted(),
            "volumeMounts": [{"name": SOCKET, "mountPath": SOCKET_DIR}],
        }));
    }
    all.push(sidecar(ask, settings, given, spec));
    all
}

fn sidecar(ask: &Ask, settings: &Settings, given: &[Given], spec: &Value) -> Value {
    let probe = |path: &str| json!({"path": path, "port": settings.health_port});
    let mut mounts = vec![json!({"name": journal_volume(ask), "mountPath": STATE_DIR})];
    if !tokens(ask, settings).is_empty() {
        mounts.push(json!({"name": IDENTITY, "mountPath": IDENTITY_DIR, "readOnly": true}));
    }
    if engine(ask, settings) == EngineChoice::Container {
        mounts.push(json!({"name": SOCKET, "mountPath": SOCKET_DIR}));
    }
    let mut container = json!({
        "name": NAME,
        "image": ask.image.as_ref().unwrap_or(&settings.image),
        "imagePullPolicy": settings.image_pull_policy,
        "restartPolicy": "Always",
        // A state folder that cannot be had costs the recording, and no call.
        "args": ["serve", "--go-on"],
        "env": variables(ask, settings, given),
        "ports": [{"name": "understudy", "containerPort": settings.health_port, "protocol": "TCP"}],
        // Neither model nor disk nor any peer is asked: what they lack, the
        // provider makes up for.
        "livenessProbe": {
            "httpGet": probe("/healthz"), "periodSeconds": 5, "timeoutSeconds": 2, "failureThreshold": 3,
        },
        "resources": resources(ask, settings, spec),
        "securityContext": restricted(),
        "volumeMounts": mounts,
    });
    // No readiness probe: a sidecar that is busy must not take the pod out of
    // its Services.
    if spec["restartPolicy"] != "Never" {
        container["startupProbe"] = json!({
            "httpGet": probe("/readyz"), "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 60,
        });
    } else {
        // A start-up probe on a sidecar of a pod that never restarts can keep
        // its Job waiting for ever (kubernetes/kubernetes#132826). The kubelet
        // starts the next container when this has run, however it ended.
        let wait = format!("--wait={}s", settings.wait_seconds);
        container["lifecycle"] =
            json!({"postStart": {"exec": {"command": ["understudy", "ready", wait, "--go-on"]}}});
    }
    container
}

fn variables(ask: &Ask, settings: &Settings, given: &[Given]) -> Vec<Value> {
    let plain = |name: &str, value: String| json!({"name": name, "value": value});
    let field =
        |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let mut all = vec![
        plain("UNDERSTUDY_GATEWAY_LISTEN", format!("127.0.0.1:{}", settings.gateway_port)),
        // The probes ask there, whatever the configuration says of metrics.
        plain("UNDERSTUDY_METRICS_ENABLED", "true".to_owned()),
        plain("UNDERSTUDY_METRICS_LISTEN", format!("0.0.0.0:{}", settings.health_port)),
        plain("UNDERSTUDY_STATE_DIR", STATE_DIR.to_owned()),
        field("UNDERSTUDY_POD_NAME", "metadata.name"),
        field("UNDERSTUDY_POD_NAMESPACE", "metadata.namespace"),
        field("UNDERSTUDY_POD_UID", "metadata.uid"),
        field("UNDERSTUDY_POD_NODE", "spec.nodeName"),
        // What telemetry says of where it comes from; OpenTelemetry's own variable.
        plain("OTEL_RESOURCE_ATTRIBUTES", RESOURCE.to_owned()),
        // The allocator's: huge pages treble what a sidecar holds.
        plain("MIMALLOC_ALLOW_THP", "0".to_owned()),
    ];
    if let Some(policies) = &settings.policies {
        all.extend([
            plain("UNDERSTUDY_POLICY_SOURCE", policies.address.clone()),
            plain("UNDERSTUDY_POLICY_TOKEN_FILE", format!("{IDENTITY_DIR}/{POLICY_TOKEN}")),
            plain("UNDERSTUDY_POLICY_CA_FILE", format!("{IDENTITY_DIR}/ca.crt")),
        ]);
    }
    match (engine(ask, settings), &settings.engine) {
        (EngineChoice::Service, Some(service)) => all.extend([
            plain("UNDERSTUDY_ENGINE_ADDRESS", service.address.clone()),
            plain("UNDERSTUDY_ENGINE_TOKEN_FILE", format!("{IDENTITY_DIR}/{ENGINE_TOKEN}")),
            plain("UNDERSTUDY_ENGINE_CA_FILE", format!("{IDENTITY_DIR}/ca.crt")),
        ]),
        (EngineChoice::Container, _) => {
            all.push(plain("UNDERSTUDY_ENGINE_ADDRESS", format!("unix:{SOCKET_DIR}/engine.sock")));
        }
        _ => all.push(plain("UNDERSTUDY_ENGINE_ENABLED", "false".to_owned())),
    }
    let sizes = journal::variables(ask, settings).into_iter();
    all.extend(sizes.map(|(name, bytes)| plain(name, format!("{bytes} B"))));
    all.extend(given.iter().flat_map(|g| g.variables.iter().cloned()));
    // Ours come first, then those of `env`, whose values may be a Secret's.
    let environment = settings.environment.iter().map(|(n, v)| plain(n, v.clone()));
    for variable in settings.env.iter().cloned().map(optional).chain(environment) {
        if all.iter().all(|set| set["name"] != variable["name"]) {
            all.push(variable);
        }
    }
    all
}

/// A pod must start where a Secret or a ConfigMap is not there yet, unless it was said
/// that it must not.
fn optional(mut variable: Value) -> Value {
    for source in ["/valueFrom/secretKeyRef", "/valueFrom/configMapKeyRef"] {
        if let Some(reference) = variable.pointer_mut(source).and_then(Value::as_object_mut) {
            reference.entry("optional").or_insert(json!(true));
        }
    }
    variable
}

/// Whether the pod has resources as a whole.
pub(crate) fn is_whole(spec: &Value) -> bool {
    ["requests", "limits"].iter().any(|l| spec["resources"][*l].as_object().is_some_and(|o| !o.is_empty()))
}

/// What a container of ours has of the chart. A pod that has resources as a whole shares
/// them with us: its containers may not ask for more than it has.
fn offered(chart: &Value, spec: &Value) -> Value {
    if is_whole(spec) || !chart.is_object() { json!({}) } else { chart.clone() }
}

fn resources(ask: &Ask, settings: &Settings, spec: &Value) -> Value {
    let mut found = offered(&settings.resources, spec);
    for ((list, what), size) in &ask.resources {
        found[*list][*what] = json!(size);
    }
    if !is_whole(spec)
        && found["limits"]["cpu"].is_null()
        && let Some(limit) = cpu_limit(spec, &found["requests"]["cpu"])
    {
        found["limits"]["cpu"] = limit;
    }
    // Resources of a whole pod are never of this kind.
    if found["limits"][STORAGE].is_null()
        && let Some(limit) = journal::limit(ask, settings, spec)
    {
        // Who asks for none would ask for as much as the limit.
        if found["requests"][STORAGE].is_null() {
            found["requests"][STORAGE] = json!(journal::LEAST);
        }
        found["limits"][STORAGE] = at_least(&found["requests"][STORAGE], &json!(limit));
    }
    found
}

/// The CPU limit of a sidecar that has none, where every container of the pod's own has
/// one: a quota may demand one of ours, too. It is one CPU, or as much as the pod's own
/// have at most, since a LimitRange may allow no more.
fn cpu_limit(spec: &Value, request: &Value) -> Option<Value> {
    let own = ["containers", "initContainers"].into_iter().filter_map(|list| spec[list].as_array()).flatten();
    let limits: Vec<&Value> = own.map(|c| &c["resources"]["limits"]["cpu"]).collect();
    if limits.iter().any(|limit| limit.is_null()) {
        return None;
    }
    let size = |quantity: &Value| value(quantity).unwrap_or(f64::INFINITY);
    let (one, most) = (json!("1"), limits.into_iter().max_by(|a, b| size(a).total_cmp(&size(b)))?);
    let limit = if size(most) < size(&one) { most } else { &one };
    Some(at_least(request, limit))
}

/// A limit, or what is asked for, where that is above it.
fn at_least(request: &Value, limit: &Value) -> Value {
    let is_above = value(request).zip(value(limit)).is_some_and(|(request, limit)| request > limit);
    if is_above { request.clone() } else { limit.clone() }
}

/// The tokens that the sidecar shows: audience and file.
fn tokens<'a>(ask: &Ask, settings: &'a Settings) -> Vec<(&'a str, &'static str)> {
    let service = settings.engine.as_ref().filter(|_| engine(ask, settings) == EngineChoice::Service);
    let engine = service.map(|e| (e.audience.as_str(), ENGINE_TOKEN));
    let policies = settings.policies.as_ref().map(|p| (p.audience.as_str(), POLICY_TOKEN));
    engine.into_iter().chain(policies).collect()
}

/// What Pod Security's "restricted" asks, and a root file system that stays as it is.
fn restricted() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "privileged": false,
        "readOnlyRootFilesystem": true,
        "runAsGroup": 65532,
        "runAsNonRoot": true,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

fn journal_volume(ask: &Ask) -> &str {
    match &ask.journal {
        JournalPlace::Volume(name) => name,
        _ => STATE,
    }
}

/// The volumes that these containers need and the pod lacks.
pub(crate) fn volumes(ask: &Ask, settings: &Settings) -> Vec<Value> {
    let mut all = Vec::new();
    match &ask.journal {
        JournalPlace::Empty => {
            all.push(json!({"name": STATE, "emptyDir": {"sizeLimit": journal::size(ask, settings)}}));
        }
        JournalPlace::Claim(name) => {
            all.push(json!({"name": STATE, "persistentVolumeClaim": {"claimName": name}}));
        }
        JournalPlace::Volume(_) => {}
    }
    let mut sources: Vec<Value> = tokens(ask, settings)
        .into_iter()
        .map(|(audience, path)| {
            json!({"serviceAccountToken": {"audience": audience, "expirationSeconds": 3600, "path": path}})
        })
        .collect();
    if !sources.is_empty() {
        // Without it nobody is trusted: the provider answers, and the configuration holds.
        sources.push(json!({"configMap": {"name": settings.ca_config_map, "optional": true,
            "items": [{"key": "ca.crt", "path": "ca.crt"}]}}));
        all.push(json!({"name": IDENTITY, "projected": {"sources": sources}}));
    }
    if engine(ask, settings) == EngineChoice::Container {
        all.push(json!({"name": SOCKET, "emptyDir": {"sizeLimit": "1Mi"}}));
    }
    all
}
