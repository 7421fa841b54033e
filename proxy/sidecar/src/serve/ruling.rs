//! The worker under a cluster's policy: rules laid over the configuration's, and tasks
//! kept at the stage that it names.

use std::sync::Arc;

use understudy_policy::{Action, LedgerView, Stage};
use understudy_rehearsal::{Rehearsal, RehearsalError, TaskReport};

use super::source::Heard;
use super::source::document::{Document, Pinned};

/// By whom a task is moved and kept, before the policy's name.
const BY: &str = "policy ";

/// Moves that one look makes of a task at most: more than there are stages and steps.
const MOVES: usize = 24;

/// What the worker knows of the policy. Which tasks one has pinned is in their ledgers,
/// so that it is known after a restart, whatever was decided since.
pub(crate) struct Ruling {
    heard: Option<Heard>,
    document: Arc<Document>,
}

impl Ruling {
    /// `None`: there is nobody to listen to.
    pub(super) fn new(heard: Option<Heard>) -> Self {
        let document = heard.as_ref().map(|h| Arc::clone(&h.borrow())).unwrap_or_default();
        Self { heard, document }
    }

    /// What holds when the worker starts.
    pub(super) fn document(&self) -> &Document {
        &self.document
    }

    /// Ends with the next change; never where there is nobody to listen to.
    pub(super) async fn changed(&mut self) {
        let changed = match &mut self.heard {
            Some(heard) => heard.changed().await.is_ok(),
            None => false,
        };
        if !changed {
            std::future::pending::<()>().await;
        }
    }

    /// Takes in what was heard; whether that was something.
    pub(super) async fn look(&mut self, rehearsal: &mut Rehearsal) -> Result<bool, RehearsalError> {
        let Some(heard) = &mut self.heard else { return Ok(false) };
        let document = Arc::clone(&heard.borrow_and_update());
        if Arc::ptr_eq(&document, &self.document) || document == self.document {
            return Ok(false);
        }
        self.document = document;
        rehearsal.amend(self.document.amendments()).await?;
        Ok(true)
    }

    /// Brings every task to where a policy keeps it, and lets go of those that one has
    /// pinned and none keeps any more; whether anything was done.
    pub(super) async fn keep(&self, rehearsal: &mut Rehearsal) -> Result<bool, RehearsalError> {
        if self.document.policies.iter().all(|p| p.stage.is_none()) && !is_any_a_policys(rehearsal) {
            return Ok(false);
        }
        let mut moved = false;
        for report in rehearsal.reports() {
            let id = report.task.to_string();
            let pin =
                self.document.pin_of(&id, &report.name).map(|(name, stage)| (format!("{BY}{name}"), stage));
            match pin {
                Some((by, stage)) => moved |= bring(rehearsal, &report, stage, &by).await?,
                None if is_a_policys(report.evidence.pinned_by.as_deref()) => {
                    rehearsal.operate(&id, Action::Pin(false), &format!("{BY}that is no more")).await?;
                    moved = true;
                }
                None => {}
            }
        }
        Ok(moved)
    }
}

async fn bring(
    rehearsal: &mut Rehearsal,
    report: &TaskReport,
    wanted: Pinned,
    by: &str,
) -> Result<bool, RehearsalError> {
    let id = report.task.to_string();
    let mut evidence = report.evidence.clone();
    let mut moved = false;
    for _ in 0..MOVES {
        let Some(action) = next(evidence.stage, wanted, is_kept(&evidence), has_somebody(&evidence)) else {
            break;
        };
        rehearsal.operate(&id, action, by).await?;
        moved = true;
        let now = rehearsal.reports().into_iter().find(|r| r.task == report.task);
        match now {
            Some(now) => evidence = now.evidence,
            None => break,
        }
    }
    Ok(moved)
}

/// Whether this is a policy's name, and not a person's.
fn is_a_policys(by: Option<&str>) -> bool {
    by.is_some_and(|by| by.starts_with(BY))
}

/// Whether a policy has pinned any task.
fn is_any_a_policys(rehearsal: &Rehearsal) -> bool {
    let tasks = rehearsal.book().tasks();
    tasks.into_iter().filter_map(|t| rehearsal.ledger(t.id)).any(|l| is_a_policys(l.pinned_by()))
}

/// Whether a task is kept at its stage. A person's pin is left alone where it keeps the
/// task where a policy wants it, too. Once a policy has moved the task, it keeps what
/// nobody asked for: the pin becomes the policy's, or the task would stay there for good
/// when that is gone.
fn is_kept(evidence: &LedgerView) -> bool {
    let last = evidence.last_decision.as_ref();
    let was_moved = last.is_some_and(|d| d.from != d.to && is_a_policys(d.by.as_deref()));
    evidence.pinned && (is_a_policys(evidence.pinned_by.as_deref()) || !was_moved)
}

/// Whether an entry is open: somebody with a bar, who could serve.
fn has_somebody(evidence: &LedgerView) -> bool {
    evidence.entries.iter().any(|e| e.closed.is_none())
}

/// What brings a task nearer to where it is wanted, if anything does now.
fn next(stage: Stage, wanted: Pinned, kept: bool, has_somebody: bool) -> Option<Action> {
    let there = match wanted {
        Pinned::Live => Stage::Live,
        Pinned::Shadowing => Stage::Shadowing,
    };
    match stage.cmp(&there) {
        std::cmp::Ordering::Equal => (!kept).then_some(Action::Pin(true)),
        std::cmp::Ordering::Greater => Some(Action::Demote),
        // Evidence takes it to shadowing by itself, and on from there only with somebody to serve.
        std::cmp::Ordering::Less => (stage > Stage::Observing && has_somebody).then_some(Action::Promote),
    }
}

#[cfg(test)]
mod tests;
