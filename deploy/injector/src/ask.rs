//! What a pod's owner may say: labels and annotations under `understudy.dev/`.
//!
//! Each annotation is declared once, in [`ANNOTATIONS`]; that table reads them,
//! checks them and is, after [`MARKS`], the table of the docs.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::quantity::positive;

/// What they all begin with.
pub const PREFIX: &str = "understudy.dev/";

/// The label that opts a pod in (`"true"`) or out (`"false"`), or a namespace
/// in (`"enabled"`).
pub const INJECT: &str = "understudy.dev/inject";

/// The label that an injected pod bears.
pub const INJECTED: &str = "understudy.dev/injected";

/// The annotation with what was done, and what was not and why.
pub const STATUS: &str = "understudy.dev/status";

/// The sidecar's container.
pub(crate) const NAME: &str = "understudy";

/// The engine's container, where a pod has one.
pub(crate) const ENGINE: &str = "understudy-engine";

/// An annotation: name after the prefix, what may be written, default, text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Annotation {
    /// After the prefix.
    pub name: &'static str,
    /// Completes "must be …".
    pub kind: &'static str,
    /// What holds without it.
    pub default: &'static str,
    /// What it is for.
    pub text: &'static str,
}

const fn annotation(
    name: &'static str,
    kind: &'static str,
    default: &'static str,
    text: &'static str,
) -> Annotation {
    Annotation { name, kind, default, text }
}

/// Every annotation that a pod may bear.
pub const ANNOTATIONS: &[Annotation] = &[
    annotation("mode", "`env`", "`env`", "How the agent's calls come to the sidecar: by base-URL variables."),
    annotation("containers", "names, with commas between", "all", "The containers that get the variables."),
    annotation(
        "engine",
        "`service`, `container` or `none`",
        "the chart's",
        "Who runs the small models: the engine behind a Service, one in the pod, or none.",
    ),
    annotation(
        "journal-size",
        "a quantity such as `512Mi`",
        "the chart's",
        "How much room the journal has, `64Mi` or more: its emptyDir's size limit or, beside a claim or a volume, what it may take of that (without it `capture.keep_bytes`). It keeps itself to three quarters of it.",
    ),
    annotation(
        "journal-claim",
        "the name of a PersistentVolumeClaim",
        "none",
        "Keeps the journal, and so the evidence, across restarts; one pod to a claim.",
    ),
    annotation(
        "journal-volume",
        "the name of a volume of the pod",
        "none",
        "The same for a volume that the pod has, such as a StatefulSet's.",
    ),
    annotation("image", "an image", "the chart's", "Another sidecar for this pod."),
    annotation("cpu-request", "a quantity such as `50m`", "the chart's", "Of the sidecar."),
    annotation("cpu-limit", "a quantity such as `500m`", "the chart's", "Of the sidecar."),
    annotation("memory-request", "a quantity such as `48Mi`", "the chart's", "Of the sidecar."),
    annotation("memory-limit", "a quantity such as `128Mi`", "the chart's", "Of the sidecar."),
];

/// A label, or what we write: whole name, whose it is, value, default, text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// With the prefix.
    pub name: &'static str,
    /// What bears it, and as what.
    pub of: &'static str,
    /// What may be written, or is.
    pub kind: &'static str,
    /// What holds without it.
    pub default: &'static str,
    /// What it is for.
    pub text: &'static str,
}

/// The labels, and what we write on a pod.
pub const MARKS: &[Mark] = &[
    Mark {
        name: INJECT,
        of: "label of a namespace",
        kind: "`enabled`",
        default: "none",
        text: "Opts its pods in; the chart's `injector.namespaceLabel` may name another one.",
    },
    Mark {
        name: INJECT,
        of: "label of a pod",
        kind: "`true` or `enabled`, `false` or `disabled`",
        default: "its namespace's",
        text: "Opts the pod in, or out; nothing is injected in the release's namespace and in `injector.excludedNamespaces`.",
    },
    Mark {
        name: INJECTED,
        of: "label of a pod, by the injector",
        kind: "`true`",
        default: "none",
        text: "The pod has a sidecar; monitors and network policies select by it.",
    },
    Mark {
        name: STATUS,
        of: "annotation of a pod, by the injector",
        kind: "JSON",
        default: "none",
        text: "What was done: the containers that get the variables, which variables will not arrive and why, the pod's understudies, and what else it has become by it.",
    },
];

/// Written by us, so nobody's mistake.
const OURS: &[&str] = &["status"];

/// Who runs the small models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineChoice {
    /// The engine behind a Service.
    Service,
    /// One in the pod.
    Container,
    /// Nobody: calls are recorded and the provider answers.
    None,
}

/// Where the journal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalPlace {
    /// An emptyDir of its own.
    Empty,
    /// A claim of this name.
    Claim(String),
    /// A volume that the pod has.
    Volume(String),
}

/// What a pod's owner asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The containers that get the variables; `None` is all.
    pub containers: Option<Vec<String>>,
    /// `None` is the chart's.
    pub engine: Option<EngineChoice>,
    /// Where the journal is.
    pub journal: JournalPlace,
    /// How much room it has there; `None` is the chart's of an emptyDir, and all of another.
    pub journal_size: Option<String>,
    /// `None` is the chart's.
    pub image: Option<String>,
    /// `requests.cpu` and the like, of the sidecar.
    pub resources: BTreeMap<(&'static str, &'static str), String>,
}

/// Why a pod's annotations cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// No such annotation.
    #[error("{PREFIX}{name} is not an annotation of ours{hint}; it must be one of {}", known())]
    Unknown {
        /// After the prefix.
        name: String,
        /// What it was meant to be, perhaps.
        hint: String,
    },
    /// Not of the annotation's kind.
    #[error("{PREFIX}{name} is {value:?} and must be {kind}")]
    Value {
        /// After the prefix.
        name: &'static str,
        /// What was written.
        value: String,
        /// What may be written.
        kind: &'static str,
    },
    /// A way of the traffic that is planned and not built.
    #[error("{PREFIX}mode is {0:?}, which does not exist yet; it must be `env`")]
    Mode(String),
    /// Two that cannot both hold.
    #[error("{PREFIX}{0} and {PREFIX}{1} contradict each other; keep one")]
    Contradiction(&'static str, &'static str),
    /// A name that the pod lacks.
    #[error("{PREFIX}{name} names {value:?}, which the pod does not have")]
    Absent {
        /// After the prefix.
        name: &'static str,
        /// What it names.
        value: String,
    },
}

fn known() -> String {
    ANNOTATIONS.iter().map(|a| a.name).collect::<Vec<_>>().join(", ")
}

impl Ask {
    /// Reads a pod's annotations; all mistakes at once.
    ///
    /// # Errors
    /// Every annotation that cannot be followed.
    pub fn of(pod: &Value) -> Result<Self, Vec<AskError>> {
        let mut mistakes = Vec::new();
        let mut said = BTreeMap::new();
        let annotations = pod.pointer("/metadata/annotations").and_then(Value::as_object);
        for (key, value) in annotations.into_iter().flatten() {
            let Some(name) = key.strip_prefix(PREFIX).filter(|n| !OURS.contains(n)) else { continue };
            let Some(known) = ANNOTATIONS.iter().find(|a| a.name == name) else {
                mistakes.push(AskError::Unknown { name: name.to_owned(), hint: hint(name) });
                continue;
            };
            let value = value.as_str().unwrap_or_default().trim().to_owned();
            if is_of_kind(known.name, &value) {
                said.insert(known.name, value);
            } else if known.name == "mode" && ["proxy", "redirect"].contains(&value.as_str()) {
                mistakes.push(AskError::Mode(value));
            } else {
                mistakes.push(AskError::Value { name: known.name, value, kind: known.kind });
            }
        }
        if said.contains_key("journal-claim") && said.contains_key("journal-volume") {
            mistakes.push(AskError::Contradiction("journal-claim", "journal-volume"));
        }
        let containers = said.get("containers").map(|c| names(c));
        let journal = match (said.remove("journal-claim"), said.remove("journal-volume")) {
            (Some(claim), _) => JournalPlace::Claim(claim),
            (None, Some(volume)) => JournalPlace::Volume(volume),
            (None, None) => JournalPlace::Empty,
        };
        absent(pod, "containers", containers.iter().flatten(), "/spec/containers", &mut mistakes);
        if let JournalPlace::Volume(volume) = &journal {
            absent(pod, "journal-volume", [volume], "/spec/volumes", &mut mistakes);
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let sizes = [
            ("cpu-request", ("requests", "cpu")),
            ("cpu-limit", ("limits", "cpu")),
            ("memory-request", ("requests", "memory")),
            ("memory-limit", ("limits", "memory")),
        ];
        Ok(Self {
            containers,
            engine: said.get("engine").map(|e| match e.as_str() {
                "container" => EngineChoice::Container,
                "none" => EngineChoice::None,
                _ => EngineChoice::Service,
            }),
            journal,
            journal_size: said.remove("journal-size"),
            image: said.remove("image"),
            resources: sizes.into_iter().filter_map(|(name, at)| Some((at, said.remove(name)?))).collect(),
        })
    }
}

fn names(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|n| !n.is_empty()).map(str::to_owned).collect()
}

fn absent<'a>(
    pod: &Value,
    name: &'static str,
    named: impl IntoIterator<Item = &'a String>,
    list: &str,
    mistakes: &mut Vec<AskError>,
) {
    let has = |wanted: &str| {
        pod.pointer(list).and_then(Value::as_array).into_iter().flatten().any(|c| c["name"] == wanted)
    };
    mistakes
        .extend(named.into_iter().filter(|n| !has(n)).map(|n| AskError::Absent { name, value: n.clone() }));
}

fn is_of_kind(name: &str, value: &str) -> bool {
    match name {
        "mode" => value == "env",
        "engine" => ["service", "container", "none"].contains(&value),
        "containers" => !names(value).is_empty(),
        "journal-claim" | "journal-volume" => is_name(value),
        "image" => !value.is_empty() && !value.contains(char::is_whitespace),
        _ => positive(value).is_some(),
    }
}

/// A DNS subdomain, as names of objects are (RFC 1123).
fn is_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.len() <= 253
        && text.chars().all(inner)
        && edge(text.chars().next())
        && edge(text.chars().next_back())
}

/// The annotation that differs in the fewest letters, if it is near.
fn hint(name: &str) -> String {
    let near = ANNOTATIONS.iter().map(|a| (strsim::damerau_levenshtein(a.name, name), a.name)).min();
    match near {
        Some((distance, near)) if distance <= 3 => format!(" (did you mean {near}?)"),
        _ => String::new(),
    }
}
