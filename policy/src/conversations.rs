//! Conversations open and close: the unit of evidence.
//!
//! A conversation closes when more than `gap` places of the journal have passed
//! since the last call of its key, or at the end of a file; a later call of
//! the key opens a new unit. Nothing about a unit is used before it closes.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use understudy_call::{ConversationKey, Lane};

use crate::TrialKind;

/// Calls of a unit whose lane is remembered until their trials come.
const RECENT_CALLS: usize = 32;

/// Trials that a unit holds; those of a conversation that never ends are not
/// worth more. What is left out is chosen by position, never by outcome.
const MAX_TRIALS: usize = 4096;

/// A conversation, as far as it was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// Place of its first call.
    pub first_seq: u64,
    /// Place of its last call.
    pub last_seq: u64,
    /// Its calls.
    pub calls: u32,
    /// Whether any call was drawn for the understudy, audited or not.
    pub served: bool,
    /// The entry that was asked last in it, if any was.
    #[serde(default)]
    pub asked: Option<u32>,
    /// Whether it belongs to the control group.
    pub control: bool,
    /// Whether it shows trouble: a tool error, a cut-off, the same asked again.
    pub troubled: bool,
    /// Its trials.
    pub trials: Vec<UnitTrial>,
    recent: VecDeque<(u64, Lane, bool)>,
}

/// A trial within a unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnitTrial {
    /// The understudy's number in the ledger.
    pub understudy: u16,
    /// In the shadows, or served and examined.
    pub kind: TrialKind,
    /// The call's place.
    pub seq: u64,
    /// The call's lane.
    pub lane: Lane,
    /// The answer; `None` when it declined by itself.
    pub answer: Option<UnitAnswer>,
}

/// A judged answer within a unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct UnitAnswer {
    /// How sure the understudy was.
    #[serde(with = "crate::exact")]
    pub confidence: f64,
    /// Whether the replies agree.
    pub agrees: bool,
    /// The stratum's number in the ledger.
    pub stratum: u16,
}

/// The open conversations of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversations {
    gap: u64,
    open: BTreeMap<ConversationKey, Unit>,
    /// Calls in order: the first tells which conversation may be due.
    touches: VecDeque<(u64, ConversationKey)>,
}

impl Unit {
    fn new(seq: u64) -> Self {
        Self {
            first_seq: seq,
            last_seq: seq,
            calls: 0,
            served: false,
            asked: None,
            control: false,
            troubled: false,
            trials: Vec::new(),
            recent: VecDeque::new(),
        }
    }

    /// Whether a shadow trial is a fair draw of the task's calls. In a
    /// conversation that the understudy serves, the provider answers the calls
    /// that it declined, which are the hard ones: of those only the audited
    /// calls count, drawn independently of confidence. Where conversations have
    /// several turns not even those: from the second turn on an answered call has
    /// no reference, so what is left of it are the declined ones once more.
    #[must_use]
    pub fn fair(&self, trial: &UnitTrial, several_turns: bool) -> bool {
        match trial.lane {
            Lane::Audit => !several_turns,
            Lane::Understudy => false,
            Lane::Provider | Lane::Control => !self.served,
        }
    }
}

/// A call, as conversations need it.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Its place.
    pub seq: u64,
    /// Its lane.
    pub lane: Lane,
    /// Whether it repeats an earlier body of the day.
    pub repeats: bool,
    /// Whether it shows trouble.
    pub troubled: bool,
}

impl Conversations {
    /// None open yet.
    #[must_use]
    pub fn new(gap: u64) -> Self {
        Self { gap, open: BTreeMap::new(), touches: VecDeque::new() }
    }

    /// Takes out the conversations that have been silent up to `seq`, the
    /// longest silent first. Ask before [`Self::call`] at the same place.
    pub fn close_silent(&mut self, seq: u64) -> Vec<Unit> {
        let mut closed = Vec::new();
        while let Some((touched, key)) = self.touches.front().copied() {
            if touched.saturating_add(self.gap) >= seq {
                break;
            }
            self.touches.pop_front();
            if self.open.get(&key).is_some_and(|u| u.last_seq == touched) {
                closed.extend(self.open.remove(&key));
            }
        }
        closed
    }

    /// Takes out every open conversation, the longest silent first.
    pub fn close_all(&mut self) -> Vec<Unit> {
        self.touches.clear();
        let mut closed: Vec<Unit> = std::mem::take(&mut self.open).into_values().collect();
        closed.sort_by_key(|u| (u.last_seq, u.first_seq));
        closed
    }

    /// Forgets every open conversation.
    pub fn forget(&mut self) {
        self.touches.clear();
        self.open.clear();
    }

    /// From here on conversations close after as many entries without a call.
    pub fn set_gap(&mut self, gap: u64) {
        self.gap = gap;
    }

    /// Open conversations.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Notes a call.
    pub fn call(&mut self, key: ConversationKey, call: Call) {
        let unit = self.open.entry(key).or_insert_with(|| Unit::new(call.seq));
        if unit.calls == 0 || call.seq > unit.last_seq {
            unit.last_seq = unit.last_seq.max(call.seq);
            self.touches.push_back((unit.last_seq, key));
        }
        unit.calls += 1;
        unit.served |= matches!(call.lane, Lane::Understudy | Lane::Audit);
        unit.control |= call.lane == Lane::Control;
        // The same again within a conversation: the first answer was of no use.
        // Another customer's same question is none.
        unit.troubled |= call.troubled || (call.repeats && unit.calls > 1);
        if unit.recent.len() == RECENT_CALLS {
            unit.recent.pop_front();
        }
        unit.recent.push_back((call.seq, call.lane, call.repeats));
    }

    /// Notes which entry was asked in an open conversation.
    pub fn asked(&mut self, key: ConversationKey, k: u32) {
        if let Some(unit) = self.open.get_mut(&key) {
            unit.asked = Some(k);
        }
    }

    /// Notes a trial. A trial on a repeat, or given twice, is not noted.
    pub fn trial(&mut self, key: ConversationKey, mut trial: UnitTrial) {
        if !self.open.contains_key(&key) {
            // Its call was not told: a unit of its own, on the provider's lane.
            self.call(key, Call { seq: trial.seq, lane: trial.lane, repeats: false, troubled: false });
        }
        let Some(unit) = self.open.get_mut(&key) else {
            return;
        };
        if let Some((_, lane, repeats)) = unit.recent.iter().rev().find(|(seq, ..)| *seq == trial.seq) {
            if *repeats {
                return;
            }
            trial.lane = *lane;
        }
        let twice = unit
            .trials
            .iter()
            .rev()
            .take(64)
            .any(|t| t.seq == trial.seq && t.understudy == trial.understudy && t.kind == trial.kind);
        if !twice && unit.trials.len() < MAX_TRIALS {
            unit.trials.push(trial);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests"
    )]
    use super::*;

    fn key(i: u8) -> ConversationKey {
        ConversationKey([i; 16])
    }

    fn call(seq: u64, repeats: bool) -> Call {
        Call { seq, lane: Lane::Provider, repeats, troubled: false }
    }

    fn trial(seq: u64) -> UnitTrial {
        UnitTrial { understudy: 0, kind: TrialKind::Shadow, seq, lane: Lane::Provider, answer: None }
    }

    #[test]
    fn a_conversation_closes_after_the_gap_and_opens_anew() {
        let mut book = Conversations::new(10);
        book.call(key(1), call(1, false));
        book.call(key(2), call(5, false));
        book.call(key(1), call(8, false));
        assert!(book.close_silent(15).is_empty());
        let closed = book.close_silent(16);
        assert_eq!(closed.iter().map(|u| u.first_seq).collect::<Vec<_>>(), [5]);
        let closed = book.close_silent(19);
        assert_eq!(closed.iter().map(|u| (u.first_seq, u.calls)).collect::<Vec<_>>(), [(1, 2)]);
        book.call(key(1), call(19, false));
        assert_eq!(book.close_all().iter().map(|u| u.first_seq).collect::<Vec<_>>(), [19]);
    }

    #[test]
    fn a_repeat_and_a_second_telling_are_no_new_evidence() {
        let mut book = Conversations::new(10);
        book.call(key(1), call(1, false));
        book.trial(key(1), trial(1));
        book.trial(key(1), trial(1));
        book.call(key(1), call(2, true));
        book.trial(key(1), trial(2));
        assert_eq!(book.close_all()[0].trials.len(), 1);
    }

    #[test]
    fn declined_calls_of_a_served_conversation_are_no_fair_draw() {
        let mut book = Conversations::new(10);
        for (seq, lane) in [(1, Lane::Understudy), (2, Lane::Audit), (3, Lane::Provider)] {
            book.call(key(1), Call { seq, lane, repeats: false, troubled: false });
            book.trial(key(1), trial(seq));
        }
        let unit = book.close_all().remove(0);
        let fair = |several_turns| -> Vec<u64> {
            unit.trials.iter().filter(|t| unit.fair(t, several_turns)).map(|t| t.seq).collect()
        };
        assert_eq!(fair(false), [2]);
        assert!(fair(true).is_empty());
    }
}
