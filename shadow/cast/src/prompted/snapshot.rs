//! What a prompted understudy knows, and which of it is nearest.

use serde::{Deserialize, Serialize};
use understudy_call::{Choice, ConversationKey, Credential, ExchangeId, UnderstudyId};
use understudy_policy::TaskId;
use understudy_tasks::{Form, Frame};

use super::prompt::form_in_short;
use crate::client::ReplyShape;
use crate::example::{Example, spoken};
use crate::head;
use crate::packed::Rows;
use crate::window::{self, Sight};

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
    /// What it has embedded of a part.
    #[serde(default, skip_serializing_if = "Sight::is_whole")]
    pub(super) sight: Sight,
    /// What stands around what it shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) frame: Option<Frame>,
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
    /// not matter. They stand in `frame`, if there is one, which is told as the form is.
    #[must_use]
    pub fn new(
        task: TaskId,
        credential: Option<Credential>,
        (form, frame): (&Form, Option<&Frame>),
        (model, embedder): (&str, &str),
        examples: &[Example],
        born_seq: u64,
        rules: &PromptRules,
    ) -> Option<Self> {
        let mut known: Vec<&Example> = examples
            .iter()
            .filter(|e| e.seq <= born_seq && credential.is_none_or(|c| c == e.credential))
            .collect();
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
            // Instructions of a frame stood in each question whole, and now only here.
            form: form_in_short(form, frame, rules.form_chars * if frame.is_some() { 3 } else { 1 }),
            shown,
            unshown,
            memory,
            sight: Sight::Turns,
            frame: frame.cloned(),
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

    pub(super) fn is_whole(&self) -> bool {
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
