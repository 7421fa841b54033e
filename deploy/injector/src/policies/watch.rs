//! Reads the policies and goes on reading them.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt as _;
use kube::Api;
use kube::core::DeserializeGuard;
use kube::runtime::{WatchStreamExt as _, watcher};

use super::key;
use crate::crd::UnderstudyPolicy;
use crate::service::Service;

/// Watches until dropped.
pub(crate) async fn watch(service: Arc<Service>) {
    // One that cannot be read, of a newer definition say, must not hide the others.
    let policies: Api<DeserializeGuard<UnderstudyPolicy>> = Api::all(service.client.clone());
    let mut events = pin!(watcher(policies, watcher::Config::default()).default_backoff());
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(found)) => {
                listed.insert(key(&found));
                set(&service, found);
            }
            Ok(watcher::Event::InitDone) => service.policies.listed(&listed),
            Ok(watcher::Event::Apply(found)) => set(&service, found),
            Ok(watcher::Event::Delete(found)) => service.policies.remove(&key(&found)),
            // No definition, or no API server: what was read last goes on holding.
            Err(e) => {
                tracing::warn!(error = &e as &dyn std::error::Error, "UnderstudyPolicies cannot be watched");
            }
        }
    }
}

/// What was read last goes on holding where the new one cannot be read.
fn set(service: &Service, found: DeserializeGuard<UnderstudyPolicy>) {
    match found.0 {
        Ok(policy) => service.policies.set(policy),
        Err(e) => tracing::error!(
            namespace = e.metadata.namespace,
            name = e.metadata.name,
            why = e.error,
            "a policy cannot be read"
        ),
    }
}
