//! One entry's evidence: wealth, outcomes, coverage, strata.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::MAX_STRATA;
use crate::bar::DevCall;
use crate::betting::{self, BettingProcess, Outcomes};
use crate::exact::{Recent, door};
use crate::{EntryOpened, TaskPolicy, interval};

/// Calls over which coverage is taken: long enough for a share to within a few
/// points, short enough to forget the time when every stratum was still rare.
const COVERAGE_WINDOW: u32 = 500;

/// Level of the one-sided bound under which a stratum is weak.
const STRATUM_CONFIDENCE: f64 = 0.95;

/// Why an entry no longer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closed {
    /// The task was demoted.
    Demoted,
    /// Another entry took its place.
    Replaced,
    /// Its version can no longer answer.
    VersionGone,
    /// The journal lost a volume.
    JournalLost,
    /// The target or the permitted error is another now, or its understudy may not
    /// answer any more.
    Policy,
}

/// What may be done with a stratum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is taken.
    Allowed,
    /// Too few judged conversations.
    Rare,
    /// It agrees too seldom.
    Weak,
}

/// Judged conversations of one stratum, above the entry's bar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stratum {
    pub(crate) conversations: u32,
    /// Sum of the conversations' means.
    #[serde(with = "crate::exact")]
    pub(crate) agreed: f64,
    pub(crate) standing: Standing,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) opened: EntryOpened,
    pub(crate) understudy: u16,
    #[serde(with = "crate::exact")]
    pub(crate) bar: f64,
    #[serde(with = "crate::exact")]
    pub(crate) alpha: f64,
    pub(crate) process: BettingProcess,
    pub(crate) outcomes: Outcomes,
    coverage: Recent,
    /// Calls judged or declined in the shadows, and those of them taken.
    pub(crate) calls: u64,
    pub(crate) taken: u64,
    pub(crate) strata: BTreeMap<u16, Stratum>,
    pub(crate) audits: Outcomes,
    /// Where its wealth reached 1/α.
    pub(crate) earned: Option<u64>,
    pub(crate) closed: Option<Closed>,
    /// A person moved it against the evidence.
    pub(crate) by_operator: bool,
}

impl Entry {
    pub(crate) fn open(opened: &EntryOpened, understudy: u16, policy: &TaskPolicy, dev: &[DevCall]) -> Self {
        let mut entry = Self {
            opened: EntryOpened {
                bar: door(opened.bar),
                expected_coverage: door(opened.expected_coverage),
                expected_agreement: door(opened.expected_agreement),
                ..opened.clone()
            },
            understudy,
            bar: door(opened.bar),
            alpha: betting::alpha_of_entry(policy.alpha, opened.k),
            process: BettingProcess::new(policy.tau),
            outcomes: Outcomes::default(),
            coverage: Recent::new(COVERAGE_WINDOW),
            calls: 0,
            taken: 0,
            strata: BTreeMap::new(),
            audits: Outcomes::default(),
            earned: None,
            closed: None,
            by_operator: false,
        };
        // What development says of the strata is no part of the evidence: it
        // only chooses beforehand which calls the evidence will be about.
        let above = dev.iter().filter(|c| c.confidence.is_some_and(|x| x >= entry.bar));
        let mut tallies: BTreeMap<(u16, u32), (u32, u32)> = BTreeMap::new();
        for call in above {
            let tally = tallies.entry((call.stratum, call.conversation)).or_default();
            tally.0 += u32::from(call.agrees);
            tally.1 += 1;
        }
        let touched: BTreeSet<u16> = tallies.keys().map(|(stratum, _)| *stratum).collect();
        for ((stratum, _), (agrees, n)) in tallies {
            entry.note_stratum(stratum, agrees, n);
        }
        for stratum in touched {
            entry.judge_stratum(stratum, policy);
        }
        entry
    }

    /// Whether a call of this confidence and stratum is taken.
    pub(crate) fn takes(&self, confidence: f64, stratum: u16) -> bool {
        confidence >= self.bar && self.strata.get(&stratum).is_some_and(|s| s.standing == Standing::Allowed)
    }

    /// Adds one conversation's calls of a stratum, of which `agrees` of `n` agreed.
    pub(crate) fn note_stratum(&mut self, stratum: u16, agrees: u32, n: u32) {
        let tally = self.strata.entry(stratum).or_insert(Stratum {
            conversations: 0,
            agreed: 0.0,
            standing: Standing::Rare,
        });
        tally.conversations += 1;
        tally.agreed += f64::from(agrees) / f64::from(n.max(1));
    }

    pub(crate) fn judge_stratum(&mut self, stratum: u16, policy: &TaskPolicy) {
        let Some(tally) = self.strata.get_mut(&stratum) else {
            return;
        };
        let n = f64::from(tally.conversations);
        // Of the strata that were one too many nothing is taken: the gateway knows them by
        // name, and would decline what the evidence had counted.
        let one_too_many = usize::from(stratum) >= MAX_STRATA;
        tally.standing = if one_too_many || tally.conversations < policy.stratum_min {
            Standing::Rare
        } else if tally.agreed < policy.tau * n
            && interval::upper_is_under(tally.agreed, n, STRATUM_CONFIDENCE, policy.tau)
        {
            Standing::Weak
        } else {
            Standing::Allowed
        };
    }

    /// Notes that a call was taken, or that it was not.
    pub(crate) fn cover(&mut self, taken: bool) {
        self.calls += 1;
        self.taken += u64::from(taken);
        self.coverage.push(f64::from(u8::from(taken)));
    }

    /// Share of the last calls that it takes; what development promised before
    /// there are any.
    pub(crate) fn coverage(&self) -> f64 {
        self.coverage.mean().unwrap_or(self.opened.expected_coverage)
    }

    pub(crate) fn feed(&mut self, mean: f64, seq: u64) {
        self.process.feed(mean);
        self.outcomes.push(mean);
        if self.earned.is_none() && self.process.reaches(self.alpha) {
            self.earned = Some(seq);
        }
    }

    pub(crate) fn log_threshold(&self) -> f64 {
        -self.alpha.ln()
    }
}
