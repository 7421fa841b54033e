//! Publishes the tasks that serve to the gateway: the worker's word, less what a
//! cluster's policy holds back.
//!
//! The worker moves tasks on its own time, between two trials. A policy that takes
//! tasks back, or leaves out who serves them, must not wait for that, so it is laid
//! over the worker's word here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use understudy_policy::{Roster, RosterEntry, RosterTask};

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
        let tasks: Vec<_> = inner.tasks.iter().filter_map(|task| left(task, &inner.policy)).collect();
        self.roster.rcu(|now| Roster {
            version: now.version + 1,
            stopped: self.stopped.load(Ordering::Acquire),
            tasks: tasks.clone(),
        });
    }
}

/// What a policy leaves of the worker's word on a task.
fn left(task: &RosterTask, policy: &Document) -> Option<RosterTask> {
    let id = task.task.to_string();
    let permits = |e: &RosterEntry| policy.permits(&id, &task.name, &e.understudy);
    if policy.holds_back(&id, &task.name) || !task.entries.iter().all(permits) {
        return None;
    }
    let successor = task.successor.clone().filter(|s| permits(&s.entry));
    Some(RosterTask { successor, ..task.clone() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use understudy_policy::Successor;

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

    #[test]
    fn whom_a_policy_leaves_out_does_not_serve_and_a_successor_goes_alone() {
        let roster = Arc::new(ArcSwap::from_pointee(Roster::default()));
        let publisher = Publisher::new(Arc::clone(&roster), Arc::default());
        let entry = |k: u32, name: &str| -> RosterEntry {
            serde_json::from_value(json!({"k": k, "understudy": name, "bar": 0.5, "strata": [], "weak": []}))
                .unwrap()
        };
        let serves = RosterTask {
            entries: vec![entry(1, "head-0123456789ab")],
            successor: Some(Successor { share: 0.1, entry: entry(2, "remote-0123456789ab") }),
            ..task(1, "route")
        };
        let who = || {
            let now = roster.load();
            now.tasks.iter().map(|t| (t.entries.len(), t.successor.is_some())).collect::<Vec<_>>()
        };
        publisher.publish(vec![serves]);
        assert_eq!(who(), [(1, true)]);
        let models = |models: serde_json::Value| {
            publisher.come_under(policy(json!([{"name": "a/all", "policy": {"models": models}}])));
        };
        models(json!(["head"]));
        assert_eq!(who(), [(1, false)]);
        models(json!(["remote"]));
        assert!(who().is_empty(), "who has the place next is for the worker to say");
        models(json!(["head", "remote-0123456789ab"]));
        assert_eq!(who(), [(1, true)]);
    }
}
