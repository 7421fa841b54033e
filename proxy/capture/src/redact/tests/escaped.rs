//! JSON that cannot be read whole.

use super::*;

#[test]
fn values_after_an_escape_are_found_where_the_text_is_not_one_document() {
    let r = redactor();
    for value in SECRETS.iter().chain(PERSONAL) {
        let inner = serde_json::to_string(value).unwrap();
        let inner = inner.trim_matches('"');
        let alone = serde_json::to_string(&r.text(value)).unwrap();
        let alone = alone.trim_matches('"');
        for (before, after) in [
            ("```json\n{\"a\": \"x\\n", "\\ny\"}\n```"),
            ("{\"a\": \"x\\t", "\"}\n{\"a\": \"\"}\n"),
            ("{\"a\": \"x\\r\\n", "\\r\\n"),
            ("{\"a\": \"{\\\"b\\\": \\\"", "\\\", "),
            ("{\"a\": \"{\\\"b\\\": \\\"x\\\\n", "\\\\n, "),
        ] {
            let text = format!("{before}{inner}{after}");
            assert_eq!(r.text(&text), format!("{before}{alone}{after}"), "{text}");
        }
    }
}

#[test]
fn escapes_within_a_value_are_undone_to_find_it() {
    let r = redactor();
    let bob = r.text("bob@corp.com").into_owned();
    assert_eq!(r.text(r#"{"to":"bob\u0040corp.com", "#), format!(r#"{{"to":"{bob}", "#));
    let anna = r.text("j\u{fc}rgen@corp.com").into_owned();
    assert_eq!(r.text(r#"{"to":"j\u00fcrgen@corp.com", "#), format!(r#"{{"to":"{anna}", "#));
    let number = r.text("phone 030/5550199").replace('/', "\\/");
    assert_eq!(r.text(r#"{"a": "phone 030\/5550199"#), format!(r#"{{"a": "{number}"#));
    let phone = r.text(r#"{"phone":"030 5550199"}"#).into_owned();
    assert_eq!(r.text("```\n{\"phone\":\"030 5550199\"}\n```"), format!("```\n{phone}\n```"));
    let cut = phone.replace('"', "\\\"");
    assert_eq!(r.text(r#"{"a": "{\"phone\":\"030 5550199\"}"#), format!(r#"{{"a": "{cut}"#));
}

#[test]
fn every_other_byte_of_a_text_with_escapes_stays() {
    let r = redactor();
    let bob = r.text("bob@corp.com").into_owned();
    for around in
        ["C:\\new\\table 7", "\\alpha \\\\ \\ud83d\\ude00 \\u12 \\", "é\\n\\\"ü\\/\\", "\\\\\\\\n 12"]
    {
        assert!(matches!(r.text(around), Cow::Borrowed(_)), "{around}");
        assert_eq!(r.text(&format!("{around} bob@corp.com {around}")), format!("{around} {bob} {around}"));
    }
}

#[test]
fn a_backslash_outside_of_json_is_just_that() {
    let r = redactor();
    for (before, value) in [
        ("CORP\\", "nick@corp.com"),
        ("keys\\", "npm_AbCdEf0123456789AbCdEf0123456789AbCd"),
        ("C:\\x\\", "nvapi-AbCdEf0123456789AbCdEf0123456789"),
        ("\\", "tel 0305550199"),
    ] {
        let alone = r.text(value).into_owned();
        assert_ne!(alone, value);
        let said = format!("see {before}{value} there");
        let meant = format!("see {before}{alone} there");
        assert_eq!(r.text(&said), meant);
        // In a string of JSON it is one, once the string was read.
        let quoted = serde_json::json!({ "a": said }).to_string();
        assert_eq!(r.text(&quoted), serde_json::json!({ "a": meant }).to_string());
    }
}

#[test]
fn what_python_prints_of_its_values_has_escapes() {
    let r = redactor();
    let bob = r.text("bob@corp.com").into_owned();
    for (before, after) in [("{'to': 'x\\n", "'}"), ("got ['a\\t", "']")] {
        assert_eq!(r.text(&format!("{before}bob@corp.com{after}")), format!("{before}{bob}{after}"));
    }
}
