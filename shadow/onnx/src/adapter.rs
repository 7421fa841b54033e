//! A task's LoRA weights on a base model that all tasks share.
//!
//! Phases: read PEFT's folder → check that it is whole and was trained on this
//! very base → keep its weights as they are, 16 bits each → widen them to the
//! tensors that the graph takes, only while a run uses them.
//!
//! The graph takes them as **ordinary inputs with empty defaults**, bound by us
//! for each run. ONNX Runtime has a call of its own for this
//! (`RunOptionsAddActiveLoraAdapter`), but it fills in inputs only of runs
//! without an `IoBinding`, and a run without one copies its whole key-value
//! cache at every token. With inputs a switch is another pointer: no session is
//! made, no weight of the base is read, and a run that binds nothing is the base.
//!
//! The folder is what PEFT writes (`adapter_config.json`,
//! `adapter_model.safetensors`:
//! <https://huggingface.co/docs/peft/developer_guides/checkpoint>), with the
//! adapter's own `chat_template.jinja` and a `card.json` that names the base by
//! the SHA-256 of its GGUF file. LoRA: Hu et al., arXiv 2106.09685.

mod config;
mod error;
mod read;
mod slots;
mod widen;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use understudy_call::Message;

pub use self::error::AdapterError;
pub use self::slots::AdapterSlots;
pub(crate) use self::widen::Wide;
use crate::template::{ChatTemplate, TemplateError};

/// An adapter in memory, for one model.
pub struct Adapter {
    /// Never given twice in a process: caches are told apart by it.
    id: u64,
    name: String,
    sha256: String,
    rank: usize,
    template: ChatTemplate,
    slots: Arc<AdapterSlots>,
    weights: Half,
    pieces: Vec<Piece>,
}

/// Weights as the file has them; floats of 32 bits are rounded to 16.
enum Half {
    F16(Vec<half::f16>),
    Bf16(Vec<half::bf16>),
}

/// One module of one layer.
struct Piece {
    slot: usize,
    /// Rows of the slot's output that are this module's.
    columns: Range<usize>,
    rank: usize,
    /// α / r, by which B is multiplied.
    scale: f32,
    /// Where A lies in the weights, as `[input, rank]`.
    a: Range<usize>,
    /// Where B lies, as `[rank, columns]`.
    b: Range<usize>,
}

impl Adapter {
    /// Reads a folder for the model that has these slots. Files whose SHA-256 the
    /// card states are compared with it.
    ///
    /// # Errors
    /// [`AdapterError`], which names the file and the remedy.
    pub fn load(folder: &Path, slots: &Arc<AdapterSlots>) -> Result<Self, AdapterError> {
        let config = config::Config::read(folder)?;
        let card = config::Card::read(folder)?;
        card.check_base(folder, slots)?;
        let template = config::template(folder, &card, slots)?;
        let read = read::weights(folder, &config, &card, slots)?;
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Ok(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            name: folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
            sha256: read.sha256,
            rank: config.rank,
            template,
            slots: Arc::clone(slots),
            weights: read.weights,
            pieces: read.pieces,
        })
    }

    /// Its folder's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 in hex of its weights' file.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// PEFT's `r`.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Bytes of weights that are kept while it is loaded.
    #[must_use]
    pub fn bytes(&self) -> usize {
        2 * match &self.weights {
            Half::F16(w) => w.len(),
            Half::Bf16(w) => w.len(),
        }
    }

    /// Writes a conversation as this adapter was trained to read it, up to where
    /// its reply begins. Tools have no place in it: the adapter has learnt them.
    ///
    /// # Errors
    /// [`TemplateError::Refused`].
    pub fn render_chat(&self, messages: &[Message]) -> Result<String, TemplateError> {
        self.template.render(messages, &[])
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn fits(&self, slots: &AdapterSlots) -> bool {
        *self.slots == *slots
    }
}

impl std::fmt::Debug for Adapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Adapter").field("name", &self.name).field("rank", &self.rank).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
