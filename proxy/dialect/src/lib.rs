//! Provider bytes to the nouns of a call and back, streams included.
//!
//! A call goes through four of these functions: [`of_path`] names its dialect,
//! [`parse_request`] reads it on the call's own path (so it is written for
//! speed), [`StreamParser`] or [`parse_reply`] reads what the provider said,
//! and, where an understudy answered, [`render_reply`] or [`render_stream`]
//! says it in the dialect of the caller.
//!
//! Three promises, each a property test:
//! - what is parsed and rendered again is the same JSON, unknown fields included
//!   (`1` and `1.0` count as the same number);
//! - a reply split at any byte parses the same;
//! - no bytes make a parser panic.
//!
//! The stream format: OpenAI API reference, "Chat Completions: streaming
//! events"; server-sent events: WHATWG HTML, section 9.2.
//!
//! No I/O here.

mod error;
mod local;
mod openai;
pub mod sse;

pub use error::DialectError;
pub use local::{LocalReply, plain, reply_id, tool_call_id};
use understudy_call::{Dialect, Reply, Request};

/// Names the dialect of a call by its method and path, the query ignored.
/// Prefixes before the provider's own path do not matter, so Azure's
/// `/openai/deployments/NAME/chat/completions` is OpenAI's dialect too.
#[must_use]
pub fn of_path(method: &str, path: &str) -> Dialect {
    if method != "POST" {
        return Dialect::Other;
    }
    let path = path.split(['?', '#']).next().unwrap_or_default();
    if path.ends_with("/chat/completions") {
        Dialect::OpenaiChat
    } else if path.ends_with("/v1/messages") {
        Dialect::AnthropicMessages
    } else {
        Dialect::Other
    }
}

/// Reads a request's body.
///
/// # Errors
/// [`DialectError::Undecoded`] for a dialect that only passes through,
/// [`DialectError::Malformed`] with the place for a body that is not a request.
pub fn parse_request(d: Dialect, body: &[u8]) -> Result<Request, DialectError> {
    match d {
        Dialect::OpenaiChat => openai::parse_request(body),
        _ => Err(DialectError::Undecoded(d)),
    }
}

/// Writes a request's body, for a remote or the engine. Unknown fields survive.
///
/// # Errors
/// [`DialectError::Undecoded`] for a dialect that only passes through.
pub fn render_request(d: Dialect, r: &Request) -> Result<Vec<u8>, DialectError> {
    match d {
        Dialect::OpenaiChat => openai::render_request(r),
        _ => Err(DialectError::Undecoded(d)),
    }
}

/// Reads a reply's whole body, JSON or server-sent events. A status of 400 and
/// above is an error whatever its body: one that is not JSON, nor events with an
/// error among them, becomes the error's message, cut to a kilobyte.
///
/// # Errors
/// [`DialectError::Undecoded`] for a dialect that only passes through,
/// [`DialectError::Malformed`] with the place for a body that is not a reply.
pub fn parse_reply(d: Dialect, status: u16, content_type: &str, body: &[u8]) -> Result<Reply, DialectError> {
    match d {
        Dialect::OpenaiChat => openai::parse_reply(status, content_type, body),
        _ => Err(DialectError::Undecoded(d)),
    }
}

/// Writes a whole reply as the provider would. In a dialect that is not
/// decoded yet no local reply exists; OpenAI's form is written then.
#[must_use]
pub fn render_reply(_: Dialect, reply: &Reply) -> Vec<u8> {
    openai::render_reply(reply)
}

/// Writes a reply as the provider would stream it, one server-sent event an
/// item: the role, the content in pieces, each tool call's header and then its
/// arguments in pieces, the finish reason, the usage if `include_usage`, and
/// `[DONE]`. A reply that did not end has no finish and no `[DONE]`.
#[must_use]
pub fn render_stream(_: Dialect, reply: &Reply, include_usage: bool) -> Vec<Vec<u8>> {
    openai::render_stream(reply, include_usage)
}

/// Writes an error of our own in the caller's dialect. `kind` is a short
/// machine-readable word; where it is empty the provider's word for `status`
/// stands in.
#[must_use]
pub fn render_error(d: Dialect, status: u16, kind: &str, message: &str) -> Vec<u8> {
    openai::render_error(d, status, kind, message)
}

/// Puts a streamed reply together as it comes, in pieces of any size.
#[derive(Debug)]
pub struct StreamParser {
    dialect: Dialect,
    inner: openai::Assembler,
}

impl StreamParser {
    /// A parser at the beginning of a reply.
    #[must_use]
    pub fn new(d: Dialect) -> Self {
        Self { dialect: d, inner: openai::Assembler::default() }
    }

    /// Takes the next bytes of the body. After an error it goes on with the
    /// next event, but the reply no longer counts as ended: something of it is
    /// missing.
    ///
    /// # Errors
    /// [`DialectError::Undecoded`] for a dialect that only passes through,
    /// [`DialectError::Malformed`] for the first event that is not a chunk.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), DialectError> {
        match self.dialect {
            Dialect::OpenaiChat => self.inner.push(bytes),
            d => Err(DialectError::Undecoded(d)),
        }
    }

    /// Whether the stream said that it was done.
    #[must_use]
    pub fn done(&self) -> bool {
        self.inner.done()
    }

    /// The reply so far. Choices whose stream broke off have no finish.
    #[must_use]
    pub fn finish(self) -> Reply {
        self.inner.finish()
    }
}
