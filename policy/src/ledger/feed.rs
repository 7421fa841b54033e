//! A closed conversation is fed, once, to everything that learns from it.

use std::collections::BTreeMap;

use super::{Development, Ledger};
use crate::bar::DevCall;
use crate::conversations::Unit;
use crate::{ServedSeen, TrialKind};

/// Development keeps at most so many times the conversations that a bar needs,
/// the latest ones.
const DEVELOPMENT_KEPT: u32 = 4;

impl Ledger {
    pub(super) fn feed(&mut self, unit: &Unit) {
        let seq = self.seq;
        let mut audited: BTreeMap<u32, f64> = BTreeMap::new();
        for entry in self.entries.iter_mut().filter(|e| e.closed.is_none()) {
            if unit.first_seq <= entry.opened.after_seq {
                continue;
            }
            let mut shadow = (0u32, 0u32);
            let mut audit = (0u32, 0u32);
            let mut strata: BTreeMap<u16, (u32, u32)> = BTreeMap::new();
            let understudy = entry.understudy;
            for trial in unit.trials.iter().filter(|t| t.understudy == understudy) {
                let agrees = trial.answer.is_some_and(|a| a.agrees);
                match trial.kind {
                    TrialKind::Shadow if unit.fair(trial) => {
                        let taken = trial.answer.is_some_and(|a| entry.takes(a.confidence, a.stratum));
                        entry.cover(taken);
                        if taken {
                            shadow.0 += u32::from(agrees);
                            shadow.1 += 1;
                        }
                    }
                    TrialKind::Audit => {
                        if trial.answer.is_some() {
                            audit.0 += u32::from(agrees);
                            audit.1 += 1;
                        }
                    }
                    TrialKind::Shadow => {}
                }
                if let Some(answer) = trial.answer.filter(|a| a.confidence >= entry.bar) {
                    let tally = strata.entry(answer.stratum).or_default();
                    tally.0 += u32::from(agrees);
                    tally.1 += 1;
                }
            }
            if shadow.1 > 0 {
                entry.feed(f64::from(shadow.0) / f64::from(shadow.1), seq);
            }
            if audit.1 > 0 {
                let mean = f64::from(audit.0) / f64::from(audit.1);
                entry.audits.push(mean);
                audited.insert(entry.opened.k, mean);
            }
            // Only now: what this conversation says of the strata holds from
            // the next one on.
            for (stratum, (agrees, n)) in strata {
                entry.note_stratum(stratum, agrees, n);
                entry.judge_stratum(stratum, &self.policy);
            }
        }
        for service in self.service.iter_mut().chain(&mut self.successor) {
            if unit.first_seq <= service.since {
                continue;
            }
            if let Some(mean) = audited.get(&service.k) {
                let of_this_step = unit.first_seq > service.step_since;
                service.audit(*mean, of_this_step);
            }
            let its_own = unit.served && unit.asked.is_none_or(|k| k == service.k);
            if its_own || unit.control {
                service.arms(unit.served, unit.troubled, unit.calls);
            }
        }
        self.develop(unit);
    }

    /// Keeps a conversation's trials as development of the versions that have
    /// no open entry.
    fn develop(&mut self, unit: &Unit) {
        for trial in &unit.trials {
            if trial.kind != TrialKind::Shadow || !unit.fair(trial) {
                continue;
            }
            if self.entries.iter().any(|e| e.closed.is_none() && e.understudy == trial.understudy) {
                continue;
            }
            let development = self.development.entry(trial.understudy).or_default();
            if unit.first_seq <= development.after_seq {
                continue;
            }
            if !development.holds_next() {
                development.conversations += 1;
            }
            let (confidence, agrees, stratum) =
                trial.answer.map_or((None, false, 0), |a| (Some(a.confidence), a.agrees, a.stratum));
            development.calls.push(DevCall { conversation: development.next, confidence, agrees, stratum });
        }
        for development in self.development.values_mut() {
            if development.holds_next() {
                development.next += 1;
            }
            let kept = (DEVELOPMENT_KEPT * self.policy.dev_conversations).max(development.from_fit);
            if development.conversations > kept + self.policy.dev_conversations {
                development.forget_oldest(self.policy.dev_conversations);
            }
        }
    }

    /// Forgets development and begins it anew with conversations after this place.
    pub(super) fn develop_anew(&mut self) {
        for number in 0..self.names.len() {
            let Ok(number) = u16::try_from(number) else {
                break;
            };
            self.develop_anew_of(number);
        }
    }

    /// Forgets development of one version and begins it anew.
    pub(super) fn develop_anew_of(&mut self, understudy: u16) {
        self.development.insert(understudy, Development { after_seq: self.seq, ..Development::default() });
    }

    pub(super) fn served(&mut self, seen: &ServedSeen) {
        self.conversations.asked(seen.conversation, seen.k);
        for service in self.service.iter_mut().chain(&mut self.successor) {
            service.served(seen, &self.policy);
        }
    }
}

impl Development {
    pub(super) fn is_due(&self, enough: u32) -> bool {
        let n = self.conversations;
        let step = (n.next_power_of_two() / 32).max(1);
        n == enough || n == self.from_fit || n.is_multiple_of(step)
    }

    fn holds_next(&self) -> bool {
        self.calls.last().is_some_and(|c| c.conversation == self.next)
    }

    fn forget_oldest(&mut self, conversations: u32) {
        let kept_from = self.next.saturating_sub(self.conversations.saturating_sub(conversations));
        self.calls.retain(|c| c.conversation >= kept_from);
        self.conversations = self.conversations.saturating_sub(conversations);
        self.from_fit = self.from_fit.saturating_sub(conversations);
    }
}
