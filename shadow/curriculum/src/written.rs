//! A reply as the engine's grammar makes the model write it: a call on a line of
//! its own, name and arguments, a space after commas and colons, properties in
//! the schema's order. What the grammar could not write is no row: the loss on
//! it would teach a text that can never be said.

use std::borrow::Cow;

use serde_json::{Map, Value};
use understudy_call::{Choice, Format, Part as Piece, Tool, ToolCall, ToolChoice};
use understudy_cast::check::is_type;
use understudy_cast::example::{arguments, call_text, joined, spaced};
use understudy_cast::specialised::CALLS;
use understudy_tasks::Form;

/// Deeper than this a schema refers to itself without end.
const DEEPEST: usize = 32;

/// Why a reply cannot be a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unwritable {
    /// A refusal, media, or nothing.
    NotText,
    /// The grammar of the task would not let it pass.
    OffGrammar,
}

/// The reply of an exchange of this form.
pub(crate) fn reply(form: &Form, choice: &Choice) -> Result<String, Unwritable> {
    if !choice.tool_calls.is_empty() {
        let all: Option<Vec<String>> = choice.tool_calls.iter().map(|c| call(&form.tools, c)).collect();
        return all.map(|calls| joined(&calls, CALLS)).ok_or(Unwritable::OffGrammar);
    }
    if choice.content.is_empty() || !choice.content.iter().all(|p| matches!(p, Piece::Text(_))) {
        return Err(Unwritable::NotText);
    }
    let text = choice.text();
    if text.trim().is_empty() {
        return Err(Unwritable::NotText);
    }
    let may_call = !form.tools.is_empty() && form.tool_choice != ToolChoice::None;
    if may_call {
        // Beside calls, a text is one that does not begin like a call.
        let text = text.trim();
        return if CALLS.begins(text) { Err(Unwritable::OffGrammar) } else { Ok(text.to_owned()) };
    }
    let schema = match &form.format {
        Format::Text => return Ok(text),
        Format::JsonObject => &Value::Null,
        Format::JsonSchema { schema, .. } => schema,
    };
    let value: Value = serde_json::from_str(&text).map_err(|_| Unwritable::OffGrammar)?;
    if !value.is_object() && schema.is_null() {
        return Err(Unwritable::OffGrammar);
    }
    ordered(schema, schema, &value, 0).map(|v| spaced(&v)).ok_or(Unwritable::OffGrammar)
}

fn call(tools: &[Tool], call: &ToolCall) -> Option<String> {
    let tool = tools.iter().find(|t| t.name == call.name)?;
    let value = arguments(&call.arguments)?;
    // A name that holds the mark between name and arguments could not be read back.
    if !value.is_object() || call.name.contains('\n') || call.name.contains(" {") {
        return None;
    }
    Some(call_text(&call.name, &ordered(&tool.parameters, &tool.parameters, &value, 0)?, CALLS))
}

/// The value with its properties in the schema's order; `None` where the schema
/// would not let it pass: a property that a closed object does not list, a value
/// that is not in its list, another type. An object whose schema lists
/// properties is closed unless it says otherwise.
fn ordered(root: &Value, schema: &Value, value: &Value, depth: usize) -> Option<Value> {
    if depth > DEEPEST {
        return None;
    }
    let Value::Object(s) = schema else {
        return (schema != &Value::Bool(false)).then(|| value.clone());
    };
    if let Some(target) = s.get("$ref").and_then(Value::as_str) {
        let found = root.pointer(target.strip_prefix('#')?)?;
        return ordered(root, found, value, depth + 1);
    }
    for alternatives in ["anyOf", "oneOf"] {
        if let Some(Value::Array(all)) = s.get(alternatives) {
            return all.iter().find_map(|one| ordered(root, one, value, depth + 1));
        }
    }
    let typed = match s.get("type") {
        Some(Value::String(t)) => is_type(t, value),
        Some(Value::Array(ts)) => ts.iter().filter_map(Value::as_str).any(|t| is_type(t, value)),
        _ => true,
    };
    let listed = s.get("enum").and_then(Value::as_array).is_none_or(|of| of.contains(value));
    if !typed || !listed || s.get("const").is_some_and(|c| c != value) {
        return None;
    }
    match value {
        Value::Object(fields) => object(root, s, fields, depth),
        Value::Array(items) => {
            let of = s.get("items").unwrap_or(&Value::Null);
            let items: Option<Vec<Value>> = items.iter().map(|i| ordered(root, of, i, depth + 1)).collect();
            Some(Value::Array(items?))
        }
        // What is listed is written as it is listed.
        other if s.contains_key("enum") || s.contains_key("const") => Some(other.clone()),
        other if only_integers(s) => whole(other),
        other => Some(other.clone()),
    }
}

fn only_integers(schema: &Map<String, Value>) -> bool {
    let allows = |name: &str| match schema.get("type") {
        Some(Value::String(t)) => t == name,
        Some(Value::Array(ts)) => ts.iter().any(|t| t == name),
        _ => false,
    };
    allows("integer") && !allows("number")
}

/// JSON Schema takes 2.0 for an integer, and the grammar writes one without a point.
/// `None` where it has too many digits for that.
fn whole(value: &Value) -> Option<Value> {
    match value.as_f64() {
        Some(x) if value.is_f64() => format!("{x:.0}").parse::<i64>().ok().map(Value::from),
        _ => Some(value.clone()),
    }
}

fn object(
    root: &Value,
    schema: &Map<String, Value>,
    fields: &Map<String, Value>,
    depth: usize,
) -> Option<Value> {
    let known = match schema.get("properties") {
        Some(Value::Object(known)) => Cow::Borrowed(known),
        _ => Cow::Owned(Map::new()),
    };
    let required = schema.get("required").and_then(Value::as_array);
    if required.is_some_and(|r| r.iter().filter_map(Value::as_str).any(|k| !fields.contains_key(k))) {
        return None;
    }
    let rest = match schema.get("additionalProperties") {
        None if known.is_empty() => &Value::Null,
        None => &Value::Bool(false),
        Some(rest) => rest,
    };
    let mut out = Map::new();
    for (name, schema) in known.iter() {
        if let Some(value) = fields.get(name) {
            out.insert(name.clone(), ordered(root, schema, value, depth + 1)?);
        }
    }
    for (name, value) in fields.iter().filter(|(name, _)| !known.contains_key(*name)) {
        out.insert(name.clone(), ordered(root, rest, value, depth + 1)?);
    }
    Some(Value::Object(out))
}
