//! Fits that the engine was away for, and how long they rest before they are tried
//! again: each try reads all examples, and an engine that hangs holds it up.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use understudy_policy::TaskId;

/// Entries of the journal before the second try: a few calls.
const PAUSE: u64 = 16;

/// How often the pause doubles: up to 4096 entries, which busy agents write in minutes.
const DOUBLINGS: u32 = 8;

/// The tasks whose last fit came to nothing.
#[derive(Default)]
pub(super) struct Missed(Mutex<BTreeMap<TaskId, Rest>>);

#[derive(Default)]
struct Rest {
    tries: u32,
    until: u64,
}

impl Missed {
    /// Whether it is too early for another try.
    pub(super) fn rests(&self, task: TaskId, seq: u64) -> bool {
        self.kept().get(&task).is_some_and(|rest| seq < rest.until)
    }

    /// A try came to nothing: the pause before the next one grows.
    pub(super) fn add(&self, task: TaskId, seq: u64) {
        let mut kept = self.kept();
        let rest = kept.entry(task).or_default();
        rest.until = seq.saturating_add(PAUSE << rest.tries.min(DOUBLINGS));
        rest.tries = rest.tries.saturating_add(1);
    }

    /// The engine was there.
    pub(super) fn forget(&self, task: TaskId) {
        self.kept().remove(&task);
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<TaskId, Rest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_are_a_tasks_own() {
        let missed = Missed::default();
        let (one, other) = (TaskId(1), TaskId(2));
        for tries in 0..2 * DOUBLINGS {
            let pause = 16_u64 << tries.min(8);
            assert!(!missed.rests(one, 1_000_000));
            missed.add(one, 1_000_000);
            assert!(missed.rests(one, 999_999 + pause) && !missed.rests(one, 1_000_000 + pause));
            // Its time is over.
            missed.kept().get_mut(&one).unwrap().until = 0;
        }
        assert!(!missed.rests(other, 0));
        missed.add(one, 7);
        missed.forget(one);
        assert!(!missed.rests(one, 8));
        missed.add(one, 8);
        assert!(!missed.rests(one, 8 + PAUSE), "it begins anew");
    }
}
