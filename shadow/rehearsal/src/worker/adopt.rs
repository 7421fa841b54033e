//! An adapter comes in, in four steps.
//!
//! 1. *Ordered*: a note in the journal, so that a restart goes on with it.
//! 2. *Drafted*, beside the worker's loop ([`Due`]): what it learnt is read and
//!    embedded.
//! 3. It *answers* the development rows, one at a time between the other work. A
//!    row that the engine could not be asked is put back; [`Tries`] says how often.
//! 4. *Concluded*: another note. It becomes a version whose bar its answers choose.
//!    Where the task has a specialised version already, that one answers the same
//!    rows, and the new one takes its place only if it is better beyond chance;
//!    otherwise it is kept beside, with the reason. So is one that could not be
//!    taken in.

mod answering;
mod due;
mod tries;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;
use understudy_call::{Declined, Priority, UnderstudyId};
use understudy_capture::Record;
use understudy_cast::registry::{Lesson, NOTE_KIND, Round};
use understudy_cast::{Cast, CastError};
use understudy_policy::{Event, TaskId};

use super::{Crowded, Happened, Rehearsal, RehearsalError, trials};
use answering::Answering;
use due::Came;
pub use due::{Drafted, Due};
use tries::{Engine, Tries};

/// The kind of the journal's notes on adapters that are to come in.
pub(super) const ORDERED: &str = "adoption-ordered";

/// The kind of the journal's notes on adapters that came in, or did not.
pub(super) const ADOPTION: &str = "adoption";

/// Time for an engine to show that it is there: it is milliseconds' work.
const LOOK_WITHIN: Duration = Duration::from_secs(2);

/// An adapter that is to come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// The task.
    pub task: TaskId,
    /// The adapter's name.
    pub adapter: String,
    /// Who said so.
    #[serde(default)]
    pub by: String,
}

/// What became of an adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adoption {
    /// The task.
    pub task: TaskId,
    /// The adapter's name.
    pub adapter: String,
    /// Rows that it was trained on.
    pub rows: u64,
    /// Development rows that it answered, and that agreed.
    pub answered: u64,
    /// Of those the ones that agreed.
    pub agreed: u64,
    /// The version that it became; `None` where it was kept beside, or failed.
    pub understudy: Option<UnderstudyId>,
    /// Against the version before, where there was one: won, lost, p.
    #[serde(default)]
    pub round: Option<(u64, u64, f64)>,
    /// Why, in words.
    pub reason: String,
}

impl Adoption {
    fn failed(order: Ordered, rows: u64, why: &str) -> Self {
        Self {
            task: order.task,
            adapter: order.adapter,
            rows,
            answered: 0,
            agreed: 0,
            understudy: None,
            round: None,
            reason: format!("not taken in: {why}; 'understudy task adopt' tries it again"),
        }
    }

    /// Whether nothing was learnt of it: one that is kept beside has lost a round.
    fn has_failed(&self) -> bool {
        self.understudy.is_none() && self.round.is_none()
    }
}

/// The adapters on their way in, in the order of their orders.
#[derive(Default)]
pub(super) struct Adopting {
    coming: VecDeque<Coming>,
    /// Looks at the engine so far.
    looks: u64,
}

struct Coming {
    order: Ordered,
    tries: Tries,
    at: At,
}

/// How far it has come.
enum At {
    /// It waits to be drafted, with what an earlier try has read.
    Ordered(Option<Box<Lesson>>),
    /// It is drafted, beside the loop.
    Drafting,
    /// It answers.
    Answering(Box<Answering>),
}

impl Adopting {
    /// The orders, for a checkpoint.
    pub(super) fn orders(&self) -> Vec<Ordered> {
        self.coming.iter().map(|c| c.order.clone()).collect()
    }

    /// Takes an order; `false` where it is under way already.
    pub(super) fn take(&mut self, order: Ordered) -> bool {
        let new = self.find(order.task, &order.adapter).is_none();
        if new {
            self.coming.push_back(Coming { order, tries: Tries::default(), at: At::Ordered(None) });
        }
        new
    }

    /// Lets go of one that was concluded.
    pub(super) fn end(&mut self, task: TaskId, adapter: &str) {
        self.coming.retain(|c| c.order.task != task || c.order.adapter != adapter);
    }

    /// Keeps those of some tasks.
    pub(super) fn keep(&mut self, of: impl Fn(TaskId) -> bool) {
        let all = self.coming.len();
        self.coming.retain(|c| of(c.order.task));
        if self.coming.len() < all {
            tracing::info!(
                adapters = all - self.coming.len(),
                "adapters of tasks without calls are left out"
            );
        }
    }

    fn find(&mut self, task: TaskId, adapter: &str) -> Option<&mut Coming> {
        self.coming.iter_mut().find(|c| c.order.task == task && c.order.adapter == adapter)
    }

    /// Whose turn it is to answer: one that has begun is brought to its end first,
    /// for the next may have to be better than it.
    fn in_turn(&self) -> Option<usize> {
        let answers = |c: &Coming, begun: bool| matches!(&c.at, At::Answering(a) if a.begun == begun);
        let of = |begun: bool| self.coming.iter().position(|c| answers(c, begun));
        of(true).or_else(|| of(false))
    }
}

impl Rehearsal {
    /// Notes that an adapter is to come in. Durable when this returns;
    /// [`Rehearsal::next_draft`] and [`Rehearsal::adopt_next`] do the work.
    ///
    /// # Errors
    /// There is no such task, or the journal failed.
    pub async fn order_adoption(
        &mut self,
        which: &str,
        adapter: &str,
        by: &str,
    ) -> Result<(), RehearsalError> {
        let task =
            self.book.find(which).map(|t| t.id).ok_or_else(|| RehearsalError::NoTask(which.to_owned()))?;
        let order = Ordered { task, adapter: adapter.to_owned(), by: by.to_owned() };
        if self.adopting.take(order.clone()) {
            self.pending.push(Record::Note { kind: ORDERED.to_owned(), json: json!(order) });
        }
        self.flush().await
    }

    /// The next draft that is to be made, one at a time; it comes back by
    /// [`Rehearsal::drafted`]. While the engine is off, orders wait.
    pub fn next_draft(&mut self) -> Option<Due> {
        if self.cast.engine_is_off() || self.adopting.coming.iter().any(|c| matches!(c.at, At::Drafting)) {
            return None;
        }
        let (book, cast, folded, now) = (&self.book, &self.cast, self.folded, Instant::now());
        self.adopting.coming.iter_mut().find_map(|coming| {
            let At::Ordered(lesson) = &mut coming.at else { return None };
            let task = book.task(coming.order.task).filter(|_| !coming.tries.rest(now))?.clone();
            let due = Due {
                order: coming.order.clone(),
                task,
                lesson: lesson.take(),
                folded,
                cast: Arc::clone(cast),
            };
            coming.at = At::Drafting;
            Some(due)
        })
    }

    /// Takes a draft back. One that could not be made for want of an engine waits to
    /// be made again.
    ///
    /// # Errors
    /// The journal failed.
    pub async fn drafted(&mut self, drafted: Drafted) -> Result<(), RehearsalError> {
        let Drafted { order, rows, came } = drafted;
        let Some(coming) = self.adopting.find(order.task, &order.adapter) else { return Ok(()) };
        let failed = match came {
            Came::Ready(answering) => {
                coming.tries.succeeded();
                coming.at = At::Answering(answering);
                None
            }
            Came::Away(lesson) => {
                coming.at = At::Ordered(Some(lesson));
                let pause = self.settings.adoption_pause;
                coming.tries.failed(Engine::Away, Instant::now(), pause).map(str::to_owned)
            }
            Came::Failed(why) => Some(why),
        };
        match failed {
            Some(why) => self.conclude(Adoption::failed(order, rows, &why)).await,
            None => Ok(()),
        }
    }

    /// Whether any adapter is on its way in.
    #[must_use]
    pub fn is_adopting(&self) -> bool {
        self.adopting.coming.iter().any(|c| self.book.task(c.order.task).is_some())
    }

    /// Whether one of them has something to answer, or to conclude, now.
    #[must_use]
    pub fn can_adopt(&self) -> bool {
        let coming = self.adopting.in_turn().and_then(|i| self.adopting.coming.get(i));
        coming.is_some_and(|c| !c.tries.rest(Instant::now()))
    }

    /// Development rows that a task's adapter has answered, and of how many; of none
    /// before it answers.
    pub(super) fn adopting_of(&self, task: TaskId) -> Option<(u64, u64)> {
        let coming = self.adopting.coming.iter().find(|c| c.order.task == task)?;
        Some(match &coming.at {
            At::Answering(answering) => answering.progress(),
            At::Ordered(_) | At::Drafting => (0, 0),
        })
    }

    /// One development row's answer, or the end of an adoption; `false` where there
    /// was none to be had: agents crowd, or the engine could not be asked.
    ///
    /// # Errors
    /// The journal failed.
    pub async fn adopt_next(&mut self) -> Result<bool, RehearsalError> {
        let Some(i) = self.adopting.in_turn() else { return Ok(false) };
        let Adopting { coming, looks } = &mut self.adopting;
        if let Some(Coming { order, tries, at: At::Answering(answering) }) = coming.get_mut(i)
            && !answering.left.is_empty()
        {
            if tries.rest(Instant::now()) || !self.pace.turn(Crowded::GoOn).await {
                return Ok(false);
            }
            answering.begin(&self.cast);
            let Err(why) = answering.answer(self.settings.trial_deadline).await else {
                tries.succeeded();
                // Less than this, and no bar could take enough of the calls.
                if let Some(policy) = self.tasks.get(&order.task).map(|state| state.ledger.policy()) {
                    answering.stop_under(policy.tau * policy.min_coverage);
                }
                return Ok(true);
            };
            let engine = match why {
                Declined::Unavailable => look(&self.cast, looks).await,
                // It has no room now, which is no fault of the adapter's.
                _ => Engine::Away,
            };
            if let Some(why) = tries.failed(engine, Instant::now(), self.settings.adoption_pause) {
                answering.give_up(why);
                *tries = Tries::default();
            }
            return Ok(false);
        }
        let Some(Coming { order, at: At::Answering(done), .. }) = coming.remove(i) else { return Ok(false) };
        let adoption = self.weigh(order, *done);
        self.conclude(adoption).await?;
        Ok(true)
    }

    /// What becomes of an adapter that has answered.
    fn weigh(&mut self, order: Ordered, done: Answering) -> Adoption {
        let Answering { task, rows, draft, before, judged, agreed_before, of, given_up, told_enough, .. } =
            done;
        if judged.len() * 2 < of {
            let why = given_up.map_or_else(|| CastError::NoRows.to_string(), str::to_owned);
            return Adoption::failed(order, rows, &why);
        }
        let agrees: Vec<bool> = judged.iter().map(|j| j.agrees).collect();
        let mut adoption = Adoption {
            task: order.task,
            adapter: order.adapter.clone(),
            rows,
            answered: agrees.len() as u64,
            agreed: agrees.iter().filter(|a| **a).count() as u64,
            understudy: None,
            round: None,
            reason: "the task's first".to_owned(),
        };
        let told = |reason: String| told_enough.iter().fold(reason, |all, told| format!("{all}; {told}"));
        adoption.reason = told(adoption.reason);
        if let Some((before, _)) = before {
            let rows = agreed_before.iter().zip(&judged).map(|(b, j)| (j.conversation, *b, j.agrees));
            let round = Round::of(rows);
            adoption.round = Some((round.won, round.lost, round.p));
            let of = format!(
                "of the conversations in which it differs from {before} it won {} and lost {} (p {:.3})",
                round.won, round.lost, round.p
            );
            if !round.is_better() {
                adoption.reason = told(format!("kept beside: {of}"));
                return adoption;
            }
            adoption.reason = told(format!("better: {of}"));
        }
        let made = match self.cast.adopt(draft, &judged) {
            Ok(made) => made,
            Err(why) => return Adoption::failed(order, rows, &why.to_string()),
        };
        adoption.understudy = Some(made.id.clone());
        if let Some(note) = self.cast.to_note(&made.id) {
            self.pending.push(Record::Note { kind: NOTE_KIND.to_owned(), json: note });
        }
        if let Some(fitted) = trials::fitted(&made, self.folded) {
            self.fold(task.id, vec![Event::Fitted(fitted)]);
        }
        (self.outlets.told)(Happened::Made(vec![made.id]));
        self.propose(task.id);
        adoption
    }

    /// Notes what became of one, durably, and tells of it.
    async fn conclude(&mut self, adoption: Adoption) -> Result<(), RehearsalError> {
        let Adoption { task, adapter, rows, answered, agreed, reason, .. } = &adoption;
        if adoption.has_failed() {
            tracing::warn!(%task, adapter, rows, reason, "an adapter was not taken in");
        } else {
            tracing::info!(%task, adapter, rows, answered, agreed, reason, "an adapter came in");
        }
        self.pending.push(Record::Note { kind: ADOPTION.to_owned(), json: json!(adoption) });
        self.keep_adoption(adoption);
        self.flush().await
    }

    /// Keeps what became of an adapter. A note is read once more behind the
    /// checkpoint that knows it, and what a later try came to takes the place of a
    /// failure.
    pub(super) fn keep_adoption(&mut self, adoption: Adoption) {
        self.adopting.end(adoption.task, &adoption.adapter);
        self.meet(adoption.task);
        if let Some(state) = self.tasks.get_mut(&adoption.task) {
            let stale = |a: &Adoption| *a == adoption || (a.has_failed() && a.adapter == adoption.adapter);
            state.adoptions.retain(|a| !stale(a));
            state.adoptions.push(adoption);
        }
    }
}

/// Whether the engine answers at all: an adapter that it refuses looks like an
/// engine that is away.
async fn look(cast: &Cast, looks: &mut u64) -> Engine {
    *looks += 1;
    let Some(embedder) = cast.embedder() else { return Engine::Away };
    // The cast remembers the vectors of what was asked before.
    let text = [format!("is anybody there? {looks}")];
    match tokio::time::timeout(LOOK_WITHIN, embedder.embed(&text, Priority::Shadow)).await {
        Ok(Ok(_)) => Engine::Answers,
        _ => Engine::Away,
    }
}
