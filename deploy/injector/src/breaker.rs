//! Whether sidecars start in this cluster. A native sidecar whose image cannot be
//! pulled keeps its pod waiting, and no admission can see that beforehand; so the
//! injected pods are watched, and an image that fails is injected no more until a
//! pause is over. One that is there and does not run is not injected where it does not,
//! for that may be the namespace's or the pod's own doing; nor is one that cannot be
//! pulled, where it runs in other namespaces: its credentials may be missing there. One
//! that cannot be pulled otherwise is injected nowhere. Pure, given the time.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::ask::{ENGINE, NAME};

/// Where an image that fails is injected no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// In the whole cluster.
    Cluster,
    /// In the pod's namespace.
    Namespace,
}

/// What an injected pod's sidecar does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sidecar {
    /// It is not known yet, or it waits for something that is not ours.
    Waiting,
    /// It runs, or has run.
    Started,
    /// It does not start.
    Failing {
        /// What the kubelet says.
        why: String,
        cause: Cause,
    },
}

/// What keeps a sidecar from starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Its image cannot be had.
    Pull,
    /// It is there, and does not run.
    Run,
}

/// Why a container does not start, as the kubelet says it (`state.waiting.reason`).
const FAILURES: [(&str, Cause); 9] = [
    ("ErrImagePull", Cause::Pull),
    ("ImagePullBackOff", Cause::Pull),
    ("ErrImageNeverPull", Cause::Pull),
    ("InvalidImageName", Cause::Pull),
    ("ImageInspectError", Cause::Pull),
    ("CreateContainerConfigError", Cause::Run),
    ("CreateContainerError", Cause::Run),
    ("RunContainerError", Cause::Run),
    ("CrashLoopBackOff", Cause::Run),
];

/// What the kubelet says of the containers of one list.
fn statuses<'a>(pod: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    pod["status"][list].as_array().into_iter().flatten()
}

/// Whether a container runs or has run.
fn has_run(status: &Value) -> bool {
    let (now, before) = (&status["state"], &status["lastState"]);
    [&now["running"], &now["terminated"], &before["terminated"]].iter().any(|s| !s.is_null())
}

fn failure(status: &Value) -> Option<Sidecar> {
    let waiting = &status["state"]["waiting"];
    let (reason, cause) = FAILURES.iter().find(|(reason, _)| waiting["reason"] == *reason)?;
    // Few pods have an engine of their own: the others are to have their sidecars.
    let cause = if status["name"] == ENGINE { Cause::Run } else { *cause };
    let message = waiting["message"].as_str().unwrap_or("no message");
    Some(Sidecar::Failing { why: format!("{reason}: {message}"), cause })
}

/// The image of an injected pod's sidecar and what it does, out of the pod as JSON.
#[must_use]
pub(crate) fn look(pod: &Value) -> Option<(String, Sidecar)> {
    let containers = pod.pointer("/spec/initContainers")?.as_array()?;
    let place = containers.iter().position(|c| c["name"] == NAME)?;
    let image = containers.get(place)?["image"].as_str()?.to_owned();
    // The kubelet starts these once the sidecar has started: whatever ails it after
    // that does not keep the agent waiting.
    let later: Vec<&Value> = containers.iter().skip(place + 1).map(|c| &c["name"]).collect();
    let has_started = |status: &Value| {
        (status["name"] == NAME && status["started"] == true)
            || (later.contains(&&status["name"]) && has_run(status))
    };
    let started = statuses(pod, "containerStatuses").any(has_run)
        || statuses(pod, "initContainerStatuses").any(has_started);
    let failing = || {
        let ours = |s: &&Value| s["name"] == NAME || s["name"] == ENGINE;
        statuses(pod, "initContainerStatuses").filter(ours).find_map(failure)
    };
    let sidecar = if started { Sidecar::Started } else { failing().unwrap_or(Sidecar::Waiting) };
    Some((image, sidecar))
}

/// Remembers every injected pod, and which images are not to be injected.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    pods: BTreeMap<String, Pod>,
    /// By image, and by the namespace where it is not injected; empty for all of them.
    open: BTreeMap<(String, String), Open>,
}

#[derive(Debug)]
struct Pod {
    namespace: String,
    image: String,
    sidecar: Sidecar,
}

/// The pods of an image in one place.
#[derive(Default)]
struct Seen {
    failing: usize,
    runs: bool,
}

#[derive(Debug)]
struct Open {
    why: String,
    cause: Cause,
    until: i64,
    times: u32,
}

/// The pause after an image has failed; it doubles with each further failure.
const PAUSE: Duration = Duration::from_secs(600);

/// Sixteenfold at most, some three hours.
const DOUBLINGS: u32 = 4;

/// An image that is injected no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tripped {
    /// Which.
    pub(crate) image: String,
    /// Where.
    pub(crate) reach: Reach,
    /// The pod that showed it: namespace and name.
    pub(crate) pod: (String, String),
    /// What the kubelet said.
    pub(crate) why: String,
}

impl Breaker {
    /// A pod was added or changed. Tells when its image has just been given up.
    pub(crate) fn see(&mut self, uid: &str, pod: &Value, now: i64) -> Option<Tripped> {
        let (image, seen) = look(pod)?;
        let text = |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let namespace = text("/metadata/namespace");
        let before = self.pods.get(uid).map(|p| p.sidecar.clone());
        // The kubelet forgets that a sidecar has started when it starts it again.
        let sidecar = if before == Some(Sidecar::Started) { Sidecar::Started } else { seen };
        if sidecar == Sidecar::Started {
            for scope in ["", namespace.as_str()] {
                let place = (image.clone(), scope.to_owned());
                if self.open.get(&place).is_some_and(|open| now >= open.until) {
                    self.open.remove(&place);
                }
            }
        }
        let kept = Pod { namespace: namespace.clone(), image: image.clone(), sidecar: sidecar.clone() };
        self.pods.insert(uid.to_owned(), kept);
        let Sidecar::Failing { why, cause } = sidecar else { return None };
        let is_known = matches!(before, Some(Sidecar::Failing { cause: c, .. }) if c == cause);
        if is_known || self.paused(&image, &namespace, now).is_some() {
            return None;
        }
        let reach = self.to_blame(&image, cause, &namespace, now)?;
        let scope = if reach == Reach::Cluster { String::new() } else { namespace.clone() };
        let place = (image.clone(), scope);
        let times = self.open.get(&place).map_or(0, |o| o.times + 1);
        let pause = i64::try_from(PAUSE.as_secs()).unwrap_or(i64::MAX) << times.min(DOUBLINGS);
        self.open.insert(place, Open { why: why.clone(), cause, until: now + pause, times });
        Some(Tripped { image, reach, pod: (namespace, text("/metadata/name")), why })
    }

    /// Where an image is to blame for a pod of it that fails, if it is.
    ///
    /// One failing pod among many that run may be its node's misfortune; two, or one
    /// without any that runs, are the image's.
    fn to_blame(&self, image: &str, cause: Cause, namespace: &str, now: i64) -> Option<Reach> {
        let fails = |p: &Pod| matches!(p.sidecar, Sidecar::Failing { cause: c, .. } if c == cause);
        let (mut near, mut far) = (Seen::default(), Seen::default());
        for pod in self.pods.values().filter(|p| p.image == image) {
            let seen = if pod.namespace == namespace { &mut near } else { &mut far };
            seen.runs |= pod.sidecar == Sidecar::Started;
            seen.failing += usize::from(fails(pod));
        }
        // Where it was given up before, pods may have been created anew without it.
        let is_elsewhere =
            |(i, scope): &(String, String)| i == image && !scope.is_empty() && scope != namespace;
        let given_up =
            self.open.iter().any(|(place, o)| is_elsewhere(place) && o.cause == cause && now < o.until);
        let fails_elsewhere = far.failing > 0 || given_up;
        let reach = match cause {
            Cause::Run => Reach::Namespace,
            Cause::Pull if far.runs && !fails_elsewhere => Reach::Namespace,
            Cause::Pull => Reach::Cluster,
        };
        let (failing, runs) = match reach {
            Reach::Namespace => (near.failing, near.runs),
            Reach::Cluster => (near.failing + usize::from(fails_elsewhere), near.runs || far.runs),
        };
        (failing > usize::from(runs)).then_some(reach)
    }

    /// A pod is gone; its namespace, where that was the last one of it.
    pub(crate) fn forget(&mut self, uid: &str) -> Option<String> {
        let namespace = self.pods.remove(uid)?.namespace;
        let is_last = !self.pods.values().any(|p| p.namespace == namespace);
        is_last.then_some(namespace)
    }

    /// Every pod but these is gone.
    pub(crate) fn keep(&mut self, uids: &BTreeSet<String>) {
        self.pods.retain(|uid, _| uids.contains(uid));
    }

    /// Why this image is not injected in this namespace now, if so.
    #[must_use]
    pub(crate) fn paused(&self, image: &str, namespace: &str, now: i64) -> Option<&str> {
        ["", namespace].into_iter().find_map(|scope| {
            let open = self.open.get(&(image.to_owned(), scope.to_owned()))?;
            (now < open.until).then_some(open.why.as_str())
        })
    }

    /// Every image that is not injected now, and the namespace where it is not; empty
    /// for all of them.
    #[must_use]
    pub(crate) fn all_paused(&self, now: i64) -> Vec<(String, String)> {
        self.open.iter().filter(|(_, o)| now < o.until).map(|(place, _)| place.clone()).collect()
    }

    /// The namespaces that have injected pods.
    #[must_use]
    pub(crate) fn namespaces(&self) -> BTreeSet<String> {
        self.pods.values().map(|p| p.namespace.clone()).collect()
    }
}
