//! The fingerprint on the call's path: a short router prompt, and an agent's
//! long policy with a dozen tools.
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use understudy_call::{Dialect, Message, Request, Role, Tool};

fn request(system_words: usize, tools: usize) -> Request {
    let rules = "Passengers: each reservation can have at most five. The time is 2024-05-15 15:00:00 EST. ";
    let system: String = rules.repeat(system_words / 15 + 1);
    Request {
        messages: vec![
            Message::text_of(Role::System, system),
            Message::text_of(Role::User, "Is there a fee for a credit card?"),
        ],
        tools: (0..tools)
            .map(|i| Tool {
                name: format!("get_thing_{i}"),
                description: Some("Looks a thing up by its id.".into()),
                parameters: serde_json::json!({"type": "object", "properties": {"id": {"type": "string"},
                    "when": {"type": "string", "description": "ISO date"}}, "required": ["id"]}),
                strict: None,
                extra: serde_json::Map::new(),
            })
            .collect(),
        ..Request::default()
    }
}

fn bench(c: &mut Criterion) {
    for (name, words, tools) in [("router_60_words", 60, 0), ("agent_1000_words_14_tools", 1000, 14)] {
        let r = request(words, tools);
        c.bench_function(name, |b| {
            b.iter(|| understudy_tasks::fingerprint(Dialect::OpenaiChat, black_box(&r)))
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
