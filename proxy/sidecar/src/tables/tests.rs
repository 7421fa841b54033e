#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::admin::pages::{EntryRow, SavingsRow};

fn row() -> TaskRow {
    TaskRow {
        id: "00c0ffee12345678".into(),
        name: "look up a customer".into(),
        model: "gpt-4o".into(),
        stage: "canary".into(),
        step: Some((1, 2)),
        calls: 1234,
        conversations: 900,
        coverage: Some(0.815),
        agreement: Some(Interval { mean: 0.982, low: 0.971, high: 0.99 }),
        needed: Some(12),
        served: 88,
        provider_ms: Some(1234.0),
        understudy_ms: Some(9.4),
        saved_usd: Some(0.0012),
        ..TaskRow::default()
    }
}

#[test]
fn a_task_is_one_line_with_agreement_beside_coverage() {
    let text = tasks(&[row()]);
    for part in [
        "00c0ffee",
        "look up a customer",
        "canary 1/2",
        "81.5 %",
        "98.2 % (97.1–99.0)",
        "1.2 s",
        "9.4 ms",
        "$0.00120",
        "about 12 more",
    ] {
        assert!(text.contains(part), "{part:?} is missing from\n{text}");
    }
    assert!(text.contains("fidelity to the provider"));
}

#[test]
fn nothing_is_said_where_nothing_is_known() {
    assert_eq!(
        (percent(None), interval(None), millis(None), dollars(None)),
        ("–".into(), "–".into(), "–".into(), "–".into())
    );
    assert!(tasks(&[]).contains("no tasks yet"));
    assert!(decisions(&[]).contains("nothing was decided"));
    assert!(savings(&SavingsPage::default()).contains("nothing was served"));
}

#[test]
fn a_task_in_full_shows_its_evidence() {
    let page = TaskPage {
        row: row(),
        tools: vec![("transfer".into(), "acts".into())],
        entries: vec![EntryRow {
            k: 1,
            understudy: "head-0123".into(),
            wealth: 88.25,
            threshold: 200.0,
            ..EntryRow::default()
        }],
        declined: [("below_bar".to_owned(), 4)].into(),
        cusum: Some((1.25, 1000.0)),
        decisions: vec![DecisionRow {
            seq: 77,
            from: "shadowing".into(),
            to: "canary".into(),
            why: "evidence".into(),
            numbers: [("wealth".to_owned(), 201.5), ("n".to_owned(), 188.0)].into(),
            ..DecisionRow::default()
        }],
        ..TaskPage::default()
    };
    let text = task(&page);
    for part in [
        "step 1 of 2",
        "transfer (acts)",
        "head-0123",
        "88.25",
        "below_bar 4",
        "1.25 of 1000",
        "wealth 201.5",
        "n 188",
    ] {
        assert!(text.contains(part), "{part:?} is missing from\n{text}");
    }
}

#[test]
fn savings_without_a_price_are_in_tokens() {
    let page = SavingsPage {
        tasks: vec![SavingsRow {
            name: "t".into(),
            served: 3,
            input_tokens: 100,
            output_tokens: 20,
            ..SavingsRow::default()
        }],
        prices_dated: Vec::new(),
    };
    let text = savings(&page);
    assert!(text.contains("120") && text.contains("No price is known"), "{text}");
}
