use std::sync::LazyLock;

use proptest::prelude::*;
use understudy_call::{Message, Part, Reply, Request, Role, ToolCall};

use super::card::{digits, luhn};
use super::iban::mod97;
use super::*;

mod beside;
mod escaped;
mod exchanges;
mod named;
mod pem;
mod scripts;
mod tools;

fn redactor() -> &'static Redactor {
    static ONE: LazyLock<Redactor> = LazyLock::new(|| Redactor::new([5; 32]));
    &ONE
}

fn luhn_ok(n: &str) -> bool {
    luhn(&digits(n).chars().filter_map(|c| c.to_digit(10)).collect::<Vec<_>>()).is_multiple_of(10)
}

const SECRETS: &[&str] = &[
    "sk-proj-4f9aB27cD1e8F3a6b5C0d9E2",
    "sk-ant-api03-AbCdEf0123456789AbCdEf",
    "sk_live_51H8abcdEFGH12345678",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "xoxb-123456789012-1234567890123-AbCdEfGhIjKl",
    "AIzaSyA1234567890abcdefghijklmnopqrstuv",
    "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7bq9\nabcDEF0123+/==\n-----END RSA PRIVATE KEY-----",
];
const PERSONAL: &[&str] = &[
    "anna.schmidt+bank@mail.firma.co.uk",
    "jürgen@müller.de",
    "+49 170 1234567",
    "+1 (415) 555-0132",
    "+14155550132",
    "+919876543210",
    "(415) 555-0132",
    "415-555-0132",
    "4111 1111 1111 1111",
    "5500-0055-5555-5559",
    "378282246310005",
    "6011000990139424",
    "DE89370400440532013000",
    "GB82 WEST 1234 5698 7654 32",
    "FR1420041010050500013M02606",
];

#[test]
fn an_address_longer_than_the_standards_permit_is_replaced_whole() {
    let local = "a".repeat(200);
    let said = redactor().text(&format!("write to {local}@corp.com today")).into_owned();
    assert!(!said.contains(&"a".repeat(20)) && !said.contains("corp.com"), "{said}");
    assert!(said.starts_with("write to ") && said.ends_with(".example today"), "{said}");
}

#[test]
fn each_kind_is_found_in_a_sentence_and_nothing_of_it_stays() {
    let r = redactor();
    for value in SECRETS.iter().chain(PERSONAL) {
        for text in [
            format!("please use {value}, and go on."),
            (*value).to_owned(),
            format!("({value})"),
            format!("x: \"{value}\""),
        ] {
            let out = r.text(&text);
            assert!(!out.contains(value), "{text} -> {out}");
            assert_eq!(out, r.text(&text));
        }
    }
}

#[test]
fn a_stand_in_keeps_its_format() {
    let r = redactor();
    for value in PERSONAL.iter().filter(|v| !v.contains('@')) {
        let out = r.text(value);
        let shape = |s: &str| {
            s.chars()
                .map(|c| {
                    if c.is_ascii_digit() {
                        '9'
                    } else if c.is_ascii_uppercase() {
                        'A'
                    } else {
                        c
                    }
                })
                .collect::<String>()
        };
        assert_eq!(shape(&out), shape(value));
    }
    for card in ["4111 1111 1111 1111", "378282246310005"] {
        assert!(luhn_ok(&r.text(card)));
    }
    let iban = r.text("GB82 WEST 1234 5698 7654 32").replace(' ', "");
    assert!(iban.starts_with("GB") && mod97(&iban) == Some(1), "{iban}");
    let key = r.text("sk-proj-4f9aB27cD1e8F3a6b5C0d9E2");
    assert!(key.starts_with("sk-proj-") && key.len() == 32, "{key}");
    assert!(r.text("bob@corp.com").ends_with(".example"));
    assert!(r.text("call +49 170 1234567").starts_with("call +49 "));
}

#[test]
fn the_same_value_has_the_same_stand_in_however_it_is_grouped() {
    let r = redactor();
    assert_eq!(digits(&r.text("4111 1111 1111 1111")), digits(&r.text("pay with 4111111111111111 now")));
    assert_eq!(r.text("Bob@Corp.com").to_lowercase(), r.text("bob@corp.com"));
    assert_eq!(digits(&r.text("(415) 555-0132")), digits(&r.text("415-555-0132")));
    assert_ne!(r.text("bob@corp.com"), r.text("rob@corp.com"));
    assert_ne!(r.text("bob@corp.com"), Redactor::new([6; 32]).text("bob@corp.com"));
}

#[test]
fn a_stand_in_is_found_as_the_same_kind_again() {
    let r = redactor();
    for value in PERSONAL.iter().chain(SECRETS).filter(|v| !v.contains("PRIVATE")) {
        let once = r.text(value).into_owned();
        assert_ne!(r.text(&once), once, "{value} -> {once}");
    }
}

#[test]
fn numbers_and_words_that_are_none_of_these_stay() {
    for text in [
        "order 4111111111111112 shipped",
        "flight BA-2490 at 10:45 on 2026-11-24T10:45:00+01:00",
        "total 1,234,567.89 EUR, 0.4111111111111111 of it",
        "unix time 1764000000000 and 1764000000000000000",
        "snowflake 1234567890123456789",
        "ticket 0123456789, invoice 4155550132",
        "uuid 123e4567-e89b-12d3-a456-426614174000",
        "2024-10-11 2024.10.11 10-11-2024",
        "ip 192.168.100.200 version 1.22.333.4444",
        "x = 12+3456789012",
        "a sk-learn-pipeline-with-many-steps and task-sk-1",
        "-12345678901234567",
        "DE00370400440532013000 has wrong check digits",
        "pixel @2x, user@localhost",
        "route 800-555",
        "0000000000000000",
        "order #415-555-0132",
        "[1732444800, 4111111111111112, 3.14159265358979]",
        r#"{"amount": 125000, "id": "ORD-2024-000123", "ts": 1732444800000}"#,
    ] {
        assert!(matches!(redactor().text(text), Cow::Borrowed(_)), "{text} -> {}", redactor().text(text));
    }
}

#[test]
fn json_is_redacted_string_by_string_and_every_other_byte_stays() {
    let r = redactor();
    let bob = r.text("bob@corp.com").into_owned();
    let text = r#"{ "to":"bob@corp.com", "n" : 1.50,"q":"say \"hi\" to\nbob@corp.com", "big": 123456789012345678901234567890 }"#;
    assert_eq!(r.text(text), text.replace("bob@corp.com", &bob));
    let escaped = r#"{"to":"bob\u0040corp.com"}"#;
    assert_eq!(r.text(escaped), format!(r#"{{"to":"{bob}"}}"#));
    let nested = serde_json::json!({ "body": r#"{"to":"bob@corp.com"}"# }).to_string();
    let out: serde_json::Value = serde_json::from_str(&r.text(&nested)).unwrap();
    assert_eq!(out["body"], format!(r#"{{"to":"{bob}"}}"#));
    let number = r.text(r#"{"card": 4111111111111111}"#);
    assert!(!number.contains("4111111111111111") && luhn_ok(&number), "{number}");
}

#[test]
fn an_id_from_a_tool_result_that_comes_back_as_an_argument_keeps_its_identity() {
    let r = redactor();
    let mut request = Request {
        messages: vec![
            Message::text_of(Role::System, "You help Anna (anna@firma.de)."),
            Message {
                tool_call_id: Some("call_1".into()),
                ..Message::text_of(Role::Tool, r#"{"customer":"anna@firma.de","balance":12}"#)
            },
        ],
        ..Request::default()
    };
    let mut reply: Reply = serde_json::from_value(serde_json::json!({ "choices": [{}] })).unwrap();
    reply.choices[0].tool_calls.push(ToolCall {
        id: "call_2".into(),
        name: "send".into(),
        arguments: r#"{"to": "anna@firma.de"}"#.into(),
    });
    assert!(r.request(&mut request) && r.reply(&mut reply));
    let result: serde_json::Value = serde_json::from_str(&request.messages[1].text()).unwrap();
    let arguments: serde_json::Value =
        serde_json::from_str(&reply.choices[0].tool_calls[0].arguments).unwrap();
    assert_eq!(result["customer"], arguments["to"]);
    assert_eq!(result["balance"], 12);
    assert!(request.messages[0].text().contains(result["customer"].as_str().unwrap()));
    let before = request.clone();
    request.messages[0].content = vec![Part::Text("nothing here".into())];
    let mut clean = Request { messages: vec![request.messages[0].clone()], ..before };
    assert!(!r.request(&mut clean));
}

/// A detector that is asked whatever the text looks like.
struct Asked(Box<dyn Detector>);

impl Detector for Asked {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }
    fn find(&self, text: &str, out: &mut Vec<Range<usize>>) {
        self.0.find(text, out);
    }
    fn find_under(&self, key: &str, text: &str, out: &mut Vec<Range<usize>>) {
        self.0.find_under(key, text, out);
    }
    fn is_sought(&self) -> bool {
        self.0.is_sought()
    }
    fn canonical<'a>(&self, value: &'a str) -> Cow<'a, str> {
        self.0.canonical(value)
    }
    fn stand_in(&self, value: &str, draw: &mut Draw) -> String {
        self.0.stand_in(value, draw)
    }
}

/// Redacts without a glance before.
static THOROUGH: LazyLock<Redactor> = LazyLock::new(|| {
    Redactor::with([5; 32], every().into_iter().map(|d| Box::new(Asked(d)) as Box<dyn Detector>).collect())
});
static EVERY: LazyLock<Vec<Box<dyn Detector>>> = LazyLock::new(every);

/// Where a glance says that nothing is there, nothing is found; and a text, in JSON
/// or not, is redacted as it is without one.
fn glance_misses_nothing(text: &str) -> Result<(), TestCaseError> {
    let glance = Glance::of(text);
    for d in EVERY.iter() {
        let mut found = Vec::new();
        d.find(text, &mut found);
        prop_assert!(found.is_empty() || d.may_find(text, &glance), "{} in {text:?}: {glance:?}", d.kind());
    }
    let quoted = serde_json::json!({ "a": text, "n": [1, { "b": text }] }).to_string();
    let slashed = quoted.replace('/', "\\/").replace('@', "\\u0040");
    for text in [text, &quoted, &slashed, &serde_json::json!([quoted]).to_string()] {
        prop_assert_eq!(redactor().text(text), THOROUGH.text(text));
    }
    Ok(())
}

#[test]
fn every_digit_of_the_patterns_is_a_digit_at_a_glance() {
    let digit = regex::Regex::new(r"^\d$").unwrap();
    for c in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
        let text = c.to_string();
        assert!(!digit.is_match(&text) || Glance::of(&text).row > 0, "{c:?}");
    }
}

#[test]
fn values_that_a_glance_might_miss() {
    for text in [
        "phone number: 555 01 99",
        "TELEFON 0305550199",
        "what\u{17f}app 555-0199-1",
        "fax (030) 5550 199",
        "tel. 03055.50199",
        "a@b.co",
        "eyJhbGciOiJIUzI_.eyJzdWIiOi_.dozjgNry",
        "xoxb-12345abcde",
        "whsec_a+/=a+/=a+/=1234",
        "phone 1 - 2 - 3 - 4 - 5 - 6 - 7 - 8",
        "phone 123\u{664}\u{665}\u{666}78",
        "12\\/34",
        "(415)\u{a0}555\u{2011}0132",
        "415\u{2011}555\u{2011}0132",
        "+4\u{202f}(\u{a0}9)\u{2011}17012345",
        "4111\u{a0}1111\u{202f}1111\u{2011}1111",
        "phone\u{a0}555\u{202f}01\u{202f}99",
    ] {
        glance_misses_nothing(text).unwrap();
    }
}

/// Texts that are nearly what is sought: values with characters put in, taken out or
/// changed, between others.
fn near_values() -> impl Strategy<Value = String> {
    let value = prop::sample::select([PERSONAL, SECRETS].concat());
    let other = prop::sample::select(vec![
        '.', '-', ' ', '/', '(', ')', '+', '@', '0', '7', 'A', 'k', '_', '\u{663}', 'é', '"', '\\', '\u{a0}',
        '\u{2011}', '\u{202f}',
    ]);
    let change = (0usize..60, 0u8..3, other);
    let near = (value, prop::collection::vec(change, 0..3)).prop_map(|(value, changes)| {
        let mut chars: Vec<char> = value.chars().collect();
        for (at, what, c) in changes {
            let at = at % chars.len().max(1);
            match what {
                0 => chars.insert(at, c),
                1 if chars.len() > 1 => drop(chars.remove(at)),
                _ => chars[at] = c,
            }
        }
        chars.into_iter().collect::<String>()
    });
    let word =
        prop::sample::select(vec!["call me at ", "tel: ", "phone ", "Handy ", ", ", " ", "x", "ſ", "{", "-"]);
    prop::collection::vec(prop_oneof![near, word.prop_map(str::to_owned)], 1..5).prop_map(|v| v.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn a_glance_misses_nothing_in_any_text(text in "\\PC{0,120}") {
        glance_misses_nothing(&text)?;
    }

    #[test]
    fn a_glance_misses_nothing_near_the_formats(text in "[-+0-9A-Za-z@. (){}\"\\\\:_/,é\u{663}]{0,160}") {
        glance_misses_nothing(&text)?;
    }

    #[test]
    fn a_glance_misses_nothing_in_rows_of_digits(text in "(tel )?([0-9]{1,4}[-. ()/+]{0,3}){2,8}") {
        glance_misses_nothing(&text)?;
    }

    #[test]
    fn a_glance_misses_nothing_in_rows_of_unbroken_digits(
        text in "(tel )?\\+?([0-9(]{1,4}[-. )\u{2011}\u{a0}\u{202f}]{0,3}){2,8}",
    ) {
        glance_misses_nothing(&text)?;
    }

    #[test]
    fn a_glance_misses_nothing_near_values(text in near_values()) {
        glance_misses_nothing(&text)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_text_is_redacted_without_a_panic(text in "\\PC{0,200}") {
        let _ = redactor().text(&text);
    }

    #[test]
    fn text_near_the_formats_is_redacted_without_a_panic(text in "[-+0-9A-Za-z@. (){}\"\\\\:_/,é]{0,120}") {
        let _ = redactor().text(&text);
    }

    #[test]
    fn json_stays_json(v in prop::collection::vec(prop_oneof![
        Just("bob@corp.com".to_owned()), Just("4111 1111 1111 1111".to_owned()), "\\PC{0,20}",
    ], 0..6)) {
        let text = serde_json::json!({ "a": v, "b": { "c": v } }).to_string();
        let out: serde_json::Value = serde_json::from_str(&redactor().text(&text)).unwrap();
        prop_assert_eq!(out["a"].as_array().unwrap().len(), v.len());
        prop_assert!(!out.to_string().contains("bob@corp.com"));
    }

    #[test]
    fn any_card_is_found_and_its_stand_in_passes_luhn(middle in "[0-9]{11}") {
        let stem: Vec<u32> = format!("4539{middle}0").chars().filter_map(|c| c.to_digit(10)).collect();
        let check = (10 - luhn(&stem) % 10) % 10;
        let card = format!("4539{middle}{check}");
        let out = redactor().text(&card).into_owned();
        prop_assert!(luhn_ok(&out));
        prop_assert!(out.starts_with("4539"));
    }
}
