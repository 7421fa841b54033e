//! Redaction of the nouns of a call: every text that a person or a tool wrote.
//! Names of tools and models stay, for they are vocabulary.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde_json::{Map, Value};
use understudy_call::{
    Blank, Choice, Format, Latest, Message, Part, Reply, Request, Schema, Tool, ToolCall, Tools, Verbatim,
};

use super::keys::names_a_number;
use super::{Noted, Redactor, card, phone};

/// The smallest number of as many digits as the shortest card's.
const SHORTEST_CARD: u64 = 10_u64.pow(card::SHORTEST as u32 - 1);
/// And of a telephone number's.
const SHORTEST_PHONE: u64 = 10_u64.pow(phone::LEAST as u32 - 1);

/// Those of which it is known what comes of them.
type Known<T> = Mutex<Latest<Redacted<T>, 8>>;

pub(super) type KnownTools = Known<[Tool]>;
pub(super) type KnownSchemas = Known<Value>;

/// What all calls of a form bring, and what came of it.
pub(super) struct Redacted<T: ?Sized> {
    read: Verbatim<T>,
    /// The same one where nothing was found.
    written: Verbatim<T>,
    noted: Noted,
}

impl<T: ?Sized> Redacted<T> {
    /// Puts what came of it in its place; says whether anything changed.
    fn put(&self, it: &mut Verbatim<T>, noted: &mut Noted) -> bool {
        noted.add(&self.noted);
        it.clone_from(&self.written);
        !self.written.is_same(&self.read)
    }
}

/// Whether it takes no more than 32 KiB, written.
fn is_short<T: ?Sized + Blank + Serialize>(it: &Verbatim<T>) -> bool {
    serde_json::to_vec(it).is_ok_and(|written| written.len() <= 32 << 10)
}

impl Redactor {
    /// Redacts a request in place; says whether anything changed.
    pub fn request(&self, r: &mut Request) -> bool {
        self.request_noting(r, &mut Noted::default())
    }

    /// The same, and notes the values in what an understudy reads of it.
    pub(crate) fn request_noting(&self, r: &mut Request, noted: &mut Noted) -> bool {
        let mut changed = false;
        for m in &mut r.messages {
            changed |= self.message(m, noted);
        }
        changed |= self.tools(&mut r.tools, noted);
        if let Format::JsonSchema { schema, .. } = &mut r.format {
            changed |= self.schema(schema, noted);
        }
        for stop in &mut r.sampling.stop {
            changed |= noted.aside(|noted| self.replace_noting(stop, noted));
        }
        changed | noted.aside(|noted| self.map(&mut r.extra, noted))
    }

    fn tools(&self, tools: &mut Tools, noted: &mut Noted) -> bool {
        self.shared(&self.tools, tools, noted, |tools, noted| {
            let mut list = tools.to_vec();
            let mut changed = false;
            for Tool { description, parameters, extra, .. } in &mut list {
                changed |= description.as_mut().is_some_and(|d| self.replace_noting(d, noted));
                changed |= self.value(None, parameters, noted);
                changed |= noted.aside(|noted| self.map(extra, noted));
            }
            changed.then(|| list.into())
        })
    }

    fn schema(&self, schema: &mut Schema, noted: &mut Noted) -> bool {
        self.shared(&self.schemas, schema, noted, |schema, noted| {
            let mut value = Value::clone(schema);
            self.value(None, &mut value, noted).then(|| value.into())
        })
    }

    /// All calls of an agent share what was read first, so what comes of it is shared, too.
    fn shared<T: ?Sized + Blank + Serialize>(
        &self,
        known: &Known<T>,
        it: &mut Verbatim<T>,
        noted: &mut Noted,
        redacted: impl FnOnce(&T, &mut Noted) -> Option<Verbatim<T>>,
    ) -> bool {
        // What an operator wrote for all its callers holds none of their numbers: it is
        // not worth a second look in each call.
        if it.is_blank() || noted.sought().is_some() {
            return false;
        }
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.find(|one| one.read.is_same(it)) {
            return found.put(it, noted);
        }
        // Detectors that are not ours may find something another time. What is too long
        // to be shared by the calls of an agent is not shared but by chance.
        let comes_again = self.clean.is_some() && it.is_shared() && is_short(it);
        let mut found = Noted::default();
        let written = redacted(it, &mut found).unwrap_or_else(|| it.clone());
        let one = Redacted { read: it.clone(), written, noted: found };
        let changed = one.put(it, noted);
        if comes_again {
            known.keep(one);
        }
        changed
    }

    /// Redacts a reply in place; says whether anything changed.
    pub fn reply(&self, r: &mut Reply) -> bool {
        self.reply_noting(r, &mut Noted::default())
    }

    /// The same, and notes the values in what an understudy learns of it.
    pub(crate) fn reply_noting(&self, r: &mut Reply, noted: &mut Noted) -> bool {
        let mut changed = false;
        for Choice { content, tool_calls, logprobs, extra, .. } in &mut r.choices {
            let choice_changed = self.parts(content, noted)
                | self.calls(tool_calls, noted)
                | noted.aside(|noted| self.map(extra, noted));
            if choice_changed {
                // The tokens spell what was replaced; those of a refusal lie apart.
                logprobs.clear();
                extra.retain(|key, _| key != "@logprobs");
            }
            changed |= choice_changed;
        }
        if let Some(error) = &mut r.error {
            changed |= noted.aside(|noted| self.replace_noting(&mut error.message, noted));
        }
        changed | noted.aside(|noted| self.map(&mut r.extra, noted))
    }

    /// Redacts every string of a JSON value in place, that of `key` where it has one; says
    /// whether anything changed.
    fn value(&self, key: Option<&str>, v: &mut Value, noted: &mut Noted) -> bool {
        match v {
            Value::String(s) => self.replace_under(key, s, noted),
            Value::Array(all) => all.iter_mut().fold(false, |c, v| c | self.value(key, v, noted)),
            Value::Object(map) => self.map(map, noted),
            Value::Number(n) => {
                let known = || noted.sought().is_some() || key.is_some_and(names_a_number);
                if n.as_u64().is_none_or(|n| n < SHORTEST_PHONE || (n < SHORTEST_CARD && !known())) {
                    return false;
                }
                let text = n.to_string();
                match self.text_under(key, &text, noted).parse::<u64>() {
                    Ok(new) if n.as_u64().is_some_and(|old| old != new) => {
                        *v = new.into();
                        true
                    }
                    _ => false,
                }
            }
            Value::Null | Value::Bool(_) => false,
        }
    }

    fn map(&self, map: &mut Map<String, Value>, noted: &mut Noted) -> bool {
        let mut changed = map.iter_mut().fold(false, |c, (k, v)| c | self.value(Some(k.as_str()), v, noted));
        let is_new = |k: &String| noted.aside(|noted| matches!(self.text_noting(k, noted), Cow::Owned(_)));
        if map.keys().any(is_new) {
            let old = std::mem::take(map);
            *map = old.into_iter().map(|(k, v)| (self.text_noting(&k, noted).into_owned(), v)).collect();
            changed = true;
        }
        changed
    }

    fn message(&self, m: &mut Message, noted: &mut Noted) -> bool {
        let name = m.name.as_mut().is_some_and(|n| noted.aside(|noted| self.replace_noting(n, noted)));
        let said = self.parts(&mut m.content, noted) | self.calls(&mut m.tool_calls, noted);
        name | said | noted.aside(|noted| self.map(&mut m.extra, noted))
    }

    fn parts(&self, parts: &mut [Part], noted: &mut Noted) -> bool {
        parts.iter_mut().fold(false, |changed, p| {
            changed
                | match p {
                    Part::Text(t) | Part::Refusal(t) => self.replace_noting(t, noted),
                    Part::Image(v) | Part::Audio(v) | Part::File(v) | Part::Other(v) => {
                        self.value(None, v, noted)
                    }
                    _ => false,
                }
        })
    }

    fn calls(&self, calls: &mut [ToolCall], noted: &mut Noted) -> bool {
        calls.iter_mut().fold(false, |changed, c| changed | self.replace_noting(&mut c.arguments, noted))
    }
}
