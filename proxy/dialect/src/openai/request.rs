//! Requests: which fields there are, and which keep a call with the provider.
//!
//! A call may be answered on this machine only if every field in it is one that
//! an understudy honours. What does not hinder without being honoured:
//!
//! | field | why it does not hinder |
//! | --- | --- |
//! | `user`, `safety_identifier` | tell the provider who asks; no model reads them |
//! | `prompt_cache_key`, `prompt_cache_retention` | steer the provider's cache |
//! | `service_tier` | price and speed at the provider; the reply says nothing of it |
//! | `stream_options.include_obfuscation` | padding against an eavesdropper between provider and proxy; loopback has none |
//! | `store: false`, `n: 1`, `logprobs: false`, `modalities: ["text"]`, `reasoning_effort: "none"`, penalties of 0, an empty `logit_bias` | say the default |
//! | any field that is `null` | likewise |
//!
//! `metadata` belongs to what the provider stores and is searched by there, so
//! it hinders as `store` does. `prediction`, `verbosity` and samplers of other
//! servers (`top_k`, `min_p`, …) are settings that the engine does not have.
//! A field that is given twice hinders, since readers differ on which of the two counts.
//! Legacy `functions` hinder because their reply has another form, and
//! `allowed_tools` because the noun has no room for it.

mod format;
mod out;
mod placing;

use serde::de::MapAccess;
use serde_json::{Map, Value};
use understudy_call::{Ineligible, Request, ToolChoice};

use super::wire::{Fault, Fields, List, Object, fit, keep, malformed};
use super::{message, tool};
use crate::DialectError;

pub(crate) fn parse_request(body: &[u8]) -> Result<Request, DialectError> {
    match serde_json::from_slice::<Object<Reading>>(body) {
        Ok(Object(reading)) => Ok(reading.request),
        // Read as one piece each, `tools` and `response_format` have no places within.
        Err(_) => match serde_json::from_slice::<Object<placing::Placing>>(body) {
            Ok(Object(placing::Placing(reading))) => Ok(reading.request),
            Err(e) => Err(malformed(&e)),
        },
    }
}

pub(crate) fn render_request(r: &Request) -> Result<Vec<u8>, DialectError> {
    serde_json::to_vec(&out::Out(r)).map_err(|_| DialectError::Unwritable)
}

#[derive(Default)]
struct Reading {
    request: Request,
    has_model: bool,
    has_messages: bool,
    given: Vec<Value>,
    /// The fields of [`ONCE`] that have come, a bit each.
    seen: u64,
}

/// The fields that an understudy can honour, the usual ones first, since each request
/// is looked through. Any other hinders by itself unless it is `null`, which says
/// nothing however often.
const ONCE: [&str; 30] = [
    "model",
    "messages",
    "tools",
    "stream",
    "temperature",
    "max_tokens",
    "max_completion_tokens",
    "tool_choice",
    "response_format",
    "stream_options",
    "parallel_tool_calls",
    "top_p",
    "seed",
    "stop",
    "n",
    "user",
    "logprobs",
    "top_logprobs",
    "functions",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "service_tier",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "store",
    "metadata",
    "modalities",
    "reasoning_effort",
];

impl Reading {
    fn hinder(&mut self, why: Ineligible) {
        if !self.request.ineligible.contains(&why) {
            self.request.ineligible.push(why);
        }
    }

    /// A field that comes twice is read by each reader as it likes (RFC 8259, 4): the
    /// provider's reading is the one that counts, so the call stays there.
    fn once(&mut self, key: &str) {
        let Some(at) = ONCE.iter().position(|known| *known == key) else { return };
        let bit = 1_u64 << at;
        if self.seen & bit != 0 {
            self.hinder(Ineligible::UnknownField);
        }
        self.seen |= bit;
    }

    fn note(&mut self, key: &str, v: impl Into<Value>) {
        self.request.extra.insert(key.to_owned(), v.into());
    }

    fn tools(&mut self, read: tool::Offer) {
        read.hinders.into_iter().for_each(|why| self.hinder(why));
        self.request.tools = if self.request.tools.is_empty() {
            read.tools
        } else {
            self.request.tools.iter().chain(&read.tools).cloned().collect()
        };
    }

    fn offer(&mut self, key: &str, read: Option<tool::Offer>) {
        match read {
            Some(read) if !read.tools.is_empty() => self.tools(read),
            given => self.no_tools(key, given.is_some()),
        }
    }

    /// Keeps a field of tools that is null, or a list that came empty.
    fn no_tools(&mut self, key: &str, list: bool) {
        let v = if list { Value::Array(Vec::new()) } else { Value::Null };
        keep(&mut self.request.extra, key, v);
    }

    /// Takes a sampling field if it fits; else it is kept as it came and the
    /// provider says what it thinks of it.
    fn sample<T: serde::de::DeserializeOwned>(
        &mut self,
        key: &str,
        v: Value,
        ok: impl Fn(&T) -> bool,
    ) -> Option<T> {
        let fits = fit::<T>(&v).filter(|t| ok(t));
        if fits.is_none() {
            if !v.is_null() {
                self.hinder(Ineligible::Sampling);
            }
            keep(&mut self.request.extra, key, v);
        }
        fits
    }

    fn small_field(&mut self, key: &str, v: Value) -> Result<(), Fault> {
        match key {
            "tool_choice" if !v.is_null() => {
                let (choice, keep_whole) = tool::parse_choice(&v)?;
                if choice == ToolChoice::Auto {
                    self.given.push(key.into());
                }
                self.request.tool_choice = choice;
                if keep_whole {
                    self.hinder(Ineligible::UnknownField);
                    self.note("@tool_choice", v);
                }
            }
            "stream_options" if !v.is_null() => self.stream_options(v)?,
            "max_completion_tokens" | "max_tokens" => {
                // Where both are given, the newer name counts and the older is kept.
                let newer = key == "max_completion_tokens";
                let had = self.request.sampling.max_tokens;
                match self.sample::<u32>(key, v, |_| true) {
                    Some(n) if newer => {
                        self.request.sampling.max_tokens = Some(n);
                        self.note("@max_tokens", key);
                        if let Some(older) = had {
                            keep(&mut self.request.extra, "max_tokens", older.into());
                        }
                    }
                    Some(n) if had.is_some() => keep(&mut self.request.extra, key, n.into()),
                    Some(n) => self.request.sampling.max_tokens = Some(n),
                    None => {}
                }
            }
            "temperature" => {
                self.request.sampling.temperature = self.sample(key, v, |t| (0.0..=2.0).contains(t))
            }
            "top_p" => self.request.sampling.top_p = self.sample(key, v, |p| (0.0..=1.0).contains(p)),
            "seed" => self.request.sampling.seed = self.sample(key, v, |_| true),
            "n" => {
                self.request.sampling.n = self.sample(key, v, |_| true);
                if self.request.sampling.n.is_some_and(|n| n != 1) {
                    self.hinder(Ineligible::ManyChoices);
                }
            }
            "logprobs" => {
                self.request.sampling.logprobs = self.sample(key, v, |_| true);
                if self.request.sampling.logprobs == Some(true) {
                    self.hinder(Ineligible::Logprobs);
                }
            }
            "top_logprobs" => {
                self.request.sampling.top_logprobs = self.sample(key, v, |_| true);
                if self.request.sampling.top_logprobs.is_some_and(|n| n > 0) {
                    self.hinder(Ineligible::Logprobs);
                }
            }
            "stop" => {
                if let Value::String(s) = v {
                    self.request.sampling.stop = vec![s];
                    self.note("@stop", "string");
                } else if let Some(list) = self.sample::<Vec<String>>(key, v, |_| true) {
                    if list.is_empty() {
                        self.given.push(key.into());
                    }
                    self.request.sampling.stop = list;
                }
            }
            _ => {
                if let Some(why) = hinders(key, &v) {
                    self.hinder(why);
                }
                keep(&mut self.request.extra, key, v);
            }
        }
        Ok(())
    }

    fn format(&mut self, key: &str, asked: Option<format::Asked>) {
        let Some(asked) = asked else {
            return keep(&mut self.request.extra, key, Value::Null);
        };
        if let Some(format) = asked.format {
            self.request.format = format;
        }
        if asked.given {
            self.given.push(key.into());
        }
        if asked.hinders {
            self.hinder(Ineligible::UnknownField);
        }
        if !asked.beside.is_empty() {
            self.note("@response_format", asked.beside);
        }
        if let Some(whole) = asked.whole {
            keep(&mut self.request.extra, key, whole);
        }
    }

    fn stream_options(&mut self, v: Value) -> Result<(), Fault> {
        let Value::Object(options) = v else {
            return Err(Fault::expected("an object"));
        };
        let usage = options.get("include_usage").and_then(Value::as_bool) == Some(true);
        self.request.include_usage = usage;
        if options
            .iter()
            .any(|(k, v)| !v.is_null() && !matches!(k.as_str(), "include_usage" | "include_obfuscation"))
        {
            self.hinder(Ineligible::UnknownField);
        }
        if !(usage && options.len() == 1) {
            self.note("@stream_options", options);
        }
        Ok(())
    }
}

/// Why a field that has no noun keeps the call with the provider.
fn hinders(key: &str, v: &Value) -> Option<Ineligible> {
    let zero = v.as_f64() == Some(0.0);
    let is = |what: bool, why| if what { None } else { Some(why) };
    if v.is_null() {
        return None;
    }
    match key {
        "user" | "safety_identifier" | "prompt_cache_key" | "prompt_cache_retention" | "service_tier" => None,
        "frequency_penalty" | "presence_penalty" => is(zero, Ineligible::LogitBias),
        "logit_bias" => is(v.as_object().is_some_and(Map::is_empty), Ineligible::LogitBias),
        "store" => is(*v == Value::Bool(false), Ineligible::StoredState),
        "metadata" => is(v.as_object().is_some_and(Map::is_empty), Ineligible::StoredState),
        "previous_response_id" | "conversation" => Some(Ineligible::StoredState),
        "modalities" => is(v.as_array().is_some_and(|l| l.iter().all(|m| m == "text")), Ineligible::Media),
        "audio" => Some(Ineligible::Media),
        "web_search_options" => Some(Ineligible::HostedTool),
        "reasoning_effort" => is(v == "none", Ineligible::Reasoning),
        "reasoning" | "thinking" | "include_reasoning" | "enable_thinking" => Some(Ineligible::Reasoning),
        "prediction" | "verbosity" | "top_k" | "min_p" | "top_a" | "typical_p" | "repetition_penalty"
        | "min_tokens" | "ignore_eos" | "stop_token_ids" | "use_beam_search" | "length_penalty" => {
            Some(Ineligible::Sampling)
        }
        // A list that came empty says nothing.
        "tools" | "functions" => is(v.as_array().is_some_and(Vec::is_empty), Ineligible::UnknownField),
        _ => Some(Ineligible::UnknownField),
    }
}

impl<'de> Fields<'de> for Reading {
    const EXPECTED: &'static str = "a chat completion request object";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        self.once(key);
        match key {
            "model" => {
                self.request.model = map.next_value()?;
                self.has_model = true;
            }
            "messages" => {
                let List(list) = map.next_value::<List<Object<message::Reading>>>()?;
                self.has_messages = true;
                self.request.messages.reserve(list.len());
                for Object(reading) in list {
                    reading.hinders.into_iter().for_each(|why| self.hinder(why));
                    self.request.messages.push(reading.message);
                }
            }
            "tools" => self.offer(key, tool::offered(map.next_value()?)?),
            "response_format" => self.format(key, format::asked(map.next_value()?)?),
            "functions" => match map.next_value::<Option<List<Value>>>()? {
                Some(List(list)) if !list.is_empty() => {
                    let read = list.into_iter().enumerate().map(|(i, v)| {
                        let read = match v {
                            Value::Object(f) => tool::parse_function(f),
                            _ => Err(Fault::expected("a tool object")),
                        };
                        read.map_err(|e| e.within(&format!("[{i}]")).raise())
                    });
                    let read: Vec<tool::Weighed> = read.collect::<Result<_, A::Error>>()?;
                    self.tools(read.into_iter().collect());
                    self.hinder(Ineligible::UnknownField);
                    self.note("@tools", key);
                }
                given => self.no_tools(key, given.is_some()),
            },
            "stream" => match map.next_value::<Option<bool>>()? {
                Some(true) => self.request.stream = true,
                Some(false) => self.given.push(key.into()),
                None => keep(&mut self.request.extra, key, Value::Null),
            },
            "parallel_tool_calls" => match map.next_value::<Option<bool>>()? {
                Some(b) => self.request.parallel_tool_calls = Some(b),
                None => keep(&mut self.request.extra, key, Value::Null),
            },
            _ => {
                let v: Value = map.next_value()?;
                self.small_field(key, v).map_err(Fault::raise)?;
            }
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<(), Fault> {
        if !self.has_model {
            return Err(Fault::missing("model"));
        }
        if !self.has_messages {
            return Err(Fault::missing("messages"));
        }
        self.request.ineligible.sort_unstable();
        if !self.given.is_empty() {
            let given = std::mem::take(&mut self.given);
            self.note("@given", given);
        }
        Ok(())
    }
}
