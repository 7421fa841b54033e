//! What is no log of OpenAI's calls, told by its first bytes, with what to do about it.

#[cfg(test)]
mod tests;

use std::path::Path;

use serde_json::Value;

use super::{BYTE_ORDER_MARK, BrokenLine};

/// What a line is called that is no JSON.
pub(super) const NOT_JSON: &str = "not JSON";

/// A name under which there is no file to read.
pub(super) fn misnamed(path: &Path) -> Option<&'static str> {
    if path.is_dir() {
        return Some("it is a folder; name the files in it");
    }
    let is_dash = path.as_os_str() == "-" && !path.exists();
    is_dash.then_some("there is no file of this name; standard input is /dev/stdin")
}

/// What has no lines to read, however long one looks for them.
pub(super) fn no_lines(head: &[u8]) -> Option<&'static str> {
    match head {
        [0x1f, 0x8b, ..] => Some("it is packed by gzip; unpack it first, with gunzip"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("it is packed by zstd; unpack it first, with unzstd"),
        [b'P', b'K', 3, 4, ..] => Some("it is packed by zip; unpack it first, with unzip"),
        // One byte of a letter's two is zero. A hole that a crash left is zero all through.
        [0xfe, 0xff, ..] | [0xff, 0xfe, ..] | [0, 1..=255, ..] | [1..=255, 0, ..] => {
            Some("it seems to be UTF-16; write it as UTF-8 first, with iconv -f UTF-16 -t UTF-8")
        }
        _ => None,
    }
}

/// The first byte of a file that is no white space, and whether there are zeros.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begins {
    with: Option<u8>,
    /// What comes after that.
    next: Option<u8>,
    has_zeros: bool,
}

impl Begins {
    pub(super) fn of(head: &[u8]) -> Self {
        let text = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head);
        let mut bytes = text.iter().copied().filter(|b| !b.is_ascii_whitespace());
        Self { with: bytes.next(), next: bytes.next(), has_zeros: head.contains(&0) }
    }

    /// What a file of which no line was known seems to be, and what to do; the first of
    /// its lines that were not read tells whether its JSON is one line's.
    pub(super) fn hint(self, first: Option<&BrokenLine>) -> &'static str {
        let is_torn = first.is_some_and(|b| b.why.starts_with(NOT_JSON));
        match self.with {
            // A time or a level in brackets begins no array.
            Some(b'[') if matches!(self.next, None | Some(b'{' | b'[' | b']')) => {
                "; it begins an array: write one object a line, with jq -c '.[]'"
            }
            Some(b'{') if is_torn => "; it begins an object of several lines: write one a line, with jq -c .",
            _ if self.has_zeros => "; it has bytes that are zero, as binary files do and UTF-16",
            _ => "",
        }
    }
}

/// Why a file has no line of JSON: what is wrong with the first that was not read.
pub(super) fn nothing(first: Option<&BrokenLine>, hint: &str) -> String {
    match first {
        Some(first) => format!("line {}: {}{hint}", first.line, first.why),
        None => "it is empty".to_owned(),
    }
}

/// What a reply is that comes from another API than Chat Completions.
pub(super) fn of_another_api(body: &Value) -> Option<&'static str> {
    const ANTHROPIC: &str = "a message of Anthropic's API";
    if let Some(text) = body.as_str() {
        if text.trim_start().starts_with("event: message_start") {
            return Some(ANTHROPIC);
        }
        let body: Value = serde_json::from_str(text).ok()?;
        // A text in a text is no body.
        return if body.is_object() { of_another_api(&body) } else { None };
    }
    let is = |key: &str, value: &str| body.get(key).and_then(Value::as_str) == Some(value);
    if is("type", "message") {
        Some(ANTHROPIC)
    } else if is("object", "response") {
        Some("a response of OpenAI's Responses API")
    } else {
        None
    }
}
