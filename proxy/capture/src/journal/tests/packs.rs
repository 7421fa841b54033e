//! Records that share a value of the database.

use std::sync::OnceLock;

use super::super::end::{Durable, end_of};
use super::*;
use crate::seal::{KeyName, Unopened};
use crate::volume::{Pack, Volume, VolumeName};

/// Commits only where it is told to, and tries a failing disk no second time.
fn patient(dir: &Path) -> JournalConfig {
    let hour = Duration::from_secs(3600);
    JournalConfig { commit_every: hour, retry_after: hour, ..config(dir) }
}

fn calls(numbers: std::ops::Range<u128>) -> impl Iterator<Item = Captured> {
    numbers.map(|n| call(n, &format!("call {n}"), "fine"))
}

#[test]
fn many_small_calls_are_there_after_opening_again_each_under_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let j = open_with(patient(dir.path()), hooks()).unwrap();
    for one in calls(0..300) {
        assert_eq!(j.offer(one), Offered::Taken);
    }
    assert_eq!(j.append(vec![]).unwrap(), 301);
    assert_eq!(j.stats().commits, 1);
    j.close();
    let j = open(dir.path());
    let (records, gaps) = all(&j, 1);
    assert!(gaps.is_empty(), "{gaps:?}");
    assert_eq!((records.len(), j.durable_seq()), (301, 301));
    for ((seq, record), n) in records.iter().zip(1u64..) {
        assert_eq!(*seq, n);
        match record {
            Record::Exchange(e) => assert_eq!(e.id.0, u128::from(n - 2).to_be_bytes()),
            other => assert_eq!((n, other.label()), (1, "checkpoint")),
        }
    }
    for from in [2, 150, 301] {
        assert_eq!(all(&j, from), (records[from as usize - 1..].to_vec(), vec![]));
    }
    assert_eq!(j.append(vec![note(1)]).unwrap(), 302);
}

#[test]
fn a_volume_ends_with_all_that_was_added_to_it_and_the_next_begins_with_its_own() {
    let dir = tempfile::tempdir().unwrap();
    // A volume is full at once, so that each commit is followed by another.
    let j = open_with(JournalConfig { volume_bytes: 0, ..patient(dir.path()) }, hooks()).unwrap();
    for group in 0..3 {
        for one in calls(group * 20..group * 20 + 20) {
            assert_eq!(j.offer(one), Offered::Taken);
        }
        j.append(vec![]).unwrap();
    }
    j.close();
    let j = open(dir.path());
    assert_eq!(j.handle.shared.shelf.firsts(), [43, 22, 1]);
    let (records, gaps) = all(&j, 1);
    assert!(gaps.is_empty(), "{gaps:?}");
    assert!(records.iter().map(|(seq, _)| *seq).eq(1..=63));
    assert!(exchanges(&j).iter().map(|e| u128::from_be_bytes(e.id.0)).eq(0..60));
}

#[test]
fn calls_in_an_open_pack_are_dropped_once_and_their_numbers_given_again_when_the_disk_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let j = open_with(patient(dir.path()), hooks()).unwrap();
    assert_eq!(j.append(vec![note(0)]).unwrap(), 2);
    // Who reads holds the volume, so that it is taken up as it is.
    let mut cursor = j.cursor(1);
    assert!(cursor.next().unwrap().is_some());
    for one in calls(0..5) {
        assert_eq!(j.offer(one), Offered::Taken);
    }
    while j.stats().queued_bytes > 0 {
        std::thread::yield_now();
    }
    j.handle.shared.free_floor.store(u64::MAX, Relaxed);
    assert!(matches!(j.append(vec![note(1)]), Err(JournalError::DiskFull { .. })));
    assert_eq!(j.stats().dropped, 5);
    j.handle.shared.free_floor.store(0, Relaxed);
    assert_eq!(j.append(vec![note(2), note(3)]).unwrap(), 4);
    let (records, gaps) = all(&j, 2);
    assert_eq!((records, gaps), (vec![(2, note(0)), (3, note(2)), (4, note(3))], vec![]));
    assert_eq!((j.stats().dropped, j.stats().lost), (5, 0));
}

#[test]
fn a_pack_that_cannot_be_put_costs_each_of_its_calls_once() {
    const CALLS: u64 = 200;
    let dir = tempfile::tempdir().unwrap();
    let vault: Arc<dyn KeyVault> = Arc::new(FileKey::from_bytes(&[8; 32]).unwrap());
    let shared = Arc::new(Shared::open(patient(dir.path()), &*vault, Arc::clone(&vault)).unwrap());
    let (queue, entries) = channel();
    let (ack, done) = sync_channel(1);
    queue.send(Entry::Append { records: vec![note(0)], ack }).unwrap();
    for one in calls(0..CALLS.into()) {
        shared.queued.fetch_add(one.weight(), Relaxed);
        queue.send(Entry::Call(Box::new(one))).unwrap();
    }
    queue.send(Entry::Close).unwrap();
    // The database fails while a pack is being filled.
    let (seen, at) = (AtomicUsize::new(0), Arc::clone(&shared));
    let Hooks { fingerprint, audit } = hooks();
    let breaking = Hooks {
        fingerprint: Arc::new(move |dialect, request, credential, id| {
            if seen.fetch_add(1, Relaxed) == 50
                && let Ok(Place::In { volume, .. }) = at.shelf.find(1)
            {
                volume.break_off();
            }
            fingerprint(dialect, request, credential, id)
        }),
        audit,
    };
    Writer::new(Arc::clone(&shared), entries, breaking, vault.hash_key()).unwrap().run();
    assert_eq!(done.recv().unwrap().unwrap(), 2);
    assert_eq!(shared.counters.drops().iter().map(|(_, n)| n).sum::<u64>(), CALLS);
    assert!(shared.counters.drops().contains(&(DropReason::Disk, CALLS)));
    assert_eq!((shared.durable_seq(), shared.queued.load(Relaxed)), (2, 0));
    shared.let_go();
    drop(shared);

    // Some of them were put; their keys were not saved, so none is taken for durable.
    let j = open(dir.path());
    assert_eq!(j.append(vec![note(1)]).unwrap(), 3);
    let (records, gaps) = all(&j, 2);
    assert_eq!((records, gaps), (vec![(2, note(0)), (3, note(1))], vec![]));
    assert_eq!((j.stats().set_aside, j.stats().lost), (0, 0));
}

#[test]
fn of_an_append_that_failed_nothing_is_found_later() {
    let dir = tempfile::tempdir().unwrap();
    let (seen, shared) = (AtomicUsize::new(0), Arc::new(OnceLock::<Arc<Shared>>::new()));
    let (at, Hooks { fingerprint, audit }) = (Arc::clone(&shared), hooks());
    // The disk is full when some packs of the append have been put.
    let filling = Hooks {
        fingerprint: Arc::new(move |dialect, request, credential, id| {
            if seen.fetch_add(1, Relaxed) == 400 {
                at.get().unwrap().free_floor.store(u64::MAX, Relaxed);
            }
            fingerprint(dialect, request, credential, id)
        }),
        audit,
    };
    let j = open_with(patient(dir.path()), filling).unwrap();
    shared.set(Arc::clone(&j.handle.shared)).ok().unwrap();
    let made = |n| {
        let question = Request { messages: vec![Message::text_of(Role::User, "call")], ..Request::default() };
        Exchange::new(ExchangeId(u128::to_be_bytes(n)), meta(Dialect::OpenaiChat), Some(question), None)
    };
    // Its key is on the disk, so that the others could be opened.
    assert_eq!(j.append_exchanges(vec![made(0)]).unwrap(), 2);
    let refused = j.append_exchanges((1..500).map(made).collect());
    assert!(matches!(refused, Err(JournalError::DiskFull { .. })), "{refused:?}");
    j.handle.shared.free_floor.store(0, Relaxed);
    assert_eq!(j.append(vec![note(1)]).unwrap(), 3);
    j.close();
    let (records, gaps) = all(&open(dir.path()), 3);
    assert_eq!((records, gaps), (vec![(3, note(1))], vec![]));
}

/// Where a member's bytes begin in the value of a pack.
fn member_at(pack: &[u8], member: usize) -> usize {
    let mut at = 2 + usize::from(pack[0]);
    for _ in 0..member {
        at += 4 + u32::from_be_bytes(pack[at..at + 4].try_into().unwrap()) as usize;
    }
    at + 4
}

#[test]
fn of_a_pack_at_the_end_only_what_is_damaged_goes() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("keys")).unwrap();
    let vault = Arc::new(FileKey::from_bytes(&[3; 32]).unwrap());
    let name = VolumeName::new(1).unwrap();
    let volume = Volume::open(dir.path(), &dir.path().join("keys"), &name, vault).unwrap();
    let text = |seq: u64| format!("{}{seq}", "what all of them share ".repeat(8)).into_bytes();
    let of = |form: u64| KeyName { form: Some(FormHash([form as u8; 16])), credential: None };
    let mut pack = Pack::new().unwrap();
    // Two forms in turns: a block of 3 and 5, and one between them.
    for seq in 1..=5 {
        pack.add(&volume.ring, of(seq % 2), seq, &text(seq)).unwrap();
    }
    pack.close(&volume.ring).unwrap();
    for mut value in pack.take_ready() {
        let at = member_at(&value.bytes, 2);
        value.bytes[at + 60] ^= 1;
        volume.put_value(&value).unwrap();
    }
    volume.commit().unwrap();
    assert_eq!(end_of(&volume, Durable::AtLeast(5)).unwrap(), Some(5), "it was promised");
    assert_eq!(end_of(&volume, Durable::AtLeast(1)).unwrap(), Some(4));
    assert_eq!(volume.last_seq().unwrap(), Some(4));
    pack.add(&volume.ring, of(0), 5, &text(50)).unwrap();
    pack.close(&volume.ring).unwrap();
    pack.take_ready().for_each(|value| volume.put_value(&value).unwrap());
    volume.commit().unwrap();
    for (seq, n) in [(1, 1), (2, 2), (4, 4), (5, 50)] {
        let Content::Record(plain) = volume.read(seq).unwrap() else { panic!("{seq}") };
        assert_eq!(plain, text(n));
    }
    assert!(matches!(volume.read(3).unwrap(), Content::Bad(Unopened::Damaged)));
    assert_eq!(end_of(&volume, Durable::Unknown).unwrap(), Some(5));
}
