//! Is a reply one that the caller can use, and that the provider could have given
//! it? Tool calls name a tool on offer and fit its parameters, JSON fits its
//! schema, text says something, and no stop text ends it before.
//!
//! The engine's grammar makes it so; this is the check that it did, and the
//! only one where a remote or a head answers. A head says what was said to other
//! calls, whose limits were others, so its reply's length is looked at too. Of
//! JSON Schema the keywords that providers enforce are read (type, enum, const,
//! properties, required, additionalProperties, items, anyOf, oneOf, allOf, local
//! $ref); any other keyword passes.

use serde_json::Value;
use understudy_call::{Choice, Declined, Finish, Format, Part, Request, ToolChoice};

/// Deeper than this a schema refers to itself without end.
const DEEPEST: usize = 64;

/// Tokens that a tool call takes beside its name and arguments; OpenAI counts
/// fewer.
const AROUND_A_CALL: usize = 16;

/// Whether the choice may be said in answer to the request.
///
/// # Errors
/// [`Declined::Invalid`] where it is no whole, valid answer, [`Declined::TooLong`]
/// where it goes on past a text at which the provider would have stopped.
pub(crate) fn accept(request: &Request, choice: &Choice) -> Result<(), Declined> {
    if !usable(request, choice) {
        return Err(Declined::Invalid);
    }
    if runs_past_stop(&request.sampling.stop, choice) { Err(Declined::TooLong) } else { Ok(()) }
}

/// Whether the request's token limit leaves room for the choice. A reply that
/// fills it ends for want of room, so there must be one to spare. `counted` is
/// the provider's own count of this reply; without one a bound stands for it: too
/// strict, it costs a call to the provider and no more.
pub(crate) fn has_room(request: &Request, choice: &Choice, counted: Option<u32>) -> bool {
    let Some(limit) = request.sampling.max_tokens else { return true };
    counted.map_or_else(|| most_tokens(choice), u64::from) < u64::from(limit)
}

/// More tokens than any tokenizer is known to make of it: one a byte, and one
/// for two letters, which come in pieces of words.
fn most_tokens(choice: &Choice) -> u64 {
    let of = |text: &str| {
        let letters = text.bytes().filter(u8::is_ascii_alphabetic).count();
        text.len() - letters / 2
    };
    let calls = choice.tool_calls.iter().map(|c| AROUND_A_CALL + of(&c.name) + of(&c.arguments));
    (of(&choice.text()) + calls.sum::<usize>()) as u64
}

fn runs_past_stop(stops: &[String], choice: &Choice) -> bool {
    let text = choice.text();
    let said = |stop: &str| {
        text.contains(stop)
            || choice.tool_calls.iter().any(|c| c.name.contains(stop) || c.arguments.contains(stop))
    };
    stops.iter().any(|stop| !stop.is_empty() && said(stop))
}

/// Whether the choice is a whole, valid answer to the request.
fn usable(request: &Request, choice: &Choice) -> bool {
    if !matches!(choice.finish, Some(Finish::Stop | Finish::ToolCalls)) {
        return false;
    }
    if choice.tool_calls.is_empty() {
        let forced = matches!(request.tool_choice, ToolChoice::Required | ToolChoice::Named(_));
        let text = choice.text();
        return !forced && !text.trim().is_empty() && all_text(choice) && fits_format(&request.format, &text);
    }
    let many = choice.tool_calls.len() > 1;
    if (many && request.parallel_tool_calls == Some(false)) || request.tool_choice == ToolChoice::None {
        return false;
    }
    choice.tool_calls.iter().all(|call| {
        let named = !matches!(&request.tool_choice, ToolChoice::Named(n) if *n != call.name);
        let Some(tool) = request.tools.iter().find(|t| t.name == call.name) else {
            return false;
        };
        let Ok(arguments) = serde_json::from_str::<Value>(&call.arguments) else {
            return false;
        };
        named && arguments.is_object() && fits(&tool.parameters, &arguments)
    })
}

fn all_text(choice: &Choice) -> bool {
    choice.content.iter().all(|p| matches!(p, Part::Text(_)))
}

fn fits_format(format: &Format, text: &str) -> bool {
    let parsed = || serde_json::from_str::<Value>(text).ok();
    match format {
        Format::Text => true,
        Format::JsonObject => parsed().is_some_and(|v| v.is_object()),
        Format::JsonSchema { schema, .. } => parsed().is_some_and(|v| fits(schema, &v)),
    }
}

/// Whether a value fits a schema; `null` is the schema that everything fits.
pub(crate) fn fits(schema: &Value, value: &Value) -> bool {
    fit(schema, schema, value, 0)
}

fn fit(root: &Value, schema: &Value, value: &Value, depth: usize) -> bool {
    if depth > DEEPEST {
        return false;
    }
    let Value::Object(s) = schema else {
        return schema != &Value::Bool(false);
    };
    let under = |schema: &Value, value: &Value| fit(root, schema, value, depth + 1);
    if let Some(target) = s.get("$ref").and_then(Value::as_str) {
        let found = target.strip_prefix('#').and_then(|p| root.pointer(p));
        if !found.is_none_or(|t| under(t, value)) {
            return false;
        }
    }
    let right_type = match s.get("type") {
        Some(Value::String(t)) => is_type(t, value),
        Some(Value::Array(ts)) => ts.iter().filter_map(Value::as_str).any(|t| is_type(t, value)),
        _ => true,
    };
    let list = |name: &str| s.get(name).and_then(Value::as_array);
    right_type
        && list("enum").is_none_or(|of| of.contains(value))
        && s.get("const").is_none_or(|c| c == value)
        && list("anyOf").is_none_or(|of| of.iter().any(|o| under(o, value)))
        && list("oneOf").is_none_or(|of| of.iter().filter(|o| under(o, value)).count() == 1)
        && list("allOf").is_none_or(|of| of.iter().all(|o| under(o, value)))
        && match value {
            Value::Object(fields) => {
                let known = s.get("properties").and_then(Value::as_object);
                let rest = s.get("additionalProperties");
                list("required")
                    .is_none_or(|r| r.iter().filter_map(Value::as_str).all(|k| fields.contains_key(k)))
                    && fields.iter().all(|(k, v)| match known.and_then(|p| p.get(k)) {
                        Some(schema) => under(schema, v),
                        None => rest.is_none_or(|schema| under(schema, v)),
                    })
            }
            Value::Array(items) => s.get("items").is_none_or(|of| items.iter().all(|i| under(of, i))),
            _ => true,
        }
}

/// Whether a value is of a type of JSON Schema; a type that is not known passes.
#[must_use]
pub fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        // 2.0 is an integer to JSON Schema.
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|x| x.fract() == 0.0),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use understudy_call::{Tool, ToolCall};

    fn weather() -> Request {
        let parameters = json!({"type": "object", "required": ["city"], "additionalProperties": false,
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["C", "F"]}}});
        let tool = Tool {
            name: "weather".into(),
            description: None,
            parameters,
            strict: None,
            extra: Default::default(),
        };
        Request { tools: vec![tool].into(), ..Request::default() }
    }

    fn call(name: &str, arguments: &str) -> Choice {
        let call = ToolCall { id: String::new(), name: name.into(), arguments: arguments.into() };
        Choice { tool_calls: vec![call], finish: Some(Finish::ToolCalls), ..Choice::default() }
    }

    #[test]
    fn a_call_that_fits_its_tool_is_usable() {
        assert!(usable(&weather(), &call("weather", r#"{"city": "Paris", "days": 2, "unit": "C"}"#)));
    }

    #[test]
    fn a_call_that_does_not_fit_is_not() {
        for (name, arguments) in [
            ("wether", r#"{"city": "Paris"}"#),
            ("weather", r"{}"),
            ("weather", r#"{"city": 3}"#),
            ("weather", r#"{"city": "Paris", "days": 2.5}"#),
            ("weather", r#"{"city": "Paris", "unit": "K"}"#),
            ("weather", r#"{"city": "Paris", "country": "France"}"#),
            ("weather", r#"{"city": "Par"#),
            ("weather", r#"["Paris"]"#),
        ] {
            assert!(!usable(&weather(), &call(name, arguments)), "{name} {arguments}");
        }
    }

    #[test]
    fn text_is_not_an_answer_where_a_tool_is_required_and_a_cut_reply_is_none() {
        let text = Choice {
            content: vec![Part::Text("Sunny".into())],
            finish: Some(Finish::Stop),
            ..Choice::default()
        };
        assert!(usable(&weather(), &text));
        assert!(!usable(&Request { tool_choice: ToolChoice::Required, ..weather() }, &text));
        assert!(!usable(&weather(), &Choice { finish: Some(Finish::Length), ..text }));
    }

    #[test]
    fn what_goes_on_past_a_stop_text_is_too_long() {
        let stopping = |stop: &str| {
            let mut request = weather();
            request.sampling.stop = vec![String::new(), stop.to_owned()];
            request
        };
        let text = Choice {
            content: vec![Part::Text("Sun. END".into())],
            finish: Some(Finish::Stop),
            ..Choice::default()
        };
        let called = call("weather", r#"{"city": "Paris"}"#);
        assert_eq!(accept(&stopping("END"), &text), Err(Declined::TooLong));
        assert_eq!(accept(&stopping("end"), &text), Ok(()));
        assert_eq!(accept(&stopping("Paris"), &called), Err(Declined::TooLong));
        assert_eq!(accept(&stopping("Paris"), &call("weather", "{}")), Err(Declined::Invalid));
        assert_eq!(accept(&stopping("Rome"), &called), Ok(()));
    }

    #[test]
    fn a_reply_that_may_not_fit_the_limit_has_no_room() {
        let limited = |max_tokens| {
            let mut request = weather();
            request.sampling.max_tokens = max_tokens;
            request
        };
        // Nine bytes, of which eight are letters: at most five tokens.
        let text = Choice { content: vec![Part::Text("all right".into())], ..Choice::default() };
        assert!(has_room(&limited(None), &text, None));
        assert!(has_room(&limited(Some(6)), &text, None) && !has_room(&limited(Some(5)), &text, None));
        assert!(has_room(&limited(Some(3)), &text, Some(2)) && !has_room(&limited(Some(2)), &text, Some(2)));
        // Digits and signs may be a token each, and so may the bytes of other scripts.
        let dense = Choice { content: vec![Part::Text("1,2:是".into())], ..Choice::default() };
        assert!(!has_room(&limited(Some(7)), &dense, None) && has_room(&limited(Some(8)), &dense, None));
        assert!(!has_room(&limited(Some(20)), &call("weather", "{}"), None));
        assert!(has_room(&limited(Some(30)), &call("weather", "{}"), None));
    }

    #[test]
    fn several_calls_are_not_an_answer_where_they_are_forbidden() {
        let mut both = call("weather", r#"{"city": "Paris"}"#);
        both.tool_calls.extend(both.tool_calls.clone());
        assert_eq!(accept(&weather(), &both), Ok(()));
        let one_by_one = Request { parallel_tool_calls: Some(false), ..weather() };
        assert_eq!(accept(&one_by_one, &both), Err(Declined::Invalid));
    }

    #[test]
    fn references_and_alternatives_are_followed_but_not_for_ever() {
        let schema = json!({"$defs": {"n": {"anyOf": [{"type": "null"}, {"type": "integer"}]}, "loop": {"$ref": "#/$defs/loop"}},
            "type": "object", "properties": {"a": {"$ref": "#/$defs/n"}, "b": {"$ref": "#/$defs/loop"}}});
        assert!(fits(&schema, &json!({"a": null})));
        assert!(fits(&schema, &json!({"a": 2})));
        assert!(!fits(&schema, &json!({"a": "2"})));
        assert!(!fits(&schema, &json!({"b": 1})));
    }
}
