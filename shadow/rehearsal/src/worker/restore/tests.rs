use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use understudy_call::{
    Belongs, ConversationKey, Credential, Dialect, ExchangeId, Message, Metadata, Request, Role,
};
use understudy_capture::{FileKey, Hooks, JournalConfig};
use understudy_cast::{Cast, CastConfig};
use understudy_policy::Action;
use understudy_tasks::{HashKey, TaskBook};

use super::super::{Outlets, Pace, Settings};
use super::*;

fn journal(dir: &std::path::Path) -> Journal {
    let hooks = Hooks {
        fingerprint: Arc::new(|dialect, request: &Request, _, _| {
            let form = understudy_tasks::fingerprint(dialect, request);
            Belongs { form, conversation: ConversationKey([0; 16]), opening: 0 }
        }),
        audit: Arc::new(|_, _, _| 1.0),
    };
    let config =
        JournalConfig { dir: dir.join("journal"), free_floor_bytes: 0, nice: 0, ..JournalConfig::default() };
    Journal::open(config, Arc::new(FileKey::from_bytes(&[5; 32]).unwrap()), hooks).unwrap()
}

fn rehearsal(journal: &Journal) -> Rehearsal {
    let cast = Arc::new(Cast::new(CastConfig::default(), None, None, || 0));
    let (key, book) = (HashKey::new([3; 32]), TaskBook::default());
    Rehearsal::new(Settings::default(), journal.clone(), cast, key, book, Pace::free(), Outlets::default())
}

fn folded(seq: u64) -> Record {
    Record::Note { kind: "folded".to_owned(), json: json!({ "seq": seq }) }
}

/// A call that an earlier run has folded; its place.
fn one_call(journal: &Journal) -> u64 {
    let question = Request { messages: vec![Message::text_of(Role::User, "say it")], ..Request::default() };
    let meta = Metadata::answered("openai", Dialect::OpenaiChat, Credential([1; 16]));
    let call = Exchange::new(ExchangeId([7; 16]), meta, Some(question), None);
    let seq = journal.append_exchanges(vec![call]).unwrap();
    journal.append(vec![folded(seq)]).unwrap();
    seq
}

/// So many records that say nothing of it.
fn others(n: usize) -> Vec<Record> {
    vec![Record::Note { kind: "read".to_owned(), json: json!({}) }; n]
}

#[test]
fn the_last_note_of_what_was_folded_is_found_from_the_end_on() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let looks = AtomicU64::new(0);
    let look = || {
        looks.fetch_add(1, Ordering::Relaxed);
        false
    };
    assert_eq!(last_folded(&journal, &look).unwrap(), 0);
    journal.append(others(10)).unwrap();
    journal.append(vec![folded(7)]).unwrap();
    assert_eq!(last_folded(&journal, &look).unwrap(), 7);
    journal.append(others(5000)).unwrap();
    assert_eq!(last_folded(&journal, &look).unwrap(), 7, "however far back it is");
    journal.append([vec![folded(4000), folded(4321)], others(300)].concat()).unwrap();
    looks.store(0, Ordering::Relaxed);
    assert_eq!(last_folded(&journal, &look).unwrap(), 4321);
    let looks = looks.load(Ordering::Relaxed);
    assert!(looks < 2 * LOOK_BACK, "{looks} records were read");
}

#[tokio::test]
async fn a_restart_is_given_up_at_the_next_record_when_the_process_ends() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    journal.append([others(2000), vec![folded(1900)]].concat()).unwrap();
    for after in [0, 10, LOOK_BACK + 500] {
        let looks = AtomicU64::new(0);
        let ended = || looks.fetch_add(1, Ordering::Relaxed) >= after;
        assert_eq!(rehearsal(&journal).restore_unless(&ended).await.unwrap(), None);
        assert!(looks.load(Ordering::Relaxed) <= after + 3, "of {after}: {looks:?}");
    }
    let durable = journal.durable_seq();
    assert_eq!(rehearsal(&journal).restore().await.unwrap(), 1901);
    assert_eq!(journal.durable_seq(), durable, "nothing is written where nothing was decided");
}

#[tokio::test]
async fn a_volume_that_begins_before_the_first_flush_knows_what_was_restored() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let seq = one_call(&journal);
    let mut again = rehearsal(&journal);
    assert_eq!(again.restore().await.unwrap(), seq + 1);
    let saved = serde_json::to_value(&*again.saved.load_full()).unwrap();
    assert_eq!(saved["folded"], seq, "{saved}");
}

#[tokio::test]
async fn an_order_at_the_place_of_the_checkpoint_counts_once_whether_or_not_it_is_in_there() {
    let dir = tempfile::tempdir().unwrap();
    let first = journal(&dir.path().join("first"));
    one_call(&first);
    let mut r = rehearsal(&first);
    r.restore().await.unwrap();
    let task = r.reports()[0].task.to_string();
    let (before, from) = (r.checkpoint()(), first.durable_seq() + 1);
    r.operate(&task, Action::Pin(true), "a person").await.unwrap();
    let after = r.checkpoint()();
    let mut order = Vec::new();
    let mut cursor = first.cursor(from);
    while let Some((_, record)) = cursor.next().unwrap() {
        order.push(record);
    }
    // A volume that began before the order was given, and one that began as it was written.
    for (name, checkpoint, again) in [("before", before, 1), ("after", after, 0)] {
        let rest = journal(&dir.path().join(name));
        rest.set_checkpoint(Arc::new(move || checkpoint.clone()));
        rest.append(order.clone()).unwrap();
        let mut r = rehearsal(&rest);
        r.restore().await.unwrap();
        assert!(r.reports()[0].evidence.pinned, "{name}");
        assert_eq!(r.decisions().len(), again, "{name}");
    }
}

#[tokio::test]
async fn a_loss_after_the_checkpoint_is_no_older_than_it_though_its_place_is() {
    let dir = tempfile::tempdir().unwrap();
    let first = journal(&dir.path().join("first"));
    one_call(&first);
    let mut r = rehearsal(&first);
    r.restore().await.unwrap();
    let (task, at) = (r.reports()[0].task, r.folded);
    r.operate(&task.to_string(), Action::Pin(true), "a person").await.unwrap();
    let checkpoint = r.checkpoint()();
    let number = saved::number(&checkpoint) + 1;
    let note = |kind: &str, json| Record::Note { kind: kind.to_owned(), json };
    let unpinned = Event::Operator { action: Action::Pin(false), by: "a person".to_owned(), seq: at - 1 };
    for (name, lost, pinned) in [("lost", true, false), ("not", false, true)] {
        // Of the volumes before this one the last note is gone, so its worker went back.
        let rest = journal(&dir.path().join(name));
        let state = checkpoint.clone();
        rest.set_checkpoint(Arc::new(move || state.clone()));
        let mut records = vec![note("event", json!({"task": task, "event": unpinned}))];
        records.extend(lost.then(|| note("lost", json!([[at, at]]))));
        records.push(note("folded", json!({"seq": at - 1, "saved": number})));
        rest.append(records).unwrap();
        let mut r = rehearsal(&rest);
        r.restore().await.unwrap();
        assert_eq!(r.reports()[0].evidence.pinned, pinned, "{name}");
    }
}

#[tokio::test]
async fn after_an_append_that_failed_a_volume_begins_with_what_was_durable_or_with_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    one_call(&journal);
    let mut r = rehearsal(&journal);
    let checkpoint = r.checkpoint();
    assert!(checkpoint().is_null());
    r.restore().await.unwrap();
    let task = r.reports()[0].task.to_string();
    let durable = checkpoint();
    assert!(durable["saved"]["tasks"][0].is_object(), "{durable}");
    journal.close();
    assert!(r.rename(&task, "another").await.is_err());
    assert_eq!(checkpoint(), durable);
    // Whether a decision was written nobody knows, and an older state would undo it.
    assert!(r.operate(&task, Action::Pin(true), "a person").await.is_err());
    assert!(checkpoint().is_null());
}
