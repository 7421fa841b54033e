//! One understudy, one captured call, one judgement.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use understudy_call::{Answer, Ask, Declined, Exchange, Priority, UnderstudyId};
use understudy_cast::registry::Made;
use understudy_cast::{Cast, Example};
use understudy_policy::bar::DevCall;
use understudy_policy::{ExchangeSeen, Fitted, Outcome, RosterEntry, ServedSeen, TaskId, Trial, TrialKind};

use crate::score;

/// How an understudy answered.
pub(super) struct Answered {
    understudy: UnderstudyId,
    outcome: Outcome,
    /// How long it took.
    pub(super) spent: Duration,
}

/// A trial that was judged.
pub(super) struct Judged {
    pub(super) trial: Trial,
}

/// Asks an understudy a captured call and scores its answer; `None` when it
/// could not be asked (away, busy, cancelled), which depends on the load and
/// not on the answer.
pub(super) async fn answer(
    cast: &Cast,
    id: &UnderstudyId,
    exchange: &Exchange,
    reference: &Example,
    deadline: Duration,
) -> Option<Answered> {
    let request = exchange.request.as_ref()?;
    let reply = exchange.reply.as_ref()?;
    let responder = cast.find(id)?;
    let ask = Ask {
        request,
        opening: exchange.meta.opening,
        credential: exchange.meta.credential,
        exchange: Some(reference.exchange),
        deadline,
        bar: None,
        priority: Priority::Shadow,
    };
    let began = Instant::now();
    let outcome = match responder.respond(ask).await {
        Ok(Answer { reply: given, confidence, stratum, .. }) => {
            let score = score::compare(request, reply, &given);
            let known = exchange.reply_is_known();
            Outcome::Answered {
                score: if known { score.value } else { 0.0 },
                agrees: known && score.agrees,
                confidence,
                stratum,
            }
        }
        Err(why) if why.is_unasked() => return None,
        Err(why) => Outcome::Declined(why),
    };
    Some(Answered { understudy: id.clone(), outcome, spent: began.elapsed() })
}

/// What the fit of a version says of its own examples; `None` where it says nothing.
pub(super) fn fitted(made: &Made, seq: u64) -> Option<Fitted> {
    if made.rehearsed.is_empty() {
        return None;
    }
    let (mut strata, mut numbers) = (Vec::new(), BTreeMap::new());
    let mut conversations = BTreeMap::new();
    let calls = made.rehearsed.iter().map(|one| {
        let next = conversations.len() as u32;
        let conversation = *conversations.entry(one.conversation).or_insert(next);
        let stratum = *numbers.entry(one.stratum.as_str()).or_insert_with(|| {
            strata.push(one.stratum.clone());
            u16::try_from(strata.len() - 1).unwrap_or(u16::MAX)
        });
        DevCall { conversation, confidence: one.confidence, agrees: one.agrees, stratum }
    });
    let calls = calls.collect();
    Some(Fitted { understudy: made.id.clone(), seq, strata, calls })
}

impl Answered {
    /// The trial of it, in the shadows.
    pub(super) fn trial(self, task: TaskId, seq: u64, exchange: &Exchange, seen: &ExchangeSeen) -> Judged {
        Judged {
            trial: Trial {
                task,
                understudy: self.understudy,
                exchange: exchange.id,
                seq,
                conversation: seen.conversation,
                kind: TrialKind::Shadow,
                outcome: self.outcome,
                spent_ms: self.spent.as_secs_f64() * 1000.0,
                provider_ms: seen.provider_ms,
            },
        }
    }
}

impl Judged {
    /// What became of the call, had the gateway asked.
    pub(super) fn served(&self, entry: &RosterEntry, declined: Option<Declined>) -> ServedSeen {
        ServedSeen {
            seq: self.trial.seq,
            conversation: self.trial.conversation,
            k: entry.k,
            understudy: entry.understudy.clone(),
            declined,
            spent_ms: self.trial.spent_ms,
            invalid: declined == Some(Declined::Invalid),
            late: declined == Some(Declined::Late),
        }
    }

    /// The trial, marked as an audit where it was served and examined.
    pub(super) fn into_trial(self, audited: bool) -> Trial {
        let kind = if audited { TrialKind::Audit } else { TrialKind::Shadow };
        Trial { kind, ..self.trial }
    }

    /// How long the agent would have waited; `None` where the log has no times.
    pub(super) fn waited_ms(&self, declined: Option<Declined>, budget_ms: f64) -> Option<f64> {
        let provider_ms = self.trial.provider_ms?;
        Some(match declined {
            None => self.trial.spent_ms,
            Some(_) => provider_ms + self.trial.spent_ms.min(budget_ms),
        })
    }

    /// Why the entry would not have taken the call; `None` when it would.
    pub(super) fn verdict(&self, entry: &RosterEntry, budget_ms: f64) -> Option<Declined> {
        match &self.trial.outcome {
            Outcome::Declined(why) => Some(*why),
            Outcome::Answered { .. } if self.trial.spent_ms > budget_ms => Some(Declined::TooSlow),
            Outcome::Answered { confidence, stratum, .. } => {
                if *confidence < entry.bar {
                    Some(Declined::BelowBar)
                } else if entry.strata.contains(stratum) {
                    None
                } else if entry.weak.contains(stratum) {
                    Some(Declined::Weak)
                } else {
                    Some(Declined::Rare)
                }
            }
        }
    }
}
