//! OpenAI's format for fine-tuning: JSON lines of whole chats, `{"messages",
//! "tools", "parallel_tool_calls"}`, system text included and the reply last.
//! <https://platform.openai.com/docs/guides/supervised-fine-tuning>
//!
//! A row keeps the part alone, so a line is made of the exchange that it came
//! from, read again.

use std::io::{self, Write};

use serde_json::{Map, Value};
use understudy_call::{Dialect, Exchange, Format, Message, Request, Role, Sampling};
use understudy_cast::example;

/// The line of an exchange that became a row, its end included.
///
/// # Errors
/// Whatever the sink says, or [`io::ErrorKind::InvalidData`] for an exchange
/// that cannot have become a row.
pub fn write_line(exchange: &Exchange, sink: &mut impl Write) -> io::Result<()> {
    let line = line(exchange).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("exchange {} is no whole call", exchange.id))
    })?;
    serde_json::to_writer(&mut *sink, &line)?;
    sink.write_all(b"\n")
}

fn line(exchange: &Exchange) -> Option<Map<String, Value>> {
    let asked = exchange.request.as_ref()?;
    let choice = exchange.reply.as_ref()?.first()?;
    let mut messages = asked.messages.clone();
    let mut reply = Message::text_of(Role::Assistant, "");
    reply.content.clone_from(&choice.content);
    reply.tool_calls.clone_from(&choice.tool_calls);
    for (i, call) in reply.tool_calls.iter_mut().enumerate().filter(|(_, c)| c.id.is_empty()) {
        call.id = format!("call_{i}");
    }
    messages.push(reply);
    let chat = Request {
        messages,
        tools: asked.tools.clone(),
        parallel_tool_calls: asked.parallel_tool_calls,
        format: Format::Text,
        sampling: Sampling::default(),
        ..Request::default()
    };
    let body = understudy_dialect::render_request(Dialect::OpenaiChat, &chat).ok()?;
    let Value::Object(mut body) = serde_json::from_slice(&body).ok()? else { return None };
    let mut line = Map::new();
    for name in ["messages", "tools", "parallel_tool_calls"] {
        if let Some(value) = body.remove(name) {
            line.insert(name.to_owned(), value);
        }
    }
    (!example::label(choice).is_empty()).then_some(line)
}
