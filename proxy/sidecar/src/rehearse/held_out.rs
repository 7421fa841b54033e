//! Calls that nothing was learnt from measure what was learnt.

mod marks;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use understudy_call::{ConversationKey, Lane};
use understudy_cast::{CastMember, Kind};
use understudy_policy::{Outcome, interval};
use understudy_rehearsal::Rehearsal;
use understudy_rehearsal::logs::{Log, LoggedCall};
use understudy_tasks::{Conversations, Effect, TaskBook};

pub(super) use marks::keep_groups;

use super::Caller;
use crate::failure::Failure;

/// Coverages at which an understudy's curve is shown.
const CURVE: [f64; 8] = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.3, 0.2];

/// Calls on which a prompted or remote understudy that does not serve shows its
/// curve: seconds a call, or money. The others show it on all.
const SAMPLE: u32 = 150;

/// What they may take of the budget, so that where each of their calls is long
/// the specialised one still gets most of it.
const SHARE: f64 = 1.0 / 3.0;

/// What held-out calls say of one task.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Measured {
    /// The task's name.
    pub(crate) name: String,
    /// Calls.
    pub(crate) calls: u64,
    /// Of those, calls that may be answered locally at all.
    pub(crate) eligible: u64,
    /// Of those, calls of the control group.
    pub(crate) control: u64,
    /// What would have been served at the frozen bar.
    pub(crate) served: Part,
    /// The same by the marks of the calls (`novel=true`, …).
    pub(crate) by_mark: BTreeMap<String, Part>,
    /// And by stratum: the tool or label that the understudy chose.
    pub(crate) by_stratum: BTreeMap<String, Part>,
    /// Every understudy, whatever its bar: coverage against agreement.
    pub(crate) understudies: BTreeMap<String, Curve>,
    /// Exact repeat and nearest neighbour's reply; never served.
    pub(crate) baselines: BTreeMap<String, Part>,
    /// The eligible calls, one by one: no text of theirs, and of their marks those that
    /// [`keep_groups`] left.
    pub(crate) asked: Vec<Asked>,
}

/// What the provider did with a held-out call.
#[derive(Debug, Serialize)]
pub(crate) struct Asked {
    /// Its place among the held-out calls.
    pub(crate) call: usize,
    /// The tools that the provider called; none where it wrote text.
    pub(crate) tools: Vec<String>,
    /// One of them acts, by name and description.
    pub(crate) acts: bool,
    /// The conversation's id, where the log has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) conversation: Option<String>,
    /// Those of its line's marks that many lines share, or that were chosen by.
    pub(crate) marks: BTreeMap<String, String>,
}

impl Asked {
    fn new(call: usize, logged: &LoggedCall, book: &TaskBook) -> Self {
        let reply = logged.reply.choices.first().map(|c| &c.tool_calls);
        let tools: Vec<String> = reply.into_iter().flatten().map(|c| c.name.clone()).collect();
        let acts = |name: &String| {
            let offered = logged.request.tools.iter().find(|t| &t.name == name);
            offered.is_none_or(|t| book.effect(t) == Effect::Acts)
        };
        Self {
            call,
            acts: tools.iter().any(acts),
            tools,
            conversation: logged.conversation.clone(),
            marks: logged.marks.clone(),
        }
    }
}

/// A part of the calls: how many there were, were taken, and agree.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Part {
    pub(crate) of: u64,
    pub(crate) taken: u64,
    pub(crate) agreed: u64,
    /// Taken of all.
    pub(crate) coverage: Option<f64>,
    /// Agreeing of those taken, as a mean over conversations, with its two-sided 95 %
    /// interval: calls of one conversation are not independent.
    pub(crate) agreement: Option<(f64, f64, f64)>,
    /// Mean milliseconds that the understudy took, declines included.
    pub(crate) mean_ms: Option<f64>,
    #[serde(skip)]
    errands: Errands,
    #[serde(skip)]
    spent_ms: f64,
}

/// Calls that were taken and that agree, by conversation.
#[derive(Debug, Default, Clone)]
struct Errands(BTreeMap<ConversationKey, (u32, u32)>);

impl Errands {
    fn add(&mut self, errand: ConversationKey, agrees: bool) {
        let (agreed, of) = self.0.entry(errand).or_default();
        *agreed += u32::from(agrees);
        *of += 1;
    }

    /// The mean over conversations and its two-sided 95 % interval.
    fn agreement(&self) -> Option<(f64, f64, f64)> {
        let means: Vec<f64> =
            self.0.values().map(|(agreed, of)| f64::from(*agreed) / f64::from(*of)).collect();
        let (low, high) = interval::of_means(&means, 0.95)?;
        Some((means.iter().sum::<f64>() / means.len() as f64, low, high))
    }
}

impl Part {
    fn count(&mut self, errand: ConversationKey, taken: bool, agrees: bool, spent_ms: f64) {
        self.of += 1;
        self.taken += u64::from(taken);
        self.agreed += u64::from(taken && agrees);
        if taken {
            self.errands.add(errand, agrees);
        }
        self.spent_ms += spent_ms;
    }

    fn finish(&mut self) {
        self.coverage = (self.of > 0).then(|| self.taken as f64 / self.of as f64);
        self.agreement = self.errands.agreement();
        self.mean_ms = (self.of > 0).then(|| self.spent_ms / self.of as f64);
    }
}

/// An understudy's curve.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Curve {
    /// Its kind.
    pub(crate) kind: String,
    /// It knows nothing of the calls after this place of the journal.
    pub(crate) born_seq: u64,
    /// Calls it was asked, and declined outright.
    pub(crate) asked: u64,
    /// Mean milliseconds.
    pub(crate) mean_ms: f64,
    /// (coverage, agreement by conversation, and its two-sided 95 % interval) at
    /// falling coverage.
    pub(crate) curve: Vec<(f64, f64, f64, f64)>,
    /// Each answer, the surest first.
    pub(crate) answers: Vec<Answer>,
    /// Calls that it was asked and declined outright, by their place.
    pub(crate) declined: Vec<usize>,
    #[serde(skip)]
    spent_ms: f64,
}

/// One answer to a held-out call.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    /// The call's place among the held-out ones.
    pub(crate) call: usize,
    pub(crate) confidence: f64,
    pub(crate) agrees: bool,
    /// The tool or label that was chosen.
    pub(crate) stratum: String,
    #[serde(skip)]
    errand: ConversationKey,
}

/// Seconds a call, or money.
fn is_dear(kind: Kind) -> bool {
    matches!(kind, Kind::Prompted | Kind::Remote)
}

/// Measures a frozen rehearsal on held-out calls. Who serves is asked every one;
/// a model that does not is asked a sample, and no longer than `budget` in all, of
/// which prompted and remote ones get at most a third.
///
/// # Errors
/// When it is interrupted; never for a call.
pub(crate) async fn measure(
    rehearsal: &mut Rehearsal,
    held: &Log,
    caller: &Caller,
    conversations: &Conversations,
    budget: Duration,
) -> Result<Vec<Measured>, Failure> {
    let until = Instant::now() + budget;
    let mut all: BTreeMap<understudy_policy::TaskId, Measured> = BTreeMap::new();
    let mut interrupted = std::pin::pin!(crate::serve::told_to_end()?);
    let mut asked = BTreeMap::new();
    let mut dear_ms = 0.0;
    let bar = indicatif::ProgressBar::new(held.calls.len() as u64);
    for (n, call) in held.calls.iter().enumerate() {
        bar.inc(1);
        let exchange = caller.exchange(n as u64, call, conversations);
        let mut also = |m: &CastMember| {
            let n = asked.entry(m.id.clone()).or_insert(0u32);
            *n += 1;
            let enough = is_dear(m.kind) && (*n > SAMPLE || dear_ms > SHARE * budget.as_secs_f64() * 1e3);
            m.kind == Kind::Head || (Instant::now() < until && !enough)
        };
        let evaluated = tokio::select! {
            biased;
            () = &mut interrupted => {
                bar.finish_and_clear();
                return Err(Failure::Failed(
                    "interrupted while held-out calls were measured; what was rehearsed is kept, and the same command \
                     measures again"
                        .to_owned(),
                ));
            }
            evaluated = rehearsal.evaluate(&exchange, &mut also) => evaluated,
        };
        let Some(evaluated) = evaluated else { continue };
        let m = all.entry(evaluated.task).or_default();
        m.calls += 1;
        if !evaluated.eligible {
            continue;
        }
        m.eligible += 1;
        let errand = exchange.meta.conversation.unwrap_or(ConversationKey(exchange.id.0));
        m.asked.push(Asked::new(n, call, rehearsal.book()));
        for (name, said) in ["exact repeat", "nearest neighbour"].into_iter().zip(evaluated.baselines) {
            m.baselines.entry(name.to_owned()).or_default().count(
                errand,
                said.is_some(),
                said == Some(true),
                0.0,
            );
        }
        for answer in &evaluated.answers {
            let curve = m.understudies.entry(answer.trial.understudy.0.clone()).or_default();
            answer.kind.label().clone_into(&mut curve.kind);
            curve.born_seq = answer.born_seq;
            curve.spent_ms += answer.trial.spent_ms;
            if is_dear(answer.kind) {
                dear_ms += answer.trial.spent_ms;
            }
            if let Outcome::Answered { confidence, agrees, stratum, .. } = &answer.trial.outcome {
                curve.answers.push(Answer {
                    call: n,
                    confidence: *confidence,
                    agrees: *agrees,
                    stratum: stratum.clone(),
                    errand,
                });
            } else {
                curve.declined.push(n);
            }
        }
        if evaluated.lane == Lane::Control {
            m.control += 1;
            continue;
        }
        let serving = evaluated.answers.iter().find(|a| a.taken.is_some());
        let taken = serving.and_then(|a| a.taken).unwrap_or(false)
            && matches!(evaluated.lane, Lane::Understudy | Lane::Audit);
        let spent = serving.map_or(0.0, |a| a.trial.spent_ms);
        let (agrees, stratum) = match serving.map(|a| &a.trial.outcome) {
            Some(Outcome::Answered { agrees, stratum, .. }) => (*agrees, stratum.clone()),
            _ => (false, "declined".to_owned()),
        };
        m.served.count(errand, taken, agrees, spent);
        m.by_stratum.entry(stratum).or_default().count(errand, taken, agrees, spent);
        for (k, v) in call.marks.iter().filter(|(k, _)| !matches!(k.as_str(), "agent" | "split" | "id")) {
            m.by_mark.entry(format!("{k}={v}")).or_default().count(errand, taken, agrees, spent);
        }
        if !call.marks.contains_key("novel") {
            m.by_mark.entry("not novel".to_owned()).or_default().count(errand, taken, agrees, spent);
        }
    }
    bar.finish_and_clear();
    let names: BTreeMap<_, _> =
        rehearsal.book().tasks().into_iter().map(|t| (t.id, t.name.clone())).collect();
    Ok(all
        .into_iter()
        .map(|(id, mut m)| {
            m.name = names.get(&id).cloned().unwrap_or_default();
            let parts =
                m.by_mark.values_mut().chain(m.by_stratum.values_mut()).chain(m.baselines.values_mut());
            parts.for_each(Part::finish);
            m.served.finish();
            m.understudies.values_mut().for_each(Curve::finish);
            m
        })
        .collect())
}

impl Curve {
    fn finish(&mut self) {
        self.asked = (self.answers.len() + self.declined.len()) as u64;
        self.mean_ms = self.spent_ms / self.asked.max(1) as f64;
        self.answers.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        self.curve = CURVE
            .iter()
            .filter_map(|coverage| {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a count of answers"
                )]
                let n = (coverage * self.asked as f64).round() as usize;
                let top = self.answers.get(..n).filter(|t| !t.is_empty())?;
                let mut errands = Errands::default();
                top.iter().for_each(|a| errands.add(a.errand, a.agrees));
                let (mean, low, high) = errands.agreement()?;
                Some((*coverage, mean, low, high))
            })
            .collect();
    }
}
