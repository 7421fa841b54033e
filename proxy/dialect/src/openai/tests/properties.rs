use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use understudy_call::{Choice, Dialect, Finish, Part, Reply, ReplyError, TokenLogprob, ToolCall, Usage};

use super::{D, rendered, request, same};
use crate::StreamParser;
use crate::openai::reply::odd;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ a-z\"\\\\\n\t{}:,]{0,30}",
        "\\PC{0,12}",
        Just(String::new()),
        Just("data: [DONE]\r\n\u{2028}é😀".to_owned())
    ]
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        text().prop_map(Value::from)
    ]
}

fn json_value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec(("[a-z@]{1,4}", inner), 0..3).prop_map(|l| Value::Object(l.into_iter().collect())),
        ]
    })
}

/// Fields with no noun. In a noun, a key of the wire that begins with `@` has one more.
fn unknown(at: &'static str) -> impl Strategy<Value = Map<String, Value>> {
    let key = prop_oneof![4 => "x_[a-z]{1,3}".boxed(), 1 => "[a-z]{1,3}".prop_map(move |k| format!("{at}{k}_")).boxed()];
    vec((key, json_value()), 0..3).prop_map(|l| l.into_iter().collect())
}

fn logprob() -> impl Strategy<Value = TokenLogprob> {
    (text(), -900..=0i32, any::<bool>()).prop_map(|(token, p, more)| {
        let extra = if more {
            Map::from_iter([("bytes".to_owned(), json!([1])), ("top_logprobs".to_owned(), json!([]))])
        } else {
            Map::new()
        };
        TokenLogprob { token, logprob: f64::from(p) / 64.0, extra }
    })
}

fn finish() -> impl Strategy<Value = Option<Finish>> {
    prop_oneof![
        Just(Some(Finish::Stop)),
        Just(Some(Finish::ToolCalls)),
        Just(Some(Finish::Length)),
        Just(Some(Finish::ContentFilter)),
        Just(Some(Finish::Other("eos".into()))),
        Just(None),
    ]
}

prop_compose! {
    /// A choice as a parser would give it.
    fn choice()(
        said in option::of(text()),
        refused in option::of(text()),
        audio in option::weighted(0.1, "[a-z]{1,5}"),
        calls in vec((text(), text()), 0..3),
        custom in any::<bool>(),
        tokens in vec(logprob(), 0..3),
        covering in any::<bool>(),
        finish in finish(),
        extra in unknown("@@"),
        outer in unknown("@"),
    ) -> Choice {
        let mut extra = extra;
        let beside = refused.is_some() || audio.is_some() || !calls.is_empty();
        let said = said.filter(|t| !(t.is_empty() && beside));
        let tokens: Vec<TokenLogprob> = match (&said, covering) {
            (Some(t), true) => t.split_inclusive(' ').map(|p| TokenLogprob { token: p.to_owned(), logprob: -0.5, extra: Map::new() }).collect(),
            _ => tokens,
        };
        let mut content: Vec<Part> = said.into_iter().map(Part::Text).collect();
        content.extend(refused.map(Part::Refusal));
        content.extend(audio.map(|d| Part::Audio(json!({ "id": "a", "data": d }))));
        if custom && !calls.is_empty() {
            extra.insert("@tool_calls".into(), Value::from_iter(calls.iter().map(|_| json!({ "type": "custom", "x": 1 }))));
        }
        if !outer.is_empty() {
            extra.insert("@choice".into(), Value::Object(outer));
        }
        let tool_calls = calls.into_iter().enumerate()
            .map(|(i, (name, arguments))| ToolCall { id: format!("call_{i}"), name, arguments })
            .collect();
        Choice { index: 0, content, tool_calls, finish, logprobs: tokens, extra }
    }
}

prop_compose! {
    fn any_reply()(
        id in text(), model in text(), created in any::<i32>(),
        choices in vec(choice(), 1..3),
        places in btree_set(0u32..5, 3),
        usage in option::of((any::<u32>(), any::<u32>(), any::<u8>(), 0u8..3)),
        error in option::weighted(0.1, (text(), option::of(text()), option::of("[a-z]{0,3}"))),
        fingerprint in option::of("fp_[a-z]{3}"),
        extra in unknown("@@"),
    ) -> Reply {
        let mut extra = extra;
        let choices = choices.into_iter().zip(places).map(|(c, index)| Choice { index, ..c }).collect();
        if let Some(f) = fingerprint {
            extra.insert("system_fingerprint".into(), f.into());
        }
        let usage = usage.map(|(i, o, c, audio)| {
            if audio > 0 {
                extra.insert("@usage".into(), json!({ "completion_tokens_details": { "audio_tokens": audio } }));
            }
            Usage { input_tokens: i.into(), output_tokens: o.into(), cached_input_tokens: c.into(), reasoning_tokens: 0 }
        });
        let error = error.map(|(message, kind, code)| ReplyError { message, kind, code });
        Reply { id, model, created: created.into(), choices, usage, error, extra }
    }
}

fn parse_in(pieces: &[&[u8]]) -> Reply {
    let mut p = StreamParser::new(D);
    for piece in pieces {
        p.push(piece).unwrap();
    }
    p.finish()
}

fn part() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(|t| json!({ "type": "text", "text": t })),
        text().prop_map(|t| json!({ "type": "refusal", "refusal": t })),
        text().prop_map(|t| json!({ "type": "image_url", "image_url": { "url": t } })),
        (text(), unknown("@")).prop_map(|(t, more)| with(json!({ "type": "text", "text": t }), more)),
    ]
}

fn with(mut v: Value, more: Map<String, Value>) -> Value {
    v.as_object_mut().unwrap().extend(more);
    v
}

fn tool_calls() -> impl Strategy<Value = Value> {
    vec((text(), text(), unknown("@")), 0..3).prop_map(|l| {
        Value::from_iter(l.into_iter().map(|(name, a, more)| {
            let function = with(json!({ "name": name, "arguments": a }), more.clone());
            with(json!({ "id": "c", "type": "function", "function": function }), more)
        }))
    })
}

prop_compose! {
    fn any_message()(
        role in prop_oneof![Just("system"), Just("developer"), Just("user"), Just("assistant"), Just("tool"), Just("function")],
        content in option::of(prop_oneof![Just(Value::Null), text().prop_map(Value::from), vec(part(), 0..3).prop_map(Value::from)]),
        optional in vec((prop_oneof![Just("name"), Just("tool_call_id"), Just("refusal")], prop_oneof![Just(Value::Null), text().prop_map(Value::from)]), 0..2),
        calls in option::of(tool_calls()),
        more in unknown("@"),
    ) -> Value {
        let mut m = with(json!({ "role": role }), more);
        content.into_iter().for_each(|c| m["content"] = c);
        calls.into_iter().for_each(|c| m["tool_calls"] = c);
        for (k, v) in optional {
            if k != "refusal" || role == "assistant" {
                m[k] = v;
            }
        }
        m
    }
}

prop_compose! {
    fn any_request()(
        messages in vec(any_message(), 0..4),
        tools in option::of(vec((text(), unknown("@"), json_value()), 0..3)),
        fields in vec((prop_oneof![
            Just("temperature"), Just("top_p"), Just("n"), Just("seed"), Just("max_tokens"), Just("max_completion_tokens"),
            Just("stop"), Just("logprobs"), Just("top_logprobs"), Just("store"), Just("user"), Just("logit_bias"),
        ], json_value()), 0..4),
        stream in option::of(prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from)]),
        more in unknown("@"),
    ) -> Value {
        let mut r = with(json!({ "model": "m", "messages": messages }), more);
        for (k, v) in fields {
            r[k] = v;
        }
        stream.into_iter().for_each(|s| r["stream"] = s);
        if let Some(tools) = tools {
            r["tools"] = tools.into_iter().map(|(name, more, schema)| {
                let mut function = with(json!({ "name": name }), more);
                if schema.is_object() || schema.is_null() {
                    function["parameters"] = schema;
                }
                json!({ "type": "function", "function": function })
            }).collect();
        }
        r
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_request_parsed_and_rendered_is_the_same_json(body in any_request()) {
        let parsed = request(&body);
        let out = rendered(&parsed);
        prop_assert!(same(&out, &body), "{body} became {out}");
        prop_assert_eq!(request(&out), parsed);
    }

    #[test]
    fn a_reply_rendered_and_parsed_is_the_same(r in any_reply()) {
        let body = crate::render_reply(D, &r);
        prop_assert_eq!(crate::parse_reply(D, 200, "application/json", &body).unwrap(), r);
    }

    #[test]
    fn a_reply_is_read_as_by_way_of_a_tree(r in any_reply()) {
        let body = crate::render_reply(D, &r);
        prop_assert_eq!(crate::parse_reply(D, 200, "application/json", &body), odd::read(false, &body));
    }

    #[test]
    fn a_reply_streamed_and_parsed_is_the_same(r in any_reply()) {
        let body = crate::render_stream(D, &r, true).concat();
        prop_assert_eq!(crate::parse_reply(D, 200, "text/event-stream", &body).unwrap(), r);
    }

    #[test]
    fn a_local_reply_looks_the_same_whole_and_streamed(r in any_reply()) {
        let whole = crate::parse_reply(D, 200, "", &crate::render_reply(D, &r)).unwrap();
        let streamed = crate::parse_reply(D, 200, "", &crate::render_stream(D, &r, true).concat()).unwrap();
        prop_assert_eq!(whole, streamed);
    }

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in vec(any::<u8>(), 0..200), status in any::<u16>(), at in any::<prop::sample::Index>()) {
        for d in [D, Dialect::AnthropicMessages, Dialect::Other] {
            let _ = crate::parse_request(d, &bytes);
            let _ = crate::parse_reply(d, status, "text/event-stream", &bytes);
            let _ = crate::parse_reply(d, status, "application/json", &bytes);
            let mut p = StreamParser::new(d);
            let (a, b) = bytes.split_at(at.index(bytes.len() + 1));
            let _ = p.push(a);
            let _ = p.push(b);
            let _ = p.finish();
        }
    }

    #[test]
    fn no_damage_makes_a_parser_panic(r in any_reply(), q in any_request(), hits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        for mut body in [q.to_string().into_bytes(), crate::render_reply(D, &r), crate::render_stream(D, &r, true).concat()] {
            for (at, byte) in &hits {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            if let Ok(q) = crate::parse_request(D, &body) {
                let _ = crate::render_request(D, &q).unwrap();
            }
            prop_assert_eq!(crate::parse_reply(D, 200, "application/json", &body), odd::read(false, &body));
            for kind in ["application/json", "text/event-stream"] {
                if let Ok(r) = crate::parse_reply(D, 200, kind, &body) {
                    let _ = (crate::render_reply(D, &r), crate::render_stream(D, &r, false));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_reply_split_at_any_byte_parses_the_same(r in any_reply()) {
        let body = crate::render_stream(D, &r, true).concat();
        for at in 0..=body.len() {
            let (a, b) = body.split_at(at);
            prop_assert_eq!(&parse_in(&[a, b]), &r, "split at {}", at);
        }
        let singly: Vec<&[u8]> = body.chunks(1).collect();
        prop_assert_eq!(&parse_in(&singly), &r);
    }

    #[test]
    fn a_reply_cut_off_at_any_byte_is_whole_only_with_its_finish(r in any_reply()) {
        let body = crate::render_stream(D, &r, true).concat();
        for at in 0..=body.len() {
            let part = parse_in(&[&body[..at]]);
            for c in &part.choices {
                let full = r.choices.iter().find(|f| f.index == c.index).unwrap();
                prop_assert!(full.text().starts_with(&c.text()));
                if c.finish.is_some() {
                    prop_assert_eq!(c, full);
                }
            }
        }
    }
}
