//! Conversations open and close: the unit of evidence.
//!
//! A conversation closes when more than `gap` places of the journal have passed
//! since the last call of its key, or at the end of a file; a later call of
//! the key opens a new unit. Nothing about a unit is used before it closes.
//!
//! Where many agents talk at once, more than `gap` entries lie between two turns of
//! one conversation, and each would be a unit: evidence by calls, which is not valid.
//! So the gap stretches to what lies between turns, as far as that is seen, and
//! conversations stay whole. A unit that goes on from a closed one all the same, as its
//! first call has turns before it, is marked: it is no new evidence for anybody, and
//! audits in it are still heard. An agent that begins anew with the same words each hour
//! has a new conversation each hour.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use understudy_call::{ConversationKey, Lane};

use crate::TrialKind;

/// Calls of a unit whose lane is remembered until their trials come.
const RECENT_CALLS: usize = 32;

/// Trials that a unit holds; those of a conversation that never ends are not
/// worth more. What is left out is chosen by position, never by outcome.
const MAX_TRIALS: usize = 4096;

/// Closed conversations that are remembered, the latest.
const CLOSED: usize = 512;

/// So many times the gap is the longest that it stretches to.
const MOST_STRETCH: u64 = 64;

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
    /// Whether it goes on from one that was closed: no new evidence.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continued: bool,
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
    /// The latest that were closed, with the place of their last call.
    #[serde(default)]
    closed: VecDeque<(ConversationKey, u64)>,
    /// What the gap has stretched to; 0 while it has not.
    #[serde(default)]
    stretched: u64,
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
            continued: false,
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
    /// Whether a turn of the model stands before it.
    pub later_turn: bool,
}

impl Call {
    /// A call of which nothing but its place and lane is known.
    fn untold(seq: u64, lane: Lane) -> Self {
        Self { seq, lane, repeats: false, troubled: false, later_turn: false }
    }
}

impl Conversations {
    /// None open yet.
    #[must_use]
    pub fn new(gap: u64) -> Self {
        Self { gap, open: BTreeMap::new(), touches: VecDeque::new(), closed: VecDeque::new(), stretched: 0 }
    }

    /// Takes out the conversations that have been silent up to `seq`, the
    /// longest silent first. Ask before [`Self::call`] at the same place.
    pub fn close_silent(&mut self, seq: u64) -> Vec<Unit> {
        let mut closed = Vec::new();
        let gap = self.gap.max(self.stretched);
        while let Some((touched, key)) = self.touches.front().copied() {
            if touched.saturating_add(gap) >= seq {
                break;
            }
            self.touches.pop_front();
            if self.open.get(&key).is_some_and(|u| u.last_seq == touched)
                && let Some(unit) = self.open.remove(&key)
            {
                self.remember(key, unit.last_seq);
                // What lies between turns may grow less again.
                self.stretched -= self.stretched.div_ceil(256);
                closed.push(unit);
            }
        }
        closed
    }

    fn remember(&mut self, key: ConversationKey, last_seq: u64) {
        if self.closed.len() == CLOSED {
            self.closed.pop_front();
        }
        self.closed.push_back((key, last_seq));
    }

    /// So much lies between two turns of a conversation: the gap is to be twice that, as the
    /// next one may be later still. One that went on long after is an exception.
    fn stretch(&mut self, between: u64) {
        let (wanted, most) = (between.saturating_mul(2), self.gap.saturating_mul(MOST_STRETCH));
        if wanted > self.gap && wanted <= most {
            self.stretched = self.stretched.max(wanted);
        }
    }

    /// Takes out every open conversation, the longest silent first.
    pub fn close_all(&mut self) -> Vec<Unit> {
        self.touches.clear();
        let mut closed: Vec<(ConversationKey, Unit)> = std::mem::take(&mut self.open).into_iter().collect();
        closed.sort_by_key(|(_, u)| (u.last_seq, u.first_seq));
        for (key, unit) in &closed {
            self.remember(*key, unit.last_seq);
        }
        closed.into_iter().map(|(_, unit)| unit).collect()
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
        if !self.open.contains_key(&key) {
            let before = self.closed.iter().rev().find(|(closed, _)| call.later_turn && *closed == key);
            let continued = before.is_some();
            if let Some((_, last)) = before {
                self.stretch(call.seq.saturating_sub(*last));
            }
            self.open.insert(key, Unit { continued, ..Unit::new(call.seq) });
        }
        // Once stretched, it is known to be needed by what is whole now.
        let between = self.open.get(&key).map(|u| call.seq.saturating_sub(u.last_seq));
        if let Some(between) = between.filter(|_| self.stretched > 0) {
            self.stretch(between);
        }
        let Some(unit) = self.open.get_mut(&key) else {
            return;
        };
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
            self.call(key, Call::untold(trial.seq, trial.lane));
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
mod tests;
