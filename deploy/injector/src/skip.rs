//! Which pods are left alone, and why.

use serde_json::Value;

use crate::Settings;
use crate::ask::{AskError, ENGINE, INJECT, INJECTED, NAME, PREFIX};
use crate::journal::LEAST;
use crate::quantity::value;
use crate::sidecar::{IDENTITY, SOCKET, STATE};

/// Why a pod is admitted as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Skip {
    /// It said so.
    OptedOut,
    /// The node's loopback would be everybody's.
    HostNetwork,
    /// The kubelet's own, or a copy of it that the API server only shows.
    Static,
    /// The sidecar is a Linux program.
    Windows,
    /// Not a pod that we can read.
    Unreadable(&'static str),
    /// A container or volume of the pod's own has a name of ours.
    NameTaken(&'static str),
    /// A container of the pod's own has our port.
    PortTaken {
        /// The port.
        port: u16,
        /// The container.
        container: String,
    },
    /// Annotations that cannot be followed.
    Annotations(Vec<AskError>),
    /// A container of ours would ask for more than its own limit.
    Resources {
        /// Which.
        container: String,
        /// `cpu` or the like.
        what: String,
        /// What it would ask for.
        request: String,
        /// Its limit.
        limit: String,
    },
    /// A journal that is too small to be one.
    JournalSize(String),
    /// An engine that the chart does not offer.
    NoEngine(&'static str),
    /// Sidecars fail to start in this cluster; the controller stopped injecting.
    Broken(String),
    /// The namespace lacks what a sidecar needs.
    Namespace(String),
}

impl Skip {
    /// For counters.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::OptedOut => "opted_out",
            Self::HostNetwork => "host_network",
            Self::Static => "static_pod",
            Self::Windows => "windows",
            Self::Unreadable(_) => "unreadable",
            Self::NameTaken(_) => "name_taken",
            Self::PortTaken { .. } => "port_taken",
            Self::Annotations(_) => "annotations",
            Self::Resources { .. } => "resources",
            Self::JournalSize(_) => "journal_size",
            Self::NoEngine(_) => "no_engine",
            Self::Broken(_) => "sidecars_fail",
            Self::Namespace(_) => "namespace",
        }
    }

    /// For people; what the API server shows them beside their pod.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::OptedOut => format!("the label {INJECT} says \"false\""),
            Self::HostNetwork => {
                "the pod uses the host's network, where loopback is shared with every pod like it".to_owned()
            }
            Self::Static => "the pod is the kubelet's own".to_owned(),
            Self::Windows => "the pod is for Windows and the sidecar is a Linux program".to_owned(),
            Self::Unreadable(what) => format!("the pod cannot be read: {what}"),
            Self::NameTaken(name) => {
                format!("the pod has a container or volume of its own named {name:?}; rename it")
            }
            Self::PortTaken { port, container } => format!(
                "container {container:?} listens on port {port}, which the sidecar needs; change the chart's \
                 sidecar.gatewayPort or sidecar.healthPort"
            ),
            Self::Resources { container, what, request, limit } => format!(
                "container {container:?} would ask for {request} of {what} with a limit of {limit}, for \
                 which the API server refuses a pod; change {PREFIX}{what}-request or {PREFIX}{what}-limit"
            ),
            Self::Annotations(mistakes) => {
                mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            }
            Self::JournalSize(size) => format!(
                "the journal would have {size} of room, which is less than the {LEAST} that one needs; \
                 change {PREFIX}journal-size or the chart's sidecar.journalSize"
            ),
            Self::NoEngine(kind) => {
                format!("the pod asks for an engine by {kind}, which the chart's values do not offer")
            }
            Self::Broken(why) => format!("sidecars fail to start here and injection is paused: {why}"),
            Self::Namespace(why) => format!("the namespace could not be prepared: {why}"),
        }
    }
}

/// Why this pod gets no sidecar, if so. Annotations are read elsewhere.
pub(crate) fn reason(pod: &Value, settings: &Settings) -> Option<Skip> {
    if let Some(what) = unreadable(pod) {
        return Some(Skip::Unreadable(what));
    }
    let spec = &pod["spec"];
    if pod.pointer("/metadata/labels").is_some_and(|l| l[INJECT] == "false" || l[INJECT] == "disabled") {
        return Some(Skip::OptedOut);
    }
    if spec["hostNetwork"] == true {
        return Some(Skip::HostNetwork);
    }
    let annotations = pod.pointer("/metadata/annotations").and_then(Value::as_object);
    let is_static =
        |key: &String| key == "kubernetes.io/config.mirror" || key == "kubernetes.io/config.source";
    if annotations.is_some_and(|a| a.keys().any(is_static)) {
        return Some(Skip::Static);
    }
    let chosen = &spec["nodeSelector"];
    if spec["os"]["name"] == "windows"
        || chosen["kubernetes.io/os"] == "windows"
        || chosen["beta.kubernetes.io/os"] == "windows"
    {
        return Some(Skip::Windows);
    }
    if is_injected(pod) { None } else { taken(pod, settings) }
}

/// What is not as Kubernetes has it, in the parts that we change.
fn unreadable(pod: &Value) -> Option<&'static str> {
    let objects = |v: &Value| v.as_array().is_some_and(|all| all.iter().all(Value::is_object));
    let absent_or = |v: &Value, is: fn(&Value) -> bool| v.is_null() || is(v);
    if !pod["spec"].is_object() {
        return Some("it has no spec");
    }
    let (metadata, spec) = (&pod["metadata"], &pod["spec"]);
    if !metadata.is_object()
        || !["labels", "annotations"].iter().all(|k| absent_or(&metadata[*k], Value::is_object))
    {
        return Some("its metadata is no metadata");
    }
    if !objects(&spec["containers"]) || spec["containers"] == Value::Array(Vec::new()) {
        return Some("it has no containers");
    }
    let lists = [&spec["initContainers"], &spec["volumes"]];
    if !lists.iter().all(|l| l.is_null() || objects(l)) {
        return Some("its initContainers or volumes are no list of objects");
    }
    let containers =
        [&spec["containers"], &spec["initContainers"]].into_iter().filter_map(Value::as_array).flatten();
    let mut sources = containers.map(|c| &c["envFrom"]);
    if !sources.all(|s| s.is_null() || objects(s)) {
        return Some("a container's envFrom is no list of objects");
    }
    None
}

/// A name or a port that the pod itself has.
fn taken(pod: &Value, settings: &Settings) -> Option<Skip> {
    let spec = &pod["spec"];
    // The journal may lie in a volume of the pod's that is called so.
    let journal = &pod["metadata"]["annotations"][format!("{PREFIX}journal-volume")];
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        let ours = [STATE, IDENTITY, SOCKET].into_iter().find(|name| volume["name"] == *name);
        if let Some(name) = ours.filter(|name| *name != STATE || *journal != STATE) {
            return Some(Skip::NameTaken(name));
        }
    }
    let all = ["containers", "initContainers"];
    for container in all.into_iter().filter_map(|l| spec[l].as_array()).flatten() {
        let name = container["name"].as_str().unwrap_or_default();
        if let Some(ours) = [NAME, ENGINE].into_iter().find(|ours| name == *ours) {
            return Some(Skip::NameTaken(ours));
        }
        for port in container["ports"].as_array().into_iter().flatten() {
            let number = port["containerPort"].as_u64();
            let ours = [settings.gateway_port, settings.health_port];
            if let Some(port) = ours.into_iter().find(|p| number == Some(u64::from(*p))) {
                return Some(Skip::PortTaken { port, container: name.to_owned() });
            }
        }
    }
    None
}

/// A container that asks for more than its own limit: the API server would refuse the
/// whole pod for it.
pub(crate) fn over_limit(container: &Value) -> Option<Skip> {
    let text = |quantity: &Value| quantity.as_str().map_or_else(|| quantity.to_string(), str::to_owned);
    let resources = &container["resources"];
    resources["requests"].as_object()?.iter().find_map(|(what, request)| {
        let limit = &resources["limits"][what];
        (value(request)? > value(limit)?).then(|| Skip::Resources {
            container: text(&container["name"]),
            what: what.clone(),
            request: text(request),
            limit: text(limit),
        })
    })
}

/// Whether a sidecar of ours is in it already.
pub(crate) fn is_injected(pod: &Value) -> bool {
    let ours = |c: &Value| c["name"] == NAME;
    pod.pointer("/metadata/labels").is_some_and(|l| l[INJECTED] == "true")
        && pod.pointer("/spec/initContainers").and_then(Value::as_array).is_some_and(|c| c.iter().any(ours))
}
