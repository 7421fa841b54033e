//! Records that share a value of the database.

use understudy_call::FormHash;

use super::*;

fn of(form: u8) -> KeyName {
    KeyName { form: Some(FormHash([form; 16])), credential: None }
}

/// Fills packs and puts them, as the writer does.
pub(super) struct Filler<'v> {
    volume: &'v Volume,
    pack: Pack,
}

impl<'v> Filler<'v> {
    pub(super) fn of(volume: &'v Volume) -> Self {
        Self { volume, pack: Pack::new().unwrap() }
    }

    fn add_of(&mut self, form: u8, seq: u64, plain: &[u8]) {
        self.pack.add(&self.volume.ring, of(form), seq, plain).unwrap();
        self.put_ready();
    }

    pub(super) fn add(&mut self, seq: u64, plain: &[u8]) {
        self.add_of(0, seq, plain);
    }

    fn put_ready(&mut self) {
        self.pack.take_ready().for_each(|value| self.volume.put_value(&value).unwrap());
    }

    fn close(&mut self) {
        self.pack.close(&self.volume.ring).unwrap();
        self.put_ready();
    }

    pub(super) fn commit(&mut self) {
        self.close();
        self.volume.commit().unwrap();
    }
}

/// Long enough to prime others, and shares most with them.
fn text(n: u64) -> Vec<u8> {
    format!("{}{n}", "what all calls of a form share, ".repeat(8)).into_bytes()
}

/// Records 1 to `last`, of so many forms in turns.
fn fill(v: &Volume, last: u64, forms: u64) {
    let mut filler = Filler::of(v);
    (1..=last).for_each(|seq| filler.add_of((seq % forms) as u8, seq, &text(seq)));
    filler.commit();
}

fn values(v: &Volume) -> Vec<(Vec<u8>, Vec<u8>)> {
    in_db(v, |db| db.iter().map(|kv| kv.map(|(k, v)| (k.to_vec(), v.to_vec())).unwrap()).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn records_of_mixed_sizes_and_forms_come_back_each_under_its_number(
        row in prop::collection::vec(
            (prop_oneof![8 => 0usize..500, 4 => 500usize..FRAME, 1 => FRAME..3 * FRAME], 0u8..3),
            1..150,
        ),
        commits in 1u64..90,
        first in 1u64..1 << 40,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let v = fresh(dir.path());
        let mut filler = Filler::of(&v);
        let all: Vec<(u64, usize, u8)> = (first..).zip(row).map(|(seq, (size, form))| (seq, size, form)).collect();
        for &(seq, size, form) in &all {
            if seq % 29 == 0 {
                // As all were written before there were packs.
                filler.close();
                put(&v, seq, &noise(size, seq));
            } else {
                filler.add_of(form, seq, &noise(size, seq));
            }
            if seq % commits == 0 {
                filler.commit();
            }
        }
        filler.commit();
        let last = first + all.len() as u64 - 1;
        prop_assert_eq!(v.next_after(first - 1).unwrap(), Some(first));
        for &(seq, size, _) in &all {
            prop_assert_eq!(get(&v, seq), noise(size, seq));
            prop_assert_eq!(v.flaw(seq).unwrap(), None);
            prop_assert_eq!(v.next_after(seq).unwrap(), (seq < last).then_some(seq + 1));
        }
        for nowhere in [first - 1, last + 1] {
            prop_assert!(matches!(v.read(nowhere).unwrap(), Content::Missing));
        }
        for &(seq, size, _) in all.iter().rev() {
            prop_assert_eq!(v.last_seq().unwrap(), Some(seq));
            prop_assert_eq!(get(&v, seq), noise(size, seq));
            v.remove(seq).unwrap();
            prop_assert!(matches!(v.read(seq).unwrap(), Content::Missing));
        }
        prop_assert_eq!(v.last_seq().unwrap(), None);
        prop_assert_eq!(v.next_after(first - 1).unwrap(), None);
        prop_assert!(values(&v).is_empty());
    }
}

#[test]
fn one_alone_is_written_as_before_packs_and_many_share_values() {
    let dir = tempfile::tempdir().unwrap();
    let v = fresh(dir.path());
    let mut filler = Filler::of(&v);
    filler.add(1, &text(1));
    assert_eq!(v.last_seq().unwrap(), None, "it waits for the commit");
    filler.commit();
    let [(k, one)] = &values(&v)[..] else { panic!() };
    let word = (one.len() - LEN) as u32;
    assert_eq!((k.as_slice(), &one[..LEN]), (&key(1, 0)[..], &word.to_be_bytes()[..]));
    for seq in 2..=641 {
        filler.add(seq, &text(seq));
    }
    filler.commit();
    let sizes: Vec<usize> = values(&v).iter().map(|(_, value)| value.len()).collect();
    assert!(sizes.len() < 15 && sizes.iter().all(|n| *n <= FRAME), "{sizes:?}");
    // What they share is not written again for each, nor a seal of its own.
    assert!(sizes.iter().sum::<usize>() < 640 * 20, "{sizes:?}");
    assert_eq!(get(&v, 150), text(150));
}

#[test]
fn forms_in_turns_have_a_block_each() {
    let dir = tempfile::tempdir().unwrap();
    let v = fresh(dir.path());
    fill(&v, 60, 3);
    let [(_, pack)] = &values(&v)[..] else { panic!() };
    // A primer and a block of each.
    let members = pack[LEN + 2..][..60].iter().max().unwrap() + 1;
    assert_eq!((pack[LEN], pack[LEN + 1], members), (60, 60, 6));
    for seq in (1..=60).rev() {
        assert_eq!(get(&v, seq), text(seq));
    }
}

#[test]
fn a_primer_that_is_replaced_stays_that_of_the_blocks_before() {
    let dir = tempfile::tempdir().unwrap();
    let v = fresh(dir.path());
    let mut filler = Filler::of(&v);
    // More forms than primers are held, and more records than one may prime.
    for seq in 1..=2600 {
        let form = if seq % 50 == 0 { (seq / 50) as u8 } else { 0 };
        filler.add_of(form, seq, &text(seq));
    }
    filler.commit();
    let mut primers = std::collections::BTreeSet::new();
    for seq in 1..=2600 {
        assert_eq!(get(&v, seq), text(seq));
        primers.extend(lock(&v.primers).iter().map(|(of, _)| *of));
    }
    // Of the first form, too.
    assert!(primers.iter().filter(|seq| *seq % 50 != 0).count() >= 3, "{primers:?}");
}

#[test]
fn forms_that_share_a_key_share_its_primer_and_block() {
    let dir = tempfile::tempdir().unwrap();
    let v = fresh(dir.path());
    // A volume has keys for so many forms; the rest have their credential's.
    let form = |n: u16| {
        let mut form = [0; 16];
        form[..2].copy_from_slice(&n.to_be_bytes());
        KeyName { form: Some(FormHash(form)), credential: None }
    };
    (0..1100).for_each(|n| drop(v.ring.key_for(form(n)).unwrap()));
    assert_eq!(v.ring.key_for(form(2000)).unwrap().0, v.ring.key_for(form(2001)).unwrap().0);
    let mut filler = Filler::of(&v);
    for seq in 1..=2200 {
        filler.pack.add(&v.ring, form(2000 + (seq % 2) as u16), seq, &text(seq)).unwrap();
        filler.put_ready();
    }
    filler.commit();
    for seq in 1..=2200 {
        assert_eq!(get(&v, seq), text(seq));
    }
}

#[test]
fn who_reads_in_order_opens_each_block_once() {
    let dir = tempfile::tempdir().unwrap();
    let v = fresh(dir.path());
    fill(&v, 60, 3);
    (1..=6).for_each(|seq| assert_eq!(get(&v, seq), text(seq)));
    assert_eq!(lock(&v.blocks).len(), 3);
    // Nothing more is asked of the database, but for the primers.
    in_db(&v, |db| db.remove(key(1, 0)).unwrap());
    (4..=60).for_each(|seq| assert_eq!(get(&v, seq), text(seq)));
    assert!(matches!(v.read(1).unwrap(), Content::Missing));
}

#[test]
fn numbers_that_were_left_out_stay_out_and_what_was_forgotten_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let v = fresh(dir.path());
    let mut filler = Filler::of(&v);
    for seq in [5, 6, 7, 20, 21] {
        filler.add(seq, &text(seq));
    }
    filler.commit();
    assert_eq!(
        [4, 5, 6, 7, 19, 20, 21].map(|seq| v.next_after(seq).unwrap()),
        [Some(5), Some(6), Some(7), Some(20), Some(20), Some(21), None]
    );
    for seq in [4, 8, 19, 22] {
        assert!(matches!(v.read(seq).unwrap(), Content::Missing), "{seq}");
        assert_eq!(v.flaw(seq).unwrap(), Some(Unopened::Damaged), "{seq}");
    }
    for seq in [22, 23] {
        filler.add(seq, b"forgotten");
    }
    filler.pack.forget();
    filler.commit();
    assert_eq!(v.last_seq().unwrap(), Some(21));
    filler.add(22, b"again");
    filler.commit();
    assert_eq!((v.last_seq().unwrap(), get(&v, 22)), (Some(22), b"again".to_vec()));
}

#[test]
fn a_record_too_long_is_refused_alone_and_its_number_given_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let v = fresh(dir.path());
    let mut filler = Filler::of(&v);
    filler.add(1, &text(1));
    filler.add(2, &text(2));
    let refused = filler.pack.add(&v.ring, of(0), 3, &vec![0; crate::seal::MAX_RECORD + 1]);
    assert!(matches!(refused, Err(JournalError::Record(_))), "{refused:?}");
    filler.add(3, &text(3));
    filler.commit();
    assert_eq!([1, 2, 3].map(|seq| get(&v, seq)), [1, 2, 3].map(text));
}

#[test]
fn a_record_within_a_block_goes_with_those_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let v = fresh(dir.path());
    fill(&v, 6, 1);
    // It was read, so its block is held, opened.
    assert_eq!(get(&v, 4), text(4));
    v.remove(4).unwrap();
    assert_eq!((v.last_seq().unwrap(), v.next_after(3).unwrap()), (Some(3), None));
    assert!(matches!(v.read(4).unwrap(), Content::Missing));
    let mut again = Filler::of(&v);
    again.add(4, b"another");
    again.add(5, b"and one more");
    again.commit();
    assert_eq!((1..=3).map(|seq| get(&v, seq)).collect::<Vec<_>>(), [1, 2, 3].map(text));
    assert_eq!((v.last_seq().unwrap(), get(&v, 4)), (Some(5), b"another".to_vec()));
    assert_eq!(get(&v, 5), b"and one more");
    assert!(matches!(v.read(6).unwrap(), Content::Missing));
}

#[test]
fn a_pack_longer_than_a_frame_goes_on_in_frames() {
    let dir = tempfile::tempdir().unwrap();
    let v = fresh(dir.path());
    let mut filler = Filler::of(&v);
    for seq in 1..=9 {
        filler.add(seq, &noise(5000, seq));
    }
    filler.commit();
    let sizes: Vec<usize> = values(&v).iter().map(|(_, value)| value.len()).collect();
    assert!(sizes.len() >= 8 && sizes.iter().all(|n| *n <= FRAME), "{sizes:?}");
    assert_eq!((v.last_seq().unwrap(), v.next_after(0).unwrap()), (Some(9), Some(1)));
    for seq in [9, 1, 5] {
        assert_eq!(get(&v, seq), noise(5000, seq));
    }
    v.remove(6).unwrap();
    assert_eq!((v.last_seq().unwrap(), v.next_after(5).unwrap()), (Some(5), None));
    filler.add(6, &text(6));
    filler.add(7, &text(7));
    filler.commit();
    assert_eq!([5, 6, 7].map(|seq| get(&v, seq)), [noise(5000, 5), text(6), text(7)]);
    // One of its frames is gone.
    in_db(&v, |db| db.remove(key(1, 3)).unwrap());
    lock(&v.blocks).clear();
    for seq in 1..=5 {
        assert!(matches!(v.read(seq).unwrap(), Content::Bad(Unopened::Damaged)), "{seq}");
    }
    assert_eq!(get(&v, 7), text(7));
    v.remove(6).unwrap();
    assert_eq!(v.last_seq().unwrap(), Some(5));
    v.remove(5).unwrap();
    assert!(values(&v).is_empty(), "nobody knows where its members end: it goes whole");
}

#[test]
fn a_pack_with_any_changed_byte_or_cut_gives_no_wrong_record() {
    let dir = tempfile::tempdir().unwrap();
    let v = fresh(dir.path());
    let mut filler = Filler::of(&v);
    for seq in 1..=7 {
        filler.add_of(u8::from(seq % 3 == 0), seq, &text(seq));
    }
    filler.commit();
    let [(_, good)] = &values(&v)[..] else { panic!() };
    let good = good.clone();
    let (mut bad, head) = (Vec::new(), LEN + 2 + 7);
    for i in 0..good.len() {
        // Every bit of what says where things are, one of each other byte.
        for bit in if i < head { 0..8 } else { i % 8..i % 8 + 1 } {
            let mut changed = good.clone();
            changed[i] ^= 1 << bit;
            bad.push(changed);
        }
        bad.push(good[..i].to_vec());
    }
    bad.push([good.as_slice(), &[0]].concat());
    for (i, bad) in bad.into_iter().enumerate() {
        in_db(&v, |db| db.insert(key(1, 0), bad.as_slice())).unwrap();
        lock(&v.blocks).clear();
        lock(&v.primers).clear();
        let mut found = 0;
        for seq in 1..=9 {
            if let Content::Record(plain) = v.read(seq).unwrap() {
                assert_eq!(plain, text(seq), "{i}");
                found += 1;
            }
            v.next_after(seq).unwrap();
        }
        // That more are its own than it has says nothing.
        assert!(found < 7 || bad[LEN + 1] > 7, "{i}: {bad:?}");
        let last = v.last_seq().unwrap().unwrap();
        assert!(last <= 7 || bad[0] & 0x80 == 0, "{i}: {last}");
        // What is taken out from the end comes to an end.
        let mut left = 7;
        while let Some(last) = v.last_seq().unwrap() {
            v.remove(last).unwrap();
            left -= 1;
            assert!(left >= 0, "{i}");
        }
    }
}

#[test]
fn a_pack_opens_under_its_own_numbers_only() {
    let dir = tempfile::tempdir().unwrap();
    let v = fresh(dir.path());
    fill(&v, 8, 1);
    let [(_, pack)] = &values(&v)[..] else { panic!() };
    in_db(&v, |db| db.insert(key(11, 0), pack.as_slice()).unwrap());
    for seq in 11..=18 {
        assert!(matches!(v.read(seq).unwrap(), Content::Bad(Unopened::Damaged)), "{seq}");
    }
    // Two records of a block in each other's place.
    let mut turned = pack.clone();
    let map = LEN + 2;
    assert_eq!((turned[map], turned[map + 1], turned[map + 7]), (0, 1, 1));
    turned.swap(map, map + 1);
    in_db(&v, |db| db.insert(key(1, 0), turned).unwrap());
    for seq in 1..=8 {
        assert!(matches!(v.read(seq).unwrap(), Content::Bad(Unopened::Damaged)), "{seq}");
    }
}
