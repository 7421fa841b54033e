//! Numbers beside numbers: each match of a pattern takes all the digits that it can get.

use super::*;

/// A text in which values stand in braces: they are replaced, by the stand-ins that they
/// have alone, and every other character stays.
fn only_those_in_braces(marked: &str) {
    let r = redactor();
    let (mut text, mut meant) = (String::new(), String::new());
    for (i, piece) in marked.split(['{', '}']).enumerate() {
        text.push_str(piece);
        if i % 2 == 0 {
            meant.push_str(piece);
        } else {
            let alone = r.text(piece);
            assert_ne!(alone, piece, "it is found alone");
            meant.push_str(&alone);
        }
    }
    assert_eq!(r.text(&text), meant, "{marked}");
}

#[test]
fn a_card_is_found_whatever_numbers_stand_beside_it() {
    for marked in [
        "{4111111111111111} 123",
        "{4111 1111 1111 1111} 12/27",
        "{4111 1111 1111 1111} 12/27 123",
        "10:45:00 {4111111111111111}",
        "2024-05-01 {4111111111111111}",
        "2024-05-01 {4111-1111-1111-1111} 2",
        "1 {4111111111111111}",
        "1 {4111111111111111} 2 {5500 0055 5555 5559} 3",
        "{4111 1111 1111 1111} {5500 0055 5555 5559}",
        "{4111111111111111} 4111111111111112 {378282246310005} 2026",
        "{3782 822463 10005} 2026 100",
    ] {
        only_those_in_braces(marked);
    }
}

#[test]
fn a_telephone_number_ends_before_the_number_that_follows_it() {
    for marked in [
        "{+14155550132} 2 adults",
        "{+14155550132} 2026-01-02",
        "{+1 415 555 0132} 2 adults",
        "{+1 (415) 555-0132} 2026-01-02",
        "{+447911123456} 2 seats",
        "{+447911123456} 2026-01-02",
        "{+44 7911 123456} 2 seats",
        "{+33 6 12 34 56 78} 2026-01-02",
        "{+33 6 12 34 56 78} 2 seats",
        "{+49 170 1234567} 10:45",
        "{+14155550132} {415-555-0199}",
        "order-1 {415-555-0132}",
    ] {
        only_those_in_braces(marked);
    }
    let r = redactor();
    for (number, after) in [
        ("4155550132", " 2 adults"),
        ("4155550132", " 2026"),
        ("030 5550199", " 2026-01-02"),
        ("030 5550199", " 2 seats"),
    ] {
        let out = r.text(&format!("phone {number}{after}")).into_owned();
        assert!(out.starts_with("phone ") && out.ends_with(after), "{out}");
        assert!(!out.contains(number) && out.len() == "phone ".len() + number.len() + after.len(), "{out}");
    }
    // What cannot be told from the number is replaced with it.
    let out = r.text("+49 170 1234567 12 seats").into_owned();
    assert!(out.starts_with("+49 ") && !out.contains("1234567"), "{out}");
}

#[test]
fn an_account_is_found_after_what_begins_like_one() {
    for marked in [
        "{DE89370400440532013000} {GB82WEST12345698765432}",
        "{DE89 3704 0044 0532 0130 00} {FR1420041010050500013M02606} {DE89370400440532013000}",
        "RE24 {DE89370400440532013000}",
        "DE00370400440532013000 {DE89370400440532013000}",
        "{DE89 3704 0044 0532 0130 00} AB12 until 2026",
    ] {
        only_those_in_braces(marked);
    }
}

#[test]
fn separators_that_break_no_line_are_separators() {
    for marked in [
        "{4111\u{a0}1111\u{a0}1111\u{a0}1111}\u{a0}12/27",
        "{4111\u{202f}1111\u{202f}1111\u{202f}1111}",
        "{4111\u{2011}1111\u{2011}1111\u{2011}1111} 123",
        "call {415\u{2011}555\u{2011}0132}, please",
        "{(415)\u{a0}555\u{2011}0132}",
        "{+49\u{202f}170\u{202f}1234567}\u{a0}2 seats",
        "{DE89\u{202f}3704\u{202f}0044\u{202f}0532\u{202f}0130\u{202f}00}",
    ] {
        only_those_in_braces(marked);
    }
    let r = redactor();
    assert_eq!(digits(&r.text("415\u{2011}555\u{2011}0132")), digits(&r.text("415-555-0132")));
}

#[test]
fn values_in_a_line_of_fields_are_found_without_a_space_between() {
    for marked in [
        "Anna,{+4917012345678},Berlin,{4111111111111111},12/27",
        "1,{4111111111111111},123",
        "id,{415-555-0132},Berlin",
        "user=anna phone={+4917012345678}",
        "to={+4917012345678}=a",
        "{4111111111111111}.Thanks",
        "{+4917012345678}.Thanks",
        "{bob@corp.com},{+4917012345678},{DE89370400440532013000},x",
    ] {
        only_those_in_braces(marked);
    }
    let out = redactor().text("user=anna&phone=0305550199").into_owned();
    assert!(out.starts_with("user=anna&phone=0") && !out.contains("305550199"), "{out}");
}

#[test]
fn a_comma_between_thousands_joins_them() {
    for text in ["12,345,678,901.50", "phone 030 555 019,200", "0.4111111111111111,2", "v=415-555-0132"] {
        let out = redactor().text(text);
        assert!(matches!(out, Cow::Borrowed(_)), "{text} -> {out}");
    }
}

#[test]
fn numbers_beside_numbers_that_are_none_of_these_stay() {
    for text in [
        "4111111111111111-123",
        "1-4111111111111111",
        "4111 1111 1111 1112 12/27",
        "12 34 56 78 90 12 34 56 78 90",
        "0.4111111111111111 2",
        "2024 2025 2026 2027 2028 2029",
        "1732444800 1732444801 1732444802",
        "+12 2026-01-02",
        "x = 12+3456789012 2",
        "RE24 DE00370400440532013000",
        "12-415-555-0132",
    ] {
        let out = redactor().text(text);
        assert!(matches!(out, Cow::Borrowed(_)), "{text} -> {out}");
    }
}

#[test]
fn a_long_row_of_groups_is_read_once() {
    // Thousands of beginnings, each with as many digits after it as a pattern takes.
    for group in ["1 ", "4111 ", "AB12 ", "+12 3 ", "415-555 "] {
        let text = group.repeat(20_000);
        assert!(redactor().text(&text).len() == text.len());
    }
}
