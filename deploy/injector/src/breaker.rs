//! Whether sidecars start in this cluster. A native sidecar whose image cannot be
//! pulled keeps its pod waiting, and no admission can see that beforehand; so the
//! injected pods are watched, and an image that fails is injected no more until a
//! pause is over. Pure, given the time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::sidecar::{ENGINE, NAME};

/// What an injected pod's sidecar does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sidecar {
    /// It is not known yet, or it waits for something that is not ours.
    Waiting,
    /// It runs, or has run.
    Started,
    /// It does not start, and why.
    Failing(String),
}

/// Why a container does not start, as the kubelet says it (`state.waiting.reason`).
const FAILURES: [&str; 9] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
];

/// The image of an injected pod's sidecar and what it does, out of the pod as JSON.
#[must_use]
pub(crate) fn look(pod: &Value) -> Option<(String, Sidecar)> {
    let ours = |c: &&Value| c["name"] == NAME || c["name"] == ENGINE;
    let containers = pod.pointer("/spec/initContainers")?.as_array()?;
    let image = containers.iter().find(|c| c["name"] == NAME)?["image"].as_str()?.to_owned();
    let statuses = pod.pointer("/status/initContainerStatuses").and_then(Value::as_array);
    let ours: Vec<&Value> = statuses.into_iter().flatten().filter(ours).collect();
    let failing = ours.iter().find_map(|status| {
        let waiting = &status["state"]["waiting"];
        let reason = waiting["reason"].as_str().filter(|r| FAILURES.contains(r))?;
        // One that ran and fell is the kubelet's to restart: the agent is up.
        let ran = reason == "CrashLoopBackOff" && status["lastState"]["terminated"]["exitCode"] == 0;
        (!ran).then(|| format!("{reason}: {}", waiting["message"].as_str().unwrap_or("no message")))
    });
    let main_runs = pod.pointer("/status/containerStatuses").and_then(Value::as_array).is_some_and(|all| {
        all.iter().any(|s| !s["state"]["running"].is_null() || !s["state"]["terminated"].is_null())
    });
    let started = main_runs || ours.iter().any(|s| s["name"] == NAME && s["started"] == true);
    Some((
        image,
        match failing {
            // The agent runs: whatever ails the sidecar does not keep it waiting.
            Some(why) if !started => Sidecar::Failing(why),
            _ if started => Sidecar::Started,
            _ => Sidecar::Waiting,
        },
    ))
}

/// Remembers every injected pod, and which images are not to be injected.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    pods: BTreeMap<String, Pod>,
    open: BTreeMap<String, Open>,
}

#[derive(Debug)]
struct Pod {
    namespace: String,
    image: String,
    sidecar: Sidecar,
}

#[derive(Debug)]
struct Open {
    why: String,
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
    /// The pod that showed it: namespace and name.
    pub(crate) pod: (String, String),
    /// What the kubelet said.
    pub(crate) why: String,
}

impl Breaker {
    /// A pod was added or changed. Tells when its image has just been given up.
    pub(crate) fn see(&mut self, uid: &str, pod: &Value, now: i64) -> Option<Tripped> {
        let (image, sidecar) = look(pod)?;
        let text = |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let namespace = text("/metadata/namespace");
        let failing = match &sidecar {
            Sidecar::Failing(why) => Some(why.clone()),
            _ => None,
        };
        let was_failing = self.pods.get(uid).is_some_and(|p| matches!(p.sidecar, Sidecar::Failing(_)));
        if sidecar == Sidecar::Started
            && let Some(open) = self.open.get(&image)
            && now >= open.until
        {
            self.open.remove(&image);
        }
        self.pods.insert(uid.to_owned(), Pod { namespace: namespace.clone(), image: image.clone(), sidecar });
        let why = failing.filter(|_| !was_failing)?;
        if self.paused(&image, now).is_some() || !self.is_to_blame(&image) {
            return None;
        }
        let times = self.open.get(&image).map_or(0, |o| o.times + 1);
        let pause = i64::try_from(PAUSE.as_secs()).unwrap_or(i64::MAX) << times.min(DOUBLINGS);
        self.open.insert(image.clone(), Open { why: why.clone(), until: now + pause, times });
        Some(Tripped { image, pod: (namespace, text("/metadata/name")), why })
    }

    /// One failing pod among many that run may be its node's misfortune; two, or one
    /// without any that runs, are the image's.
    fn is_to_blame(&self, image: &str) -> bool {
        let of = |wanted: fn(&Sidecar) -> bool| {
            self.pods.values().filter(|p| p.image == image && wanted(&p.sidecar)).count()
        };
        of(|s| matches!(s, Sidecar::Failing(_))) > usize::from(of(|s| *s == Sidecar::Started) > 0)
    }

    /// A pod is gone.
    pub(crate) fn forget(&mut self, uid: &str) {
        self.pods.remove(uid);
    }

    /// Every pod but these is gone.
    pub(crate) fn keep(&mut self, uids: &std::collections::BTreeSet<String>) {
        self.pods.retain(|uid, _| uids.contains(uid));
    }

    /// Why this image is not injected now, if so.
    #[must_use]
    pub(crate) fn paused(&self, image: &str, now: i64) -> Option<&str> {
        self.open.get(image).filter(|o| now < o.until).map(|o| o.why.as_str())
    }

    /// Every image that is not injected now.
    #[must_use]
    pub(crate) fn all_paused(&self, now: i64) -> Vec<&str> {
        self.open.iter().filter(|(_, o)| now < o.until).map(|(image, _)| image.as_str()).collect()
    }

    /// The namespaces that have injected pods.
    #[must_use]
    pub(crate) fn namespaces(&self) -> std::collections::BTreeSet<String> {
        self.pods.values().map(|p| p.namespace.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    fn pod(image: &str, status: &Value) -> Value {
        json!({
            "metadata": {"namespace": "demo", "name": "agent-1"},
            "spec": {"initContainers": [{"name": NAME, "image": image}], "containers": [{"name": "agent"}]},
            "status": status,
        })
    }

    fn unpullable() -> Value {
        json!({"initContainerStatuses": [{"name": NAME, "started": false,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such host"}}}]})
    }

    fn running() -> Value {
        json!({"initContainerStatuses": [{"name": NAME, "started": true, "state": {"running": {}}}]})
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_given_up_at_the_first_pod_where_none_runs() {
        let mut breaker = Breaker::default();
        let tripped = breaker.see("1", &pod("a:1", &unpullable()), 0).unwrap();
        assert_eq!((tripped.image.as_str(), tripped.pod.1.as_str()), ("a:1", "agent-1"));
        assert!(tripped.why.contains("ImagePullBackOff: no such host"), "{}", tripped.why);
        assert!(breaker.paused("a:1", 1).is_some() && breaker.paused("a:2", 1).is_none());
        // Told once.
        assert_eq!(breaker.see("1", &pod("a:1", &unpullable()), 2), None);
        assert_eq!(breaker.see("2", &pod("a:1", &unpullable()), 3), None);
    }

    #[test]
    fn one_failing_pod_among_running_ones_is_its_nodes_misfortune() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.see("1", &pod("a:1", &running()), 0), None);
        assert_eq!(breaker.see("2", &pod("a:1", &unpullable()), 1), None);
        assert!(breaker.see("3", &pod("a:1", &unpullable()), 2).is_some());
    }

    #[test]
    fn after_the_pause_one_pod_tries_and_the_next_pause_is_longer() {
        let mut breaker = Breaker::default();
        breaker.see("1", &pod("a:1", &unpullable()), 0).unwrap();
        assert!(breaker.paused("a:1", 599).is_some() && breaker.paused("a:1", 600).is_none());
        breaker.forget("1");
        breaker.see("2", &pod("a:1", &unpullable()), 700).unwrap();
        assert!(breaker.paused("a:1", 700 + 1_199).is_some() && breaker.paused("a:1", 1_900).is_none());
        // One that starts closes it for good.
        breaker.see("3", &pod("a:1", &running()), 2_000);
        breaker.forget("2");
        breaker.forget("3");
        breaker.see("4", &pod("a:1", &unpullable()), 3_000).unwrap();
        assert!(breaker.paused("a:1", 3_599).is_some() && breaker.paused("a:1", 3_600).is_none());
    }

    #[test]
    fn a_sidecar_that_falls_while_the_agent_runs_keeps_nobody_waiting() {
        let mut status = unpullable();
        status["containerStatuses"] = json!([{"name": "agent", "state": {"running": {}}}]);
        assert_eq!(look(&pod("a:1", &status)).unwrap().1, Sidecar::Started);
    }

    #[test]
    fn pods_without_a_sidecar_or_a_status_say_nothing() {
        assert_eq!(look(&json!({"spec": {"containers": []}})), None);
        assert_eq!(look(&pod("a:1", &Value::Null)).unwrap().1, Sidecar::Waiting);
    }
}
