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
use serde::{Deserialize, Serialize};
use understudy_call::{
    Answer, Ask, Choice, ConversationKey, Credential, Declined, Embedder, ExchangeId, Format, Request, Responder, Sampling,
    ToolChoice, UnderstudyId,
};
use understudy_policy::TaskId;
use understudy_tasks::Form;

use crate::client::{ChatAsk, ChatModel, ReplyShape};
use crate::example::{Example, spoken, stratum_in};
use crate::packed::Rows;
use crate::{check, head, window};

mod prompt;

pub use prompt::form_in_short;

/// Weight of the similarity to the nearest examples.
const NEAR: f64 = 4.0;

/// Examples that the similarity is taken over.
const NEAR_OF: usize = 3;

/// How a prompt is made. Part of the version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PromptRules {
    /// Earlier exchanges shown.
    pub k: usize,
    /// Characters of the form in short.
    pub form_chars: usize,
    /// Characters of one example's part.
    pub example_chars: usize,
    /// Characters of the whole prompt; examples are left out, the farthest
    /// first, until it fits. At some four characters a token and 900 tokens a
    /// second of prefill the default costs up to two seconds on two cores.
    pub prompt_chars: usize,
    /// Exchanges in a snapshot: the latest ones.
    pub snapshot: usize,
    /// Characters of a snapshot in all.
    pub snapshot_chars: usize,
}

impl Default for PromptRules {
    fn default() -> Self {
        Self {
            k: 6,
            form_chars: 800,
            example_chars: 1_200,
            prompt_chars: 7_000,
            snapshot: 4_096,
            snapshot_chars: 4 << 20,
        }
    }
}

/// What a prompted understudy knows, frozen. It holds redacted content and
/// belongs in the sealed journal only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromptedSnapshot {
    /// The task.
    pub task: TaskId,
    /// Whose exchanges; `None` for a shared task.
    pub credential: Option<Credential>,
    /// The chat model's name, hash and execution provider.
    pub model: String,
    /// The embedder's name and version.
    pub embedder: String,
    /// It knows nothing of the journal after this place.
    pub born_seq: u64,
    /// How it asks.
    pub rules: PromptRules,
    /// The form in short.
    pub form: String,
    /// What it may show.
    pub shown: Vec<Shown>,
    /// Exchanges that it knows of and does not show, by [`head::mark`], in order.
    unshown: Vec<u64>,
    /// Embeddings of what it may show, in order.
    memory: Rows,
}

/// An earlier exchange that may be shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// The exchange.
    pub exchange: ExchangeId,
    /// Its conversation.
    pub conversation: ConversationKey,
    /// Its place in the journal.
    pub seq: u64,
    /// What was asked, cut.
    pub asked: String,
    /// What the provider answered, as the model is to write it.
    pub answered: String,
    /// The reply's form.
    pub shape: ReplyShape,
    /// How many tools it calls.
    pub calls: u8,
}

impl PromptedSnapshot {
    /// A snapshot of the latest of `examples` that have an embedding and a
    /// reply that can be shown; `None` where there are none. Their order does
    /// not matter.
    #[must_use]
    pub fn new(
        task: TaskId,
        credential: Option<Credential>,
        form: &Form,
        (model, embedder): (&str, &str),
        examples: &[Example],
        born_seq: u64,
        rules: &PromptRules,
    ) -> Option<Self> {
        let mut known: Vec<&Example> =
            examples.iter().filter(|e| e.seq <= born_seq && credential.is_none_or(|c| c == e.credential)).collect();
        known.sort_by_key(|e| std::cmp::Reverse((e.seq, e.exchange)));
        known.dedup_by_key(|e| e.exchange);
        let mut memory = Rows::new(known.iter().find_map(|e| e.embedding.as_ref())?.len());
        let (mut shown, mut unshown, mut chars) = (Vec::new(), Vec::new(), 0);
        for e in known {
            let asked = window::cut(&e.part_text, rules.example_chars).into_owned();
            // A reply longer than half a prompt leaves no room for others.
            let fitting = spoken(&e.reply).filter(|a| a.len() <= rules.prompt_chars / 2);
            let size = asked.len() + fitting.as_ref().map_or(0, String::len);
            let room = shown.len() < rules.snapshot && chars + size <= rules.snapshot_chars;
            let (Some(answered), Some(v), true) = (fitting, &e.embedding, room) else {
                unshown.push(head::mark(e.exchange));
                continue;
            };
            if !memory.push(v) {
                unshown.push(head::mark(e.exchange));
                continue;
            }
            chars += size;
            shown.push(Shown {
                exchange: e.exchange,
                conversation: e.conversation,
                seq: e.seq,
                asked,
                shape: shape_of(&e.reply, &answered),
                answered,
                calls: u8::try_from(e.reply.tool_calls.len()).unwrap_or(u8::MAX),
            });
        }
        unshown.sort_unstable();
        (!shown.is_empty()).then(|| Self {
            task,
            credential,
            model: model.to_owned(),
            embedder: embedder.to_owned(),
            born_seq,
            rules: rules.clone(),
            form: form_in_short(form, rules.form_chars),
            shown,
            unshown,
            memory,
        })
    }

    /// The version's name, a hash over everything in it.
    #[must_use]
    pub fn id(&self) -> UnderstudyId {
        let mut h = blake3::Hasher::new();
        h.update(b"understudy prompted 1");
        // A snapshot always serialises, its fields in order.
        let _ = serde_json::to_writer(&mut h, self);
        UnderstudyId(format!("prompted-{}", head::short(&h)))
    }

    /// The nearest of what it may show, the nearest first, with their cosines:
    /// never `exchange` itself, nor what came after it; nothing at all where its
    /// place is not known any more.
    #[must_use]
    pub fn nearest(&self, embedding: &[f32], exchange: Option<ExchangeId>, k: usize) -> Vec<(&Shown, f32)> {
        let unplaced = exchange.is_some_and(|e| self.unshown.binary_search(&head::mark(e)).is_ok());
        if embedding.len() != self.memory.dim() || unplaced {
            return Vec::new();
        }
        let itself = exchange.and_then(|e| self.shown.iter().find(|s| s.exchange == e));
        let mut all: Vec<(&Shown, f32)> = self
            .shown
            .iter()
            .zip(self.memory.dots(embedding))
            .filter(|(s, _)| exchange != Some(s.exchange) && itself.is_none_or(|i| s.seq < i.seq))
            .collect();
        // Of equals the later one: agents change, and what is newest holds.
        let order = |a: &(&Shown, f32), b: &(&Shown, f32)| b.1.total_cmp(&a.1).then(b.0.seq.cmp(&a.0.seq));
        if all.len() > k {
            all.select_nth_unstable_by(k, order);
            all.truncate(k);
        }
        all.sort_by(order);
        all
    }

    fn is_whole(&self) -> bool {
        self.memory.is_whole() && self.memory.len() == self.shown.len() && !self.shown.is_empty()
    }
}

fn shape_of(reply: &Choice, answered: &str) -> ReplyShape {
    if !reply.tool_calls.is_empty() {
        ReplyShape::ToolCall
    } else if serde_json::from_str::<serde_json::Value>(answered).is_ok_and(|v| v.is_object()) {
        ReplyShape::Json
    } else {
        ReplyShape::Text
    }
}

/// A prompted understudy that answers.
pub struct Prompted {
    id: UnderstudyId,
    snapshot: PromptedSnapshot,
    embedder: Arc<dyn Embedder>,
    model: Arc<dyn ChatModel>,
}

impl std::fmt::Debug for Prompted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prompted").field("id", &self.id).field("shown", &self.snapshot.shown.len()).finish_non_exhaustive()
    }
}

impl Prompted {
    /// An understudy out of its snapshot; `None` where the snapshot's parts do not fit.
    #[must_use]
    pub fn new(snapshot: PromptedSnapshot, embedder: Arc<dyn Embedder>, model: Arc<dyn ChatModel>) -> Option<Self> {
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
        let left = || ask.deadline.checked_sub(begun.elapsed()).ok_or(Declined::TooSlow);
        let part = understudy_tasks::part(ask.request).text();
        if part.len() > s.rules.prompt_chars {
            return Err(Declined::TooLong);
        }
        let text = [window::to_embed(&part)];
        let vector = tokio::time::timeout(left()?, self.embedder.embed(&text, ask.priority))
            .await
            .map_err(|_| Declined::TooSlow)?
            .map_err(|_| Declined::Unavailable)?
            .pop()
            .ok_or(Declined::Unavailable)?;
        let same_model = self.model.model().await.is_some_and(|m| m == s.model);
        if !same_model || self.embedder.id() != s.embedder {
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
                shape,
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
        mut reply: understudy_call::Reply,
        confidence: f64,
        spent: Duration,
    ) -> Result<Answer, Declined> {
        let [choice] = reply.choices.as_slice() else { return Err(Declined::Invalid) };
        if !check::usable(ask.request, choice) {
            return Err(Declined::Invalid);
        }
        if ask.bar.is_some_and(|bar| confidence < bar) {
            return Err(Declined::BelowBar);
        }
        if spent > ask.deadline {
            return Err(Declined::TooSlow);
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
        // Twice the longest shown reply at three bytes a token: a reply that
        // runs away is cut, which is invalid, before it costs more than it could save.
        let room = u32::try_from(2 * longest / 3 + 32).unwrap_or(u32::MAX);
        let many = asked.parallel_tool_calls != Some(false) && used.iter().any(|e| e.calls > 1);
        let with_tools = shape == ReplyShape::ToolCall;
        let format = match (shape, &asked.format) {
            (ReplyShape::Json, Format::Text) => Format::JsonObject,
            (_, format) => format.clone(),
        };
        Request {
            model: String::new(),
            messages,
            tools: if with_tools { asked.tools.clone() } else { Vec::new() },
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
    let best = shapes.into_iter().filter(|(s, _)| can_call || *s != ReplyShape::ToolCall).max_by(|a, b| a.1.total_cmp(&b.1));
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
