//! What the worker keeps of a task beside its ledger.

mod models;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use understudy_call::{
    AnsweredBy, Choice, ConversationKey, Declined, Exchange, Finish, Lane, Metadata, Priority, Role,
    UnderstudyId,
};
use understudy_cast::baseline::Baselines;
use understudy_cast::registry::is_due;
use understudy_cast::{Cast, CastMember, Example};
use understudy_policy::{
    Event, ExchangeSeen, Ledger, Outcome, RosterMeta, RosterTask, ServedSeen, TaskId, Trial, TrialKind,
};
use understudy_tasks::{Frame, Task};

use super::Settings;
use super::adopt::Adoption;
use super::arms::Sums;
use super::latency::Latencies;
use super::pace::Claim;
use super::report::Tally;
pub(super) use models::{Models, met};

/// Milliseconds in which the same body counts once.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Bodies remembered for that, per task.
const REPEATS: usize = 65_536;

/// Most bytes of text in a task's examples, so that long conversations do not fill
/// the memory of the process that carries the calls; the oldest go first. A fit
/// works on a copy.
const EXAMPLE_BYTES: usize = 64 << 20;

pub(super) struct TaskState {
    pub(super) ledger: Ledger,
    pub(super) examples: VecDeque<Example>,
    example_bytes: usize,
    /// Examples learnt in all, those let go included.
    pub(super) learnt: u64,
    /// Versions are due with the next example, whatever its number.
    pub(super) owed: bool,
    pub(super) tally: Tally,
    /// What became of its adapters.
    pub(super) adoptions: Vec<Adoption>,
    /// Made of the examples when a frozen worker is first measured.
    pub(super) baselines: Option<Baselines>,
    seen: HashMap<[u8; 16], i64>,
    provider_ms: Latencies,
    understudy_ms: Latencies,
    pub(super) models: Models,
    sums: Sums,
}

impl TaskState {
    pub(super) fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            examples: VecDeque::new(),
            example_bytes: 0,
            learnt: 0,
            owed: false,
            tally: Tally::default(),
            adoptions: Vec::new(),
            baselines: None,
            seen: HashMap::new(),
            provider_ms: Latencies::default(),
            understudy_ms: Latencies::default(),
            models: Models::default(),
            sums: Sums::default(),
        }
    }

    /// What the ledger needs to know of a captured call.
    pub(super) fn seen(&mut self, seq: u64, exchange: &Exchange, acting: bool) -> ExchangeSeen {
        let seen = ExchangeSeen {
            seq,
            acting,
            repeats: self.repeats(exchange),
            answered_by_understudy: matches!(exchange.meta.answered_by, AnsweredBy::Understudy(_)),
            ..self.seen_frozen(exchange)
        };
        if let Some(ms) = seen.provider_ms {
            self.provider_ms.push(ms);
        }
        self.models.note(exchange);
        seen
    }

    /// The same without remembering it.
    pub(super) fn seen_frozen(&self, exchange: &Exchange) -> ExchangeSeen {
        let meta = &exchange.meta;
        let ms = |t: Option<Duration>| t.map(|t| t.as_secs_f64() * 1000.0);
        let understudy_ms = ms(meta.timings.understudy).unwrap_or_default();
        // Records from before audits had a time of their own have the provider's in
        // the place of the agent's.
        let total = meta.timings.total.filter(|_| meta.lane != Lane::Audit || meta.timings.audit.is_some());
        let total_ms = ms(total);
        let provider_ms = match meta.answered_by {
            AnsweredBy::Provider => total_ms.map(|t| (t - understudy_ms).max(0.0)),
            _ => ms(meta.timings.audit),
        };
        ExchangeSeen {
            seq: 0,
            // A call without a conversation is one of its own.
            conversation: meta.conversation.unwrap_or(ConversationKey(exchange.id.0)),
            lane: drawn(meta),
            at_ms: u64::try_from(meta.timings.started_unix_ms).ok().filter(|ms| *ms > 0),
            // An error is fast, and no measure of how long an answer takes.
            provider_ms: provider_ms.filter(|_| exchange.has_whole_reply()),
            total_ms,
            answered_by_understudy: false,
            repeats: false,
            eligible: exchange.request.as_ref().is_some_and(|r| r.ineligible.is_empty()),
            acting: false,
            troubled: troubled(exchange),
            later_turn: exchange
                .request
                .as_ref()
                .is_some_and(|r| r.turns_after(meta.opening).any(|m| m.role == Role::Assistant)),
        }
    }

    fn repeats(&mut self, exchange: &Exchange) -> bool {
        let Some(request) = &exchange.request else {
            return false;
        };
        let mut h = blake3::Hasher::new();
        for message in request.turns() {
            let _ = serde_json::to_writer(&mut h, message);
        }
        h.update(understudy_tasks::told_apart_by(&request.messages).as_bytes());
        let mut key = [0u8; 16];
        h.finalize_xof().fill(&mut key);
        let at = exchange.meta.timings.started_unix_ms;
        if self.seen.len() >= REPEATS {
            self.seen.retain(|_, then| at - *then < DAY_MS);
            if self.seen.len() >= REPEATS {
                self.seen.clear();
            }
        }
        // Without timestamps everything is one day. It begins with the call that
        // counted: a body that comes every hour counts once a day, not once for ever.
        let repeats = self.seen.get(&key).is_some_and(|then| at - *then < DAY_MS);
        if !repeats {
            self.seen.insert(key, at);
        }
        repeats
    }

    /// What became of a live call that an understudy was asked.
    pub(super) fn served_live(&self, seq: u64, exchange: &Exchange) -> Option<ServedSeen> {
        let asked = exchange.meta.asked.as_ref()?;
        Some(ServedSeen {
            seq,
            conversation: exchange.meta.conversation.unwrap_or(ConversationKey(exchange.id.0)),
            k: asked.entry,
            understudy: asked.understudy.clone(),
            declined: asked.declined,
            spent_ms: exchange.meta.timings.understudy.map_or(0.0, |t| t.as_secs_f64() * 1000.0),
            invalid: asked.declined == Some(Declined::Invalid),
            late: asked.declined == Some(Declined::Late),
        })
    }

    /// The trial of a live call that the provider answered too.
    pub(super) fn audit_of(
        &self,
        task: TaskId,
        seq: u64,
        exchange: &Exchange,
        seen: &ExchangeSeen,
    ) -> Option<Trial> {
        let score = exchange.audit_score?;
        let asked = exchange.meta.asked.as_ref()?;
        if exchange.meta.lane != Lane::Audit {
            return None;
        }
        // Records from before it was kept know the tool only.
        let stratum = asked.stratum.clone().or_else(|| {
            let choice = exchange.understudy_reply.as_ref()?.first()?;
            Some(understudy_cast::example::stratum_in(exchange.request.as_ref()?, choice))
        });
        Some(Trial {
            task,
            understudy: asked.understudy.clone(),
            exchange: exchange.id,
            seq,
            conversation: seen.conversation,
            kind: TrialKind::Audit,
            // It was served, so it was above its bar.
            outcome: Outcome::Answered {
                score,
                agrees: score >= 1.0,
                confidence: f64::MAX,
                stratum: stratum.unwrap_or_default(),
            },
            spent_ms: exchange.meta.timings.understudy.map_or(0.0, |t| t.as_secs_f64() * 1000.0),
            provider_ms: seen.provider_ms,
        })
    }

    /// Who is worth a trial, if the rules let it answer and its engine is not off: the
    /// newest version of each kind, whoever serves or has an open entry, all born before
    /// the call. A version that was given up rests until the next doubling, but
    /// trials are what a cooldown counts.
    pub(super) fn wanted(&self, cast: &Cast, task: TaskId, seq: u64) -> Vec<CastMember> {
        let open = |m: &CastMember| self.ledger.open_understudies().any(|u| *u == m.id);
        let mut kinds = Vec::new();
        cast.of_task(task)
            .into_iter()
            .filter(|m| m.born_seq < seq && self.ledger.policy().permits(&m.id) && cast.may_ask(&m.id))
            .filter(|m| {
                let newest = !kinds.contains(&m.kind);
                kinds.push(m.kind);
                if open(m) {
                    return true;
                }
                let rests = self.ledger.is_given_up(&m.id) && !self.ledger.is_cooling();
                newest && (seq == u64::MAX || !rests)
            })
            .collect()
    }

    /// What a version that does not serve wants trials for.
    pub(super) fn claim(&self, understudy: &UnderstudyId) -> Claim {
        let open = self.ledger.open_understudies().any(|open| open == understudy);
        if open { Claim::Evidence } else { Claim::Development }
    }

    /// The task as the gateway sees it, if it serves. Where the serving one or its
    /// successor needs an engine that is off, it does not: no call is held up for nobody,
    /// and neither is judged by calls that the other answered.
    pub(super) fn roster_task(&self, task: &Task, settings: &Settings, cast: &Cast) -> Option<RosterTask> {
        let mut found = self.ledger.roster_task(&RosterMeta {
            name: task.name.clone(),
            form: task.form.hash,
            credential: task.credential,
            budget_ms: settings.budget_ms.or_else(|| self.median_ms()).unwrap_or(f64::MAX),
        })?;
        found.models = self.models.known();
        let successor = found.successor.iter().map(|s| &s.entry);
        let mut all = found.entries.iter().chain(successor);
        all.all(|entry| cast.may_ask(&entry.understudy)).then_some(found)
    }

    /// The provider's median over the latest calls, to a tenth, so that the
    /// roster does not change with every call.
    pub(super) fn median_ms(&self) -> Option<f64> {
        let median = self.provider_ms.median()?;
        let step = 10f64.powf(median.max(1.0).log10().floor()) / 10.0;
        Some((median / step).round() * step)
    }

    /// The understudy's median over the latest answers.
    pub(super) fn understudy_median_ms(&self) -> Option<f64> {
        self.understudy_ms.median()
    }

    pub(super) fn learn(&mut self, example: Example, most: usize) {
        self.learnt += 1;
        self.keep_example(example, most);
    }

    /// Whether versions became due since so many examples were learnt.
    pub(super) fn became_due(&self, before: u64) -> bool {
        is_due(u64::from(self.ledger.policy().first_fit), before, self.learnt)
    }

    /// Keeps an example that was counted before the checkpoint.
    pub(super) fn keep_example(&mut self, example: Example, most: usize) {
        self.example_bytes += bytes_of(&example);
        self.examples.push_back(example);
        while self.examples.len() > most || (self.example_bytes > EXAMPLE_BYTES && self.examples.len() > 1) {
            let Some(oldest) = self.examples.pop_front() else { break };
            self.example_bytes = self.example_bytes.saturating_sub(bytes_of(&oldest));
        }
    }

    /// Whether exact repeat and nearest neighbour have a reply, and whether it agrees,
    /// by what stands in the task's frame, as an understudy has it.
    pub(super) async fn baselines_say(
        &mut self,
        cast: &Cast,
        reference: &Example,
        frame: Option<&Frame>,
    ) -> [Option<bool>; 2] {
        if self.baselines.is_none() {
            let mut learnt = Baselines::default();
            for example in &self.examples {
                let framed = frame.and_then(|frame| example.framed(frame));
                let example = framed.as_ref().unwrap_or(example);
                let embedding = embed(cast, example).await;
                learnt.learn(&Example { embedding, ..example.clone() });
            }
            self.baselines = Some(learnt);
        }
        let Some(baselines) = &self.baselines else { return [None; 2] };
        let same = |choice: &Choice| understudy_cast::example::label(choice) == reference.label;
        let exact = baselines.exact_repeat(&reference.part_text).map(same);
        let near = embed(cast, reference).await;
        [exact, near.and_then(|v| Some(same(baselines.nearest(&v)?.0)))]
    }

    /// Counts a call; `events` are its own, its trials among them.
    pub(super) fn tally<'a>(
        &mut self,
        tokens: [u64; 3],
        seen: &ExchangeSeen,
        served: Option<&ServedSeen>,
        events: impl IntoIterator<Item = &'a Event>,
    ) {
        let judged = served.and_then(|s| {
            events.into_iter().find_map(|e| match e {
                Event::Trial(t) if t.understudy == s.understudy => match &t.outcome {
                    Outcome::Answered { agrees, .. } => Some(*agrees),
                    Outcome::Declined(_) => None,
                },
                _ => None,
            })
        });
        self.sums.count(&mut self.tally.arms, seen, tokens);
        if let Some(answered) = served.filter(|s| s.declined.is_none()) {
            self.understudy_ms.push(answered.spent_ms);
        }
        self.tally.count(tokens, seen, served, judged);
    }
}

/// The lane that was drawn. The record of a call that the understudy declined
/// says "provider", which is what was done; but those are the hard calls, and
/// taken for a fair draw of the task they would bias the evidence.
fn drawn(meta: &Metadata) -> Lane {
    match &meta.asked {
        Some(asked) if meta.lane == Lane::Provider => {
            if asked.audit {
                Lane::Audit
            } else {
                Lane::Understudy
            }
        }
        _ => meta.lane,
    }
}

pub(super) async fn embed(cast: &Cast, example: &Example) -> Option<Vec<f32>> {
    cast.embedder()?.embed(&[example.seen()], Priority::Shadow).await.ok()?.pop()
}

/// The text of an example: its turns, once more as one text, and the reply.
fn bytes_of(example: &Example) -> usize {
    2 * example.part_text.len() + 2 * example.label.len()
}

/// Trouble for the comparison with the control group: the turn answers a tool's
/// error, or the reply was cut off.
fn troubled(exchange: &Exchange) -> bool {
    let tool_error = exchange.request.as_ref().is_some_and(|r| {
        r.turns().next_back().is_some_and(|m| {
            m.role == Role::Tool && {
                let text = m.text();
                let head: String = text.trim_start().chars().take(48).collect::<String>().to_lowercase();
                head.starts_with("error") || head.starts_with("{\"error") || head.contains("exception")
            }
        })
    });
    let cut = exchange
        .reply
        .as_ref()
        .is_some_and(|r| r.choices.iter().any(|c| matches!(c.finish, Some(Finish::Length) | None)));
    tool_error || cut
}
