//! A reply is read field by field, or by way of a tree where something is odd: both see
//! the same in it.

use serde_json::{Value, json};
use understudy_call::{Finish, Reply};

use super::replies::{choice, whole};
use super::{D, turned};
use crate::DialectError;
use crate::openai::reply::{odd, usual};

fn parse(status: u16, body: &str) -> Result<Reply, DialectError> {
    crate::parse_reply(D, status, "application/json", body.as_bytes())
}

/// Whatever is usual about it, the outcome is the tree's.
fn agrees(body: &str) {
    assert_eq!(parse(200, body), odd::read(false, body.as_bytes()), "{body}");
    assert_eq!(parse(400, body), odd::read(true, body.as_bytes()), "{body}");
}

fn with(mut to: Value, fields: &Value) -> Value {
    for (k, v) in fields.as_object().unwrap() {
        to[k] = v.clone();
    }
    to
}

fn said(message: &Value) -> Value {
    whole(&choice(message, "stop"))
}

fn called(call: &Value) -> Value {
    said(&json!({ "content": null, "tool_calls": [call] }))
}

fn usual_replies() -> Vec<Value> {
    let call =
        json!({ "id": "c", "type": "function", "function": { "name": "f", "arguments": "{\"a\": 1}" } });
    let text = said(&json!({ "content": "a \"b\"\né" }));
    let head = |fields: Value| with(text.clone(), &fields);
    let beside = |fields: Value| whole(&with(choice(&json!({ "content": "a" }), "stop"), &fields));
    let mut second = choice(&json!({ "content": "b" }), "length");
    second["index"] = 1.into();
    vec![
        text.clone(),
        head(json!({ "choices": [choice(&json!({ "content": "a" }), "stop"), second] })),
        head(json!({ "choices": [] })),
        head(json!({ "choices": [{}] })),
        head(
            json!({ "id": null, "model": null, "created": null, "usage": null, "system_fingerprint": null, "service_tier": null }),
        ),
        head(json!({ "created": 1.5, "object": null, "obfuscation": "xx", "error": null })),
        head(json!({ "system_fingerprint": { "a": 1 }, "service_tier": 7 })),
        head(json!({ "new": { "a": [null, 1.5] }, "none": null, "@usage": 1, "@@usage": [] })),
        head(json!({ "usage": {} })),
        head(json!({ "usage": { "prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 9 } })),
        head(json!({ "usage": { "prompt_tokens": 0, "completion_tokens": null, "total_tokens": 7 } })),
        head(
            json!({ "usage": { "prompt_tokens": 3, "total_tokens": 0, "prompt_tokens_details": null, "completion_tokens_details": {} } }),
        ),
        head(
            json!({ "usage": { "prompt_tokens": 3, "cost": 0.5, "free": 0.0, "is": false, "cost_details": { "up": null, "down": { "a": 0 } }, "x": { "a": 0, "b": 1 } } }),
        ),
        head(
            json!({ "usage": { "prompt_tokens_details": { "cached_tokens": 2, "reasoning_tokens": 1, "audio_tokens": 0 }, "completion_tokens_details": { "cached_tokens": 1, "reasoning_tokens": 0, "audio_tokens": 3 } } }),
        ),
        beside(
            json!({ "index": null, "finish_reason": null, "logprobs": null, "stop_reason": null, "@new": 1 }),
        ),
        beside(json!({ "index": 3, "finish_reason": "eos", "content_filter_results": { "hate": {} } })),
        beside(
            json!({ "logprobs": { "content": [{ "token": "a", "logprob": -0.25, "bytes": [97] }, { "token": "b", "logprob": 0 }], "refusal": [], "new": 1 } }),
        ),
        beside(json!({ "logprobs": { "content": null, "refusal": null } })),
        said(&json!({})),
        said(&json!({ "content": "" })),
        said(&json!({ "content": [] })),
        said(&json!({ "content": [{ "type": "text", "text": "a" }, { "type": "refusal", "refusal": "b" }] })),
        said(
            &json!({ "content": [{ "type": "thinking", "thinking": "a" }, { "type": "text", "text": "b", "x": 1 }] }),
        ),
        said(&json!({ "refusal": "no" })),
        said(&json!({ "content": "", "refusal": "no" })),
        said(&json!({ "audio": { "id": "a", "transcript": "t" } })),
        said(
            &json!({ "content": "a", "audio": null, "refusal": null, "tool_calls": null, "function_call": null, "annotations": null }),
        ),
        said(&json!({ "content": "a", "annotations": [{ "type": "url_citation" }] })),
        said(&json!({ "content": "a", "annotations": "odd", "role": null })),
        said(&json!({ "content": "a", "reasoning_content": "hm", "new": null, "@role": 1, "@content": "x" })),
        said(&json!({ "content": "a", "tool_calls": [] })),
        said(&json!({ "content": "", "tool_calls": [call, call] })),
        called(&call),
        called(&json!({ "function": { "name": "f" } })),
        called(&json!({ "id": null, "type": null, "function": { "name": "f", "arguments": null } })),
        called(
            &json!({ "id": "c", "index": 0, "type": "function", "function": { "name": "f", "arguments": { "a": 1 }, "new": 1 } }),
        ),
        called(
            &json!({ "id": "c", "type": "function", "function": { "name": "f", "arguments": "{\"a\": " } }),
        ),
        called(
            &json!({ "id": "c", "type": "new", "custom": 7, "function": { "name": "f", "arguments": "" } }),
        ),
        called(&json!({ "id": "c", "type": "custom", "custom": { "name": "f", "input": "x", "new": 1 } })),
        called(
            &json!({ "id": "c", "type": "custom", "custom": { "name": "f" }, "function": { "arguments": {} } }),
        ),
    ]
}

#[test]
fn a_usual_reply_is_read_as_by_way_of_a_tree_in_any_order_of_fields() {
    for body in usual_replies() {
        let tree = odd::read(false, body.to_string().as_bytes()).unwrap();
        for body in [body.to_string(), turned(&body).to_string()] {
            assert_eq!(usual::read(body.as_bytes()).as_ref(), Some(&tree), "{body}");
            agrees(&body);
        }
    }
}

/// Writes a field, given its name with the colon (empty in a list) and its value.
type Writing<'f> = &'f dyn Fn(&str, &Value) -> String;

/// All texts of `v` in which one field, somewhere, is written otherwise.
fn each_with_one(v: &Value, otherwise: Writing<'_>) -> Vec<String> {
    let (open, close, items): (_, _, Vec<(String, &Value)>) = match v {
        Value::Object(map) => ("{", "}", map.iter().map(|(k, v)| (format!("{}:", json!(k)), v)).collect()),
        Value::Array(list) => ("[", "]", list.iter().map(|v| (String::new(), v)).collect()),
        _ => return Vec::new(),
    };
    let plain: Vec<String> = items.iter().map(|(name, v)| format!("{name}{v}")).collect();
    let mut out = Vec::new();
    for (at, (name, v)) in items.iter().enumerate() {
        let own = (!name.is_empty()).then(|| otherwise(name, v));
        let inner = each_with_one(v, otherwise).into_iter().map(|v| format!("{name}{v}"));
        for item in own.into_iter().chain(inner) {
            let mut all = plain.clone();
            all[at] = item;
            out.push(format!("{open}{}{close}", all.join(",")));
        }
    }
    out
}

#[test]
fn a_reply_that_is_odd_in_one_place_is_read_as_by_way_of_a_tree() {
    let full = whole(&json!({
        "index": 0, "finish_reason": "stop", "new": 1,
        "logprobs": { "content": [{ "token": "a", "logprob": -0.5, "bytes": null }], "refusal": null },
        "message": {
            "role": "assistant", "content": [{ "type": "text", "text": "a" }], "refusal": null, "annotations": [],
            "audio": { "id": "a" }, "new": 1,
            "tool_calls": [{ "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } }],
        },
    }));
    let legacy =
        said(&json!({ "content": "a", "refusal": "b", "function_call": { "name": "f", "arguments": "{}" } }));
    let custom = called(
        &json!({ "id": "c", "type": "custom", "custom": { "name": "f", "input": "x" }, "function": { "name": "g" } }),
    );
    let failed = json!({ "error": { "message": "m", "type": "t", "code": 7, "param": "p" }, "choices": null, "new": 1 });
    let others = r#"null true 7 -1 1.5 0 5000000000 1e400 "function" "custom" "\ud800" [] [7] [null] [{}] {} {"name":"f"} {"a":0} {"#;
    let mut taken = 0;
    for v in [full, legacy, custom, failed] {
        for other in others.split(' ') {
            let writings: [Writing<'_>; 5] = [
                &|name, _| format!("{name}{other}"),
                &|name, v| format!("{name}{other},{name}{v}"),
                &|name, v| format!("{name}{v},{name}{other}"),
                &|name, v| format!("{name}{v},\"x\":{other},\"@content\":{other}"),
                &|_, v| format!("\"x\":{v},\"y\":{other}"),
            ];
            for otherwise in writings {
                for body in each_with_one(&v, otherwise) {
                    agrees(&body);
                    taken += usize::from(usual::read(body.as_bytes()).is_some());
                }
            }
        }
    }
    assert!(taken > 500, "{taken} were usual");
}

#[test]
fn what_is_refused_is_named_by_its_place() {
    let c = |choice: &str| format!("{{\"choices\":[{choice}]}}");
    let m = |message: &str| c(&format!("{{\"message\":{message}}}"));
    let t = |call: &str| m(&format!("{{\"tool_calls\":[{call}]}}"));
    for (body, said) in [
        ("[]".to_owned(), "body: expected a chat completion object"),
        ("{}".to_owned(), "body: missing field choices"),
        ("{\"choices\":7}".to_owned(), "choices: expected a list"),
        ("{\"choices\":null}".to_owned(), "choices: expected a list"),
        (c("7"), "choices[0]: expected a choice object"),
        (m("{\"content\":7}"), "choices[0].message.content: expected a string, a list of parts or null"),
        (m("{\"content\":[7]}"), "choices[0].message.content: expected a string, a list of parts or null"),
        (t("7"), "choices[0].message.tool_calls[0]: expected a tool call object"),
        (t("{\"id\":7}"), "choices[0].message.tool_calls[0].id: expected a string"),
        (t("{}"), "choices[0].message.tool_calls[0].function: expected an object"),
        (t("{\"function\":{}}"), "choices[0].message.tool_calls[0].function: missing field name"),
        (
            t("{\"function\":{\"name\":7}}"),
            "choices[0].message.tool_calls[0].function.name: expected a string",
        ),
        (m("{\"function_call\":7}"), "choices[0].message.function: expected an object"),
        (c("{\"logprobs\":{\"content\":[7]}}"), "choices[0].logprobs.content: expected an object"),
        (
            c("{\"logprobs\":{\"content\":[{\"token\":\"a\"}]}}"),
            "choices[0].logprobs.content.logprob: expected a number",
        ),
    ] {
        assert_eq!(parse(200, &body).unwrap_err().to_string(), format!("malformed body at {said}"), "{body}");
    }
}

#[test]
fn a_field_that_is_given_twice_counts_as_it_was_given_last() {
    for before in ["", "\"choices\":7,\"model\":[],"] {
        let body = format!(
            r#"{{{before}"id":"a","id":"b","choices":[],"choices":[{{
                "index":1,"index":null,"finish_reason":"length","finish_reason":"stop","logprobs":{{"x":1}},"logprobs":null,
                "message":{{"content":"w"}},
                "message":{{
                    "content":"x","content":"y","refusal":"no","refusal":null,"annotations":[1],"annotations":[],
                    "tool_calls":[{{"function":{{"name":"f"}}}}],"tool_calls":null
                }}
            }}],"model":"m","system_fingerprint":"f","system_fingerprint":null,"usage":{{"x":1}},"usage":null}}"#
        );
        assert_eq!(usual::read(body.as_bytes()).is_some(), before.is_empty());
        let r = parse(200, &body).unwrap();
        assert_eq!((r.id.as_str(), r.model.as_str(), r.usage, r.extra.len()), ("b", "m", None, 0));
        let [c] = &r.choices[..] else { panic!("{r:?}") };
        assert_eq!((c.index, c.text().as_str(), &c.finish), (0, "y", &Some(Finish::Stop)));
        assert_eq!((c.content.len(), c.tool_calls.len(), c.logprobs.len(), c.extra.len()), (1, 0, 0, 0));
        agrees(&body);
    }
}

#[test]
fn nesting_is_as_deep_as_in_a_tree() {
    let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    for n in 115..=130 {
        agrees(&format!("{{\"choices\":[],\"x\":{}}}", nested(n)));
        agrees(&format!("{{\"choices\":[{{\"message\":{{\"x\":{}}}}}]}}", nested(n)));
    }
    assert!(usual::read(format!("{{\"choices\":[],\"x\":{}}}", nested(100)).as_bytes()).is_some());
    assert!(parse(200, &format!("{{\"choices\":[],\"x\":{}}}", nested(10_000))).is_err());
}
