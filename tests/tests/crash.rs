//! kill -9 of the real proxy while agents talk through it, round after round on one
//! journal: what was once said to be kept is kept, and in no file is a word of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use understudy_tests::desk;
use understudy_tests::peer::{Agent, Peer};
use understudy_tests::process::wait_until;
use understudy_tests::proxy::{Home, PATIENCE, Proxy, files, said};
use understudy_tests::standin;

const KEY: &str = "sk-stand-in";
const CANARY: &str = "canary-that-no-file-may-hold";

/// Rounds of the short form; `make crash` asks for a thousand.
const ROUNDS: usize = 50;

/// Agents that talk at once.
const AGENTS: usize = 2;

fn rounds() -> usize {
    std::env::var("UNDERSTUDY_CRASH_ROUNDS").ok().map_or(ROUNDS, |n| n.parse().unwrap())
}

/// A ticket, some of them long enough to be written in parts.
fn question(n: usize) -> String {
    let mut ticket = desk::triage(n);
    let size = [0, 900, 0, 7_000, 0, 900, 0, 20_000, 900, if n % 100 == 9 { 150_000 } else { 0 }][n % 10];
    let words: String = (0..size / 8).map(|i| format!("{:07x} ", (n + i * 7_919) & 0x0fff_ffff)).collect();
    let text = ticket["messages"][1]["content"].as_str().unwrap();
    ticket["messages"][1]["content"] = json!(format!("{text} {CANARY} {words}"));
    ticket.to_string()
}

/// Asks until the proxy is gone, with a breath in between: what is recorded is read
/// again in every round.
fn talk(url: &str, sent: &AtomicUsize) {
    let agent = Agent::new(url, KEY);
    while let Ok(answer) = agent.post("/chat/completions", question(sent.fetch_add(1, Ordering::Relaxed))) {
        assert_eq!(answer.status, 200, "{answer:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn durable(proxy: &Proxy) -> f64 {
    proxy.metric("understudy_journal_durable_seq")
}

/// The exchanges from a place on, as they are exported; none may be lost.
fn exported(home: &Home, from: u64) -> Vec<Value> {
    let out = home.output(["journal", "export", "--from", &from.to_string()]);
    assert!(out.status.success(), "{}", said(&out));
    out.stdout.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

fn place(row: &Value) -> u64 {
    row["seq"].as_u64().unwrap()
}

#[test]
fn after_kill_9_during_traffic_nothing_that_was_durable_is_lost() {
    let provider = Peer::standin(standin::Config::default());
    let home = Home::new(&provider.url(), "[engine]\nenabled = false");
    let sent = Arc::new(AtomicUsize::new(0));
    let (mut promised, mut from, mut kept) = (0.0, 1, Vec::new());
    let mut exchanges = 0;
    for round in 0..rounds() {
        let mut proxy = home.serve();
        let page = home.json(["journal", "stats"]);
        assert!(page["durable"].as_f64().unwrap() >= promised, "round {round}: {promised} of {page}");
        assert_eq!(page["set_aside"], 0, "round {round}: {page}");
        let rows = exported(&home, from);
        assert!(rows.starts_with(&kept), "round {round}: {} rows, {} before", rows.len(), kept.len());
        assert!(rows.iter().all(|row| row.to_string().contains(CANARY)), "round {round}");
        exchanges += rows.len();
        from = rows.last().map_or(from, |row| place(row) + 1);

        let talks: Vec<_> = (0..AGENTS)
            .map(|_| {
                let (url, sent) = (proxy.url(), Arc::clone(&sent));
                std::thread::spawn(move || talk(&url, &sent))
            })
            .collect();
        let begun = durable(&proxy);
        let mut more = |some: usize| {
            wait_until("more is durable", PATIENCE, || {
                promised = durable(&proxy);
                promised >= begun + some as f64
            });
        };
        let some = 1 + round * 7 % 11;
        more(some);
        // Every other round ends in the middle of the first calls, without a look at them.
        kept = if round % 2 == 1 { exported(&home, from) } else { Vec::new() };
        if !kept.is_empty() {
            more(2 * some);
        }
        proxy.signal("KILL");
        let _ = proxy.ended();
        assert!(!proxy.log().contains(CANARY), "{}", proxy.log());
        for talk in talks {
            talk.join().expect("a call failed while the proxy lived");
        }
    }
    assert!(exchanges > rounds() * 2, "{exchanges}");
    for file in files(&home.state()) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(
            !bytes.windows(CANARY.len()).any(|w| w == CANARY.as_bytes()),
            "plaintext in {}",
            file.display()
        );
        assert!(!file.components().any(|c| c.as_os_str() == "blobs"), "a blob: {}", file.display());
    }
}
