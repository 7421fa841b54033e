//! How typed JSON is read here: objects field by field into the nouns, without
//! a tree between, and an error that names the place but not what stood there.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::DialectError;

/// Ends a path's segment inside an error's text; see [`malformed`].
const SEGMENT: char = '\u{1}';

/// Something that is read field by field.
pub(crate) trait Fields<'de>: Default {
    /// What it is, for errors.
    const EXPECTED: &'static str;

    /// Takes the value of one field.
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;

    /// Checks and tidies once all fields are in.
    fn complete(&mut self) -> Result<(), Fault> {
        Ok(())
    }
}

/// A JSON object that is read as `T`.
#[derive(Default)]
pub(crate) struct Object<T>(pub(crate) T);

/// A text borrowed from the body or the event where it has no escapes.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

impl<'de, T: Fields<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Fields<'de>> Visitor<'de> for Reader<T> {
            type Value = T;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
                let mut out = T::default();
                while let Some(Text(key)) = map.next_key()? {
                    out.field(&key, &mut map).map_err(|e| within(&key, e))?;
                }
                out.complete().map_err(Fault::raise)?;
                Ok(out)
            }
        }
        d.deserialize_map(Reader(PhantomData)).map(Object)
    }
}

/// A JSON list whose errors name the place in it.
pub(crate) struct List<T>(pub(crate) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Vec<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
                let mut out = Vec::new();
                loop {
                    match seq.next_element() {
                        Ok(Some(item)) => out.push(item),
                        Ok(None) => return Ok(out),
                        Err(e) => return Err(within(&format!("[{}]", out.len()), e)),
                    }
                }
            }
        }
        d.deserialize_seq(Reader(PhantomData)).map(List)
    }
}

/// Puts `segment` before the path in an error.
fn within<E: serde::de::Error>(segment: &str, e: E) -> E {
    // The names of unknown fields are the agent's own: not repeated unless plain.
    let plain = segment.len() <= 40
        && segment.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_[]".contains(&b));
    E::custom(format_args!("{}{SEGMENT}{e}", if plain { segment } else { "?" }))
}

/// Something is not what it should be: a path and what was expected.
#[derive(Debug)]
pub(crate) struct Fault(String);

impl Fault {
    pub(crate) fn expected(what: &'static str) -> Self {
        Self(format!("expected {what}"))
    }

    pub(crate) fn missing(field: &'static str) -> Self {
        Self(format!("missing field {field}"))
    }

    /// What the typed reading of a tree or of a piece of text raised. A place within a
    /// piece is none in the body.
    pub(crate) fn raised(e: &serde_json::Error) -> Self {
        Self(unplaced(e))
    }

    pub(crate) fn within(self, segment: &str) -> Self {
        Self(format!("{segment}{SEGMENT}{}", self.0))
    }

    pub(crate) fn raise<E: serde::de::Error>(self) -> E {
        E::custom(self.0)
    }
}

/// Turns a JSON error into ours. Serde's text may quote the value that it did
/// not want, escaped and before the last `, expected `: only what follows is
/// kept.
pub(crate) fn malformed(e: &serde_json::Error) -> DialectError {
    let text = unplaced(e);
    let (path, problem) = text.rsplit_once(SEGMENT).unwrap_or(("", &text));
    let mut at = String::new();
    for segment in path.split(SEGMENT).filter(|s| !s.is_empty()) {
        if !at.is_empty() && !segment.starts_with('[') {
            at.push('.');
        }
        at.push_str(segment);
    }
    if at.is_empty() {
        at.push_str("body");
    }
    let problem = match problem.rsplit_once(", expected ") {
        Some((_, expected)) => format!("expected {expected}"),
        None => problem.to_owned(),
    };
    DialectError::Malformed { at, problem, line: e.line(), column: e.column() }
}

/// Its text without the place that serde adds.
fn unplaced(e: &serde_json::Error) -> String {
    let mut text = e.to_string();
    if e.line() > 0
        && let Some(at) = text.rfind(" at line ")
    {
        text.truncate(at);
    }
    text
}

/// Turns a fault that stands outside any JSON error into ours.
pub(crate) fn misfit(fault: Fault) -> DialectError {
    malformed(&serde_json::Error::custom(fault.0))
}

/// A value of a small field: `None` when it is not of the wanted kind.
pub(crate) fn fit<T: DeserializeOwned>(v: &Value) -> Option<T> {
    T::deserialize(v).ok()
}

/// Keeps a field that has no noun, under its own name.
pub(crate) fn keep(extra: &mut Map<String, Value>, key: &str, v: Value) {
    if key.starts_with('@') {
        extra.insert(format!("@{key}"), v);
    } else {
        extra.insert(key.to_owned(), v);
    }
}

/// Takes a text out of an object.
pub(crate) fn text(map: &mut Map<String, Value>, key: &'static str) -> Result<String, Fault> {
    match map.remove(key) {
        Some(Value::String(s)) => Ok(s),
        None => Err(Fault::missing(key)),
        Some(_) => Err(Fault::expected("a string").within(key)),
    }
}

/// Writes the fields of an object and remembers which, so that kept fields
/// never say one of them twice.
pub(crate) struct Writer<M> {
    map: M,
    written: Vec<&'static str>,
}

impl<M: SerializeMap> Writer<M> {
    pub(crate) fn new(map: M) -> Self {
        Self { map, written: Vec::with_capacity(8) }
    }

    pub(crate) fn put<T: Serialize + ?Sized>(&mut self, key: &'static str, v: &T) -> Result<(), M::Error> {
        self.written.push(key);
        self.map.serialize_entry(key, v)
    }

    pub(crate) fn put_some<T: Serialize>(
        &mut self,
        key: &'static str,
        v: Option<&T>,
    ) -> Result<(), M::Error> {
        v.map_or(Ok(()), |v| self.put(key, v))
    }

    /// Writes what was kept, less our own notes.
    pub(crate) fn kept(&mut self, extra: &Map<String, Value>) -> Result<(), M::Error> {
        for (key, v) in extra {
            let key = match key.strip_prefix('@') {
                Some(own) if own.starts_with('@') => own,
                Some(_) => continue,
                None => key,
            };
            self.unless_written(key, v)?;
        }
        Ok(())
    }

    /// Writes fields that one of our notes holds: those have no notes inside.
    pub(crate) fn noted(&mut self, fields: &Map<String, Value>) -> Result<(), M::Error> {
        fields.iter().try_for_each(|(key, v)| self.unless_written(key, v))
    }

    fn unless_written(&mut self, key: &str, v: &Value) -> Result<(), M::Error> {
        if self.written.contains(&key) { Ok(()) } else { self.map.serialize_entry(key, v) }
    }

    pub(crate) fn end(self) -> Result<M::Ok, M::Error> {
        self.map.end()
    }
}
