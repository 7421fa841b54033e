use proptest::prelude::*;

use super::*;
use crate::FileKey;
use crate::seal::{KeyName, Sealer};

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

fn sealed(v: &Volume, sealer: &mut Sealer, seq: u64, plain: &[u8]) -> Vec<u8> {
    sealer.seal(&v.ring, KeyName::default(), seq, plain).unwrap()
}

fn in_db<T>(v: &Volume, f: impl FnOnce(&sled::Db) -> T) -> T {
    f(v.db.read().unwrap().as_ref().unwrap())
}

/// A pack's value as it should be.
fn packed(members: &[Vec<u8>]) -> Vec<u8> {
    let mut value = (PACKED | members.len() as u32).to_be_bytes().to_vec();
    for member in members {
        value.extend_from_slice(&(member.len() as u32).to_be_bytes());
        value.extend_from_slice(member);
    }
    value
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
    // And packs, most of them nearly full.
    let mut sealer = Sealer::new().unwrap();
    for _ in 0..2000 {
        seq += 1;
        v.add(seq, &sealed(&v, &mut sealer, seq, &noise(100 + seq as usize * 13 % 900, seq))).unwrap();
    }
    v.commit().unwrap();
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

    #[test]
    fn records_of_mixed_sizes_come_back_each_under_its_number(
        sizes in prop::collection::vec(
            prop_oneof![8 => 0usize..500, 2 => 500usize..FRAME, 1 => FRAME..3 * FRAME],
            1..60,
        ),
        commits in 1u64..30,
        first in 1u64..1 << 40,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let v = fresh(dir.path());
        let mut sealer = Sealer::new().unwrap();
        let all: Vec<(u64, usize)> = (first..).zip(sizes).collect();
        for &(seq, size) in &all {
            let bytes = sealed(&v, &mut sealer, seq, &noise(size, seq));
            if seq % 9 == 0 {
                // As all were written before there were packs.
                v.close_pack().unwrap();
                v.put(seq, &bytes).unwrap();
            } else {
                v.add(seq, &bytes).unwrap();
            }
            if seq % commits == 0 {
                v.commit().unwrap();
            }
        }
        v.commit().unwrap();
        let last = first + all.len() as u64 - 1;
        prop_assert_eq!(v.next_after(first - 1).unwrap(), Some(first));
        for &(seq, size) in &all {
            prop_assert_eq!(get(&v, seq), noise(size, seq));
            prop_assert_eq!(v.flaw(seq).unwrap(), None);
            prop_assert_eq!(v.next_after(seq).unwrap(), (seq < last).then_some(seq + 1));
        }
        for nowhere in [first - 1, last + 1] {
            prop_assert!(matches!(v.read(nowhere).unwrap(), Content::Missing));
        }
        for &(seq, size) in all.iter().rev() {
            prop_assert_eq!(v.last_seq().unwrap(), Some(seq));
            prop_assert_eq!(get(&v, seq), noise(size, seq));
            v.remove(seq).unwrap();
            prop_assert!(matches!(v.read(seq).unwrap(), Content::Missing));
        }
        prop_assert_eq!(v.last_seq().unwrap(), None);
        prop_assert_eq!(v.next_after(first - 1).unwrap(), None);
    }
}

#[test]
fn one_alone_is_written_as_before_packs_and_many_share_values_of_a_frame_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let v = fresh(dir.path());
    let mut sealer = Sealer::new().unwrap();
    let one = sealed(&v, &mut sealer, 1, &noise(100, 1));
    v.add(1, &one).unwrap();
    assert_eq!(v.last_seq().unwrap(), None, "it waits for the commit");
    v.commit().unwrap();
    let before = [(one.len() as u32).to_be_bytes().as_slice(), one.as_slice()].concat();
    assert_eq!(in_db(&v, |db| db.get(key(1, 0))).unwrap().unwrap().to_vec(), before);
    for seq in 2..=301 {
        v.add(seq, &sealed(&v, &mut sealer, seq, &noise(100, seq))).unwrap();
    }
    v.commit().unwrap();
    let sizes: Vec<usize> = in_db(&v, |db| db.iter().values().map(|value| value.unwrap().len()).collect());
    assert!(sizes.len() < 30 && sizes.iter().all(|n| *n <= FRAME), "{sizes:?}");
    assert_eq!(get(&v, 150), noise(100, 150));
}

#[test]
fn numbers_that_were_left_out_stay_out_and_what_was_forgotten_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let v = fresh(dir.path());
    let mut sealer = Sealer::new().unwrap();
    for seq in [5, 6, 7, 20, 21] {
        v.add(seq, &sealed(&v, &mut sealer, seq, b"short")).unwrap();
    }
    v.commit().unwrap();
    assert_eq!(
        [4, 5, 6, 7, 19, 20, 21].map(|seq| v.next_after(seq).unwrap()),
        [Some(5), Some(6), Some(7), Some(20), Some(20), Some(21), None]
    );
    for seq in [4, 8, 19, 22] {
        assert!(matches!(v.read(seq).unwrap(), Content::Missing), "{seq}");
        assert_eq!(v.flaw(seq).unwrap(), Some(Unopened::Damaged), "{seq}");
    }
    for seq in [22, 23] {
        v.add(seq, &sealed(&v, &mut sealer, seq, b"forgotten")).unwrap();
    }
    v.forget();
    v.commit().unwrap();
    assert_eq!(v.last_seq().unwrap(), Some(21));
    v.add(22, &sealed(&v, &mut sealer, 22, b"again")).unwrap();
    v.commit().unwrap();
    assert_eq!((v.last_seq().unwrap(), get(&v, 22)), (Some(22), b"again".to_vec()));
}

#[test]
fn a_member_within_a_pack_goes_with_those_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let v = fresh(dir.path());
    let mut sealer = Sealer::new().unwrap();
    for seq in 1..=6 {
        v.add(seq, &sealed(&v, &mut sealer, seq, &noise(50, seq))).unwrap();
    }
    v.commit().unwrap();
    v.remove(4).unwrap();
    assert_eq!((v.last_seq().unwrap(), v.next_after(3).unwrap()), (Some(3), None));
    v.add(4, &sealed(&v, &mut sealer, 4, b"another")).unwrap();
    v.commit().unwrap();
    assert_eq!((1..=3).map(|seq| get(&v, seq)).collect::<Vec<_>>(), [1, 2, 3].map(|seq| noise(50, seq)));
    assert_eq!((v.last_seq().unwrap(), get(&v, 4)), (Some(4), b"another".to_vec()));
    assert!(matches!(v.read(5).unwrap(), Content::Missing));
}

#[test]
fn a_damaged_pack_is_no_record_whatever_it_claims() {
    let dir = tempfile::tempdir().unwrap();
    let v = fresh(dir.path());
    let mut sealer = Sealer::new().unwrap();
    let members: Vec<_> = (1..=5).map(|seq| sealed(&v, &mut sealer, seq, &noise(200, seq))).collect();
    for (seq, member) in (1..).zip(&members) {
        v.add(seq, member).unwrap();
    }
    v.commit().unwrap();
    let good = packed(&members);
    assert_eq!(in_db(&v, |db| db.get(key(1, 0))).unwrap().unwrap().to_vec(), good);
    let with = |at: usize, word: u32| {
        let mut bad = good.clone();
        bad[at..at + 4].copy_from_slice(&word.to_be_bytes());
        bad
    };
    // Where the second one's length is.
    let second = 4 + LEN + members[0].len();
    let len = members[1].len() as u32;
    let bad = [
        with(0, PACKED),
        with(0, PACKED | 4),
        with(0, PACKED | 6),
        with(0, u32::MAX),
        with(second, 0),
        with(second, len - 1),
        with(second, len + 1),
        with(second, u32::MAX),
        good[..4].to_vec(),
        good[..second + 2].to_vec(),
        good[..good.len() - 1].to_vec(),
        [good.as_slice(), [0].as_slice()].concat(),
    ];
    for (i, bad) in bad.into_iter().enumerate() {
        let longest = bad.len() as u64;
        in_db(&v, |db| db.insert(key(1, 0), bad)).unwrap();
        assert!(matches!(v.read(1).unwrap(), Content::Bad(Unopened::Damaged)), "{i}");
        for seq in 2..=7 {
            assert!(!matches!(v.read(seq).unwrap(), Content::Record(_)), "{i}: {seq}");
            v.next_after(seq).unwrap();
        }
        let last = v.last_seq().unwrap().unwrap();
        assert!(last <= longest, "{i}: {last}");
        assert_eq!(v.flaw(last).unwrap(), Some(Unopened::Damaged), "{i}");
        // Nobody knows where its members end: it goes whole.
        v.remove(last).unwrap();
        assert_eq!(v.last_seq().unwrap(), None, "{i}");
    }
}

#[test]
fn a_member_opens_under_its_own_number_only() {
    let dir = tempfile::tempdir().unwrap();
    let v = fresh(dir.path());
    let mut sealer = Sealer::new().unwrap();
    let [one, two, three] = [1, 2, 3].map(|seq| {
        sealer.forget();
        sealed(&v, &mut sealer, seq, &noise(200, seq))
    });
    in_db(&v, |db| {
        db.insert(key(11, 0), packed(&[one.clone(), two.clone(), three.clone()])).unwrap();
        db.insert(key(1, 0), packed(&[two, one, three])).unwrap();
    });
    for seq in [1, 2, 11, 12, 13] {
        assert!(matches!(v.read(seq).unwrap(), Content::Bad(Unopened::Damaged)), "{seq}");
    }
    assert_eq!(get(&v, 3), noise(200, 3));
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
fn a_pack_that_cannot_be_put_is_told_by_the_next_record_or_the_commit() {
    let dir = tempfile::tempdir().unwrap();
    let v = fresh(dir.path());
    v.break_off();
    let told = (1..=100).find(|seq| v.add(*seq, &noise(200, *seq)).is_err());
    assert!(told.is_some_and(|seq| seq > 20), "{told:?}");
    v.add(101, &noise(200, 101)).unwrap();
    assert!(v.commit().is_err());
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
