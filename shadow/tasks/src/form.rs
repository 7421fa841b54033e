//! What a task's calls have in common.

use std::cell::RefCell;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use understudy_call::{
    Dialect, FormHash, Format, Latest, Request, Role, Schema, Tool, ToolChoice, Tools, Verbatim,
};

use crate::keys::{field, first16};
use crate::mask::mask;

/// What a task's calls have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Form {
    /// Its hash.
    pub hash: FormHash,
    /// The wire API.
    pub dialect: Dialect,
    /// The system text, its variables masked.
    pub system: String,
    /// The tools on offer.
    pub tools: Tools,
    /// Which of them may or must be called.
    pub tool_choice: ToolChoice,
    /// The form that a reply's text must have.
    pub format: Format,
}

impl Form {
    /// The form of a call.
    #[must_use]
    pub fn of(dialect: Dialect, request: &Request) -> Self {
        let system = request.system_text();
        Self {
            hash: fingerprint(dialect, request),
            dialect,
            system: mask(&system).0.into_owned(),
            tools: request.tools.clone(),
            tool_choice: request.tool_choice.clone(),
            format: request.format.clone(),
        }
    }

    /// A name for people until they give a better one: the schema's name, the
    /// tool if there is only one, or the first words of the system text. `None`
    /// where all of these are without a word.
    #[must_use]
    pub fn suggested_name(&self) -> Option<String> {
        let from = match (&self.format, self.tools.as_slice()) {
            (Format::JsonSchema { name, .. }, _) => name,
            (_, [tool]) => &tool.name,
            _ => &self.system,
        };
        Some(slug(from)).filter(|name| !name.is_empty())
    }
}

/// The hash of a call's form, in microseconds: dialect, system text with its
/// variables masked, tools in their order, response format. The turns do not
/// enter it, so the calls of one conversation share it.
#[must_use]
pub fn fingerprint(dialect: Dialect, request: &Request) -> FormHash {
    let mut h = blake3::Hasher::new();
    field(&mut h, dialect.label().as_bytes());
    for message in request.messages.iter().filter(|m| m.role == Role::System) {
        masked(&message.text(), |text| field(&mut h, text.as_bytes()));
    }
    field(&mut h, b"tools");
    tools_written(&request.tools, |tools| {
        h.update(tools);
    });
    field(&mut h, b"choice");
    match &request.tool_choice {
        ToolChoice::Auto => field(&mut h, b"auto"),
        ToolChoice::None => field(&mut h, b"none"),
        ToolChoice::Required => field(&mut h, b"required"),
        ToolChoice::Named(name) => {
            field(&mut h, b"named");
            field(&mut h, name.as_bytes());
        }
    }
    match &request.format {
        Format::Text => field(&mut h, b"text"),
        Format::JsonObject => field(&mut h, b"object"),
        Format::JsonSchema { name, schema, .. } => {
            field(&mut h, b"schema");
            field(&mut h, name.as_bytes());
            schema_written(schema, |schema| {
                h.update(schema);
            });
        }
    }
    FormHash(first16(&h))
}

/// System texts that a thread remembers, masked, and lists of tools and schemas, written:
/// all calls of a task bring the same, and each takes longer than the rest of its
/// fingerprint.
const REMEMBERED: usize = 8;
/// The longest of them.
const LONGEST: usize = 64 << 10;

/// Gives the text with its variables masked.
fn masked(text: &str, then: impl FnOnce(&str)) {
    thread_local! {
        static LAST: RefCell<Latest<(String, String), REMEMBERED>> = const { RefCell::new(Latest::new()) };
    }
    LAST.with_borrow_mut(|last| {
        if let Some((_, masked)) = last.find(|(whole, _)| whole == text) {
            return then(masked);
        }
        let (masked, _) = mask(text);
        then(&masked);
        if text.len() <= LONGEST {
            last.keep((text.to_owned(), masked.into_owned()));
        }
    });
}

/// What was written of the last ones.
type Written<T> = RefCell<Latest<(Verbatim<T>, Vec<u8>), REMEMBERED>>;

/// Gives the tools as they enter the hash.
fn tools_written(tools: &Tools, then: impl FnOnce(&[u8])) {
    thread_local! {
        static LAST: Written<[Tool]> = const { RefCell::new(Latest::new()) };
    }
    LAST.with(|last| {
        written(last, tools, then, |out| {
            for tool in tools {
                field(out, tool.name.as_bytes());
                field(out, tool.description.as_deref().unwrap_or_default().as_bytes());
                json(out, &tool.parameters);
            }
        })
    });
}

/// Gives the schema as it enters the hash.
fn schema_written(schema: &Schema, then: impl FnOnce(&[u8])) {
    thread_local! {
        static LAST: Written<Value> = const { RefCell::new(Latest::new()) };
    }
    LAST.with(|last| written(last, schema, then, |out| json(out, schema)));
}

/// Gives what is written of it, or was.
fn written<T: ?Sized>(
    last: &Written<T>,
    it: &Verbatim<T>,
    then: impl FnOnce(&[u8]),
    write: impl FnOnce(&mut Vec<u8>),
) {
    let mut last = last.borrow_mut();
    if let Some((_, known)) = last.find(|(whole, _)| whole.is_same(it)) {
        return then(known);
    }
    let mut out = Vec::new();
    write(&mut out);
    then(&out);
    if it.is_shared() && out.len() <= LONGEST {
        last.keep((it.clone(), out));
    }
}

/// Writes JSON as it came. A hasher gets it in one piece, for it takes many small ones
/// slowly.
fn json(out: &mut Vec<u8>, value: &Value) {
    // A `Value` always serialises.
    let _ = serde_json::to_writer(&mut *out, value);
    field(out, b"json");
}

/// At most six words in lower case with hyphens, 48 characters.
pub(crate) fn slug(text: &str) -> String {
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|w| !w.is_empty())
        .take(6)
        .map(str::to_lowercase)
        .collect();
    words.join("-").chars().take(48).collect()
}
