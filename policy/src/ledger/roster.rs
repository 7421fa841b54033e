//! What the gateway is told.

use understudy_call::{Credential, FormHash};

use super::Ledger;
use super::entry::Standing;
use crate::exact::before_door;
use crate::{RosterEntry, RosterTask, Stage, Successor};

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
        let service = self.service.as_ref()?;
        let (share, audit) = match self.stage {
            Stage::Observing | Stage::Shadowing => return None,
            Stage::Canary { step } => (self.policy.steps.get(usize::from(step)).copied()?, 1.0),
            Stage::Live => (1.0, self.audit_share()),
        };
        let successor = self.successor.as_ref().and_then(|s| {
            let share = self.policy.steps.get(usize::from(s.step)).copied()?;
            Some(Successor { share, entry: self.roster_entry(s.k)? })
        });
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
            entries: vec![self.roster_entry(service.k)?],
            successor,
            // No evidence speaks of them: they are for whoever reads the calls to say.
            models: Vec::new(),
        })
    }

    fn roster_entry(&self, k: u32) -> Option<RosterEntry> {
        let entry = self.entries.iter().find(|e| e.opened.k == k)?;
        let with = |standing: Standing| -> Vec<String> {
            entry
                .strata
                .iter()
                .filter(|(_, s)| s.standing == standing)
                .filter_map(|(number, _)| self.strata.get(usize::from(*number)).cloned())
                .collect()
        };
        Some(RosterEntry {
            k,
            understudy: entry.opened.understudy.clone(),
            // The gateway compares what has not been through the door.
            bar: before_door(entry.bar),
            strata: with(Standing::Allowed),
            weak: with(Standing::Weak),
        })
    }

    /// Whether an entry that covers clearly more than the live one has yet to
    /// prove itself. In a task that serves everything, fair evidence comes from
    /// audits and the control group alone: at the lower share a better version
    /// would wait for months. One that has been judged so often without result
    /// is not worth more.
    fn is_challenged(&self) -> bool {
        self.entries.iter().any(|e| {
            e.closed.is_none()
                && e.earned.is_none()
                && e.calls < self.judged_long()
                && e.coverage() >= self.coverage_to_beat()
        })
    }

    pub(super) fn audit_share(&self) -> f64 {
        let served = self.service.as_ref().map_or(0, |s| s.live_served);
        if served < u64::from(self.policy.audit_first) || self.is_challenged() {
            self.policy.audit_first_share.max(self.policy.audit_share)
        } else {
            self.policy.audit_share
        }
    }
}
