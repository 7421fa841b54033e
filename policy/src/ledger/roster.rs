//! What the gateway is told.

use understudy_call::{Credential, FormHash};

use super::Ledger;
use super::entry::Standing;
use crate::exact::before_door;
use crate::{RosterEntry, RosterTask, Stage};

/// What a roster says of a task that the ledger does not know.
#[derive(Debug, Clone, PartialEq)]
pub struct RosterMeta {
    /// Its human name.
    pub name: String,
    /// Its form.
    pub form: FormHash,
    /// Whose it is; `None` for a shared task.
    pub credential: Option<Credential>,
    /// Milliseconds an understudy has.
    pub budget_ms: f64,
}

impl Ledger {
    /// The task as the gateway sees it; `None` unless it serves.
    #[must_use]
    pub fn roster_task(&self, meta: &RosterMeta) -> Option<RosterTask> {
        let entry = self.serving()?;
        let (share, audit) = match self.stage {
            Stage::Observing | Stage::Shadowing => return None,
            Stage::Canary { step } => (self.policy.steps.get(usize::from(step)).copied()?, 1.0),
            Stage::Live => (1.0, self.audit_share()),
        };
        let with = |standing: Standing| -> Vec<String> {
            entry
                .strata
                .iter()
                .filter(|(_, s)| s.standing == standing)
                .filter_map(|(number, _)| self.strata.get(usize::from(*number)).cloned())
                .collect()
        };
        Some(RosterTask {
            task: self.task,
            name: meta.name.clone(),
            form: meta.form,
            credential: meta.credential,
            stage: self.stage,
            share,
            audit,
            control: self.policy.control_share,
            budget_ms: meta.budget_ms,
            entries: vec![RosterEntry {
                k: entry.opened.k,
                understudy: entry.opened.understudy.clone(),
                // The gateway compares what has not been through the door.
                bar: before_door(entry.bar),
                strata: with(Standing::Allowed),
                weak: with(Standing::Weak),
            }],
        })
    }

    pub(super) fn audit_share(&self) -> f64 {
        let served = self.service.as_ref().map_or(0, |s| s.live_served);
        if served < u64::from(self.policy.audit_first) {
            self.policy.audit_first_share.max(self.policy.audit_share)
        } else {
            self.policy.audit_share
        }
    }
}
