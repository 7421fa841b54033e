//! JSON agrees in structure and leaves. Key order does not count, the order of
//! an array does. A string leaf that the schema limits (enum, const, format,
//! pattern) must be the same to the letter, as must one that states an id, a
//! path or an amount; other string leaves are compared as text.

use serde_json::Value;

use super::exact::is_exact;
use super::{Difference, Tally, text};

/// The text as a JSON object or array, a Markdown fence around it dropped.
/// A bare number or string is text.
pub(super) fn parse(text: &str) -> Option<Value> {
    let text = text.trim();
    let text = text
        .strip_prefix("```json")
        .or_else(|| text.strip_prefix("```"))
        .and_then(|t| t.strip_suffix("```"))
        .unwrap_or(text)
        .trim();
    if !text.starts_with(['{', '[']) {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// Compares two values under an optional JSON schema.
pub(super) fn compare(schema: Option<&Value>, wanted: &Value, given: &Value) -> Tally {
    compare_named(None, schema, wanted, given)
}

/// The same of a value that has a name; so have those of its list.
fn compare_named(key: Option<&str>, schema: Option<&Value>, wanted: &Value, given: &Value) -> Tally {
    let mut tally = Tally::new();
    match (wanted, given) {
        (Value::Object(w), Value::Object(g)) => {
            for (key, value) in w {
                let inner = schema.and_then(|s| s.get("properties")).and_then(|p| p.get(key));
                match g.get(key) {
                    Some(other) => tally.add(compare_leaf(Some(key), inner, value, other)),
                    None => tally.differs(Difference::Structure),
                }
            }
            for key in g.keys().filter(|k| !w.contains_key(*k)) {
                let _ = key;
                tally.differs(Difference::Structure);
            }
        }
        (Value::Array(w), Value::Array(g)) => {
            let items = schema.and_then(|s| s.get("items"));
            if w.len() != g.len() {
                tally.differs(Difference::Structure);
            }
            for (a, b) in w.iter().zip(g) {
                tally.add(compare_leaf(key, items, a, b));
            }
        }
        _ => tally.add(compare_leaf(key, schema, wanted, given)),
    }
    tally
}

fn compare_leaf(key: Option<&str>, schema: Option<&Value>, wanted: &Value, given: &Value) -> Tally {
    let mut tally = Tally::new();
    match (wanted, given) {
        (Value::Object(_), Value::Object(_)) | (Value::Array(_), Value::Array(_)) => {
            return compare_named(key, schema, wanted, given);
        }
        (Value::String(w), Value::String(g)) => {
            if w == g {
                tally.matched();
            } else if is_exact(key, schema, w) || is_exact(key, schema, g) {
                tally.differs(Difference::Value);
            } else {
                return text::compare(w, g);
            }
        }
        _ => return scalar(wanted, given),
    }
    tally
}

/// Compares two values that are neither text nor hold others: by type, then by value.
pub(super) fn scalar(wanted: &Value, given: &Value) -> Tally {
    let mut tally = Tally::new();
    match (wanted, given) {
        (Value::Number(w), Value::Number(g)) => tally.judge(same_number(w, g), Difference::Value),
        (Value::Bool(_), Value::Bool(_)) | (Value::Null, Value::Null) => {
            tally.judge(wanted == given, Difference::Value);
        }
        _ => tally.differs(Difference::Type),
    }
    tally
}

/// Whether two numbers are the same; an integer may stand for a float.
fn same_number(a: &serde_json::Number, b: &serde_json::Number) -> bool {
    if let (Some(a), Some(b)) = (a.as_i64(), b.as_i64()) {
        return a == b;
    }
    // Beyond the greatest `i64`, where neighbours are one float.
    if let (Some(a), Some(b)) = (a.as_u64(), b.as_u64()) {
        return a == b;
    }
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= f64::EPSILON * a.abs().max(b.abs()),
        _ => a == b,
    }
}
