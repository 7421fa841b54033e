//! The worker's thread: the journal in, the roster out, a person's orders in
//! between. It is of low priority, and everything it says to others it says
//! through a snapshot, so that nobody waits for a trial.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};
use tracing::Span;
use understudy_capture::{Journal, Record};
use understudy_cast::Cast;
use understudy_policy::{Action, Roster, Stage};
use understudy_rehearsal::worker::Pause;
use understudy_rehearsal::{Mode, Outlets, Pace, Rehearsal, RehearsalError, Settings};
use understudy_tasks::{Effect, HashKey, TaskBook};

use super::publisher::Publisher;
use super::ruling::Ruling;
use super::snapshot::Snapshot;
use super::telling::Telling;
use crate::admin::Order;
use crate::config::Config;
use crate::failure::Failure;
use crate::specialise::{Drafts, Watch, known};
use crate::telemetry::{Outward, own};

/// How long the worker waits for a new record before it looks again.
const IDLE: Duration = Duration::from_millis(100);

/// How often the snapshot is renewed while there is work.
const SHOW_EVERY: Duration = Duration::from_millis(500);

/// Records that may wait before dear trials are thinned.
const BEHIND: u64 = 32;

/// Records that wait when there are no dear trials at all: audits stand in the
/// same queue, and a demotion must not wait for trials.
const FAR_BEHIND: u64 = 128;

type Answered = oneshot::Sender<Result<String, RehearsalError>>;

/// Of which task, what, by whom, and who waits for the answer.
type Ordered = (String, Order, String, Answered);

/// The worker, until dropped.
pub(crate) struct Worker {
    shown: Arc<ArcSwap<Snapshot>>,
    orders: mpsc::Sender<Ordered>,
    end: Arc<AtomicBool>,
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
        let end = Arc::new(AtomicBool::new(false));
        let amendments = given.ruling.document().amendments();
        let settings = Settings { amendments, ..settings(config, Mode::Live) };
        let book = book(config);
        let pace = Pace::new(config.worker.busy_share, Arc::clone(&given.pause));
        let frozen = config.worker.frozen;
        let thread = {
            let (shown, end) = (Arc::clone(&shown), Arc::clone(&end));
            std::thread::Builder::new().name("worker".to_owned()).spawn(move || {
                // The agent's calls come first: this thread only takes what is left.
                let _ = rustix::process::nice(10);
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let publisher = Arc::clone(&given.publisher);
                let why = match runtime {
                    Ok(runtime) => {
                        let ended = runtime.block_on(work(
                            settings,
                            (given, book),
                            pace,
                            frozen,
                            received,
                            &shown,
                            &end,
                        ));
                        // The reading for a draft is not waited for: it ends with the journal.
                        runtime.shutdown_background();
                        ended
                    }
                    Err(e) => Err(format!("no runtime: {e}")),
                };
                if let Err(why) = why {
                    // Evidence has stopped, so nothing may be served on it.
                    tracing::error!(why, "the worker ended: every call goes to the provider");
                    publisher.publish(Vec::new());
                    shown.rcu(|now| Snapshot { line: format!("down: {why}"), ..Snapshot::clone(now) });
                }
            })
        };
        let thread = thread.map_err(|e| Failure::Failed(format!("cannot start the worker: {e}")))?;
        Ok(Self { shown, orders, end, thread: Some(thread) })
    }

    /// What others see.
    pub(crate) fn shown(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.shown)
    }

    /// Where orders go.
    pub(crate) fn orders(&self) -> Orders {
        Orders(self.orders.clone())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A person's way to the worker. It blocks until the order is durable.
#[derive(Clone)]
pub(crate) struct Orders(mpsc::Sender<Ordered>);

impl Orders {
    /// Gives an order; says the task's name afterwards.
    pub(crate) fn give(&self, which: &str, order: Order, by: &str) -> Result<String, String> {
        let (answer, answered) = oneshot::channel();
        self.0
            .blocking_send((which.to_owned(), order, by.to_owned(), answer))
            .map_err(|_| "the worker is down; see the log".to_owned())?;
        match answered.blocking_recv() {
            Ok(done) => done.map_err(|e| e.to_string()),
            Err(_) => Err("the worker ended before it was done".to_owned()),
        }
    }
}

async fn work(
    settings: Settings,
    (given, book): (Given, TaskBook),
    pace: Pace,
    frozen: bool,
    mut orders: mpsc::Receiver<Ordered>,
    shown: &ArcSwap<Snapshot>,
    end: &AtomicBool,
) -> Result<(), String> {
    let Given { journal, cast, key, publisher, mut ruling, outward, training, adapters, shown: _, pause: _ } =
        given;
    let telling = Arc::new(Telling::new(outward));
    let outlets = Outlets {
        roster: Arc::new(move |next: Roster| publisher.publish(next.tasks)),
        told: {
            let telling = Arc::clone(&telling);
            Arc::new(move |what| telling.tell(what))
        },
    };
    let mut rehearsal = Rehearsal::new(settings, journal.clone(), cast, key, book, pace, outlets);
    let from = own::within(own::restore_ledgers(), rehearsal.restore()).await.map_err(|e| e.to_string())?;
    ruling.remember(&rehearsal);
    let mut cursor = journal.cursor(from);
    let line = if frozen { "frozen: nothing is learnt" } else { "rehearsing" };
    let mut drafts = Drafts::default();
    let mut last_kept: Option<std::time::Instant> = None;
    // What was read and is not flushed yet, and what was done and is not shown yet.
    let (mut flushed, mut stale) = (true, true);
    let mut last_shown = std::time::Instant::now();
    while !end.load(Ordering::Acquire) {
        while let Ok(ordered) = orders.try_recv() {
            answer(&mut rehearsal, (&adapters, frozen), ordered, (shown, line)).await;
        }
        if !frozen && ruling.look(&mut rehearsal).await.map_err(|e| e.to_string())? {
            (last_kept, stale) = (None, true);
        }
        if !frozen && last_kept.is_none_or(|at| at.elapsed() >= SHOW_EVERY) {
            last_kept = Some(std::time::Instant::now());
            stale |= ruling.keep(&mut rehearsal).await.map_err(|e| e.to_string())?;
        }
        if !frozen {
            stale |= drafts.look(&mut rehearsal, &journal, &adapters).await.map_err(|e| e.to_string())?;
        }
        // One row of an adapter's between any two records: audits do not wait for it.
        let mut adopts = !frozen && rehearsal.can_adopt();
        if adopts {
            let row = own::within(own::obey_order("adopt"), rehearsal.adopt_next());
            adopts = row.await.map_err(|e| e.to_string())? && rehearsal.can_adopt();
            stale = true;
        }
        let next = if frozen { None } else { cursor.next().map_err(|e| e.to_string())? };
        match next {
            Some((seq, record)) => {
                let behind = journal.durable_seq().saturating_sub(seq);
                let room = FAR_BEHIND.saturating_sub(behind) as f64 / (FAR_BEHIND - BEHIND) as f64;
                rehearsal.pace().thin(if training.sees_one() { 0.0 } else { room });
                if let Record::Exchange(exchange) = &record {
                    let span = telling.reading(seq, exchange);
                    own::within(span, rehearsal.take(seq, record)).await.map_err(|e| e.to_string())?;
                    (flushed, stale) = (false, true);
                }
                if last_shown.elapsed() >= SHOW_EVERY {
                    show(&rehearsal, shown, line);
                    (last_shown, stale) = (std::time::Instant::now(), false);
                }
            }
            None => {
                if !frozen {
                    // A look that found nothing is not worth a span.
                    let span = if flushed { Span::none() } else { own::flush_records() };
                    own::within(span, rehearsal.flush()).await.map_err(|e| e.to_string())?;
                    flushed = true;
                }
                if std::mem::take(&mut stale) {
                    show(&rehearsal, shown, line);
                }
                let idle = if adopts { Duration::ZERO } else { IDLE };
                let ordered = tokio::select! {
                    ordered = tokio::time::timeout(idle, orders.recv()) => ordered.ok().flatten(),
                    () = ruling.changed() => None,
                };
                if let Some(ordered) = ordered {
                    answer(&mut rehearsal, (&adapters, frozen), ordered, (shown, line)).await;
                }
            }
        }
    }
    if frozen {
        return Ok(());
    }
    own::within(own::flush_records(), rehearsal.flush()).await.map_err(|e| e.to_string())
}

/// Obeys and answers. It is shown first: who is told that it is done finds it done.
async fn answer(
    rehearsal: &mut Rehearsal,
    adopts: (&std::path::Path, bool),
    (which, order, by, answered): Ordered,
    (shown, line): (&ArcSwap<Snapshot>, &str),
) {
    let done = obey(rehearsal, adopts, &which, order, &by).await;
    show(rehearsal, shown, line);
    let _ = answered.send(done);
}

async fn obey(
    rehearsal: &mut Rehearsal,
    (adapters, frozen): (&std::path::Path, bool),
    which: &str,
    order: Order,
    by: &str,
) -> Result<String, RehearsalError> {
    own::within(own::obey_order(order.label()), async {
        let action = match order {
            Order::Name(name) => {
                rehearsal.rename(which, &name).await?;
                return Ok(name);
            }
            Order::Adopt(_) if frozen => {
                let why = "worker.frozen is true: nothing is learnt, so no adapter is taken in";
                return Err(RehearsalError::NoLesson(why.to_owned()));
            }
            Order::Adopt(adapter) => {
                known(adapters, &adapter).map_err(|e| RehearsalError::NoLesson(e.to_string()))?;
                rehearsal.order_adoption(which, &adapter, by).await?;
                return Ok(rehearsal.book().find(which).map(|t| t.name.clone()).unwrap_or_default());
            }
            Order::Approve => Action::Approve,
            Order::Promote => Action::Promote,
            Order::Demote => Action::Demote,
            Order::Pin(on) => Action::Pin(on),
        };
        let nowhere = leads_nowhere(rehearsal, which, &action);
        if rehearsal.operate(which, action, by).await?.is_empty() {
            return Err(RehearsalError::Unmoved(nowhere));
        }
        Ok(rehearsal.book().find(which).map(|t| t.name.clone()).unwrap_or_default())
    })
    .await
}

/// Why nothing comes of an action, should nothing come of it.
fn leads_nowhere(rehearsal: &Rehearsal, which: &str, action: &Action) -> &'static str {
    let ledger = rehearsal.book().find(which).and_then(|t| rehearsal.ledger(t.id));
    match action {
        Action::Promote if ledger.is_some_and(|l| l.stage() == Stage::Live) => {
            "it is live, which is as far as it goes"
        }
        Action::Promote => {
            "no understudy of it has an open entry, so nobody could answer; 'understudy task show' says what each of them lacks"
        }
        _ => "it is not served, so there is nothing to take back",
    }
}

fn show(rehearsal: &Rehearsal, shown: &ArcSwap<Snapshot>, line: &str) {
    shown.store(Arc::new(Snapshot {
        reports: rehearsal.reports(),
        tasks: rehearsal.book().tasks().into_iter().cloned().collect(),
        decisions: rehearsal.decisions().to_vec(),
        line: line.to_owned(),
    }));
}
