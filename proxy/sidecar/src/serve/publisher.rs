//! Publishes the tasks that serve to the gateway: the worker's word, less what a
//! cluster's policy holds back.
//!
//! The worker moves tasks on its own time, between two trials. A policy that takes
//! tasks back must not wait for that, so it is laid over the worker's word here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use understudy_policy::{Roster, RosterTask};

use super::source::document::Document;

/// The roster's writer.
pub(crate) struct Publisher {
    roster: Arc<ArcSwap<Roster>>,
    stopped: Arc<AtomicBool>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    tasks: Vec<RosterTask>,
    policy: Arc<Document>,
}

impl Publisher {
    /// The kill switch stays where a person put it.
    pub(crate) fn new(roster: Arc<ArcSwap<Roster>>, stopped: Arc<AtomicBool>) -> Self {
        Self { roster, stopped, inner: Mutex::default() }
    }

    /// The worker's tasks.
    pub(crate) fn publish(&self, tasks: Vec<RosterTask>) {
        self.change(|inner| inner.tasks = tasks);
    }

    /// The policy that may hold tasks back.
    pub(crate) fn come_under(&self, policy: Arc<Document>) {
        self.change(|inner| inner.policy = policy);
    }

    fn change(&self, what: impl FnOnce(&mut Inner)) {
        // Held until the roster is stored, so that the last word is what stays.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        what(&mut inner);
        let held = |t: &RosterTask| inner.policy.holds_back(&t.task.to_string(), &t.name);
        let tasks: Vec<_> = inner.tasks.iter().filter(|t| !held(t)).cloned().collect();
        self.roster.rcu(|now| Roster {
            version: now.version + 1,
            stopped: self.stopped.load(Ordering::Acquire),
            tasks: tasks.clone(),
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn task(id: u8, name: &str) -> RosterTask {
        serde_json::from_value(json!({
            "task": format!("{id:016x}"), "name": name, "form": "00".repeat(16), "credential": null,
            "stage": "live", "share": 1.0, "audit": 0.05, "control": 0.05, "budget_ms": 500.0, "entries": [],
        }))
        .unwrap()
    }

    fn policy(policies: serde_json::Value) -> Arc<Document> {
        Arc::new(serde_json::from_value(json!({"version": "1", "policies": policies})).unwrap())
    }

    #[test]
    fn what_a_policy_holds_back_does_not_serve_whatever_the_worker_says() {
        let roster = Arc::new(ArcSwap::from_pointee(Roster::default()));
        let stopped = Arc::new(AtomicBool::new(true));
        let publisher = Publisher::new(Arc::clone(&roster), Arc::clone(&stopped));
        let names = || roster.load().tasks.iter().map(|t| t.name.clone()).collect::<Vec<_>>();
        let both = || vec![task(1, "route"), task(2, "look-up")];
        publisher.publish(both());
        assert_eq!(names(), ["route", "look-up"]);
        let version = roster.load().version;
        publisher.come_under(policy(json!([
            {"name": "a/all", "stage": "shadowing"}, {"name": "a/one", "task": "look-up", "stage": "live"},
        ])));
        assert_eq!(names(), ["look-up"]);
        assert!(roster.load().version > version && roster.load().stopped, "the kill switch stays");
        publisher.publish(both());
        assert_eq!(names(), ["look-up"], "the worker's word comes after");
        publisher.come_under(policy(
            json!([{"name": "a/one", "task": format!("{:016x}", 1), "stage": "shadowing"}]),
        ));
        assert_eq!(names(), ["look-up"], "by its id");
        publisher.come_under(policy(json!([])));
        assert_eq!(names(), ["route", "look-up"]);
    }
}
