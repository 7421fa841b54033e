//! Lists of tools that many calls bring.

use serde_json::{Value, json};
use understudy_call::Ineligible;

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
