//! Which policies hold for which pod, and how a sidecar hears of them.
//!
//! A sidecar asks with its pod's token, says by what version it goes, and is answered
//! when there is another one ([`serve`]). Every replica watches all policies and all
//! injected pods, so any of them can answer. What the sidecars tell of
//! their tasks goes into the policies' status ([`status`]).

pub(crate) mod callers;
pub(crate) mod serve;
pub(crate) mod status;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::watch as channel;

use crate::crd::{Pinned, Rules, UnderstudyPolicy, holds_for};
use crate::resources::{Key, Shelf, full_name, key};

/// What a pod's sidecar is told: everything that holds for it, in the order in which
/// it is laid over the configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Differs where anything differs.
    pub version: String,
    /// The later ones win.
    pub policies: Vec<Told>,
}

/// One policy as a sidecar is told of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// `namespace/name`.
    pub name: String,
    /// The task, by name or id; all of them without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Keys of `[policy]`.
    #[serde(default)]
    pub policy: Rules,
    /// The stage that tasks are kept at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Pinned>,
}

/// What a sidecar says of itself when it asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The version that it goes by; empty where it has none.
    pub version: String,
    /// Each task's stage, by name.
    pub tasks: BTreeMap<String, String>,
    /// Each task's id, by name; none from a sidecar of an earlier version.
    pub ids: BTreeMap<String, String>,
    /// Of the policies that it cannot follow, why.
    pub refused: BTreeMap<String, String>,
}

/// Tasks that are kept of a report, and shown in a status. An agent that writes a new
/// system text for every call has thousands, and a status is one small object.
const MOST_TASKS: usize = 64;

impl Told {
    /// Whether it is for a task of this name, and this id where that was told.
    fn is_for(&self, name: &str, id: Option<&String>) -> bool {
        self.task.as_ref().is_none_or(|t| t == name || Some(t) == id)
    }
}

impl Report {
    /// With no more tasks than may be kept, those that are `named` before others. A
    /// sidecar of an earlier version tells of all.
    fn bounded(mut self, named: &BTreeSet<&str>) -> Self {
        if self.tasks.len() > MOST_TASKS {
            let ids = &self.ids;
            let is_named = |task: &String| {
                named.contains(task.as_str()) || ids.get(task).is_some_and(|id| named.contains(id.as_str()))
            };
            let mut tasks: Vec<_> = self.tasks.into_iter().collect();
            tasks.sort_by_key(|(task, _)| !is_named(task));
            self.tasks = tasks.into_iter().take(MOST_TASKS).collect();
        }
        self.ids.retain(|task, _| self.tasks.contains_key(task));
        self
    }
}

#[derive(Debug, Clone, Default)]
struct Pod {
    uid: String,
    labels: BTreeMap<String, String>,
    report: Option<(i64, Report)>,
    /// What holds for it, made when it was asked for, and of which revision.
    holds: Option<(u64, Arc<Document>)>,
}

/// Policies, pods, and what pods told.
pub(crate) struct Policies {
    /// Policies of this namespace hold everywhere.
    home: String,
    inner: Mutex<Inner>,
    changed: channel::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    policies: BTreeMap<Key, UnderstudyPolicy>,
    /// Another one with every change that a sidecar may have to be told.
    revision: u64,
    pods: BTreeMap<Key, Pod>,
    /// Both lists were read once: before that, that there is no policy is not known.
    policies_listed: bool,
    pods_listed: bool,
    ending: bool,
}

/// Whether a pod can be told something.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Known {
    Document(Arc<Document>),
    /// Not yet: lists are being read, or the pod has not been seen.
    NotYet,
    /// This replica ends.
    Ending,
}

impl Policies {
    pub(crate) fn new(home: &str) -> Self {
        Self { home: home.to_owned(), inner: Mutex::default(), changed: channel::Sender::new(0) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something that sidecars may have to be told, and wakes those who wait.
    fn change(&self, what: impl FnOnce(&mut Inner)) {
        let revision = {
            let mut inner = self.inner();
            what(&mut inner);
            inner.revision += 1;
            inner.revision
        };
        self.changed.send_replace(revision);
    }

    /// Tells of changes.
    pub(crate) fn changes(&self) -> channel::Receiver<u64> {
        self.changed.subscribe()
    }

    /// A pod that is new wakes nobody: only its own sidecar could wait for that, and
    /// looks again by itself.
    pub(crate) fn set_pod(&self, key: Key, uid: String, labels: BTreeMap<String, String>) {
        let mut inner = self.inner();
        let labelled_anew = match inner.pods.get_mut(&key) {
            Some(old) if old.uid == uid && old.labels == labels => return,
            Some(old) if old.uid == uid => {
                (old.labels, old.holds) = (labels, None);
                true
            }
            _ => {
                inner.pods.insert(key, Pod { uid, labels, ..Pod::default() });
                false
            }
        };
        drop(inner);
        if labelled_anew {
            self.change(|_| {});
        }
    }

    pub(crate) fn remove_pod(&self, key: &Key) {
        self.inner().pods.remove(key);
    }

    pub(crate) fn pods_listed(&self, listed: &BTreeSet<Key>) {
        self.change(|i| {
            i.pods.retain(|k, _| listed.contains(k));
            i.pods_listed = true;
        });
    }

    /// Whoever waits is answered, so that it asks another replica.
    pub(crate) fn end(&self) {
        self.change(|i| i.ending = true);
    }

    /// What holds for a pod.
    pub(crate) fn of(&self, pod: &Key, uid: &str) -> Known {
        let mut inner = self.inner();
        if inner.ending {
            return Known::Ending;
        }
        if !(inner.policies_listed && inner.pods_listed && inner.pods.get(pod).is_some_and(|p| p.uid == uid))
        {
            return Known::NotYet;
        }
        inner.document(&self.home, pod).map_or(Known::NotYet, Known::Document)
    }

    /// Notes what a pod told. What the last pod of a name had to say is of the past.
    pub(crate) fn hear(&self, pod: &Key, uid: &str, report: Report, now: i64) {
        let mut inner = self.inner();
        let named = inner.policies.values().filter_map(|p| p.spec.task.as_deref()).collect();
        let report = report.bounded(&named);
        if let Some(found) = inner.pods.get_mut(pod).filter(|p| p.uid == uid) {
            found.report = Some((now, report));
        }
    }
}

impl Shelf for Policies {
    type Kind = UnderstudyPolicy;

    fn set(&self, policy: UnderstudyPolicy) {
        let says = |p: &UnderstudyPolicy| (p.metadata.generation, p.uid());
        let now = says(&policy);
        let before = self.inner().policies.insert(key(&policy), policy);
        // Our own writing of its status comes back here: nobody need be woken for that.
        if before.is_none_or(|before| says(&before) != now) {
            self.change(|_| {});
        }
    }

    fn remove(&self, key: &Key) {
        self.change(|i| drop(i.policies.remove(key)));
    }

    fn listed(&self, listed: &BTreeSet<Key>) {
        self.change(|i| {
            i.policies.retain(|k, _| listed.contains(k));
            i.policies_listed = true;
        });
    }
}

impl Inner {
    /// What holds for a pod that is known.
    fn document(&mut self, home: &str, key: &Key) -> Option<Arc<Document>> {
        let pod = self.pods.get_mut(key)?;
        if let Some((revision, document)) = &pod.holds
            && *revision == self.revision
        {
            return Some(Arc::clone(document));
        }
        let made = Arc::new(document(&self.policies, home, &key.0, &pod.labels));
        pod.holds = Some((self.revision, Arc::clone(&made)));
        Some(made)
    }
}

/// Whether a policy is for a pod of `namespace` with these labels.
fn holds(policy: &UnderstudyPolicy, home: &str, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
    let of = policy.namespace().unwrap_or_default();
    holds_for(policy.spec.selector.as_ref(), &of, home, namespace, labels)
}

/// Everywhere's before the namespace's own, all tasks' before one task's; the oldest
/// last, so that a new one does not overrule what others rely on.
fn document(
    policies: &BTreeMap<Key, UnderstudyPolicy>,
    home: &str,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> Document {
    let mut all: Vec<_> = policies.iter().filter(|(_, p)| holds(p, home, namespace, labels)).collect();
    all.sort_by_key(|(key, p)| {
        let age = std::cmp::Reverse(p.creation_timestamp().map(|t| t.0));
        (p.spec.task.is_some(), key.0 == namespace, age, std::cmp::Reverse((*key).clone()))
    });
    let version = all.iter().map(|(key, p)| {
        let uid: String = p.uid().unwrap_or_default().chars().take(8).collect();
        format!("{}@{}.{uid}", full_name(key), p.metadata.generation.unwrap_or_default())
    });
    let version: Vec<String> = version.collect();
    let told = all.into_iter().map(|(key, p)| Told {
        name: full_name(key),
        task: p.spec.task.clone(),
        policy: p.spec.policy.clone().unwrap_or_default(),
        stage: p.spec.stage,
    });
    Document { version: version.join(","), policies: told.collect() }
}
