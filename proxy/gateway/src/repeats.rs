//! The same body within a minute of an understudy's answer goes to the provider:
//! a wrong greedy answer must not come twice.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(60);

/// Answers remembered at once: some thousand calls a second for a minute would
/// be more than a sidecar sees; past it the oldest is forgotten.
const MOST: usize = 16_384;

#[derive(Debug, Default)]
pub(crate) struct Repeats(Mutex<Answered>);

#[derive(Debug, Default)]
struct Answered {
    last: HashMap<u64, Instant>,
    order: VecDeque<(u64, Instant)>,
}

impl Repeats {
    /// Whether an understudy answered this call (by its keyed hash) within the minute.
    pub(crate) fn recent(&self, call: u64, now: Instant) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.last.get(&call).is_some_and(|t| now.saturating_duration_since(*t) < WINDOW)
    }

    /// An understudy answered this call.
    pub(crate) fn answered(&self, call: u64, now: Instant) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Answered { last, order } = &mut *all;
        while let Some((old, t)) = order.front().copied() {
            if order.len() < MOST && now.saturating_duration_since(t) < WINDOW {
                break;
            }
            order.pop_front();
            if last.get(&old) == Some(&t) {
                last.remove(&old);
            }
        }
        last.insert(call, now);
        order.push_back((call, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_repeats_for_a_minute() {
        let (all, now) = (Repeats::default(), Instant::now());
        assert!(!all.recent(1, now));
        all.answered(1, now);
        assert!(all.recent(1, now + Duration::from_secs(59)));
        assert!(!all.recent(1, now + Duration::from_secs(60)));
        assert!(!all.recent(2, now));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (all, now) = (Repeats::default(), Instant::now());
        for i in 0..(MOST as u64 + 10) {
            all.answered(i, now);
        }
        assert!(!all.recent(0, now));
        assert!(all.recent(MOST as u64 + 9, now));
        all.answered(7, now + WINDOW);
        let held = all.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!((held.last.len(), held.order.len()), (1, 1));
    }
}
