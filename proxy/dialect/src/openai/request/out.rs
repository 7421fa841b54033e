//! A request, written again: what was kept comes out under its own name.

use serde::ser::{Serialize, Serializer};
use serde_json::{Map, Value};
use understudy_call::{Format, Request, ToolChoice};

use crate::openai::wire::Writer;
use crate::openai::{message, tool};

pub(super) struct Out<'a>(pub(super) &'a Request);

impl Serialize for Out<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let r = self.0;
        let word = |key: &str| r.extra.get(key).and_then(Value::as_str);
        let given = |key: &str| {
            r.extra.get("@given").and_then(Value::as_array).is_some_and(|l| l.iter().any(|k| k == key))
        };
        let mut w = Writer::new(s.serialize_map(None)?);
        w.put("model", &r.model)?;
        w.put("messages", &Each(&r.messages, message::Out))?;
        if word("@tools") == Some("functions") {
            w.put("functions", &Each(&r.tools, tool::FunctionOut))?;
        } else if !r.tools.is_empty() {
            w.put("tools", &Each(&r.tools, tool::Out))?;
        }
        if let Some(whole) = r.extra.get("@tool_choice") {
            w.put("tool_choice", whole)?;
        } else if r.tool_choice != ToolChoice::Auto || given("tool_choice") {
            w.put("tool_choice", &tool::ChoiceOut(&r.tool_choice))?;
        }
        w.put_some("parallel_tool_calls", r.parallel_tool_calls.as_ref())?;
        match &r.format {
            Format::Text if given("response_format") => {
                w.put("response_format", &serde_json::json!({ "type": "text" }))?
            }
            Format::Text => {}
            Format::JsonObject => w.put("response_format", &serde_json::json!({ "type": "json_object" }))?,
            Format::JsonSchema { name, schema, strict } => {
                let mut inner = Map::from_iter([("name".to_owned(), Value::String(name.clone()))]);
                if let Some(Value::Object(extra)) = r.extra.get("@response_format") {
                    inner.extend(extra.clone());
                }
                if !schema.is_null() {
                    inner.insert("schema".to_owned(), Value::clone(schema));
                }
                if let Some(strict) = strict {
                    inner.insert("strict".to_owned(), (*strict).into());
                }
                w.put(
                    "response_format",
                    &serde_json::json!({ "type": "json_schema", "json_schema": inner }),
                )?;
            }
        }
        let p = &r.sampling;
        if word("@max_tokens").is_some() {
            w.put_some("max_completion_tokens", p.max_tokens.as_ref())?;
        } else {
            w.put_some("max_tokens", p.max_tokens.as_ref())?;
        }
        w.put_some("temperature", p.temperature.as_ref())?;
        w.put_some("top_p", p.top_p.as_ref())?;
        w.put_some("seed", p.seed.as_ref())?;
        match p.stop.as_slice() {
            [one] if word("@stop").is_some() => w.put("stop", one)?,
            [] if !given("stop") => {}
            list => w.put("stop", list)?,
        }
        w.put_some("n", p.n.as_ref())?;
        w.put_some("logprobs", p.logprobs.as_ref())?;
        w.put_some("top_logprobs", p.top_logprobs.as_ref())?;
        if r.stream || given("stream") {
            w.put("stream", &r.stream)?;
        }
        match r.extra.get("@stream_options") {
            Some(Value::Object(options)) => {
                let mut options = options.clone();
                if r.include_usage {
                    options.insert("include_usage".to_owned(), true.into());
                }
                w.put("stream_options", &options)?;
            }
            _ if r.include_usage => w.put("stream_options", &serde_json::json!({ "include_usage": true }))?,
            _ => {}
        }
        w.kept(&r.extra)?;
        w.end()
    }
}

/// Writes a list, each item through a wrapper.
struct Each<'a, T, W>(&'a [T], fn(&'a T) -> W);

impl<T, W: Serialize> Serialize for Each<'_, T, W> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.0.iter().map(self.1))
    }
}
