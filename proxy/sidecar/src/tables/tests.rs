use super::tasks::{HEADS, ROOM, in_lines, in_table};
use super::*;
use crate::admin::pages::{EntryRow, SavingsRow, TaskRow};

fn row() -> TaskRow {
    TaskRow {
        id: "00c0ffee12345678".into(),
        name: "look up a customer".into(),
        model: "gpt-4o".into(),
        stage: "canary".into(),
        step: Some((1, 2)),
        calls: 1234,
        conversations: 900,
        repeats: 56,
        coverage: Some(0.815),
        agreement: Some(Interval { mean: 0.982, low: 0.971, high: 0.99 }),
        entry: Some(3),
        understudy: Some("head-0123".into()),
        needed: Some(0),
        waits_for: Some("audits: 3 of 30 conversations".into()),
        served: 88,
        provider_ms: Some(1234.0),
        understudy_ms: Some(9.4),
        saved_usd: Some(0.0012),
        ..TaskRow::default()
    }
}

fn shadowing() -> TaskRow {
    TaskRow {
        name: "sort a ticket".into(),
        stage: "shadowing".into(),
        step: None,
        needed: Some(12),
        waits_for: Some("evidence: about 12 more calls".into()),
        ..row()
    }
}

#[test]
fn a_task_has_its_agreement_beside_its_coverage() {
    let mut wide = table(&HEADS);
    wide.set_width(ROOM);
    let (wide, narrow) = (in_table(wide, &[row(), shadowing()]), in_lines(&[row(), shadowing()]));
    for text in [&wide, &narrow] {
        for part in [
            "00c0ffee",
            "look up a customer",
            "canary 1/2",
            "1234",
            "56",
            "81.5 %",
            "98.2 % (97.1–99.0)",
            "1.2 s",
            "9.4 ms",
            "$0.00120",
            "audits: 3 of 30",
            "evidence: about 12",
        ] {
            assert!(text.contains(part), "{part:?} is missing from\n{text}");
        }
    }
    for part in ["56 repeats", "entry 3, head-0123", "missing: evidence: about 12 more calls"] {
        assert!(narrow.contains(part), "{part:?} is missing from\n{narrow}");
    }
    assert!(wide.lines().all(|l| l.chars().count() <= usize::from(ROOM)), "{wide}");
    assert!(narrow.lines().all(|l| l.chars().count() <= 80), "{narrow}");
    assert!(tasks(&[row()]).contains("fidelity to the provider"));
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
        understudies: vec![UnderstudyRow {
            name: "head-0123".into(),
            curve: vec![(0.9, 0.4, 0.995), (0.5, 0.8, 0.97)],
            ..UnderstudyRow::default()
        }],
        ..TaskPage::default()
    };
    let text = task(&page);
    for part in [
        "step 1 of 2 · audits: 3 of 30 conversations",
        "transfer (acts)",
        "head-0123  40:99.5  80:97.0",
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
