//! Whether there is an engine at all.
//!
//! A process that was stopped, or is stuck in the kernel, takes each question and
//! answers none. That is the engine's absence: it says nothing of how long a version
//! takes. So beside a live question that stays silent the engine's health is asked
//! for. Where that stays silent too the question is over, and each one after it is
//! over at once, until the engine is heard again: at the next health check, which each
//! of them begins and none waits for, or by whatever else it answers. An engine that is
//! merely slow answers the check, and its question goes on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use understudy_call::Priority;

use super::EngineClient;
use crate::wire;

/// Time for a health check. The engine answers it on threads of its own, within a
/// millisecond or so however busy its models are.
const WITHIN: Duration = Duration::from_millis(250);

/// A health check under way, and in the end whether the engine is there. Questions
/// that wait at the same time share it.
type Check = Shared<BoxFuture<'static, bool>>;

/// What was heard of the engine of late.
#[derive(Default)]
pub(super) struct Pulse(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    is_away: bool,
    times_heard: u64,
    check: Option<Check>,
}

impl Pulse {
    /// It has answered something.
    pub(super) fn heard(&self) {
        let mut kept = self.kept();
        kept.is_away = false;
        kept.times_heard += 1;
    }

    fn is_away(&self) -> bool {
        self.kept().is_away
    }

    /// Whether it is there, by a check that began when so much had been heard: one
    /// that came to nothing while the engine answered others proves nothing.
    fn checked(&self, answered: bool, times_heard: u64) -> bool {
        let mut kept = self.kept();
        let is_there = answered || kept.times_heard != times_heard;
        kept.is_away = !is_there;
        is_there
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EngineClient {
    /// What comes of a question; `None` where nobody is there to answer it. A live one
    /// that has been silent for `quiet` has the engine's health asked for beside it.
    pub(super) async fn watched<T>(
        &self,
        priority: Priority,
        quiet: Duration,
        asking: impl Future<Output = T>,
    ) -> Option<T> {
        if priority != Priority::Live {
            return Some(asking.await);
        }
        if self.pulse.is_away() {
            // For the calls to come; this one does not wait.
            drop(self.check());
            return None;
        }
        tokio::select! {
            biased;
            answered = asking => Some(answered),
            () = self.lost(quiet) => None,
        }
    }

    /// Ends when the engine has not answered a health check.
    async fn lost(&self, quiet: Duration) {
        loop {
            tokio::time::sleep(quiet).await;
            if !self.check().await {
                return;
            }
        }
    }

    /// The check that is under way, or a new one. It goes on when nobody waits for it
    /// any more: a call whose time is up leaves its finding to the next.
    fn check(&self) -> Check {
        let mut kept = self.pulse.kept();
        if let Some(under_way) = kept.check.as_ref().filter(|c| c.peek().is_none()) {
            return under_way.clone();
        }
        let (way, url) = (self.door.way(), self.url("/healthz"));
        let (pulse, names) = (Arc::clone(&self.pulse), Arc::clone(&self.names));
        let times_heard = kept.times_heard;
        let asking = async move {
            let came = wire::get(&way.http, &url, way.key.as_deref(), WITHIN).await;
            let is_there = pulse.checked(came.is_ok_and(|c| c.status == 200), times_heard);
            if !is_there {
                // Whoever comes back may have other models.
                names.forget();
            }
            is_there
        };
        let check = asking.boxed().shared();
        kept.check = Some(check.clone());
        tokio::spawn(check.clone());
        check
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_came_to_nothing_while_the_engine_answered_others_proves_nothing() {
        let pulse = Pulse::default();
        assert!(!pulse.is_away());
        pulse.heard();
        assert!(pulse.checked(false, 0) && !pulse.is_away());
        assert!(!pulse.checked(false, 1) && pulse.is_away());
        // Any answer brings it back, a later check as well.
        pulse.heard();
        assert!(!pulse.is_away());
        assert!(!pulse.checked(false, 2) && pulse.checked(true, 2) && !pulse.is_away());
    }
}
