#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

use understudy_call::{ConversationKey, Declined, ExchangeId, Lane};

use super::*;
use crate::{Action, Approval, Fitted, ServedSeen, TrialKind};

mod demotions;
mod fair;
mod models;
mod rules;
mod succession;

pub(super) fn key(n: u64) -> ConversationKey {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    ConversationKey(bytes)
}

pub(super) fn name(s: &str) -> UnderstudyId {
    UnderstudyId(s.to_owned())
}

pub(super) fn seen(seq: u64, conversation: u64, lane: Lane) -> ExchangeSeen {
    ExchangeSeen {
        seq,
        conversation: key(conversation),
        lane,
        at_ms: None,
        provider_ms: Some(800.0),
        total_ms: Some(800.0),
        answered_by_understudy: false,
        repeats: false,
        eligible: true,
        acting: false,
        troubled: false,
        later_turn: false,
    }
}

pub(super) fn trial(seq: u64, conversation: u64, who: &UnderstudyId, kind: TrialKind, agrees: bool) -> Trial {
    Trial {
        task: TaskId(1),
        understudy: who.clone(),
        exchange: ExchangeId([0; 16]),
        seq,
        conversation: key(conversation),
        kind,
        outcome: Outcome::Answered {
            score: f64::from(u8::from(agrees)),
            agrees,
            confidence: 1.0,
            stratum: "look_up".to_owned(),
        },
        spent_ms: 20.0,
        provider_ms: Some(800.0),
    }
}

/// A task driven call by call, one call a conversation.
pub(super) struct Play {
    pub(super) ledger: Ledger,
    pub(super) seq: u64,
    pub(super) decisions: Vec<Decision>,
}

impl Play {
    pub(super) fn new(policy: TaskPolicy) -> Self {
        Self { ledger: Ledger::new(TaskId(1), policy), seq: 0, decisions: Vec::new() }
    }

    pub(super) fn apply(&mut self, event: &Event) -> Vec<Decision> {
        let decisions = self.ledger.apply(event);
        self.decisions.extend(decisions.iter().cloned());
        decisions
    }

    /// One lone call on this lane, tried by `who` with this result.
    pub(super) fn call(&mut self, lane: Lane, who: &UnderstudyId, agrees: bool) -> Vec<Decision> {
        self.seq += 1;
        let mut e = seen(self.seq, self.seq, lane);
        e.answered_by_understudy = matches!(lane, Lane::Audit | Lane::Understudy);
        let mut out = self.apply(&Event::Exchange(e));
        match lane {
            Lane::Audit => {
                out.extend(self.apply(&Event::Trial(trial(
                    self.seq,
                    self.seq,
                    who,
                    TrialKind::Audit,
                    agrees,
                ))));
            }
            Lane::Understudy => {}
            Lane::Provider | Lane::Control => {
                out.extend(self.apply(&Event::Trial(trial(
                    self.seq,
                    self.seq,
                    who,
                    TrialKind::Shadow,
                    agrees,
                ))));
            }
        }
        out
    }

    pub(super) fn calls(&mut self, n: u32, lane: Lane, who: &UnderstudyId) {
        for _ in 0..n {
            self.call(lane, who, true);
        }
    }

    /// Lone calls that two understudies try: the first takes two of three, the
    /// second all, and only from this stage on.
    pub(super) fn of_two(
        &mut self,
        first: &UnderstudyId,
        second: &UnderstudyId,
        second_from: Stage,
        lane: Lane,
        n: u64,
    ) {
        for _ in 0..n {
            self.seq += 1;
            let seq = self.seq;
            self.apply(&Event::Exchange(seen(seq, seq, lane)));
            let mut t = trial(seq, seq, first, TrialKind::Shadow, true);
            if seq.is_multiple_of(3) {
                t.outcome = Outcome::Declined(Declined::Novel);
            }
            self.apply(&Event::Trial(t));
            if self.ledger.stage() >= second_from {
                self.apply(&Event::Trial(trial(seq, seq, second, TrialKind::Shadow, true)));
            }
        }
        self.end();
    }

    pub(super) fn end(&mut self) -> Vec<Decision> {
        let seq = self.seq;
        self.apply(&Event::EndOfFile { seq })
    }

    pub(super) fn open(&mut self, who: &UnderstudyId) -> EntryOpened {
        let opened = self.ledger.propose_entry(who).expect("an entry is proposed");
        self.apply(&Event::EntryOpened(opened.clone()));
        opened
    }

    /// Development, evidence, canary.
    pub(super) fn reach_canary(&mut self, who: &UnderstudyId) {
        self.calls(450, Lane::Provider, who);
        self.end();
        self.open(who);
        self.calls(400, Lane::Provider, who);
        self.end();
        assert_eq!(self.ledger.stage(), Stage::Canary { step: 0 });
    }

    pub(super) fn reach_live(&mut self, who: &UnderstudyId) {
        self.reach_canary(who);
        for _ in 0..2 {
            self.calls(30, Lane::Audit, who);
            self.end();
        }
        assert_eq!(self.ledger.stage(), Stage::Live);
    }

    pub(super) fn operator(&mut self, action: Action) -> Vec<Decision> {
        let seq = self.seq;
        self.apply(&Event::Operator { action, by: "ada".to_owned(), seq })
    }
}

pub(super) fn served(seq: u64, k: u32, declined: Option<Declined>, late: bool) -> Event {
    Event::Served(ServedSeen {
        seq,
        conversation: key(seq),
        k,
        understudy: name("head-1"),
        declined,
        spent_ms: 20.0,
        invalid: declined == Some(Declined::Invalid),
        late,
    })
}

pub(super) fn policy() -> TaskPolicy {
    TaskPolicy { approval: Approval::Acting, cooldown_trials: 20, ..TaskPolicy::default() }
}

pub(super) fn meta() -> RosterMeta {
    RosterMeta {
        name: "look-ups".to_owned(),
        form: understudy_call::FormHash([0; 16]),
        credential: None,
        budget_ms: 800.0,
    }
}
