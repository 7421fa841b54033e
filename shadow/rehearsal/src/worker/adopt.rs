//! An adapter comes in: it answers the development rows, one at a time between
//! the other work, and becomes a version whose bar they choose.
//!
//! Where the task has a specialised version already, that one answers the same
//! rows, and the new one takes its place only if it is better beyond chance;
//! otherwise it is kept beside, with the reason.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use understudy_call::{Choice, Declined, Reply, Request, UnderstudyId};
use understudy_capture::Record;
use understudy_cast::registry::{Lesson, NOTE_KIND, Round};
use understudy_cast::specialised::{Draft, Judgement};
use understudy_cast::{CastError, Example};
use understudy_policy::{Event, TaskId};
use understudy_tasks::{Form, Part, Task};

use super::{Crowded, Happened, Rehearsal, RehearsalError, trials};
use crate::score;

/// The kind of the journal's notes on adapters that came in.
pub(super) const ADOPTION: &str = "adoption";

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
    /// The version that it became; `None` where it was kept beside.
    pub understudy: Option<UnderstudyId>,
    /// Against the version before, where there was one: won, lost, p.
    #[serde(default)]
    pub round: Option<(u64, u64, f64)>,
    /// Why, in words.
    pub reason: String,
}

/// An adapter that is answering its development rows.
pub(super) struct Adopting {
    task: Task,
    adapter: String,
    rows: u64,
    draft: Draft,
    /// The version that it would take the place of.
    before: Option<(UnderstudyId, Draft)>,
    left: VecDeque<Example>,
    of: usize,
    judged: Vec<Judgement>,
    /// Whether the version before agreed, row by row.
    agreed_before: Vec<bool>,
}

impl Rehearsal {
    /// Begins to take in an adapter; [`Rehearsal::adopt_next`] does the work.
    ///
    /// # Errors
    /// No such task, no engine, or no rows.
    pub async fn adopt(&mut self, which: &str, lesson: Lesson) -> Result<(), RehearsalError> {
        let task = self.book.find(which).cloned().ok_or_else(|| RehearsalError::NoTask(which.to_owned()))?;
        // It may have learnt anything up to here.
        let draft = self.cast.draft(&task, &lesson, self.folded).await?;
        let Lesson { adapter, trained, development, .. } = lesson;
        if development.is_empty() {
            return Err(CastError::NoRows.into());
        }
        self.adopting.push_back(Adopting {
            before: self.cast.specialised_of(task.id).and_then(|id| {
                let draft = self.cast.redraft(&id)?;
                Some((id, draft))
            }),
            task,
            adapter,
            rows: trained.len() as u64,
            draft,
            of: development.len(),
            left: development.into(),
            judged: Vec::new(),
            agreed_before: Vec::new(),
        });
        Ok(())
    }

    /// Development rows that adapters still have to answer, and of how many.
    #[must_use]
    pub fn adopting(&self) -> Option<(usize, usize)> {
        self.adopting.front().map(|a| (a.left.len(), a.of))
    }

    /// The same of one task: rows answered, and of how many.
    pub(super) fn adopting_of(&self, task: TaskId) -> Option<(u64, u64)> {
        let of = self.adopting.iter().find(|a| a.task.id == task)?;
        Some(((of.of - of.left.len()) as u64, of.of as u64))
    }

    /// One development row's answer, or the end of an adoption; `false` where there
    /// was none to be had, because agents crowd. An adapter that cannot be taken in
    /// is told of and let go: its task stays as it is.
    ///
    /// # Errors
    /// The journal failed.
    pub async fn adopt_next(&mut self) -> Result<bool, RehearsalError> {
        let Some(adopting) = self.adopting.front_mut() else {
            return Ok(false);
        };
        if !adopting.left.is_empty() && !self.pace.turn(Crowded::GoOn).await {
            return Ok(false);
        }
        if let Some(example) = adopting.left.pop_front() {
            let deadline = self.settings.trial_deadline;
            let request = asked(&adopting.task.form, &example.part);
            if let Some(one) = judge(&adopting.draft, &request, &example, deadline).await {
                if let Some((_, before)) = &adopting.before {
                    let Some(other) = judge(before, &request, &example, deadline).await else {
                        return Ok(true);
                    };
                    adopting.agreed_before.push(other.agrees);
                }
                adopting.judged.push(one);
            }
            return Ok(true);
        }
        let Some(done) = self.adopting.pop_front() else { return Ok(false) };
        let adoption = match self.concluded(done) {
            Ok(adoption) => adoption,
            Err(why) => {
                tracing::warn!(%why, "an adapter was not taken in");
                return Ok(true);
            }
        };
        let json = json!(adoption);
        self.pending.push(Record::Note { kind: ADOPTION.to_owned(), json });
        self.keep_adoption(adoption.clone());
        self.settle().await?;
        tracing::info!(
            task = %adoption.task,
            adapter = adoption.adapter,
            rows = adoption.rows,
            answered = adoption.answered,
            agreed = adoption.agreed,
            reason = adoption.reason,
            "an adapter came in"
        );
        Ok(true)
    }

    fn concluded(&mut self, done: Adopting) -> Result<Adoption, CastError> {
        let Adopting { task, adapter, rows, draft, before, judged, agreed_before, of, .. } = done;
        if judged.len() * 2 < of {
            return Err(CastError::NoRows);
        }
        let agrees: Vec<bool> = judged.iter().map(|j| j.agrees).collect();
        let count = |of: &[bool]| of.iter().filter(|a| **a).count() as u64;
        let mut adoption = Adoption {
            task: task.id,
            adapter,
            rows,
            answered: agrees.len() as u64,
            agreed: count(&agrees),
            understudy: None,
            round: None,
            reason: String::new(),
        };
        if let Some((before, _)) = before {
            let round = Round::of(&agreed_before, &agrees);
            adoption.round = Some((round.won, round.lost, round.p));
            let of = format!(
                "of the rows on which it differs from {before} it won {} and lost {} (p {:.3})",
                round.won, round.lost, round.p
            );
            if !round.is_better() {
                adoption.reason = format!("kept beside: {of}");
                return Ok(adoption);
            }
            adoption.reason = format!("better: {of}");
        } else {
            adoption.reason = "the task's first".to_owned();
        }
        let made = self.cast.adopt(draft, &judged)?;
        adoption.understudy = Some(made.id.clone());
        if let Some(note) = self.cast.to_note(&made.id) {
            self.pending.push(Record::Note { kind: NOTE_KIND.to_owned(), json: note });
        }
        if let Some(fitted) = trials::fitted(&made, self.folded) {
            self.fold(task.id, vec![Event::Fitted(fitted)]);
        }
        (self.outlets.told)(Happened::Made(vec![made.id]));
        self.propose(task.id);
        Ok(adoption)
    }

    pub(super) fn keep_adoption(&mut self, adoption: Adoption) {
        self.meet(adoption.task);
        if let Some(state) = self.tasks.get_mut(&adoption.task) {
            state.adoptions.push(adoption);
        }
    }
}

/// The call that a development row was, its system text aside: a specialised
/// understudy is never shown that.
fn asked(form: &Form, part: &Part) -> Request {
    Request {
        messages: part.turns.clone(),
        tools: form.tools.clone(),
        tool_choice: form.tool_choice.clone(),
        format: form.format.clone(),
        ..Request::default()
    }
}

/// `None` where the engine could not be asked, which says nothing of the adapter.
async fn judge(draft: &Draft, request: &Request, example: &Example, deadline: Duration) -> Option<Judgement> {
    let nothing =
        Judgement { conversation: example.errand(), signals: None, agrees: false, stratum: String::new() };
    match draft.rehearse(request, example, deadline).await {
        Ok((choice, signals, stratum)) => {
            let score = score::compare(request, &whole(&example.reply), &whole(&choice));
            Some(Judgement { signals: Some(signals), agrees: score.agrees, stratum, ..nothing })
        }
        Err(Declined::Unavailable | Declined::Busy | Declined::Cancelled | Declined::Budget) => None,
        Err(_) => Some(nothing),
    }
}

/// A reply of one choice.
fn whole(choice: &Choice) -> Reply {
    Reply { choices: vec![choice.clone()], ..Reply::default() }
}
