//! Generation and embeddings on ONNX Runtime.
//!
//! A model is a folder, as ONNX Runtime GenAI's model builder writes it. A
//! [`Generator`] turns a prompt into tokens, constrained by a [`Grammar`] and
//! stopped below a bar of confidence; a [`SentenceEmbedder`] turns texts into
//! vectors. Both run on the first execution provider that works, in the order
//! TensorRT, CUDA, CPU, and say which one it was.
//!
//! Constrained decoding: [llguidance](https://github.com/guidance-ai/llguidance).
//! Confidence as summed log-probability of freely chosen tokens.

mod adapter;
pub mod contract;
mod embed;
pub mod export;
mod generate;
mod grammar;
mod markers;
mod runtime;
mod sampler;
mod template;
#[cfg(test)]
#[path = "../tests/tiny/model.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod tiny_model;

pub use adapter::{Adapter, AdapterError, AdapterSlots};
pub use embed::SentenceEmbedder;
pub use generate::{
    Control, Decoding, GenerateError, Generation, Generator, Prompt, Run, Step, TokenOut, Voice,
};
pub use grammar::{Grammar, GrammarError};
pub use runtime::{ExecutionProvider, LoadOptions, RuntimeError, start};
pub use template::{ChatTemplate, TemplateError, call_text, calls_text, json_text};
