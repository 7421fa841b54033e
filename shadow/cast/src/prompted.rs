//! Prompted: the base model as it is, shown how the provider answered the
//! nearest earlier calls.
//!
//! *Prompt.* The form in short (system text cut to a budget, a line for each
//! tool with its arguments), then the k nearest earlier exchanges as turns of a
//! conversation, the nearest last, then the part. Nearest is by embedding over
//! a frozen snapshot; the call itself, its conversation's later calls and
//! whatever came after the snapshot are not in it, and nothing of another
//! credential's is.
//!
//! *Shape.* Whether the reply is a tool call or text, where the caller leaves
//! it open, is what the neighbours did, by a vote weighted by similarity.
//!
//! *Reserve.*
//!
//! ```text
//! confidence = Σ log p(freely chosen tokens) + ln(share of the vote) + 4·(similarity − 1)
//! ```
//!
//! The sum is the engine's: tokens that the grammar forces are free. Similarity
//! is the mean cosine to the three nearest shown examples: a model this small
//! copies what it is shown, so what it is shown must be near. The engine gets
//! the bar less the other two terms, and stops as soon as it is out of reach.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use understudy_call::{
    Answer, Ask, CallText, Declined, Embedder, Format, Reply, Request, Responder, Sampling, ToolChoice,
    UnderstudyId,
};

use crate::asking;
use crate::client::{ChatAsk, ChatModel, ReplyShape};
use crate::example::stratum_in;

mod prompt;
mod snapshot;

pub use prompt::form_in_short;
pub use snapshot::{PromptRules, PromptedSnapshot, Shown};

/// Weight of the similarity to the nearest examples.
const NEAR: f64 = 4.0;

/// Examples that the similarity is taken over.
const NEAR_OF: usize = 3;

/// A prompted understudy that answers.
pub struct Prompted {
    id: UnderstudyId,
    snapshot: PromptedSnapshot,
    embedder: Arc<dyn Embedder>,
    model: Arc<dyn ChatModel>,
}

impl std::fmt::Debug for Prompted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prompted")
            .field("id", &self.id)
            .field("shown", &self.snapshot.shown.len())
            .finish_non_exhaustive()
    }
}

impl Prompted {
    /// An understudy out of its snapshot; `None` where the snapshot's parts do not fit.
    #[must_use]
    pub fn new(
        snapshot: PromptedSnapshot,
        embedder: Arc<dyn Embedder>,
        model: Arc<dyn ChatModel>,
    ) -> Option<Self> {
        snapshot.is_whole().then(|| Self { id: snapshot.id(), snapshot, embedder, model })
    }

    /// The snapshot.
    #[must_use]
    pub fn snapshot(&self) -> &PromptedSnapshot {
        &self.snapshot
    }

    async fn answer(&self, ask: Ask<'_>) -> Result<Answer, Declined> {
        let begun = Instant::now();
        let s = &self.snapshot;
        if s.credential.is_some_and(|c| c != ask.credential) {
            return Err(Declined::Unavailable);
        }
        let left = || ask.deadline.checked_sub(begun.elapsed()).ok_or(Declined::Late);
        let whole = understudy_tasks::part(ask.request, ask.opening);
        let inside = asking::inside(&whole, s.frame.as_ref())?;
        let part = inside.text();
        if part.len() > s.rules.prompt_chars {
            return Err(Declined::TooLong);
        }
        let seen = s.sight.of(&part, inside.turns_at());
        let vector = asking::vector(self.embedder.as_ref(), seen, ask.priority, left()?).await?;
        if !asking::has_models(self.model.as_ref(), self.embedder.as_ref(), (&s.model, &s.embedder)).await {
            return Err(Declined::Unavailable);
        }
        let near = s.nearest(&vector, ask.exchange, s.rules.k);
        let (shape, share) = vote(ask.request, &near);
        let beside = share.ln() + NEAR * (similarity(&near) - 1.0);
        // A sum of log-probabilities is at most 0.
        if ask.bar.is_some_and(|bar| beside < bar) {
            return Err(if share < 0.75 { Declined::BelowBar } else { Declined::Novel });
        }
        let mut shown: Vec<&Shown> = near.iter().filter(|(e, _)| e.shape == shape).map(|(e, _)| *e).collect();
        loop {
            let chat = ChatAsk {
                request: self.request(ask.request, &part, &shown, shape),
                shape: Some(shape),
                adapter: None,
                calls: CallText::Json,
                deadline: left()?,
                bar: ask.bar.map(|bar| bar - beside),
                priority: ask.priority,
            };
            match self.model.chat(chat).await {
                // Fewer examples, the farthest left out.
                Err(Declined::TooLong) if !shown.is_empty() => shown.truncate(shown.len() / 2),
                Err(why) => return Err(why),
                Ok(answer) => {
                    let logprob = answer.confidence.ok_or(Declined::Invalid)?;
                    return self.checked(ask, answer.reply, logprob + beside, begun.elapsed());
                }
            }
        }
    }

    fn checked(
        &self,
        ask: Ask<'_>,
        mut reply: Reply,
        confidence: f64,
        spent: Duration,
    ) -> Result<Answer, Declined> {
        let choice = asking::usable(ask.request, &reply)?;
        if ask.bar.is_some_and(|bar| confidence < bar) {
            return Err(Declined::BelowBar);
        }
        if spent > ask.deadline {
            return Err(Declined::Late);
        }
        let stratum = stratum_in(ask.request, choice);
        reply.model.clone_from(&ask.request.model);
        Ok(Answer { reply, confidence, stratum, spent })
    }

    /// What the engine is asked: greedy, the tools and the format as they are.
    fn request(&self, asked: &Request, part: &str, shown: &[&Shown], shape: ReplyShape) -> Request {
        let budget = self.snapshot.rules.prompt_chars.saturating_sub(self.snapshot.form.len() + part.len());
        let (messages, used) = prompt::messages(&self.snapshot.form, shown, part, budget);
        let longest = used.iter().map(|e| e.answered.len()).max().unwrap_or(512);
        // The longest shown reply at one byte a token, which is what digits and other
        // scripts than Latin take (some words take a fifth of it): a reply that
        // runs away is cut, which is invalid, before it costs more than it could save.
        let room = u32::try_from(longest.saturating_add(32)).unwrap_or(u32::MAX);
        let many = asked.parallel_tool_calls != Some(false) && used.iter().any(|e| e.calls > 1);
        let with_tools = shape == ReplyShape::ToolCall;
        let format = match (shape, &asked.format) {
            (ReplyShape::Json, Format::Text) => Format::JsonObject,
            (_, format) => format.clone(),
        };
        Request {
            model: String::new(),
            messages,
            tools: if with_tools { asked.tools.clone() } else { understudy_call::Tools::default() },
            tool_choice: match &asked.tool_choice {
                _ if !with_tools => ToolChoice::Auto,
                ToolChoice::Auto | ToolChoice::None => ToolChoice::Required,
                given => given.clone(),
            },
            parallel_tool_calls: with_tools.then_some(many),
            format: if with_tools { Format::Text } else { format },
            sampling: Sampling {
                max_tokens: Some(asked.sampling.max_tokens.map_or(room, |m| m.min(room))),
                temperature: Some(0.0),
                stop: asked.sampling.stop.clone(),
                ..Sampling::default()
            },
            ..Request::default()
        }
    }
}

impl Responder for Prompted {
    fn id(&self) -> &UnderstudyId {
        &self.id
    }

    fn respond<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Answer, Declined>> {
        Box::pin(self.answer(ask))
    }
}

/// The form that the reply takes, and the neighbours' share for it, above 0.
fn vote(request: &Request, near: &[(&Shown, f32)]) -> (ReplyShape, f64) {
    let can_call = !request.tools.is_empty() && request.tool_choice != ToolChoice::None;
    if can_call && matches!(request.tool_choice, ToolChoice::Required | ToolChoice::Named(_)) {
        return (ReplyShape::ToolCall, 1.0);
    }
    if !can_call && request.format != Format::Text {
        return (ReplyShape::Json, 1.0);
    }
    // Cosines of sentences lie close together; the power tells near from far.
    let weight = |cosine: f32| f64::from(cosine.max(0.05)).powi(8);
    let sum = |shape| near.iter().filter(|(e, _)| e.shape == shape).map(|(_, c)| weight(*c)).sum::<f64>();
    let shapes = [ReplyShape::ToolCall, ReplyShape::Json, ReplyShape::Text].map(|s| (s, sum(s)));
    let all: f64 = shapes.iter().map(|(_, w)| w).sum();
    let best = shapes
        .into_iter()
        .filter(|(s, _)| can_call || *s != ReplyShape::ToolCall)
        .max_by(|a, b| a.1.total_cmp(&b.1));
    match best {
        Some((shape, w)) if w > 0.0 => (shape, w / all),
        // Nothing to go by: text, and surely below any bar.
        _ => (ReplyShape::Text, f64::MIN_POSITIVE),
    }
}

/// Mean cosine to the nearest; 0, which is far, where there are none.
fn similarity(near: &[(&Shown, f32)]) -> f64 {
    let of = near.len().min(NEAR_OF);
    if of == 0 {
        return 0.0;
    }
    near.iter().take(of).map(|(_, c)| f64::from(*c)).sum::<f64>() / of as f64
}

#[cfg(test)]
mod tests;
