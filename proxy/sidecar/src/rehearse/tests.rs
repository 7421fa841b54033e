use super::*;
use understudy_rehearsal::logs::BrokenLine;

#[test]
fn a_log_without_a_call_says_first_what_could_not_be_read() {
    let broken = |line: usize| BrokenLine { path: "calls.jsonl".into(), line, why: "not JSON".to_owned() };
    let log = Log { broken: vec![broken(3), broken(9)], ..Log::default() };
    let said = nothing_left(&log, false);
    assert!(
        said.contains("2 lines could not be read, the first of them line 3 of calls.jsonl: not JSON"),
        "{said}"
    );
    assert!(!said.contains("--only"), "{said}");
    let said = nothing_left(&log, true);
    assert!(said.find("2 lines") < said.find("--only"), "{said}");
    let halves = Halves { unanswered: 5, unasked: 0 };
    let said = nothing_left(&Log { halves, ..Log::default() }, false);
    assert!(said.contains("5 requests of a batch") && said.contains("its output file"), "{said}");
    assert!(nothing_left(&Log::default(), true).contains("look at --only and --hold-out"));
}

#[test]
fn nothing_of_a_rehearsals_journal_is_let_go_of_before_it_was_read() {
    let config = crate::config::parse("[capture]\nkeep_bytes = \"1 MiB\"\n", None, []).unwrap();
    let journal = journal_config(&config, Path::new("/rehearsal"));
    assert_eq!(journal.keep_bytes, u64::MAX);
    assert_eq!(journal.dir, Path::new("/rehearsal/journal"));
    assert_eq!(journal.volume_bytes, config.capture.journal.volume_bytes);
}
