//! What the parts of the injector share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use kube::Client;

use crate::Settings;
use crate::breaker::Breaker;
use crate::clock::now;
use crate::metrics::Metrics;
use crate::namespaces::Namespaces;
use crate::pod::Around;
use crate::policies::Policies;
use crate::policies::callers::Callers;
use crate::understudies::{Given, Understudies};

/// The settings, the cluster, and what is known of it.
pub(crate) struct Service {
    pub(crate) settings: Settings,
    pub(crate) client: Client,
    pub(crate) namespaces: Namespaces,
    pub(crate) metrics: Metrics,
    pub(crate) policies: Policies,
    pub(crate) understudies: Understudies,
    /// Who may ask for policies, where they are served.
    pub(crate) callers: Option<Callers>,
    breaker: Mutex<Breaker>,
    trusted: RwLock<String>,
    ending: AtomicBool,
}

impl Service {
    /// `home` is the namespace that the injector runs in.
    pub(crate) fn new(settings: Settings, home: &str, client: Client) -> Self {
        Self {
            policies: Policies::new(home),
            understudies: Understudies::new(home),
            callers: settings.policies.as_ref().map(|p| Callers::new(client.clone(), &p.audience)),
            settings,
            namespaces: Namespaces::new(client.clone()),
            client,
            metrics: Metrics::default(),
            breaker: Mutex::default(),
            trusted: RwLock::default(),
            ending: AtomicBool::new(false),
        }
    }

    pub(crate) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The authorities whom sidecars are to trust, PEM; empty until they are known.
    pub(crate) fn trusted(&self) -> String {
        self.trusted.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn trust(&self, trusted: String) {
        *self.trusted.write().unwrap_or_else(PoisonError::into_inner) = trusted;
    }

    /// From now on each answer is its connection's last.
    pub(crate) fn take_leave(&self) {
        self.ending.store(true, Ordering::Release);
    }

    pub(crate) fn takes_leave(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    pub(crate) fn is_ready(&self) -> bool {
        !self.trusted().is_empty()
    }
}

impl Around for Service {
    fn paused(&self, image: &str, namespace: &str) -> Option<String> {
        self.breaker().paused(image, namespace, now()).map(str::to_owned)
    }

    fn understudies(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Vec<Given> {
        self.understudies.of(namespace, labels)
    }
}
