//! Private keys that are not whole.

use super::*;

const LINES: &str = "MIIEpAIBAAKCAQEA7bq9aZ0\nb1XabcDEF0123ghiJKL45";

#[test]
fn a_private_key_without_its_last_line_is_replaced_up_to_where_it_was_cut() {
    let r = redactor();
    for kind in ["", "RSA ", "OPENSSH "] {
        let head = format!("-----BEGIN {kind}PRIVATE KEY-----");
        for (before, after) in [
            ("", ""),
            ("key: ", "\n[truncated]"),
            ("", "[truncated]"),
            ("", "..."),
            ("", "\nPlease rotate it."),
            ("", "\n-----END RSA PRIV"),
            ("", "\n```\nbob asks"),
        ] {
            let text = format!("{before}{head}\n{LINES}{after}");
            let out = r.text(&text).into_owned();
            assert!(out.starts_with(&format!("{before}{head}\n")) && out.ends_with(after), "{out}");
            assert!(LINES.lines().all(|line| !out.contains(line)) && out.len() == text.len(), "{out}");
        }
    }
    let cut = r.text("-----BEGIN PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7bq9\naB3=\nthen").into_owned();
    assert!(!cut.contains("aB3=") && cut.ends_with("=\nthen"), "{cut}");
}

#[test]
fn what_lies_between_the_lines_of_a_key_does_not_keep_it() {
    let r = redactor();
    let head = "-----BEGIN PGP PRIVATE KEY BLOCK-----";
    let tail = "-----END PGP PRIVATE KEY BLOCK-----";
    for (between, after) in [
        ("\n\n", "\n"),
        ("\nVersion: GnuPG v2.0.22 (GNU/Linux)\n\n", "\n=aB3d\n"),
        ("\n", "\n[12 lines] (cut)\nxYz0123456789abcdefGHI\n"),
    ] {
        let out = r.text(&format!("{head}{between}{LINES}{after}{tail} ok")).into_owned();
        assert!(out.starts_with(head) && out.ends_with(&format!("{tail} ok")), "{out}");
        assert!(
            !out.contains("MIIEpAIBA") && !out.contains("b1XabcDEF") && !out.contains("xYz0123"),
            "{out}"
        );
    }
    let two = format!("-----BEGIN PRIVATE KEY-----\n{LINES}\n...\n{}", SECRETS[9]);
    let out = r.text(&two).into_owned();
    assert!(!out.contains("MIIEpAIBA") && out.contains("\n...\n-----BEGIN RSA PRIVATE KEY-----\n"), "{out}");
    assert!(out.ends_with(&*r.text(SECRETS[9])), "the one that is whole has the stand-in that it has alone");
}

#[test]
fn a_text_that_speaks_of_keys_stays() {
    for text in [
        "It begins with -----BEGIN PRIVATE KEY----- and then come lines of base64.",
        "grep -l 'BEGIN RSA PRIVATE KEY' -r .",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\n...\n",
        "-----BEGIN CERTIFICATE-----\nMIIEpAIBAAKCAQEA7bq9aZ0\n",
    ] {
        assert!(matches!(redactor().text(text), Cow::Borrowed(_)), "{text}");
    }
    let many = "-----BEGIN PRIVATE KEY----- a ".repeat(20_000);
    assert!(matches!(redactor().text(&many), Cow::Borrowed(_)));
}
