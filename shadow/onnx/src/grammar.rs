//! What a reply may look like, and the automaton that says which tokens come
//! next (llguidance).
//!
//! A call of a tool is the text of [`crate::template::call_text`]; one call is an
//! object, several are an array of at least two. For a model that has learnt it,
//! a call is a line instead, `>name {arguments}` ([`CallText::Line`]). Objects
//! with listed properties are closed unless their schema says otherwise,
//! properties come in the order of the schema, and separators are fixed, so most
//! of a call is forced: forced tokens cost no step and no confidence.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use llguidance::{Matcher, ParserFactory, TokenParser, panic_utils};
use serde_json::{Map, Value, json};
use toktrie::{InferenceCapabilities, TokEnv};
use understudy_call::{CallText, Latest, Tool, ToolChoice, Tools};

/// What a reply may look like.
#[derive(Debug, Clone, PartialEq)]
pub enum Grammar {
    /// JSON that follows a schema.
    JsonSchema(Value),
    /// Some JSON object.
    JsonObject,
    /// A call of a tool as text.
    ToolCall {
        /// The tools on offer.
        tools: Tools,
        /// `Auto` also allows text that does not begin like a call; `None` allows anything.
        choice: ToolChoice,
        /// Whether several calls may come.
        parallel: bool,
        /// How a call is written.
        written: CallText,
        /// Whether the reply may also be nothing at all, with [`ToolChoice::Auto`] and
        /// [`CallText::Line`]: a model that has learnt it leaves a call so. It has to be
        /// sure of it, for how sure it is of a call the confidence says.
        or_nothing: bool,
    },
}

impl Grammar {
    /// Whether a reply may be nothing at all.
    pub(crate) fn allows_nothing(&self) -> bool {
        matches!(
            self,
            Self::ToolCall { choice: ToolChoice::Auto, written: CallText::Line, or_nothing: true, .. }
        )
    }
}

/// Why a grammar cannot be kept to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrammarError {
    /// A schema asks for something that decoding cannot guarantee.
    #[error("schema cannot constrain decoding: {0}")]
    Unsupported(String),
    /// A tool is called for that is not on offer.
    #[error("tool_choice names `{0}`, which is not among the tools")]
    UnknownTool(String),
    /// No tool is on offer, and one must be called.
    #[error("a tool must be called and none is on offer")]
    NoTools,
}

/// How many compiled grammars are kept: a task has one, and few tasks are asked
/// at a time.
const KEPT: usize = 32;

/// States after which a lexer is made anew rather than kept: one takes 1 to 2 kB, and at
/// 250,000 each ask of that grammar would fail.
const MOST_STATES: usize = 50_000;

/// Compiles grammars for one vocabulary, and keeps the last ones.
pub(crate) struct Compiler {
    factory: ParserFactory,
    kept: Latest<(Arc<str>, RefCell<TokenParser>), KEPT>,
}

impl Compiler {
    pub(crate) fn new(vocabulary: &TokEnv) -> Result<Self, GrammarError> {
        let caps = InferenceCapabilities { ff_tokens: true, ..InferenceCapabilities::default() };
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let mut factory = ParserFactory::new(vocabulary, caps, &slices)
            .map_err(|e| GrammarError::Unsupported(e.to_string()))?;
        factory.quiet();
        Ok(Self { factory, kept: Latest::new() })
    }

    /// A matcher at its start; `None` when anything is allowed.
    pub(crate) fn matcher(&mut self, grammar: &Grammar) -> Result<Option<Matcher>, GrammarError> {
        let Some(whole) = top_level(grammar)? else { return Ok(None) };
        let key: Arc<str> =
            serde_json::to_string(&whole).map_err(|e| GrammarError::Unsupported(e.to_string()))?.into();
        let kept = self.kept.find(|(k, _)| *k == key).map(|(_, parser)| parser.borrow().clone());
        if let Some(parser) = kept.filter(sound) {
            return Ok(Some(Matcher::new(Ok(parser))));
        }
        let parser =
            self.factory.create_parser(whole).map_err(|e| GrammarError::Unsupported(e.to_string()))?;
        match self.kept.find(|(k, _)| *k == key) {
            Some((_, spoilt)) => *spoilt.borrow_mut() = parser.clone(),
            None => self.kept.keep((key, RefCell::new(parser.clone()))),
        }
        Ok(Some(Matcher::new(Ok(parser))))
    }
}

/// Whether a kept parser may be used again. All that were made of it share its lexer, so
/// one ask that ran out of fuel or states, or panicked, has spoilt it for the others.
fn sound(parser: &TokenParser) -> bool {
    // After a panic the lexer's lock does not open any more, which panics, too.
    panic_utils::catch_unwind(AssertUnwindSafe(|| {
        let p = &parser.parser;
        Ok(p.get_error().is_none() && p.lexer_stats().num_states < MOST_STATES)
    }))
    .unwrap_or(false)
}

fn top_level(grammar: &Grammar) -> Result<Option<TopLevelGrammar>, GrammarError> {
    let json = match grammar {
        Grammar::JsonObject => json!({"type": "object"}),
        Grammar::JsonSchema(schema) => {
            let mut schema = if schema.is_object() { schema.clone() } else { json!({"type": "object"}) };
            tidy(&mut schema);
            schema
        }
        Grammar::ToolCall { choice: ToolChoice::None, .. } => return Ok(None),
        Grammar::ToolCall { tools, choice, parallel, written: CallText::Line, or_nothing } => {
            return Ok(Some(lines(&offered(tools, choice)?, choice, *parallel, *or_nothing)));
        }
        Grammar::ToolCall { tools, choice, parallel, written: CallText::Json, .. } => {
            let calls = calls_schema(&offered(tools, choice)?, *parallel);
            if *choice == ToolChoice::Auto {
                return Ok(Some(call_or_text(calls)));
            }
            calls
        }
    };
    Ok(Some(TopLevelGrammar::from_json_schema(with_options(json))))
}

fn with_options(mut schema: Value) -> Value {
    if let Value::Object(o) = &mut schema {
        o.insert(
            "x-guidance".to_owned(),
            json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "}),
        );
    }
    schema
}

/// A call, or text that does not begin like one.
fn call_or_text(calls: Value) -> TopLevelGrammar {
    let lark = "start: @calls | TEXT\nTEXT: /[^{\\[\\s](.|\\n)*/\n";
    whole(lark.to_owned(), vec![("calls".to_owned(), calls)])
}

/// Calls one a line, or, where none need be called, text that does not begin
/// like one.
fn lines(offered: &[&Tool], choice: &ToolChoice, parallel: bool, or_nothing: bool) -> TopLevelGrammar {
    let several = if parallel { " (\"\\n\" call)*" } else { "" };
    let nothing = if or_nothing { " | \"\"" } else { "" };
    let text = match choice {
        ToolChoice::Auto => format!("\n  | TEXT{nothing}\nTEXT: /[^>\\s](.|\\n)*/"),
        _ => String::new(),
    };
    let calls: Vec<String> = offered
        .iter()
        .enumerate()
        .map(|(i, tool)| format!("{} @tool{i}", Value::String(format!(">{} ", tool.name))))
        .collect();
    let lark = format!("start: call{several}{text}\ncall: {}\n", calls.join(" | "));
    let arguments = offered.iter().enumerate().map(|(i, tool)| (format!("tool{i}"), arguments(tool)));
    whole(lark, arguments.collect())
}

/// A grammar that refers to schemas by their names.
fn whole(lark: String, schemas: Vec<(String, Value)>) -> TopLevelGrammar {
    let start = GrammarWithLexer { name: Some("start".to_owned()), ..GrammarWithLexer::from_lark(lark) };
    let named = schemas.into_iter().map(|(name, schema)| GrammarWithLexer {
        name: Some(name),
        ..GrammarWithLexer::from_json_schema(with_options(schema))
    });
    TopLevelGrammar { grammars: std::iter::once(start).chain(named).collect(), max_tokens: None }
}

/// What a tool's arguments have to be.
fn arguments(tool: &Tool) -> Value {
    let mut arguments = match &tool.parameters {
        Value::Object(o) if !o.is_empty() => tool.parameters.clone(),
        _ => json!({"type": "object", "properties": {}, "additionalProperties": false}),
    };
    tidy(&mut arguments);
    // Arguments are an object, whether the schema says so or leaves it open.
    if let Value::Object(o) = &mut arguments
        && !["type", "$ref", "anyOf", "oneOf", "allOf"].iter().any(|k| o.contains_key(*k))
    {
        o.insert("type".to_owned(), json!("object"));
    }
    arguments
}

/// The tools that may be called, at least one.
fn offered<'a>(tools: &'a [Tool], choice: &ToolChoice) -> Result<Vec<&'a Tool>, GrammarError> {
    let chosen: Vec<&Tool> = match choice {
        ToolChoice::Named(name) => tools.iter().filter(|t| t.name == *name).collect(),
        _ => tools.iter().collect(),
    };
    if chosen.is_empty() {
        return Err(match choice {
            ToolChoice::Named(name) => GrammarError::UnknownTool(name.clone()),
            _ => GrammarError::NoTools,
        });
    }
    Ok(chosen)
}

fn calls_schema(offered: &[&Tool], parallel: bool) -> Value {
    let mut defs = Map::new();
    let mut calls = Vec::with_capacity(offered.len());
    for (i, tool) in offered.iter().enumerate() {
        let mut arguments = arguments(tool);
        if has_refs(&arguments) {
            let root = format!("#/$defs/tool{i}");
            rebase(&mut arguments, &root);
            defs.insert(format!("tool{i}"), arguments);
            arguments = json!({"$ref": root});
        }
        calls.push(json!({
            "type": "object",
            "properties": {"name": {"const": tool.name}, "arguments": arguments},
            "required": ["name", "arguments"],
            "additionalProperties": false,
        }));
    }
    let one = if calls.len() == 1 { calls.pop().unwrap_or_default() } else { json!({"anyOf": calls}) };
    let mut schema = if parallel {
        defs.insert("call".to_owned(), one);
        json!({"anyOf": [
            {"$ref": "#/$defs/call"},
            {"type": "array", "items": {"$ref": "#/$defs/call"}, "minItems": 2},
        ]})
    } else {
        one
    };
    if let (false, Value::Object(o)) = (defs.is_empty(), &mut schema) {
        o.insert("$defs".to_owned(), Value::Object(defs));
    }
    schema
}

fn has_refs(schema: &Value) -> bool {
    match schema {
        Value::Object(o) => o.iter().any(|(k, v)| (k == "$ref" && v.is_string()) || has_refs(v)),
        Value::Array(a) => a.iter().any(has_refs),
        _ => false,
    }
}

/// Points local references at the schema's new place.
fn rebase(schema: &mut Value, root: &str) {
    match schema {
        Value::Object(o) => {
            for (k, v) in o.iter_mut() {
                match v {
                    Value::String(s) if k == "$ref" => {
                        if let Some(rest) = s.strip_prefix('#') {
                            *s = format!("{root}{rest}");
                        }
                    }
                    v => rebase(v, root),
                }
            }
        }
        Value::Array(a) => a.iter_mut().for_each(|v| rebase(v, root)),
        _ => {}
    }
}

/// Words that say nothing of a value's form, or that JSON Schema lets a reader
/// ignore.
const ANNOTATIONS: [&str; 9] = [
    "title",
    "description",
    "default",
    "examples",
    "example",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$comment",
];

/// `format`s that decoding can keep to; the others are annotations (JSON Schema
/// 2020-12, 7.2.1).
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"];

/// Drops annotations and closes objects whose properties are listed, where
/// nothing beside them could add more.
fn tidy(schema: &mut Value) {
    let Value::Object(o) = schema else { return };
    for word in ANNOTATIONS {
        o.remove(word);
    }
    o.remove("strict");
    if o.get("format").and_then(Value::as_str).is_some_and(|f| !FORMATS.contains(&f)) {
        o.remove("format");
    }
    let composed =
        ["allOf", "anyOf", "oneOf", "$ref", "patternProperties", "unevaluatedProperties", "if", "not"]
            .iter()
            .any(|k| o.contains_key(*k));
    let listed = o.get("properties").and_then(Value::as_object).is_some_and(|p| !p.is_empty());
    if listed && !composed && !o.contains_key("additionalProperties") {
        o.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    for (key, value) in o.iter_mut() {
        match key.as_str() {
            "properties" | "$defs" | "definitions" | "patternProperties" => {
                if let Value::Object(named) = value {
                    named.values_mut().for_each(tidy);
                }
            }
            "anyOf" | "oneOf" | "prefixItems" => {
                if let Value::Array(list) = value {
                    list.iter_mut().for_each(tidy);
                }
            }
            // Members of an allOf describe one object between them: not closed.
            "items" | "additionalProperties" => tidy(value),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
