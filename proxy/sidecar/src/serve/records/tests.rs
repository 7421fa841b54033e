#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::Arc;

use understudy_capture::{FileKey, JournalConfig, KeyVault as _};
use understudy_tasks::HashKey;

use super::*;
use crate::serve::recording::hooks;

fn open(dir: &Path) -> Journal {
    let key = FileKey::open_or_create(dir.join("key")).unwrap();
    let hooks = hooks(&HashKey::new(key.hash_key()));
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
    assert_eq!(exported(&journal, 0, 10).unwrap(), ExportPage::default());
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
