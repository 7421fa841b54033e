mod properties;
mod replies;
mod requests;
mod tools;
mod usual;

use serde_json::Value;
use understudy_call::{Dialect, Reply, Request};

const D: Dialect = Dialect::OpenaiChat;

fn request(v: &Value) -> Request {
    crate::parse_request(D, v.to_string().as_bytes()).unwrap()
}

fn rendered(r: &Request) -> Value {
    serde_json::from_slice(&crate::render_request(D, r).unwrap()).unwrap()
}

fn reply(v: &Value) -> Reply {
    crate::parse_reply(D, 200, "application/json", v.to_string().as_bytes()).unwrap()
}

fn stream(body: &[u8]) -> Reply {
    crate::parse_reply(D, 200, "text/event-stream; charset=utf-8", body).unwrap()
}

/// JSON has one kind of number; `serde_json` has three.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| same(v, w)))
        }
        (a, b) => a == b,
    }
}

/// The same, the fields of each object from last to first.
fn turned(v: &Value) -> Value {
    match v {
        Value::Object(map) => map.iter().rev().map(|(k, v)| (k.clone(), turned(v))).collect(),
        Value::Array(list) => list.iter().map(turned).collect(),
        v => v.clone(),
    }
}
