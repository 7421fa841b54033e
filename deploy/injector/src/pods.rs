//! Watches injected pods for sidecars that do not start.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};

use crate::ask::{INJECTED, STATUS};
use crate::breaker::{Reach, Sidecar, Tripped, look};
use crate::clock::now;
use crate::namespaces::OWNER;
use crate::pod::has;
use crate::resources::{Key, key};
use crate::service::Service;

/// Watches until dropped.
pub(crate) async fn watch(service: Arc<Service>) {
    let pods: Api<Pod> = Api::all(service.client.clone());
    let config = watcher::Config::default().labels(&format!("{INJECTED}=true"));
    let mut events = pin!(watcher(pods, config).default_backoff());
    let mut list = List::default();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => take(&service, &mut list, event).await,
            Err(e) => tracing::warn!(error = &e as &dyn std::error::Error, "injected pods cannot be watched"),
        }
    }
}

/// The list of all pods as it comes in, one after the other.
#[derive(Default)]
struct List {
    uids: BTreeSet<String>,
    keys: BTreeSet<Key>,
    /// Sidecars that do not start, to be judged when the list is whole: those of the same
    /// image that run may come after them.
    failing: Vec<Pod>,
}

async fn take(service: &Service, list: &mut List, event: watcher::Event<Pod>) {
    match event {
        watcher::Event::Init => *list = List::default(),
        watcher::Event::InitApply(pod) => {
            list.uids.extend(pod.uid());
            list.keys.insert(key(&pod));
            if fails(&pod) { list.failing.push(pod) } else { see(service, &pod).await }
        }
        watcher::Event::InitDone => {
            service.breaker().keep(&list.uids);
            for pod in std::mem::take(&mut list.failing) {
                see(service, &pod).await;
            }
            let left = service.breaker().namespaces();
            service.namespaces.keep(&left);
            service.policies.pods_listed(&list.keys);
            service.understudies.pods_listed(&list.keys);
        }
        watcher::Event::Apply(pod) => see(service, &pod).await,
        watcher::Event::Delete(pod) => {
            let emptied = service.breaker().forget(&pod.uid().unwrap_or_default());
            if let Some(namespace) = emptied {
                service.namespaces.forget(&namespace);
            }
            service.policies.remove_pod(&key(&pod));
            service.understudies.remove_pod(&key(&pod));
        }
    }
}

/// Whether a pod's sidecar does not start, as the pod itself tells.
fn fails(pod: &Pod) -> bool {
    let seen = serde_json::to_value(pod).ok().and_then(|json| look(&json));
    matches!(seen, Some((_, Sidecar::Failing { .. })))
}

async fn see(service: &Service, pod: &Pod) {
    service.policies.set_pod(key(pod), pod.uid().unwrap_or_default(), pod.labels().clone());
    let status = pod.annotations().get(STATUS).map(String::as_str);
    service.understudies.set_pod(key(pod), pod.labels().clone(), has(status));
    let Ok(json) = serde_json::to_value(pod) else { return };
    let tripped = service.breaker().see(&pod.uid().unwrap_or_default(), &json, now());
    if let Some(tripped) = tripped {
        service.metrics.tripped();
        tracing::error!(
            image = tripped.image,
            namespace = tripped.pod.0,
            pod = tripped.pod.1,
            why = tripped.why,
            "sidecars of this image do not start; it is injected no more {} for a while",
            place(tripped.reach)
        );
        tell(service, pod, &tripped).await;
    }
}

/// Where it is injected no more.
fn place(reach: Reach) -> &'static str {
    match reach {
        Reach::Cluster => "in the cluster",
        Reach::Namespace => "in this namespace",
    }
}

/// An event at the pod that showed it.
async fn tell(service: &Service, pod: &Pod, tripped: &Tripped) {
    let reporter = Reporter { controller: OWNER.to_owned(), instance: None };
    let recorder = Recorder::new(service.client.clone(), reporter);
    let about = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        uid: pod.uid(),
        ..ObjectReference::default()
    };
    let note = format!(
        "the sidecar's image {} does not start ({}); pods are no longer injected with it {} for a while, and \
         this one starts without it when it is created anew",
        tripped.image,
        tripped.why,
        place(tripped.reach)
    );
    let event = Event {
        type_: EventType::Warning,
        reason: "SidecarDoesNotStart".to_owned(),
        // The API server's limit is 1,024 bytes.
        note: Some(note.chars().take(900).collect()),
        action: "Inject".to_owned(),
        secondary: None,
    };
    if let Err(e) = recorder.publish(&event, &about).await {
        tracing::warn!(error = &e as &dyn std::error::Error, "the event could not be written");
    }
}
