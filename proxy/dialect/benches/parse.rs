//! How long a request takes to read on the call's path, and a reply, whole and as a
//! stream, beside it.
//! `any_json` is the same body read into a plain JSON tree, to compare with.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use understudy_call::{Choice, Dialect, Finish, Part, Reply, ToolCall, Usage};
use understudy_dialect::{
    StreamParser, of_path, parse_reply, parse_request, render_reply, render_request, render_stream,
};

const D: Dialect = Dialect::OpenaiChat;

/// A help desk's call: a long system text, `turns` turns with tool calls, 14 tools.
fn request(turns: usize) -> Vec<u8> {
    let mut messages = vec![
        json!({ "role": "system", "content": "You help travellers. Rule: refunds within 24 hours.\n".repeat(60) }),
    ];
    for i in 0..turns {
        messages.push(json!({ "role": "user", "content": format!("My user id is mia_li_{i}. Please look at reservation {i}.") }));
        messages.push(json!({ "role": "assistant", "content": null, "tool_calls": [
            { "id": format!("call_{i}"), "type": "function", "function": { "name": "get_reservation", "arguments": format!("{{\"id\":\"R{i}\"}}") } },
        ] }));
        messages.push(json!({ "role": "tool", "tool_call_id": format!("call_{i}"), "content": "{\"flights\": [\"HAT136\", \"HAT039\"], \"cabin\": \"economy\"}".repeat(4) }));
    }
    let tools: Vec<Value> = (0..14)
        .map(|i| {
            json!({ "type": "function", "function": { "name": format!("tool_{i}"), "description": "Looks something up.",
                "parameters": { "type": "object", "properties": { "id": { "type": "string", "description": "The id." } }, "required": ["id"] } } })
        })
        .collect();
    json!({ "model": "gpt-4o", "messages": messages, "tools": tools, "temperature": 0, "stream": true })
        .to_string()
        .into_bytes()
}

fn reply() -> Reply {
    let call = ToolCall {
        id: "call_1".into(),
        name: "get_reservation".into(),
        arguments: "{\"id\": \"R1\", \"all\": true}".into(),
    };
    let choice = Choice {
        content: vec![Part::Text("I will look at that reservation for you now. ".repeat(20))],
        tool_calls: vec![call],
        finish: Some(Finish::ToolCalls),
        ..Choice::default()
    };
    let usage = Some(Usage { input_tokens: 1000, output_tokens: 200, ..Usage::default() });
    Reply {
        id: "chatcmpl-1".into(),
        model: "gpt-4o".into(),
        created: 1,
        choices: vec![choice],
        usage,
        ..Reply::default()
    }
}

fn benches(c: &mut Criterion) {
    c.bench_function("of_path", |b| {
        b.iter(|| of_path(black_box("POST"), black_box("/openai/v1/chat/completions")))
    });
    let mut group = c.benchmark_group("request");
    for turns in [1, 20] {
        let body = request(turns);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("parse/{turns}_turns"), |b| {
            b.iter(|| parse_request(D, black_box(&body)))
        });
        group.bench_function(format!("any_json/{turns}_turns"), |b| {
            b.iter(|| serde_json::from_slice::<Value>(black_box(&body)))
        });
        if let Ok(parsed) = parse_request(D, &body) {
            group.bench_function(format!("render/{turns}_turns"), |b| {
                b.iter(|| render_request(D, black_box(&parsed)))
            });
        }
    }
    group.finish();

    let reply = reply();
    let body = render_reply(D, &reply);
    let mut group = c.benchmark_group("reply");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("parse", |b| b.iter(|| parse_reply(D, 200, "application/json", black_box(&body))));
    group.bench_function("any_json", |b| b.iter(|| serde_json::from_slice::<Value>(black_box(&body))));
    group.finish();

    let body = render_stream(D, &reply, true).concat();
    let mut group = c.benchmark_group("stream");
    group.throughput(Throughput::Bytes(body.len() as u64));
    // 1,400 bytes: what one packet of Ethernet brings.
    for piece in [1400, 64] {
        group.bench_function(format!("parse/pieces_of_{piece}"), |b| {
            b.iter(|| {
                let mut p = StreamParser::new(D);
                for piece in black_box(&body).chunks(piece) {
                    let _ = p.push(piece);
                }
                p.finish()
            });
        });
    }
    group.bench_function("render", |b| b.iter(|| render_stream(D, black_box(&reply), true)));
    group.finish();
}

criterion_group!(parse, benches);
criterion_main!(parse);
