use proptest::prelude::*;
use understudy_call::{Choice, Finish, Part, Reply, Request, ToolCall};

use super::{Difference, compare, text, tools};
use crate::pairs::pairs;

#[test]
fn every_minimal_pair_is_judged_right() {
    let wrong: Vec<String> = pairs()
        .iter()
        .filter_map(|p| {
            let score = compare(&p.request, &p.reference, &p.answer);
            (score.agrees != p.should_agree).then(|| format!("{} / {}: {score:?}", p.scorer, p.kind))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn said(text: &str) -> Reply {
    let choice =
        Choice { content: vec![Part::Text(text.into())], finish: Some(Finish::Stop), ..Choice::default() };
    Reply { choices: vec![choice], ..Reply::default() }
}

#[test]
fn a_cut_reply_agrees_with_nothing() {
    let mut cut = said("hello");
    cut.choices[0].finish = Some(Finish::Length);
    let score = compare(&Request::default(), &said("hello"), &cut);
    assert_eq!((score.agrees, score.why), (false, Difference::NotWhole));
}

#[test]
fn a_reply_without_json_does_not_agree_with_json() {
    let score = compare(&Request::default(), &said("{\"a\": 1}"), &said("a is 1"));
    assert_eq!(score.why, Difference::NotJson);
}

fn agree(wanted: &str, given: &str) -> bool {
    compare(&Request::default(), &said(wanted), &said(given)).agrees
}

fn called(text: &str) -> Reply {
    let call = ToolCall {
        id: String::new(),
        name: "search".into(),
        arguments: serde_json::json!({ "text": text }).to_string(),
    };
    let choice = Choice { tool_calls: vec![call], finish: Some(Finish::ToolCalls), ..Choice::default() };
    Reply { choices: vec![choice], ..Reply::default() }
}

#[test]
fn a_sign_is_no_punctuation() {
    for (wanted, given) in [
        ("x > 5", "x < 5"),
        ("5 * 3", "5 / 3"),
        ("Use C#.", "Use C."),
        ("👍", "👎"),
        ("(a + b) * c", "a + (b * c)"),
        ("find *.log", "find .log"),
        ("x ** 2", "x * 2"),
        ("total\n- tax", "total tax"),
        ("x = 5\n// y = 6", "x = 5 // y = 6"),
        ("-- all of them\nselect 1", "-- all of them select 1"),
    ] {
        assert!(!agree(wanted, given), "{wanted} / {given}");
    }
}

#[test]
fn what_has_no_words_agrees_with_itself_only() {
    for (wanted, given) in [("!", "?"), ("", "…"), (".", ","), (" ", ""), ("\"", "'")] {
        assert!(agree(wanted, wanted));
        assert!(!agree(wanted, given), "{wanted:?} / {given:?}");
        let score = text::compare(wanted, given).score(None);
        assert_eq!((score.agrees, score.why), (false, Difference::Words));
    }
}

#[test]
fn how_a_sentence_is_set_does_not_count() {
    for (wanted, given) in [
        ("Hello, world!", "hello world"),
        ("**Done**: see (below).", "done see below"),
        ("«Oui», dit-elle…", "oui dit-elle"),
        ("Well ... yes.", "well yes"),
        ("It is **very late** now.", "It is very late now."),
        ("Wait — he said ‘no’.", "wait, he said 'no'"),
    ] {
        assert!(agree(wanted, given), "{wanted} / {given}");
    }
}

#[test]
fn an_argument_is_compared_loosely_as_a_name_and_to_the_letter_as_an_expression() {
    let same = |wanted: &str, given: &str| {
        let call = |text: &str| called(text).choices.remove(0).tool_calls;
        tools::compare(&[], &call(wanted), &call(given)).agrees
    };
    for (wanted, given) in [("Jay-Z", "jay z"), ("J.R.R. Tolkien", "JRR Tolkien"), ("e-mail", "email")] {
        assert!(same(wanted, given), "{wanted} / {given}");
    }
    for (wanted, given) in [
        ("*", "^"),
        ("a*b", "ab"),
        ("a-b", "a*b"),
        ("a - b", "ab"),
        ("N > n", "n > n"),
        ("Node.js", "Nodejs"),
        (",", " "),
        ("git pull\nmake", "git pull make"),
        ("if a:\n  b()\nc()", "if a:\n  b()\n  c()"),
        ("first\nSecond", "first\nsecond"),
    ] {
        assert!(!same(wanted, given), "{wanted:?} / {given:?}");
    }
    assert!(same("git pull \nmake\n", "git pull\nmake"));
}

#[test]
fn what_stands_in_a_list_is_compared_by_the_list_s_name() {
    let agree = |wanted: &str, given: &str| compare(&Request::default(), &said(wanted), &said(given)).agrees;
    assert!(!agree(r#"{"ids": ["AbCd"]}"#, r#"{"ids": ["abcd"]}"#));
    assert!(agree(r#"{"notes": ["Very late."]}"#, r#"{"notes": ["very late"]}"#));
}

const SIGNS: &[&str] = &[
    "+", "-", "*", "/", "<", ">", "=", "==", "<=", "^", "|", "&", "~", "#", "@", "%", "$", "_", "\\", "≤",
    "≥", "≠", "×", "÷", "→", "👍", "👎", "★", "☆", "✓", "✗", "°",
];

const FORMS: &[&str] = &["SIGN", "x SIGN y", "x SIGN 5.", "SIGNword", "wordSIGN.", "It is xSIGNy, yes."];

proptest! {
    #[test]
    fn another_sign_never_agrees(
        a in prop::sample::select(SIGNS),
        b in prop::sample::select(SIGNS),
        form in prop::sample::select(FORMS),
    ) {
        prop_assume!(a != b);
        let (a, b) = (form.replace("SIGN", a), form.replace("SIGN", b));
        let leaf = |s: &str| said(&serde_json::json!({ "note": s }).to_string());
        let r = Request::default();
        prop_assert!(!agree(&a, &b));
        prop_assert!(!compare(&r, &leaf(&a), &leaf(&b)).agrees);
        prop_assert!(!compare(&r, &called(&a), &called(&b)).agrees);
    }

    #[test]
    fn a_reply_agrees_with_itself(text in "\\PC{0,120}") {
        prop_assert!(compare(&Request::default(), &said(&text), &said(&text)).agrees);
    }

    #[test]
    fn agreement_is_symmetric(a in "[a-c 0-2.,]{0,12}", b in "[a-c 0-2.,]{0,12}") {
        let r = Request::default();
        prop_assert_eq!(compare(&r, &said(&a), &said(&b)).agrees, compare(&r, &said(&b), &said(&a)).agrees);
    }

    #[test]
    fn another_number_never_agrees(a in 0u32..10_000, b in 0u32..10_000, unit in "(euros|items|%|)") {
        prop_assume!(a != b);
        let r = Request::default();
        let agrees = compare(&r, &said(&format!("It is {a} {unit}.")), &said(&format!("It is {b} {unit}."))).agrees;
        prop_assert!(!agrees);
    }
}
