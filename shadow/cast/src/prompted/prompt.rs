//! The text that a prompted understudy is asked with.

use serde_json::Value;
use understudy_call::{Message, Role, Tool};
use understudy_tasks::{Form, Frame};

use super::Shown;
use crate::window;

/// Values of an enum that are named; what is more is counted.
const MOST_VALUES: usize = 12;

/// The form in a few lines: the system text and the task's frame cut in the middle, then a line for
/// each tool with its arguments, `?` for those that may be left out. The tools
/// get at most two thirds of the characters.
#[must_use]
pub fn form_in_short(form: &Form, frame: Option<&Frame>, chars: usize) -> String {
    let mut tools = String::new();
    for tool in &form.tools {
        let line = tool_line(tool);
        if tools.len() + line.len() > chars * 2 / 3 {
            break;
        }
        tools.push_str(&line);
    }
    let frame = frame.map(Frame::text).unwrap_or_default();
    let rules = format!("{}\n\n{frame}", form.system.trim());
    let mut out = window::cut(rules.trim(), chars.saturating_sub(tools.len())).into_owned();
    if !tools.is_empty() {
        if !out.is_empty() {
            out.push_str("\n\n");
        }
        out.push_str("Tools:\n");
        out.push_str(tools.trim_end());
    }
    out
}

/// `get_weather(city: string, unit?: C|F)`.
fn tool_line(tool: &Tool) -> String {
    let required: Vec<&str> = tool
        .parameters
        .get("required")
        .and_then(Value::as_array)
        .map(|r| r.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let arguments: Vec<String> = tool
        .parameters
        .get("properties")
        .and_then(Value::as_object)
        .map(|properties| {
            properties
                .iter()
                .map(|(name, schema)| {
                    let mark = if required.contains(&name.as_str()) { "" } else { "?" };
                    format!("{name}{mark}: {}", type_in_short(schema))
                })
                .collect()
        })
        .unwrap_or_default();
    format!("{}({})\n", tool.name, arguments.join(", "))
}

fn type_in_short(schema: &Value) -> String {
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let named: Vec<String> = values
            .iter()
            .take(MOST_VALUES)
            .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
            .collect();
        let more = if values.len() > MOST_VALUES { "|…" } else { "" };
        return format!("{}{more}", named.join("|"));
    }
    match schema.get("type") {
        Some(Value::String(t)) if t == "array" => {
            format!("{}[]", schema.get("items").map_or_else(|| "any".to_owned(), type_in_short))
        }
        Some(Value::String(t)) => t.clone(),
        Some(Value::Array(ts)) => ts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("|"),
        _ => "any".to_owned(),
    }
}

/// The conversation: form, examples (the nearest last), part; and the examples
/// that fitted into `budget` characters, given the nearest first.
pub(super) fn messages<'a>(
    form: &str,
    shown: &[&'a Shown],
    part: &str,
    budget: usize,
) -> (Vec<Message>, Vec<&'a Shown>) {
    let mut left = budget;
    let used: Vec<&Shown> = shown
        .iter()
        .copied()
        .take_while(|e| {
            let size = e.asked.len() + e.answered.len();
            let fits = size <= left;
            left = left.saturating_sub(size);
            fits
        })
        .collect();
    let mut messages = Vec::with_capacity(2 * used.len() + 2);
    if !form.is_empty() {
        messages.push(Message::text_of(Role::System, form));
    }
    for e in used.iter().rev() {
        messages.push(Message::text_of(Role::User, e.asked.as_str()));
        messages.push(Message::text_of(Role::Assistant, e.answered.as_str()));
    }
    messages.push(Message::text_of(Role::User, part));
    (messages, used)
}
