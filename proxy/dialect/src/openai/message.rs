//! Messages of every role, and their parts.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use understudy_call::{Ineligible, Message, Part, Role};

use super::wire::{Fault, Fields, List, Object, Text, Writer, keep};
use super::{call, tool};

/// A message while it is read. `hinders` collects why the call that carries it
/// stays with the provider.
pub(crate) struct Reading {
    pub(crate) message: Message,
    pub(crate) hinders: Vec<Ineligible>,
    has_role: bool,
    has_content: bool,
    refusal: Option<String>,
}

impl Default for Reading {
    fn default() -> Self {
        let message = Message {
            role: Role::User,
            content: Vec::new(),
            tool_calls: Vec::new(),
            tool_call_id: None,
            name: None,
            extra: Map::new(),
        };
        Self { message, hinders: Vec::new(), has_role: false, has_content: false, refusal: None }
    }
}

impl<'de> Fields<'de> for Reading {
    const EXPECTED: &'static str = "a message object";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let m = &mut self.message;
        match key {
            "role" => {
                let Text(word) = map.next_value()?;
                self.has_role = true;
                m.role = match &*word {
                    "system" => Role::System,
                    "user" => Role::User,
                    "assistant" => Role::Assistant,
                    "tool" => Role::Tool,
                    "developer" => note(m, "@role", word.into_owned(), Role::System),
                    "function" => note(m, "@role", word.into_owned(), Role::Tool),
                    _ => {
                        return Err(
                            Fault::expected("system, developer, user, assistant, tool or function").raise()
                        );
                    }
                };
            }
            "content" => {
                self.has_content = true;
                let content: Content = map.next_value()?;
                m.content = content.parts;
                self.hinders.extend(content.hinders);
                if let Some(spelling) = content.spelling {
                    m.extra.insert("@content".to_owned(), spelling);
                }
            }
            "tool_calls" => match map.next_value::<Option<List<Object<call::Reading>>>>()? {
                Some(List(list)) if !list.is_empty() => {
                    let (calls, spelling) = call::gather(list);
                    m.tool_calls = calls;
                    if let Some(spelling) = spelling {
                        m.extra.insert("@tool_calls".to_owned(), spelling);
                        self.hinders.push(Ineligible::UnknownField);
                    }
                }
                other => keep(&mut m.extra, key, other.map_or(Value::Null, |_| Value::Array(Vec::new()))),
            },
            "tool_call_id" => m.tool_call_id = string_or_null(key, map, &mut m.extra)?,
            "name" => m.name = string_or_null(key, map, &mut m.extra)?,
            "refusal" => self.refusal = string_or_null(key, map, &mut m.extra)?,
            "function_call" => match map.next_value::<Value>()? {
                Value::Null => keep(&mut m.extra, key, Value::Null),
                v => {
                    let wrapped = Map::from_iter([("function".to_owned(), v)]);
                    let (call, _) = call::parse_call(Value::Object(wrapped)).map_err(Fault::raise)?;
                    m.tool_calls = vec![call];
                    m.extra.insert("@tool_calls".to_owned(), "function_call".into());
                }
            },
            _ => {
                let v: Value = map.next_value()?;
                self.hinders.extend(hinders(key, &v));
                keep(&mut m.extra, key, v);
            }
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<(), Fault> {
        if !self.has_role {
            return Err(Fault::missing("role"));
        }
        let m = &mut self.message;
        if !self.has_content {
            m.extra.insert("@content".to_owned(), "absent".into());
        }
        if let Some(refusal) = self.refusal.take() {
            if is_list(m) {
                keep(&mut m.extra, "refusal", refusal.into());
            } else {
                m.content.push(Part::Refusal(refusal));
            }
        }
        Ok(())
    }
}

fn note(m: &mut Message, key: &str, word: String, role: Role) -> Role {
    m.extra.insert(key.to_owned(), word.into());
    role
}

fn string_or_null<'de, A: MapAccess<'de>>(
    key: &str,
    map: &mut A,
    extra: &mut Map<String, Value>,
) -> Result<Option<String>, A::Error> {
    let text: Option<String> = map.next_value()?;
    if text.is_none() {
        keep(extra, key, Value::Null);
    }
    Ok(text)
}

/// Why a message's field that has no noun keeps the call with the provider.
/// `annotations` (citations of an earlier reply) are metadata that no model
/// reads, and `cache_control` steers the provider's cache: neither hinders.
fn hinders(key: &str, v: &Value) -> Option<Ineligible> {
    match key {
        _ if v.is_null() => None,
        "annotations" => None,
        k if tool::HARMLESS.contains(&k) => None,
        "audio" => Some(Ineligible::Media),
        "reasoning" | "reasoning_content" | "reasoning_details" | "thinking" | "thinking_blocks"
        | "encrypted_content" => Some(Ineligible::Reasoning),
        _ => Some(Ineligible::UnknownField),
    }
}

/// The `content` of a message: nothing, a string, or parts.
#[derive(Default)]
pub(crate) struct Content {
    pub(crate) parts: Vec<Part>,
    pub(crate) hinders: Vec<Ineligible>,
    /// What `@content` notes.
    pub(crate) spelling: Option<Value>,
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Content;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a list of parts or null")
            }
            fn visit_unit<E>(self) -> Result<Content, E> {
                Ok(Content::default())
            }
            fn visit_str<E>(self, v: &str) -> Result<Content, E> {
                Ok(Content { parts: vec![Part::Text(v.to_owned())], ..Content::default() })
            }
            fn visit_string<E>(self, v: String) -> Result<Content, E> {
                Ok(Content { parts: vec![Part::Text(v)], ..Content::default() })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Content, A::Error> {
                let List(list) =
                    List::<Value>::deserialize(serde::de::value::SeqAccessDeserializer::new(seq))?;
                let mut content = Content::default();
                let mut extras = Vec::with_capacity(list.len());
                for (i, v) in list.into_iter().enumerate() {
                    let (part, extra) = parse_part(v, &mut content.hinders)
                        .map_err(|e| e.within(&format!("[{i}]")).raise())?;
                    content.parts.push(part);
                    extras.push(Value::Object(extra));
                }
                let plain = extras.iter().all(|e| e.as_object().is_some_and(Map::is_empty));
                content.spelling = Some(if plain { "parts".into() } else { Value::Array(extras) });
                Ok(content)
            }
        }
        d.deserialize_any(Reader)
    }
}

/// One part, and the fields of a text or refusal that have no noun.
fn parse_part(v: Value, hinder: &mut Vec<Ineligible>) -> Result<(Part, Map<String, Value>), Fault> {
    let Some(kind) = v.get("type").and_then(Value::as_str) else {
        return Err(if v.is_object() { Fault::missing("type") } else { Fault::expected("a part object") });
    };
    let field = match kind {
        "text" => "text",
        "refusal" => "refusal",
        "image_url" | "input_audio" | "audio" | "file" => {
            hinder.push(Ineligible::Media);
            let part = match kind {
                "image_url" => Part::Image(v),
                "file" => Part::File(v),
                _ => Part::Audio(v),
            };
            return Ok((part, Map::new()));
        }
        other => {
            let reasoning = matches!(other, "thinking" | "redacted_thinking" | "reasoning");
            hinder.push(if reasoning { Ineligible::Reasoning } else { Ineligible::UnknownField });
            return Ok((Part::Other(v), Map::new()));
        }
    };
    let Value::Object(mut map) = v else {
        return Err(Fault::expected("a part object"));
    };
    let said = super::wire::text(&mut map, field)?;
    map.remove("type");
    if map.iter().any(|(k, v)| !v.is_null() && !tool::HARMLESS.contains(&k.as_str())) {
        hinder.push(Ineligible::UnknownField);
    }
    let part = if field == "text" { Part::Text(said) } else { Part::Refusal(said) };
    Ok((part, map))
}

/// Whether the content is written as a list: it came as one, or it does not
/// fit one string and one refusal.
pub(crate) fn is_list(m: &Message) -> bool {
    let noted = match m.extra.get("@content") {
        Some(Value::String(s)) => s != "absent",
        Some(_) => true,
        None => false,
    };
    noted || !is_flat(&m.content, m.role == Role::Assistant)
}

/// Whether parts fit one string and, of an assistant, one refusal after it.
pub(crate) fn is_flat(parts: &[Part], refusal: bool) -> bool {
    match parts {
        [] | [Part::Text(_)] => true,
        [Part::Refusal(_)] | [Part::Text(_), Part::Refusal(_)] => refusal,
        _ => false,
    }
}

/// Writes a message.
pub(crate) struct Out<'a>(pub(crate) &'a Message);

impl Serialize for Out<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let m = self.0;
        let mut w = Writer::new(s.serialize_map(None)?);
        let role = match (m.extra.get("@role").and_then(Value::as_str), m.role) {
            (Some("developer"), Role::System) => "developer",
            (Some("function"), Role::Tool) => "function",
            (_, Role::System) => "system",
            (_, Role::User) => "user",
            (_, Role::Assistant) => "assistant",
            (_, Role::Tool) => "tool",
        };
        w.put("role", role)?;
        let note = m.extra.get("@content");
        if is_list(m) {
            w.put(
                "content",
                &PartsOut {
                    parts: &m.content,
                    extras: note.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default(),
                },
            )?;
        } else {
            put_flat(&mut w, &m.content, note.is_none())?;
        }
        call::put_calls(&mut w, &m.tool_calls, &m.extra)?;
        w.put_some("tool_call_id", m.tool_call_id.as_ref())?;
        w.put_some("name", m.name.as_ref())?;
        w.kept(&m.extra)?;
        w.end()
    }
}

/// Writes `content` as a string (or, if there is none and `null` is wanted, as
/// null) and `refusal` where there is one.
pub(crate) fn put_flat<M: SerializeMap>(
    w: &mut Writer<M>,
    parts: &[Part],
    null: bool,
) -> Result<(), M::Error> {
    let said = parts.iter().find_map(|p| if let Part::Text(t) = p { Some(t) } else { None });
    match said {
        Some(text) => w.put("content", text)?,
        None if null => w.put("content", &Value::Null)?,
        None => {}
    }
    let refused = parts.iter().find_map(|p| if let Part::Refusal(t) = p { Some(t) } else { None });
    w.put_some("refusal", refused)
}

/// Writes parts as a list.
pub(crate) struct PartsOut<'a> {
    pub(crate) parts: &'a [Part],
    pub(crate) extras: &'a [Value],
}

impl Serialize for PartsOut<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut list = s.serialize_seq(Some(self.parts.len()))?;
        for (i, part) in self.parts.iter().enumerate() {
            list.serialize_element(&PartOut(part, self.extras.get(i).and_then(Value::as_object)))?;
        }
        list.end()
    }
}

struct PartOut<'a>(&'a Part, Option<&'a Map<String, Value>>);

impl Serialize for PartOut<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let (kind, said) = match self.0 {
            Part::Text(t) => ("text", t),
            Part::Refusal(t) => ("refusal", t),
            Part::Image(v) | Part::Audio(v) | Part::File(v) | Part::Other(v) => return v.serialize(s),
            _ => return Value::Null.serialize(s),
        };
        let mut w = Writer::new(s.serialize_map(None)?);
        w.put("type", kind)?;
        w.put(kind, said)?;
        if let Some(extra) = self.1 {
            w.noted(extra)?;
        }
        w.end()
    }
}
