//! What is counted in many places, for Prometheus.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use understudy_capture::Journal;
use understudy_gateway::Counters;

use super::Wings;
use crate::engine_child::Health;
use crate::metrics::{Kind, Metrics, Read};
use crate::serve::rows;
use crate::telemetry::Outward;

impl Wings {
    /// Adds what is counted elsewhere to the metrics.
    pub(crate) fn count(&self, metrics: &Metrics, counters: &Arc<Counters>, outward: Option<Outward>) {
        let one = |n: u64| vec![(String::new(), n as f64)];
        let add = |name, help, kind, label, values: Box<dyn Fn() -> Vec<(String, f64)> + Send + Sync>| {
            metrics.read(Read { name, help, kind, label, values });
        };
        let number = |name, help, kind, of: fn(&Counters) -> u64| {
            let c = Arc::clone(counters);
            add(name, help, kind, None, Box::new(move || one(of(&c))));
        };
        let c = Arc::clone(counters);
        add(
            "fallbacks",
            "Calls of serving tasks that went to the provider",
            Kind::Counter,
            Some("reason"),
            Box::new(move || c.fallbacks().map(|(why, n)| (why.to_owned(), n as f64)).collect()),
        );
        let c = Arc::clone(counters);
        add(
            "errors",
            "Errors that the gateway answered with, by whose fault",
            Kind::Counter,
            Some("fault"),
            Box::new(move || c.faults().iter().map(|(who, n)| ((*who).to_owned(), *n as f64)).collect()),
        );
        number("served", "Calls that an understudy answered", Kind::Counter, Counters::served);
        number("audits", "Served calls that the provider was asked too", Kind::Counter, Counters::audits);
        number(
            "audits_dropped",
            "Audits dropped because too many were under way",
            Kind::Counter,
            Counters::audits_dropped,
        );
        number("connections", "Connections from agents", Kind::Gauge, Counters::connections);
        number(
            "connections_refused",
            "Connections refused for being too many",
            Kind::Counter,
            Counters::connections_refused,
        );
        if let Some(outward) = outward {
            add(
                "telemetry_dropped",
                "Calls and trials that telemetry had no room for",
                Kind::Counter,
                None,
                Box::new(move || one(outward.dropped())),
            );
        }
        let stopped = Arc::clone(&self.stopped);
        add(
            "stopped",
            "1 while the kill switch is on",
            Kind::Gauge,
            None,
            Box::new(move || one(u64::from(stopped.load(Ordering::Acquire)))),
        );
        let roster = Arc::clone(&self.roster);
        add(
            "serving",
            "Tasks that an understudy may answer",
            Kind::Gauge,
            None,
            Box::new(move || {
                let now = roster.load();
                one(if now.stopped { 0 } else { now.tasks.len() as u64 })
            }),
        );
        let recording = self.journal.is_ok();
        add(
            "recording",
            "1 while calls are recorded",
            Kind::Gauge,
            None,
            Box::new(move || one(u64::from(recording))),
        );
        if let Ok(journal) = &self.journal {
            let j = journal.clone();
            add(
                "drops",
                "Exchanges that were not recorded",
                Kind::Counter,
                Some("reason"),
                Box::new(move || {
                    j.drops().into_iter().map(|(why, n)| (why.label().to_owned(), n as f64)).collect()
                }),
            );
            let number = |name, help, kind, of: fn(&Journal) -> u64| {
                let j = journal.clone();
                add(name, help, kind, None, Box::new(move || one(of(&j))));
            };
            number("journal_bytes", "Size of the journal", Kind::Gauge, |j| j.stats().bytes);
            number("journal_queued_bytes", "What waits to be written", Kind::Gauge, |j| {
                j.stats().queued_bytes
            });
            number("journal_durable_seq", "The last durable record", Kind::Gauge, |j| j.durable_seq());
            number("journal_set_aside", "Volumes that did not open", Kind::Counter, |j| j.stats().set_aside);
        }
        if let Some((shown, _)) = &self.worker {
            let (shown, steps, prices) = (Arc::clone(shown), self.steps, self.prices.clone());
            metrics.read_tasks(move |most| {
                shown.load().reports.iter().take(most).map(|r| rows::row(r, steps, &prices)).collect()
            });
        }
        if let Some((health, counts)) = self.engine.clone() {
            add(
                "engine_up",
                "1 while the engine answers",
                Kind::Gauge,
                None,
                Box::new(move || one(u64::from(matches!(*health.borrow(), Health::Ready(_))))),
            );
            add(
                "engine_kills",
                "Times the engine was killed",
                Kind::Counter,
                Some("reason"),
                Box::new(move || {
                    let c = *counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    vec![("hung".into(), c.hung as f64), ("memory".into(), c.memory as f64)]
                }),
            );
        }
    }
}
