//! How long curation takes and how much memory: so many synthetic exchanges,
//! made one at a time, of which a fifth repeats, a tenth nearly repeats, and
//! some fail or contradict each other.
//!
//! `cargo run --release -p understudy-curriculum --example scale [EXCHANGES] [WORDS]`
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::time::Instant;

use serde_json::json;
use understudy_call::{
    Choice, ConversationKey, Credential, Dialect, Exchange, ExchangeId, Finish, Message, Metadata, Reply,
    Request, Role, Tool, ToolCall,
};
use understudy_curriculum::{Permission, Rules, curate, parts};
use understudy_tasks::{Form, Task, fingerprint, task_id};

/// SplitMix64.
fn draw(x: u64) -> u64 {
    let x = x.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn key(n: u64) -> [u8; 16] {
    let mut key = [0; 16];
    let (low, high) = key.split_at_mut(8);
    low.copy_from_slice(&n.to_le_bytes());
    high.copy_from_slice(&draw(n).to_le_bytes());
    key
}

fn request(text: &str) -> Request {
    let tools = (0..12)
        .map(|i| Tool {
            name: format!("tool_{i}"),
            description: Some("does what its name says, as far as one knows".to_owned()),
            parameters: json!({"type": "object", "properties": {"what": {"type": "string"}, "count": {"type": "integer"}}}),
            strict: None,
            extra: serde_json::Map::new(),
        })
        .collect();
    Request {
        model: "gpt-4o-mini".to_owned(),
        messages: vec![
            Message::text_of(Role::System, "You are one of many agents. ".repeat(40)),
            Message::text_of(Role::User, text),
        ],
        tools,
        ..Request::default()
    }
}

/// The n-th exchange.
fn exchange(n: u64, words: u64) -> (u64, Exchange) {
    let fate = draw(n) % 10;
    // A repeat asks what was asked before; a near repeat adds a word to it.
    let asked = if fate < 3 { draw(n ^ 1) % n.max(1) } else { n };
    let mut text: String = (0..words).map(|i| format!("word{} ", draw(asked * 1_000 + i) % 5_000)).collect();
    if fate == 2 {
        text.push_str("please");
    }
    let contradicts = u64::from(fate < 3 && n.is_multiple_of(50));
    let class = (draw(asked) % 144).isqrt();
    let arguments = json!({"count": contradicts, "what": format!("word{}", draw(asked * 1_000) % 5_000)});
    let call =
        ToolCall { id: format!("call_{n}"), name: format!("tool_{class}"), arguments: arguments.to_string() };
    let request = request(&text);
    let meta = Metadata {
        form: Some(fingerprint(Dialect::OpenaiChat, &request)),
        conversation: Some(ConversationKey(key(asked))),
        status: if n.is_multiple_of(97) { 500 } else { 200 },
        ..Metadata::answered("openai", Dialect::OpenaiChat, Credential([7; 16]))
    };
    let choice = Choice { tool_calls: vec![call], finish: Some(Finish::ToolCalls), ..Choice::default() };
    let exchange = Exchange::new(
        ExchangeId(key(n)),
        meta,
        Some(request),
        Some(Reply { choices: vec![choice], ..Reply::default() }),
    );
    (n, exchange)
}

/// The most memory that the process has had, MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let count: u64 = args.next().map_or(Ok(100_000), |n| n.parse())?;
    let words: u64 = args.next().map_or(Ok(60), |n| n.parse())?;
    let form = Form::of(Dialect::OpenaiChat, &request(""));
    let task = Task {
        id: task_id(form.hash, None),
        form,
        credential: None,
        name: "synthetic".to_owned(),
        model: String::new(),
        provider: String::new(),
        calls: 0,
        acts: false,
        framing: Default::default(),
    };
    let by = Permission { by: "the example".into(), at: String::new(), terms: String::new() };
    let rules = Rules { permitted: [("openai".to_owned(), by)].into(), ..Rules::default() };
    let began = Instant::now();
    let made = (1..=count).map(|n| exchange(n, words)).filter(|(n, _)| *n == 0).count();
    let making = began.elapsed();
    let began = Instant::now();
    let curated = curate(&task, (1..=count).map(|n| exchange(n, words)), &rules);
    let took = began.elapsed();
    let began = Instant::now();
    let sum = parts::data_sha256(&curated)?;
    println!("{count} exchanges of {words} words: {} rows, {} more", curated.rows.len(), made);
    println!(
        "curated in {:.1} s ({:.1} s of them to make the exchanges)",
        took.as_secs_f64(),
        making.as_secs_f64()
    );
    println!("hashed in {:.1} s: {sum}", began.elapsed().as_secs_f64());
    println!("peak memory {} MiB", peak());
    for dropped in &curated.report.dropped {
        println!("  {:<16} {}", dropped.reason.label(), dropped.count);
    }
    Ok(())
}
