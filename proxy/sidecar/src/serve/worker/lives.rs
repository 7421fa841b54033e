//! The worker's lives. One that failed or panicked is followed by another, which reads
//! the journal again: what did not become durable is judged anew. Between two of them
//! nothing serves, since nobody examines it, and orders are refused.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

use super::orders::{Ordered, refuse_all};
use crate::serve::publisher::Publisher;
use crate::serve::snapshot::Snapshot;
use crate::serve::told;

/// What is done from a beginning to an end, more than once.
pub(super) trait Life {
    /// From the reading of the journal until it is told to end, which is no error.
    async fn live(&mut self, orders: &mut mpsc::Receiver<Ordered>) -> Result<(), String>;

    /// Lets go of what a life that failed has left beside the journal.
    fn clear(&mut self);
}

/// How long is waited, and for what.
#[derive(Debug)]
pub(super) struct Times {
    /// Before the second life.
    first: Duration,
    /// Before any: they are doubled from one to the next, up to this.
    longest: Duration,
    /// Before the next.
    next: Duration,
    /// What is under way when the worker is told to end, a trial or a fit, may come to
    /// its end within this. What is cut off is judged again after the next start.
    grace: Duration,
}

impl Times {
    pub(super) fn new(first: Duration, longest: Duration, grace: Duration) -> Self {
        Self { first, longest, next: first, grace }
    }

    /// Before the next life, after one that was at work for so long.
    fn pause(&mut self, worked: Duration) -> Duration {
        if worked >= self.longest {
            self.next = self.first;
        }
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }
}

impl Default for Times {
    fn default() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(60), Duration::from_secs(1))
    }
}

/// Whether the worker is at work, and since when. Clones say the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Up(Arc<Mutex<Option<Instant>>>);

impl Up {
    /// It has read the journal, and goes on from there.
    pub(super) fn begin(&self) {
        *self.lock() = Some(Instant::now());
    }

    /// Whether it is.
    pub(super) fn is(&self) -> bool {
        self.lock().is_some()
    }

    /// It no longer is; how long it was.
    fn end(&self) -> Duration {
        self.lock().take().map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What others know of the worker by.
pub(super) struct Outside {
    publisher: Arc<Publisher>,
    shown: Arc<ArcSwap<Snapshot>>,
    up: Up,
}

impl Outside {
    pub(super) fn new(publisher: Arc<Publisher>, shown: Arc<ArcSwap<Snapshot>>, up: Up) -> Self {
        Self { publisher, shown, up }
    }

    /// How the worker is while it is away; its tasks are shown as they were.
    pub(super) fn say(&self, line: &str) {
        self.shown.rcu(|now| Snapshot { line: line.to_owned(), away: true, ..Snapshot::clone(now) });
    }
}

/// While it is there, tasks may serve.
struct MayServe<'a>(&'a Outside);

impl Drop for MayServe<'_> {
    /// Evidence has stopped, however the life ended, so nothing may be served on it.
    fn drop(&mut self) {
        self.0.publisher.publish(Vec::new());
    }
}

/// Lives until it is told to end.
pub(super) async fn go_on(
    mut life: impl Life,
    outside: &Outside,
    mut times: Times,
    mut orders: mpsc::Receiver<Ordered>,
    end: watch::Receiver<bool>,
) {
    loop {
        let ended = {
            let _serves = MayServe(outside);
            tokio::select! {
                ended = caught(life.live(&mut orders)) => ended,
                () = cut_off(end.clone(), times.grace) => Ok(()),
            }
        };
        let worked = outside.up.end();
        let Err(why) = ended else { return };
        if *end.borrow() {
            tracing::error!(why, "the worker ended; what it had not written is judged after the next start");
            return;
        }
        life.clear();
        let pause = times.pause(worked);
        tracing::error!(
            why,
            again_in_s = pause.as_secs(),
            "the worker ended: every call goes to the provider until it has read the journal again"
        );
        outside.say(&format!("down: {why}; it begins again in {} s", pause.as_secs()));
        tokio::select! {
            () = told(end.clone()) => return,
            () = tokio::time::sleep(pause) => {}
            () = refuse_all(&mut orders) => {}
        }
        outside.say(&format!("reading the journal again, after it went down: {why}"));
    }
}

/// Ends a while after the worker was told to.
async fn cut_off(end: watch::Receiver<bool>, grace: Duration) {
    told(end).await;
    tokio::time::sleep(grace).await;
}

/// A panic is one way to fail. Its message stays with the panic: it may quote what was read.
async fn caught(life: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let mut life = pin!(life);
    poll_fn(|context| {
        catch_unwind(AssertUnwindSafe(|| life.as_mut().poll(context)))
            .unwrap_or_else(|_| Poll::Ready(Err("it panicked; the log says where".to_owned())))
    })
    .await
}

#[cfg(test)]
mod tests;
