//! Development: what chooses a version's bar, and whether to go on with it.
//! Nothing here is evidence.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use understudy_call::UnderstudyId;

use super::Ledger;
use super::view::CurvePoint;
use crate::bar::{self, DevCall};
use crate::conversations::Unit;
use crate::exact::door;
use crate::{EntryOpened, Fitted, Stage, TrialKind};

/// Development keeps at most so many times the conversations that a bar needs,
/// the latest ones.
const DEVELOPMENT_KEPT: u32 = 4;

/// Trials of a version that has no open entry.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Development {
    pub(super) calls: Vec<DevCall>,
    pub(super) conversations: u32,
    next: u32,
    /// How many of them the fit itself judged.
    from_fit: u32,
    /// Conversations that began up to here are not looked at.
    after_seq: u64,
    /// Calls of the task within which it is looked at once more, since what stood in the
    /// way of an entry has gone: a version that was given up gets no further trials.
    #[serde(default, skip_serializing_if = "is_zero")]
    once_more: u8,
}

fn is_zero(n: &u8) -> bool {
    *n == 0
}

impl Ledger {
    /// Proposes an entry of a version that may answer and whose development is done:
    /// enough closed conversations, a bar that Learn then Test keeps, coverage worth its
    /// delay, and clearly more of it than the one that serves, if one does.
    /// The caller writes it down, then applies it as [`crate::Event::EntryOpened`].
    #[must_use]
    pub fn propose_entry(&self, understudy: &UnderstudyId) -> Option<EntryOpened> {
        if self.cooldown > 0 || self.stage == Stage::Observing || !self.policy.permits(understudy) {
            return None;
        }
        let number = self.number_of(understudy)?;
        let development = self.development.get(&number)?;
        if development.conversations < self.policy.dev_conversations {
            return None;
        }
        let rules = bar::Rules {
            tau: self.policy.tau,
            delta: self.policy.bar_delta,
            least_coverage: self.coverage_to_beat(),
            // What is to take another's place must not be worse at it.
            aim_only: self.service.is_some(),
        };
        let bar = bar::choose(&development.calls, &rules, bar::grid(development.conversations))?;
        Some(EntryOpened {
            task: self.task,
            k: self.last_k + 1,
            understudy: understudy.clone(),
            bar: bar.bar,
            after_seq: self.seq,
            expected_coverage: door(bar.coverage),
            expected_agreement: door(bar.agreement),
            cost_rank: 0,
        })
    }

    /// Whether it is time to look for a bar: there is enough, the fit's own
    /// judgements have come, or a twentieth more conversations. At every one it
    /// would cost time and wear δ down for nothing.
    #[must_use]
    pub fn is_proposal_due(&self, understudy: &UnderstudyId) -> bool {
        let development = self.number_of(understudy).and_then(|n| self.development.get(&n));
        development.is_some_and(|d| d.is_due(self.policy.dev_conversations))
    }

    /// Whether more development of a version would tell nothing: there was twice
    /// as much as a bar needs, beyond what its fit judged, and none came of it, or
    /// none can be hoped for.
    #[must_use]
    pub fn is_given_up(&self, understudy: &UnderstudyId) -> bool {
        self.number_of(understudy).and_then(|n| self.development.get(&n)).is_some_and(|d| {
            d.beyond_fit() >= self.policy.dev_conversations.saturating_mul(2)
                || bar::is_out_of_reach(&d.calls, self.policy.tau, bar::COARSE)
        })
    }

    /// Whether a version was given up and has no open entry.
    pub(super) fn rests(&self, understudy: &UnderstudyId) -> bool {
        self.is_given_up(understudy) && self.open_understudies().all(|u| u != understudy)
    }

    /// Whether a version still has to show what it is worth: it has fewer
    /// development conversations than a bar needs, or an entry that has not
    /// earned its evidence and has not been judged for long without result.
    #[must_use]
    pub fn is_undecided(&self, understudy: &UnderstudyId) -> bool {
        let Some(number) = self.number_of(understudy) else {
            return true;
        };
        if let Some(entry) = self.entries.iter().find(|e| e.closed.is_none() && e.understudy == number) {
            return entry.earned.is_none() && entry.calls < self.judged_long();
        }
        self.development(understudy).0 < self.policy.dev_conversations && !self.is_given_up(understudy)
    }

    /// Judged calls after which an entry without result is not waited for.
    pub(super) fn judged_long(&self) -> u64 {
        2 * u64::from(self.policy.audit_first)
    }

    /// Coverage that makes an entry worth its delay, or worth a change.
    pub(super) fn coverage_to_beat(&self) -> f64 {
        let serves = self.service.iter().chain(&self.successor);
        serves
            .filter_map(|s| {
                let entry = self.entries.iter().find(|e| e.opened.k == s.k)?;
                // Of the asked calls, once there are enough; until then what its trials promise.
                let coverage = s.answered_share().unwrap_or_else(|| entry.coverage());
                Some(coverage + self.policy.takeover_coverage)
            })
            .fold(self.policy.min_coverage, f64::max)
    }

    /// Whether a demotion's trials are still being waited for.
    #[must_use]
    pub fn is_cooling(&self) -> bool {
        self.cooldown > 0
    }

    /// What the fit of a version said of its own examples becomes development.
    pub(super) fn fitted(&mut self, fitted: &Fitted) {
        let number = self.number(&fitted.understudy);
        let strata: Vec<u16> = fitted.strata.iter().map(|name| self.stratum(name)).collect();
        let development = self.development.entry(number).or_default();
        let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
        for call in &fitted.calls {
            let next = numbers.len() as u32;
            let conversation = *numbers.entry(call.conversation).or_insert(next);
            development.calls.push(DevCall {
                conversation,
                confidence: call.confidence.map(door),
                agrees: call.agrees,
                stratum: strata.get(usize::from(call.stratum)).copied().unwrap_or(u16::MAX),
            });
        }
        development.conversations = numbers.len() as u32;
        development.from_fit = development.conversations;
        development.next = development.conversations;
    }

    /// The understudies with an open entry, by entry.
    pub fn open_understudies(&self) -> impl Iterator<Item = &UnderstudyId> {
        self.entries.iter().filter(|e| e.closed.is_none()).map(|e| &e.opened.understudy)
    }

    /// Closed development conversations of a version, and how many its bar needs.
    #[must_use]
    pub fn development(&self, understudy: &UnderstudyId) -> (u32, u32) {
        let done =
            self.number_of(understudy).and_then(|n| self.development.get(&n)).map_or(0, |d| d.conversations);
        (done, self.policy.dev_conversations)
    }

    /// Keeps a conversation's trials as development of the versions that may answer
    /// and have no open entry.
    pub(super) fn develop(&mut self, unit: &Unit) {
        for trial in &unit.trials {
            if trial.kind != TrialKind::Shadow || !unit.fair(trial, self.multi_turn) {
                continue;
            }
            if self.entries.iter().any(|e| e.closed.is_none() && e.understudy == trial.understudy) {
                continue;
            }
            let name = self.names.get(usize::from(trial.understudy));
            if name.is_some_and(|name| !self.policy.permits(name)) {
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

    /// Has every version's development looked at once more: nobody serves any more whose
    /// coverage was to be beaten, a cooldown is over, or the rules are others.
    pub(super) fn look_once_more(&mut self) {
        for development in self.development.values_mut() {
            development.once_more = 2;
        }
    }

    /// A call of the task: what was to be looked at once more has been, or is now.
    pub(super) fn looked(&mut self) {
        for development in self.development.values_mut() {
            development.once_more = development.once_more.saturating_sub(1);
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
}

impl Development {
    /// Conversations of the traffic, those that its fit judged left out: a version
    /// that comes with many would else be given up before its first trial.
    fn beyond_fit(&self) -> u32 {
        self.conversations.saturating_sub(self.from_fit)
    }

    pub(super) fn is_due(&self, enough: u32) -> bool {
        if self.once_more > 0 {
            return true;
        }
        let n = self.conversations;
        let step = (n.next_power_of_two() / 32).max(1);
        n == enough || n == self.from_fit || n.is_multiple_of(step)
    }

    /// Coverage against agreement, in tenths of the calls from the surest on.
    pub(super) fn curve(&self) -> Vec<CurvePoint> {
        let mut sure: Vec<(f64, bool)> =
            self.calls.iter().filter_map(|c| Some((c.confidence?, c.agrees))).collect();
        sure.sort_by(|a, b| b.0.total_cmp(&a.0));
        let all = self.calls.len();
        let point = |tenth: usize| {
            let taken = sure.get(..(all * tenth).div_ceil(10).min(sure.len()))?;
            let bar = taken.last()?.0;
            let agreed = taken.iter().filter(|(_, agrees)| *agrees).count();
            let share = |n: usize, of: usize| n as f64 / of as f64;
            Some(CurvePoint { bar, coverage: share(taken.len(), all), agreement: share(agreed, taken.len()) })
        };
        (1..=10).filter_map(point).collect()
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
