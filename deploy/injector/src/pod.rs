//! The whole patch of a pod: pure, and idempotent, since the API server calls
//! a webhook again when another has changed the pod after it.

use std::collections::{BTreeMap, BTreeSet};

use json_patch::Patch;
use serde::Serialize;
use serde_json::{Value, json};

use crate::ask::{Ask, ENGINE, EngineChoice, INJECTED, NAME, STATUS};
use crate::sidecar::{containers, engine, volumes};
use crate::skip::{self, Skip, over_limit};
use crate::understudies::Given;
use crate::{Settings, journal, quality};

/// What becomes of a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It gets a sidecar.
    Injected {
        /// From the pod to the pod with it.
        patch: Patch,
        /// What was done.
        status: Status,
    },
    /// It is admitted as it is.
    Skipped(Skip),
}

/// What was done to a pod; the annotation [`STATUS`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The injector's version.
    pub version: &'static str,
    /// Of each container that gets the variables, those that will not reach it, and why.
    pub containers: BTreeMap<String, Vec<Kept>>,
    /// The understudies that the sidecar has beside its own, as `namespace/name@generation`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub understudies: BTreeSet<String>,
    /// What else became of the pod that its owner may not want, and what helps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What of the cluster bears on a pod.
pub trait Around {
    /// Why an image is not injected in this namespace now, if so.
    fn paused(&self, image: &str, namespace: &str) -> Option<String>;
    /// The understudies that a pod of this namespace and with these labels gets.
    fn understudies(&self, _namespace: &str, _labels: &BTreeMap<String, String>) -> Vec<Given> {
        Vec::new()
    }
}

impl<F: Fn(&str, &str) -> Option<String>> Around for F {
    fn paused(&self, image: &str, namespace: &str) -> Option<String> {
        self(image, namespace)
    }
}

/// A variable that is not ours to set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The variable, or `*` for any.
    pub variable: String,
    /// Why it may have another value.
    pub why: String,
}

/// Puts the sidecar into a pod of `namespace`, or says why not.
#[must_use]
pub fn inject(pod: &Value, namespace: &str, settings: &Settings, around: &dyn Around) -> Outcome {
    if let Some(skip) = skip::reason(pod, settings) {
        return Outcome::Skipped(skip);
    }
    let ask = match Ask::of(pod) {
        Ok(ask) => journal::fitted(ask, settings, &pod["spec"]),
        Err(mistakes) => return Outcome::Skipped(Skip::Annotations(mistakes)),
    };
    match engine(&ask, settings) {
        EngineChoice::Service if settings.engine.is_none() => {
            return Outcome::Skipped(Skip::NoEngine("service"));
        }
        EngineChoice::Container if settings.engine_container.is_none() => {
            return Outcome::Skipped(Skip::NoEngine("container"));
        }
        _ => {}
    }
    // A pod that has its sidecar already is only looked over.
    let is_injected = skip::is_injected(pod);
    let image = ask.image.as_ref().unwrap_or(&settings.image);
    if let Some(why) = around.paused(image, namespace).filter(|_| !is_injected) {
        return Outcome::Skipped(Skip::Broken(why));
    }
    if let Some(size) = journal::too_small(&ask, settings).filter(|_| !is_injected) {
        return Outcome::Skipped(Skip::JournalSize(size));
    }
    let given = if is_injected { Vec::new() } else { given(pod, namespace, settings, around) };
    let ours = containers(&ask, settings, &given, &pod["spec"]);
    if let Some(skip) = ours.iter().find_map(over_limit).filter(|_| !is_injected) {
        return Outcome::Skipped(skip);
    }
    let understudies = if is_injected {
        has(pod["metadata"]["annotations"][STATUS].as_str())
    } else {
        given.into_iter().map(|g| g.name).collect()
    };
    let mut changed = pod.clone();
    let reached = change(&mut changed, &ask, settings, ours);
    let notes = quality::lost(&changed["spec"]).into_iter().collect();
    let status = Status { version: env!("CARGO_PKG_VERSION"), containers: reached, understudies, notes };
    changed["metadata"]["annotations"][STATUS] = json!(json!(status).to_string());
    Outcome::Injected { patch: json_patch::diff(pod, &changed), status }
}

/// The understudies that a pod gets. Where the chart's configuration has one of that
/// name, that one holds: half of one and half of the other would be neither.
fn given(pod: &Value, namespace: &str, settings: &Settings, around: &dyn Around) -> Vec<Given> {
    let labels = serde_json::from_value(pod["metadata"]["labels"].clone()).unwrap_or_default();
    let mut all = around.understudies(namespace, &labels);
    let is_set = |v: &Value| v["name"].as_str().is_some_and(|name| settings.sets(name));
    all.retain(|g| !g.variables.iter().any(is_set));
    all
}

/// The understudies that a pod's status names.
pub(crate) fn has(status: Option<&str>) -> BTreeSet<String> {
    let found = status.and_then(|text| serde_json::from_str::<Value>(text).ok());
    let named = found.and_then(|mut s| serde_json::from_value(s["understudies"].take()).ok());
    named.unwrap_or_default()
}

/// Changes a pod; the containers that the variables reach, as in its status.
fn change(pod: &mut Value, ask: &Ask, settings: &Settings, ours: Vec<Value>) -> BTreeMap<String, Vec<Kept>> {
    // What is there stays: a second call must not undo what other plugins added
    // to our containers after the first.
    add_absent(&mut pod["spec"]["initContainers"], ours, Place::First);
    add_absent(&mut pod["spec"]["volumes"], volumes(ask, settings), Place::Last);
    let mut reached = BTreeMap::new();
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default().to_owned();
            let wanted = ask.containers.as_ref().is_none_or(|only| only.contains(&name));
            if [NAME, ENGINE].contains(&name.as_str()) || !wanted {
                continue;
            }
            give_variables(container, settings);
            reached.insert(name, kept(container, settings));
        }
    }
    pod["metadata"]["labels"][INJECTED] = json!("true");
    reached
}

enum Place {
    First,
    Last,
}

/// Adds those whose names are not there.
fn add_absent(list: &mut Value, mut added: Vec<Value>, place: Place) {
    let mut all = list.as_array_mut().map(std::mem::take).unwrap_or_default();
    added.retain(|new| !all.iter().any(|old| old["name"] == new["name"]));
    match place {
        Place::First => {
            added.append(&mut all);
            all = added;
        }
        Place::Last => all.append(&mut added),
    }
    if !all.is_empty() {
        *list = Value::Array(all);
    }
}

/// Puts our ConfigMap before whatever else the container takes its variables
/// from: of two sources the later wins, and `env` wins over both.
fn give_variables(container: &mut Value, settings: &Settings) {
    let name = settings.variables_config_map.as_str();
    let mut sources = container["envFrom"].as_array_mut().map(std::mem::take).unwrap_or_default();
    if !sources.iter().any(|s| s["configMapRef"]["name"] == name) {
        // Optional: a pod must start where the ConfigMap is not there yet.
        sources.insert(0, json!({"configMapRef": {"name": name, "optional": true}}));
    }
    container["envFrom"] = Value::Array(sources);
}

/// What the user has set, which wins.
fn kept(container: &Value, settings: &Settings) -> Vec<Kept> {
    let mut all = Vec::new();
    for variable in container["env"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().unwrap_or_default();
        if settings.variables.contains_key(name) {
            all.push(Kept { variable: name.to_owned(), why: "the container sets it in env".to_owned() });
        }
    }
    for source in container["envFrom"].as_array().into_iter().flatten() {
        let prefixed = source["prefix"].as_str().is_some_and(|p| !p.is_empty());
        for (kind, word) in [("configMapRef", "ConfigMap"), ("secretRef", "Secret")] {
            let Some(name) = source[kind]["name"].as_str() else { continue };
            if name != settings.variables_config_map && !prefixed {
                let why = format!("{word} {name} of envFrom wins, should it have one of ours");
                all.push(Kept { variable: "*".to_owned(), why });
            }
        }
    }
    all
}
