//! Tools, and the choice among them.

use serde::Deserialize;
use serde::de::MapAccess;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use understudy_call::{Finish, Ineligible, Tool, ToolChoice, Tools};

use super::alike::{self, Alike};
use super::wire::{Fault, Fields, List, Object, Writer, keep};

/// A tool, and why it hinders.
pub(crate) type Weighed = (Tool, Option<Ineligible>);

/// The tools of a call, and why they hinder.
#[derive(Clone, Default)]
pub(crate) struct Offer {
    pub(crate) tools: Tools,
    pub(crate) hinders: Vec<Ineligible>,
}

impl FromIterator<Weighed> for Offer {
    fn from_iter<I: IntoIterator<Item = Weighed>>(list: I) -> Self {
        let mut hinders = Vec::new();
        let tools = list.into_iter().map(|(tool, why)| {
            hinders.extend(why);
            tool
        });
        let tools = tools.collect();
        Self { tools, hinders }
    }
}

/// What a list says that was read.
pub(crate) fn offer(List(list): List<Object<Reading>>) -> Offer {
    list.into_iter().filter_map(|Object(reading)| reading.tool).collect()
}

/// Reads a call's `tools`; `None` for `null`.
pub(crate) fn offered<E: serde::de::Error>(raw: &RawValue) -> Result<Option<Offer>, E> {
    thread_local! {
        static LAST: Alike<Offer> = const { alike::none() };
    }
    LAST.with(|last| {
        alike::once(last, raw, |raw| {
            let read: Option<List<Object<Reading>>> =
                serde_json::from_str(raw).map_err(|e| Fault::raised(&e).raise())?;
            Ok(read.map(offer))
        })
    })
}

/// An entry of `tools` while it is read.
#[derive(Default)]
pub(crate) struct Reading {
    /// Whether its type came before its function, as nearly everyone writes it, and
    /// is `function`. Else nothing is made of it until all of it is there.
    plain: bool,
    function: Option<Function>,
    outer: Map<String, Value>,
    /// The tool, once all is read.
    pub(crate) tool: Option<Weighed>,
}

impl<'de> Fields<'de> for Reading {
    const EXPECTED: &'static str = "a tool object";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "type" => {
                let kind: Value = map.next_value()?;
                if kind == "function" && !self.outer.contains_key("function") {
                    self.plain = true;
                } else {
                    self.outer.insert(key.to_owned(), kind);
                }
            }
            "function" if self.plain => self.function = Some(map.next_value::<Object<Function>>()?.0),
            _ => {
                self.outer.insert(key.to_owned(), map.next_value()?);
            }
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<(), Fault> {
        let outer = std::mem::take(&mut self.outer);
        self.tool = Some(match self.function.take() {
            Some(function) => beside(function.tool(), outer),
            None if self.plain => return Err(Fault::missing("function")),
            None => parse(outer)?,
        });
        Ok(())
    }
}

/// A tool of any type, once all of it is there.
fn parse(mut outer: Map<String, Value>) -> Result<Weighed, Fault> {
    match outer.get("type").and_then(Value::as_str) {
        Some("function") | None if outer.contains_key("function") => {
            outer.remove("type");
            let Some(Value::Object(function)) = outer.remove("function") else {
                return Err(Fault::expected("an object").within("function"));
            };
            let weighed = parse_function(function).map_err(|e| e.within("function"))?;
            Ok(beside(weighed, outer))
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

/// A function's tool, and the fields beside `function`.
fn beside((mut tool, mut hinders): Weighed, outer: Map<String, Value>) -> Weighed {
    if outer.keys().any(|k| !HARMLESS.contains(&k.as_str())) {
        hinders = Some(Ineligible::UnknownField);
    }
    if !outer.is_empty() {
        tool.extra.insert("@tool".to_owned(), Value::Object(outer));
    }
    (tool, hinders)
}

/// Fields of a tool or a part that only steer the provider's cache.
pub(crate) const HARMLESS: [&str; 1] = ["cache_control"];

/// The `function` of a tool, or a legacy function, while it is read.
#[derive(Default)]
struct Function {
    name: Option<String>,
    description: Option<String>,
    parameters: Value,
    strict: Option<bool>,
    extra: Map<String, Value>,
    unknown: bool,
    /// Which of the known fields, in the order of [`KNOWN`], have come.
    seen: [bool; KNOWN.len()],
}

const KNOWN: [&str; 4] = ["name", "description", "parameters", "strict"];

impl<'de> Fields<'de> for Function {
    const EXPECTED: &'static str = "an object";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let v: Value = map.next_value()?;
        let seen = KNOWN.iter().zip(&mut self.seen).find(|(known, _)| **known == key);
        // Which of two the provider takes is not for us to say.
        self.unknown |= seen.is_some_and(|(_, seen)| std::mem::replace(seen, true));
        match (key, v) {
            ("name", Value::String(s)) => self.name = Some(s),
            ("name", _) => return Err(Fault::expected("a string").raise()),
            ("description", Value::String(s)) => self.description = Some(s),
            ("description", v) if !v.is_null() => return Err(Fault::expected("a string").raise()),
            ("parameters", v @ Value::Object(_)) => self.parameters = v,
            ("parameters", v) if !v.is_null() => {
                return Err(Fault::expected("a JSON Schema object").raise());
            }
            ("strict", Value::Bool(b)) => self.strict = Some(b),
            (known, v) => {
                self.unknown |= !v.is_null() && !HARMLESS.contains(&known);
                keep(&mut self.extra, key, v);
            }
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<(), Fault> {
        if self.name.is_none() { Err(Fault::missing("name")) } else { Ok(()) }
    }
}

impl Function {
    fn tool(self) -> Weighed {
        let Self { name, description, parameters, strict, extra, unknown, .. } = self;
        let name = name.unwrap_or_default();
        let hinders = unknown.then_some(Ineligible::UnknownField);
        (Tool { name, description, parameters, strict, extra }, hinders)
    }
}

/// The `function` of a tool, or a legacy function, out of a tree.
pub(crate) fn parse_function(f: Map<String, Value>) -> Result<Weighed, Fault> {
    let read: Result<Object<Function>, _> = Object::deserialize(Value::Object(f));
    read.map(|Object(function)| function.tool()).map_err(|e| Fault::raised(&e))
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
