//! Disks that fail, and kills and power cuts at the worst moment.

use super::*;

/// Commits only where it is told to, and tries a failing disk no second time.
fn patient(dir: &Path) -> JournalConfig {
    let hour = Duration::from_secs(3600);
    JournalConfig { commit_every: hour, retry_after: hour, ..config(dir) }
}

fn firsts(j: &Journal) -> Vec<u64> {
    j.handle.shared.shelf.firsts()
}

/// How many entries a folder of the journal has.
fn count(dir: &Path, folder: &str) -> usize {
    std::fs::read_dir(dir.join("journal").join(folder)).unwrap().count()
}

fn empty_checkpoint() -> Record {
    Record::Checkpoint(Value::Null)
}

#[test]
fn a_kill_while_an_old_volume_goes_is_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let oldest = volume_dir(dir.path(), small_volumes(dir.path())[0]);
    let db = std::fs::read(oldest.join("db")).unwrap();
    let (head, seen) = (dir.path().join("journal/head"), dir.path().join("head"));
    let only_the_newest = JournalConfig { volume_bytes: 0, keep_bytes: 0, ..config(dir.path()) };
    let j = open_with(only_the_newest, hooks()).unwrap();
    // Asked when the old ones have gone, and before anything is committed.
    let (from, to) = (head.clone(), seen.clone());
    j.set_checkpoint(Arc::new(move || {
        std::fs::copy(&from, &to).unwrap();
        Value::Null
    }));
    j.append(vec![note(1)]).unwrap();
    j.close();
    assert!(!oldest.exists());

    // The kill came between its keys and its folder.
    std::fs::create_dir(&oldest).unwrap();
    std::fs::write(oldest.join("db"), db).unwrap();
    std::fs::copy(&seen, &head).unwrap();
    let j = open(dir.path());
    let (records, gaps) = all(&j, 1);
    assert_eq!(gaps.iter().map(|g| (g.from, g.why)).collect::<Vec<_>>(), [(1, GapWhy::Retired)]);
    assert_eq!(records.iter().map(|(_, r)| r).collect::<Vec<_>>(), [&empty_checkpoint(), &note(1)]);
    assert_eq!((j.stats().set_aside, j.stats().lost), (0, 0));
    assert!(!oldest.exists());
}

#[test]
fn after_a_sync_that_failed_the_next_records_go_to_a_new_volume() {
    let dir = tempfile::tempdir().unwrap();
    let j = open_with(patient(dir.path()), hooks()).unwrap();
    assert_eq!(j.append(vec![note(0)]).unwrap(), 2);
    let keys = volume_dir(dir.path(), 1);
    let keys = dir.path().join("journal/keys").join(keys.file_name().unwrap());
    let aside = dir.path().join("keys");
    std::fs::rename(&keys, &aside).unwrap();
    // Nothing that is written there can be synced, and a call of a new form brings a key.
    std::os::unix::fs::symlink("/dev/null", &keys).unwrap();
    assert_eq!(j.offer(call(1, "a", "b")), Offered::Taken);
    assert!(matches!(j.append(vec![]), Err(JournalError::Io { .. })));
    assert!(j.drops().contains(&(DropReason::Disk, 1)), "{:?}", j.drops());
    std::fs::remove_file(&keys).unwrap();
    std::fs::rename(&aside, &keys).unwrap();

    assert_eq!(j.append(vec![note(1)]).unwrap(), 4, "a checkpoint, then the note");
    assert_eq!(firsts(&j), [3, 1]);
    let expected = vec![(2, note(0)), (3, empty_checkpoint()), (4, note(1))];
    assert_eq!(all(&j, 2), (expected.clone(), vec![]));
    j.close();
    let j = open(dir.path());
    assert_eq!(all(&j, 2), (expected, vec![]));
    assert_eq!((j.stats().set_aside, j.stats().lost), (0, 0));
    assert_eq!(j.append(vec![note(2)]).unwrap(), 5);
}

#[test]
fn a_volume_that_failed_before_any_of_it_was_durable_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let j = open_with(patient(dir.path()), hooks()).unwrap();
    let (keys, aside) = (dir.path().join("journal/keys"), dir.path().join("keys"));
    std::fs::rename(&keys, &aside).unwrap();
    for _ in 0..3 {
        assert!(matches!(j.append(vec![note(0)]), Err(JournalError::Io { .. })));
    }
    std::fs::rename(&aside, &keys).unwrap();
    assert_eq!(j.append(vec![note(1)]).unwrap(), 2);
    assert_eq!((firsts(&j), count(dir.path(), "volumes"), count(dir.path(), "keys")), (vec![1], 1, 1));
    assert_eq!(all(&j, 1), (vec![(1, empty_checkpoint()), (2, note(1))], vec![]));
}

#[test]
fn an_append_of_nothing_says_what_is_durable_and_tells_of_a_failure_while_it_lasts() {
    let dir = tempfile::tempdir().unwrap();
    let j = open_with(patient(dir.path()), hooks()).unwrap();
    assert_eq!(j.append(vec![note(1)]).unwrap(), 2);
    for n in 0..3 {
        assert_eq!(j.offer(call(n, "a", "b")), Offered::Taken);
    }
    while j.stats().queued_bytes > 0 {
        std::thread::yield_now();
    }
    j.handle.shared.free_floor.store(u64::MAX, Relaxed);
    assert!(matches!(j.append(vec![note(2)]), Err(JournalError::DiskFull { .. })));
    j.handle.shared.free_floor.store(0, Relaxed);
    assert!(matches!(j.append(vec![]), Err(JournalError::DiskFull { .. })));
    assert_eq!(j.offer(call(4, "a", "b")), Offered::Dropped(DropReason::DiskFull));
    assert_eq!(j.append(vec![note(3)]).unwrap(), 3);
    assert_eq!(j.append(vec![]).unwrap(), 3);
    assert_eq!(all(&j, 2), (vec![(2, note(1)), (3, note(3))], vec![]));
}

#[test]
fn an_append_of_nothing_does_not_keep_a_blocked_journal_from_trying_again() {
    let dir = tempfile::tempdir().unwrap();
    let at_once = JournalConfig { retry_after: Duration::ZERO, ..config(dir.path()) };
    let j = open_with(at_once, hooks()).unwrap();
    assert_eq!(j.append(vec![note(1)]).unwrap(), 2);
    j.handle.shared.free_floor.store(u64::MAX, Relaxed);
    assert!(j.append(vec![note(2)]).is_err() && j.append(vec![]).is_err());
    j.handle.shared.free_floor.store(0, Relaxed);
    while j.append(vec![]).is_err() {
        std::thread::yield_now();
    }
    assert_eq!(j.append(vec![]).unwrap(), 2);
    assert_eq!(j.offer(call(1, "a", "b")), Offered::Taken);
}

#[test]
fn numbers_are_left_out_only_where_the_head_is_older_than_the_volume_that_does_not_open() {
    for stale in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        small_volumes(dir.path());
        let head = dir.path().join("journal/head");
        let older = std::fs::read(&head).unwrap();
        let j = open_with(JournalConfig { volume_bytes: 0, ..config(dir.path()) }, hooks()).unwrap();
        let last = j.append((0..9).map(note).collect()).unwrap();
        let newest = firsts(&j)[0];
        j.close();
        // After a power cut the head may be older, for it is not synced.
        if stale {
            std::fs::write(&head, older).unwrap();
        }
        std::fs::remove_file(volume_dir(dir.path(), newest).join("db")).unwrap();
        let j = open(dir.path());
        let promised = j.durable_seq();
        assert_eq!(promised, if stale { newest + (1 << 32) } else { last });
        assert_eq!(j.append(vec![note(10)]).unwrap(), promised + 2);
        assert_eq!(all(&j, newest).1, [crate::Gap { from: newest, to: promised, why: GapWhy::SetAside }]);
        j.close();
        // It is gone on with where it ended.
        assert_eq!(open(dir.path()).append(vec![note(11)]).unwrap(), promised + 3);
    }
}
