//! OpenAI Chat Completions (API reference, `POST /v1/chat/completions`).
//!
//! The nouns are not OpenAI's, so a few spellings have no noun. They are kept
//! in `extra` under keys that begin with `@`, and come out again as they were:
//!
//! | in `extra` of | key | says |
//! | --- | --- | --- |
//! | a message | `@role` | `developer` or `function` where the noun says system or tool |
//! | a message | `@content` | `absent`; or `parts` for a list; or a list with the unknown fields of each part |
//! | a message, a choice | `@tool_calls` | `function_call` for the legacy field; or a list with the unknown fields of each call |
//! | a tool | `@tool` | unknown fields beside `function`; `@raw`: a tool that is not a function, whole |
//! | a request | `@given` | names of fields that were given though they say the default |
//! | a request | `@max_tokens`, `@stop` | the field's other spelling (`max_completion_tokens`, `string`) |
//! | a request | `@tool_choice`, `@response_format`, `@stream_options`, `@tools` | what the noun has no room for |
//! | a choice | `@choice`, `@logprobs` | unknown fields beside `message`; log-probabilities of a refusal |
//! | a reply | `@usage`, `@error` | counts and error fields that the noun has no room for |
//!
//! A field of the wire whose own name begins with `@` gets one more `@`; what a
//! note holds has no notes inside, and is as it came.
//! A field that is `null` is kept as `null` under its own name.

mod alike;
mod call;
mod choice;
mod chunk;
mod chunks;
mod error;
mod logprobs;
mod merge;
mod message;
mod reply;
mod request;
mod stream;
mod tool;
mod usage;
mod wire;

pub(crate) use chunks::render_stream;
pub(crate) use error::render_error;
pub(crate) use reply::{parse_reply, render_reply};
pub(crate) use request::{parse_request, render_request};
pub(crate) use stream::Assembler;
pub(crate) use tool::finish_of_calls;

#[cfg(test)]
mod tests;
