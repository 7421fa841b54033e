use proptest::prelude::*;

use super::*;
use crate::FileKey;
use crate::seal::{KeyName, Sealer};

mod packs;

fn fresh(dir: &Path) -> Volume {
    let name = VolumeName::new(1).unwrap();
    std::fs::create_dir(dir.join("keys")).unwrap();
    Volume::open(dir, &dir.join("keys"), &name, Arc::new(FileKey::from_bytes(&[3; 32]).unwrap())).unwrap()
}

/// Bytes that do not compress.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut out);
    out
}

fn put(v: &Volume, seq: u64, plain: &[u8]) {
    let sealed = Sealer::new().unwrap().seal(&v.ring, KeyName::default(), seq, plain).unwrap();
    v.put(seq, &sealed).unwrap();
}

fn get(v: &Volume, seq: u64) -> Vec<u8> {
    match v.read(seq).unwrap() {
        Content::Record(plain) => plain,
        other => panic!("{seq}: {other:?}"),
    }
}

fn in_db<T>(v: &Volume, f: impl FnOnce(&sled::Db) -> T) -> T {
    f(v.db.read().unwrap().as_ref().unwrap())
}

#[test]
fn blobs_stay_empty_for_bodies_from_1_kib_to_4_mib() {
    let dir = tempfile::tempdir().unwrap();
    let v = fresh(dir.path());
    let sizes: Vec<usize> =
        (10..=22).flat_map(|p| [1 << p, (1 << p) + (1 << (p - 1)) + 7]).filter(|n| *n <= 4 << 20).collect();
    let mut seq = 0;
    for _ in 0..3 {
        for &size in &sizes {
            seq += 1;
            put(&v, seq, &noise(size, seq));
        }
        v.commit().unwrap();
    }
    // Small ones between, so that pages of mixed sizes are written too.
    for _ in 0..500 {
        seq += 1;
        put(&v, seq, &noise(100 + seq as usize * 13 % 6000, seq));
    }
    v.commit().unwrap();
    // And packs, most of them full, of one frame and of several.
    let mut filler = packs::Filler::of(&v);
    for _ in 0..3000 {
        seq += 1;
        let size = if seq % 700 < 350 { 1200 } else { 6000 };
        filler.add(seq, &noise(100 + seq as usize * 13 % size, seq));
    }
    filler.commit();
    assert_eq!(get(&v, sizes.len() as u64), noise(*sizes.last().unwrap(), sizes.len() as u64));
    let blobs = dir.path().join(v.name().as_str()).join("blobs");
    drop(v);
    assert_eq!(std::fs::read_dir(&blobs).unwrap().count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_length_around_the_frames_borders_comes_back(frames in 0usize..4, near in -40isize..40, seq in 1u64..u64::MAX) {
        let len = (frames * FRAME).saturating_add_signed(near);
        let dir = tempfile::tempdir().unwrap();
        let v = fresh(dir.path());
        put(&v, seq, &noise(len, seq));
        prop_assert_eq!(get(&v, seq), noise(len, seq));
        prop_assert_eq!(v.last_seq().unwrap(), Some(seq));
        prop_assert_eq!(v.next_after(seq).unwrap(), None);
        prop_assert_eq!(v.next_after(seq - 1).unwrap(), Some(seq));
        v.remove(seq).unwrap();
        prop_assert!(matches!(v.read(seq).unwrap(), Content::Missing));
    }
}

#[test]
fn a_later_frame_that_begins_like_a_pack_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let v = fresh(dir.path());
    v.put(1, &[0xff; 2 * FRAME]).unwrap();
    assert_eq!((v.last_seq().unwrap(), v.next_after(1).unwrap()), (Some(1), None));
    assert!(matches!(v.read(2).unwrap(), Content::Missing));
    v.remove(1).unwrap();
    assert_eq!(v.last_seq().unwrap(), None);
}

#[test]
fn a_missing_added_or_moved_frame_is_no_record() {
    let dir = tempfile::tempdir().unwrap();
    let v = fresh(dir.path());
    let bad = |seq| matches!(v.read(seq).unwrap(), Content::Bad(Unopened::Damaged));
    let with_db = |f: &dyn Fn(&sled::Db)| f(v.db.read().unwrap().as_ref().unwrap());
    for seq in 1..=6 {
        put(&v, seq, &noise(3 * FRAME, seq));
    }
    with_db(&|db| {
        db.remove(key(1, 1)).unwrap();
        db.remove(key(2, 3)).unwrap();
        db.insert(key(3, 4), &b"more"[..]).unwrap();
        // Two records change places.
        for frame in 0..=3 {
            let (a, b) = (db.get(key(4, frame)).unwrap().unwrap(), db.get(key(5, frame)).unwrap().unwrap());
            db.insert(key(4, frame), b).unwrap();
            db.insert(key(5, frame), a).unwrap();
        }
    });
    for seq in 1..=5 {
        assert!(bad(seq), "{seq}");
    }
    assert_eq!(get(&v, 6), noise(3 * FRAME, 6));
}

#[test]
fn names_are_in_order_and_read_back() {
    let a = VolumeName::new(9).unwrap();
    let b = VolumeName::new(10).unwrap();
    assert!(a < b && a.as_str() < b.as_str());
    assert_eq!(VolumeName::parse(a.as_str()), Some(a));
    for bad in ["", "x", "1-2", "lost+found", "00000000000000000001-xyz"] {
        assert_eq!(VolumeName::parse(bad), None);
    }
}

#[test]
fn a_damaged_primer_costs_what_it_primed_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let v = fresh(dir.path());
    let text = |n: u64| format!("{}{n}", "what all calls of a form share, ".repeat(40)).into_bytes();
    let mut sealer = Sealer::new().unwrap();
    for n in 1..=5 {
        if n == 4 {
            sealer.forget();
        }
        let sealed = sealer.seal(&v.ring, KeyName::default(), n, &text(n)).unwrap();
        v.put(n, &sealed).unwrap();
    }
    v.commit().unwrap();
    for n in [5, 3, 1, 2, 4] {
        assert_eq!(get(&v, n), text(n));
    }
    // Its number is given again, to another text.
    v.remove(1).unwrap();
    put(&v, 1, b"another text, long enough to prime others: ".repeat(9).as_slice());
    for n in [2, 3] {
        assert!(matches!(v.read(n).unwrap(), Content::Bad(Unopened::Damaged)), "{n}");
        // The end of a volume is looked for by what is there, not by what can be said.
        assert_eq!(v.flaw(n).unwrap(), None, "{n}");
    }
    for n in [4, 5] {
        assert_eq!(get(&v, n), text(n));
    }
    v.remove(4).unwrap();
    assert!(matches!(v.read(5).unwrap(), Content::Bad(Unopened::Damaged)));
}

#[test]
fn a_volume_that_could_not_be_synced_has_failed() {
    let dir = tempfile::tempdir().unwrap();
    let mut v = fresh(dir.path());
    put(&v, 1, b"part");
    let db = dir.path().join(v.name().as_str()).join("db");
    v.file = File::open("/dev/null").unwrap();
    assert!(matches!(v.commit(), Err(JournalError::Io { .. })));
    assert!(v.has_failed() && !v.is_damaged());
    // A sync that succeeds now would say nothing of what the first one lost.
    v.file = File::open(db).unwrap();
    assert!(v.commit().is_err());
}
