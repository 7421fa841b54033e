//! JSON text, string by string: each is unescaped, redacted, and written anew only
//! if it changed, so that every other byte stays as the model or the tool wrote it.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::{Noted, Redactor, card};

/// JSON in a string of JSON in a string …: as deep as this, then as plain text.
const DEEPEST: u32 = 4;

pub(super) fn redact<'a>(redactor: &Redactor, text: &'a str, depth: u32, noted: &mut Noted) -> Cow<'a, str> {
    let looks_so = text.trim_start().starts_with(['{', '[', '"']);
    if depth >= DEEPEST || !looks_so {
        return redactor.plain(text, noted);
    }
    if nothing_inside(redactor, text) {
        return Cow::Borrowed(text);
    }
    if serde_json::from_str::<IgnoredAny>(text).is_err() {
        return redactor.plain(text, noted);
    }
    let mut out = String::new();
    let mut done = 0;
    let mut at = 0;
    let bytes = text.as_bytes();
    while let Some(&b) = bytes.get(at) {
        let end = match b {
            b'"' => string_end(bytes, at),
            b'0'..=b'9' => number_end(bytes, at),
            _ => {
                at += 1;
                continue;
            }
        };
        let token = text.get(at..end).unwrap_or_default();
        let new = if b == b'"' {
            string(redactor, token, depth, noted)
        } else if token.len() >= card::SHORTEST && bytes.get(at.wrapping_sub(1)) != Some(&b'-') {
            number(redactor, token, noted)
        } else {
            None
        };
        if let Some(new) = new {
            out.push_str(text.get(done..at).unwrap_or_default());
            out.push_str(&new);
            done = end;
        }
        at = end;
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(done..).unwrap_or_default());
    Cow::Owned(out)
}

/// Whether no string of this JSON, and none in a string of it, can hold anything: a
/// string is a piece of the text, but for its escapes. Those make up digits and
/// letters with `\u` only, and others can join what they stand between (`\/`).
fn nothing_inside(redactor: &Redactor, text: &str) -> bool {
    let escapes = text.contains('\\');
    let joins_nothing = !escapes || (!text.contains("\\u") && !text.bytes().any(|b| b.is_ascii_digit()));
    joins_nothing && redactor.holds_nothing(text)
}

fn string(redactor: &Redactor, token: &str, depth: u32, noted: &mut Noted) -> Option<String> {
    let plain: Cow<'_, str> = match token.get(1..token.len().checked_sub(1)?) {
        Some(inner) if !inner.contains('\\') => Cow::Borrowed(inner),
        _ => Cow::Owned(serde_json::from_str(token).ok()?),
    };
    match redact(redactor, &plain, depth + 1, noted) {
        Cow::Borrowed(_) => None,
        Cow::Owned(new) => serde_json::to_string(&new).ok(),
    }
}

/// A card's number may be written as a JSON number.
fn number(redactor: &Redactor, token: &str, noted: &mut Noted) -> Option<String> {
    let whole = token.bytes().all(|b| b.is_ascii_digit());
    match redactor.plain(token, noted) {
        Cow::Owned(new) if whole && new.bytes().all(|b| b.is_ascii_digit()) => Some(new),
        _ => None,
    }
}

/// Past the closing quote; the text is known to be JSON.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&b) = bytes.get(at) {
        match b {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn number_end(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    let len = rest
        .iter()
        .take_while(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
        .count();
    start + len.max(1)
}
