use std::fs;
use std::sync::Arc;

use serde_json::Value;
use understudy_call::{Credential, Dialect, ExchangeId, Message, Metadata, Reply, Request, Role, StandIns};
use understudy_capture::{FileKey, JournalConfig};

use super::*;
use crate::serve::recording;

fn asks(model: &str) -> Request {
    let messages = vec![Message::text_of(Role::User, format!("What does {model} say?"))];
    Request { model: model.to_owned(), messages, ..Request::default() }
}

/// Calls that ask these models.
fn log(models: &[&str]) -> Log {
    let call = |model: &&str| LoggedCall {
        request: asks(model),
        reply: Reply::default(),
        at_ms: None,
        took: None,
        conversation: None,
        status: 200,
        id: None,
        stand_ins: StandIns::None,
        marks: std::collections::BTreeMap::new(),
    };
    Log { calls: models.iter().map(call).collect(), ..Log::default() }
}

fn caller(provider: &str, credential: u8) -> Caller {
    Caller { provider: provider.to_owned(), credential: Credential([credential; 16]) }
}

#[test]
fn a_log_may_grow_and_another_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let openai = caller("openai", 1);
    let begins = |models: &[&str], caller: &Caller| begins_the_same(dir.path(), &log(models), caller);
    let check = |models: &[&str], caller: &Caller| begins(models, caller)?.keep(dir.path());
    // What did not come to begin binds nobody.
    begins(&["x"], &caller("another", 1)).unwrap();
    check(&["a", "b"], &openai).unwrap();
    check(&["a", "b"], &openai).unwrap();
    check(&["a", "b", "c"], &openai).unwrap();
    let others: [(&[&str], Caller); 5] = [
        (&["a", "x", "c"], caller("openai", 1)),
        (&["x", "a", "b", "c"], caller("openai", 1)),
        (&["a", "b"], caller("openai", 1)),
        (&["a", "b", "c"], caller("another", 1)),
        (&["a", "b", "c"], caller("openai", 2)),
    ];
    for (models, caller) in &others {
        let said = check(models, caller).unwrap_err().to_string();
        assert!(said.contains("--fresh"), "{models:?}: {said}");
    }
    // A refusal changes nothing.
    check(&["a", "b", "c", "d"], &openai).unwrap();
}

fn journal(dir: &Path) -> Journal {
    let hooks = recording::hooks(&Conversations::new(HashKey::new([3; 32])));
    let config =
        JournalConfig { dir: dir.join("journal"), free_floor_bytes: 0, nice: 0, ..JournalConfig::default() };
    Journal::open(config, Arc::new(FileKey::from_bytes(&[5; 32]).unwrap()), hooks).unwrap()
}

/// Imports the calls that ask these models; whom those ask that the journal has then.
fn imported(dir: &Path, models: &[&str]) -> Vec<String> {
    let (log, openai, journal) = (log(models), caller("openai", 1), journal(dir));
    let given = begins_the_same(dir, &log, &openai).unwrap();
    let conversations = Conversations::new(HashKey::new([3; 32]));
    let count = import(&journal, (dir, given), &log, &openai, &conversations).unwrap();
    let mut there = Vec::new();
    let mut cursor = journal.cursor(0);
    while let Some((_, record)) = cursor.next().unwrap() {
        if let Record::Exchange(exchange) = record {
            there.push(exchange.request.unwrap().model);
        }
    }
    assert_eq!(count, there.len() as u64);
    there
}

/// Changes what is kept of how many came in.
fn keep(dir: &Path, number: Option<usize>) {
    let mut given: Value = serde_json::from_slice(&fs::read(dir.join(GIVEN)).unwrap()).unwrap();
    let fields = given.as_object_mut().unwrap();
    assert!(fields.remove("imported").is_some());
    fields.extend(number.map(|n| ("imported".to_owned(), Value::from(n))));
    fs::write(dir.join(GIVEN), given.to_string()).unwrap();
}

/// Loses all that the journal has, as where a volume is damaged or was let go.
fn lose(dir: &Path) {
    for volume in fs::read_dir(dir.join("journal/volumes")).unwrap() {
        fs::remove_file(volume.unwrap().path().join("db")).unwrap();
    }
}

#[test]
fn what_was_imported_is_not_imported_again_though_the_journal_has_lost_it() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(imported(dir.path(), &["a", "b", "c"]), ["a", "b", "c"]);
    lose(dir.path());
    assert_eq!(imported(dir.path(), &["a", "b", "c", "d"]), ["d"]);
    assert_eq!(imported(dir.path(), &["a", "b", "c", "d"]), ["d"]);
    // A folder from before the number: what is left says which of the log's it is.
    keep(dir.path(), None);
    assert_eq!(imported(dir.path(), &["a", "b", "c", "d", "e"]), ["d", "e"]);
}

#[test]
fn a_kill_between_an_append_and_its_number_imports_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(imported(dir.path(), &["a", "b", "c"]), ["a", "b", "c"]);
    keep(dir.path(), Some(1));
    assert_eq!(imported(dir.path(), &["a", "b", "c", "d"]), ["a", "b", "c", "d"]);
}

#[test]
fn calls_that_a_proxy_recorded_are_none_of_the_logs() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(imported(dir.path(), &["a", "b"]), ["a", "b"]);
    let journal = journal(dir.path());
    let mut id = [9; 16];
    // Its number would be that of the third call.
    id[..8].copy_from_slice(&2u64.to_be_bytes());
    let meta = Metadata::answered("openai", Dialect::OpenaiChat, Credential([1; 16]));
    let call = Exchange::new(ExchangeId(id), meta, Some(asks("live")), Some(Reply::default()));
    journal.append_exchanges(vec![call]).unwrap();
    drop(journal);
    assert_eq!(imported(dir.path(), &["a", "b", "c", "d"]), ["a", "b", "live", "c", "d"]);
}

#[test]
fn a_journal_of_which_no_call_is_this_logs_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let own = |journal: &Journal| {
        let log = log(&["a", "b"]);
        let given = begins_the_same(dir.path(), &log, &caller("openai", 1)).unwrap();
        is_its_own(journal, dir.path(), &given, &log)
    };
    let there = journal(dir.path());
    // Where the first run ended before its first call there is nothing.
    own(&there).unwrap();
    let meta = Metadata::answered("openai", Dialect::OpenaiChat, Credential([1; 16]));
    let live = Exchange::new(ExchangeId([9; 16]), meta, Some(asks("live")), Some(Reply::default()));
    there.append_exchanges(vec![live]).unwrap();
    let said = own(&there).unwrap_err().to_string();
    assert!(said.contains("is not this rehearsal's; name another folder"), "{said}");
    drop(there);
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    imported(dir.path(), &["a", "b"]);
    own(&journal(dir.path())).unwrap();
    // Where nothing is kept beside them the calls tell.
    fs::remove_file(dir.path().join(GIVEN)).unwrap();
    own(&journal(dir.path())).unwrap();
}

#[test]
fn a_journal_that_was_removed_is_given_all_again() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(imported(dir.path(), &["a", "b"]), ["a", "b"]);
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    assert_eq!(imported(dir.path(), &["a", "b"]), ["a", "b"]);
}
