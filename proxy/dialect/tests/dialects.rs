//! What others see of the crate: dialects by path, ids, dressing a reply.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use understudy_call::{Choice, Dialect, Finish, Part, Reply, Request, ToolCall, ToolChoice};
use understudy_dialect::{
    DialectError, LocalReply, StreamParser, of_path, parse_reply, parse_request, render_reply,
    render_request, render_stream, reply_id, tool_call_id,
};

#[test]
fn a_path_names_its_dialect() {
    for (method, path, dialect) in [
        ("POST", "/v1/chat/completions", Dialect::OpenaiChat),
        ("POST", "/openai/v1/chat/completions?x=/v1/messages", Dialect::OpenaiChat),
        ("POST", "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21", Dialect::OpenaiChat),
        ("GET", "/v1/chat/completions", Dialect::Other),
        ("POST", "/v1/chat/completions/chatcmpl-1", Dialect::Other),
        ("POST", "/v1/completions", Dialect::Other),
        ("POST", "/v1/messages", Dialect::AnthropicMessages),
        ("POST", "/anthropic/v1/messages?beta=true", Dialect::AnthropicMessages),
        ("POST", "/v1/messages/count_tokens", Dialect::Other),
        ("POST", "/v1/threads/t/messages", Dialect::Other),
        ("POST", "/v1/responses", Dialect::Other),
        ("POST", "", Dialect::Other),
    ] {
        assert_eq!(of_path(method, path), dialect, "{method} {path}");
    }
}

#[test]
fn a_dialect_that_passes_through_is_not_decoded() {
    for d in [Dialect::AnthropicMessages, Dialect::Other] {
        let undecoded = DialectError::Undecoded(d);
        assert_eq!(parse_request(d, b"{}").unwrap_err(), undecoded);
        assert_eq!(parse_reply(d, 200, "application/json", b"{}").unwrap_err(), undecoded);
        assert_eq!(render_request(d, &Request::default()).unwrap_err(), undecoded);
        assert_eq!(StreamParser::new(d).push(b"data: {}\n\n").unwrap_err(), undecoded);
    }
}

#[test]
fn ids_have_the_providers_shape_and_do_not_repeat() {
    let id = reply_id(Dialect::OpenaiChat, 7);
    let (prefix, rest) = id.split_at(9);
    assert_eq!((prefix, rest.len()), ("chatcmpl-", 29));
    assert!(rest.bytes().all(|b| b.is_ascii_alphanumeric()));
    assert_eq!(reply_id(Dialect::AnthropicMessages, 7).len(), 28);
    assert_eq!(tool_call_id(7, 0).len(), 29);
    let mut seen = std::collections::BTreeSet::new();
    for seed in (0..1000u128).chain((0..1000).map(|s| s << 64)).skip(1) {
        assert!(seen.insert(reply_id(Dialect::OpenaiChat, seed)) || seed == 0);
        assert!(seen.insert(tool_call_id(seed, 0)) || seed == 0);
        assert!(seen.insert(tool_call_id(seed, 1)) || seed == 0);
    }
    assert_eq!(reply_id(Dialect::OpenaiChat, 7), id);
}

#[test]
fn a_local_reply_is_dressed_as_the_providers() {
    let call = ToolCall { id: String::new(), name: "f".into(), arguments: "{}".into() };
    let choice = Choice {
        index: 9,
        content: vec![Part::Text("x".into())],
        tool_calls: vec![call.clone(), call],
        finish: Some(Finish::Stop),
        ..Choice::default()
    };
    let request = Request { model: "gpt-4o".into(), ..Request::default() };
    let r = LocalReply::new(Dialect::OpenaiChat, 1, 1_700_000_000, &request)
        .dress(Reply { choices: vec![choice], ..Reply::default() });
    assert_eq!((r.model.as_str(), r.created, r.choices[0].index), ("gpt-4o", 1_700_000_000, 0));
    assert_eq!(r.id, reply_id(Dialect::OpenaiChat, 1));
    assert_eq!(r.choices[0].tool_calls[1].id, tool_call_id(1, 1));
    assert_eq!(r.choices[0].finish, Some(Finish::ToolCalls));
}

#[test]
fn a_plain_reply_has_nothing_that_its_maker_added() {
    let body = r#"{"id":"x","object":"chat.completion","created":1,"model":"small","provider":"vendor","system_fingerprint":"fp_v","service_tier":"flex","x_vendor":{"id":"req"},
        "choices":[{"index":0,"message":{"role":"assistant","content":[{"type":"text","text":"h","vendor":1},{"type":"text","text":"i"}],"reasoning_content":"hm","annotations":[{"type":"url_citation"}],
            "tool_calls":[{"id":"c","type":"function","vendor":1,"function":{"name":"f","arguments":"{}"}}]},
            "finish_reason":"tool_calls","stop_reason":"vendor","logprobs":{"content":[{"token":"hi","logprob":-1.0,"bytes":null,"top_logprobs":[]}]}}],
        "usage":{"prompt_tokens":2,"completion_tokens":3,"total_tokens":5,"queue_time":0.5,"prompt_tokens_details":{"cached_tokens":1,"vendor":7}}}"#;
    let reply = parse_reply(Dialect::OpenaiChat, 200, "application/json", body.as_bytes()).unwrap();
    let plain = understudy_dialect::plain(reply);
    let whole = render_reply(Dialect::OpenaiChat, &plain);
    let expected = serde_json::json!({
        "id": "x", "object": "chat.completion", "created": 1, "model": "small", "system_fingerprint": null,
        "choices": [{"index": 0, "finish_reason": "tool_calls", "logprobs": null, "message": {
            "role": "assistant", "content": "hi", "refusal": null, "annotations": [],
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        }}],
        "usage": {
            "prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 1, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
            },
        },
    });
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&whole).unwrap(), expected);
    let streamed = render_stream(Dialect::OpenaiChat, &plain, true).concat();
    assert!(!String::from_utf8(streamed).unwrap().contains("vendor"));
}

/// Whole and streamed: the clients of both read it.
#[test]
fn a_call_of_the_function_that_was_named_ends_as_openai_ends_it() {
    let call = ToolCall { id: String::new(), name: "f".into(), arguments: "{}".into() };
    let dressed = |tool_choice, tool_calls, said| {
        let choice = Choice { tool_calls, finish: Some(said), ..Choice::default() };
        let request = Request { tool_choice, ..Request::default() };
        let reply = LocalReply::new(Dialect::OpenaiChat, 1, 0, &request)
            .dress(Reply { choices: vec![choice], ..Reply::default() });
        let whole = render_reply(Dialect::OpenaiChat, &reply);
        let stream = render_stream(Dialect::OpenaiChat, &reply, false).concat();
        [("application/json", whole), ("text/event-stream", stream)].map(|(kind, body)| {
            let read = parse_reply(Dialect::OpenaiChat, 200, kind, &body).unwrap();
            read.choices[0].finish.clone().unwrap()
        })
    };
    let named = || ToolChoice::Named("f".into());
    for said in [Finish::Stop, Finish::ToolCalls] {
        assert_eq!(dressed(named(), vec![call.clone()], said.clone()), [Finish::Stop, Finish::Stop]);
        for free in [ToolChoice::Auto, ToolChoice::Required] {
            let ended = dressed(free, vec![call.clone()], said.clone());
            assert_eq!(ended, [Finish::ToolCalls, Finish::ToolCalls]);
        }
    }
    // What did not end of its own accord says so still.
    assert_eq!(dressed(named(), vec![call], Finish::Length), [Finish::Length, Finish::Length]);
}
