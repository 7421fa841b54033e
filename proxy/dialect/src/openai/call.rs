//! Calls of tools, in messages and in replies.

use serde::de::MapAccess;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};
use understudy_call::ToolCall;

use super::wire::{Fault, Fields, Object, Writer, text};

/// A call while it is read. All of it is kept until its type is known, which may come
/// last.
#[derive(Default)]
pub(crate) struct Reading {
    id: Option<String>,
    kind: Option<Value>,
    function: Option<Body>,
    name: String,
    arguments: String,
    outer: Map<String, Value>,
}

impl<'de> Fields<'de> for Reading {
    const EXPECTED: &'static str = "a tool call object";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "id" => self.id = map.next_value()?,
            "type" => self.kind = Some(map.next_value()?),
            "function" => match map.next_value::<Option<Object<Body>>>()? {
                Some(Object(body)) => {
                    self.outer.remove("function");
                    self.function = Some(body);
                }
                // A custom call may write out what it has not.
                None => {
                    self.function = None;
                    self.outer.insert("function".to_owned(), Value::Null);
                }
            },
            _ => {
                self.outer.insert(key.to_owned(), map.next_value()?);
            }
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<(), Fault> {
        let kind = self.kind.take();
        let custom = kind.as_ref().is_some_and(|kind| *kind == "custom");
        if let Some(kind) = kind.filter(|kind| *kind != "function") {
            self.outer.insert("type".to_owned(), kind);
        }
        let function = self.function.take();
        if custom {
            if let Some(body) = function {
                self.outer.insert("function".to_owned(), body.whole());
            }
            let (call, outer) = parse_call(Value::Object(std::mem::take(&mut self.outer)))?;
            (self.name, self.arguments, self.outer) = (call.name, call.arguments, outer);
            return Ok(());
        }
        let Some(Body { name, input, rest }) = function else {
            return Err(Fault::expected("an object").within("function"));
        };
        self.name = match name {
            Some(Value::String(name)) => name,
            None => return Err(Fault::missing("name").within("function")),
            Some(_) => return Err(Fault::expected("a string").within("name").within("function")),
        };
        self.arguments = arguments(input);
        if !rest.is_empty() {
            self.outer.insert("function".to_owned(), Value::Object(rest));
        }
        Ok(())
    }
}

/// The `function` of a call.
#[derive(Default)]
struct Body {
    name: Option<Value>,
    input: Option<Value>,
    rest: Map<String, Value>,
}

impl<'de> Fields<'de> for Body {
    const EXPECTED: &'static str = "an object";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "name" => self.name = Some(map.next_value()?),
            "arguments" => self.input = Some(map.next_value()?),
            _ => {
                self.rest.insert(key.to_owned(), map.next_value()?);
            }
        }
        Ok(())
    }
}

impl Body {
    fn whole(self) -> Value {
        let mut map = self.rest;
        map.extend(self.name.map(|v| ("name".to_owned(), v)));
        map.extend(self.input.map(|v| ("arguments".to_owned(), v)));
        Value::Object(map)
    }
}

/// Several calls as read, and what `@tool_calls` notes about them.
pub(crate) fn gather(list: Vec<Object<Reading>>) -> (Vec<ToolCall>, Option<Value>) {
    let plain = list.iter().all(|Object(reading)| reading.outer.is_empty());
    let mut calls = Vec::with_capacity(list.len());
    let mut extras = Vec::new();
    for Object(Reading { id, name, arguments, outer, .. }) in list {
        calls.push(ToolCall { id: id.unwrap_or_default(), name, arguments });
        if !plain {
            extras.push(Value::Object(outer));
        }
    }
    (calls, (!plain).then_some(Value::Array(extras)))
}

/// A call of a tool, and its fields that have no noun.
pub(crate) fn parse_call(v: Value) -> Result<(ToolCall, Map<String, Value>), Fault> {
    let Value::Object(mut outer) = v else {
        return Err(Fault::expected("a tool call object"));
    };
    let custom = outer.get("type").and_then(Value::as_str) == Some("custom");
    let (of, input) = if custom { ("custom", "input") } else { ("function", "arguments") };
    let id = match outer.remove("id") {
        Some(Value::String(id)) => id,
        None | Some(Value::Null) => String::new(),
        Some(_) => return Err(Fault::expected("a string").within("id")),
    };
    let Some(Value::Object(mut inner)) = outer.remove(of) else {
        return Err(Fault::expected("an object").within(of));
    };
    let name = text(&mut inner, "name").map_err(|e| e.within(of))?;
    let arguments = arguments(inner.remove(input));
    if !custom && outer.get("type").and_then(Value::as_str) == Some("function") {
        outer.remove("type");
    }
    if !inner.is_empty() {
        outer.insert(of.to_owned(), Value::Object(inner));
    }
    Ok((ToolCall { id, name, arguments }, outer))
}

/// Arguments as text. Some servers write the object itself.
fn arguments(v: Option<Value>) -> String {
    match v {
        Some(Value::String(s)) => s,
        None | Some(Value::Null) => String::new(),
        Some(v) => v.to_string(),
    }
}

/// Several calls, and what `@tool_calls` notes about them.
pub(crate) fn parse_calls(list: Vec<Value>) -> Result<(Vec<ToolCall>, Option<Value>), Fault> {
    let mut calls = Vec::with_capacity(list.len());
    let mut extras = Vec::with_capacity(list.len());
    for (i, v) in list.into_iter().enumerate() {
        let (call, extra) = parse_call(v).map_err(|e| e.within(&format!("[{i}]")))?;
        calls.push(call);
        extras.push(Value::Object(extra));
    }
    let plain = extras.iter().all(|e| e.as_object().is_some_and(Map::is_empty));
    Ok((calls, (!plain).then_some(Value::Array(extras))))
}

/// Writes the calls of a message or a reply under the right field.
pub(crate) fn put_calls<M: SerializeMap>(
    w: &mut Writer<M>,
    calls: &[ToolCall],
    extra: &Map<String, Value>,
) -> Result<(), M::Error> {
    let Some(first) = calls.first() else {
        return Ok(());
    };
    match extra.get("@tool_calls") {
        Some(Value::String(_)) => {
            w.put("function_call", &LegacyCall { name: &first.name, arguments: &first.arguments })
        }
        note => {
            let notes = note.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let calls: Vec<CallOut<'_>> = calls
                .iter()
                .enumerate()
                .map(|(i, call)| CallOut { call, extra: notes.get(i).and_then(Value::as_object) })
                .collect();
            w.put("tool_calls", &calls)
        }
    }
}

/// The call of a legacy `function_call`.
#[derive(serde::Serialize)]
pub(crate) struct LegacyCall<'a> {
    pub(crate) name: &'a str,
    pub(crate) arguments: &'a str,
}

/// Writes one call.
pub(crate) struct CallOut<'a> {
    pub(crate) call: &'a ToolCall,
    pub(crate) extra: Option<&'a Map<String, Value>>,
}

impl CallOut<'_> {
    /// The call's type as noted.
    pub(crate) fn kind(&self) -> &str {
        self.extra.and_then(|e| e.get("type")).and_then(Value::as_str).unwrap_or("function")
    }
}

struct CallBody<'a>(&'a CallOut<'a>, &'static str, &'static str);

impl Serialize for CallBody<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut w = Writer::new(s.serialize_map(None)?);
        w.put("name", &self.0.call.name)?;
        w.put(self.2, &self.0.call.arguments)?;
        if let Some(Value::Object(inner)) = self.0.extra.and_then(|e| e.get(self.1)) {
            w.noted(inner)?;
        }
        w.end()
    }
}

impl Serialize for CallOut<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let custom = self.kind() == "custom";
        let (of, input) = if custom { ("custom", "input") } else { ("function", "arguments") };
        let mut w = Writer::new(s.serialize_map(None)?);
        if !self.call.id.is_empty() {
            w.put("id", &self.call.id)?;
        }
        w.put("type", self.kind())?;
        w.put(of, &CallBody(self, of, input))?;
        if let Some(extra) = self.extra {
            w.noted(extra)?;
        }
        w.end()
    }
}
