use super::*;
use toktrie::ApproximateTokEnv;

fn tool(name: &str, parameters: Value) -> Tool {
    Tool { name: name.into(), description: None, parameters, strict: None, extra: Map::new() }
}

fn tools() -> Vec<Tool> {
    vec![
        tool(
            "get_weather",
            json!({"type": "object", "title": "W", "properties": {
                "city": {"type": "string", "description": "where"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
                "required": ["city"]}),
        ),
        tool(
            "refund",
            json!({"type": "object", "properties": {"amount": {"type": "number"}}, "required": ["amount"]}),
        ),
        tool("ping", Value::Null),
    ]
}

fn calls(choice: ToolChoice, parallel: bool) -> Grammar {
    Grammar::ToolCall { tools: tools().into(), choice, parallel, written: CallText::Json, or_nothing: false }
}

fn lined(choice: ToolChoice, parallel: bool) -> Grammar {
    Grammar::ToolCall { tools: tools().into(), choice, parallel, written: CallText::Line, or_nothing: false }
}

/// Whether the whole text is allowed and complete, token by token over bytes.
fn takes(grammar: &Grammar, text: &str) -> bool {
    let mut compiler = Compiler::new(&ApproximateTokEnv::single_byte_env()).unwrap();
    let mut m = compiler.matcher(grammar).unwrap().unwrap();
    let bytes: Vec<u32> = text.bytes().map(u32::from).collect();
    m.try_consume_tokens(&bytes).unwrap() == bytes.len() && m.is_accepting().unwrap()
}

#[test]
fn only_tools_on_offer_are_named() {
    let g = calls(ToolChoice::Required, false);
    assert!(takes(&g, r#"{"name": "get_weather", "arguments": {"city": "Ulm"}}"#));
    assert!(takes(&g, r#"{"name": "get_weather", "arguments": {"city": "Ulm", "unit": "celsius"}}"#));
    assert!(takes(&g, r#"{"name": "refund", "arguments": {"amount": 12.5}}"#));
    assert!(takes(&g, r#"{"name": "ping", "arguments": {}}"#));
    assert!(!takes(&g, r#"{"name": "get_time", "arguments": {}}"#));
    assert!(!takes(&g, r#"{"name": "refund", "arguments": {"amount": "12"}}"#));
    assert!(!takes(&g, r#"{"name": "get_weather", "arguments": {"city": "Ulm", "unit": "kelvin"}}"#));
    assert!(!takes(&g, r#"{"name": "get_weather", "arguments": {"city": "Ulm", "extra": 1}}"#));
    assert!(!takes(&g, r#"{"name": "get_weather", "arguments": {}}"#));
    assert!(!takes(&g, "Hello"));
}

#[test]
fn a_named_tool_is_the_only_one() {
    let g = calls(ToolChoice::Named("ping".into()), false);
    assert!(takes(&g, r#"{"name": "ping", "arguments": {}}"#));
    assert!(!takes(&g, r#"{"name": "refund", "arguments": {"amount": 1}}"#));
}

#[test]
fn auto_allows_text_that_does_not_begin_like_a_call() {
    let g = calls(ToolChoice::Auto, false);
    assert!(takes(&g, "Sure, {braces} and\nlines."));
    assert!(takes(&g, r#"{"name": "ping", "arguments": {}}"#));
    assert!(!takes(&g, r#"{"nome": "ping"}"#));
}

#[test]
fn no_tool_means_no_grammar() {
    let mut compiler = Compiler::new(&ApproximateTokEnv::single_byte_env()).unwrap();
    assert!(compiler.matcher(&calls(ToolChoice::None, false)).unwrap().is_none());
}

#[test]
fn several_calls_come_in_an_array_when_allowed() {
    let two = r#"[{"name": "ping", "arguments": {}}, {"name": "refund", "arguments": {"amount": 1}}]"#;
    assert!(takes(&calls(ToolChoice::Required, true), two));
    assert!(!takes(&calls(ToolChoice::Required, false), two));
    assert!(takes(&calls(ToolChoice::Required, true), r#"{"name": "ping", "arguments": {}}"#));
    assert!(!takes(&calls(ToolChoice::Required, true), r#"[{"name": "ping", "arguments": {}}]"#));
}

#[test]
fn forced_text_needs_no_choice() {
    let mut compiler = Compiler::new(&ApproximateTokEnv::single_byte_env()).unwrap();
    let mut m = compiler.matcher(&calls(ToolChoice::Named("refund".into()), false)).unwrap().unwrap();
    let forced: Vec<u8> = m.consume_ff_tokens().into_iter().map(|t| t as u8).collect();
    assert_eq!(String::from_utf8(forced).unwrap(), r#"{"name": "refund", "arguments": {"amount": "#);
    assert!(!m.compute_mask().unwrap().is_allowed(u32::from(b'"')));
}

#[test]
fn a_tools_own_definitions_survive_the_embedding() {
    let pair = tool(
        "move",
        json!({"type": "object", "properties": {"from": {"$ref": "#/$defs/p"}, "to": {"$ref": "#/$defs/p"}},
            "required": ["from", "to"],
            "$defs": {"p": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}}}),
    );
    let g = Grammar::ToolCall {
        tools: vec![tools()[2].clone(), pair].into(),
        choice: ToolChoice::Required,
        parallel: true,
        written: CallText::Json,
        or_nothing: false,
    };
    assert!(takes(&g, r#"{"name": "move", "arguments": {"from": {"x": 1}, "to": {"x": 2}}}"#));
    assert!(!takes(&g, r#"{"name": "move", "arguments": {"from": {"x": "1"}, "to": {"x": 2}}}"#));
    let Grammar::ToolCall { tools, choice, parallel, .. } = g else { unreachable!() };
    let g = Grammar::ToolCall { tools, choice, parallel, written: CallText::Line, or_nothing: false };
    assert!(takes(&g, r#">move {"from": {"x": 1}, "to": {"x": 2}}"#));
    assert!(!takes(&g, r#">move {"from": {"x": "1"}, "to": {"x": 2}}"#));
}

#[test]
fn a_call_in_a_line_is_its_name_and_arguments() {
    let g = lined(ToolChoice::Required, false);
    assert!(takes(&g, r#">get_weather {"city": "Ulm", "unit": "celsius"}"#));
    assert!(takes(&g, ">ping {}"));
    for bad in [
        r#">get_time {}"#,
        r#">get_weather {}"#,
        r#">get_weather {"city": "Ulm", "unit": "kelvin"}"#,
        r#">get_weather{"city": "Ulm"}"#,
        r#"{"name": "ping", "arguments": {}}"#,
        "ping {}",
        ">ping {}\n",
        ">ping {}\n>ping {}",
        "Hello",
    ] {
        assert!(!takes(&g, bad), "{bad}");
    }
    assert!(!takes(&lined(ToolChoice::Named("refund".into()), false), ">ping {}"));
    let several = lined(ToolChoice::Required, true);
    assert!(takes(&several, ">ping {}\n>refund {\"amount\": 1}\n>ping {}"));
    assert!(takes(&several, ">ping {}"));
    let auto = lined(ToolChoice::Auto, false);
    assert!(takes(&auto, "Sure, {braces} > and\n>lines."));
    assert!(takes(&auto, ">ping {}"));
    assert!(!takes(&auto, "> a quotation"));
    assert!(!takes(&auto, ""));
}

#[test]
fn a_reply_may_be_nothing_where_that_is_allowed() {
    let Grammar::ToolCall { tools, choice, parallel, written, .. } = lined(ToolChoice::Auto, true) else {
        unreachable!()
    };
    let g = Grammar::ToolCall { tools, choice, parallel, written, or_nothing: true };
    for good in ["", ">ping {}", ">ping {}\n>ping {}", "Sure."] {
        assert!(takes(&g, good), "{good}");
    }
    for bad in [" ", ">ping", ">ping {}\n"] {
        assert!(!takes(&g, bad), "{bad}");
    }
}

#[test]
fn response_schemas_are_followed() {
    let g = Grammar::JsonSchema(json!({"type": "object",
        "properties": {"on": {"type": "string", "format": "date"}, "n": {"type": ["integer", "null"]},
            "who": {"type": "string", "format": "nickname"}},
        "required": ["on", "n", "who"], "additionalProperties": false}));
    assert!(takes(&g, r#"{"on": "2026-02-28", "n": null, "who": "Jo"}"#));
    assert!(!takes(&g, r#"{"on": "2026-02-31", "n": null, "who": "Jo"}"#));
    assert!(!takes(&g, r#"{"on":"2026-02-28","n":null,"who":"Jo"}"#));
}

#[test]
fn any_object_is_an_object() {
    assert!(takes(&Grammar::JsonObject, r#"{"a": [1, {"b": null}]}"#));
    assert!(!takes(&Grammar::JsonObject, "[1]"));
}

#[test]
fn what_cannot_be_kept_to_is_named() {
    let mut compiler = Compiler::new(&ApproximateTokEnv::single_byte_env()).unwrap();
    let bad = Grammar::JsonSchema(json!({"type": "array", "uniqueItems": true}));
    let e = compiler.matcher(&bad).err().unwrap();
    assert!(matches!(&e, GrammarError::Unsupported(p) if p.contains("uniqueItems")), "{e}");
    let bad = Grammar::JsonSchema(json!({"type": "string", "pattern": "(unclosed"}));
    assert!(matches!(compiler.matcher(&bad), Err(GrammarError::Unsupported(_))));
    let bad = Grammar::JsonSchema(json!({"$ref": "#/$defs/none"}));
    assert!(matches!(compiler.matcher(&bad), Err(GrammarError::Unsupported(_))));
    assert!(matches!(
        compiler.matcher(&calls(ToolChoice::Named("x".into()), false)),
        Err(GrammarError::UnknownTool(_))
    ));
    let none = Grammar::ToolCall {
        tools: Tools::default(),
        choice: ToolChoice::Required,
        parallel: false,
        written: CallText::Json,
        or_nothing: false,
    };
    assert!(matches!(compiler.matcher(&none), Err(GrammarError::NoTools)));
}

#[test]
fn a_kept_grammar_starts_anew() {
    let mut compiler = Compiler::new(&ApproximateTokEnv::single_byte_env()).unwrap();
    let g = calls(ToolChoice::Named("ping".into()), false);
    for _ in 0..3 {
        let mut m = compiler.matcher(&g).unwrap().unwrap();
        assert!(m.consume_ff_tokens().len() > 10);
        assert!(m.is_stopped());
    }
    assert_eq!(compiler.kept.len(), 1);
}

#[test]
fn a_grammar_that_one_ask_broke_is_made_anew_for_the_next() {
    let mut compiler = Compiler::new(&ApproximateTokEnv::single_byte_env()).unwrap();
    let g = calls(ToolChoice::Named("ping".into()), false);
    let mut broken = compiler.matcher(&g).unwrap().unwrap();
    assert!(broken.test_trigger_lexer_error().is_err());
    let mut m = compiler.matcher(&g).unwrap().unwrap();
    assert!(m.consume_ff_tokens().len() > 10);
    assert!(m.is_stopped() && m.get_error().is_none());
    assert_eq!(compiler.kept.len(), 1, "in its place");
    let (_, parser) = compiler.kept.find(|_| true).unwrap();
    assert!(sound(&parser.borrow()));
}
