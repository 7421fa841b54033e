use understudy_call::{Format, ToolChoice, Tools};

use super::*;
use crate::written::{Unwritable, reply};

fn form() -> Form {
    Form::of(Dialect::OpenaiChat, &request(asks("hello")))
}

#[test]
fn arguments_come_in_the_schemas_order_on_one_line() {
    let choice = calls("play", &json!({"volume": 3, "artist": "Ab\nba"}));
    assert_eq!(reply(&form(), &choice).unwrap(), r#">play {"artist": "Ab\nba", "volume": 3}"#);
    let mut two = calls("dim", &json!({"room": "hall"}));
    two.tool_calls.extend(plays("Abba").tool_calls);
    assert_eq!(reply(&form(), &two).unwrap(), ">dim {\"room\": \"hall\"}\n>play {\"artist\": \"Abba\"}");
    assert_eq!(
        reply(&form(), &Choice { content: vec![Part::Text("note".into())], ..plays("x") }).unwrap(),
        reply(&form(), &plays("x")).unwrap()
    );
}

#[test]
fn nested_objects_follow_their_schema_through_references_and_lists() {
    let mut form = form();
    let mut tools = form.tools.to_vec();
    tools[0].parameters = json!({"$defs": {"p": {"type": "object", "properties": {"x": {}, "y": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"a": {}, "b": {}}}]}}}},
        "type": "object", "additionalProperties": true, "properties": {"first": {"type": "array", "items": {"$ref": "#/$defs/p"}}}});
    form.tools = tools.into();
    let choice = calls(
        "play",
        &json!({"more": {"z": 1, "a": 2}, "first": [{"y": {"b": 1, "a": 2}, "x": 0}, {"y": null}]}),
    );
    assert_eq!(
        reply(&form, &choice).unwrap(),
        r#">play {"first": [{"x": 0, "y": {"a": 2, "b": 1}}, {"y": null}], "more": {"z": 1, "a": 2}}"#
    );
}

#[test]
fn what_the_grammar_could_not_write_is_refused() {
    for choice in [
        calls("sing", &json!({})),
        calls("play", &json!({"tempo": 1})),
        calls("play", &json!({"volume": "loud"})),
        calls("play", &json!(["Abba"])),
        says(">play {\"artist\": 1}"),
    ] {
        assert_eq!(reply(&form(), &choice), Err(Unwritable::OffGrammar), "{choice:?}");
    }
    assert_eq!(reply(&form(), &says("  ")), Err(Unwritable::NotText));
    assert_eq!(reply(&form(), &says(" which one? ")).unwrap(), "which one?");
}

#[test]
fn json_replies_are_written_as_the_grammar_writes_them() {
    let mut form = form();
    form.tools = Tools::default();
    assert_eq!(reply(&form, &says("{as it is}\n")).unwrap(), "{as it is}\n");
    form.format = Format::JsonObject;
    assert_eq!(reply(&form, &says("{\"b\":1,\n \"a\":[1,2]}")).unwrap(), r#"{"b": 1, "a": [1, 2]}"#);
    assert_eq!(reply(&form, &says("not json")), Err(Unwritable::OffGrammar));
    let schema = json!({"type": "object", "properties": {"a": {}, "b": {"enum": [1]}}});
    form.format = Format::JsonSchema { name: "n".into(), schema: schema.into(), strict: None };
    assert_eq!(reply(&form, &says("{\"b\":1,\"a\":2}")).unwrap(), r#"{"a": 2, "b": 1}"#);
    assert_eq!(reply(&form, &says("{\"b\":2,\"a\":2}")), Err(Unwritable::OffGrammar));
    form.tools = tools().into();
    form.tool_choice = ToolChoice::None;
    assert_eq!(reply(&form, &says("{\"b\":1}")).unwrap(), r#"{"b": 1}"#);
}

#[test]
fn an_integer_has_no_point_where_only_integers_may_stand() {
    let mut form = form();
    let mut tools = form.tools.to_vec();
    tools[0].parameters = json!({"type": "object", "properties": {
        "days": {"type": "integer"}, "some": {"type": ["integer", "null"]},
        "price": {"type": "number"}, "any": {}, "both": {"type": ["integer", "number"]},
        "listed": {"type": "integer", "enum": [2.0]}}});
    form.tools = tools.into();
    let written = |arguments: Value| reply(&form, &calls("play", &arguments));
    assert_eq!(
        written(json!({"days": 2.0, "some": -3.0, "price": 2.0, "any": 2.0, "both": 2.0, "listed": 2.0}))
            .unwrap(),
        r#">play {"days": 2, "some": -3, "price": 2.0, "any": 2.0, "both": 2.0, "listed": 2.0}"#
    );
    assert_eq!(written(json!({"days": -0.0, "some": null})).unwrap(), r#">play {"days": 0, "some": null}"#);
    assert_eq!(written(json!({"days": 7})).unwrap(), r#">play {"days": 7}"#);
    for none in [json!(1e300), json!(2.5)] {
        assert_eq!(written(json!({"days": none})), Err(Unwritable::OffGrammar));
    }
}
