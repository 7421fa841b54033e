//! Beside an entry that is live, another one goes through its canary.
//!
//! The live one keeps its conversations but for the successor's share, so a
//! better version costs nothing while it proves itself. Every call that the
//! successor serves is audited; what speaks against it closes it alone, since
//! the live one has audits of its own. It takes the place when it has earned
//! every step.

use understudy_call::ConversationKey;

use super::Ledger;
use super::entry::Closed;
use super::service::Service;
use crate::{Decision, Stage, Why, lane};

impl Ledger {
    /// Whether a conversation is the successor's.
    pub(super) fn is_the_successors(&self, conversation: ConversationKey) -> bool {
        let step = self.successor.as_ref().map(|s| usize::from(s.step));
        let share = step.and_then(|step| self.policy.steps.get(step).copied());
        share.is_some_and(|share| lane::canary_drawn(conversation, share))
    }

    pub(super) fn begin_succession(&mut self, k: u32, out: &mut Vec<Decision>) {
        self.successor = Some(Service::begin(k, self.seq, &self.policy));
        self.decide(self.stage, self.stage, Why::Successor, Some(k), None, out);
    }

    /// Closes a successor that its canary speaks against. A pin does not save
    /// it: it keeps the task's stage, and that stays.
    pub(super) fn doubt_successor(&mut self, out: &mut Vec<Decision>) {
        let provider_ms = self.provider_ms.mean();
        let Some((k, why)) =
            self.successor.as_ref().and_then(|s| Some((s.k, s.alarm(&self.policy, provider_ms)?)))
        else {
            return;
        };
        self.decide(self.stage, self.stage, why, Some(k), None, out);
        self.successor = None;
        let understudy = self.entry_mut(k).map(|entry| {
            entry.closed = Some(Closed::Demoted);
            entry.understudy
        });
        if let Some(understudy) = understudy {
            self.develop_anew_of(understudy);
        }
        self.cooldown = self.cooldown.max(self.policy.cooldown_trials);
    }

    /// A step that the successor has earned leads to its next, or to the place.
    pub(super) fn succeed(&mut self, out: &mut Vec<Decision>) {
        let Some(successor) = &self.successor else { return };
        if self.stage != Stage::Live || !successor.has_earned_its_step(&self.policy) {
            return;
        }
        let (k, next) = (successor.k, self.after(successor.step));
        if let Stage::Canary { step } = next {
            self.decide(self.stage, self.stage, Why::StepEarned, Some(k), None, out);
            let seq = self.seq;
            if let Some(successor) = &mut self.successor {
                successor.step = step;
                successor.step(seq);
            }
            return;
        }
        self.decide(self.stage, self.stage, Why::Succeeds, Some(k), None, out);
        let old = self.service.take().map(|s| s.k);
        if let Some(entry) = old.and_then(|k| self.entry_mut(k)) {
            entry.closed = Some(Closed::Replaced);
        }
        self.service = self.successor.take();
        let seq = self.seq;
        if let Some(service) = &mut self.service {
            service.step = 0;
            service.step(seq);
        }
    }
}
