use understudy_call::UnderstudyId;
use understudy_policy::{Audits, Ledger, TaskPolicy};
use understudy_rehearsal::worker::Tally;

use super::*;

/// Ten of thirty calls were served, and the other twenty took 100,000 tokens each.
fn report(provider: &str) -> TaskReport {
    let task = TaskId(1);
    TaskReport {
        task,
        name: "triage".into(),
        model: "gpt-4o".into(),
        provider: provider.into(),
        tally: Tally { calls: 30, paid: 20, served: 10, tokens: [2_000_000, 0, 0], ..Tally::default() },
        evidence: Ledger::new(task, TaskPolicy::default()).view(),
        cast: vec![("head".into(), "head".into(), String::new())],
        adoptions: Vec::new(),
        adopting: None,
        provider_p50_ms: None,
        understudy_p50_ms: None,
    }
}

fn entry(agreement: Option<f64>, calls_needed: Option<u64>) -> EntryView {
    EntryView {
        k: 2,
        understudy: UnderstudyId("head".into()),
        bar: 0.0,
        after_seq: 0,
        alpha: 0.005,
        log_wealth: 1.0,
        log_threshold: 5.0,
        earned: None,
        conversations: 30,
        agreement,
        interval: (0.9, 1.0),
        coverage: 0.7,
        calls: 40,
        taken: 30,
        calls_needed,
        strata: Vec::new(),
        audits: Audits { conversations: 0, agreement: None, interval: (0.0, 1.0) },
        closed: None,
        by_operator: false,
    }
}

#[test]
fn a_task_is_priced_by_its_own_provider() {
    let text = "[providers.zeta]\nbase_url = \"https://zeta.test\"\nprefixes = [\"/zeta\"]\n\
                [providers.zeta.prices.\"gpt-4o\"]\ninput = 7\noutput = 7\ndated = \"2026-11\"\n";
    let prices = crate::config::parse(text, None, std::iter::empty()).unwrap().prices;
    // A million tokens of ten served calls, at openai's own 2.5 dollars and at zeta's 7.
    for (provider, usd) in [("openai", 2.5), ("a proxy of ours", 2.5), ("zeta", 7.0)] {
        let report = report(provider);
        let row = row(&report, 1, &prices);
        let saved = row.saved_usd.unwrap();
        assert_eq!((row.saved_tokens, row.tau, row.against), (1_000_000, 0.95, None));
        assert!((saved - usd).abs() < 1e-9, "{provider}: {saved}");
        let page = savings(std::slice::from_ref(&report), &prices);
        assert_eq!(page.tasks.first().unwrap().net_usd, Some(saved));
    }
    let both = savings(&[report("zeta"), report("openai")], &prices);
    assert!(both.prices_dated.contains(&"2026-11".to_owned()) && both.prices_dated.len() == 2);
}

#[test]
fn a_task_in_the_shadows_says_how_much_evidence_it_still_needs() {
    let waits = |entry: EntryView| {
        let mut report = report("openai");
        report.evidence.stage = Stage::Shadowing;
        report.evidence.entries = vec![entry];
        let row = row(&report, 1, &Prices::default());
        assert_eq!(row.entry, Some(2));
        row.waits_for.unwrap()
    };
    assert_eq!(waits(entry(Some(0.98), Some(12))), "evidence: about 12 more calls");
    assert_eq!(waits(entry(Some(0.9), None)), "evidence: agreement is not above τ so far");
    assert_eq!(waits(entry(None, None)), "evidence");
    let earned = EntryView { earned: Some(900), ..entry(Some(0.98), Some(0)) };
    assert!(waits(earned).starts_with("nothing more"));
}

#[test]
fn whom_the_policy_leaves_out_is_said_to_be() {
    let mut report = report("openai");
    report.evidence.stage = Stage::Shadowing;
    let said = |report: &TaskReport| {
        let row = row(report, 1, &Prices::default());
        let page = page(report, row, None, &TaskBook::default(), Vec::new());
        let state = page.understudies[0].state.clone();
        (page.row.waits_for.unwrap(), page.rules["who may answer"].clone(), state)
    };
    let words = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
    assert_eq!(said(&report), words("trials", "every understudy", "in development"));
    report.evidence.models = vec!["prompted".to_owned(), "remote".to_owned()];
    let waits = "an understudy that the policy lets answer";
    assert_eq!(said(&report), words(waits, "prompted, remote", "the policy leaves it out"));
}

#[test]
fn audits_shown_are_those_of_the_entry_that_serves() {
    let mut report = report("openai");
    let audits = Audits { conversations: 40, agreement: Some(0.9), interval: (0.8, 0.96) };
    report.evidence.entries = vec![EntryView { audits, ..entry(Some(0.98), None) }];
    let shown = |report: &TaskReport| {
        let row = row(report, 1, &Prices::default());
        (row.audited_agreement, row.audited_conversations, row.agreement.unwrap().mean)
    };
    assert_eq!(shown(&report), (None, None, 0.98));
    report.evidence.serving = Some(2);
    assert_eq!(shown(&report), (Some(0.9), Some(40), 0.98));
}

#[test]
fn the_evidence_against_a_task_reaches_one_where_it_is_demoted() {
    let mut report = report("openai");
    let mut at = |value| {
        report.evidence.cusum = Some(value);
        report.evidence.cusum_limit = 1000.0;
        row(&report, 1, &Prices::default()).against.unwrap()
    };
    assert_eq!((at(0.0), at(20.0), at(1000.0), at(1e300)), (0.0, 0.02, 1.0, 1.0));
}

#[test]
fn what_a_task_waits_for_is_the_policy_s_word_and_not_only_its_tools() {
    let said = |needs: bool, acting: bool| {
        let mut report = report("openai");
        (report.evidence.needs_approval, report.evidence.acting) = (needs, acting);
        report.evidence.awaiting_approval = needs;
        let row = row(&report, 1, &Prices::default());
        let waits = row.waits_for.clone().unwrap_or_default();
        (waits, page(&report, row, None, &TaskBook::default(), Vec::new()).rules["approval"].clone())
    };
    let (waits, approval) = said(true, false);
    assert!(waits.contains("the policy asks for it") && approval.contains("waits for a person"), "{waits}");
    assert!(said(true, true).0.contains("tools that act"));
    assert!(said(false, true).1.contains("not asked for by the policy"));
}

#[test]
fn a_task_whose_calls_are_all_of_one_conversation_says_how_to_tell_them_apart() {
    let mut report = report("openai");
    report.evidence.stage = Stage::Shadowing;
    (report.evidence.calls, report.evidence.open_conversations) = (500, 1);
    let waits = |report: &TaskReport| row(report, 1, &Prices::default()).waits_for.unwrap_or_default();
    assert!(waits(&report).contains("x-understudy-conversation"));
    report.evidence.open_conversations = 7;
    assert_eq!(waits(&report), "trials");
}
