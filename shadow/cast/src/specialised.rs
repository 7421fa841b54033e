//! Specialised: the base model with an adapter that was trained on the task's
//! own exchanges.
//!
//! *The part alone.* It has learnt what all calls of the task share, so it is
//! given only what varies ([`messages`]), in training and in serving alike: a
//! prompt of a thousand tokens becomes some twenty.
//!
//! *Shape.* The grammar is the task's: where every reply that it learnt calls a
//! tool it must call one; else it may, and text is text.
//!
//! *Leaving calls.* Of a text that nobody could say again it has learnt to say nothing,
//! which declines the call after its prompt, before a word is written.
//!
//! *Quotes.* A value that the task always takes from the part, and that stands
//! nowhere in it, is made up: such a reply is declined ([`Quotes`]).
//!
//! *Reserve.* The engine's log-probabilities and the similarity to the parts of
//! the training become log-odds of agreement ([`calibration`]). The engine gets
//! the bar that the sum would have to keep, and stops as soon as it is out of
//! reach.
//!
//! A version begins as a [`Draft`]: it answers the development rows, which its
//! training never saw, and what it says of them makes the calibration, the bar
//! and, against the version before, the choice between the two.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use understudy_call::{
    Answer, Ask, CallText, Choice, Declined, Embedder, Format, Priority, Reply, Request, Responder, Sampling,
    ToolChoice, UnderstudyId,
};
use understudy_tasks::Part;

use crate::asking;
use crate::client::{ChatAnswer, ChatAsk, ChatModel, ReplyShape};
use crate::example::{Example, stratum_in};

pub mod calibration;
mod quotes;
mod snapshot;
mod turns;

pub use calibration::{Calibration, Judgement, Signals};
pub use quotes::Quotes;
pub use snapshot::{Habits, SpecialisedSnapshot};
pub use turns::messages;

/// How an adapter that is trained now writes its calls, in the replies that it
/// learns and in the turns before them.
pub const CALLS: CallText = CallText::Line;

/// Training parts that the similarity is taken over.
const NEAR_OF: usize = 3;

/// A specialised understudy that answers.
pub struct Specialised {
    id: UnderstudyId,
    snapshot: SpecialisedSnapshot,
    embedder: Arc<dyn Embedder>,
    model: Arc<dyn ChatModel>,
}

impl std::fmt::Debug for Specialised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Specialised")
            .field("id", &self.id)
            .field("adapter", &self.snapshot.adapter)
            .finish_non_exhaustive()
    }
}

/// What came back before it was held against a bar.
struct Said {
    reply: Reply,
    signals: Signals,
    stratum: String,
}

/// How a part is asked.
struct Question<'a> {
    request: &'a Request,
    part: &'a Part,
    deadline: Duration,
    bar: Option<f64>,
    priority: Priority,
}

impl Specialised {
    /// An understudy out of its snapshot; `None` where the snapshot's parts do not fit.
    #[must_use]
    pub fn new(
        snapshot: SpecialisedSnapshot,
        embedder: Arc<dyn Embedder>,
        model: Arc<dyn ChatModel>,
    ) -> Option<Self> {
        snapshot.is_whole().then(|| Self { id: snapshot.id(), snapshot, embedder, model })
    }

    /// The snapshot.
    #[must_use]
    pub fn snapshot(&self) -> &SpecialisedSnapshot {
        &self.snapshot
    }

    async fn answer(&self, ask: Ask<'_>) -> Result<Answer, Declined> {
        let begun = Instant::now();
        if self.snapshot.credential.is_some_and(|c| c != ask.credential) {
            return Err(Declined::Unavailable);
        }
        let part = understudy_tasks::part(ask.request, ask.opening);
        let question = Question {
            request: ask.request,
            part: &part,
            deadline: ask.deadline,
            bar: ask.bar,
            priority: ask.priority,
        };
        let Said { mut reply, signals, stratum } = self.say(question, begun).await?;
        let confidence = self.snapshot.calibration.confidence(signals);
        if ask.bar.is_some_and(|bar| confidence < bar) {
            return Err(Declined::BelowBar);
        }
        let spent = begun.elapsed();
        if spent > ask.deadline {
            return Err(Declined::Late);
        }
        reply.model.clone_from(&ask.request.model);
        Ok(Answer { reply, confidence, stratum, spent })
    }

    async fn say(&self, q: Question<'_>, begun: Instant) -> Result<Said, Declined> {
        let s = &self.snapshot;
        let left = || q.deadline.checked_sub(begun.elapsed()).ok_or(Declined::Late);
        let part = asking::inside(q.part, s.frame.as_ref())?;
        let text = part.text();
        let seen = s.sight.of(&text, part.turns_at());
        let vector = asking::vector(self.embedder.as_ref(), seen, q.priority, left()?).await?;
        if !asking::has_models(self.model.as_ref(), self.embedder.as_ref(), (&s.model, &s.embedder)).await {
            return Err(Declined::Unavailable);
        }
        let similarity = s.similarity(&vector).ok_or(Declined::Unavailable)?;
        let bar = q.bar.map(|bar| s.calibration.least_sum(bar, similarity));
        // A sum of log-probabilities is at most 0.
        if bar.is_some_and(|bar| bar > 0.0) {
            return Err(Declined::Novel);
        }
        let chat = ChatAsk {
            request: self.request(q.request, &part),
            shape: self.shape(q.request),
            adapter: Some(s.adapter.clone()),
            calls: s.habits.calls,
            deadline: left()?,
            bar,
            priority: q.priority,
        };
        let ChatAnswer { reply, confidence, min_logprob, .. } = self.model.chat(chat).await?;
        if s.habits.defers && says_nothing(&reply) {
            return Err(Declined::Deferred);
        }
        let choice = asking::usable(q.request, &reply)?;
        let sum = confidence.ok_or(Declined::Invalid)?;
        if !s.habits.quotes.are_kept(&text, choice) {
            return Err(Declined::Unquoted);
        }
        let signals = Signals { sum, least: min_logprob.unwrap_or(0.0), similarity };
        let stratum = stratum_in(q.request, choice);
        Ok(Said { reply, signals, stratum })
    }

    fn shape(&self, asked: &Request) -> Option<ReplyShape> {
        let can_call = !asked.tools.is_empty() && asked.tool_choice != ToolChoice::None;
        match (can_call, self.snapshot.habits.always_calls) {
            (true, true) => Some(ReplyShape::ToolCall),
            (true, false) if self.snapshot.habits.defers => Some(ReplyShape::OrNothing),
            // As the caller's own request leaves it: a call or text.
            (true, false) => None,
            (false, _) if asked.format != Format::Text => Some(ReplyShape::Json),
            (false, _) => Some(ReplyShape::Text),
        }
    }

    /// What the engine is asked: the part, greedy, the tools and the format as they are.
    fn request(&self, asked: &Request, part: &Part) -> Request {
        let habits = &self.snapshot.habits;
        // The longest reply that it learnt, at one byte a token: digits are written
        // one by one, and other scripts than Latin by single bytes. The engine clamps
        // it to what the prompt leaves of the context.
        let room = u32::try_from(habits.longest.saturating_add(32)).unwrap_or(u32::MAX);
        // What a text would stop at says nothing of a call, whose arguments are whole.
        let calls = self.shape(asked) == Some(ReplyShape::ToolCall);
        let parallel = asked.parallel_tool_calls != Some(false) && habits.parallel;
        Request {
            model: String::new(),
            messages: messages(part, habits.calls, habits.long_turns),
            tools: asked.tools.clone(),
            tool_choice: asked.tool_choice.clone(),
            parallel_tool_calls: (!asked.tools.is_empty()).then_some(parallel),
            format: asked.format.clone(),
            sampling: Sampling {
                max_tokens: Some(asked.sampling.max_tokens.map_or(room, |m| m.min(room))),
                temperature: Some(0.0),
                stop: if calls { Vec::new() } else { asked.sampling.stop.clone() },
                ..Sampling::default()
            },
            ..Request::default()
        }
    }
}

fn says_nothing(reply: &Reply) -> bool {
    reply.choices.iter().all(|c| c.tool_calls.is_empty() && c.text().is_empty())
}

impl Responder for Specialised {
    fn id(&self) -> &UnderstudyId {
        &self.id
    }

    fn respond<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Answer, Declined>> {
        Box::pin(self.answer(ask))
    }
}

/// A version that still has to show what it makes of the development rows.
#[derive(Debug)]
pub struct Draft(Specialised);

impl Draft {
    /// A draft out of a snapshot whose calibration does not count yet.
    #[must_use]
    pub fn new(
        snapshot: SpecialisedSnapshot,
        embedder: Arc<dyn Embedder>,
        model: Arc<dyn ChatModel>,
    ) -> Option<Self> {
        Specialised::new(snapshot, embedder, model).map(Self)
    }

    /// Answers a development row, whatever the bar.
    ///
    /// # Errors
    /// Why it did not: [`Declined::Invalid`] is the understudy's own fault,
    /// [`Declined::Unavailable`] the engine's.
    pub async fn rehearse(
        &self,
        request: &Request,
        example: &Example,
        deadline: Duration,
    ) -> Result<(Choice, Signals, String), Declined> {
        let part = &example.part;
        let question = Question { request, part, deadline, bar: None, priority: Priority::Shadow };
        let Said { reply, signals, stratum } = self.0.say(question, Instant::now()).await?;
        let choice = reply.choices.into_iter().next().ok_or(Declined::Invalid)?;
        Ok((choice, signals, stratum))
    }

    /// The version, calibrated on what was judged.
    #[must_use]
    pub fn calibrated(self, judged: &[Judgement]) -> Option<Specialised> {
        let Specialised { mut snapshot, embedder, model, .. } = self.0;
        snapshot.calibration = Calibration::fit(&judged.iter().collect::<Vec<_>>()).unwrap_or_default();
        Specialised::new(snapshot, embedder, model)
    }
}

#[cfg(test)]
mod tests;
