//! Processor time that a recorded call costs the journal's writer, step by step:
//! `cargo run --release -p understudy-capture --example writer_cost`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use understudy_call::{
    Belongs, ConversationKey, Credential, Dialect, ExchangeId, FormHash, Metadata, Sizes, Timings,
};
use understudy_capture::{Captured, FileKey, Hooks, Journal, JournalConfig, KeyVault, Offered, bench};

fn main() {
    let vault: Arc<dyn KeyVault> = Arc::new(FileKey::from_bytes(&[8; 32]).unwrap());
    let hooks = Hooks {
        fingerprint: Arc::new(|_, _, _, _| Belongs {
            form: FormHash([1; 16]),
            conversation: ConversationKey([1; 16]),
            opening: 0,
        }),
        audit: Arc::new(|_, _, _| 1.0),
    };
    let shapes: [(&str, Vec<Captured>); 4] = [
        ("1 KB asked, 600 bytes answered, as `understudy bench` does", (0..512).map(plain).collect()),
        ("an agent's turn: 3 KB of system text, three tools, results as JSON", (0..512).map(agent).collect()),
        ("the same with personal data", (0..512).map(personal).collect()),
        ("a choice: 2 KB of system text, a schema of 80 names", (0..512).map(choice).collect()),
    ];
    for (name, calls) in shapes {
        let dir = tempfile::tempdir().unwrap();
        let size = |c: &Captured| c.request.iter().chain(&c.reply).map(Bytes::len).sum::<usize>();
        println!("{name} ({} bytes)", calls.first().map_or(0, size));
        let steps = bench::steps(dir.path(), &vault, &hooks, &calls, 12, &cpu).unwrap();
        for s in &steps {
            let bytes = if s.bytes > 0 { format!("{:>8} bytes", s.bytes) } else { String::new() };
            println!("  {:<12} {:>6.2} µs {bytes}", s.name, micros(s.cpu));
        }
        println!("  {:<12} {:>6.2} µs", "steps", micros(steps.iter().map(|s| s.cpu).sum()));
        println!("  {:<12} {:>6.2} µs", "the writer", micros(writer(&vault, hooks.clone(), &calls)));
    }
}

/// Processor time of the writer's own thread a call, from the queue to the disk.
fn writer(vault: &Arc<dyn KeyVault>, hooks: Hooks, calls: &[Captured]) -> Duration {
    let dir = tempfile::tempdir().unwrap();
    let config = JournalConfig { dir: dir.path().to_owned(), ..JournalConfig::default() };
    let journal = Journal::open(config, Arc::clone(vault), hooks).unwrap();
    let before = thread_cpu("understudy-jour");
    let mut offered = 0;
    for call in calls.iter().cycle().take(12 * calls.len()) {
        while journal.offer(call.clone()) != Offered::Taken {
            std::thread::yield_now();
        }
        offered += 1;
    }
    journal.append(vec![]).unwrap();
    let spent = thread_cpu("understudy-jour").saturating_sub(before);
    journal.close();
    spent / offered
}

fn micros(t: Duration) -> f64 {
    t.as_secs_f64() * 1e6
}

/// Processor time of this thread.
fn cpu() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(t.tv_sec.try_into().unwrap(), t.tv_nsec.try_into().unwrap())
}

/// Processor time of the thread of this name (Linux: `schedstat`).
fn thread_cpu(name: &str) -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let of = |t: std::fs::DirEntry| {
        let comm = std::fs::read_to_string(t.path().join("comm")).ok()?;
        let stat = std::fs::read_to_string(t.path().join("schedstat")).ok()?;
        (comm.trim() == name).then(|| stat.split(' ').next()?.parse::<u64>().ok())?
    };
    Duration::from_nanos(tasks.filter_map(of).sum())
}

fn captured(n: u32, request: &serde_json::Value, reply: &serde_json::Value) -> Captured {
    let (request, reply) = (Bytes::from(request.to_string()), Bytes::from(reply.to_string()));
    Captured {
        id: ExchangeId(u128::from(n).to_be_bytes()),
        meta: Metadata {
            timings: Timings {
                started_unix_ms: 1_764_000_000_000 + i64::from(n),
                first_byte: Some(Duration::from_micros(314)),
                total: Some(Duration::from_micros(330)),
                understudy: None,
                audit: None,
            },
            sizes: Sizes { request: request.len() as u64, reply: reply.len() as u64 },
            headers: vec![("content-type".into(), "application/json".into())],
            ..Metadata::answered("openai", Dialect::OpenaiChat, Credential([7; 16]))
        },
        request: vec![request],
        reply: vec![reply],
        reply_content_type: "application/json".into(),
        reply_encoding: String::new(),
        understudy_reply: None,
    }
}

fn reply(message: serde_json::Value) -> serde_json::Value {
    json!({"id": "chatcmpl-bench", "object": "chat.completion", "created": 1, "model": "bench",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 200, "completion_tokens": 90, "total_tokens": 290}})
}

fn words(n: u32, len: usize) -> String {
    const WORDS: [&str; 24] = [
        "where", "is", "my", "parcel", "and", "when", "will", "the", "driver", "come", "to", "our", "house",
        "again", "after", "he", "left", "a", "note", "about", "second", "attempt", "please", "help",
    ];
    let mut x = n.wrapping_mul(2_654_435_761) | 1;
    let mut out = String::new();
    while out.len() < len {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        out.push_str(WORDS.get(x as usize % WORDS.len()).unwrap_or(&""));
        out.push(' ');
    }
    out.truncate(len);
    out
}

fn plain(n: u32) -> Captured {
    let request = json!({"model": "bench", "messages": [
        {"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": words(n, 900)}]});
    captured(n, &request, &reply(json!({"role": "assistant", "content": words(!n, 360)})))
}

fn agent(n: u32) -> Captured {
    turn(n, "my flight")
}

fn personal(n: u32) -> Captured {
    turn(n, "my card 4111 1111 1111 1111, mail anna@firma.de, phone +49 170 1234567, for my flight")
}

fn choice(n: u32) -> Captured {
    let names: Vec<String> = (0..80).map(|i| words(i + 1, 24).trim().replace(' ', "_")).collect();
    let schema = json!({"type": "object", "properties": {"intent": {"type": "string", "enum": names}},
        "required": ["intent"], "additionalProperties": false});
    let request = json!({"model": "gpt-4o-mini", "temperature": 0, "messages": [
        {"role": "system", "content": words(7, 2000)}, {"role": "user", "content": words(n, 80)}],
        "response_format": {"type": "json_schema",
            "json_schema": {"name": "route", "strict": true, "schema": schema}}});
    let said = json!({"intent": names.get(n as usize % names.len())}).to_string();
    captured(n, &request, &reply(json!({"role": "assistant", "content": said})))
}

fn turn(n: u32, about: &str) -> Captured {
    let tool = |i: u32| {
        json!({"type": "function", "function": {"name": format!("tool_{i}"), "description": words(i, 220),
            "parameters": {"type": "object", "properties": {
                "reservation": {"type": "string", "description": "the six letters of the booking, such as ZFA04Y"},
                "date": {"type": "string", "description": "the day, in the form YYYY-MM-DD, such as 2024-05-01"},
                "passengers": {"type": "integer", "minimum": 1, "maximum": 9}}, "required": ["reservation"]}}})
    };
    let result = json!({"reservation": format!("Q{:05}", n % 100_000), "flights": [
        {"number": "HAT136", "from": "ATL", "to": "JFK", "date": "2024-05-21", "price": 152},
        {"number": "HAT039", "from": "JFK", "to": "SEA", "date": "2024-05-22", "price": 1280}],
        "payment": "certificate_7504069", "created": "2024-05-05T18:02:24"});
    let system = format!("The current time is 2024-05-15 15:00:00 EST. {}", words(7, 3000));
    let request = json!({"model": "gpt-4o", "temperature": 0.2, "tools": [tool(1), tool(2), tool(3)], "messages": [
        {"role": "system", "content": system},
        {"role": "user", "content": format!("{} about {about}", words(n, 160))},
        {"role": "assistant", "content": null, "tool_calls": [{"id": format!("call_{n:024}"), "type": "function",
            "function": {"name": "tool_1", "arguments": json!({"reservation": format!("Q{:05}", n % 100_000)}).to_string()}}]},
        {"role": "tool", "tool_call_id": format!("call_{n:024}"), "content": result.to_string()}]});
    captured(
        n,
        &request,
        &reply(json!({"role": "assistant", "content": null, "tool_calls": [{"id": format!("call_b{n:024}"),
        "type": "function", "function": {"name": "tool_2", "arguments": json!({"reservation": "ZFA04Y", "date": "2024-05-21"}).to_string()}}]})),
    )
}
