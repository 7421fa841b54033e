//! One chunk of a streamed reply as it is on the wire. Texts are borrowed from
//! the event: hundreds of chunks make one reply.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::message::Content;
use super::wire::{Fields, List, Object, Text, keep};

#[derive(Default)]
pub(crate) struct Chunk<'a> {
    pub(crate) id: Option<Text<'a>>,
    pub(crate) model: Option<Text<'a>>,
    pub(crate) created: Option<Value>,
    /// `system_fingerprint` and `service_tier`, which each chunk repeats.
    pub(crate) repeated: [(&'static str, Option<Text<'a>>); 2],
    pub(crate) choices: Vec<Object<Piece<'a>>>,
    pub(crate) usage: Option<Map<String, Value>>,
    pub(crate) error: Option<Value>,
    pub(crate) rest: Map<String, Value>,
}

impl<'de> Fields<'de> for Chunk<'de> {
    const EXPECTED: &'static str = "a chat completion chunk object";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "id" => self.id = map.next_value()?,
            "model" => self.model = map.next_value()?,
            "created" => self.created = map.next_value()?,
            "system_fingerprint" => self.repeated[0] = ("system_fingerprint", map.next_value()?),
            "service_tier" => self.repeated[1] = ("service_tier", map.next_value()?),
            "choices" => self.choices = map.next_value::<Option<List<_>>>()?.map(|l| l.0).unwrap_or_default(),
            "usage" => self.usage = map.next_value()?,
            "error" => self.error = map.next_value()?,
            "object" | "obfuscation" => {
                map.next_value::<serde::de::IgnoredAny>()?;
            }
            _ => {
                self.rest.insert(key.to_owned(), map.next_value()?);
            }
        }
        Ok(())
    }
}

#[derive(Default)]
pub(crate) struct Piece<'a> {
    pub(crate) index: u32,
    pub(crate) delta: Object<Delta<'a>>,
    pub(crate) logprobs: Option<Map<String, Value>>,
    pub(crate) finish: Option<Text<'a>>,
    pub(crate) outer: Map<String, Value>,
}

impl<'de> Fields<'de> for Piece<'de> {
    const EXPECTED: &'static str = "a choice object";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "index" => self.index = map.next_value::<Option<u32>>()?.unwrap_or_default(),
            "delta" => self.delta = map.next_value::<Option<_>>()?.unwrap_or_default(),
            "logprobs" => self.logprobs = map.next_value()?,
            "finish_reason" => self.finish = map.next_value()?,
            _ => {
                self.outer.insert(key.to_owned(), map.next_value()?);
            }
        }
        Ok(())
    }
}

#[derive(Default)]
pub(crate) struct Delta<'a> {
    pub(crate) content: Said<'a>,
    pub(crate) refusal: Option<Text<'a>>,
    pub(crate) calls: Vec<Object<CallPiece<'a>>>,
    pub(crate) function: Option<Object<Body<'a>>>,
    pub(crate) audio: Option<Value>,
    pub(crate) extra: Map<String, Value>,
}

impl<'de> Fields<'de> for Delta<'de> {
    const EXPECTED: &'static str = "a delta object";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "role" => {
                map.next_value::<serde::de::IgnoredAny>()?;
            }
            "content" => self.content = map.next_value()?,
            "refusal" => self.refusal = map.next_value()?,
            "tool_calls" => {
                self.calls = map.next_value::<Option<List<_>>>()?.map(|l| l.0).unwrap_or_default()
            }
            "function_call" => self.function = map.next_value()?,
            "audio" => self.audio = map.next_value()?,
            "annotations" => {
                if let Some(list) = map.next_value::<Option<Value>>()? {
                    keep(&mut self.extra, key, list);
                }
            }
            _ => keep(&mut self.extra, key, map.next_value()?),
        }
        Ok(())
    }
}

#[derive(Default)]
pub(crate) struct CallPiece<'a> {
    pub(crate) place: Option<u64>,
    pub(crate) id: Option<Text<'a>>,
    pub(crate) body: Body<'a>,
    pub(crate) extra: Map<String, Value>,
}

impl<'de> Fields<'de> for CallPiece<'de> {
    const EXPECTED: &'static str = "a tool call object";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "index" => self.place = map.next_value()?,
            "id" => self.id = map.next_value()?,
            "function" | "custom" => self.body = map.next_value::<Option<Object<_>>>()?.unwrap_or_default().0,
            "type" => match map.next_value::<Option<Text<'_>>>()? {
                Some(Text(kind)) if kind != "function" => {
                    self.extra.insert(key.to_owned(), kind.into());
                }
                _ => {}
            },
            _ => {
                self.extra.insert(key.to_owned(), map.next_value()?);
            }
        }
        Ok(())
    }
}

#[derive(Default)]
pub(crate) struct Body<'a> {
    pub(crate) name: Option<Text<'a>>,
    pub(crate) input: Option<Text<'a>>,
    pub(crate) extra: Map<String, Value>,
}

impl<'de> Fields<'de> for Body<'de> {
    const EXPECTED: &'static str = "an object with a name or arguments";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "name" => self.name = map.next_value()?,
            "arguments" | "input" => self.input = map.next_value()?,
            _ => {
                self.extra.insert(key.to_owned(), map.next_value()?);
            }
        }
        Ok(())
    }
}

/// The content of a delta.
#[derive(Default)]
pub(crate) enum Said<'a> {
    #[default]
    Nothing,
    Text(Cow<'a, str>),
    List(Content),
}

impl<'de> Deserialize<'de> for Said<'de> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Said<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a list of parts or null")
            }
            fn visit_unit<E>(self) -> Result<Said<'de>, E> {
                Ok(Said::Nothing)
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Said<'de>, E> {
                Ok(Said::Text(Cow::Borrowed(v)))
            }
            fn visit_str<E>(self, v: &str) -> Result<Said<'de>, E> {
                Ok(Said::Text(Cow::Owned(v.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Said<'de>, A::Error> {
                Content::deserialize(serde::de::value::SeqAccessDeserializer::new(seq)).map(Said::List)
            }
        }
        d.deserialize_any(Reader)
    }
}
