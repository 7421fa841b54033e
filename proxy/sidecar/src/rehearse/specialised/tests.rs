use std::sync::Arc;

use clap::Parser;
use understudy_call::{
    Choice, Credential, Dialect, Exchange, ExchangeId, Finish, Message, Metadata, Part, Reply, Request, Role,
};
use understudy_capture::{FileKey, JournalConfig, Record};
use understudy_curriculum::Split;
use understudy_policy::{Ledger, TaskId, TaskPolicy};
use understudy_rehearsal::worker::Tally;
use understudy_tasks::{Conversations, HashKey, TaskBook};

use super::*;
use crate::config;
use crate::serve::recording;

const PERMITS: &str = "[providers.openai]\ntrain = true\ntrain_terms = \"clause 3\"";

fn configured(text: &str) -> Config {
    config::parse(text, None, []).unwrap()
}

/// A ticket and its queue.
fn exchange(n: u64) -> Exchange {
    let asked = format!("Ticket {n}: where is parcel {} that I ordered on day {}?", n * 7, n * 13);
    let queue = if n.is_multiple_of(3) { "billing" } else { "delivery" };
    let choice = Choice {
        content: vec![Part::Text(queue.to_owned())],
        finish: Some(Finish::Stop),
        ..Choice::default()
    };
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    Exchange::new(
        ExchangeId(id),
        Metadata::answered("openai", Dialect::OpenaiChat, Credential([1; 16])),
        Some(Request {
            model: "m".to_owned(),
            messages: vec![
                Message::text_of(Role::System, "Name the queue."),
                Message::text_of(Role::User, asked),
            ],
            ..Request::default()
        }),
        Some(Reply { choices: vec![choice], ..Reply::default() }),
    )
}

/// A rehearsal's journal of 200 tickets, their task, and the last one's place.
fn recorded(dir: &Path) -> (Journal, Task, u64) {
    let key = FileKey::from_bytes(&[5; 32]).unwrap();
    let hooks = recording::hooks(&Conversations::new(HashKey::new([3; 32])));
    let config =
        JournalConfig { dir: dir.join("journal"), free_floor_bytes: 0, nice: 0, ..JournalConfig::default() };
    let journal = Journal::open(config, Arc::new(key), hooks).unwrap();
    let last = journal.append_exchanges((0..200).map(exchange).collect()).unwrap();
    let mut book = TaskBook::default();
    let mut task = None;
    for (_, exchange) in &mut Exchanged::of(&journal) {
        task = book.assign(&exchange);
    }
    let task = book.task(task.unwrap()).unwrap().clone();
    (journal, task, last)
}

/// The notes of the audit log.
fn curated(journal: &Journal) -> Vec<Value> {
    let mut found = Vec::new();
    let mut cursor = journal.cursor(0);
    while let Some((_, record)) = cursor.next().unwrap() {
        if let Record::Note { kind, json } = record
            && kind == "curated"
        {
            found.push(json);
        }
    }
    found
}

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    asked: Rehearse,
}

#[test]
fn a_rehearsal_trains_on_permitted_providers_only() {
    let asked = |words: &str| Line::try_parse_from(words.split(' ')).unwrap().asked;
    let (training, other, none) = (
        asked("rehearse calls.jsonl --specialise 5"),
        asked("rehearse calls.jsonl --specialise 5 --provider mistral"),
        asked("rehearse calls.jsonl"),
    );
    let why = permit(&configured(""), &training).unwrap_err();
    assert!(matches!(why, Failure::Unavailable(_)));
    assert!(why.to_string().contains("providers.openai.train = true"), "{why}");
    assert!(permit(&configured(""), &none).is_ok());
    assert!(permit(&configured(PERMITS), &training).is_ok());
    assert!(permit(&configured(PERMITS), &other).is_err());
}

#[test]
fn training_begins_late_in_a_long_log_and_leaves_every_task_its_evidence() {
    assert_eq!(latest(13_723, 9_148, 9_148), 10_523);
    assert_eq!(latest(26_000, 17_333, 8_666), 19_600, "every second call is of the task");
    assert_eq!(latest(3_000, 2_000, 2_000), 0, "a short log has no calls to wait for");
    let args = Line::try_parse_from("rehearse calls.jsonl --specialise 5".split(' ')).unwrap().asked;
    let mut plan = Plan::of(&configured(PERMITS), &args, 300).unwrap();
    assert!(!plan.is_due(199, || panic!("nobody looks before it may be")));
    assert!(plan.is_due(200, Vec::new), "no task is to be trained, so there is none to wait for");
    assert!(plan.is_due(201, || panic!("it is settled")));
}

#[test]
fn a_rehearsals_training_set_rests_on_the_operators_word_and_is_noted() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, task, last) = recorded(dir.path());
    let refused = taught(&configured(""), &task, last, &journal, false);
    let Err(why) = refused else { panic!("nobody permitted it") };
    assert!(why.to_string().contains("train = true"), "{why}");
    assert!(curated(&journal).is_empty(), "nothing was given out");

    let Taught { set, upto, start } = taught(&configured(PERMITS), &task, last, &journal, false).unwrap();
    assert_eq!((upto, start), (last, Start::Anew));
    assert!(set.train >= 50 && !set.held.is_empty(), "{} {}", set.train, set.held.len());
    let lines = set.rows.split(|b| *b == b'\n').filter(|l| !l.is_empty()).skip(1);
    let rows: Vec<Value> = lines.map(|l| serde_json::from_slice(l).unwrap()).collect();
    assert_eq!(
        rows.iter().filter(|r| r["split"] == "held").count(),
        set.held.len(),
        "for the last measurement"
    );
    assert_eq!(set.class_cap, None);
    let notes = curated(&journal);
    let [note] = notes.as_slice() else { panic!("{notes:?}") };
    assert_eq!(note["what"]["data_sha256"], set.data_sha256.as_str());
    let permission = &note["what"]["providers"]["openai"][1];
    assert_eq!(permission["terms"], "clause 3");
    assert!(permission["by"].as_str().unwrap().contains("providers.openai.train"), "{permission}");
}

#[test]
fn what_no_version_could_cover_takes_no_time_for_training() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, task, last) = recorded(dir.path());
    let made = curated_upto(&configured(PERMITS), &task, last, None, &journal).unwrap();
    assert_eq!(made.report.answerable(), 1.0);
    assert!(curated(&journal).is_empty(), "nothing was given out");
    let mut report = made.report;
    assert!(specialise::can_cover(&report, 0.2).is_ok());
    let calls = report.split(Split::Train).stands_for;
    report.said_once = calls - calls / 20;
    let why = specialise::can_cover(&report, 0.2).unwrap_err().to_string();
    assert!(why.contains("20.0 %"), "{why}");
    assert!(specialise::can_cover(&report, 0.0).is_ok(), "what serves has left something");
    report.said_once = calls;
    assert!(specialise::can_cover(&report, 0.0).is_err());
}

#[test]
fn a_training_that_was_cut_off_goes_on_with_the_rows_that_it_had() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, task, last) = recorded(dir.path());
    let config = Config { state: dir.path().join("state"), ..configured(PERMITS) };
    let first = taught(&config, &task, last - 50, &journal, false).unwrap();
    let training = config.state.join("training").join(task.id.to_string());
    std::fs::create_dir_all(&training).unwrap();
    std::fs::write(training.join("checkpoint.safetensors"), "weights").unwrap();
    let keep = |upto: u64| {
        let kept = Kept { upto, data_sha256: first.set.data_sha256.clone(), class_cap: None };
        std::fs::write(training.join("run.json"), serde_json::to_vec(&kept).unwrap()).unwrap();
    };
    keep(last - 50);
    let again = taught(&config, &task, last, &journal, true).unwrap();
    assert_eq!((again.upto, again.start), (last - 50, Start::Resumed));
    assert_eq!(again.set.data_sha256, first.set.data_sha256);
    // Of another journal: as many rows as there are now, or too few to try.
    for upto in [last - 20, 1] {
        keep(upto);
        let other = taught(&config, &task, last, &journal, true).unwrap();
        assert_eq!((other.upto, other.start), (last, Start::OtherRows));
        assert!(other.set.train > first.set.train);
    }
    assert_eq!(curated(&journal).len(), 4, "what was given out is noted once");
}

#[test]
fn a_task_with_an_adapter_of_about_as_many_calls_is_not_trained_again() {
    let adapters = tempfile::tempdir().unwrap();
    let adapter = |name: &str, calls: u64| {
        let folder = adapters.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        let data =
            json!({ "exchanges": { "train": [], "development": [] }, "curation": { "exchanges": calls } });
        std::fs::write(folder.join("card.json"), json!({ "data": data }).to_string()).unwrap();
    };
    adapter("ours", 9_148);
    let adoption = |name: &str, rows: u64, round: Option<(u64, u64, f64)>| Adoption {
        task: TaskId(1),
        adapter: name.to_owned(),
        rows,
        answered: 0,
        agreed: 0,
        understudy: None,
        round,
        reason: String::new(),
    };
    let report = |calls: u64, adoptions: Vec<Adoption>| TaskReport {
        task: TaskId(1),
        name: String::new(),
        model: String::new(),
        provider: String::new(),
        tally: Tally { calls, ..Tally::default() },
        evidence: Ledger::new(TaskId(1), TaskPolicy::default()).view(),
        cast: Vec::new(),
        adoptions,
        adopting: None,
        provider_p50_ms: None,
        understudy_p50_ms: None,
    };
    let wanted = |r: &TaskReport| is_wanted(r, adapters.path());
    let lost = Some((9, 8, 0.5));
    assert!(wanted(&report(13_723, Vec::new())) && !wanted(&report(499, Vec::new())));
    let became = Adoption {
        understudy: Some(understudy_call::UnderstudyId("specialised-1".to_owned())),
        ..adoption("ours", 3_000, None)
    };
    assert!(!wanted(&report(13_519, vec![became])), "few of its calls became rows");
    assert!(!wanted(&report(13_519, vec![adoption("ours", 3_000, lost)])), "kept beside");
    assert!(wanted(&report(18_296, vec![adoption("ours", 3_000, lost)])), "its calls have doubled");
    assert!(wanted(&report(13_519, vec![adoption("ours", 3_000, None)])), "it could not be taken in");
    assert!(!wanted(&report(900, vec![adoption("no card", 500, lost)])), "its rows tell");
    let coming = TaskReport { adopting: Some((0, 0)), ..report(13_519, Vec::new()) };
    assert!(!wanted(&coming));
}
