//! The stand-in provider: a real HTTP server over its own deterministic rules.
//!
//! It answers six kinds of calls, told apart by their system prompt, and can
//! be told to change its behaviour (`POST /control {"changed": true}`), as a
//! provider does when it ships a new model. It is no model, and is labelled as
//! a stand-in wherever it is shown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::{desk, openai};

/// How the stand-in behaves.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Time to the reply's first byte.
    pub delay: Duration,
    /// Time between a stream's chunks.
    pub chunk_gap: Duration,
}

struct Standin {
    config: Config,
    changed: AtomicBool,
    calls: AtomicU64,
    refused: AtomicU64,
}

/// The server's routes.
pub fn router(config: Config) -> Router {
    let state = Arc::new(Standin {
        config,
        changed: AtomicBool::new(false),
        calls: AtomicU64::new(0),
        refused: AtomicU64::new(0),
    });
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route(
            "/v1/models",
            get(|| async { r#"{"object":"list","data":[{"id":"stand-in","object":"model"}]}"# }),
        )
        .route("/control", post(control))
        .route("/stats", get(stats))
        .with_state(state)
}

async fn control(State(standin): State<Arc<Standin>>, body: Bytes) -> &'static str {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    standin.changed.store(body["changed"] == json!(true), Ordering::Relaxed);
    "ok"
}

async fn stats(State(standin): State<Arc<Standin>>) -> String {
    let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
    json!({"calls": count(&standin.calls), "refused": count(&standin.refused)}).to_string()
}

async fn chat(State(standin): State<Arc<Standin>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    standin.calls.fetch_add(1, Ordering::Relaxed);
    let serial = openai::serial(&body);
    if !headers.get("authorization").is_some_and(|v| v.as_bytes().starts_with(b"Bearer sk-")) {
        standin.refused.fetch_add(1, Ordering::Relaxed);
        return openai::error(
            StatusCode::UNAUTHORIZED,
            "invalid_request_error",
            "Incorrect API key provided.",
        );
    }
    let request: Value = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(e) => {
            let text = format!("We could not parse the JSON body of your request: {e}");
            return openai::error(StatusCode::BAD_REQUEST, "invalid_request_error", &text);
        }
    };
    tokio::time::sleep(standin.config.delay).await;
    let message = reply(&request, standin.changed.load(Ordering::Relaxed), serial);
    openai::answer(&request, &message, serial, standin.config.chunk_gap)
}

/// The rules: what the stand-in says to a request.
#[must_use]
pub fn reply(request: &Value, changed: bool, serial: u64) -> Value {
    let messages = request["messages"].as_array().cloned().unwrap_or_default();
    let system = messages.iter().find(|m| m["role"] == "system").map(content).unwrap_or_default();
    let user = messages.iter().rev().find(|m| m["role"] == "user").map(content).unwrap_or_default();
    // An agent without a system text says its rules in the message.
    let whole = if system.is_empty() { user.split_once(desk::TICKET) } else { None };
    let (system, user) = match whole {
        Some((rules, ticket)) => (rules.to_owned(), ticket.to_owned()),
        None => (system, user),
    };
    if system.contains("order desk") {
        look_up(&user, serial)
    } else if system.contains("table bookings") {
        find_table(&user, serial)
    } else if system.contains("triage") {
        json!({"role": "assistant", "content": triage(&user, changed)})
    } else if system.contains("refund") {
        refund(&user, serial)
    } else if system.contains("in your own words") {
        json!({"role": "assistant", "content": own_words(&user)})
    } else {
        json!({"role": "assistant", "content": reason(&user)})
    }
}

/// A line of a log: a request, and what the stand-in says to it.
#[must_use]
pub fn recorded(request: &Value) -> String {
    let response = json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": reply(request, false, 1), "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 40, "completion_tokens": 6, "total_tokens": 46}});
    json!({"request": request, "response": response}).to_string()
}

/// A log of such lines.
#[must_use]
pub fn log(requests: impl Iterator<Item = Value>) -> String {
    requests.map(|request| recorded(&request) + "\n").collect()
}

fn content(message: &Value) -> String {
    match &message["content"] {
        Value::String(s) => s.clone(),
        Value::Array(parts) => parts.iter().filter_map(|p| p["text"].as_str()).collect(),
        _ => String::new(),
    }
}

fn call(name: &str, arguments: &Value, serial: u64) -> Value {
    json!({"role": "assistant", "content": null, "tool_calls": [{"id": format!("call_standin{serial:08}"),
        "type": "function", "function": {"name": name, "arguments": arguments.to_string()}}]})
}

/// A word that starts with a capital letter and a hyphen, as order ids do.
fn order_id(text: &str) -> &str {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .find(|w| w.len() > 3 && w.starts_with("A-"))
        .unwrap_or("A-0000")
}

fn look_up(user: &str, serial: u64) -> Value {
    let id = order_id(user);
    let text = user.to_lowercase();
    let name = if text.contains("invoice") || text.contains("bill") {
        "get_invoice"
    } else if text.contains("return") || text.contains("send it back") {
        "get_return_policy"
    } else {
        "get_order_status"
    };
    call(name, &json!({"order_id": id}), serial)
}

const NUMBERS: [&str; 10] = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
const DAYS: [(&str, &str); 7] = [
    ("monday", "mon"),
    ("tuesday", "tue"),
    ("wednesday", "wed"),
    ("thursday", "thu"),
    ("friday", "fri"),
    ("saturday", "sat"),
    ("sunday", "sun"),
];
const PAST: [(&str, i64); 3] = [("half past ", 30), ("a quarter past ", 15), ("a quarter to ", -15)];

fn number(word: &str) -> Option<i64> {
    NUMBERS.iter().position(|n| *n == word).map(|at| at as i64 + 1)
}

/// How many people, which day, what time in the evening.
fn find_table(user: &str, serial: u64) -> Value {
    let text = user.to_lowercase();
    let (before, at) = text.split_once(" at ").unwrap_or((&text, ""));
    let past = PAST.iter().find_map(|(words, minutes)| Some((*minutes, at.strip_prefix(words)?)));
    let (minutes, at) = past.unwrap_or((0, at));
    let words =
        |t: &str| -> Vec<String> { t.split(|c: char| !c.is_ascii_alphabetic()).map(str::to_owned).collect() };
    let mut after = words(at).into_iter();
    let hour = after.next().and_then(|w| number(&w)).unwrap_or(7);
    let people = words(before).into_iter().chain(after).find_map(|w| number(&w)).unwrap_or(2);
    let day = DAYS.iter().find(|(day, _)| text.contains(day)).map_or("today", |(_, short)| short);
    let minute = (12 + hour) * 60 + minutes;
    let at = format!("{:02}:{:02}", minute / 60, minute % 60);
    call("find_table", &json!({"people": people, "day": day, "at": at}), serial)
}

fn refund(user: &str, serial: u64) -> Value {
    call("issue_refund", &json!({"order_id": order_id(user)}), serial)
}

fn triage(user: &str, changed: bool) -> String {
    let text = user.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| text.contains(w));
    let queue = if has(&["charged", "invoice", "payment", "refund", "card"]) {
        if changed { "payments" } else { "billing" }
    } else if has(&["parcel", "deliver", "courier", "shipping", "arrived"]) {
        "delivery"
    } else if has(&["password", "log in", "login", "account", "two-factor"]) {
        "access"
    } else {
        "product"
    };
    json!({"queue": queue}).to_string()
}

/// Open reasoning: a different text for every question.
fn reason(user: &str) -> String {
    let numbers: Vec<i64> =
        user.split(|c: char| !c.is_ascii_digit()).filter_map(|w| w.parse().ok()).take(3).collect();
    let [a, b, c] = [0, 1, 2].map(|i| numbers.get(i).copied().unwrap_or(1));
    format!(
        "Start with what is known: {a} and {b}. Together they are {sum}. Sharing that among {c} gives {each} each \
         with {rest} left over, so the plan needs {next} rounds before everyone is served.",
        sum = a + b,
        each = (a + b) / c.max(1),
        rest = (a + b) % c.max(1),
        next = (a + b) / c.max(1) + 1,
    )
}

/// A text that nobody else gets: words that follow from all that was asked.
fn own_words(user: &str) -> String {
    const SAID: [&str; 16] = [
        "rain", "quietly", "falls", "over", "green", "hills", "while", "seven", "boats", "wait", "near",
        "old", "harbours", "for", "another", "morning",
    ];
    let mut drawn =
        user.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let words = (0..12).map(|_| {
        drawn = drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        SAID.get((drawn >> 60) as usize).copied().unwrap_or_default()
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn a_table_is_looked_for_by_people_day_and_time() {
        let says = |user: &str| {
            let called = find_table(user, 1);
            called["tool_calls"][0]["function"]["arguments"].as_str().unwrap().to_owned()
        };
        let found = [
            ("We would like to eat at a quarter to nine on Tuesday, four people.", (4, "tue", "20:45")),
            ("Could we come on Monday at half past six? We are ten.", (10, "mon", "18:30")),
            ("Sunday at seven, for nine. Is that possible?", (9, "sun", "19:00")),
        ];
        for (user, (people, day, at)) in found {
            let arguments: Value = serde_json::from_str(&says(user)).unwrap();
            assert_eq!(arguments, json!({"people": people, "day": day, "at": at}), "{user}");
        }
    }
}
