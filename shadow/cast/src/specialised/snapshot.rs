//! What a specialised understudy is made of.

use serde::{Deserialize, Serialize};
use understudy_call::{CallText, Credential, UnderstudyId};
use understudy_policy::TaskId;
use understudy_tasks::Frame;

use super::NEAR_OF;
use super::calibration::Calibration;
use super::quotes::Quotes;
use crate::example::{Example, spoken};
use crate::head;
use crate::packed::Rows;
use crate::window::Sight;

/// Training parts whose embeddings are remembered, spread evenly over the
/// journal: 384 bytes each.
const MEMORY: usize = 4_096;

/// What an adapter's training showed of the replies' form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Habits {
    /// Every reply calls a tool.
    pub always_calls: bool,
    /// Some reply calls several.
    pub parallel: bool,
    /// Bytes of the longest reply.
    pub longest: usize,
    /// How it writes a call.
    #[serde(default, skip_serializing_if = "CallText::is_usual")]
    pub calls: CallText,
    /// It has learnt to say nothing where a call is the provider's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub defers: bool,
    /// It has learnt from lone turns as far as all turns together go.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub long_turns: bool,
    /// What it takes from the part word by word.
    #[serde(default, skip_serializing_if = "Quotes::is_empty")]
    pub quotes: Quotes,
}

impl Habits {
    /// The habits of some exchanges.
    #[must_use]
    pub fn of<'e>(examples: impl IntoIterator<Item = &'e Example>) -> Self {
        let mut habits = Self { always_calls: true, ..Self::default() };
        let examples: Vec<&Example> = examples.into_iter().collect();
        for e in &examples {
            habits.always_calls &= !e.reply.tool_calls.is_empty();
            habits.parallel |= e.reply.tool_calls.len() > 1;
            habits.longest = habits.longest.max(spoken(&e.reply).map_or(0, |s| s.len()));
        }
        habits.always_calls &= !examples.is_empty();
        habits.quotes = Quotes::of(&examples);
        habits
    }
}

/// A version: the base model, the adapter, and how its confidence is read. It
/// holds embeddings of redacted content and belongs in the sealed journal only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpecialisedSnapshot {
    /// The task.
    pub task: TaskId,
    /// Whose exchanges; `None` for a shared task.
    pub credential: Option<Credential>,
    /// The base model's name, hash and execution provider.
    pub model: String,
    /// The adapter's name, a hash of what is in it.
    pub adapter: String,
    /// The embedder's name and version.
    pub embedder: String,
    /// It knows nothing of the journal after this place.
    pub born_seq: u64,
    /// Rows that it was trained on.
    pub rows: usize,
    /// The form of what it learnt.
    pub habits: Habits,
    /// How its confidence is read.
    pub calibration: Calibration,
    /// Embeddings of training parts.
    memory: Rows,
    /// What it has embedded of a part.
    #[serde(default, skip_serializing_if = "Sight::is_whole")]
    pub(super) sight: Sight,
    /// What stands around what it learnt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) frame: Option<Frame>,
}

impl SpecialisedSnapshot {
    /// A version that was trained on `trained`, each with its embedding; `None`
    /// where no embedding is there. `models` names base, adapter and embedder.
    #[must_use]
    pub fn new(
        task: TaskId,
        credential: Option<Credential>,
        (model, adapter, embedder): (&str, &str, &str),
        trained: &[Example],
        born_seq: u64,
    ) -> Option<Self> {
        let dim = trained.iter().find_map(|e| e.embedding.as_ref())?.len();
        let mut memory = Rows::new(dim);
        let step = trained.len().div_ceil(MEMORY).max(1);
        for e in trained.iter().step_by(step) {
            if let Some(v) = &e.embedding {
                // One of another dimension is left out.
                let _ = memory.push(v);
            }
        }
        (memory.len() > 0).then(|| Self {
            task,
            credential,
            model: model.to_owned(),
            adapter: adapter.to_owned(),
            embedder: embedder.to_owned(),
            born_seq,
            rows: trained.len(),
            habits: Habits::of(trained),
            calibration: Calibration::default(),
            memory,
            sight: Sight::Turns,
            frame: None,
        })
    }

    /// The same, trained on what stands in this frame.
    #[must_use]
    pub fn within(self, frame: Option<&Frame>) -> Self {
        Self { frame: frame.cloned(), ..self }
    }

    /// The same, of an adapter that writes calls so.
    #[must_use]
    pub fn writing(mut self, calls: CallText) -> Self {
        self.habits.calls = calls;
        self
    }

    /// The same, of an adapter that has learnt from lone turns as far as all turns together
    /// go, or has not.
    #[must_use]
    pub fn reading(mut self, long_turns: bool) -> Self {
        self.habits.long_turns = long_turns;
        self
    }

    /// The same, of an adapter that has learnt to leave calls to the provider, or has not.
    #[must_use]
    pub fn deferring(mut self, defers: bool) -> Self {
        self.habits.defers = defers;
        // It may say nothing, even where those exchanges that are still known all call.
        self.habits.always_calls &= !defers;
        self
    }

    /// The version's name, a hash over everything in it.
    #[must_use]
    pub fn id(&self) -> UnderstudyId {
        let mut h = blake3::Hasher::new();
        h.update(b"understudy specialised 1");
        // A snapshot always serialises, its fields in order.
        let _ = serde_json::to_writer(&mut h, self);
        UnderstudyId(format!("specialised-{}", head::short(&h)))
    }

    /// Mean cosine to the nearest training parts; `None` for a vector of another
    /// dimension.
    #[must_use]
    pub fn similarity(&self, embedding: &[f32]) -> Option<f64> {
        if embedding.len() != self.memory.dim() {
            return None;
        }
        let mut nearest = [f32::MIN; NEAR_OF];
        for cosine in self.memory.dots(embedding) {
            if let Some(worst) = nearest.last_mut()
                && cosine > *worst
            {
                *worst = cosine;
                nearest.sort_by(|a, b| b.total_cmp(a));
            }
        }
        let of = NEAR_OF.min(self.memory.len());
        Some(nearest.iter().take(of).map(|c| f64::from(*c)).sum::<f64>() / of as f64)
    }

    pub(super) fn is_whole(&self) -> bool {
        self.memory.is_whole() && self.memory.len() > 0 && self.calibration.sum > 0.0
    }
}
