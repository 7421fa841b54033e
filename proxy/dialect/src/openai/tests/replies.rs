use serde_json::{Value, json};
use understudy_call::{Dialect, Finish, Part, Reply, Usage};

use super::{D, reply, same, stream};
use crate::{DialectError, StreamParser};

pub(super) fn whole(choice: &Value) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "gpt-4o-2024-08-06",
        "choices": [choice],
        "usage": {
            "prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17,
            "prompt_tokens_details": { "cached_tokens": 8, "audio_tokens": 0 },
            "completion_tokens_details": { "reasoning_tokens": 2, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0 },
        },
        "service_tier": "default", "system_fingerprint": "fp_1",
    })
}

/// The provider's own bytes come out again as the same JSON.
fn survives(choice: &Value) -> Reply {
    let body = whole(choice);
    let parsed = reply(&body);
    let out: Value = serde_json::from_slice(&crate::render_reply(D, &parsed)).unwrap();
    assert!(same(&out, &body), "{body} became {out}");
    parsed
}

pub(super) fn choice(message: &Value, finish: &str) -> Value {
    let mut m = json!({ "role": "assistant", "content": null, "refusal": null, "annotations": [] });
    for (k, v) in message.as_object().unwrap() {
        m[k] = v.clone();
    }
    json!({ "index": 0, "message": m, "logprobs": null, "finish_reason": finish })
}

#[test]
fn replies_of_every_shape_survive() {
    let call = |id: &str| json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": "{\"a\": 1}" } });
    let r = survives(&choice(&json!({ "content": "hello" }), "stop"));
    assert_eq!(r.choices[0].text(), "hello");
    assert_eq!(
        r.usage,
        Some(Usage { input_tokens: 12, output_tokens: 5, cached_input_tokens: 8, reasoning_tokens: 2 })
    );
    assert!(r.is_whole());
    let r = survives(&choice(&json!({ "tool_calls": [call("a"), call("b")] }), "tool_calls"));
    assert_eq!((r.choices[0].tool_calls.len(), &r.choices[0].finish), (2, &Some(Finish::ToolCalls)));
    let r = survives(&choice(&json!({ "refusal": "no" }), "stop"));
    assert_eq!(r.choices[0].content, [Part::Refusal("no".into())]);
    survives(&choice(&json!({ "content": "cut" }), "length"));
    survives(&choice(&json!({ "content": "" }), "content_filter"));
    survives(&choice(&json!({ "function_call": { "name": "f", "arguments": "{}" } }), "function_call"));
    survives(&choice(
        &json!({ "content": "x", "annotations": [{ "type": "url_citation", "url_citation": { "url": "u" } }] }),
        "stop",
    ));
    survives(&choice(&json!({ "content": "x", "reasoning_content": "hm", "new": null, "@role": 1 }), "stop"));
    survives(&choice(
        &json!({ "audio": { "id": "a", "data": "", "expires_at": 1, "transcript": "t" } }),
        "stop",
    ));
    survives(&choice(&json!({ "content": [{ "type": "text", "text": "a" }] }), "stop"));
    survives(&choice(
        &json!({ "content": [{ "type": "thinking", "thinking": "a" }, { "type": "text", "text": "b", "x": 1 }] }),
        "stop",
    ));
    survives(&choice(
        &json!({ "tool_calls": [{ "id": "c", "type": "custom", "custom": { "name": "f", "input": "x" } }] }),
        "tool_calls",
    ));
    let mut with = choice(&json!({ "content": "hi" }), "stop");
    with["logprobs"] = json!({
        "content": [{ "token": "hi", "logprob": -0.25, "bytes": [104, 105], "top_logprobs": [{ "token": "hi", "logprob": -0.25, "bytes": null }] }],
        "refusal": null,
    });
    with["content_filter_results"] = json!({ "hate": { "filtered": false } });
    let r = survives(&with);
    assert_eq!((r.choices[0].logprobs[0].token.as_str(), r.choices[0].logprobs[0].logprob), ("hi", -0.25));
}

#[test]
fn many_choices_and_other_counts_survive() {
    let mut body = whole(&choice(&json!({ "content": "a" }), "stop"));
    let mut second = choice(&json!({ "content": "b" }), "length");
    second["index"] = 1.into();
    body["choices"].as_array_mut().unwrap().push(second);
    body["usage"]["completion_tokens_details"]["audio_tokens"] = 3.into();
    body["usage"]["prompt_cache_hit_tokens"] = 8.into();
    let parsed = reply(&body);
    assert_eq!(parsed.choices.len(), 2);
    assert!(same(&serde_json::from_slice(&crate::render_reply(D, &parsed)).unwrap(), &body));
}

#[test]
fn errors_in_every_shape_are_errors() {
    let parse =
        |status, kind: &str, body: &str| crate::parse_reply(D, status, kind, body.as_bytes()).unwrap();
    let body = r#"{"error":{"message":"bad model","type":"invalid_request_error","param":"model","code":"model_not_found"}}"#;
    let r = parse(404, "application/json", body);
    let e = r.error.clone().unwrap();
    assert_eq!(
        (e.message.as_str(), e.kind.as_deref(), e.code.as_deref()),
        ("bad model", Some("invalid_request_error"), Some("model_not_found"))
    );
    assert!(same(
        &serde_json::from_slice(&crate::render_reply(D, &r)).unwrap(),
        &serde_json::from_str(body).unwrap()
    ));
    assert!(!r.is_whole());
    for (status, kind, body, message, code) in [
        (429, "application/json", r#"{"error":{"message":"slow","code":429}}"#, "slow", Some("429")),
        (500, "application/json", r#"{"error":"boom"}"#, "boom", None),
        (
            400,
            "application/json",
            r#"{"object":"error","message":"m","type":"t","code":40001}"#,
            "m",
            Some("40001"),
        ),
        (422, "application/json", r#"{"detail":"d"}"#, "d", None),
        (502, "text/html", "<h1>Bad gateway</h1>", "<h1>Bad gateway</h1>", None),
        (503, "", "", "", None),
        (500, "application/json", "[1]", "[1]", None),
        (200, "application/json", r#"{"error":{"message":"late"}}"#, "late", None),
        (529, "text/event-stream", "data: {\"error\":{\"message\":\"full\"}}\n\n", "full", None),
        (500, "text/event-stream", "data: {\"choices\":[]}\n\n", "data: {\"choices\":[]}", None),
        (502, "text/event-stream", "data: gone\n\n", "data: gone", None),
        (503, "", ": wait", ": wait", None),
    ] {
        let e = parse(status, kind, body).error.unwrap();
        assert_eq!((e.message.as_str(), e.code.as_deref()), (message, code), "{body}");
    }
    for body in
        ["", "{}", "[]", "{\"choices\":7}", "{\"choices\":[{\"message\":{\"content\":7}}]}", "nonsense"]
    {
        assert!(
            matches!(
                crate::parse_reply(D, 200, "application/json", body.as_bytes()),
                Err(DialectError::Malformed { .. })
            ),
            "{body}"
        );
    }
}

fn sse(chunks: &[Value]) -> Vec<u8> {
    let mut out = String::new();
    for c in chunks {
        out.push_str(&format!("data: {c}\n\n"));
    }
    out.push_str("data: [DONE]\n\n");
    out.into_bytes()
}

fn chunk(choices: Value) -> Value {
    json!({ "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "service_tier": "default",
        "system_fingerprint": null, "choices": choices, "usage": null, "obfuscation": "xxxx" })
}

#[test]
fn a_recorded_shape_of_parallel_tool_calls_is_put_together() {
    let delta =
        |d: Value| chunk(json!([{ "index": 0, "delta": d, "logprobs": null, "finish_reason": null }]));
    let body = sse(&[
        delta(json!({ "role": "assistant", "content": null })),
        delta(
            json!({ "tool_calls": [{ "index": 0, "id": "call_a", "type": "function", "function": { "name": "look", "arguments": "" } }] }),
        ),
        delta(json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "{\"city\"" } }] })),
        delta(json!({ "tool_calls": [{ "index": 0, "function": { "arguments": ":\"Łódź\"}" } }] })),
        delta(
            json!({ "tool_calls": [{ "index": 1, "id": "call_b", "type": "function", "function": { "name": "see", "arguments": "{}" } }] }),
        ),
        chunk(json!([{ "index": 0, "delta": {}, "finish_reason": "tool_calls" }])),
        json!({ "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [],
            "usage": { "prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7 } }),
    ]);
    let whole = stream(&body);
    assert_eq!(whole.choices[0].content, []);
    let calls: Vec<_> = whole.choices[0]
        .tool_calls
        .iter()
        .map(|c| (c.id.as_str(), c.name.as_str(), c.arguments.as_str()))
        .collect();
    assert_eq!(calls, [("call_a", "look", "{\"city\":\"Łódź\"}"), ("call_b", "see", "{}")]);
    assert_eq!(whole.usage.unwrap().output_tokens, 4);
    assert!(whole.is_whole());
    for at in 0..=body.len() {
        let (a, b) = body.split_at(at);
        let mut p = StreamParser::new(D);
        p.push(a).unwrap();
        p.push(b).unwrap();
        assert!(p.done());
        assert_eq!(p.finish(), whole, "split at {at}");
    }
}

#[test]
fn calls_without_a_place_or_all_in_place_0_stay_apart() {
    let call = |place: Value, id: Value| json!({ "index": place, "id": id, "function": { "name": "f", "arguments": "1" } });
    let go_on = |place: Value| json!({ "index": place, "function": { "arguments": "2" } });
    for place in [Value::Null, json!(0)] {
        let pieces = [
            call(place.clone(), json!("a")),
            go_on(place.clone()),
            call(place.clone(), json!("b")),
            go_on(place.clone()),
        ];
        let chunks: Vec<Value> = pieces
            .into_iter()
            .map(|p| chunk(json!([{ "index": 0, "delta": { "tool_calls": [p] } }])))
            .collect();
        let r = stream(&sse(&chunks));
        let calls: Vec<_> =
            r.choices[0].tool_calls.iter().map(|c| (c.id.as_str(), c.arguments.as_str())).collect();
        assert_eq!(calls, [("a", "12"), ("b", "12")]);
    }
}

#[test]
fn a_stream_that_breaks_off_has_no_finish() {
    let r = Reply {
        choices: vec![understudy_call::Choice {
            content: vec![Part::Text("one two three".into())],
            finish: Some(Finish::Stop),
            ..Default::default()
        }],
        ..Default::default()
    };
    let events = crate::render_stream(D, &r, false);
    for kept in 1..events.len() - 2 {
        let mut p = StreamParser::new(D);
        p.push(&events[..kept].concat()).unwrap();
        assert!(!p.done());
        let part = p.finish();
        assert_eq!(part.choices[0].finish, None);
        assert!("one two three".starts_with(&part.choices[0].text()) && !part.is_whole());
    }
    // A finish without [DONE] is a finish.
    assert_eq!(stream(&events[..events.len() - 1].concat()), r);
}

#[test]
fn an_event_that_is_no_chunk_is_an_error_and_the_reply_not_whole() {
    let mut p = StreamParser::new(D);
    let first = chunk(json!([{ "index": 0, "delta": { "content": "a" } }]));
    let last = chunk(json!([{ "index": 0, "delta": {}, "finish_reason": "stop" }]));
    p.push(format!("data: {first}\n\n").as_bytes()).unwrap();
    let e = p.push(b"data: {\"choices\":[{\"delta\":{\"content\":7}}]}\n\n").unwrap_err();
    assert!(matches!(&e, DialectError::Malformed { at, .. } if at == "choices[0].delta.content"), "{e}");
    p.push(format!("data: {last}\n\ndata: [DONE]\n\n").as_bytes()).unwrap();
    assert!(p.done());
    assert!(!p.finish().is_whole());
}

#[test]
fn errors_in_mid_stream_are_errors() {
    let first = chunk(json!([{ "index": 0, "delta": { "content": "a" } }]));
    for event in [
        "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\",\"code\":null,\"param\":null}}",
        "event: error\ndata: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\"}}",
        "event: error\ndata: {\"message\":\"overloaded\",\"type\":\"server_error\"}",
    ] {
        let r = stream(format!("data: {first}\n\n{event}\n\n").as_bytes());
        let e = r.error.unwrap();
        assert_eq!((e.message.as_str(), e.kind.as_deref()), ("overloaded", Some("server_error")));
        assert_eq!(r.choices[0].finish, None);
    }
}

#[test]
fn our_own_errors_speak_the_callers_dialect() {
    let v: Value =
        serde_json::from_slice(&crate::render_error(D, 413, "too_large", "body over 8 MiB")).unwrap();
    assert_eq!(
        v,
        json!({ "error": { "message": "body over 8 MiB", "type": "too_large", "param": null, "code": null } })
    );
    let v: Value =
        serde_json::from_slice(&crate::render_error(Dialect::AnthropicMessages, 502, "", "gone")).unwrap();
    assert_eq!(v, json!({ "type": "error", "error": { "type": "api_error", "message": "gone" } }));
    let read =
        crate::parse_reply(D, 502, "application/json", &crate::render_error(D, 502, "", "gone")).unwrap();
    assert_eq!(read.error.unwrap().kind.as_deref(), Some("server_error"));
}

#[test]
fn a_stream_has_the_providers_chunks() {
    let r = reply(&whole(&choice(
        &json!({ "tool_calls": [{ "id": "c", "type": "function", "function": { "name": "f", "arguments": "{\"a\": 1}" } }] }),
        "tool_calls",
    )));
    let events: Vec<String> =
        crate::render_stream(D, &r, true).into_iter().map(|e| String::from_utf8(e).unwrap()).collect();
    assert_eq!(events.last().unwrap(), "data: [DONE]\n\n");
    let chunks: Vec<Value> = events[..events.len() - 1]
        .iter()
        .map(|e| serde_json::from_str(e.strip_prefix("data: ").unwrap()).unwrap())
        .collect();
    for c in &chunks {
        assert_eq!(
            (&c["id"], &c["object"], &c["model"]),
            (&json!("chatcmpl-1"), &json!("chat.completion.chunk"), &json!("gpt-4o-2024-08-06"))
        );
        assert_eq!(
            (&c["created"], &c["system_fingerprint"], &c["service_tier"]),
            (&json!(1_700_000_000), &json!("fp_1"), &json!("default"))
        );
    }
    let deltas: Vec<&Value> =
        chunks.iter().filter_map(|c| c["choices"].get(0)).map(|c| &c["delta"]).collect();
    assert_eq!(deltas[0], &json!({ "role": "assistant", "content": null, "refusal": null }));
    assert_eq!(
        deltas[1],
        &json!({ "tool_calls": [{ "index": 0, "id": "c", "type": "function", "function": { "name": "f", "arguments": "" } }] })
    );
    assert_eq!(deltas[2], &json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "{\"a\":" } }] }));
    assert_eq!(deltas[4], &json!({}));
    assert_eq!(chunks[4]["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!((&chunks[4]["usage"], &chunks[5]["choices"]), (&Value::Null, &json!([])));
    assert_eq!(chunks[5]["usage"]["total_tokens"], 17);
    assert!(!crate::render_stream(D, &r, false).concat().windows(7).any(|w| w == b"\"usage\""));
}
