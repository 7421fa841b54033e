//! JSON text, string by string: each is unescaped, redacted, and written anew only
//! if it changed, so that every other byte stays as the model or the tool wrote it.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::keys::names_a_number;
use super::{Noted, Redactor, card, escapes, phone};

/// JSON in a string of JSON in a string …: as deep as this, then as plain text.
const DEEPEST: u32 = 4;

/// A text that is the value of `key`, where it has one.
pub(super) fn redact<'a>(
    redactor: &Redactor,
    text: &'a str,
    key: Option<&str>,
    depth: u32,
    noted: &mut Noted,
) -> Cow<'a, str> {
    let looks_so = text.trim_start().starts_with(['{', '[', '"']);
    if depth >= DEEPEST || !looks_so {
        return redactor.plain(text, key, noted);
    }
    if nothing_inside(redactor, text, noted) {
        return Cow::Borrowed(text);
    }
    if serde_json::from_str::<IgnoredAny>(text).is_err() {
        return redactor.plain(text, key, noted);
    }
    // What the next value is the value of, alone or in a list.
    let mut key = None;
    let mut out = String::new();
    let mut done = 0;
    let mut at = 0;
    let bytes = text.as_bytes();
    while let Some(&b) = bytes.get(at) {
        let end = match b {
            b'"' => string_end(bytes, at),
            b'0'..=b'9' => number_end(bytes, at),
            _ => {
                if matches!(b, b'{' | b'}' | b']') {
                    key = None;
                }
                at += 1;
                continue;
            }
        };
        let token = text.get(at..end).unwrap_or_default();
        let new = if b == b'"' {
            let is_key = colon_follows(bytes, end);
            if is_key {
                key = token.get(1..token.len().saturating_sub(1));
            }
            string(redactor, token, key.filter(|_| !is_key), depth, noted)
        } else if is_looked_at(token, key, noted) && bytes.get(at.wrapping_sub(1)) != Some(&b'-') {
            number(redactor, token, key, noted)
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
/// string is a piece of the text, but for its escapes.
fn nothing_inside(redactor: &Redactor, text: &str, noted: &Noted) -> bool {
    escapes::hide_nothing(text) && redactor.holds_nothing(text, noted)
}

fn string(
    redactor: &Redactor,
    token: &str,
    key: Option<&str>,
    depth: u32,
    noted: &mut Noted,
) -> Option<String> {
    let plain: Cow<'_, str> = match token.get(1..token.len().checked_sub(1)?) {
        Some(inner) if !inner.contains('\\') => Cow::Borrowed(inner),
        _ => Cow::Owned(serde_json::from_str(token).ok()?),
    };
    match redact(redactor, &plain, key, depth + 1, noted) {
        Cow::Borrowed(_) => None,
        Cow::Owned(new) => serde_json::to_string(&new).ok(),
    }
}

/// A card's number may be written as a JSON number, and a telephone number that is
/// known for one.
fn is_looked_at(token: &str, key: Option<&str>, noted: &Noted) -> bool {
    token.len() >= card::SHORTEST
        || (token.len() >= phone::LEAST && (noted.sought().is_some() || key.is_some_and(names_a_number)))
}

fn number(redactor: &Redactor, token: &str, key: Option<&str>, noted: &mut Noted) -> Option<String> {
    if !token.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    match redactor.plain(token, key, noted) {
        Cow::Owned(new) if new.bytes().all(|b| b.is_ascii_digit()) => Some(new),
        _ => None,
    }
}

/// Whether the string that ends here is a key.
fn colon_follows(bytes: &[u8], end: usize) -> bool {
    bytes.get(end..).unwrap_or_default().iter().find(|b| !b.is_ascii_whitespace()) == Some(&b':')
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
