//! The worker: replays captured calls, scores agreement, writes trials, and
//! folds them into decisions. One loop serves the live journal and
//! `understudy rehearse FILES…`.
//!
//! For each captured call, in the journal's order:
//!
//! 1. **task**: the book names it, or meets it for the first time.
//! 2. **lane**: of a live call, what the gateway did; of a recorded one, what the
//!    gateway would have done ([`Mode::Recorded`] draws it with the same function).
//! 3. **trials**: every understudy of the task that was born before the call, and
//!    that the rules let answer, answers it, if the draw (made before any answer is
//!    seen) says so.
//! 4. **score**: the answer is compared with the provider's reply.
//! 5. **ledger**: events in order; an entry is proposed where development is done.
//! 6. **learn**: the exchange becomes an example; at each doubling of the
//!    examples new versions are made and frozen.
//! 7. **durable before visible**: trials, entries and decisions are appended and
//!    flushed; only then is the roster published.
//!
//! A restart reads the journal and folds the same events in the same order
//! (`restore.rs`); the decisions that come out are compared with those that
//! were written.

mod adopt;
mod arms;
mod durable;
mod evaluate;
mod latency;
mod learn;
mod pace;
mod report;
mod restore;
mod rules;
mod saved;
mod state;
mod trials;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::json;
use understudy_call::{Exchange, Lane, UnderstudyId};
use understudy_capture::{Journal, JournalError, Record};
use understudy_cast::{Cast, CastError, Example};
use understudy_policy::{Decision, Event, Ledger, Roster, TaskId, TaskPolicy, Trial};
use understudy_tasks::{HashKey, TaskBook};

use adopt::Adopting;
pub use adopt::{Adoption, Drafted, Due, Ordered};
pub use arms::{Arm, Arms, Tokens};
pub use evaluate::{Evaluated, EvaluatedAnswer};
use pace::Claim;
pub use pace::{Crowded, Pace, Pause};
pub use report::{Tally, TaskReport};
pub use rules::{Amendment, alike};
use saved::Saved;
use state::TaskState;

/// Which calls the worker reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The gateway's: their lanes are what the gateway did.
    Live,
    /// Recorded ones: their lanes are drawn as the gateway would have drawn
    /// them, and the recorded reply is the examiner.
    Recorded,
}

/// How the worker works.
#[derive(Clone)]
pub struct Settings {
    /// Which calls it reads.
    pub mode: Mode,
    /// The keys of judgement, for all tasks.
    pub policy: TaskPolicy,
    /// And for one task, by its id or its name.
    pub overrides: BTreeMap<String, TaskPolicy>,
    /// What is laid over both, in this order.
    pub amendments: Vec<Amendment>,
    /// Time that an understudy has for a trial.
    pub trial_deadline: Duration,
    /// Milliseconds that an understudy has live, where the user set them;
    /// otherwise the provider's measured median.
    pub budget_ms: Option<f64>,
    /// Examples kept of a task.
    pub examples: usize,
    /// Records that wait before they are made durable; a decision does not wait.
    pub group: usize,
    /// Before an engine that was away is asked for an adapter again; it grows.
    pub adoption_pause: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::Live,
            policy: TaskPolicy::default(),
            overrides: BTreeMap::new(),
            amendments: Vec::new(),
            trial_deadline: Duration::from_secs(30),
            budget_ms: None,
            examples: 8192,
            group: 128,
            adoption_pause: Duration::from_millis(250),
        }
    }
}

/// Why the worker stops.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RehearsalError {
    /// The journal cannot be read or written.
    #[error("the journal failed: {0}")]
    Journal(#[from] JournalError),
    /// What an adapter learnt is not to be found.
    #[error("{0}")]
    NoLesson(String),
    /// An adapter cannot be taken in.
    #[error(transparent)]
    Cast(#[from] CastError),
    /// A blocking thread was cut off.
    #[error("a worker thread was cut off")]
    CutOff,
    /// There is no such task.
    #[error("no task {0}; 'understudy tasks' lists them")]
    NoTask(String),
    /// A person asked for a move that leads nowhere.
    #[error("{0}")]
    Unmoved(&'static str),
    /// Another task has that name.
    #[error("another task is named {0}")]
    NameTaken(String),
}

/// Told of what happened, for metrics and traces. Content-free.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Happened {
    /// A trial was written.
    Trial(Box<Trial>),
    /// A decision was written.
    Decision(Box<Decision>),
    /// New versions were made.
    Made(Vec<UnderstudyId>),
}

/// What is published and told.
#[derive(Clone)]
pub struct Outlets {
    /// The roster, whenever it changed; after it is durable.
    pub roster: Arc<dyn Fn(Roster) + Send + Sync>,
    /// What happened.
    pub told: Arc<dyn Fn(Happened) + Send + Sync>,
}

impl Default for Outlets {
    fn default() -> Self {
        Self { roster: Arc::new(|_| {}), told: Arc::new(|_| {}) }
    }
}

/// The worker.
pub struct Rehearsal {
    settings: Settings,
    journal: Journal,
    cast: Arc<Cast>,
    key: HashKey,
    outlets: Outlets,
    pace: Pace,
    book: TaskBook,
    tasks: BTreeMap<TaskId, TaskState>,
    pending: Vec<Record>,
    roster: Roster,
    /// The last exchange that was folded.
    folded: u64,
    decisions: Vec<Decision>,
    /// Adapters on their way in.
    adopting: Adopting,
    /// What the next volume of the journal begins with.
    saved: Arc<ArcSwap<Saved>>,
    /// Whether it was told that there are more forms than tasks.
    told_full: bool,
}

impl Rehearsal {
    /// A worker over a journal; call [`Rehearsal::restore`] before anything else.
    #[must_use]
    pub fn new(
        settings: Settings,
        journal: Journal,
        cast: Arc<Cast>,
        key: HashKey,
        book: TaskBook,
        pace: Pace,
        outlets: Outlets,
    ) -> Self {
        Self {
            settings,
            journal,
            cast,
            key,
            outlets,
            pace,
            book,
            tasks: BTreeMap::new(),
            pending: Vec::new(),
            roster: Roster::default(),
            folded: 0,
            decisions: Vec::new(),
            adopting: Adopting::default(),
            saved: Arc::default(),
            told_full: false,
        }
    }

    /// The tasks.
    #[must_use]
    pub fn book(&self) -> &TaskBook {
        &self.book
    }

    /// The roster as it was last published.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Every decision, in order.
    #[must_use]
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// A task's ledger.
    #[must_use]
    pub fn ledger(&self, task: TaskId) -> Option<&Ledger> {
        self.tasks.get(&task).map(|s| &s.ledger)
    }

    /// The last exchange that was folded, by its place in the journal.
    #[must_use]
    pub fn folded(&self) -> u64 {
        self.folded
    }

    /// How the work is paced, for whoever knows how much there is to do.
    pub fn pace(&mut self) -> &mut Pace {
        &mut self.pace
    }

    /// Takes one record that was written after the last restart.
    ///
    /// # Errors
    /// The journal failed.
    pub async fn take(&mut self, seq: u64, record: Record) -> Result<(), RehearsalError> {
        if let Record::Exchange(exchange) = record {
            self.exchange(seq, &exchange).await?;
        }
        Ok(())
    }

    async fn exchange(&mut self, seq: u64, exchange: &Exchange) -> Result<(), RehearsalError> {
        let found = self.book.assign(exchange);
        self.forget_with_the_book();
        let Some(id) = found else {
            self.folded = self.folded.max(seq);
            return self.settle().await;
        };
        self.meet_now(id, seq, exchange.meta.opening);
        // Where something serves, its audits stand in the journal: it may not wait.
        let crowded = if self.serves() { Crowded::GoOn } else { Crowded::Wait };
        let (Some(task), Some(state)) = (self.book.task(id).cloned(), self.tasks.get_mut(&id)) else {
            return Ok(());
        };
        let mut seen = state.seen(seq, exchange, task.acts);
        let reference = Example::reference(seq, exchange);
        let mut events = Vec::new();

        // What was, or would have been, done with the call.
        let may_be_served = self.settings.mode == Mode::Recorded && seen.eligible && !seen.repeats;
        let roster_task =
            may_be_served.then(|| state.roster_task(&task, &self.settings, &self.cast)).flatten();
        let roster_task = roster_task.and_then(|t| state::met(t, exchange.request.as_ref()));
        let serving = roster_task.as_ref().map_or(&[][..], |t| t.entries_for(seen.conversation));
        let budget_ms = roster_task.as_ref().map_or(f64::MAX, |t| t.budget_ms);
        let mut judged = Vec::new();
        let mut served = None;
        match self.settings.mode {
            Mode::Live => served = state.served_live(seq, exchange),
            Mode::Recorded => {
                if let Some(roster_task) = &roster_task {
                    seen.lane = understudy_policy::lane::choose(
                        roster_task,
                        seen.conversation,
                        self.key.call(&exchange.id.0),
                    );
                }
            }
        }
        if let Some(trial) = state.audit_of(id, seq, exchange, &seen) {
            (self.outlets.told)(Happened::Trial(Box::new(trial.clone())));
            events.push(Event::Trial(trial));
        }

        // Trials, each drawn before its answer is seen.
        if let (Some(reference), true) =
            (&reference, seen.eligible && !seen.repeats && state.ledger.trials_wanted())
        {
            let draw = self.key.call(&exchange.id.0);
            let mut drawn = Vec::new();
            for member in state.wanted(&self.cast, id, seq) {
                let on = serving.iter().any(|e| e.understudy == member.id);
                let serves = on && matches!(seen.lane, Lane::Understudy | Lane::Audit);
                let claim = if on { Claim::Serving } else { state.claim(&member.id) };
                let share = self.pace.share(&member.id.0, claim) * state.ledger.policy().trial_share;
                if serves || understudy_policy::lane::trial_drawn(draw, share) {
                    drawn.push((member, serves));
                }
            }
            for (member, serves) in drawn {
                if !self.pace.turn(crowded).await {
                    continue;
                }
                let Some(answer) =
                    trials::answer(&self.cast, &member.id, exchange, reference, self.settings.trial_deadline)
                        .await
                else {
                    continue;
                };
                self.pace.spent(&member.id.0, answer.spent);
                judged.push((serves, answer.trial(id, seq, exchange, &seen)));
            }
        }
        for (serves, one) in judged {
            (self.outlets.told)(Happened::Trial(Box::new(one.trial.clone())));
            let entry = serving.iter().find(|e| serves && e.understudy == one.trial.understudy);
            if let Some(entry) = entry {
                let verdict = one.verdict(entry, budget_ms);
                seen.answered_by_understudy = verdict.is_none();
                seen.total_ms = one.waited_ms(verdict, budget_ms).or(seen.total_ms);
                served = Some(one.served(entry, verdict));
            }
            let audited = entry.is_some() && seen.lane == Lane::Audit && seen.answered_by_understudy;
            events.push(Event::Trial(one.into_trial(audited)));
        }
        // Not before: whoever breaks off a trial reads the call again.
        self.folded = self.folded.max(seq);
        if let Some(state) = self.tasks.get_mut(&id) {
            state.tally(report::tokens(exchange), &seen, served.as_ref(), &events);
        }
        if let Some(served) = served {
            events.push(Event::Served(served));
        }
        events.push(Event::Exchange(seen));
        understudy_policy::replay_order(&mut events);
        self.fold(id, events);
        self.propose(id);
        if let Some(example) = reference.filter(|_| exchange.reply_is_known()) {
            self.learn(&task, seq, example).await;
        }
        self.settle().await
    }

    /// Applies events; what follows from them waits to be written.
    fn fold(&mut self, id: TaskId, events: Vec<Event>) {
        for event in events {
            let Some(state) = self.tasks.get_mut(&id) else {
                return;
            };
            let decisions = state.ledger.apply(&event);
            match event {
                Event::Trial(trial) => self.pending.push(Record::Trial(trial)),
                Event::EntryOpened(opened) => self.pending.push(Record::EntryOpened(opened)),
                // A live exchange is its own record.
                Event::Exchange(_) | Event::Served(_) if self.settings.mode == Mode::Live => {}
                event => {
                    self.pending.push(Record::Note {
                        kind: "event".to_owned(),
                        json: json!({"task": id, "event": event}),
                    });
                }
            }
            for decision in decisions {
                (self.outlets.told)(Happened::Decision(Box::new(decision.clone())));
                self.decisions.push(decision.clone());
                self.pending.push(Record::Decision(decision));
            }
        }
    }
}

#[cfg(test)]
mod tests;
