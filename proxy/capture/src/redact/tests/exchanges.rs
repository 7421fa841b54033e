//! Numbers that a key, or another part of the exchange, gives away.

use serde_json::json;
use understudy_call::{Choice, Credential, Dialect, Exchange, ExchangeId, Metadata, StandIns, TokenLogprob};

use super::*;
use crate::redact::keys::names_a_number;

fn call(arguments: &str) -> ToolCall {
    ToolCall { id: "call_1".into(), name: "update".into(), arguments: arguments.into() }
}

fn reply(choice: Choice) -> Reply {
    Reply { choices: vec![choice], ..Reply::default() }
}

/// The user's turn, and the arguments of the reply's only call, redacted; and the mark.
fn redacted(user: &str, arguments: &str) -> (String, String, StandIns) {
    let request = Request { messages: vec![Message::text_of(Role::User, user)], ..Request::default() };
    let reply = reply(Choice { tool_calls: vec![call(arguments)], ..Choice::default() });
    let meta = Metadata::answered("openai", Dialect::OpenaiChat, Credential([7; 16]));
    let mut ex = Exchange::new(ExchangeId([1; 16]), meta, Some(request), Some(reply));
    redactor().exchange(&mut ex);
    let said = ex.request.unwrap().messages[0].text();
    (said, ex.reply.unwrap().choices[0].tool_calls[0].arguments.clone(), ex.stand_ins)
}

#[test]
fn a_key_announces_its_number_as_a_word_does() {
    let r = redactor();
    let alone = r.text("phone 030 5550199").into_owned();
    let number = alone.strip_prefix("phone ").unwrap();
    assert_ne!(number, "030 5550199");
    for key in
        ["phone", "Phone", "homePhone", "customer_phone", "mobile_number", "phoneNumber", "fax2", "tel"]
    {
        assert_eq!(r.text(&json!({ key: "030 5550199" }).to_string()), json!({ key: number }).to_string());
        assert_eq!(
            r.text(&json!({ key: ["x", "030 5550199"] }).to_string()),
            json!({ key: ["x", number] }).to_string()
        );
    }
    for text in [
        r#"{"order": "030 5550199"}"#,
        r#"{"hotel": "0305550199"}"#,
        r#"{"phone_id": "0305550199"}"#,
        r#"{"phone": {"id": "0305550199"}}"#,
        r#"{"phone": "none", "order": "0305550199"}"#,
        r#"{"phone": [], "orders": ["0305550199"]}"#,
        r#"{"order": 305550199, "phones": 3055}"#,
    ] {
        assert!(matches!(r.text(text), Cow::Borrowed(_)), "{text} -> {}", r.text(text));
    }
    let out: serde_json::Value = serde_json::from_str(&r.text(r#"{"phone": 305550199}"#)).unwrap();
    assert!(out["phone"].as_u64().is_some_and(|n| n != 305_550_199 && n.to_string().len() == 9), "{out}");
    // Whatever shows itself has the stand-in that it has anywhere.
    let shown = r.text("+49 170 1234567").into_owned();
    assert_eq!(r.text(r#"{"phone": "+49 170 1234567"}"#), format!(r#"{{"phone": "{shown}"}}"#));
}

#[test]
fn values_that_are_parsed_are_announced_by_their_keys_too() {
    let mut request = Request::default();
    request
        .extra
        .insert("contact".into(), json!({"phone": "030 5550199", "fax": 305_550_199, "id": 305_550_199}));
    assert!(redactor().request(&mut request));
    let contact = &request.extra["contact"];
    assert_eq!(
        json!({ "phone": contact["phone"] }).to_string(),
        redactor().text(r#"{"phone":"030 5550199"}"#)
    );
    assert_ne!(contact["fax"], 305_550_199);
    assert_eq!(contact["id"], 305_550_199);
}

#[test]
fn the_last_word_of_a_key_says_what_its_value_is() {
    for key in
        ["phone", "TEL", "workFax", "home-phone", "Handynummer", "contact_number", "cell no.", "phone_2"]
    {
        assert!(names_a_number(key), "{key}");
    }
    for key in ["", "hotel", "HOTEL", "microphone", "phone_id", "contact", "number", "telemetry", "number_2"]
    {
        assert!(!names_a_number(key), "{key}");
    }
}

#[test]
fn a_number_that_one_part_tells_apart_is_replaced_in_every_part() {
    for (user, arguments, number) in [
        ("My phone number is 030 5550199.", r#"{"contact":"030 5550199"}"#, "030 5550199"),
        ("My phone number is 030 5550199.", r#"{"contact":"0305550199"}"#, "0305550199"),
        ("It is 0305550199, for calls.", r#"{"phone":"0305550199"}"#, "0305550199"),
        ("Call me at 415-555-0132.", r#"{"contact":"4155550132"}"#, "4155550132"),
        ("Call me at +1 415 555 0132.", r#"{"contact":4155550132}"#, "4155550132"),
        ("I am +49 170 1234567.", r#"{"to":"491701234567"}"#, "491701234567"),
        ("Tel: 0305550199. Again: 0305550199.", r#"{"note":"of 030/5550199"}"#, "030/5550199"),
    ] {
        let (said, argument, mark) = redacted(user, arguments);
        assert!(!argument.contains(number) && argument.len() == arguments.len(), "{argument}");
        // The same digits on both sides.
        let (said, argument) = (digits(&said), digits(&argument));
        assert!(said.contains(&argument), "{user}: {said} {argument}");
        assert!(!said.contains(&digits(number)), "{said}");
        assert_eq!(mark, StandIns::Echoed, "{user}");
    }
}

#[test]
fn what_was_known_of_stand_ins_is_not_forgotten_when_they_are_redacted_again() {
    for (before, after) in [(StandIns::Own, StandIns::Own), (StandIns::None, StandIns::None)] {
        let request = Request { messages: vec![Message::text_of(Role::User, "hi")], ..Request::default() };
        // What stands for a number need not look like one.
        let reply = reply(Choice { tool_calls: vec![call("{}")], ..Choice::default() });
        let meta = Metadata::answered("openai", Dialect::OpenaiChat, Credential([7; 16]));
        let mut ex = Exchange::new(ExchangeId([1; 16]), meta, Some(request), Some(reply));
        ex.stand_ins = before;
        redactor().exchange(&mut ex);
        assert_eq!(ex.stand_ins, after);
    }
}

#[test]
fn other_numbers_of_an_exchange_stay() {
    for arguments in [
        r#"{"order":"20305550199"}"#,
        r#"{"order":"0305550198"}"#,
        r#"{"order":"A-0305550199"}"#,
        r#"{"order":"0305550199-2"}"#,
        r#"{"order":305550199}"#,
    ] {
        let (said, argument, mark) = redacted("My phone number is 030 5550199.", arguments);
        assert!(!said.contains("5550199"), "{said}");
        assert_eq!((argument.as_str(), mark), (arguments, StandIns::None));
    }
    let (said, argument, mark) = redacted("It is 0305550199.", r#"{"order":"0305550199"}"#);
    assert_eq!((said.as_str(), argument.as_str()), ("It is 0305550199.", r#"{"order":"0305550199"}"#));
    assert_eq!(mark, StandIns::None);
}

#[test]
fn dates_and_short_numbers_are_not_looked_for_in_other_parts() {
    let arguments = r#"{"due":"2024-06-15","total":5550199}"#;
    let (said, argument, _) = redacted("Please call me on 2024-06-15.", arguments);
    assert_eq!((said.as_str(), argument.as_str()), ("Please call me on 2024-06-15.", arguments));
    let (said, argument, mark) = redacted("My phone number is 555 0199.", arguments);
    assert!(!said.contains("555 0199"), "{said}");
    assert_eq!((argument.as_str(), mark), (arguments, StandIns::None));
}

#[test]
fn tokens_of_what_was_replaced_anywhere_in_a_choice_are_taken_out() {
    let tokens = || {
        let token = TokenLogprob { token: "bob".into(), logprob: -0.1, extra: serde_json::Map::new() };
        let refusal =
            json!({"refusal": [{"token": "bob", "logprob": -0.1}, {"token": "@corp", "logprob": -0.1}]});
        let extra =
            [("a".to_owned(), json!(1)), ("@logprobs".to_owned(), refusal), ("b".to_owned(), json!(2))];
        Choice { logprobs: vec![token], extra: extra.into_iter().collect(), ..Choice::default() }
    };
    let mut beside = tokens();
    beside.extra.insert("note".into(), json!("bob@corp.com"));
    for choice in [
        Choice { content: vec![Part::Refusal("Not bob@corp.com.".into())], ..tokens() },
        Choice { content: vec![Part::Text("Not bob@corp.com.".into())], ..tokens() },
        Choice { tool_calls: vec![call(r#"{"to":"bob@corp.com"}"#)], ..tokens() },
        beside,
    ] {
        let mut reply = reply(choice);
        assert!(redactor().reply(&mut reply));
        let choice = &reply.choices[0];
        assert!(choice.logprobs.is_empty() && !choice.extra.contains_key("@logprobs"));
        assert!(choice.extra.keys().map(String::as_str).take(2).eq(["a", "b"]));
    }
    let mut clean = reply(tokens());
    assert!(!redactor().reply(&mut clean) && clean == reply(tokens()));
}
