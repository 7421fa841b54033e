//! `POST /v1/chat/completions`: parse, queue, wait, render.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use serde_json::value::RawValue;
use serde_json::{Map, json};
use tokio::sync::oneshot;
use understudy_call::{
    CallText, Choice, Declined, Dialect, Finish, Part, Reply, Request, TokenLogprob, ToolCall, Usage,
};
use understudy_onnx::{Adapter, Generation, Grammar};

use crate::adapters::Missing;
use crate::ask::{Ask, Extension};
use crate::generation::{Done, Job};
use crate::refusal::{bad_request, declined, no_adapter, unknown};
use crate::shared::Engine;

const DIALECT: Dialect = Dialect::OpenaiChat;

/// Tells the model's thread that nobody waits any more.
pub(crate) struct CancelOnDrop(pub(crate) Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(crate) async fn completions(State(engine): State<Arc<Engine>>, body: Bytes) -> Response {
    let Some(chat) = &engine.chat else {
        return unknown("no chat model is loaded; start the engine with one");
    };
    let arrived = Instant::now();
    let request = match understudy_dialect::parse_request(DIALECT, &body) {
        Ok(r) => r,
        Err(e) => return bad_request(&e.to_string()),
    };
    let extended = match Extension::of(&request) {
        Ok(e) => e,
        Err(problem) => return bad_request(&problem),
    };
    let adapter = match extended.as_ref().and_then(|e| e.adapter.clone()) {
        Some(name) => match adapter(&engine, name).await {
            Ok(a) => Some(a),
            Err(why) => return no_adapter(&why),
        },
        None => None,
    };
    let ask = match Ask::of(
        &request,
        extended,
        adapter,
        &chat.voice,
        engine.default_deadline,
        engine.draw() as u64,
    ) {
        Ok(a) => a,
        Err(problem) => return bad_request(&problem),
    };
    let calls_expected = match ask.decoding.grammar {
        Some(Grammar::ToolCall { written, .. }) => Some(written),
        _ => None,
    };
    let json_expected = ask.decoding.grammar.is_some();
    let cut_is_answer = ask.cut_is_answer;
    let guard = CancelOnDrop(Arc::new(AtomicBool::new(false)));
    let (answer, answered) = oneshot::channel();
    let job = Job {
        prompt: ask.prompt,
        decoding: ask.decoding,
        form: ask.form,
        queued: arrived,
        deadline: arrived + ask.deadline,
        cancelled: Arc::clone(&guard.0),
        answer,
    };
    let done = match chat.try_ask(ask.priority, ask.deadline, job) {
        Ok(()) => match tokio::time::timeout(ask.deadline.saturating_add(GRACE), answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Declined::Unavailable),
            // A shadow that gave way goes past its deadline here, a hung step too.
            Err(_) => Err(Declined::Late),
        },
        Err(why) => Err(why),
    };
    drop(guard);
    let done = match done {
        Ok(d) if d.generation.finish == Finish::Length && json_expected && !cut_is_answer => {
            Err(Declined::Invalid)
        }
        other => other,
    };
    let done = match done {
        Ok(d) => d,
        Err(why) => {
            engine.count(why);
            return declined(why);
        }
    };
    let calls = match calls_expected.map_or(Ok(None), |written| calls_of(&done.generation, written)) {
        Ok(calls) => calls,
        Err(why) => {
            engine.count(why);
            return declined(why);
        }
    };
    let reply = dress(&engine, chat.provider, &request, done, calls);
    if request.stream {
        let events = understudy_dialect::render_stream(DIALECT, &reply, request.include_usage);
        let events = futures_util::stream::iter(
            events.into_iter().map(|e| Ok::<_, std::convert::Infallible>(Bytes::from(e))),
        );
        respond("text/event-stream; charset=utf-8", Body::from_stream(events))
    } else {
        respond("application/json", Body::from(understudy_dialect::render_reply(DIALECT, &reply)))
    }
}

async fn adapter(engine: &Engine, name: String) -> Result<Arc<Adapter>, Missing> {
    match &engine.adapters {
        Some(Ok(adapters)) => Arc::clone(adapters).get(name).await,
        Some(Err(())) => Err(Missing::NoSlots),
        None => Err(Missing::NoFolder),
    }
}

/// The HTTP side waits this much longer than the deadline, so that it is the
/// model's thread that says why.
const GRACE: Duration = Duration::from_millis(100);

fn respond(content_type: &'static str, body: Body) -> Response {
    let mut r = Response::new(body);
    r.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    r
}

fn dress(
    engine: &Engine,
    provider: &str,
    request: &Request,
    done: Done,
    calls: Option<Vec<ToolCall>>,
) -> Reply {
    let g = done.generation;
    let ms = |d: Duration| (d.as_secs_f64() * 1e6).round() / 1e3;
    let extension = json!({
        "confidence": g.free_sum,
        "min_logprob": g.free_min,
        "free_tokens": g.free_count,
        "cached_tokens": g.cached_tokens,
        "queue_ms": ms(done.queued),
        "prefill_ms": ms(g.prefill),
        "decode_ms": ms(g.decode),
        "execution_provider": provider,
    });
    let usage = Usage {
        input_tokens: g.prompt_tokens as u64,
        output_tokens: g.reply_tokens as u64,
        cached_input_tokens: g.cached_tokens as u64,
        reasoning_tokens: 0,
    };
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
    let seed = engine.draw();
    let reply = Reply {
        choices: vec![choice(g, calls)],
        usage: Some(usage),
        extra: Map::from_iter([("understudy".to_owned(), extension)]),
        ..Reply::default()
    };
    understudy_dialect::LocalReply::new(DIALECT, seed, created, request).dress(reply)
}

fn choice(g: Generation, calls: Option<Vec<ToolCall>>) -> Choice {
    let logprobs = g
        .tokens
        .into_iter()
        .map(|t| TokenLogprob {
            extra: Map::from_iter([
                ("bytes".to_owned(), json!(t.text.as_bytes())),
                ("top_logprobs".to_owned(), json!([])),
            ]),
            token: t.text,
            // What the grammar forced was certain.
            logprob: if t.forced { 0.0 } else { t.logprob.unwrap_or(0.0) },
        })
        .collect();
    let (content, tool_calls, finish) = match calls {
        Some(calls) => (Vec::new(), calls, Finish::ToolCalls),
        None => (vec![Part::Text(g.text)], Vec::new(), g.finish),
    };
    Choice { index: 0, content, tool_calls, finish: Some(finish), logprobs, extra: Map::new() }
}

/// A call as the grammar makes the model write it.
#[derive(serde::Deserialize)]
struct Written<'a> {
    name: String,
    #[serde(borrow)]
    arguments: &'a RawValue,
}

/// The calls of a reply that may call, `None` where it is a text. What begins like
/// a call and is not whole is neither: a stop text ended it within the arguments,
/// or between two calls, and then what is left reads like a whole set.
fn calls_of(g: &Generation, written: CallText) -> Result<Option<Vec<ToolCall>>, Declined> {
    let calls = tool_calls(&g.text, written);
    let broken = g.at_stop || (calls.is_none() && g.finish == Finish::Stop);
    if broken && written.begins(&g.text) { Err(Declined::Invalid) } else { Ok(calls) }
}

/// The calls in a text, if it is nothing but calls; arguments to the byte.
fn tool_calls(text: &str, written: CallText) -> Option<Vec<ToolCall>> {
    match written {
        CallText::Json => objects(text),
        CallText::Line => text.split('\n').map(line).collect(),
    }
}

fn line(text: &str) -> Option<ToolCall> {
    let (name, arguments) = text.strip_prefix('>')?.split_once(" {")?;
    let arguments = format!("{{{arguments}");
    serde_json::from_str::<&RawValue>(&arguments).ok()?;
    Some(ToolCall { id: String::new(), name: name.to_owned(), arguments })
}

fn objects(text: &str) -> Option<Vec<ToolCall>> {
    let written: Vec<Written<'_>> = if text.starts_with('[') {
        serde_json::from_str(text).ok()?
    } else {
        vec![serde_json::from_str(text).ok()?]
    };
    let call = |w: Written<'_>| ToolCall {
        id: String::new(),
        name: w.name,
        arguments: w.arguments.get().to_owned(),
    };
    Some(written.into_iter().map(call).collect())
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests"
    )]
    use super::*;

    fn generation(text: &str, finish: Finish, at_stop: bool) -> Generation {
        Generation {
            text: text.to_owned(),
            tokens: Vec::new(),
            finish,
            at_stop,
            prompt_tokens: 1,
            cached_tokens: 0,
            reply_tokens: 1,
            free_sum: 0.0,
            free_min: 0.0,
            free_count: 0,
            prefill: Duration::ZERO,
            decode: Duration::ZERO,
        }
    }

    #[test]
    fn calls_that_a_stop_text_cut_are_no_set_of_calls() {
        let of = |text: &str, at_stop| {
            calls_of(&generation(text, Finish::Stop, at_stop), CallText::Line).map(|c| c.map(|c| c.len()))
        };
        // The stop text is a line's end, and a second call would have followed.
        assert_eq!(of(">a {\"x\": 1}", true), Err(Declined::Invalid));
        assert_eq!(of(">a {\"x\": ", true), Err(Declined::Invalid));
        assert_eq!(of(">a {\"x\": ", false), Err(Declined::Invalid));
        assert_eq!(of(">a {\"x\": 1}\n>b {}", false), Ok(Some(2)));
        assert_eq!(of("A text before its stop", true), Ok(None));
        let json = generation(r#"{"name": "a", "arguments": {}}"#, Finish::Stop, false);
        assert_eq!(calls_of(&json, CallText::Json).unwrap().unwrap().len(), 1);
        let cut = generation(">a {\"x\": ", Finish::Length, false);
        assert_eq!(calls_of(&cut, CallText::Line), Ok(None));
    }

    #[test]
    fn calls_keep_their_arguments_to_the_byte() {
        let both = [
            (CallText::Json, r#"[{"name": "a", "arguments": {"x": 1.0}}, {"name": "b", "arguments": {}}]"#),
            (CallText::Line, ">a {\"x\": 1.0}\n>b {}"),
        ];
        for (written, text) in both {
            let calls = tool_calls(text, written).unwrap();
            assert_eq!(calls.len(), 2);
            assert_eq!((calls[0].name.as_str(), calls[0].arguments.as_str()), ("a", r#"{"x": 1.0}"#));
            assert_eq!((calls[1].name.as_str(), calls[1].arguments.as_str()), ("b", "{}"));
            assert_eq!(tool_calls("Hello", written), None);
        }
        assert_eq!(tool_calls(r#"{"name": "a", "argum"#, CallText::Json), None);
        assert_eq!(tool_calls(r#">a {"x": "#, CallText::Line), None);
        assert_eq!(tool_calls(r#">a {"x": 1}"#, CallText::Json), None);
    }
}
