//! The journal under another key, and records whose key is not there.

use std::path::PathBuf;

use super::super::end::{Durable, end_of};
use super::*;
use crate::KeyError;
use crate::seal::{KeyName, KeyRing, Sealer};
use crate::volume::{Volume, VolumeName};

fn key(n: u8) -> Arc<dyn KeyVault> {
    Arc::new(FileKey::from_bytes(&[n; 32]).unwrap())
}

fn open_under(dir: &Path, n: u8) -> Result<Journal, JournalError> {
    Journal::open(config(dir), key(n), hooks())
}

/// Notes of these numbers, appended under this key by a process of their own.
fn written(dir: &Path, under: u8, numbers: std::ops::Range<u64>) -> u64 {
    let j = open_under(dir, under).unwrap();
    let last = j.append(numbers.map(note).collect()).unwrap();
    j.close();
    last
}

/// The files of one of the journal's folders, with their bytes.
fn files(dir: &Path, folder: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all: Vec<_> = std::fs::read_dir(dir.join("journal").join(folder))
        .unwrap()
        .map(|e| e.unwrap().path())
        .map(|p| (p.clone(), std::fs::read(p).unwrap_or_default()))
        .collect();
    all.sort();
    all
}

fn notes(j: &Journal) -> Vec<u64> {
    let number = |r: &Record| if let Record::Note { json, .. } = r { json["n"].as_u64() } else { None };
    all(j, 1).0.iter().filter_map(|(_, r)| number(r)).collect()
}

#[test]
fn under_another_key_it_is_refused_by_name_and_nothing_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let last = written(dir.path(), 8, 0..20);
    let head = std::fs::read(dir.path().join("journal/head")).unwrap();
    let before = ["keys", "volumes", "aside"].map(|f| files(dir.path(), f));
    let refused = open_under(dir.path(), 9).unwrap_err();
    assert!(matches!(refused, JournalError::OtherKey { .. }), "{refused}");
    let said = refused.to_string();
    assert!(said.contains(dir.path().join("journal").to_str().unwrap()), "{said}");
    assert!(said.contains("put that key file back") && said.contains("aside"), "{said}");
    assert_eq!(std::fs::read(dir.path().join("journal/head")).unwrap(), head);
    assert_eq!(["keys", "volumes", "aside"].map(|f| files(dir.path(), f)), before);

    let j = open_under(dir.path(), 8).unwrap();
    assert_eq!((j.durable_seq(), notes(&j)), (last, (0..20).collect::<Vec<u64>>()));
    assert_eq!(j.stats().lost, 0);
    assert_eq!(j.append(vec![note(20)]).unwrap(), last + 1);
}

#[test]
fn no_key_is_made_beside_a_journal_that_was_sealed_with_one() {
    let dir = tempfile::tempdir().unwrap();
    let (path, aside) = (dir.path().join("key"), dir.path().join("aside"));
    let journal = dir.path().join("journal");
    let key = || FileKey::for_journals(&path, &[Path::new("nowhere"), journal.as_path()]);
    let j = Journal::open(config(dir.path()), Arc::new(key().unwrap()), hooks()).unwrap();
    j.append(vec![note(1)]).unwrap();
    j.close();
    std::fs::rename(&path, &aside).unwrap();
    let missing = key().unwrap_err();
    assert!(matches!(missing, KeyError::Missing { .. }), "{missing}");
    let said = missing.to_string();
    assert!([&path, &journal].iter().all(|p| said.contains(p.to_str().unwrap())), "{said}");
    assert!(!path.exists(), "none was made");
    std::fs::rename(&aside, &path).unwrap();
    let j = Journal::open(config(dir.path()), Arc::new(key().unwrap()), hooks()).unwrap();
    assert_eq!(notes(&j), [1]);
}

#[test]
fn a_journal_whose_head_is_gone_or_damaged_opens_with_all_that_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let head = dir.path().join("journal/head");
    let mut last = 0;
    for (n, damage) in (0..).zip([None, Some(vec![]), Some(vec![7u8; 20]), Some(vec![0; 48])]) {
        last = written(dir.path(), 8, n..n + 1);
        match damage {
            None => std::fs::remove_file(&head).unwrap(),
            Some(bytes) => std::fs::write(&head, bytes).unwrap(),
        }
    }
    let j = open_under(dir.path(), 8).unwrap();
    assert_eq!((j.durable_seq(), notes(&j)), (last, vec![0, 1, 2, 3]));
    assert_eq!((j.stats().lost, last), (0, 5));
}

#[test]
fn a_head_alone_says_nothing_of_a_key() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 8, 0..1);
    for folder in ["keys", "volumes"] {
        std::fs::remove_dir_all(dir.path().join("journal").join(folder)).unwrap();
    }
    let j = open_under(dir.path(), 9).unwrap();
    j.append(vec![note(7)]).unwrap();
    assert_eq!(notes(&j), [7]);
}

#[test]
fn records_wait_for_keys_that_are_not_there_where_the_head_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let last = written(dir.path(), 8, 0..5);
    let (keys, bytes) = files(dir.path(), "keys").remove(0);
    std::fs::remove_file(&keys).unwrap();
    std::fs::remove_file(dir.path().join("journal/head")).unwrap();
    let j = open_under(dir.path(), 8).unwrap();
    assert_eq!((j.durable_seq(), notes(&j)), (last, vec![]));
    assert_eq!(all(&j, 1).1, [crate::Gap { from: 1, to: last, why: GapWhy::KeyGone }]);
    j.close();
    std::fs::write(&keys, bytes).unwrap();
    let j = open_under(dir.path(), 8).unwrap();
    assert_eq!(notes(&j), [0, 1, 2, 3, 4]);
}

#[test]
fn records_of_another_key_in_the_same_volume_stay() {
    let dir = tempfile::tempdir().unwrap();
    let first = written(dir.path(), 8, 0..2);
    let (keys, own) = files(dir.path(), "keys").remove(0);
    // As it could be before a journal was refused to another key.
    std::fs::remove_file(&keys).unwrap();
    let last = written(dir.path(), 9, 2..4);
    let other = std::fs::read(&keys).unwrap();
    std::fs::write(&keys, [own, other].concat()).unwrap();
    let j = open_under(dir.path(), 8).unwrap();
    assert_eq!((j.durable_seq(), notes(&j)), (last, vec![0, 1]));
    assert_eq!(all(&j, 1).1, [crate::Gap { from: first + 1, to: last, why: GapWhy::KeyGone }]);
    j.close();
    assert_eq!(notes(&open_under(dir.path(), 9).unwrap()), [2, 3]);
}

#[test]
fn a_record_whose_key_was_never_written_goes_only_where_the_end_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let name = VolumeName::new(1).unwrap();
    let volume = Volume::open(dir.path(), &dir.path().join("keys"), &name, key(3)).unwrap();
    let elsewhere = KeyRing::load(&dir.path().join("elsewhere"), name.as_str(), key(3)).unwrap();
    let mut sealer = Sealer::new().unwrap();
    for (seq, ring) in [(1, &volume.ring), (2, &elsewhere)] {
        volume.put(seq, &sealer.seal(ring, KeyName::default(), seq, b"a record").unwrap()).unwrap();
    }
    assert_eq!(end_of(&volume, Durable::AtLeast(2)).unwrap(), Some(2));
    assert_eq!(end_of(&volume, Durable::Unknown).unwrap(), Some(2));
    assert_eq!(end_of(&volume, Durable::AtLeast(1)).unwrap(), Some(1));
    assert_eq!(volume.last_seq().unwrap(), Some(1));
}
