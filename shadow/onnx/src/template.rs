//! The chat template of a model's folder (Jinja), and how a model is shown a
//! tool's call as text, unless it has learnt another form.
//!
//! Templates are written for Python's Jinja: string methods come from
//! `pycompat`, and `tojson` writes what `json.dumps` writes, which is what
//! models were trained on. [`call_text`] uses the same separators; the grammar
//! of [`crate::Grammar::ToolCall`] in `CallText::Json` allows exactly that text, so
//! examples in a prompt, the model's output and the grammar agree to the byte.

use std::io;

use minijinja::value::Kwargs;
use minijinja::{Environment, ErrorKind, Value as Jinja, context};
use serde::Serialize as _;
use serde_json::ser::{Formatter, Serializer};
use serde_json::{Map, Value, json};
use understudy_call::{Message, Role, Tool, ToolCall};

use crate::markers::{Added, Markers};

/// Why a conversation could not be written in the model's words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The template is not Jinja that we know.
    #[error("chat template: {0}")]
    Syntax(String),
    /// The template refuses this conversation.
    #[error("chat template refuses the conversation: {0}")]
    Refused(String),
}

/// A compiled chat template.
pub struct ChatTemplate {
    env: Environment<'static>,
    bos: String,
    eos: String,
    markers: Markers,
    writes_tools: bool,
    writes_calls: bool,
}

impl ChatTemplate {
    /// Compiles a template. `bos` and `eos` are the texts of those tokens, where
    /// the model has them.
    ///
    /// # Errors
    /// [`TemplateError::Syntax`].
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self, TemplateError> {
        let mut env = Environment::new();
        env.set_trim_blocks(true);
        env.set_lstrip_blocks(true);
        env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        env.add_filter("tojson", to_json_filter);
        env.add_function("raise_exception", |message: String| -> Result<Jinja, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        env.add_template_owned("chat", source.to_owned())
            .map_err(|e| TemplateError::Syntax(e.to_string()))?;
        Ok(Self {
            env,
            bos: bos.to_owned(),
            eos: eos.to_owned(),
            markers: Markers::default(),
            writes_tools: mentions(source, "tools"),
            writes_calls: source.contains("tool_calls"),
        })
    }

    /// As [`Self::new`], for a vocabulary with these tokens: content is kept from being
    /// read as one of them.
    pub(crate) fn guarded(source: &str, bos: &str, eos: &str, added: &Added) -> Result<Self, TemplateError> {
        Ok(Self { markers: Markers::of(added, source), ..Self::new(source, bos, eos)? })
    }

    /// Writes the conversation, up to where the model's reply begins. Tools that
    /// the template has no place for are described in the system text; none are
    /// written when `tools` is empty.
    ///
    /// # Errors
    /// [`TemplateError::Refused`], without the conversation's content.
    pub fn render(&self, messages: &[Message], tools: &[Tool]) -> Result<String, TemplateError> {
        let mut turns: Vec<Value> = messages.iter().map(|m| self.turn(m)).collect();
        turns.iter_mut().for_each(|turn| self.markers.break_up(turn));
        let mut listed = Value::Null;
        if !tools.is_empty() {
            let mut list: Vec<Value> = tools.iter().map(tool_value).collect();
            list.iter_mut().for_each(|tool| self.markers.break_up(tool));
            if self.writes_tools {
                listed = Value::Array(list);
            } else {
                describe(&mut turns, &list);
            }
        }
        let template = self.env.get_template("chat").map_err(|e| TemplateError::Syntax(e.to_string()))?;
        let with = context! {
            messages => turns,
            tools => if listed.is_null() { Jinja::from(()) } else { Jinja::from_serialize(&listed) },
            bos_token => self.bos,
            eos_token => self.eos,
            add_generation_prompt => true,
        };
        template.render(with).map_err(|e| {
            // The detail is the template's own text; sources may quote values.
            TemplateError::Refused(e.detail().map_or_else(|| e.kind().to_string(), str::to_owned))
        })
    }

    fn turn(&self, m: &Message) -> Value {
        let role = match m.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        };
        let mut content = m.text();
        let mut turn = Map::new();
        turn.insert("role".to_owned(), json!(role));
        if !m.tool_calls.is_empty() {
            if self.writes_calls {
                let calls: Vec<Value> = m.tool_calls.iter().map(call_value).collect();
                turn.insert("tool_calls".to_owned(), Value::Array(calls));
            } else {
                if !content.is_empty() {
                    content.push('\n');
                }
                content.push_str(&calls_text(&m.tool_calls));
            }
        }
        turn.insert("content".to_owned(), Value::String(content));
        if let Some(id) = &m.tool_call_id {
            turn.insert("tool_call_id".to_owned(), json!(id));
        }
        if let Some(name) = &m.name {
            turn.insert("name".to_owned(), json!(name));
        }
        Value::Object(turn)
    }
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate").field("writes_tools", &self.writes_tools).finish_non_exhaustive()
    }
}

/// Whether a template reads the variable, rather than a word that contains it.
fn mentions(source: &str, variable: &str) -> bool {
    source.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == variable)
}

fn tool_value(t: &Tool) -> Value {
    let mut function = Map::new();
    function.insert("name".to_owned(), json!(t.name));
    if let Some(d) = &t.description {
        function.insert("description".to_owned(), json!(d));
    }
    if !t.parameters.is_null() {
        function.insert("parameters".to_owned(), t.parameters.clone());
    }
    json!({"type": "function", "function": function})
}

fn call_value(c: &ToolCall) -> Value {
    let arguments = serde_json::from_str(&c.arguments).unwrap_or_else(|_| json!(c.arguments));
    json!({"type": "function", "id": c.id, "function": {"name": c.name, "arguments": arguments}})
}

/// Puts the tools into the system text, for templates without a place for them.
fn describe(turns: &mut Vec<Value>, tools: &[Value]) {
    let mut text = String::from("You may call one of these tools:\n");
    for t in tools {
        text.push_str(&json_text(t.get("function").unwrap_or(t)));
        text.push('\n');
    }
    text.push_str("To call one, answer only with {\"name\": \"...\", \"arguments\": {...}}.");
    let system = turns.first_mut().filter(|t| t.get("role") == Some(&json!("system")));
    match system.and_then(|t| t.get_mut("content")) {
        Some(Value::String(content)) => {
            content.push_str("\n\n");
            content.push_str(&text);
        }
        _ => turns.insert(0, json!({"role": "system", "content": text})),
    }
}

/// A tool's call as text: `{"name": "...", "arguments": {...}}`, with the
/// arguments in the order in which they were written.
#[must_use]
pub fn call_text(call: &ToolCall) -> String {
    let arguments = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!(call.arguments));
    json_text(&json!({"name": call.name, "arguments": arguments}))
}

/// One call as an object, several as an array of them.
#[must_use]
pub fn calls_text(calls: &[ToolCall]) -> String {
    match calls {
        [one] => call_text(one),
        many => format!("[{}]", many.iter().map(call_text).collect::<Vec<_>>().join(", ")),
    }
}

/// JSON as Python's `json.dumps(value, ensure_ascii=False)` writes it: `", "`
/// between items, `": "` after keys.
#[must_use]
pub fn json_text(value: &Value) -> String {
    let mut out = Vec::new();
    // Writing to memory does not fail, and a Value has string keys only.
    let _ = value.serialize(&mut Serializer::with_formatter(&mut out, Spaced));
    String::from_utf8(out).unwrap_or_default()
}

fn to_json_filter(value: &Jinja, kwargs: Kwargs) -> Result<Jinja, minijinja::Error> {
    let bad = |e: serde_json::Error| minijinja::Error::new(ErrorKind::BadSerialization, e.to_string());
    let value = serde_json::to_value(value).map_err(bad)?;
    let indent: Option<usize> = kwargs.get("indent")?;
    for ignored in ["ensure_ascii", "sort_keys", "separators"] {
        let _: Option<Jinja> = kwargs.get(ignored)?;
    }
    kwargs.assert_all_used()?;
    let text = match indent {
        None => json_text(&value),
        Some(n) => {
            let spaces = vec![b' '; n];
            let mut out = Vec::new();
            let pretty = serde_json::ser::PrettyFormatter::with_indent(&spaces);
            value.serialize(&mut Serializer::with_formatter(&mut out, pretty)).map_err(bad)?;
            String::from_utf8(out).unwrap_or_default()
        }
    };
    Ok(Jinja::from_safe_string(text))
}

/// Python's default separators.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        w.write_all(b": ")
    }
}

#[cfg(test)]
mod tests;
