use understudy_policy::{Audits, EntryView, Ledger, TaskPolicy};
use understudy_rehearsal::worker::{Adoption, Tally};

use super::*;

fn report(n: u64, calls: u64, rows: &[u64]) -> TaskReport {
    let task = TaskId(n);
    let adoptions = rows.iter().map(|rows| Adoption {
        task,
        adapter: String::new(),
        rows: *rows,
        answered: 0,
        agreed: 0,
        understudy: None,
        round: None,
        reason: String::new(),
    });
    TaskReport {
        task,
        name: n.to_string(),
        model: String::new(),
        provider: String::new(),
        tally: Tally { calls, ..Tally::default() },
        evidence: Ledger::new(task, TaskPolicy::default()).view(),
        cast: Vec::new(),
        adoptions: adoptions.collect(),
        adopting: None,
        provider_p50_ms: None,
        understudy_p50_ms: None,
    }
}

#[test]
fn a_round_is_due_after_enough_calls_and_again_when_they_have_doubled() {
    let due = |r: &TaskReport, last: Option<u64>| due(std::slice::from_ref(r), 1000, &|_| last).is_some();
    assert!(!due(&report(1, 999, &[]), None));
    assert!(due(&report(1, 1000, &[]), None));
    // Refused, or under way: not again at once.
    assert!(!due(&report(1, 1999, &[]), Some(1000)));
    assert!(due(&report(1, 2000, &[]), Some(1000)));
    // One that a person had trained.
    assert!(!due(&report(1, 1999, &[850]), None));
    assert!(due(&report(1, 2000, &[850]), None));
    // Most of its calls were duplicates.
    assert!(!due(&report(1, 2100, &[680]), Some(2000)));
    let busy = TaskReport { adopting: Some((1, 9)), ..report(1, 2000, &[]) };
    assert!(!due(&busy, None));
}

#[test]
fn a_round_is_remembered_beyond_a_restart_whatever_came_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let restarted = || Rounds::read(dir.path());
    let (one, two) = (TaskId(1), TaskId(2));
    let mut rounds = restarted();
    assert_eq!(rounds.last(one), None);
    rounds.begin(one, 2000);
    rounds.end(one);
    assert_eq!((restarted().last(one), restarted().last(two)), (Some(2000), None));

    // One that ended with the proxy, which knew of it, is due when that is back.
    let mut rounds = restarted();
    let before = rounds.begin(one, 4000);
    assert_eq!((rounds.last(one), restarted().last(one)), (Some(4000), Some(4000)));
    rounds.take_back(one, before);
    let before = rounds.begin(two, 1000);
    rounds.take_back(two, before);
    assert_eq!((restarted().last(one), restarted().last(two)), (Some(2000), None));

    std::fs::write(dir.path().join("rounds.json"), "{").unwrap();
    assert_eq!(restarted().last(one), None, "as if there had been none");
}

#[test]
fn a_round_that_the_proxy_was_killed_in_goes_on_once_where_it_had_learnt_something() {
    let dir = tempfile::tempdir().unwrap();
    let task = TaskId(7);
    // Each is killed: it comes to no end.
    let begun = || Rounds::read(dir.path()).begin(task, 2000);
    begun();
    assert_eq!(Rounds::read(dir.path()).last(task), Some(2000), "it may have been killed for its memory");
    let training = dir.path().join("training").join(task.to_string());
    std::fs::create_dir_all(&training).unwrap();
    std::fs::write(training.join("checkpoint.safetensors"), "weights").unwrap();
    assert_eq!(Rounds::read(dir.path()).last(task), None);
    begun();
    assert_eq!(Rounds::read(dir.path()).last(task), Some(2000));
}

#[test]
fn a_round_that_was_cut_off_is_gone_on_with_and_else_begun_anew() {
    assert_eq!(ways(true), [true, false]);
    assert_eq!(ways(false), [false]);
}

#[test]
fn a_round_of_a_task_that_somebody_else_trains_is_not_over() {
    use std::os::unix::process::ExitStatusExt as _;
    let ended = |code: i32| ExitStatus::from_raw(code << 8);
    assert!(was_taken(&ended(75)));
    assert!([0, 1, 64, 69].iter().all(|code| !was_taken(&ended(*code))));
    assert!(!was_taken(&ExitStatus::from_raw(9)), "killed");
    // It is due again, and one that was cut off is still gone on with.
    let dir = tempfile::tempdir().unwrap();
    let task = TaskId(7);
    Rounds::read(dir.path()).begin(task, 2000);
    let training = dir.path().join("training").join(task.to_string());
    std::fs::create_dir_all(&training).unwrap();
    std::fs::write(training.join("checkpoint.safetensors"), "weights").unwrap();
    let mut rounds = Rounds::read(dir.path());
    let before = rounds.begin(task, 2000);
    rounds.take_back(task, before);
    assert_eq!((rounds.last(task), Rounds::read(dir.path()).last(task)), (None, None));
}

#[test]
fn a_task_whose_calls_are_nearly_all_served_needs_no_adapter() {
    let served = |coverage: f64| {
        let mut r = report(1, 2000, &[]);
        r.evidence.serving = Some(1);
        r.evidence.entries = vec![entry(coverage)];
        due(std::slice::from_ref(&r), 1000, &|_| None).is_some()
    };
    assert!(served(0.7));
    assert!(!served(0.95));
}

#[test]
fn a_task_that_no_adapter_may_answer_needs_none() {
    let due = |models: &[&str]| {
        let mut r = report(1, 2000, &[]);
        r.evidence.models = models.iter().map(|m| (*m).to_owned()).collect();
        due(std::slice::from_ref(&r), 1000, &|_| None).is_some()
    };
    assert!(due(&[]) && due(&["head", "specialised"]));
    assert!(!due(&["head"]) && !due(&["specialised-0123456789ab"]));
}

fn entry(coverage: f64) -> EntryView {
    let audits = Audits { conversations: 0, agreement: None, interval: (0.0, 1.0) };
    EntryView {
        k: 1,
        understudy: UnderstudyId("head".into()),
        bar: 0.0,
        after_seq: 0,
        alpha: 0.005,
        log_wealth: 6.0,
        log_threshold: 5.0,
        earned: Some(900),
        conversations: 300,
        agreement: Some(0.98),
        interval: (0.95, 1.0),
        coverage,
        calls: 400,
        taken: 300,
        calls_needed: None,
        strata: Vec::new(),
        audits,
        closed: None,
        by_operator: false,
    }
}
