//! The worker under a cluster's policy: rules laid over the configuration's, and tasks
//! kept at the stage that it names.

use std::collections::BTreeSet;
use std::sync::Arc;

use understudy_policy::{Action, Stage, TaskId};
use understudy_rehearsal::{Rehearsal, RehearsalError, TaskReport};

use super::source::Heard;
use super::source::document::{Document, Pinned};

/// By whom a task is moved and kept, before the policy's name.
const BY: &str = "policy ";

/// Moves that one look makes of a task at most: more than there are stages and steps.
const MOVES: usize = 24;

/// What the worker knows of the policy.
pub(crate) struct Ruling {
    heard: Option<Heard>,
    document: Arc<Document>,
    /// Tasks that a policy has pinned.
    pinned: BTreeSet<TaskId>,
}

impl Ruling {
    /// `None`: there is nobody to listen to.
    pub(super) fn new(heard: Option<Heard>) -> Self {
        let document = heard.as_ref().map(|h| Arc::clone(&h.borrow())).unwrap_or_default();
        Self { heard, document, pinned: BTreeSet::new() }
    }

    /// What holds when the worker starts.
    pub(super) fn document(&self) -> &Document {
        &self.document
    }

    /// Whom a policy pinned before this start is known by the decisions.
    pub(super) fn remember(&mut self, rehearsal: &Rehearsal) {
        for decision in rehearsal.decisions() {
            let by_policy = decision.by.as_deref().is_some_and(|by| by.starts_with(BY));
            if by_policy {
                self.pinned.insert(decision.task);
            } else if decision.by.is_some() {
                self.pinned.remove(&decision.task);
            }
        }
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

    /// Brings every task to where a policy keeps it; whether anything was moved.
    pub(super) async fn keep(&mut self, rehearsal: &mut Rehearsal) -> Result<bool, RehearsalError> {
        if self.pinned.is_empty() && self.document.policies.iter().all(|p| p.stage.is_none()) {
            return Ok(false);
        }
        let mut moved = false;
        for report in rehearsal.reports() {
            let id = report.task.to_string();
            let pin =
                self.document.pin_of(&id, &report.name).map(|(name, stage)| (format!("{BY}{name}"), stage));
            match pin {
                Some((by, stage)) => moved |= self.bring(rehearsal, &report, stage, &by).await?,
                None if self.pinned.remove(&report.task) && report.evidence.pinned => {
                    rehearsal.operate(&id, Action::Pin(false), &format!("{BY}that is no more")).await?;
                    moved = true;
                }
                None => {}
            }
        }
        Ok(moved)
    }

    async fn bring(
        &mut self,
        rehearsal: &mut Rehearsal,
        report: &TaskReport,
        wanted: Pinned,
        by: &str,
    ) -> Result<bool, RehearsalError> {
        let id = report.task.to_string();
        let mut evidence = report.evidence.clone();
        let mut moved = false;
        for _ in 0..MOVES {
            let Some(action) = next(evidence.stage, wanted, evidence.pinned, has_somebody(&evidence)) else {
                break;
            };
            rehearsal.operate(&id, action, by).await?;
            self.pinned.insert(report.task);
            moved = true;
            let now = rehearsal.reports().into_iter().find(|r| r.task == report.task);
            match now {
                Some(now) => evidence = now.evidence,
                None => break,
            }
        }
        Ok(moved)
    }
}

/// Whether an entry is open: somebody with a bar, who could serve.
fn has_somebody(evidence: &understudy_policy::LedgerView) -> bool {
    evidence.entries.iter().any(|e| e.closed.is_none())
}

/// What brings a task nearer to where it is wanted, if anything does now.
fn next(stage: Stage, wanted: Pinned, pinned: bool, has_somebody: bool) -> Option<Action> {
    let there = match wanted {
        Pinned::Live => Stage::Live,
        Pinned::Shadowing => Stage::Shadowing,
    };
    match stage.cmp(&there) {
        std::cmp::Ordering::Equal => (!pinned).then_some(Action::Pin(true)),
        std::cmp::Ordering::Greater => Some(Action::Demote),
        // Evidence takes it to shadowing by itself, and on from there only with somebody to serve.
        std::cmp::Ordering::Less => (stage > Stage::Observing && has_somebody).then_some(Action::Promote),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_brought_to_its_stage_and_kept_there() {
        let canary = Stage::Canary { step: 1 };
        assert_eq!(next(Stage::Observing, Pinned::Live, false, true), None);
        assert_eq!(next(Stage::Shadowing, Pinned::Live, false, false), None, "nobody could serve");
        assert_eq!(next(Stage::Shadowing, Pinned::Live, false, true), Some(Action::Promote));
        assert_eq!(next(canary, Pinned::Live, true, true), Some(Action::Promote), "whoever pinned it there");
        assert_eq!(next(Stage::Live, Pinned::Live, false, true), Some(Action::Pin(true)));
        assert_eq!(next(Stage::Live, Pinned::Live, true, true), None);
        assert_eq!(next(canary, Pinned::Shadowing, true, true), Some(Action::Demote));
        assert_eq!(next(Stage::Shadowing, Pinned::Shadowing, false, true), Some(Action::Pin(true)));
        assert_eq!(next(Stage::Observing, Pinned::Shadowing, false, false), None);
    }
}
