//! Lists of tools and schemas that many calls bring.

use serde_json::{Value, json};
use understudy_call::{Format, Ineligible, Request, Schema};

use super::request;

#[test]
fn tools_that_are_written_alike_are_read_once_and_say_the_same_of_a_call() {
    let tool = |name: &str| json!({ "type": "function", "function": { "name": name, "odd": 1 } });
    let asking = |tools: Value| request(&json!({ "model": "m", "messages": [], "tools": tools }));
    let first = asking(json!([tool("f"), { "type": "web_search" }]));
    let again = asking(json!([tool("f"), { "type": "web_search" }]));
    assert!(first.tools.is_same(&again.tools) && first.tools.len() == 2);
    assert_eq!(first.ineligible, [Ineligible::HostedTool, Ineligible::UnknownField]);
    assert_eq!(again, first);
    let other = asking(json!([tool("g"), { "type": "web_search" }]));
    assert!(!other.tools.is_same(&first.tools) && other != first);
    // More of them than are remembered.
    for n in 0..20 {
        assert_eq!(asking(json!([tool(&format!("f{n}"))])).tools[0].name, format!("f{n}"));
    }
    let forgotten = asking(json!([tool("f"), { "type": "web_search" }]));
    assert!(!forgotten.tools.is_same(&first.tools) && forgotten == first);
    let long = |n: usize| json!([tool(&"f".repeat(n))]);
    assert!(!asking(long(40 << 10)).tools.is_shared() && asking(long(10)).tools.is_shared());
    assert!(!asking(json!([])).tools.is_shared());
}

#[test]
fn a_reply_format_that_is_written_alike_is_read_once_and_says_the_same_of_a_call() {
    let asking = |format: &Value| -> Request {
        request(&json!({ "model": "m", "messages": [], "response_format": format }))
    };
    fn schema(r: &Request) -> &Schema {
        let Format::JsonSchema { schema, .. } = &r.format else { panic!("{:?}", r.format) };
        schema
    }
    let format = |name: &str| {
        json!({ "type": "json_schema", "json_schema": {
            "name": name, "strict": true, "description": "d", "odd": 1, "schema": { "type": "object" } } })
    };
    let (first, again) = (asking(&format("a")), asking(&format("a")));
    assert!(schema(&first).is_same(schema(&again)) && schema(&first)["type"] == "object");
    assert_eq!(first.ineligible, [Ineligible::UnknownField]);
    assert_eq!(first.extra["@response_format"], json!({ "description": "d", "odd": 1 }));
    assert_eq!(again, first);
    let other = asking(&format("b"));
    assert!(!schema(&other).is_same(schema(&first)) && other != first);
    for said in
        [json!({ "type": "text" }), json!({ "type": "json_object" }), json!({ "type": "other" }), json!(null)]
    {
        let (first, again) = (asking(&said), asking(&said));
        assert!(first == again && first != asking(&format("a")), "{said}");
        assert_eq!(first.format == Format::JsonObject, said["type"] == "json_object", "{said}");
        assert_eq!(first.ineligible.is_empty(), said["type"] != "other", "{said}");
    }
}
