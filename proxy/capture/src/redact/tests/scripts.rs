//! Digits and letters of other scripts than Latin.

use super::*;
use crate::redact::digit;

#[test]
fn digits_of_other_scripts_are_replaced_by_digits_of_theirs() {
    let r = redactor();
    let latin = digits(&r.text("TEL: 0305550199"));
    for zero in ['\u{ff10}', '\u{660}', '\u{6f0}', '\u{966}'] {
        let number: String = "0305550199"
            .chars()
            .map(|c| char::from_u32(u32::from(zero) + c.to_digit(10).unwrap()).unwrap())
            .collect();
        let text = format!("TEL: {number}");
        let out = r.text(&text).into_owned();
        assert!(!out.contains(&number) && out.chars().count() == text.chars().count(), "{out}");
        // The same number, so the same stand-in, in its own script.
        assert_eq!(digit::all(&out), latin);
        assert!(!out.chars().any(|c| c.is_ascii_digit()), "{out}");
    }
    let (one, other) =
        (r.text("TEL: \u{661}\u{662}\u{663}\u{664}\u{665}\u{666}\u{667}").into_owned(), "TEL: 1234567");
    assert_eq!(digit::all(&one), digit::all(&r.text(other)));
    let mixed = r.text("+49 \u{661}\u{667}\u{660} 1234567").into_owned();
    assert_eq!(digit::all(&mixed), digits(&r.text("+49 170 1234567")));
}

#[test]
fn a_script_whose_digits_are_not_known_has_no_numbers() {
    // Digits of N'Ko: they would stand for themselves.
    let text = "TEL: \u{7c1}\u{7c2}\u{7c3}\u{7c4}\u{7c5}\u{7c6}\u{7c7}";
    assert!(matches!(redactor().text(text), Cow::Borrowed(_)));
}

#[test]
fn digits_of_an_address_are_replaced_in_any_script() {
    let out = redactor()
        .text("mail \u{639}\u{644}\u{64a}\u{661}\u{662}\u{663}\u{664}\u{665}@corp.com")
        .into_owned();
    assert!(!out.contains("\u{661}\u{662}\u{663}\u{664}\u{665}") && out.ends_with(".example"), "{out}");
}

#[test]
fn an_address_with_marks_on_its_letters_is_replaced_whole() {
    for address in [
        "ju\u{308}rgen@mu\u{308}ller.de",
        "jose\u{301}@corp.com",
        "anna@\u{92d}\u{93e}\u{930}\u{924}.\u{92d}\u{93e}\u{930}\u{924}",
    ] {
        let out = redactor().text(&format!("mail {address}, please")).into_owned();
        assert!(out.starts_with("mail ") && out.ends_with(".example, please"), "{out}");
        assert!(!address.split(['@', '.']).any(|piece| piece.len() > 2 && out.contains(piece)), "{out}");
    }
}
