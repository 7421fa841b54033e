use serde_json::{Value, json};
use understudy_call::{Format, Ineligible, Part, Role, ToolChoice};

use super::{D, rendered, request, same, turned};
use crate::DialectError;

/// A request of every shape: it survives, and hinders for these reasons.
fn survives(fields: &Value, why: &[Ineligible]) {
    let mut body = json!({ "model": "gpt-4o", "messages": [{ "role": "user", "content": "hi" }] });
    for (k, v) in fields.as_object().unwrap() {
        body[k] = v.clone();
    }
    let parsed = request(&body);
    assert_eq!(parsed.ineligible, why, "{body}");
    assert!(same(&rendered(&parsed), &body), "{body} became {}", rendered(&parsed));
    // What it became says the same again.
    assert_eq!(request(&rendered(&parsed)), parsed);
}

#[test]
fn fields_that_do_not_hinder_survive() {
    for fields in [
        json!({}),
        json!({ "stream": true }),
        json!({ "stream": false, "stream_options": null }),
        json!({ "stream": null, "tools": null, "tool_choice": null, "response_format": null, "stop": null }),
        json!({ "parallel_tool_calls": null, "n": null, "temperature": null, "max_tokens": null, "logprobs": null }),
        json!({ "stream": true, "stream_options": { "include_usage": true } }),
        json!({ "stream": true, "stream_options": { "include_usage": false } }),
        json!({ "stream": true, "stream_options": { "include_usage": true, "include_obfuscation": false } }),
        json!({ "stream": true, "stream_options": {} }),
        json!({ "max_tokens": 10 }),
        json!({ "max_completion_tokens": 10 }),
        json!({ "max_tokens": 5, "max_completion_tokens": 10 }),
        json!({ "max_completion_tokens": 10, "max_tokens": 5 }),
        json!({ "temperature": 0, "top_p": 0.5, "seed": -3, "n": 1, "logprobs": false, "top_logprobs": 0 }),
        json!({ "stop": "END" }),
        json!({ "stop": ["END"] }),
        json!({ "stop": ["a", "b"] }),
        json!({ "stop": [] }),
        json!({ "tools": [], "functions": [] }),
        json!({ "response_format": { "type": "text" } }),
        json!({ "response_format": { "type": "json_object" } }),
        json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "x", "schema": { "type": "object" }, "strict": true } } }),
        json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "x", "description": "d", "schema": null, "strict": null } } }),
        json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "x" } } }),
        json!({ "user": "u", "safety_identifier": "s", "prompt_cache_key": "k", "prompt_cache_retention": "24h", "service_tier": "auto" }),
        json!({ "store": false, "metadata": {}, "logit_bias": {}, "presence_penalty": 0, "frequency_penalty": 0.0 }),
        json!({ "modalities": ["text"], "reasoning_effort": "none", "web_search_options": null }),
        json!({ "tools": [{ "type": "function", "function": { "name": "f" } }], "tool_choice": "auto", "parallel_tool_calls": true }),
        json!({ "tools": [{ "type": "function", "function": { "name": "f", "description": "d", "parameters": { "type": "object", "properties": {} }, "strict": true } }], "tool_choice": "none" }),
        json!({ "tools": [{ "type": "function", "cache_control": { "type": "ephemeral" }, "function": { "name": "f", "description": null, "parameters": null, "strict": null } }], "tool_choice": "required" }),
        json!({ "tools": [{ "type": "function", "function": { "name": "f" } }], "tool_choice": { "type": "function", "function": { "name": "f" } }, "parallel_tool_calls": false }),
    ] {
        survives(&fields, &[]);
    }
}

#[test]
fn fields_that_an_understudy_cannot_honour_survive_and_say_why() {
    use Ineligible as I;
    for (fields, why) in [
        (json!({ "n": 2 }), I::ManyChoices),
        (json!({ "logprobs": true, "top_logprobs": 3 }), I::Logprobs),
        (json!({ "logit_bias": { "50256": -100 } }), I::LogitBias),
        (json!({ "frequency_penalty": 0.1 }), I::LogitBias),
        (json!({ "presence_penalty": -1 }), I::LogitBias),
        (json!({ "store": true }), I::StoredState),
        (json!({ "metadata": { "run": "7" } }), I::StoredState),
        (json!({ "previous_response_id": "r" }), I::StoredState),
        (json!({ "web_search_options": {} }), I::HostedTool),
        (json!({ "tools": [{ "type": "web_search", "filters": {} }] }), I::HostedTool),
        (
            json!({ "tools": [{ "type": "custom", "custom": { "name": "c", "format": { "type": "text" } } }] }),
            I::UnknownField,
        ),
        (
            json!({ "tools": [{ "type": "function", "function": { "name": "f", "new": 1 } }] }),
            I::UnknownField,
        ),
        (
            json!({ "tools": [{ "type": "function", "new": 1, "function": { "name": "f" } }] }),
            I::UnknownField,
        ),
        (
            json!({ "functions": [{ "name": "f", "parameters": {} }], "function_call": "auto" }),
            I::UnknownField,
        ),
        (json!({ "tool_choice": { "type": "custom", "custom": { "name": "c" } } }), I::UnknownField),
        (
            json!({ "tool_choice": { "type": "allowed_tools", "allowed_tools": { "mode": "required", "tools": [{ "type": "function", "function": { "name": "f" } }] } } }),
            I::UnknownField,
        ),
        (json!({ "modalities": ["text", "audio"], "audio": { "voice": "ash", "format": "wav" } }), I::Media),
        (json!({ "prediction": { "type": "content", "content": "x" } }), I::Sampling),
        (json!({ "reasoning_effort": "low" }), I::Reasoning),
        (json!({ "verbosity": "low" }), I::Sampling),
        (json!({ "top_k": 40 }), I::Sampling),
        (json!({ "temperature": 3 }), I::Sampling),
        (json!({ "temperature": "hot" }), I::Sampling),
        (json!({ "max_tokens": -1 }), I::Sampling),
        (json!({ "stop": [1] }), I::Sampling),
        (json!({ "response_format": { "type": "grammar", "grammar": "x" } }), I::UnknownField),
        (
            json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "x", "new": 1 } } }),
            I::UnknownField,
        ),
        (json!({ "stream_options": { "new": true } }), I::UnknownField),
        (json!({ "future": { "a": [1, null] } }), I::UnknownField),
        (json!({ "@role": "x", "@@given": ["stream"] }), I::UnknownField),
    ] {
        survives(&fields, &[why]);
    }
}

/// One reader takes the first, another the last, and messages would be put together.
#[test]
fn a_field_that_is_given_twice_keeps_the_call_with_the_provider() {
    let (model, messages) = (r#""model":"m""#, r#""messages":[{"role":"user","content":"hi"}]"#);
    for field in [
        model,
        messages,
        r#""tools":[{"type":"function","function":{"name":"f"}}]"#,
        r#""functions":[]"#,
        r#""tool_choice":"required""#,
        r#""parallel_tool_calls":false"#,
        r#""stream":true"#,
        r#""stream_options":{"include_usage":true}"#,
        r#""response_format":{"type":"json_object"}"#,
        r#""max_tokens":5"#,
        r#""max_completion_tokens":5"#,
        r#""temperature":0"#,
        r#""top_p":1"#,
        r#""seed":1"#,
        r#""stop":"END""#,
        r#""n":1"#,
        r#""logprobs":false"#,
        r#""top_logprobs":0"#,
        r#""user":"u""#,
        r#""safety_identifier":"s""#,
        r#""prompt_cache_key":"k""#,
        r#""prompt_cache_retention":"24h""#,
        r#""service_tier":"auto""#,
        r#""frequency_penalty":0"#,
        r#""presence_penalty":0"#,
        r#""logit_bias":{}"#,
        r#""store":false"#,
        r#""metadata":{}"#,
        r#""modalities":["text"]"#,
        r#""reasoning_effort":"none""#,
    ] {
        let given = |times| {
            let others = [model, messages].into_iter().filter(|other| *other != field);
            let fields: Vec<&str> = others.chain(std::iter::repeat_n(field, times)).collect();
            let body = format!("{{{}}}", fields.join(","));
            crate::parse_request(D, body.as_bytes()).unwrap().ineligible
        };
        assert!(given(1).is_empty(), "{field}");
        assert_eq!(given(2), [Ineligible::UnknownField], "{field}");
    }
}

#[test]
fn the_order_of_a_tools_and_a_calls_fields_says_nothing() {
    let function = json!({ "name": "f", "description": null, "parameters": { "type": "object" }, "strict": true, "new": 1 });
    for tool in [
        json!({ "type": "function", "function": function }),
        json!({ "type": "function", "cache_control": {}, "function": { "name": "f" }, "new": 1 }),
        json!({ "type": null, "function": { "name": "f" } }),
        json!({ "type": "custom", "custom": { "name": "c" }, "function": function }),
        json!({ "type": "web_search", "filters": { "a": 1 } }),
    ] {
        let body = json!({ "model": "m", "messages": [], "tools": [tool] });
        assert_eq!(request(&turned(&body)), request(&body), "{body}");
    }
    for call in [
        json!({ "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } }),
        json!({ "id": null, "type": null, "function": { "name": "f", "arguments": { "a": 1 }, "new": 1 } }),
        json!({ "index": 0, "type": "new", "custom": 7, "function": { "name": "f" } }),
        json!({ "id": "c", "type": "custom", "custom": { "name": "f", "input": "x", "new": 1 }, "function": function }),
        json!({ "id": "c", "type": "custom", "custom": { "name": "f", "input": "x" }, "function": null }),
    ] {
        let message = json!({ "role": "assistant", "content": null, "tool_calls": [call] });
        let body = json!({ "model": "m", "messages": [message] });
        assert_eq!(request(&turned(&body)), request(&body), "{body}");
    }
}

#[test]
fn a_field_of_a_function_that_is_given_twice_keeps_the_call_with_the_provider() {
    for twice in [
        r#""parameters":{"type":"object"},"parameters":null"#,
        r#""description":"a","description":"b""#,
        r#""name":"g""#,
    ] {
        let tool = format!(r#"{{"type":"function","function":{{"name":"f",{twice}}}}}"#);
        let body = format!(r#"{{"model":"m","messages":[],"tools":[{tool}]}}"#);
        let parsed = crate::parse_request(D, body.as_bytes()).unwrap();
        assert_eq!(parsed.ineligible, [Ineligible::UnknownField], "{tool}");
    }
}

#[test]
fn a_tool_whose_type_is_given_twice_keeps_the_call_with_the_provider() {
    for types in [r#""type":"function","type":"web_search""#, r#""type":"web_search","type":"function""#] {
        let tool = format!(r#"{{{types},"function":{{"name":"f"}}}}"#);
        let body = format!(r#"{{"model":"m","messages":[],"tools":[{tool}]}}"#);
        let parsed = crate::parse_request(D, body.as_bytes()).unwrap();
        assert_eq!(parsed.ineligible, [Ineligible::UnknownField], "{tool}");
    }
}

fn message_survives(message: &Value, why: &[Ineligible]) -> understudy_call::Message {
    survives(&json!({ "messages": [message] }), why);
    request(&json!({ "model": "m", "messages": [message] })).messages.remove(0)
}

#[test]
fn messages_of_every_role_survive() {
    use Role as R;
    for (message, role, text) in [
        (json!({ "role": "system", "content": "a" }), R::System, "a"),
        (json!({ "role": "developer", "content": "a" }), R::System, "a"),
        (json!({ "role": "developer", "content": [{ "type": "text", "text": "a" }] }), R::System, "a"),
        (json!({ "role": "user", "content": "a", "name": "bob" }), R::User, "a"),
        (json!({ "role": "user", "content": "" }), R::User, ""),
        (json!({ "role": "user", "content": [] }), R::User, ""),
        (
            json!({ "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b", "cache_control": {} }] }),
            R::User,
            "ab",
        ),
        (json!({ "role": "assistant", "content": null }), R::Assistant, ""),
        (json!({ "role": "assistant", "refusal": "no" }), R::Assistant, ""),
        (
            json!({ "role": "assistant", "content": null, "refusal": "no", "annotations": [] }),
            R::Assistant,
            "",
        ),
        (json!({ "role": "assistant", "content": "a", "refusal": "no" }), R::Assistant, "a"),
        (
            json!({ "role": "assistant", "content": [{ "type": "refusal", "refusal": "no" }] }),
            R::Assistant,
            "",
        ),
        (
            json!({ "role": "assistant", "content": [{ "type": "text", "text": "a" }], "refusal": "no" }),
            R::Assistant,
            "a",
        ),
        (
            json!({ "role": "assistant", "content": "a", "refusal": null, "audio": null, "function_call": null, "tool_calls": null, "annotations": [{ "type": "url_citation" }] }),
            R::Assistant,
            "a",
        ),
        (json!({ "role": "assistant", "content": "", "tool_calls": [] }), R::Assistant, ""),
        (
            json!({ "role": "assistant", "tool_calls": [{ "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } }] }),
            R::Assistant,
            "",
        ),
        (
            json!({ "role": "assistant", "content": null, "tool_calls": [{ "id": "c", "type": "function", "function": { "name": "f", "arguments": "{" } }, { "id": "d", "type": "function", "function": { "name": "g", "arguments": "" } }] }),
            R::Assistant,
            "",
        ),
        (
            json!({ "role": "assistant", "content": null, "function_call": { "name": "f", "arguments": "{}" } }),
            R::Assistant,
            "",
        ),
        (json!({ "role": "tool", "tool_call_id": "c", "content": "r" }), R::Tool, "r"),
        (
            json!({ "role": "tool", "tool_call_id": "c", "name": "f", "content": [{ "type": "text", "text": "r" }] }),
            R::Tool,
            "r",
        ),
        (json!({ "role": "function", "name": "f", "content": "r" }), R::Tool, "r"),
    ] {
        let parsed = message_survives(&message, &[]);
        assert_eq!((parsed.role, parsed.text().as_str()), (role, text), "{message}");
    }
}

#[test]
fn messages_with_more_than_text_survive_and_say_why() {
    use Ineligible as I;
    for (message, why) in [
        (
            json!({ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "https://x", "detail": "low" } }, { "type": "text", "text": "?" }] }),
            I::Media,
        ),
        (
            json!({ "role": "user", "content": [{ "type": "input_audio", "input_audio": { "data": "", "format": "wav" } }] }),
            I::Media,
        ),
        (json!({ "role": "user", "content": [{ "type": "file", "file": { "file_id": "f" } }] }), I::Media),
        (json!({ "role": "user", "content": [{ "type": "video", "x": 1 }] }), I::UnknownField),
        (json!({ "role": "user", "content": [{ "type": "text", "text": "a", "new": 1 }] }), I::UnknownField),
        (json!({ "role": "user", "content": "a", "new": 1 }), I::UnknownField),
        (json!({ "role": "assistant", "content": null, "audio": { "id": "a" } }), I::Media),
        (json!({ "role": "assistant", "content": "a", "reasoning_content": "hm" }), I::Reasoning),
        (
            json!({ "role": "assistant", "content": [{ "type": "thinking", "thinking": "hm", "signature": "s" }] }),
            I::Reasoning,
        ),
        (
            json!({ "role": "assistant", "content": null, "tool_calls": [{ "id": "c", "type": "custom", "custom": { "name": "f", "input": "x" } }] }),
            I::UnknownField,
        ),
        (
            json!({ "role": "assistant", "content": null, "tool_calls": [{ "id": "c", "index": 0, "type": "function", "function": { "name": "f", "arguments": "{}", "new": 1 } }] }),
            I::UnknownField,
        ),
    ] {
        message_survives(&message, &[why]);
    }
}

#[test]
fn nouns_say_what_the_wire_said() {
    let r = request(&json!({
        "model": "gpt-4o", "stream": true, "stream_options": { "include_usage": true },
        "messages": [
            { "role": "developer", "content": "rules" },
            { "role": "user", "content": [{ "type": "text", "text": "q" }] },
            { "role": "assistant", "tool_calls": [{ "id": "c1", "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } }] },
            { "role": "tool", "tool_call_id": "c1", "content": "42" },
        ],
        "tools": [{ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } }],
        "tool_choice": { "type": "function", "function": { "name": "f" } },
        "response_format": { "type": "json_schema", "json_schema": { "name": "n", "schema": { "type": "object" }, "strict": true } },
        "max_completion_tokens": 7, "stop": "X", "temperature": 0.25,
    }));
    assert!(r.stream && r.include_usage && r.ineligible.is_empty());
    assert_eq!(r.system_text(), "rules");
    assert_eq!(r.messages[1].content, [Part::Text("q".into())]);
    assert_eq!(r.messages[2].tool_calls[0].arguments, "{\"a\":1}");
    assert_eq!(r.messages[3].tool_call_id.as_deref(), Some("c1"));
    assert_eq!(r.tool_choice, ToolChoice::Named("f".into()));
    assert!(matches!(&r.format, Format::JsonSchema { name, strict: Some(true), .. } if name == "n"));
    assert_eq!((r.sampling.max_tokens, r.sampling.temperature), (Some(7), Some(0.25)));
    assert_eq!(r.sampling.stop, ["X"]);
}

#[test]
fn a_malformed_body_is_named_by_place_and_never_quoted() {
    let m = |messages: Value| json!({ "model": "m", "messages": messages }).to_string();
    let secret = "sk-secret, expected trouble \u{1} at line 7";
    for (body, place) in [
        (String::new(), "body"),
        ("{".into(), "body"),
        ("[]".into(), "body"),
        ("{}".into(), "body"),
        (json!({ "model": "m" }).to_string(), "body"),
        (json!({ "model": 7, "messages": [] }).to_string(), "model"),
        (json!({ "model": "m", "messages": secret }).to_string(), "messages"),
        (m(json!([secret])), "messages[0]"),
        (m(json!([{ "role": "user", "content": "a" }, { "role": secret }])), "messages[1].role"),
        (m(json!([{ "content": secret }])), "messages[0]"),
        (m(json!([{ "role": "user", "content": { "secret": secret } }])), "messages[0].content"),
        (
            m(json!([{ "role": "user", "content": [{ "type": "text", "text": 7 }] }])),
            "messages[0].content[0].text",
        ),
        (m(json!([{ "role": "user", "content": [secret] }])), "messages[0].content[0]"),
        (
            m(
                json!([{ "role": "assistant", "tool_calls": [{ "id": "c", "function": { "name": [secret] } }] }]),
            ),
            "messages[0].tool_calls[0].function.name",
        ),
        (
            json!({ "model": "m", "messages": [], "tools": [{ "type": "function", "function": {} }] })
                .to_string(),
            "tools[0].function",
        ),
        (json!({ "model": "m", "messages": [], "stream": secret }).to_string(), "stream"),
        (json!({ "model": "m", "messages": [], "tool_choice": secret }).to_string(), "tool_choice"),
        (
            format!("{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"{secret}"),
            "messages[0].content",
        ),
    ] {
        let e = crate::parse_request(D, body.as_bytes()).unwrap_err();
        let DialectError::Malformed { at, .. } = &e else { panic!("{e}") };
        assert_eq!(at, place, "{body}: {e}");
        for said in [e.to_string(), format!("{e:?}")] {
            assert!(!said.contains("secret") && !said.contains("trouble"), "{said}");
        }
    }
    let e = crate::parse_request(D, b"{\n \"model\": 7}").unwrap_err();
    assert_eq!(e.to_string(), "malformed body at model (line 2, column 11): expected a string");
}
