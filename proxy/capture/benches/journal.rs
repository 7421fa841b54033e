//! What an offer costs the caller, and how fast the writer is.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use understudy_call::{Belongs, ConversationKey, Credential, Dialect, ExchangeId, FormHash, Metadata};
use understudy_capture::redact::Redactor;
use understudy_capture::{Captured, FileKey, Hooks, Journal, JournalConfig, Offered};

fn open(dir: &Path) -> Journal {
    let hooks = Hooks {
        fingerprint: Arc::new(|_, _, _, _| Belongs {
            form: FormHash([1; 16]),
            conversation: ConversationKey([1; 16]),
            opening: 0,
        }),
        audit: Arc::new(|_, _, _| 1.0),
    };
    let config = JournalConfig { dir: dir.to_owned(), keep_bytes: 512 << 20, ..JournalConfig::default() };
    Journal::open(config, Arc::new(FileKey::from_bytes(&[8; 32]).unwrap()), hooks).unwrap()
}

/// A call of some 5 KiB: a system prompt, three tools, one turn.
fn call() -> Captured {
    let tool = |n: u32| {
        serde_json::json!({"type": "function", "function": {"name": format!("tool_{n}"), "description": "Looks something up for the customer. ".repeat(6),
            "parameters": {"type": "object", "properties": {"query": {"type": "string", "description": "what to look for"}}, "required": ["query"]}}})
    };
    let request = serde_json::json!({"model": "gpt-4o", "tools": [tool(1), tool(2), tool(3)], "messages": [
        {"role": "system", "content": "You are a helpful assistant of a bank. Follow the policy to the letter. ".repeat(40)},
        {"role": "user", "content": "My card 4111 1111 1111 1111 was charged twice, mail me at anna@firma.de please."}]});
    let reply = serde_json::json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [{"index": 0, "finish_reason": "tool_calls",
        "message": {"role": "assistant", "content": null, "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "tool_1", "arguments": "{\"query\": \"double charge\"}"}}]}}]});
    Captured {
        id: ExchangeId([1; 16]),
        meta: Metadata {
            headers: vec![("content-type".into(), "application/json".into())],
            ..Metadata::answered("openai", Dialect::OpenaiChat, Credential([7; 16]))
        },
        request: vec![Bytes::from(request.to_string())],
        reply: vec![Bytes::from(reply.to_string())],
        reply_content_type: "application/json".into(),
        reply_encoding: String::new(),
        understudy_reply: None,
    }
}

fn journal(c: &mut Criterion) {
    let dir = std::env::temp_dir().join(format!("understudy-bench-{}", std::process::id()));
    let j = open(&dir);
    let one = call();
    let mut group = c.benchmark_group("journal");
    group.sample_size(20).measurement_time(Duration::from_secs(8));

    // The offer alone: the copies are made before, the queue is emptied between.
    group.bench_function("offer", |b| {
        b.iter_custom(|n| {
            let mut spent = Duration::ZERO;
            let mut left = n;
            while left > 0 {
                let some: Vec<_> = (0..left.min(256)).map(|_| one.clone()).collect();
                left -= some.len() as u64;
                let start = Instant::now();
                for call in some {
                    let _ = black_box(j.offer(call));
                }
                spent += start.elapsed();
                j.append(vec![]).unwrap();
            }
            spent
        });
    });

    // From the offer to the disk: read, redact, seal, group commit.
    group.throughput(Throughput::Elements(1));
    group.bench_function("offer_to_durable", |b| {
        b.iter_custom(|n| {
            let start = Instant::now();
            for _ in 0..n {
                while j.offer(one.clone()) != Offered::Taken {
                    j.append(vec![]).unwrap();
                }
            }
            j.append(vec![]).unwrap();
            start.elapsed()
        });
    });
    group.finish();

    let redactor = Redactor::new([1; 32]);
    let text = String::from_utf8(one.request.concat()).unwrap();
    let mut group = c.benchmark_group("redact");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("request_json", |b| b.iter(|| black_box(redactor.text(&text)).len()));
    group.finish();
    j.close();
    std::fs::remove_dir_all(dir).ok();
}

criterion_group!(benches, journal);
criterion_main!(benches);
