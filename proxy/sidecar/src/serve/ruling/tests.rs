use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use understudy_call::{Credential, Dialect, Exchange, ExchangeId, Message, Metadata, Request, Role};
use understudy_capture::{FileKey, Journal, JournalConfig, Record};
use understudy_cast::{Cast, CastConfig};
use understudy_policy::{Decision, Ledger, TaskId, TaskPolicy, Why};
use understudy_rehearsal::{Outlets, Pace, Settings};
use understudy_tasks::{Conversations, HashKey, TaskBook};

use super::*;
use crate::serve::recording;
use crate::serve::source::document::Told;

#[test]
fn a_task_is_brought_to_its_stage_and_kept_there() {
    let canary = Stage::Canary { step: 1 };
    assert_eq!(next(Stage::Observing, Pinned::Live, false, true), None);
    assert_eq!(next(Stage::Shadowing, Pinned::Live, false, false), None, "nobody could serve");
    assert_eq!(next(Stage::Shadowing, Pinned::Live, false, true), Some(Action::Promote));
    assert_eq!(next(canary, Pinned::Live, true, true), Some(Action::Promote), "whoever pinned it there");
    assert_eq!(next(Stage::Live, Pinned::Live, false, true), Some(Action::Pin(true)));
    assert_eq!(next(Stage::Live, Pinned::Live, true, true), None);
    assert_eq!(next(canary, Pinned::Shadowing, true, true), Some(Action::Demote));
    assert_eq!(next(Stage::Shadowing, Pinned::Shadowing, false, true), Some(Action::Pin(true)));
    assert_eq!(next(Stage::Observing, Pinned::Shadowing, false, false), None);
}

#[test]
fn a_pin_is_a_persons_until_a_policy_has_moved_the_task_against_it() {
    let view = |pinned: bool, by: &str, moved_by: Option<&str>| {
        let mut view = Ledger::new(TaskId(1), TaskPolicy::default()).view();
        view.stage = Stage::Live;
        view.pinned = pinned;
        view.pinned_by = pinned.then(|| by.to_owned());
        view.last_decision = moved_by.map(|by| Decision {
            task: view.task,
            seq: 1,
            from: Stage::Shadowing,
            to: Stage::Live,
            why: Why::Operator,
            entry: None,
            understudy: None,
            numbers: BTreeMap::new(),
            by: Some(by.to_owned()),
        });
        view
    };
    assert!(is_kept(&view(true, "ada", None)) && is_kept(&view(true, "ada", Some("ada"))));
    assert!(is_kept(&view(true, "policy agents/all", Some("policy agents/all"))));
    assert!(!is_kept(&view(true, "ada", Some("policy agents/all"))));
    assert!(!is_kept(&view(false, "", None)));
}

fn journal(dir: &Path) -> Journal {
    let hooks = recording::hooks(&Conversations::new(HashKey::new([3; 32])));
    let config =
        JournalConfig { dir: dir.to_owned(), free_floor_bytes: 0, nice: 0, ..JournalConfig::default() };
    Journal::open(config, Arc::new(FileKey::from_bytes(&[5; 32]).unwrap()), hooks).unwrap()
}

/// A worker whose tasks are shadowing after their first call.
async fn worker(journal: &Journal) -> Rehearsal {
    let cast = Arc::new(Cast::new(CastConfig::default(), None, None, || 0));
    let policy = TaskPolicy { observe_calls: 1, ..TaskPolicy::default() };
    let mut rehearsal = Rehearsal::new(
        Settings { policy, ..Settings::default() },
        journal.clone(),
        cast,
        HashKey::new([3; 32]),
        TaskBook::default(),
        Pace::free(),
        Outlets::default(),
    );
    rehearsal.restore().await.unwrap();
    rehearsal
}

/// One that knows of a call, and has read it.
async fn with_a_task(dir: &Path) -> Rehearsal {
    let journal = journal(dir);
    let request = Request { messages: vec![Message::text_of(Role::User, "say it")], ..Request::default() };
    let meta = Metadata::answered("openai", Dialect::OpenaiChat, Credential([1; 16]));
    let call = Exchange::new(ExchangeId([7; 16]), meta, Some(request), None);
    let seq = journal.append_exchanges(vec![call]).unwrap();
    let note = Record::Note { kind: "folded".to_owned(), json: serde_json::json!({ "seq": seq }) };
    journal.append(vec![note]).unwrap();
    worker(&journal).await
}

/// One that begins with what another knew, as where the volumes before that were let go.
async fn after(dir: &Path, known: Value) -> Rehearsal {
    let journal = journal(dir);
    journal.set_checkpoint(Arc::new(move || known.clone()));
    journal.append(vec![Record::Note { kind: "test".to_owned(), json: Value::Null }]).unwrap();
    worker(&journal).await
}

fn under(policies: Vec<Told>) -> Ruling {
    Ruling { heard: None, document: Arc::new(Document { policies, ..Document::default() }) }
}

fn keeps_back() -> Ruling {
    let told = Told { name: "agents/back".to_owned(), stage: Some(Pinned::Shadowing), ..Told::default() };
    under(vec![told])
}

fn pinned_by(rehearsal: &Rehearsal) -> Option<String> {
    rehearsal.reports()[0].evidence.pinned_by.clone()
}

#[tokio::test]
async fn what_a_policy_pinned_is_free_without_it_though_only_the_checkpoint_knows() {
    let dir = tempfile::tempdir().unwrap();
    let mut rehearsal = with_a_task(&dir.path().join("first")).await;
    let task = rehearsal.reports()[0].task.to_string();
    assert!(keeps_back().keep(&mut rehearsal).await.unwrap());
    assert_eq!(pinned_by(&rehearsal).as_deref(), Some("policy agents/back"));
    assert!(!keeps_back().keep(&mut rehearsal).await.unwrap(), "it is there");
    // What a person does meanwhile does not make the pin theirs.
    rehearsal.operate(&task, Action::Approve, "ada").await.unwrap();

    let mut later = after(&dir.path().join("later"), rehearsal.checkpoint()()).await;
    assert!(later.decisions().is_empty());
    assert!(!keeps_back().keep(&mut later).await.unwrap());
    assert_eq!(pinned_by(&later).as_deref(), Some("policy agents/back"));
    assert!(under(Vec::new()).keep(&mut later).await.unwrap());
    assert!(!later.reports()[0].evidence.pinned);
    assert!(!under(Vec::new()).keep(&mut later).await.unwrap(), "once");
}

#[tokio::test]
async fn what_a_person_pinned_stays_whatever_policies_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let mut rehearsal = with_a_task(&dir.path().join("first")).await;
    let task = rehearsal.reports()[0].task.to_string();
    rehearsal.operate(&task, Action::Pin(true), "ada").await.unwrap();
    assert!(!keeps_back().keep(&mut rehearsal).await.unwrap(), "it is kept there");
    assert!(!under(Vec::new()).keep(&mut rehearsal).await.unwrap());
    let mut later = after(&dir.path().join("later"), rehearsal.checkpoint()()).await;
    assert!(!under(Vec::new()).keep(&mut later).await.unwrap());
    assert_eq!(pinned_by(&later).as_deref(), Some("ada"));
    // Nor where a policy had pinned it before the person did.
    later.operate(&task, Action::Pin(false), "ada").await.unwrap();
    assert!(keeps_back().keep(&mut later).await.unwrap());
    later.operate(&task, Action::Pin(true), "ada").await.unwrap();
    assert!(!under(Vec::new()).keep(&mut later).await.unwrap());
    assert_eq!(pinned_by(&later).as_deref(), Some("ada"));
}
