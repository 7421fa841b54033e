//! A frozen worker measured on calls that nothing may be learnt from.

use std::time::Instant;

use understudy_call::{Exchange, Lane};
use understudy_cast::{CastMember, Example, Kind};
use understudy_policy::{TaskId, Trial};

use super::state::{embed, met};
use super::{Rehearsal, trials};

/// What a frozen worker would have done with one call.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// The task.
    pub task: TaskId,
    /// Whether it may be answered locally at all.
    pub eligible: bool,
    /// What the gateway would have done.
    pub lane: Lane,
    /// Every understudy's answer.
    pub answers: Vec<EvaluatedAnswer>,
    /// Whether exact repeat and nearest neighbour had an answer, and whether it agrees.
    pub baselines: [Option<bool>; 2],
}

/// One understudy's answer to one call.
#[derive(Debug, Clone)]
pub struct EvaluatedAnswer {
    /// Its kind.
    pub kind: Kind,
    /// It knows nothing of the journal after this place.
    pub born_seq: u64,
    /// How it went, whatever the bar.
    pub trial: Trial,
    /// Whether the serving entry takes the call; `None` where it does not serve.
    pub taken: Option<bool>,
}

impl Rehearsal {
    /// What a frozen worker does with one call, without learning from it.
    /// Whoever serves is asked; of the others, those that `also` wants.
    pub async fn evaluate(
        &mut self,
        exchange: &Exchange,
        also: &mut (dyn FnMut(&CastMember) -> bool + Send),
    ) -> Option<Evaluated> {
        let id = self.book.assign(exchange)?;
        let task = self.book.task(id)?;
        let state = self.tasks.get_mut(&id)?;
        let reference = Example::reference(u64::MAX, exchange)?;
        let eligible = exchange.request.as_ref().is_some_and(|r| r.ineligible.is_empty());
        let roster_task = state
            .roster_task(task, &self.settings, &self.cast)
            .and_then(|t| met(t, exchange.request.as_ref()));
        let lane = match (&roster_task, eligible, exchange.meta.conversation) {
            (Some(t), true, Some(c)) => understudy_policy::lane::choose(t, c, self.key.call(&exchange.id.0)),
            _ => Lane::Provider,
        };
        let seen = state.seen_frozen(exchange);
        let serving = roster_task.as_ref().map_or(&[][..], |t| t.entries_for(seen.conversation));
        let budget_ms = roster_task.as_ref().map_or(f64::MAX, |t| t.budget_ms);
        // All of them ask for the same embedding, and the cast remembers it: it
        // is timed once, and counts for each that needs it.
        let began = Instant::now();
        let framed = task.framing.frame().and_then(|frame| reference.framed(frame));
        let asked = framed.as_ref().unwrap_or(&reference);
        let embedded = embed(&self.cast, asked).await.map_or(0.0, |_| began.elapsed().as_secs_f64() * 1000.0);
        let mut answers = Vec::new();
        for member in state.wanted(&self.cast, id, u64::MAX) {
            let entry = serving.iter().find(|e| e.understudy == member.id);
            if entry.is_none() && !also(&member) {
                continue;
            }
            let answer =
                trials::answer(&self.cast, &member.id, exchange, &reference, self.settings.trial_deadline)
                    .await;
            let Some(answer) = answer else { continue };
            let mut one = answer.trial(id, 0, exchange, &seen);
            if member.kind != Kind::Remote {
                one.trial.spent_ms += embedded;
            }
            let taken = entry.map(|e| one.verdict(e, budget_ms).is_none());
            answers.push(EvaluatedAnswer {
                kind: member.kind,
                born_seq: member.born_seq,
                trial: one.trial,
                taken,
            });
        }
        let baselines = state.baselines_say(&self.cast, asked, task.framing.frame()).await;
        Some(Evaluated { task: id, eligible, lane, answers, baselines })
    }
}
