//! The form that a reply's text must have: `response_format`.

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use understudy_call::Format;

use crate::openai::alike::{self, Alike};
use crate::openai::wire::{self, Fault};

/// What the field says.
#[derive(Clone, Default)]
pub(super) struct Asked {
    /// The form; `None` where it is none of ours.
    pub(super) format: Option<Format>,
    /// Whether it says what would hold without it.
    pub(super) given: bool,
    /// Whether something in it is not honoured.
    pub(super) hinders: bool,
    /// What else a schema comes with.
    pub(super) beside: Map<String, Value>,
    /// The field as it came, where it is none of ours.
    pub(super) whole: Option<Value>,
}

/// Reads a call's field; `None` for `null`.
pub(super) fn asked<E: serde::de::Error>(raw: &RawValue) -> Result<Option<Asked>, E> {
    thread_local! {
        static LAST: Alike<Asked> = const { alike::none() };
    }
    LAST.with(|last| {
        alike::once(last, raw, |raw| {
            let v: Option<Value> = serde_json::from_str(raw).map_err(|e| Fault::raised(&e).raise())?;
            v.map(read).transpose().map_err(Fault::raise)
        })
    })
}

/// What the field says that was read, and is not `null`.
pub(super) fn read(v: Value) -> Result<Asked, Fault> {
    let Value::Object(mut outer) = v else {
        return Err(Fault::expected("an object with a type"));
    };
    let mut asked = Asked::default();
    match outer.get("type").and_then(Value::as_str) {
        Some("text") if outer.len() == 1 => asked.given = true,
        Some("json_object") if outer.len() == 1 => asked.format = Some(Format::JsonObject),
        Some("json_schema") if outer.len() == 2 => {
            let Some(Value::Object(mut inner)) = outer.remove("json_schema") else {
                return Err(Fault::expected("an object").within("json_schema"));
            };
            let name = wire::text(&mut inner, "name").map_err(|e| e.within("json_schema"))?;
            let strict = match inner.get("strict").and_then(Value::as_bool) {
                Some(b) => inner.remove("strict").map(|_| b),
                None => None,
            };
            let schema = match inner.get("schema") {
                Some(Value::Null) | None => Value::Null,
                Some(_) => inner.remove("schema").unwrap_or_default(),
            };
            asked.hinders = inner.iter().any(|(k, v)| k != "description" && !v.is_null());
            asked.beside = inner;
            asked.format = Some(Format::JsonSchema { name, schema: schema.into(), strict });
        }
        None => return Err(Fault::missing("type")),
        Some(_) => {
            asked.hinders = true;
            asked.whole = Some(Value::Object(outer));
        }
    }
    Ok(asked)
}
