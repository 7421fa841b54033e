//! The ledger for people: the same numbers in the command line and the console.

use serde::{Deserialize, Serialize};
use understudy_call::UnderstudyId;

use super::Ledger;
use super::entry::{Closed, Entry, Standing};
use crate::task_policy::permits;
use crate::{Decision, Stage, TaskId, Why, betting};

/// Level of the intervals shown.
const SHOWN: f64 = 0.95;

/// A task's evidence, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerView {
    /// The task.
    pub task: TaskId,
    /// Its stage.
    pub stage: Stage,
    /// Calls seen.
    pub calls: u64,
    /// Conversations still open.
    pub open_conversations: u64,
    /// Target of agreement.
    pub tau: f64,
    /// Permitted error of the task.
    pub alpha: f64,
    /// The least share of the calls that an entry takes.
    #[serde(default)]
    pub min_coverage: f64,
    /// Who may answer, by kind or whole name; everyone where nobody is named.
    #[serde(default)]
    pub models: Vec<String>,
    /// Whether the evidence is there and a person has to approve.
    pub awaiting_approval: bool,
    /// Whether it takes a person's word before the task serves.
    #[serde(default)]
    pub needs_approval: bool,
    /// Whether a person approved.
    pub approved: bool,
    /// Whether the task's replies may call tools that act.
    pub acting: bool,
    /// Whether its conversations have several turns.
    pub multi_turn: bool,
    /// Whether a person keeps it at its stage.
    pub pinned: bool,
    /// Who does; see [`Ledger::pinned_by()`].
    #[serde(default)]
    pub pinned_by: Option<String>,
    /// What would demote it were it not pinned.
    pub alarm: Option<Why>,
    /// Trials until an entry may open again.
    pub cooldown_trials: u32,
    /// Demotions so far.
    pub demotions: u32,
    /// Development: (version, closed conversations, conversations needed).
    pub development: Vec<(UnderstudyId, u32, u32)>,
    /// Versions whose development is over without a bar: they rest.
    #[serde(default)]
    pub given_up: Vec<UnderstudyId>,
    /// What development says of each version: coverage and agreement at some bars,
    /// from the most cautious.
    #[serde(default)]
    pub curves: Vec<(UnderstudyId, Vec<CurvePoint>)>,
    /// Every entry, by k.
    pub entries: Vec<EntryView>,
    /// The k of the entry that serves.
    pub serving: Option<u32>,
    /// Value of the change detector over audits.
    pub cusum: Option<f64>,
    /// At which it demotes.
    pub cusum_limit: f64,
    /// The entry that goes through its canary beside a live one, with its step,
    /// audited conversations of it, and how many it needs.
    #[serde(default)]
    pub successor: Option<(u32, u8, u64, u32)>,
    /// Audited conversations of the present canary step, and how many it needs.
    pub step: Option<(u64, u32)>,
    /// Share of served calls that are audited now.
    pub audit_share: f64,
    /// Mean milliseconds by which the task's calls are slower than the provider's.
    pub excess_ms: Option<f64>,
    /// Mean milliseconds the provider takes.
    pub provider_ms: Option<f64>,
    /// Share of conversations in trouble (served, control).
    pub trouble: (Option<f64>, Option<f64>),
    /// The last decision.
    pub last_decision: Option<Decision>,
}

impl LedgerView {
    /// The entry that serves.
    #[must_use]
    pub fn service(&self) -> Option<&EntryView> {
        self.serving.and_then(|k| self.entries.iter().find(|e| e.k == k))
    }

    /// Whether the rules let an understudy answer.
    #[must_use]
    pub fn permits(&self, understudy: &UnderstudyId) -> bool {
        permits(&self.models, understudy)
    }
}

/// Coverage and agreement at one bar, over development calls: what to expect,
/// not evidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// From which confidence on.
    pub bar: f64,
    /// Share of the calls that it takes.
    pub coverage: f64,
    /// Share of those that agree.
    pub agreement: f64,
}

/// An entry's evidence, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntryView {
    /// The k-th entry.
    pub k: u32,
    /// Who.
    pub understudy: UnderstudyId,
    /// From which confidence on.
    pub bar: f64,
    /// Only later calls count.
    pub after_seq: u64,
    /// What it may spend of the task's α.
    pub alpha: f64,
    /// Natural logarithm of its wealth.
    pub log_wealth: f64,
    /// At which it has earned the canary.
    pub log_threshold: f64,
    /// Where it did.
    pub earned: Option<u64>,
    /// Conversations that counted.
    pub conversations: u64,
    /// Mean agreement over them.
    pub agreement: Option<f64>,
    /// Its anytime-valid interval, 95 %.
    pub interval: (f64, f64),
    /// Share of the last calls that it takes.
    pub coverage: f64,
    /// Calls judged or declined, and taken.
    pub calls: u64,
    /// Of those, taken.
    pub taken: u64,
    /// Calls that it still needs at its present agreement, by the oracle's
    /// rate, a lower guide; `None` while agreement does not exceed τ.
    pub calls_needed: Option<u64>,
    /// Its strata, the most seen first.
    pub strata: Vec<StratumView>,
    /// Its audits.
    pub audits: Audits,
    /// Why it no longer counts.
    pub closed: Option<Closed>,
    /// A person moved it against the evidence.
    pub by_operator: bool,
}

/// Audited conversations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Audits {
    /// How many.
    pub conversations: u64,
    /// Mean agreement.
    pub agreement: Option<f64>,
    /// Its anytime-valid interval, 95 %.
    pub interval: (f64, f64),
}

/// One stratum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StratumView {
    /// Its name.
    pub name: String,
    /// Judged conversations above the bar, development included.
    pub conversations: u32,
    /// Mean agreement over them.
    pub agreement: f64,
    /// What may be done with it.
    pub standing: Standing,
}

impl Ledger {
    /// The evidence, for people.
    #[must_use]
    pub fn view(&self) -> LedgerView {
        let service = self.service.as_ref();
        LedgerView {
            task: self.task,
            stage: self.stage,
            calls: self.calls,
            open_conversations: self.conversations.open() as u64,
            tau: self.policy.tau,
            alpha: self.policy.alpha,
            min_coverage: self.policy.min_coverage,
            models: self.policy.models.clone(),
            awaiting_approval: self.waiting,
            needs_approval: self.needs_approval(),
            approved: self.approved,
            acting: self.acting,
            multi_turn: self.multi_turn,
            pinned: self.pinned,
            pinned_by: self.pinned_by().map(str::to_owned),
            alarm: self.alarm,
            cooldown_trials: self.cooldown,
            demotions: self.demotions,
            development: self
                .development
                .iter()
                .filter_map(|(n, d)| {
                    let name = self.names.get(usize::from(*n))?.clone();
                    Some((name, d.conversations, self.policy.dev_conversations))
                })
                .collect(),
            given_up: self.names.iter().filter(|name| self.rests(name)).cloned().collect(),
            curves: self
                .development
                .iter()
                .filter_map(|(n, d)| Some((self.names.get(usize::from(*n))?.clone(), d.curve())))
                .filter(|(_, curve)| !curve.is_empty())
                .collect(),
            entries: self.entries.iter().map(|e| self.entry_view(e)).collect(),
            serving: service.map(|s| s.k),
            cusum: service.map(|s| s.detector.value()),
            cusum_limit: self.policy.cusum_limit,
            successor: self
                .successor
                .as_ref()
                .map(|s| (s.k, s.step, s.step_audits.count(), self.policy.step_conversations)),
            step: service
                .filter(|_| matches!(self.stage, Stage::Canary { .. }))
                .map(|s| (s.step_audits.count(), self.policy.step_conversations)),
            audit_share: match self.stage {
                Stage::Observing | Stage::Shadowing => 0.0,
                Stage::Canary { .. } => 1.0,
                Stage::Live => self.audit_share(),
            },
            excess_ms: service.and_then(|s| s.excess_ms.mean()),
            provider_ms: self.provider_ms.mean(),
            trouble: service.map_or((None, None), |s| s.arms_means()),
            last_decision: self.last_decision.clone(),
        }
    }

    fn entry_view(&self, e: &Entry) -> EntryView {
        let mut strata: Vec<StratumView> = e
            .strata
            .iter()
            .map(|(number, s)| StratumView {
                name: self.strata.get(usize::from(*number)).cloned().unwrap_or_default(),
                conversations: s.conversations,
                agreement: s.agreed / f64::from(s.conversations.max(1)),
                standing: s.standing,
            })
            .collect();
        strata.sort_by(|a, b| b.conversations.cmp(&a.conversations).then_with(|| a.name.cmp(&b.name)));
        EntryView {
            k: e.opened.k,
            understudy: e.opened.understudy.clone(),
            bar: e.bar,
            after_seq: e.opened.after_seq,
            alpha: e.alpha,
            log_wealth: e.process.log_wealth(),
            log_threshold: e.log_threshold(),
            earned: e.earned,
            conversations: e.outcomes.count(),
            agreement: e.outcomes.mean(),
            interval: e.outcomes.interval(SHOWN),
            coverage: e.coverage(),
            calls: e.calls,
            taken: e.taken,
            calls_needed: self.calls_needed(e),
            strata,
            audits: Audits {
                conversations: e.audits.count(),
                agreement: e.audits.mean(),
                interval: e.audits.interval(SHOWN),
            },
            closed: e.closed,
            by_operator: e.by_operator,
        }
    }

    /// What is missing to the threshold at the oracle's rate, in conversations,
    /// times the calls that have gone by for each that counted.
    fn calls_needed(&self, e: &Entry) -> Option<u64> {
        if e.earned.is_some() {
            return Some(0);
        }
        let mean = e.outcomes.mean().filter(|m| *m > self.policy.tau)?;
        let missing = e.log_threshold() - e.process.log_wealth();
        let rate = betting::divergence(mean, self.policy.tau);
        let calls_each = e.calls as f64 / e.outcomes.count() as f64;
        Some((missing / rate * calls_each).ceil().max(0.0) as u64)
    }
}
