//! The ledger: a task's events folded into evidence and decisions.
//!
//! # Rules of the house
//!
//! - Events come in the order of the exchanges that they are about
//!   ([`crate::replay_order`]). The same events give the same state: decisions
//!   are recomputed on replay, and compared.
//! - A version's first trials are *development*: they choose its bar
//!   ([`Ledger::propose_entry`]). From [`Event::EntryOpened`] on its trials are
//!   the *evidence* of that entry. A conversation that had begun at or before
//!   `after_seq` never counts for it.
//! - What is fed is the mean agreement (0 or 1 a call; a score counts by its
//!   pass mark) over the calls that the entry would have taken: confidence at
//!   or above the bar, stratum allowed *before* this conversation was fed. One
//!   with none of those counts for coverage only.
//! - Several entries may be open. One serves. Another that has earned its
//!   evidence, with clearly larger coverage, succeeds it through all canary
//!   steps of its own (`succession.rs`); the live one serves all other
//!   conversations meanwhile. They do not share a conversation: the second one
//!   would answer what the first declined, the hard calls, and evidence over
//!   all calls says nothing about those.
//! - A demotion closes every open entry of the task: what was learnt before the
//!   world changed may not promote the next one the day after. Development
//!   begins anew; k never does.
//! - Whom the rules do not let answer ([`TaskPolicy::permits`]) has no open entry:
//!   rules that leave somebody out close its entry alone, and take it off where it
//!   serves. What the others have earned stands.
//! - A pinned task keeps its stage; what would have moved it is remembered, and
//!   moves it when it is freed. Only a lost journal or version, and other rules,
//!   override a pin.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use understudy_call::{Lane, UnderstudyId};

use crate::conversations::{Call, Conversations, UnitAnswer, UnitTrial};
use crate::exact::{Recent, door};
use crate::{Decision, EntryOpened, Event, ExchangeSeen, Outcome, Stage, TaskId, TaskPolicy, Trial, Why};

mod development;
mod entry;
mod feed;
mod roster;
mod service;
mod stages;
mod succession;
mod view;

pub use entry::{Closed, Standing};
pub use roster::RosterMeta;
pub use view::{Audits, CurvePoint, EntryView, LedgerView, StratumView};

use development::Development;
use entry::Entry;
use service::Service;

/// Strata told apart in one task; what comes after them shares one name and is
/// never taken, since a stratum that is free text is none.
const MAX_STRATA: usize = 2000;
/// The name of the strata that were one too many.
const OVERFLOW: &str = "\u{2026}";

/// A task's evidence. See the rules at the top of its module, and [`crate::Event`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    task: TaskId,
    policy: TaskPolicy,
    stage: Stage,
    /// The furthest place in the journal that was heard of.
    seq: u64,
    calls: u64,
    /// Understudies and strata by number, so that trials are small.
    names: Vec<UnderstudyId>,
    strata: Vec<String>,
    strata_numbers: BTreeMap<String, u16>,
    conversations: Conversations,
    development: BTreeMap<u16, Development>,
    /// Every entry there was, by k.
    entries: Vec<Entry>,
    last_k: u32,
    service: Option<Service>,
    /// Another entry, in its canary beside the one that is live.
    successor: Option<Service>,
    provider_ms: Recent,
    cooldown: u32,
    demotions: u32,
    acting: bool,
    approved: bool,
    waiting: bool,
    multi_turn: bool,
    pinned: bool,
    /// Who pinned it; see [`Ledger::pinned_by()`].
    #[serde(default)]
    pinned_by: Option<String>,
    alarm: Option<Why>,
    last_decision: Option<Decision>,
}

impl Ledger {
    /// A task that nobody has rehearsed yet.
    #[must_use]
    pub fn new(task: TaskId, policy: TaskPolicy) -> Self {
        Self {
            task,
            stage: Stage::Observing,
            seq: 0,
            calls: 0,
            names: Vec::new(),
            strata: Vec::new(),
            strata_numbers: BTreeMap::new(),
            conversations: Conversations::new(policy.conversation_gap),
            development: BTreeMap::new(),
            entries: Vec::new(),
            last_k: 0,
            service: None,
            successor: None,
            provider_ms: Recent::new(service::LATENCY_WINDOW),
            cooldown: 0,
            demotions: 0,
            acting: false,
            approved: false,
            waiting: false,
            multi_turn: false,
            pinned: false,
            pinned_by: None,
            alarm: None,
            last_decision: None,
            policy,
        }
    }

    /// Takes one event; returns the decisions that follow from it, in order.
    pub fn apply(&mut self, event: &Event) -> Vec<Decision> {
        let mut decisions = Vec::new();
        if let Some(seq) = event.seq() {
            self.seq = self.seq.max(seq);
        }
        match event {
            Event::Exchange(seen) => self.exchange(seen),
            Event::Trial(trial) => self.trial(trial),
            Event::Served(seen) => self.served(seen),
            Event::EntryOpened(opened) => self.open_entry(opened),
            Event::Fitted(fitted) => self.fitted(fitted),
            Event::EndOfFile { .. } => {
                for unit in self.conversations.close_all() {
                    self.feed(&unit);
                }
            }
            Event::Operator { action, by, .. } => self.operator(action, by, &mut decisions),
            Event::VersionGone { understudy, .. } => self.version_gone(understudy, &mut decisions),
            Event::JournalLost { .. } => self.journal_lost(&mut decisions),
            Event::MultiTurn(yes) => self.multi_turn = *yes,
            Event::Policy { policy, .. } => self.come_under(policy, &mut decisions),
        }
        self.consider(&mut decisions);
        if let Some(last) = decisions.last() {
            self.last_decision = Some(last.clone());
        }
        decisions
    }

    /// The task.
    #[must_use]
    pub fn task(&self) -> TaskId {
        self.task
    }

    /// Its stage.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Says whether its tools act, where that was declared anew since the ledger was kept.
    pub fn set_acting(&mut self, acting: bool) {
        self.acting = acting;
    }

    /// Who keeps it at its stage, where somebody does. Of a ledger that was kept before this
    /// was, it is known only where nothing was decided since.
    #[must_use]
    pub fn pinned_by(&self) -> Option<&str> {
        let last = self.last_decision.as_ref().filter(|d| d.why == Why::Pinned);
        let by = self.pinned_by.as_deref().or_else(|| last?.by.as_deref());
        by.filter(|_| self.pinned)
    }

    /// Its keys.
    #[must_use]
    pub fn policy(&self) -> &TaskPolicy {
        &self.policy
    }

    /// Whether trials are wanted: from shadowing on, on every call that the
    /// provider answered. Those of the version that serves are wanted too: a
    /// stratum that it may not take yet is learnt from them.
    #[must_use]
    pub fn trials_wanted(&self) -> bool {
        self.stage != Stage::Observing
    }

    fn exchange(&mut self, seen: &ExchangeSeen) {
        for unit in self.conversations.close_silent(seen.seq) {
            self.feed(&unit);
        }
        self.calls += 1;
        self.looked();
        self.acting |= seen.acting;
        self.multi_turn |= seen.later_turn;
        // The control group is drawn before anybody looks whether the call could be
        // answered at all; one that could not be is in neither arm, as it would not
        // have been offered.
        let in_no_arm = seen.lane == Lane::Control && !seen.eligible;
        let lane = if in_no_arm { Lane::Provider } else { seen.lane };
        self.conversations.call(
            seen.conversation,
            Call {
                seq: seen.seq,
                lane,
                repeats: seen.repeats,
                troubled: seen.troubled,
                later_turn: seen.later_turn,
            },
        );
        if let Some(ms) = seen.provider_ms {
            self.provider_ms.push(door(ms));
        }
        let provider_ms = self.provider_ms.mean();
        let tried = self.is_the_successors(seen.conversation);
        // A successor is in its canary: its first live calls, which are audited more
        // often, come when it has the place.
        let live = self.stage == Stage::Live && !tried;
        let asked = if tried { &mut self.successor } else { &mut self.service };
        if let Some(service) = asked {
            service.exchange(seen, live, provider_ms);
        }
    }

    fn trial(&mut self, trial: &Trial) {
        if self.cooldown > 0 {
            self.cooldown -= 1;
            if self.cooldown == 0 {
                self.look_once_more();
            }
        }
        let understudy = self.number(&trial.understudy);
        let answer = match &trial.outcome {
            Outcome::Answered { agrees, confidence, stratum, .. } => Some(UnitAnswer {
                confidence: door(*confidence),
                agrees: *agrees,
                stratum: self.stratum(stratum),
            }),
            Outcome::Declined(_) => None,
        };
        let lane = match trial.kind {
            crate::TrialKind::Shadow => Lane::Provider,
            crate::TrialKind::Audit => Lane::Audit,
        };
        let noted = UnitTrial { understudy, kind: trial.kind, seq: trial.seq, lane, answer };
        self.conversations.trial(trial.conversation, noted);
    }

    fn open_entry(&mut self, opened: &EntryOpened) {
        let understudy = self.number(&opened.understudy);
        self.last_k = self.last_k.max(opened.k);
        let development = self.development.remove(&understudy).unwrap_or_default();
        // A version has one open entry: another bar is another entry.
        for entry in self.entries.iter_mut().filter(|e| e.closed.is_none() && e.understudy == understudy) {
            if self.service.iter().chain(&self.successor).all(|s| s.k != entry.opened.k) {
                entry.closed = Some(Closed::Replaced);
            }
        }
        let mut entry = Entry::open(opened, understudy, &self.policy, &development.calls);
        // It has spent its share of α all the same.
        if !self.policy.permits(&opened.understudy) {
            entry.closed = Some(Closed::Policy);
        }
        self.entries.push(entry);
    }

    /// The number of the last entry that was opened.
    #[must_use]
    pub fn last_k(&self) -> u32 {
        self.last_k
    }

    /// Numbers entries on from here: those of lost volumes have spent their share of α.
    pub fn number_on_from(&mut self, k: u32) {
        self.last_k = self.last_k.max(k);
    }

    fn number_of(&self, understudy: &UnderstudyId) -> Option<u16> {
        self.names.iter().position(|n| n == understudy).and_then(|i| u16::try_from(i).ok())
    }

    fn number(&mut self, understudy: &UnderstudyId) -> u16 {
        self.number_of(understudy).unwrap_or_else(|| {
            self.names.push(understudy.clone());
            u16::try_from(self.names.len() - 1).unwrap_or(u16::MAX)
        })
    }

    fn stratum(&mut self, name: &str) -> u16 {
        if let Some(number) = self.strata_numbers.get(name) {
            return *number;
        }
        let name = if self.strata.len() < MAX_STRATA { name } else { OVERFLOW };
        if let Some(number) = self.strata_numbers.get(name) {
            return *number;
        }
        let number = u16::try_from(self.strata.len()).unwrap_or(u16::MAX);
        self.strata.push(name.to_owned());
        self.strata_numbers.insert(name.to_owned(), number);
        number
    }
}

#[cfg(test)]
mod tests;
