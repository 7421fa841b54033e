//! The worker's thread: the journal in, the roster out, a person's orders in
//! between. It is of low priority, and everything it says to others it says
//! through a snapshot, so that nobody waits for a trial. What ends it but the
//! process's end is followed by another beginning ([`lives`]).

mod lives;
mod orders;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tracing::Span;
use understudy_capture::{Journal, Record};
use understudy_cast::Cast;
use understudy_policy::Roster;
use understudy_rehearsal::worker::Pause;
use understudy_rehearsal::{Mode, Outlets, Pace, Rehearsal, RehearsalError, Settings};
use understudy_tasks::{Effect, HashKey, TaskBook};

use super::publisher::Publisher;
use super::ruling::Ruling;
use super::snapshot::Snapshot;
use super::telling::Telling;
use super::told;
use crate::config::Config;
use crate::failure::Failure;
use crate::metrics::{Kind, Read};
use crate::specialise::{Drafts, Watch};
use crate::telemetry::{Outward, own};
use lives::{Life, Outside, Times, Up, go_on};
pub(crate) use orders::Orders;
use orders::{Ordered, answer};

/// How long the worker waits for a new record before it looks again.
const IDLE: Duration = Duration::from_millis(100);

/// How often the snapshot is renewed while there is work.
const SHOW_EVERY: Duration = Duration::from_millis(500);

/// Records that may wait before dear trials are thinned.
const BEHIND: u64 = 32;

/// Records that wait when there are no dear trials at all: audits stand in the
/// same queue, and a demotion must not wait for trials.
const FAR_BEHIND: u64 = 128;

/// The worker, until dropped.
pub(crate) struct Worker {
    shown: Arc<ArcSwap<Snapshot>>,
    orders: mpsc::Sender<Ordered>,
    end: watch::Sender<bool>,
    up: Up,
    thread: Option<JoinHandle<()>>,
}

/// What the worker is given.
pub(crate) struct Given {
    pub(crate) journal: Journal,
    pub(crate) cast: Arc<Cast>,
    pub(crate) key: HashKey,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) ruling: Ruling,
    pub(crate) shown: Arc<ArcSwap<Snapshot>>,
    pub(crate) pause: Pause,
    pub(crate) outward: Option<Outward>,
    /// Sees trainings, while which dear trials rest.
    pub(crate) training: Watch,
    /// Where adapters lie.
    pub(crate) adapters: std::path::PathBuf,
}

/// A book in which the operator's word on tools stands.
pub(crate) fn book(config: &Config) -> TaskBook {
    let mut book = TaskBook::default();
    let reads = config.worker.reading_tools.iter().map(|t| (t.clone(), Effect::Reads));
    book.declare_tools(reads.chain(config.worker.acting_tools.iter().map(|t| (t.clone(), Effect::Acts))));
    book.share(config.worker.shared.clone());
    book
}

/// The worker's settings.
pub(crate) fn settings(config: &Config, mode: Mode) -> Settings {
    Settings {
        mode,
        policy: config.policy.clone(),
        overrides: config.tasks.clone(),
        trial_deadline: config.worker.trial_deadline,
        budget_ms: config.worker.budget_ms,
        ..Settings::default()
    }
}

impl Worker {
    /// Starts it.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start(config: &Config, given: Given) -> Result<Self, Failure> {
        let shown = Arc::clone(&given.shown);
        let (orders, received) = mpsc::channel(16);
        let (end, ending) = watch::channel(false);
        let up = Up::default();
        let outside = Outside::new(Arc::clone(&given.publisher), Arc::clone(&shown), up.clone());
        let work = Work {
            settings: settings(config, Mode::Live),
            book: book(config),
            pace: Pace::new(config.worker.busy_share, Arc::clone(&given.pause)),
            frozen: config.worker.frozen,
            up: up.clone(),
            end: ending.clone(),
            checkpoint: None,
            given,
        };
        let thread = std::thread::Builder::new().name("worker".to_owned()).spawn(move || {
            // The agent's calls come first: this thread only takes what is left.
            let _ = rustix::process::nice(10);
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => {
                    runtime.block_on(go_on(work, &outside, Times::default(), received, ending));
                    // The reading for a draft, or a fit that was cut off, is not waited for.
                    runtime.shutdown_background();
                }
                Err(error) => {
                    tracing::error!(%error, "there is no worker: every call goes to the provider");
                    outside.say(&format!("down: no runtime: {error}"));
                }
            }
        });
        let thread = thread.map_err(|e| Failure::Failed(format!("cannot start the worker: {e}")))?;
        Ok(Self { shown, orders, end, up, thread: Some(thread) })
    }

    /// What others see.
    pub(crate) fn shown(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.shown)
    }

    /// Where orders go.
    pub(crate) fn orders(&self) -> Orders {
        Orders(self.orders.clone())
    }

    /// Whether it is at work, for the metrics.
    pub(crate) fn up(&self) -> Read {
        let up = self.up.clone();
        Read {
            name: "worker_up",
            help: "1 while the worker judges calls, 0 while it reads the journal or is away after a failure",
            kind: Kind::Gauge,
            label: None,
            values: Box::new(move || vec![(String::new(), if up.is() { 1.0 } else { 0.0 })]),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the worker does, life after life.
struct Work {
    given: Given,
    settings: Settings,
    book: TaskBook,
    pace: Pace,
    frozen: bool,
    up: Up,
    end: watch::Receiver<bool>,
    /// Of the life that is, or was.
    checkpoint: Option<Arc<dyn Fn() -> Value + Send + Sync>>,
}

impl Life for Work {
    async fn live(&mut self, orders: &mut mpsc::Receiver<Ordered>) -> Result<(), String> {
        self.work(orders).await.map_err(|e| e.to_string())
    }

    fn clear(&mut self) {
        // A volume that begins before the journal was read again opens with what was durable,
        // versions included: with an empty beginning, all evidence would go once the volumes
        // before it are let go. A life that had not read the journal leaves this as it was.
        let durable = self.checkpoint.take().map(|ask| ask()).filter(|state| !state.is_null());
        if let Some(state) = durable {
            self.given.journal.set_checkpoint(Arc::new(move || state.clone()));
        }
        // Versions may be ahead of it: one whose note was lost would be tried, and gone with
        // the next start. The others come back from their notes.
        for member in self.given.cast.all() {
            self.given.cast.retire(&member.id);
        }
    }
}

impl Work {
    async fn work(&mut self, orders: &mut mpsc::Receiver<Ordered>) -> Result<(), RehearsalError> {
        let (frozen, end, given) = (self.frozen, &self.end, &mut self.given);
        let ended = || *end.borrow();
        let (journal, training, ruling) = (&given.journal, &given.training, &mut given.ruling);
        let adapters: &Path = &given.adapters;
        let shown: &ArcSwap<Snapshot> = &given.shown;
        let telling = Arc::new(Telling::new(given.outward.clone()));
        let publisher = Arc::clone(&given.publisher);
        let outlets = Outlets {
            roster: Arc::new(move |next: Roster| publisher.publish(next.tasks)),
            told: {
                let telling = Arc::clone(&telling);
                Arc::new(move |what| telling.tell(what))
            },
        };
        let mut rehearsal = Rehearsal::new(
            Settings { amendments: ruling.document().amendments(), ..self.settings.clone() },
            journal.clone(),
            Arc::clone(&given.cast),
            given.key.clone(),
            self.book.clone(),
            self.pace.clone(),
            outlets,
        );
        self.checkpoint = Some(rehearsal.checkpoint());
        let restored = own::within(own::restore_ledgers(), rehearsal.restore_unless(&ended));
        let Some(from) = restored.await? else { return Ok(()) };
        let mut cursor = journal.cursor(from);
        let line = if frozen { "frozen: nothing is learnt" } else { "rehearsing" };
        let mut drafts = Drafts::default();
        let mut last_kept: Option<Instant> = None;
        show(&rehearsal, shown, line);
        self.up.begin();
        // What was read and is not flushed yet, and what was done and is not shown yet.
        let (mut flushed, mut stale) = (true, false);
        let mut last_shown = Instant::now();
        while !ended() {
            while let Ok(ordered) = orders.try_recv() {
                answer(&mut rehearsal, (adapters, frozen), ordered, (shown, line)).await?;
            }
            if !frozen && ruling.look(&mut rehearsal).await? {
                (last_kept, stale) = (None, true);
            }
            if !frozen && last_kept.is_none_or(|at| at.elapsed() >= SHOW_EVERY) {
                last_kept = Some(Instant::now());
                stale |= ruling.keep(&mut rehearsal).await?;
            }
            if !frozen {
                stale |= drafts.look(&mut rehearsal, journal, adapters).await?;
            }
            // One row of an adapter's between any two records: audits do not wait for it.
            let mut adopts = !frozen && rehearsal.can_adopt();
            if adopts {
                let row = own::within(own::obey_order("adopt"), rehearsal.adopt_next());
                adopts = row.await? && rehearsal.can_adopt();
                stale = true;
            }
            let next = if frozen { None } else { cursor.next()? };
            match next {
                Some((seq, record)) => {
                    let behind = journal.durable_seq().saturating_sub(seq);
                    let room = FAR_BEHIND.saturating_sub(behind) as f64 / (FAR_BEHIND - BEHIND) as f64;
                    rehearsal.pace().thin(if training.sees_one() { 0.0 } else { room });
                    if let Record::Exchange(exchange) = &record {
                        let span = telling.reading(seq, exchange);
                        own::within(span, rehearsal.take(seq, record)).await?;
                        (flushed, stale) = (false, true);
                    }
                    if last_shown.elapsed() >= SHOW_EVERY {
                        show(&rehearsal, shown, line);
                        (last_shown, stale) = (Instant::now(), false);
                    }
                }
                None => {
                    if !frozen {
                        // A look that found nothing is not worth a span.
                        let span = if flushed { Span::none() } else { own::flush_records() };
                        own::within(span, rehearsal.flush()).await?;
                        flushed = true;
                    }
                    if std::mem::take(&mut stale) {
                        show(&rehearsal, shown, line);
                    }
                    let idle = if adopts { Duration::ZERO } else { IDLE };
                    let ordered = tokio::select! {
                        ordered = tokio::time::timeout(idle, orders.recv()) => ordered.ok().flatten(),
                        () = ruling.changed() => None,
                        () = told(end.clone()) => None,
                    };
                    if let Some(ordered) = ordered {
                        answer(&mut rehearsal, (adapters, frozen), ordered, (shown, line)).await?;
                    }
                }
            }
        }
        if frozen {
            return Ok(());
        }
        own::within(own::flush_records(), rehearsal.flush()).await
    }
}

fn show(rehearsal: &Rehearsal, shown: &ArcSwap<Snapshot>, line: &str) {
    shown.store(Arc::new(Snapshot {
        reports: rehearsal.reports(),
        tasks: rehearsal.book().tasks().into_iter().cloned().collect(),
        decisions: rehearsal.decisions().to_vec(),
        line: line.to_owned(),
        away: false,
    }));
}
