//! What a word or a key announces, and what only looks as if it did.

use serde_json::json;

use super::*;
use crate::redact::keys::{may_name_a_number, names_a_number};

fn stays(text: &str) {
    let out = redactor().text(text);
    assert!(matches!(out, Cow::Borrowed(_)), "{text} -> {out}");
}

fn is_replaced(text: &str, number: &str) {
    let out = redactor().text(text).into_owned();
    assert!(text.contains(number) && !out.contains(number) && out.len() == text.len(), "{text} -> {out}");
}

#[test]
fn names_of_code_and_columns_of_counts_announce_nothing() {
    for text in [
        "bytes_per_cell = 1048576",
        "cell = 1000000;",
        "let cell=1000000;",
        "max_mobile: 7654321",
        "mobile=2024-06-15",
        "```json\n{\"mobile\": 7654321, \"cell\": \"7654321\"}\n```",
        "iPhone = 7654321",
        r#"{"desktop":5123456,"mobile":7654321}"#,
        r#"{"cell":20240615}"#,
        r#"{"cell":10000000000000,"handy":7654321}"#,
        r#"{"iPhone":7654321,"my iPhone":"7654321","iphone":"030 5550199"}"#,
        r#"{"cell":"7654321","mobile":["7654321.50","0.7654321"]}"#,
    ] {
        stays(text);
    }
    let mut request = Request::default();
    request
        .extra
        .insert("users".into(), json!({"mobile": 7_654_321, "iPhone": 7_654_321, "cell": "7654321"}));
    assert!(!redactor().request(&mut request));
}

#[test]
fn words_of_prose_and_labels_that_mean_nothing_else_announce_a_number() {
    for text in [
        "mobile: 0305550199",
        "my cell is 0305550199",
        "Handy 0305550199",
        "whatsapp: 0305550199",
        "please call me on 0305550199",
        "contact_number: 0305550199",
        "phone = 0305550199",
        "customer_tel='0305550199'",
        "fax=\"0305550199\"",
        "\"mobile_number\": \"0305550199\", ",
    ] {
        is_replaced(text, "305550199");
    }
}

#[test]
fn keys_that_may_mean_something_else_ask_for_a_value_that_looks_like_a_number() {
    for text in [
        r#"{"mobile":"0305550199"}"#,
        r#"{"cell":"+49 30 5550199"}"#,
        r#"{"handy":"30/5550199"}"#,
        r#"{"mobile":["30-5550199"]}"#,
        r#"{"mobile_number":305550199}"#,
        r#"{"cellPhone":"5550199"}"#,
        r#"{"Handynummer":"5550199"}"#,
    ] {
        is_replaced(text, "5550199");
    }
    for key in ["mobile", "Cell", "homeMobile", "work_cell", "handy2"] {
        assert!(may_name_a_number(key) && !names_a_number(key), "{key}");
    }
    for key in ["mobile_number", "cellPhone", "cell_no", "apiPhone"] {
        assert!(names_a_number(key), "{key}");
    }
    for key in ["iPhone", "iphone", "my_iPhone", "iPhone 15", "excell", "automobile"] {
        assert!(!may_name_a_number(key) && !names_a_number(key), "{key}");
    }
}

#[test]
fn a_date_is_no_number_whatever_announces_it() {
    for date in [
        "2024-06-15",
        "2024.06.15",
        "2024/06/15",
        "15-06-2024",
        "15.06.2024",
        "06/15/2024",
        "20240615",
        "2024\u{2011}06\u{2011}15",
        "2024-06-15 10:45",
        "20240615 1045",
    ] {
        for text in [
            format!("Please call me on {date}"),
            format!("phone: {date}, thanks"),
            format!("Tel ({date})"),
            format!("fax={date}"),
            json!({ "phone": date, "mobile": date, "tel": [date] }).to_string(),
        ] {
            stays(&text);
        }
    }
    stays(r#"{"phone":20240615}"#);
    // No calendar has these.
    for number in ["2024-13-15", "32.06.2024", "20241315", "2024-06-155"] {
        is_replaced(&format!("phone {number}"), number);
    }
}
