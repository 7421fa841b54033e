//! Minimal pairs: two replies that differ in one thing, and whether they should
//! agree. `make scorer` prints each scorer's false accepts and false rejects on
//! them; a test keeps the false accepts at zero.

use serde_json::{Map, Value, json};
use understudy_call::{Choice, Finish, Part, Reply, Request, Tool, ToolCall};

/// Two replies and whether they should agree.
#[derive(Debug, Clone)]
pub struct Pair {
    /// Which scorer it is for.
    pub scorer: &'static str,
    /// What differs.
    pub kind: &'static str,
    /// The call.
    pub request: Request,
    /// The provider's reply.
    pub reference: Reply,
    /// The other reply.
    pub answer: Reply,
    /// Whether they should agree.
    pub should_agree: bool,
}

/// All pairs.
#[must_use]
pub fn pairs() -> Vec<Pair> {
    let mut all = Vec::new();
    for (kind, reference, answer, should_agree) in texts() {
        all.push(Pair {
            scorer: "text",
            kind,
            request: Request::default(),
            reference: said(reference),
            answer: said(answer),
            should_agree,
        });
    }
    for (kind, reference, answer, should_agree) in jsons() {
        all.push(Pair {
            scorer: "json",
            kind,
            request: Request::default(),
            reference: said(&reference.to_string()),
            answer: said(&answer.to_string()),
            should_agree,
        });
    }
    for (kind, reference, answer, should_agree) in calls() {
        all.push(Pair {
            scorer: "tools",
            kind,
            request: Request { tools: tools().into(), ..Request::default() },
            reference: called(&reference),
            answer: called(&answer),
            should_agree,
        });
    }
    all
}

fn said(text: &str) -> Reply {
    let choice = Choice {
        content: vec![Part::Text(text.to_owned())],
        finish: Some(Finish::Stop),
        ..Choice::default()
    };
    Reply { choices: vec![choice], ..Reply::default() }
}

fn called(calls: &Value) -> Reply {
    let list = calls.as_array().cloned().unwrap_or_default();
    let tool_calls = list
        .iter()
        .enumerate()
        .map(|(i, c)| ToolCall {
            id: format!("call_{i}"),
            name: c.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
            arguments: c.get("arguments").map(Value::to_string).unwrap_or_default(),
        })
        .collect();
    let choice = Choice { tool_calls, finish: Some(Finish::ToolCalls), ..Choice::default() };
    Reply { choices: vec![choice], ..Reply::default() }
}

fn tools() -> Vec<Tool> {
    let tool = |name: &str, parameters: Value| Tool {
        name: name.to_owned(),
        description: None,
        parameters,
        strict: None,
        extra: Map::new(),
    };
    vec![
        tool(
            "transfer",
            json!({"type": "object", "required": ["from", "to", "amount"], "properties": {
                "from": {"type": "string"}, "to": {"type": "string"}, "amount": {"type": "number"},
                "note": {"type": "string"}, "currency": {"type": "string", "default": "EUR"}}}),
        ),
        tool(
            "search",
            json!({"type": "object", "required": ["text"], "properties": {
                "text": {"type": "string"}, "limit": {"type": "integer", "default": 10},
                "sort": {"type": "string", "enum": ["new", "old"]}}}),
        ),
        tool(
            "read_file",
            json!({"type": "object", "required": ["path"], "properties": {"path": {"type": "string"}}}),
        ),
        tool(
            "travel",
            json!({"type": "object", "properties": {"from": {"type": "string"}, "to": {"type": "string"},
                "stops": {"type": "array", "items": {"type": "string"}}}}),
        ),
    ]
}

type Texts = (&'static str, &'static str, &'static str, bool);

fn texts() -> Vec<Texts> {
    vec![
        ("same", "The refund was sent.", "The refund was sent.", true),
        ("case and punctuation", "The refund was sent.", "the refund was sent", true),
        ("white space", "Yes, it was sent.\n", "Yes,  it was sent.", true),
        ("markdown", "**Yes**, it was sent.", "Yes, it was sent.", true),
        ("thousands separator", "You owe 1,000 euros.", "You owe 1000 euros.", true),
        ("curly apostrophe", "It doesn’t apply.", "It doesn't apply.", true),
        ("negation", "You can cancel the order.", "You can not cancel the order.", false),
        ("negation", "The card is valid.", "The card isn't valid.", false),
        ("negation", "It is covered, with a fee.", "It is covered, without a fee.", false),
        ("negation moved", "No, you may go.", "You may go, no?", false),
        ("amount", "You owe 120 euros.", "You owe 210 euros.", false),
        ("amount, decimal", "You owe 1.5 euros.", "You owe 15 euros.", false),
        ("amount, decimal comma", "You owe 1,5 euros.", "You owe 15 euros.", false),
        ("amount, sign", "The balance is -20.", "The balance is 20.", false),
        ("amount, currency", "It costs $20.", "It costs €20.", false),
        ("amount, percent", "A fee of 5% applies.", "A fee of 5 applies.", false),
        ("date", "It arrives on 2024-05-01.", "It arrives on 2024-01-05.", false),
        ("date, month", "It arrives on May 1.", "It arrives on March 1.", false),
        ("time", "At 10:30.", "At 13:00.", false),
        ("entity", "Ann pays Bob.", "Bob pays Ann.", false),
        ("entity", "The flight goes to Paris.", "The flight goes to Prague.", false),
        ("identifier", "Order A12 is late.", "Order A21 is late.", false),
        ("identifier, case", "Use key aB3x.", "Use key Ab3x.", false),
        ("url", "See https://a.example/x.", "See https://a.example/y.", false),
        ("path", "Open /etc/hosts now.", "Open /etc/host now.", false),
        ("one word more", "It is safe.", "It is unsafe.", false),
        ("quantifier", "All orders were sent.", "Some orders were sent.", false),
        ("paraphrase", "I sent the refund.", "The refund was sent by me.", false),
        ("comparison", "x > 5", "x < 5", false),
        ("comparison", "Keep it if x ≥ 5.", "Keep it if x ≤ 5.", false),
        ("comparison, glued", "Keep those <5.", "Keep those >5.", false),
        ("comparison in words", "It takes at least 5 days.", "It takes at most 5 days.", false),
        ("equality", "a == b", "a = b", false),
        ("operator", "5 * 3", "5 / 3", false),
        ("operator", "x + y", "x - y", false),
        ("operator left out", "5 - 3", "5 3", false),
        ("operator for a comma", "SELECT total - tax", "SELECT total, tax", false),
        ("unicode minus", "5 − 3", "5 + 3", false),
        ("grouping", "(a + b) * c", "a + (b * c)", false),
        ("quotes in notation", "x == \"a\"", "x == a", false),
        ("exclamation mark that negates", "Run it if !ready.", "Run it if ready.", false),
        ("power", "10² metres", "102 metres", false),
        ("power left out", "10² metres", "10 metres", false),
        ("fullwidth digits", "You owe １２ euros.", "You owe ２１ euros.", false),
        ("amount, leading point", "It is .5", "It is 5", false),
        ("amount, in brackets", "Net result: (1,200)", "Net result: 1,200", false),
        ("amount, currency without a letter", "It costs ₹20.", "It costs ₽20.", false),
        ("unit", "It is 20° warm.", "It is 20 warm.", false),
        ("unit, feet and inches", "It is 5' long.", "It is 5\" long.", false),
        ("range for a list", "Open Monday–Friday.", "Open Monday, Friday.", false),
        ("emoji", "👍", "👎", false),
        ("emoji", "Done 👍", "Done 👎", false),
        ("emoticon", "It is late :)", "It is late :(", false),
        ("stars", "★★★★★", "★", false),
        ("name with a sign", "C#", "C", false),
        ("name with a sign", "Write it in C++.", "Write it in C.", false),
        ("grade", "A- in maths", "A in maths", false),
        ("flag", "Call it with -r now", "Call it with r now", false),
        ("handle", "Ask @ann.", "Ask #ann.", false),
        ("place", "cd .", "cd ..", false),
        ("placeholder", "Dear {name}", "Dear name", false),
        ("block", "if a:\n  b()\nc()", "if a:\n  b()\n  c()", false),
        ("nothing but a mark", "!", "?", false),
        ("nothing but a mark", "...", "", false),
        ("greeting", "Hello, world!", "hello world", true),
        ("minus sign", "The balance is −20.", "The balance is -20.", true),
        ("dash", "Yes—it was sent.", "Yes, it was sent.", true),
        ("dash in a range", "The years 2019–2021.", "The years 2019-2021.", true),
        ("quotes", "He said “yes”.", "He said \"yes\".", true),
        ("quotes left out", "It is \"late\".", "It is late.", true),
        ("brackets", "The refund (in full) was sent.", "The refund, in full, was sent.", true),
        ("markdown over words", "**The refund** was sent.", "The refund was sent.", true),
        ("markdown list", "* One thing\n* More things", "- One thing\n- More things", true),
        ("mark apart", "Bonjour !", "Bonjour!", true),
        ("notation, end of the sentence", "It holds if x > 5.", "it holds if x > 5", true),
        ("foreign full stop", "好的。", "好的", true),
        ("emoji, end of the sentence", "Done 👍", "done 👍", true),
    ]
}

fn jsons() -> Vec<(&'static str, Value, Value, bool)> {
    vec![
        ("same", json!({"intent": "card_arrival"}), json!({"intent": "card_arrival"}), true),
        ("key order", json!({"a": 1, "b": 2}), json!({"b": 2, "a": 1}), true),
        ("integer for float", json!({"a": 1}), json!({"a": 1.0}), true),
        ("label", json!({"intent": "card_arrival"}), json!({"intent": "card_linking"}), false),
        ("label, underscore", json!({"intent": "card_arrival"}), json!({"intent": "card arrival"}), false),
        ("missing key", json!({"a": 1, "b": 2}), json!({"a": 1}), false),
        ("unexpected key", json!({"a": 1}), json!({"a": 1, "b": null}), false),
        ("null for empty", json!({"a": null}), json!({"a": ""}), false),
        ("string for number", json!({"a": 5}), json!({"a": "5"}), false),
        ("boolean", json!({"ok": true}), json!({"ok": false}), false),
        ("array order", json!({"a": [1, 2]}), json!({"a": [2, 1]}), false),
        ("array length", json!({"a": [1, 2]}), json!({"a": [1]}), false),
        ("nested amount", json!({"o": {"total": 12.5}}), json!({"o": {"total": 125}}), false),
        ("swapped ids", json!({"from": "u_1", "to": "u_2"}), json!({"from": "u_2", "to": "u_1"}), false),
        ("negation in a leaf", json!({"note": "do call"}), json!({"note": "do not call"}), false),
        ("case in a sentence", json!({"note": "Call him."}), json!({"note": "call him"}), true),
        ("date", json!({"on": "2024-05-01"}), json!({"on": "2024-01-05"}), false),
        ("large integer", json!({"id": 9007199254740993u64}), json!({"id": 9007199254740992u64}), false),
        ("larger integer", json!({"n": u64::MAX}), json!({"n": u64::MAX - 1}), false),
        ("operator", json!({"op": ">"}), json!({"op": "<"}), false),
        ("operator in a leaf", json!({"rule": "x > y"}), json!({"rule": "x < y"}), false),
        ("separator", json!({"mark": ","}), json!({"mark": ";"}), false),
        ("white space alone", json!({"mark": " "}), json!({"mark": ""}), false),
        ("emoji", json!({"mood": "👍"}), json!({"mood": "👎"}), false),
    ]
}

fn calls() -> Vec<(&'static str, Value, Value, bool)> {
    let transfer = |from: &str, to: &str, amount: Value| json!([{"name": "transfer", "arguments": {"from": from, "to": to, "amount": amount}}]);
    let search = |text: &str| json!([{"name": "search", "arguments": {"text": text}}]);
    vec![
        ("same", transfer("a1", "b2", json!(5)), transfer("a1", "b2", json!(5)), true),
        (
            "argument order",
            json!([{"name": "travel", "arguments": {"from": "Rome", "to": "Oslo"}}]),
            json!([{"name": "travel", "arguments": {"to": "Oslo", "from": "Rome"}}]),
            true,
        ),
        ("swapped ids", transfer("a1", "b2", json!(5)), transfer("b2", "a1", json!(5)), false),
        ("amount", transfer("a1", "b2", json!(5)), transfer("a1", "b2", json!(50)), false),
        ("amount, sign", transfer("a1", "b2", json!(5)), transfer("a1", "b2", json!(-5)), false),
        ("integer for float", transfer("a1", "b2", json!(5)), transfer("a1", "b2", json!(5.0)), true),
        ("string for number", transfer("a1", "b2", json!(5)), transfer("a1", "b2", json!("5")), false),
        ("id, case", transfer("aB1", "b2", json!(5)), transfer("ab1", "b2", json!(5)), false),
        ("id, hyphen", transfer("a-1", "b2", json!(5)), transfer("a1", "b2", json!(5)), false),
        (
            "path, dot",
            json!([{"name": "read_file", "arguments": {"path": "notes.txt"}}]),
            json!([{"name": "read_file", "arguments": {"path": "notestxt"}}]),
            false,
        ),
        (
            "loose text",
            json!([{"name": "search", "arguments": {"text": "Jay-Z best of"}}]),
            json!([{"name": "search", "arguments": {"text": "jay z best of"}}]),
            true,
        ),
        (
            "entity",
            json!([{"name": "travel", "arguments": {"to": "Paris"}}]),
            json!([{"name": "travel", "arguments": {"to": "Prague"}}]),
            false,
        ),
        (
            "enum",
            json!([{"name": "search", "arguments": {"text": "x", "sort": "new"}}]),
            json!([{"name": "search", "arguments": {"text": "x", "sort": "New"}}]),
            false,
        ),
        (
            "optional argument at its default",
            json!([{"name": "search", "arguments": {"text": "x", "limit": 10}}]),
            json!([{"name": "search", "arguments": {"text": "x"}}]),
            true,
        ),
        (
            "optional argument left out",
            json!([{"name": "search", "arguments": {"text": "x", "limit": 5}}]),
            json!([{"name": "search", "arguments": {"text": "x"}}]),
            false,
        ),
        (
            "optional argument made up",
            json!([{"name": "search", "arguments": {"text": "x"}}]),
            json!([{"name": "search", "arguments": {"text": "x", "limit": 5}}]),
            false,
        ),
        (
            "operator",
            json!([{"name": "compute", "arguments": {"op": "*"}}]),
            json!([{"name": "compute", "arguments": {"op": "^"}}]),
            false,
        ),
        ("operator, loose text", search("*"), search("^"), false),
        ("operator in text", search("a * b"), search("a ^ b"), false),
        ("operator in text, left out", search("a - b"), search("a b"), false),
        ("operator in text, glued", search("x-y"), search("xy"), false),
        ("operator in text, case", search("N > n"), search("n > n"), false),
        ("name with a dot", search("notes.text"), search("notestext"), false),
        ("name with a sign", search("learn C#"), search("learn C"), false),
        ("emoji", search("👍"), search("👎"), false),
        ("nothing but a mark", search(","), search("."), false),
        ("abbreviation", search("hotels in the U.S."), search("hotels in the US"), true),
        ("comma", search("Rome, Italy"), search("rome italy"), true),
        (
            "negation in text",
            json!([{"name": "search", "arguments": {"text": "hotels with pool"}}]),
            json!([{"name": "search", "arguments": {"text": "hotels without pool"}}]),
            false,
        ),
        (
            "other tool",
            json!([{"name": "search", "arguments": {"text": "x"}}]),
            json!([{"name": "read_file", "arguments": {"path": "x"}}]),
            false,
        ),
        (
            "parallel, other order",
            json!([{"name": "search", "arguments": {"text": "x"}}, {"name": "search", "arguments": {"text": "y"}}]),
            json!([{"name": "search", "arguments": {"text": "y"}}, {"name": "search", "arguments": {"text": "x"}}]),
            true,
        ),
        (
            "parallel, one missing",
            json!([{"name": "search", "arguments": {"text": "x"}}, {"name": "search", "arguments": {"text": "y"}}]),
            json!([{"name": "search", "arguments": {"text": "x"}}]),
            false,
        ),
        (
            "parallel, one twice",
            json!([{"name": "search", "arguments": {"text": "x"}}, {"name": "search", "arguments": {"text": "y"}}]),
            json!([{"name": "search", "arguments": {"text": "x"}}, {"name": "search", "arguments": {"text": "x"}}]),
            false,
        ),
        (
            "list order",
            json!([{"name": "travel", "arguments": {"stops": ["Rome", "Oslo"]}}]),
            json!([{"name": "travel", "arguments": {"stops": ["Oslo", "Rome"]}}]),
            false,
        ),
    ]
}
