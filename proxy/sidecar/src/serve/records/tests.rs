use std::path::Path;
use std::sync::Arc;

use understudy_call::{Credential, Dialect, ExchangeId, Message, Metadata, Reply, Request, Role};
use understudy_capture::{FileKey, JournalConfig, KeyVault as _};
use understudy_tasks::{Conversations, HashKey};

use super::*;
use crate::serve::recording::hooks;

fn open(dir: &Path) -> Journal {
    let key = FileKey::open_or_create(dir.join("key")).unwrap();
    let hooks = hooks(&Conversations::new(HashKey::new(key.hash_key())));
    let config = JournalConfig { dir: dir.join("journal"), ..JournalConfig::default() };
    Journal::open(config, Arc::new(key), hooks).unwrap()
}

fn note(n: u64) -> Record {
    Record::Note { kind: "test".to_owned(), json: n.into() }
}

#[test]
fn where_nothing_is_recorded_it_is_said_and_why() {
    let off = Err("capture.enabled is false".to_owned());
    let said = recorded(&off).unwrap_err().to_string();
    assert_eq!(said, "nothing is recorded: capture.enabled is false");
}

#[test]
fn an_export_counts_what_it_lacks_and_tells_when_it_cannot_read() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    journal.append((0..5).map(note).collect()).unwrap();
    let page = exported(&journal, 0, 10).unwrap();
    assert_eq!((page.rows.len(), page.next, page.lost), (0, None, 0));
    journal.close();
    assert!(matches!(exported(&journal, 0, 10), Err(Refused::Off(_))));
    assert!(matches!(tail(&journal, 10), Err(Refused::Off(_))));
    drop(journal);

    // The volume's database is gone, as on a failing disk.
    for volume in std::fs::read_dir(dir.path().join("journal/volumes")).unwrap() {
        std::fs::remove_file(volume.unwrap().path().join("db")).unwrap();
    }
    let journal = open(dir.path());
    journal.append(vec![note(5)]).unwrap();
    let page = exported(&journal, 0, 10).unwrap();
    assert!(page.lost >= 5, "{page:?}");
    assert_eq!((page.rows.len(), page.next), (0, None));
}

#[test]
fn a_page_of_large_exchanges_ends_before_it_is_too_large_to_hold() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let exchange = |n: u8| {
        let said = Message::text_of(Role::User, "word ".repeat(PAGE_BYTES / 4 / 5));
        let request = Request { model: "m".to_owned(), messages: vec![said], ..Request::default() };
        let meta = Metadata::answered("openai", Dialect::OpenaiChat, Credential([1; 16]));
        Exchange::new(ExchangeId([n; 16]), meta, Some(request), Some(Reply::default()))
    };
    journal.append_exchanges((0..9).map(exchange).collect()).unwrap();
    let (mut pages, mut from) = (Vec::new(), Some(0));
    while let Some(at) = from {
        let page = exported(&journal, at, 1000).unwrap();
        pages.push(page.rows.len());
        from = page.next;
    }
    assert_eq!(pages, [4, 4, 1]);
}

#[test]
fn the_latest_records_are_shown_however_many_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    journal.append((0..5).map(note).collect()).unwrap();
    assert_eq!(tail(&journal, 3).unwrap().len(), 3);
    // With the checkpoint that a volume opens with.
    assert_eq!(tail(&journal, usize::MAX).unwrap().len(), 6);
}
