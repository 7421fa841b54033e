//! A closed conversation is fed, once, to everything that learns from it.

use std::collections::BTreeMap;

use super::Ledger;
use crate::conversations::Unit;
use crate::{ServedSeen, TrialKind};

impl Ledger {
    pub(super) fn feed(&mut self, unit: &Unit) {
        let (seq, several_turns) = (self.seq, self.multi_turn);
        let mut audited: BTreeMap<u32, f64> = BTreeMap::new();
        for entry in self.entries.iter_mut().filter(|e| e.closed.is_none()) {
            if unit.first_seq <= entry.opened.after_seq {
                continue;
            }
            let mut shadow = (0u32, 0u32);
            let mut audit = (0u32, 0u32);
            let mut strata: BTreeMap<u16, (u32, u32)> = BTreeMap::new();
            let understudy = entry.understudy;
            let was_asked = unit.asked == Some(entry.opened.k);
            for trial in unit.trials.iter().filter(|t| t.understudy == understudy) {
                let agrees = trial.answer.is_some_and(|a| a.agrees);
                let fair = unit.fair(trial, several_turns);
                match trial.kind {
                    TrialKind::Shadow if fair => {
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
                // What another entry declined are the hard calls, and tell nothing of
                // this one's strata; its own declines do.
                // Of a conversation that goes on only what was served and examined.
                let tells = trial.kind == TrialKind::Audit || ((fair || was_asked) && !unit.continued);
                if let Some(answer) = trial.answer.filter(|a| tells && a.confidence >= entry.bar) {
                    let tally = strata.entry(answer.stratum).or_default();
                    tally.0 += u32::from(agrees);
                    tally.1 += 1;
                }
            }
            if shadow.1 > 0 && !unit.continued {
                entry.feed(f64::from(shadow.0) / f64::from(shadow.1), seq);
            }
            if audit.1 > 0 {
                let mean = f64::from(audit.0) / f64::from(audit.1);
                if !unit.continued {
                    entry.audits.push(mean);
                }
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
                // A conversation that goes on for days is heard by the detector, and is no
                // further one for the step.
                let of_this_step = unit.first_seq > service.step_since && !unit.continued;
                service.audit(*mean, of_this_step);
            }
            let its_own = unit.served && unit.asked.is_none_or(|k| k == service.k);
            if (its_own || unit.control) && !unit.continued {
                service.arms(unit.served, unit.troubled, unit.calls);
            }
        }
        if !unit.continued {
            self.develop(unit);
        }
    }

    pub(super) fn served(&mut self, seen: &ServedSeen) {
        self.conversations.asked(seen.conversation, seen.k);
        for service in self.service.iter_mut().chain(&mut self.successor) {
            service.served(seen, &self.policy);
        }
    }
}
