//! Tools, the choice among them, and calls of them.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};
use understudy_call::{Finish, Ineligible, Tool, ToolCall, ToolChoice};

use super::wire::{Fault, Writer, keep, text};

/// A tool as read, and why it hinders.
pub(crate) fn parse(v: Value) -> Result<(Tool, Option<Ineligible>), Fault> {
    let Value::Object(mut outer) = v else {
        return Err(Fault::expected("a tool object"));
    };
    match outer.get("type").and_then(Value::as_str) {
        Some("function") | None if outer.contains_key("function") => {
            outer.remove("type");
            let Some(Value::Object(function)) = outer.remove("function") else {
                return Err(Fault::expected("an object").within("function"));
            };
            let (mut tool, mut hinders) = parse_function(function).map_err(|e| e.within("function"))?;
            if outer.keys().any(|k| !HARMLESS.contains(&k.as_str())) {
                hinders = Some(Ineligible::UnknownField);
            }
            if !outer.is_empty() {
                tool.extra.insert("@tool".to_owned(), Value::Object(outer));
            }
            Ok((tool, hinders))
        }
        Some("function") => Err(Fault::missing("function")),
        None => Err(Fault::missing("type")),
        Some(kind) => {
            // A custom tool is run by the agent, but its input is free text under
            // a grammar of its own; everything else is run by the provider.
            let (name, why) =
                match (kind, outer.get("custom").and_then(|c| c.get("name")).and_then(Value::as_str)) {
                    ("custom", Some(name)) => (name, Ineligible::UnknownField),
                    ("custom", None) => (kind, Ineligible::UnknownField),
                    _ => (kind, Ineligible::HostedTool),
                };
            let name = name.to_owned();
            let extra = Map::from_iter([("@raw".to_owned(), Value::Object(outer))]);
            Ok((Tool { name, description: None, parameters: Value::Null, strict: None, extra }, Some(why)))
        }
    }
}

/// Fields of a tool or a part that only steer the provider's cache.
pub(crate) const HARMLESS: [&str; 1] = ["cache_control"];

/// The `function` of a tool, or a legacy function.
pub(crate) fn parse_function(mut f: Map<String, Value>) -> Result<(Tool, Option<Ineligible>), Fault> {
    let mut tool = Tool {
        name: text(&mut f, "name")?,
        description: None,
        parameters: Value::Null,
        strict: None,
        extra: Map::new(),
    };
    let mut hinders = None;
    for (key, v) in f {
        match (key.as_str(), v) {
            ("description", Value::String(s)) => tool.description = Some(s),
            ("description", v) if !v.is_null() => {
                return Err(Fault::expected("a string").within("description"));
            }
            ("parameters", v @ Value::Object(_)) => tool.parameters = v,
            ("parameters", v) if !v.is_null() => {
                return Err(Fault::expected("a JSON Schema object").within("parameters"));
            }
            ("strict", Value::Bool(b)) => tool.strict = Some(b),
            (known, v) => {
                let known = v.is_null() || HARMLESS.contains(&known);
                if !known {
                    hinders = Some(Ineligible::UnknownField);
                }
                keep(&mut tool.extra, &key, v);
            }
        }
    }
    Ok((tool, hinders))
}

/// Writes a tool as an entry of `tools`.
pub(crate) struct Out<'a>(pub(crate) &'a Tool);

impl Serialize for Out<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if let Some(raw) = self.0.extra.get("@raw") {
            return raw.serialize(s);
        }
        let mut w = Writer::new(s.serialize_map(None)?);
        w.put("type", "function")?;
        w.put("function", &FunctionOut(self.0))?;
        if let Some(Value::Object(outer)) = self.0.extra.get("@tool") {
            w.noted(outer)?;
        }
        w.end()
    }
}

/// Writes a tool as a legacy function.
pub(crate) struct FunctionOut<'a>(pub(crate) &'a Tool);

impl Serialize for FunctionOut<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut w = Writer::new(s.serialize_map(None)?);
        w.put("name", &self.0.name)?;
        w.put_some("description", self.0.description.as_ref())?;
        if !self.0.parameters.is_null() {
            w.put("parameters", &self.0.parameters)?;
        }
        w.put_some("strict", self.0.strict.as_ref())?;
        w.kept(&self.0.extra)?;
        w.end()
    }
}

/// The choice among tools; with `true` where the noun has no room for all of it
/// (`allowed_tools`, a custom tool by name), so that it must be kept whole.
pub(crate) fn parse_choice(v: &Value) -> Result<(ToolChoice, bool), Fault> {
    const KINDS: &str = "auto, none, required or an object that names a tool";
    if let Some(word) = v.as_str() {
        return match word {
            "auto" => Ok((ToolChoice::Auto, false)),
            "none" => Ok((ToolChoice::None, false)),
            "required" => Ok((ToolChoice::Required, false)),
            _ => Err(Fault::expected(KINDS)),
        };
    }
    let Some(object) = v.as_object() else {
        return Err(Fault::expected(KINDS));
    };
    let named = |of: &'static str| {
        let name = v.get(of).and_then(|f| f.get("name")).and_then(Value::as_str);
        name.map(|n| ToolChoice::Named(n.to_owned())).ok_or_else(|| Fault::missing("name").within(of))
    };
    match object.get("type").and_then(Value::as_str) {
        Some("function") => {
            let plain = object.len() == 2
                && object.get("function").and_then(Value::as_object).is_some_and(|f| f.len() == 1);
            Ok((named("function")?, !plain))
        }
        Some("custom") => Ok((named("custom")?, true)),
        Some("allowed_tools") => {
            let mode = v.get("allowed_tools").and_then(|a| a.get("mode")).and_then(Value::as_str);
            Ok((if mode == Some("required") { ToolChoice::Required } else { ToolChoice::Auto }, true))
        }
        _ => Ok((ToolChoice::Auto, true)),
    }
}

/// Writes a choice among tools.
pub(crate) struct ChoiceOut<'a>(pub(crate) &'a ToolChoice);

impl Serialize for ChoiceOut<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            ToolChoice::Auto => s.serialize_str("auto"),
            ToolChoice::None => s.serialize_str("none"),
            ToolChoice::Required => s.serialize_str("required"),
            ToolChoice::Named(name) => {
                let mut map = s.serialize_map(Some(2))?;
                map.serialize_entry("type", "function")?;
                map.serialize_entry("function", &serde_json::json!({ "name": name }))?;
                map.end()
            }
        }
    }
}

/// Why a reply that calls tools ended. A call of the one function that the request
/// names is no decision to call one: OpenAI ends it with `stop`, whole and streamed,
/// and any other call, under `required` too, with `tool_calls` (as vLLM measured it,
/// vllm-project/vllm, pull request 25054).
pub(crate) fn finish_of_calls(choice: &ToolChoice) -> Finish {
    match choice {
        ToolChoice::Named(_) => Finish::Stop,
        ToolChoice::Auto | ToolChoice::None | ToolChoice::Required => Finish::ToolCalls,
    }
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
pub(crate) fn arguments(v: Option<Value>) -> String {
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
