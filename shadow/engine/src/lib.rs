//! The model behind an OpenAI-compatible endpoint, in a process of its own.
//!
//! One thread generates, another embeds; the HTTP side parses, queues, waits and
//! renders. Both threads take live asks before shadow ones, and a shadow
//! generation is paused between two steps for as long as a live one is waiting.
//!
//! | path | what |
//! | --- | --- |
//! | `POST /v1/chat/completions` | OpenAI Chat Completions, whole or streamed |
//! | `POST /v1/embeddings` | OpenAI embeddings, `float` or `base64` |
//! | `GET /v1/models` | what is loaded |
//! | `GET /healthz` | models with their hashes, adapters loaded, execution provider, queues, speeds |
//!
//! A request may carry `"understudy": {"deadline_ms", "bar", "priority",
//! "tools_in_prompt", "reply", "adapter", "calls"}`, and a reply carries `"understudy":
//! {"confidence", "min_logprob", "free_tokens", "queue_ms", "prefill_ms",
//! "decode_ms", "execution_provider", "cached_tokens"}`. Every response bears the
//! models' names and hashes as `x-understudy-models`. A decline is a status of
//! 409 (429 for `busy`) whose error has the type `declined` and the reason as its
//! code.
//!
//! `reply` is the form that the reply is to have, where the request alone does not say:
//! `tool_call`, `json`, `text`, or `or_nothing`, which is as the request leaves it or
//! nothing at all. `adapter` names a subfolder of the folder of adapters: the task's own weights
//! on the base that is in memory already. Its own chat template then writes the
//! messages, and tools only constrain the reply. One that is unknown, damaged or
//! of another base is an error of the type `adapter_error`, with a code
//! (`adapter_unknown`, `adapter_damaged`, `adapter_wrong_base`, …) and a sentence
//! that names the remedy.
//!
//! A reply is generated whole before its first byte is sent; a stream is then
//! replayed in chunks. A caller that hangs up cancels the work.

mod adapters;
mod ask;
mod callers;
mod certificate;
mod chat;
mod config;
mod embedding;
mod embeddings;
mod error;
mod generation;
mod http;
mod limits;
mod listen;
mod metrics;
mod owner;
mod queue;
mod refusal;
mod shared;
mod speed;

pub use config::{Access, EngineConfig, Listen};
pub use error::EngineError;
pub use http::{Started, serve, start};
pub use limits::{limit_memory, lower_priority};
