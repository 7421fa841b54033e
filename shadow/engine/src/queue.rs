//! A bounded queue with two priorities, between the HTTP side and a model's
//! thread.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use understudy_call::{Declined, Priority};

/// Live asks come out before shadow ones; each kind has its own bound.
pub(crate) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    filled: Condvar,
    bound: usize,
}

struct Inner<T> {
    live: VecDeque<T>,
    shadow: VecDeque<T>,
    closed: bool,
    /// Asks taken out and not yet done, by priority.
    running: [usize; 2],
}

/// How many wait and run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) live: usize,
    pub(crate) shadow: usize,
    pub(crate) running_live: usize,
    pub(crate) running_shadow: usize,
}

impl Load {
    /// Asks that go before a new one of this priority.
    pub(crate) fn ahead_of(self, priority: Priority) -> usize {
        let live = self.live + self.running_live;
        if priority == Priority::Live { live } else { live + self.shadow + self.running_shadow }
    }
}

impl<T> Queue<T> {
    pub(crate) fn new(bound: usize) -> Self {
        let inner = Inner { live: VecDeque::new(), shadow: VecDeque::new(), closed: false, running: [0, 0] };
        Self { inner: Mutex::new(inner), filled: Condvar::new(), bound: bound.max(1) }
    }

    /// Refuses as busy when the bound is reached, as unavailable when closed.
    pub(crate) fn try_push(&self, priority: Priority, item: T) -> Result<(), Declined> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(Declined::Unavailable);
        }
        let row = inner.row(priority);
        if row.len() >= self.bound {
            return Err(Declined::Busy);
        }
        row.push_back(item);
        drop(inner);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for the next; `None` when closed and empty.
    pub(crate) fn pop(&self) -> Option<(Priority, T)> {
        let mut inner = self.lock();
        loop {
            if let Some(next) = inner.take(Priority::Live).or_else(|| inner.take(Priority::Shadow)) {
                return Some(next);
            }
            if inner.closed {
                return None;
            }
            inner = self.filled.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next live one, without waiting.
    pub(crate) fn try_pop_live(&self) -> Option<T> {
        self.lock().take(Priority::Live).map(|next| next.1)
    }

    /// One that was taken out is done.
    pub(crate) fn done(&self, priority: Priority) {
        let mut inner = self.lock();
        if let Some(n) = inner.running.get_mut(priority as usize) {
            *n = n.saturating_sub(1);
        }
    }

    /// Takes no more, and lets go of those that wait.
    pub(crate) fn abort(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        let gone = (std::mem::take(&mut inner.live), std::mem::take(&mut inner.shadow));
        drop(inner);
        drop(gone);
        self.filled.notify_all();
    }

    pub(crate) fn load(&self) -> Load {
        let inner = self.lock();
        let running = |p: Priority| inner.running.get(p as usize).copied().unwrap_or(0);
        Load {
            live: inner.live.len(),
            shadow: inner.shadow.len(),
            running_live: running(Priority::Live),
            running_shadow: running(Priority::Shadow),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Inner<T> {
    fn row(&mut self, priority: Priority) -> &mut VecDeque<T> {
        match priority {
            Priority::Live => &mut self.live,
            Priority::Shadow => &mut self.shadow,
        }
    }

    fn take(&mut self, priority: Priority) -> Option<(Priority, T)> {
        let item = self.row(priority).pop_front()?;
        if let Some(n) = self.running.get_mut(priority as usize) {
            *n += 1;
        }
        Some((priority, item))
    }
}

/// Time that `ahead` asks of this mean length will take.
pub(crate) fn wait_for(ahead: usize, mean: Duration) -> Duration {
    mean.saturating_mul(u32::try_from(ahead).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests"
    )]
    use std::sync::Arc;

    use super::*;

    #[test]
    fn live_comes_before_shadow() {
        let q = Queue::new(4);
        q.try_push(Priority::Shadow, 1).unwrap();
        q.try_push(Priority::Shadow, 2).unwrap();
        q.try_push(Priority::Live, 3).unwrap();
        assert_eq!(q.try_pop_live(), Some(3));
        assert_eq!(q.try_pop_live(), None);
        assert_eq!(q.pop(), Some((Priority::Shadow, 1)));
        assert_eq!(q.load(), Load { live: 0, shadow: 1, running_live: 1, running_shadow: 1 });
        assert_eq!(q.load().ahead_of(Priority::Live), 1);
        assert_eq!(q.load().ahead_of(Priority::Shadow), 3);
        q.done(Priority::Live);
        assert_eq!(q.load().ahead_of(Priority::Live), 0);
    }

    #[test]
    fn a_full_row_is_busy_and_leaves_the_other_alone() {
        let q = Queue::new(1);
        q.try_push(Priority::Shadow, 1).unwrap();
        assert_eq!(q.try_push(Priority::Shadow, 2), Err(Declined::Busy));
        q.try_push(Priority::Live, 3).unwrap();
    }

    #[test]
    fn an_aborted_queue_takes_and_gives_nothing() {
        let q = Queue::new(4);
        q.try_push(Priority::Live, 1).unwrap();
        q.abort();
        assert_eq!(q.pop(), None);
        assert_eq!(q.try_push(Priority::Live, 2), Err(Declined::Unavailable));
    }

    #[test]
    fn whoever_waits_is_woken() {
        let q = Arc::new(Queue::new(4));
        let waiting = std::thread::spawn({
            let q = Arc::clone(&q);
            move || q.pop()
        });
        q.try_push(Priority::Shadow, 7).unwrap();
        assert_eq!(waiting.join().unwrap(), Some((Priority::Shadow, 7)));
    }
}
