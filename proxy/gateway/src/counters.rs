//! Why an understudy did not answer, whose fault an error was, and how often.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use understudy_call::{Declined, Ineligible};

/// Why a call of a task that serves went to the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fallback {
    /// The provider has not accepted this credential within the hour.
    NotAccepted,
    /// The provider limits this credential's rate at the moment.
    RateLimited,
    /// The body is longer than can be read and still be forwarded.
    TooLarge,
    /// The body's length is not said beforehand.
    UnknownLength,
    /// The body is not a request of its dialect; the provider will say so.
    Unparsed,
    /// A field of the request is one that an understudy cannot honour.
    Ineligible(Ineligible),
    /// It comes from a page in a browser, which reads only replies that the provider itself
    /// says it may read.
    Browser,
    /// It asks for a model as which the provider has not answered the task yet.
    OtherModel,
    /// An understudy answered the same messages less than a minute ago, or is being asked.
    Repeat,
    /// The understudy declined.
    Declined(Declined),
    /// The understudy that the roster names is not in the cast.
    Missing,
    /// The understudy's code panicked.
    Panicked,
}

const LABELS: [&str; 34] = [
    "not_accepted",
    "rate_limited",
    "too_large",
    "unknown_length",
    "unparsed",
    "browser",
    "other_model",
    "repeat",
    "missing",
    "panicked",
    "below_bar",
    "rare",
    "weak",
    "too_slow",
    "late",
    "busy",
    "too_long",
    "invalid",
    "novel",
    "unquoted",
    "deferred",
    "unavailable",
    "cancelled",
    "budget",
    "many_choices",
    "logprobs",
    "logit_bias",
    "stored_state",
    "hosted_tool",
    "media",
    "reasoning",
    "unknown_field",
    "sampling",
    "other",
];

impl Fallback {
    /// The name used in counters.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NotAccepted => "not_accepted",
            Self::RateLimited => "rate_limited",
            Self::TooLarge => "too_large",
            Self::UnknownLength => "unknown_length",
            Self::Unparsed => "unparsed",
            Self::Ineligible(i) => i.label(),
            Self::Browser => "browser",
            Self::OtherModel => "other_model",
            Self::Repeat => "repeat",
            Self::Declined(d) => d.label(),
            Self::Missing => "missing",
            Self::Panicked => "panicked",
        }
    }
}

/// Whose fault an error was that the gateway itself answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The agent's: a request that cannot be carried.
    Agent,
    /// The provider's: it cannot be reached, or broke off.
    Provider,
    /// Ours.
    Us,
}

impl Fault {
    /// The name used in counters and error bodies.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Provider => "provider",
            Self::Us => "understudy",
        }
    }
}

/// A call that has begun.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Counters>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the gateway counts. Read it as often as you like; nothing is locked.
#[derive(Debug)]
pub struct Counters {
    fallbacks: [AtomicU64; LABELS.len()],
    faults: [AtomicU64; 3],
    calls: AtomicU64,
    served: AtomicU64,
    audits: AtomicU64,
    audits_dropped: AtomicU64,
    offers_refused: AtomicU64,
    in_flight: AtomicU64,
    connections: AtomicU64,
    connections_refused: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            fallbacks: std::array::from_fn(|_| AtomicU64::new(0)),
            faults: std::array::from_fn(|_| AtomicU64::new(0)),
            calls: AtomicU64::new(0),
            served: AtomicU64::new(0),
            audits: AtomicU64::new(0),
            audits_dropped: AtomicU64::new(0),
            offers_refused: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
        }
    }
}

macro_rules! counted {
    ($($(#[$doc:meta])* $field:ident, $add:ident;)*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $field(&self) -> u64 {
                self.$field.load(Ordering::Relaxed)
            }

            pub(crate) fn $add(&self) {
                self.$field.fetch_add(1, Ordering::Relaxed);
            }
        )*
    };
}

impl Counters {
    counted! {
        /// Calls that ended, whoever answered.
        calls, add_call;
        /// Calls that an understudy answered.
        served, add_served;
        /// Audits that were sent to the provider.
        audits, add_audit;
        /// Audits that came to nothing: as many as may be were under way, or the provider
        /// gave no whole reply with a status of success in time.
        audits_dropped, add_audit_dropped;
        /// Calls that the recorder refused (it counts its own reasons).
        offers_refused, add_offer_refused;
        /// Connections refused because there were as many as may be.
        connections_refused, add_connection_refused;
    }

    /// Calls that have begun and not ended.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a call in until the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Connections from agents that are open now.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a connection in; `false` when there are as many as may be.
    pub(crate) fn try_connect(&self, most: u64) -> bool {
        let taken = self
            .connections
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| (n < most).then_some(n + 1));
        taken.is_ok()
    }

    pub(crate) fn disconnect(&self) {
        self.connections.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn add_fallback(&self, why: Fallback) {
        let label = why.label();
        let place = LABELS.iter().position(|l| *l == label).unwrap_or(LABELS.len() - 1);
        if let Some(n) = self.fallbacks.get(place) {
            n.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn add_fault(&self, fault: Fault) {
        let [agent, provider, us] = &self.faults;
        let n = match fault {
            Fault::Agent => agent,
            Fault::Provider => provider,
            Fault::Us => us,
        };
        n.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls of serving tasks that went to the provider, by reason; every reason is listed.
    pub fn fallbacks(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        LABELS.iter().copied().zip(self.fallbacks.iter().map(|n| n.load(Ordering::Relaxed)))
    }

    /// Of one reason.
    #[must_use]
    pub fn fallback(&self, label: &str) -> u64 {
        self.fallbacks().find(|(l, _)| *l == label).map_or(0, |(_, n)| n)
    }

    /// Errors that the gateway itself answered with, by whose fault they were.
    #[must_use]
    pub fn faults(&self) -> [(&'static str, u64); 3] {
        let [agent, provider, us] = &self.faults;
        [(Fault::Agent, agent), (Fault::Provider, provider), (Fault::Us, us)]
            .map(|(f, n)| (f.label(), n.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_place_of_its_own() {
        for why in Declined::ALL {
            let counters = Counters::default();
            counters.add_fallback(Fallback::Declined(why));
            assert_eq!((counters.fallback(why.label()), counters.fallback("other")), (1, 0), "{why}");
        }
        for why in [Fallback::Browser, Fallback::OtherModel, Fallback::Repeat] {
            let counters = Counters::default();
            counters.add_fallback(why);
            assert_eq!(counters.fallback(why.label()), 1, "{why:?}");
        }
    }
}
