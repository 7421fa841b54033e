//! The wire format of OpenAI Chat Completions, as a provider writes it. It is
//! kept apart from the dialect crate on purpose: two hands, one format.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

/// A number that the same request always has, so that the same agent gets the
/// same bytes with and without a proxy in between.
#[must_use]
pub fn serial(body: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut h = DefaultHasher::new();
    body.hash(&mut h);
    h.finish() % 100_000_000
}

/// What a provider's answer to one request says of itself.
struct Head {
    id: String,
    created: u64,
    model: Value,
    finish: &'static str,
    usage: Value,
}

impl Head {
    fn of(request: &Value, message: &Value, serial: u64) -> Self {
        let calls = message.get("tool_calls").and_then(Value::as_array).is_some_and(|c| !c.is_empty());
        // Four characters a token is near enough where nothing counts them.
        let input = request["messages"].to_string().len() / 4 + request["tools"].to_string().len() / 4;
        let output = message.to_string().len() / 4;
        Self {
            id: format!("chatcmpl-standin{serial:08}"),
            created: 1_760_000_000 + serial,
            model: request.get("model").cloned().unwrap_or_else(|| json!("stand-in")),
            finish: if calls { "tool_calls" } else { "stop" },
            usage: json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0,
                    "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}}),
        }
    }
}

/// The body of a whole answer.
#[must_use]
pub fn completion(request: &Value, message: &Value, serial: u64) -> Value {
    let Head { id, created, model, finish, usage } = Head::of(request, message, serial);
    let mut message = message.clone();
    message["refusal"] = Value::Null;
    message["annotations"] = json!([]);
    json!({"id": id, "object": "chat.completion", "created": created, "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish}],
        "usage": usage, "service_tier": "default", "system_fingerprint": "fp_standin"})
}

/// A provider's answer to one request, whole or streamed as the request asks.
#[must_use]
pub fn answer(request: &Value, message: &Value, serial: u64, chunk_gap: Duration) -> Response<Body> {
    if request["stream"] != json!(true) {
        let body = completion(request, message, serial);
        return Response::builder()
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-request-id", format!("req_{serial}"))
            .header("openai-processing-ms", "7")
            .body(Body::from(body.to_string()))
            .unwrap();
    }

    let Head { id, created, model, finish, usage } = Head::of(request, message, serial);
    let with_usage = request["stream_options"]["include_usage"] == json!(true);
    let chunk = |delta: Value, finish: Value| {
        let mut c = json!({"id": id, "object": "chat.completion.chunk", "created": created, "model": model,
            "service_tier": "default", "system_fingerprint": "fp_standin",
            "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]});
        if with_usage {
            c["usage"] = Value::Null;
        }
        c
    };
    let mut chunks = Vec::new();
    if let Some(calls) = message["tool_calls"].as_array().filter(|_| finish == "tool_calls") {
        chunks.push(chunk(json!({"role": "assistant", "content": null}), Value::Null));
        for (i, call) in calls.iter().enumerate() {
            let head = json!({"tool_calls": [{"index": i, "id": call["id"], "type": "function",
                "function": {"name": call["function"]["name"], "arguments": ""}}]});
            chunks.push(chunk(head, Value::Null));
            for piece in pieces(call["function"]["arguments"].as_str().unwrap_or_default()) {
                let more = json!({"tool_calls": [{"index": i, "function": {"arguments": piece}}]});
                chunks.push(chunk(more, Value::Null));
            }
        }
    } else {
        chunks.push(chunk(json!({"role": "assistant", "content": "", "refusal": null}), Value::Null));
        for piece in pieces(message["content"].as_str().unwrap_or_default()) {
            chunks.push(chunk(json!({"content": piece}), Value::Null));
        }
    }
    chunks.push(chunk(json!({}), json!(finish)));
    let mut events: Vec<String> = chunks.iter().map(|c| format!("data: {c}\n\n")).collect();
    if with_usage {
        let last = json!({"id": id, "object": "chat.completion.chunk", "created": created, "model": model,
            "service_tier": "default", "system_fingerprint": "fp_standin", "choices": [], "usage": usage});
        events.push(format!("data: {last}\n\n"));
    }
    events.push("data: [DONE]\n\n".to_owned());
    let body = stream::iter(events).then(move |event| async move {
        if !chunk_gap.is_zero() {
            tokio::time::sleep(chunk_gap).await;
        }
        Ok::<_, std::convert::Infallible>(event)
    });
    Response::builder()
        .header(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")
        .header("x-request-id", format!("req_{serial}"))
        .body(Body::from_stream(body))
        .unwrap()
}

/// An error as the provider writes it.
#[must_use]
pub fn error(status: StatusCode, kind: &str, message: &str) -> Response<Body> {
    let body = json!({"error": {"message": message, "type": kind, "param": null, "code": null}});
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

/// A text in pieces of about four characters, as tokens come.
fn pieces(text: &str) -> Vec<String> {
    text.chars().collect::<Vec<_>>().chunks(4).map(|c| c.iter().collect()).collect()
}
