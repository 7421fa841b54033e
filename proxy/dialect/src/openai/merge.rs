//! A field that comes in pieces.

use serde_json::{Map, Value};

/// Joins a field's later piece to what came before, as the provider's own
/// clients do: texts are appended, objects joined field by field, list items
/// by their `index`; names and ids are not appended.
pub(crate) fn merge(to: &mut Map<String, Value>, key: &str, v: Value) {
    match (to.get_mut(key), v) {
        (None, v) => {
            to.insert(key.to_owned(), v);
        }
        (Some(_), Value::Null) => {}
        (Some(Value::String(had)), Value::String(more))
            if !matches!(key, "id" | "type" | "role" | "format" | "name") =>
        {
            had.push_str(&more);
        }
        (Some(Value::Object(had)), Value::Object(more)) => {
            for (key, v) in more {
                merge(had, &key, v);
            }
        }
        (Some(Value::Array(had)), Value::Array(more)) => {
            for v in more {
                let place = v.get("index").filter(|i| i.is_u64());
                let same = place.and_then(|place| had.iter_mut().find(|h| h.get("index") == Some(place)));
                match (same, v) {
                    (Some(Value::Object(had)), Value::Object(more)) => {
                        for (key, v) in more {
                            merge(had, &key, v);
                        }
                    }
                    (_, v) => had.push(v),
                }
            }
        }
        (Some(had), v) => *had = v,
    }
}
