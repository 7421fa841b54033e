//! Custom resources: read, and read on; and their status, written.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::pin::pin;

use futures_util::StreamExt as _;
use kube::api::PostParams;
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An object's namespace and name.
pub(crate) type Key = (String, String);

/// What an object is found by.
pub(crate) fn key(object: &impl ResourceExt) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// As sidecars and their reports name an object.
pub(crate) fn full_name((namespace, name): &Key) -> String {
    format!("{namespace}/{name}")
}

/// Where the resources of a kind are kept.
pub(crate) trait Shelf {
    /// The kind.
    type Kind: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static;

    fn set(&self, found: Self::Kind);
    fn remove(&self, key: &Key);
    /// The list is whole: what is not on it is no more.
    fn listed(&self, listed: &BTreeSet<Key>);
}

/// Reads all of a kind, and goes on until dropped.
pub(crate) async fn watch<S: Shelf>(client: Client, shelf: &S) {
    let kind = S::Kind::kind(&());
    // One that cannot be read, of a newer definition say, must not hide the others, and
    // what was read of it last goes on holding.
    let set = |found: DeserializeGuard<S::Kind>| match found.0 {
        Ok(found) => shelf.set(found),
        Err(e) => tracing::error!(
            %kind,
            namespace = e.metadata.namespace,
            name = e.metadata.name,
            why = e.error,
            "it cannot be read"
        ),
    };
    let all: Api<DeserializeGuard<S::Kind>> = Api::all(client);
    let mut events = pin!(watcher(all, watcher::Config::default()).default_backoff());
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(found)) => {
                listed.insert(key(&found));
                set(found);
            }
            Ok(watcher::Event::InitDone) => shelf.listed(&listed),
            Ok(watcher::Event::Apply(found)) => set(found),
            Ok(watcher::Event::Delete(found)) => shelf.remove(&key(&found)),
            // No definition, or no API server: what was read last goes on holding.
            Err(e) => {
                tracing::warn!(%kind, error = &e as &dyn std::error::Error, "it cannot be watched");
            }
        }
    }
}

/// Writes the status that an object has. Where somebody was faster, theirs is read
/// first, and ours comes next time.
pub(crate) async fn write_status<K>(client: &Client, object: &K)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize,
{
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let all: Api<K> = Api::namespaced(client.clone(), &namespace);
    match all.replace_status(&name, &PostParams::default(), object).await {
        Ok(_) => {}
        Err(kube::Error::Api(e)) if e.is_conflict() || e.is_not_found() => {}
        Err(e) => {
            let (kind, error): (_, &dyn std::error::Error) = (K::kind(&()), &e);
            tracing::warn!(%kind, namespace, name, error, "its status was not written");
        }
    }
}
