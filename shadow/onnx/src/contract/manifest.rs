//! `understudy.toml`: source, terms, form and hashes of a model.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{ContractError, read_text};

/// The manifest's file name.
pub const MANIFEST: &str = "understudy.toml";

/// What `understudy.toml` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The model's name, for people.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// How many weights it has.
    #[serde(default)]
    pub parameters: u64,
    /// On what terms it may be used.
    #[serde(default)]
    pub licence: Licence,
    /// Where it comes from.
    #[serde(default)]
    pub source: Source,
    /// How it is asked; generators only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Prompt>,
    /// How the weights are kept; absent if somebody else exported them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<WeightForm>,
    /// How a sentence becomes a vector; embedders only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Embedding>,
    /// SHA-256 in hex of every file but this one, by its path in the folder.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// What a model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Writes text.
    Generator,
    /// Turns text into a vector.
    Embedder,
}

/// On what terms a model may be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Licence {
    /// SPDX identifier, or the name of the terms.
    pub name: String,
    /// Whether commercial use is allowed.
    pub commercial: Commercial,
    /// What the user must know.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// Whether a licence allows commercial use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Commercial {
    /// Yes.
    Allowed,
    /// Yes, under conditions that the note or the terms name.
    Conditions,
    /// No, or not stated.
    #[default]
    Forbidden,
}

/// Where a model comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Package and version, or the hub's name of it.
    #[serde(default)]
    pub package: String,
    /// The file that was turned into this folder.
    #[serde(default)]
    pub file: String,
    /// That file's SHA-256 in hex.
    #[serde(default)]
    pub sha256: String,
}

/// How a generator is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// Turns of a chat, or plain text to continue.
    pub form: PromptForm,
    /// The Jinja template's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

/// The form of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptForm {
    /// Tuned on a chat template.
    Chat,
    /// A base model: text to continue.
    Completion,
}

/// How the exporter kept the weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightForm {
    /// Bits a weight of the linear layers.
    pub linear_bits: u8,
    /// Bits a weight of embedding and head.
    pub head_bits: u8,
    /// Weights that share a scale.
    pub block: u32,
    /// `MatMulNBits`' accuracy level: 4 computes in 8-bit integers.
    pub accuracy_level: u8,
    /// Whether attention, and what it keeps, is in 16 bits (for a GPU).
    #[serde(default)]
    pub half_attention: bool,
    /// Which revision of the exporter wrote the graph.
    pub revision: u32,
}

/// How an embedder's output becomes a vector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedding {
    /// Length of the vector.
    pub dimensions: u32,
    /// How token vectors become one.
    pub pooling: Pooling,
    /// Whether the vector is brought to length 1.
    pub normalise: bool,
    /// Tokens beyond these are cut off.
    pub max_tokens: u32,
}

/// Tokens of a text that an embedder must read: fewer are hardly more than those that the
/// tokenizer adds.
const LEAST_READ: u32 = 8;

/// More are past what is computed at once, and cut off.
const MOST_READ: u32 = 2048;

impl Embedding {
    /// What of it cannot be done.
    pub(super) fn problem(&self) -> Option<String> {
        let tokens = self.max_tokens;
        (tokens < LEAST_READ)
            .then(|| format!("embedding.max_tokens is {tokens}, and at least {LEAST_READ} are needed"))
    }

    /// Tokens of a text that are read.
    pub(crate) fn tokens_read(&self) -> u32 {
        self.max_tokens.min(MOST_READ)
    }

    /// What the embedder's name says of it, where it is not as embedders usually are:
    /// other vectors are another embedder's.
    #[must_use]
    pub fn mark(&self) -> String {
        match (self.pooling, self.normalise, self.tokens_read()) {
            (Pooling::Mean, true, 256) => String::new(),
            (pooling, normalise, tokens) => {
                let pooling = if pooling == Pooling::Mean { "mean" } else { "first" };
                format!("+{pooling}-{tokens}{}", if normalise { "" } else { "-raw" })
            }
        }
    }
}

/// How token vectors become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The mean over the attention mask.
    Mean,
    /// The first token's.
    First,
}

impl Manifest {
    pub(super) fn read(folder: &Path) -> Result<Self, ContractError> {
        let path = folder.join(MANIFEST);
        if !path.is_file() {
            return Err(ContractError::NoManifest(folder.into()));
        }
        toml::from_str(&read_text(&path)?).map_err(|e| ContractError::Malformed {
            path,
            format: "TOML",
            why: e.to_string().trim_end().into(),
        })
    }

    /// One hash over all pinned files.
    pub(super) fn content_hash(&self) -> String {
        let mut hash = Sha256::new();
        for (file, sha256) in &self.files {
            hash.update(file.as_bytes());
            hash.update([0]);
            hash.update(sha256.to_ascii_lowercase().as_bytes());
            hash.update(b"\n");
        }
        hex::encode(hash.finalize())
    }
}
