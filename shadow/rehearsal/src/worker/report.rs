//! What a report says of a task.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use understudy_call::{Exchange, Lane};
use understudy_cast::baseline::Measured;
use understudy_policy::{ExchangeSeen, LedgerView, ServedSeen, TaskId};

use super::Rehearsal;
use super::adopt::Adoption;
use super::arms::{Arms, Tokens, is_paid};

/// Counts of a task's calls.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Calls.
    pub calls: u64,
    /// Of those, the same as another within a day.
    pub repeats: u64,
    /// Of those, calls that may be answered locally.
    pub eligible: u64,
    /// Conversations' calls that stayed with the provider for good.
    pub control: u64,
    /// Calls that the serving understudy was asked.
    pub asked: u64,
    /// Calls that it answered.
    pub served: u64,
    /// Of those, judged.
    pub judged: u64,
    /// Of those, wrong.
    pub wrong: u64,
    /// Why it declined, by reason.
    pub declined: BTreeMap<String, u64>,
    /// Calls that the provider answered, alone or as examiner.
    pub paid: u64,
    /// Their tokens, as the provider counted them: in, of those cached, out.
    pub tokens: Tokens,
    /// The control group beside the conversations that were offered.
    #[serde(default)]
    pub arms: Arms,
    /// Milliseconds of the provider's calls, summed, and how many.
    pub provider_ms: (f64, u64),
    /// Milliseconds of the understudy's, summed, and how many.
    pub understudy_ms: (f64, u64),
    /// Exact repeat and nearest neighbour, as of the last fit.
    #[serde(default)]
    pub baselines: Option<[Measured; 2]>,
}

impl Tally {
    pub(super) fn count(
        &mut self,
        tokens: Tokens,
        seen: &ExchangeSeen,
        served: Option<&ServedSeen>,
        agrees: Option<bool>,
    ) {
        self.calls += 1;
        self.repeats += u64::from(seen.repeats);
        self.eligible += u64::from(seen.eligible);
        self.control += u64::from(seen.lane == Lane::Control);
        if is_paid(seen) {
            self.paid += 1;
            add(&mut self.tokens, tokens);
        }
        if let Some(ms) = seen.provider_ms {
            self.provider_ms.0 += ms;
            self.provider_ms.1 += 1;
        }
        let Some(served) = served else { return };
        self.asked += 1;
        self.understudy_ms.0 += served.spent_ms;
        self.understudy_ms.1 += 1;
        match served.declined {
            Some(why) => *self.declined.entry(why.label().to_owned()).or_default() += 1,
            None => {
                self.served += 1;
                if let Some(agrees) = agrees {
                    self.judged += 1;
                    self.wrong += u64::from(!agrees);
                }
            }
        }
    }
}

/// A call's tokens: in, of those cached, out.
pub(super) fn tokens(exchange: &Exchange) -> Tokens {
    let usage = exchange.reply.as_ref().and_then(|r| r.usage).unwrap_or_default();
    [usage.input_tokens, usage.cached_input_tokens, usage.output_tokens]
}

fn add(sum: &mut Tokens, more: Tokens) {
    for (s, m) in sum.iter_mut().zip(more) {
        *s += m;
    }
}

/// What a report says of a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskReport {
    /// The task.
    pub task: TaskId,
    /// Its name.
    pub name: String,
    /// The model that its calls ask for.
    pub model: String,
    /// The provider that they go to.
    #[serde(default)]
    pub provider: String,
    /// Counts.
    pub tally: Tally,
    /// Evidence.
    pub evidence: LedgerView,
    /// Its understudies: id, kind, what they are made of.
    pub cast: Vec<(String, String, String)>,
    /// What became of its adapters, in order.
    #[serde(default)]
    pub adoptions: Vec<Adoption>,
    /// Development rows that an adapter has answered, and of how many; of none
    /// before it answers.
    #[serde(default)]
    pub adopting: Option<(u64, u64)>,
    /// The provider's median, milliseconds.
    pub provider_p50_ms: Option<f64>,
    /// The understudy's, over its latest answers.
    pub understudy_p50_ms: Option<f64>,
}

impl Rehearsal {
    /// A report of every task, most calls first.
    #[must_use]
    pub fn reports(&self) -> Vec<TaskReport> {
        self.book
            .tasks()
            .into_iter()
            .filter_map(|task| {
                let state = self.tasks.get(&task.id)?;
                let cast = self.cast.of_task(task.id);
                Some(TaskReport {
                    task: task.id,
                    name: task.name.clone(),
                    model: task.model.clone(),
                    provider: task.provider.clone(),
                    tally: state.tally.clone(),
                    evidence: state.ledger.view(),
                    cast: cast
                        .into_iter()
                        .map(|m| (m.id.0, m.kind.label().to_owned(), m.version_note))
                        .collect(),
                    adoptions: state.adoptions.clone(),
                    adopting: self.adopting_of(task.id),
                    provider_p50_ms: state.median_ms(),
                    understudy_p50_ms: state.understudy_median_ms(),
                })
            })
            .collect()
    }
}
