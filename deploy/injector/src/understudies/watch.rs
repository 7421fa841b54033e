//! Reads the understudies and goes on reading them; what pods have of them is written
//! into their status.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::api::PostParams;
use kube::core::DeserializeGuard;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};

use super::Understudy;
use crate::policies::key;
use crate::service::Service;

/// Between two writings.
const PERIOD: Duration = Duration::from_secs(1);

/// Watches until dropped.
pub(crate) async fn watch(service: Arc<Service>) {
    // One that cannot be read, of a newer definition say, must not hide the others.
    let all: Api<DeserializeGuard<Understudy>> = Api::all(service.client.clone());
    let mut events = pin!(watcher(all, watcher::Config::default()).default_backoff());
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(found)) => {
                listed.insert(key(&found));
                set(&service, found);
            }
            Ok(watcher::Event::InitDone) => service.understudies.listed(&listed),
            Ok(watcher::Event::Apply(found)) => set(&service, found),
            Ok(watcher::Event::Delete(found)) => service.understudies.remove(&key(&found)),
            // No definition, or no API server: what was read last goes on holding.
            Err(e) => {
                tracing::warn!(error = &e as &dyn std::error::Error, "Understudies cannot be watched");
            }
        }
    }
}

/// What was read last goes on holding where the new one cannot be read.
fn set(service: &Service, found: DeserializeGuard<Understudy>) {
    match found.0 {
        Ok(understudy) => service.understudies.set(understudy),
        Err(e) => tracing::error!(
            namespace = e.metadata.namespace,
            name = e.metadata.name,
            why = e.error,
            "an understudy cannot be read"
        ),
    }
}

/// Writes until dropped. Every replica sees the same pods, so it does not matter who
/// is first.
pub(crate) async fn write(service: Arc<Service>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        for understudy in service.understudies.told() {
            let (namespace, name) = (understudy.namespace().unwrap_or_default(), understudy.name_any());
            let all: Api<Understudy> = Api::namespaced(service.client.clone(), &namespace);
            match all.replace_status(&name, &PostParams::default(), &understudy).await {
                Ok(_) => {}
                Err(kube::Error::Api(e)) if e.is_conflict() || e.is_not_found() => {}
                Err(e) => {
                    let error: &dyn std::error::Error = &e;
                    tracing::warn!(namespace, name, error, "its status was not written");
                }
            }
        }
    }
}
