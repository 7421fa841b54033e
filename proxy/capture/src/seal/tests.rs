use std::sync::Arc;

use proptest::prelude::*;
use understudy_call::{Credential, FormHash};

use super::*;
use crate::FileKey;

fn ring(folder: &std::path::Path, volume: &str) -> KeyRing {
    KeyRing::load(folder, volume, Arc::new(FileKey::from_bytes(&[3; 32]).unwrap())).unwrap()
}

fn name(n: u8) -> KeyName {
    KeyName { form: Some(FormHash([n; 16])), credential: Some(Credential([n; 16])) }
}

/// Opens one that stands alone.
fn opened(ring: &KeyRing, seq: u64, sealed: &mut [u8]) -> Result<Vec<u8>, Unopened> {
    open(ring, &[seq], sealed, |_| None)
}

/// Opens one of a row of sealed records, its primer among them.
fn opened_in(ring: &KeyRing, all: &[(u64, Vec<u8>)], seq: u64) -> Result<Vec<u8>, Unopened> {
    let sealed = all.iter().find(|(s, _)| *s == seq).unwrap().1.clone();
    opened_with(ring, all, &[seq], &sealed)
}

/// Opens one whose primer is among these.
fn opened_with(
    ring: &KeyRing,
    all: &[(u64, Vec<u8>)],
    numbers: &[u64],
    sealed: &[u8],
) -> Result<Vec<u8>, Unopened> {
    let of = |seq| all.iter().find(|(s, _)| *s == seq).map(|(_, sealed)| sealed.clone());
    open(ring, numbers, &mut sealed.to_vec(), |p| open_primer(ring, p, &mut of(p)?).map(Arc::new))
}

fn call(n: u64) -> Vec<u8> {
    // Does not say anything twice by itself.
    let system: String = (0..30u8).map(|i| blake3::hash(&[i]).to_string()).collect();
    format!("{system} the customer's question number {n}: {}", blake3::hash(&n.to_be_bytes())).into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn each_of_a_row_of_records_opens_to_what_was_sealed(
        row in prop::collection::vec((0u8..3, prop::collection::vec(0u8..4, 0..600), any::<bool>()), 1..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let ring = ring(dir.path(), "v");
        let mut sealer = Sealer::new().unwrap();
        let mut all = Vec::new();
        for (seq, (key, plain, fails)) in (1..).zip(&row) {
            all.push((seq, sealer.seal(&ring, name(*key), seq, plain).unwrap()));
            if *fails {
                sealer.forget();
            }
        }
        for (seq, (_, plain, _)) in (1..).zip(&row) {
            prop_assert_eq!(&opened_in(&ring, &all, seq).unwrap(), plain);
        }
    }

    #[test]
    fn a_record_opens_to_what_was_sealed(plain in prop::collection::vec(any::<u8>(), 0..20_000), seq: u64, n: u8) {
        let dir = tempfile::tempdir().unwrap();
        let ring = ring(dir.path(), "v");
        let mut sealed = Sealer::new().unwrap().seal(&ring, name(n), seq, &plain).unwrap();
        prop_assert_eq!(opened(&ring, seq, &mut sealed).unwrap(), plain);
    }

    #[test]
    fn a_record_with_any_changed_byte_or_cut_does_not_open(
        plain in prop::collection::vec(any::<u8>(), 1..400), seq: u64, at: prop::sample::Index, flip in 1u8..,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let ring = ring(dir.path(), "v");
        let sealed = Sealer::new().unwrap().seal(&ring, name(1), seq, &plain).unwrap();
        let mut changed = sealed.clone();
        let i = at.index(sealed.len());
        changed[i] ^= flip;
        prop_assert!(opened(&ring, seq, &mut changed).is_err());
        let mut cut = sealed[..i].to_vec();
        prop_assert!(opened(&ring, seq, &mut cut).is_err());
    }
}

#[test]
fn what_a_key_s_records_share_is_written_once() {
    let dir = tempfile::tempdir().unwrap();
    let ring = ring(dir.path(), "a");
    let mut sealer = Sealer::new().unwrap();
    let all: Vec<(u64, Vec<u8>)> =
        (1..=1030).map(|n| (n, sealer.seal(&ring, name(1), n, &call(n)).unwrap())).collect();
    let alone: Vec<u64> = all.iter().filter(|(_, s)| s[0] == ALONE).map(|(n, _)| *n).collect();
    // A damaged record costs at most those that it primes.
    assert_eq!(alone, [1, 1026]);
    assert!(all[1].1.len() * 4 < all[0].1.len(), "{} {}", all[1].1.len(), all[0].1.len());
    let other = sealer.seal(&ring, name(2), 2000, &call(2000)).unwrap();
    assert_eq!(other[0], ALONE, "another key shares nothing");
    for n in [1, 2, 700, 1025, 1026, 1030] {
        assert_eq!(opened_in(&ring, &all, n).unwrap(), call(n));
    }
}

#[test]
fn a_record_opens_with_its_own_primer_only() {
    let dir = tempfile::tempdir().unwrap();
    let ring = ring(dir.path(), "a");
    let mut sealer = Sealer::new().unwrap();
    let seal = |s: &mut Sealer, key, seq, n| (seq, s.seal(&ring, name(key), seq, &call(n)).unwrap());
    let mut all = vec![seal(&mut sealer, 1, 1, 1), seal(&mut sealer, 1, 2, 2), seal(&mut sealer, 1, 3, 3)];
    assert_eq!(opened_in(&ring, &all, 3).unwrap(), call(3));
    // The number of a record that was never written is given again.
    let (first, second) = (all[0].clone(), all[1].clone());
    all[0] = seal(&mut Sealer::new().unwrap(), 1, 1, 9);
    assert_eq!(opened_in(&ring, &all, 3), Err(Unopened::Damaged));
    // By another key's record.
    all[0] = seal(&mut Sealer::new().unwrap(), 2, 1, 1);
    assert_eq!(opened_in(&ring, &all, 3), Err(Unopened::Damaged));
    // Damaged, or gone.
    all[0] = first.clone();
    all[0].1[40] ^= 1;
    assert_eq!(opened_in(&ring, &all, 3), Err(Unopened::Damaged));
    assert_eq!(opened(&ring, 3, &mut all[2].1.clone()), Err(Unopened::Damaged));
    all[0] = first;
    assert_eq!(opened_in(&ring, &all, 3).unwrap(), call(3));
    // Who primes stands alone, and came before.
    assert!(open_primer(&ring, 2, &mut second.1.clone()).is_none());
    let mut back = Sealer::new().unwrap();
    let all = [seal(&mut back, 1, 9, 1), seal(&mut back, 1, 8, 2)];
    assert_eq!(all[1].1[0], PRIMED);
    assert_eq!(opened_in(&ring, &all, 8), Err(Unopened::Damaged));
    assert_eq!(intact(&ring, &[8], &mut all[1].1.clone()), Ok(()));
    assert_eq!(intact(&ring, &[7], &mut all[1].1.clone()), Err(Unopened::Damaged));
}

#[test]
fn a_primed_record_with_any_changed_byte_or_cut_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let ring = ring(dir.path(), "a");
    let mut sealer = Sealer::new().unwrap();
    let mut all: Vec<(u64, Vec<u8>)> =
        (1..=2).map(|n| (n, sealer.seal(&ring, name(1), n, &call(n)).unwrap())).collect();
    let whole = all[1].1.clone();
    for i in 0..whole.len() {
        all[1].1 = whole.clone();
        all[1].1[i] ^= 1 << (i % 8);
        assert!(opened_in(&ring, &all, 2).is_err(), "byte {i}");
        all[1].1 = whole[..i].to_vec();
        assert!(opened_in(&ring, &all, 2).is_err(), "cut at {i}");
    }
}

#[test]
fn a_block_opens_under_its_own_numbers_in_their_order_only() {
    let dir = tempfile::tempdir().unwrap();
    let ring = ring(dir.path(), "a");
    let mut sealer = Sealer::new().unwrap();
    let key = |n| ring.key_for(name(n)).unwrap().0;
    assert!(!sealer.primes(&ring, key(1), 1));
    assert!(sealer.seal_block(&ring, name(1), &[2, 4], b"two").is_err(), "there is no primer");
    let primer = [(1, sealer.seal(&ring, name(1), 1, &call(1)).unwrap())];
    assert!(sealer.primes(&ring, key(1), 1024) && !sealer.primes(&ring, key(1), 1025));
    let plain = [call(2), call(3), call(4)].concat();
    let block = sealer.seal_block(&ring, name(1), &[2, 4, 9], &plain).unwrap();
    assert!(!sealer.primes(&ring, key(1), 1022) && sealer.primes(&ring, key(1), 1021));
    assert!(!sealer.primes(&ring, key(2), 1));
    assert_eq!(opened_with(&ring, &primer, &[2, 4, 9], &block).unwrap(), plain);
    for others in [&[2][..], &[2, 4], &[2, 9, 4], &[2, 4, 10], &[1, 4, 9], &[2, 4, 9, 9], &[]] {
        assert_eq!(opened_with(&ring, &primer, others, &block), Err(Unopened::Damaged), "{others:?}");
        assert_eq!(intact(&ring, others, &mut block.clone()), Err(Unopened::Damaged), "{others:?}");
    }
    assert_eq!(intact(&ring, &[2, 4, 9], &mut block.clone()), Ok(()));
    assert_eq!(opened_with(&ring, &[], &[2, 4, 9], &block), Err(Unopened::Damaged));
    // A record says that it is one, and nothing makes a block of it.
    for version in [ALONE, PRIMED] {
        let mut other = block.clone();
        other[0] = version;
        assert!(opened_with(&ring, &primer, &[2, 4, 9], &other).is_err());
        assert!(opened_with(&ring, &primer, &[2], &other).is_err());
    }
    for i in 0..block.len() {
        let mut changed = block.clone();
        changed[i] ^= 1 << (i % 8);
        assert!(opened_with(&ring, &primer, &[2, 4, 9], &changed).is_err(), "byte {i}");
        assert!(opened_with(&ring, &primer, &[2, 4, 9], &block[..i]).is_err(), "cut at {i}");
    }
}

#[test]
fn a_record_opens_in_its_own_place_only() {
    let dir = tempfile::tempdir().unwrap();
    let a = ring(dir.path(), "a");
    let sealed = Sealer::new().unwrap().seal(&a, name(1), 7, b"part").unwrap();
    a.save().unwrap();
    assert_eq!(opened(&a, 8, &mut sealed.clone()), Err(Unopened::Damaged));
    std::fs::copy(dir.path().join("a"), dir.path().join("b")).unwrap();
    let b = ring(dir.path(), "b");
    assert_eq!(opened(&b, 7, &mut sealed.clone()), Err(Unopened::Damaged));
    assert_eq!(opened(&a, 7, &mut sealed.clone()).unwrap(), b"part");
}

#[test]
fn the_same_text_sealed_twice_is_never_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let ring = ring(dir.path(), "a");
    let mut sealer = Sealer::new().unwrap();
    let one = sealer.seal(&ring, name(1), 7, b"part").unwrap();
    let two = sealer.seal(&ring, name(1), 7, b"part").unwrap();
    assert_ne!(one, two);
}

#[test]
fn keys_are_read_again_and_a_torn_line_costs_that_key_only() {
    let dir = tempfile::tempdir().unwrap();
    let one = ring(dir.path(), "a");
    let mut sealer = Sealer::new().unwrap();
    let first = sealer.seal(&one, name(1), 1, b"first").unwrap();
    let second = sealer.seal(&one, name(2), 2, b"second").unwrap();
    one.save().unwrap();
    let path = dir.path().join("a");
    let text = std::fs::read(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 9]).unwrap();

    let again = ring(dir.path(), "a");
    assert_eq!(opened(&again, 1, &mut first.clone()).unwrap(), b"first");
    assert_eq!(opened(&again, 2, &mut second.clone()), Err(Unopened::KeyGone));
    let third = sealer.seal(&again, name(2), 3, b"third").unwrap();
    again.save().unwrap();
    let last = ring(dir.path(), "a");
    assert_eq!(opened(&last, 3, &mut third.clone()).unwrap(), b"third");
}

#[test]
fn a_key_that_a_full_disk_tore_is_whole_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let one = ring(dir.path(), "a");
    let mut sealer = Sealer::new().unwrap();
    let first = sealer.seal(&one, name(1), 1, b"first").unwrap();
    let path = dir.path().join("a");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    assert!(one.save().is_err() && one.save().is_err());
    // As much of the line as there was room for.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "0123456789abcdef - - 01").unwrap();
    let second = sealer.seal(&one, name(2), 2, b"second").unwrap();
    one.save().unwrap();
    let again = ring(dir.path(), "a");
    assert_eq!(opened(&again, 1, &mut first.clone()).unwrap(), b"first");
    assert_eq!(opened(&again, 2, &mut second.clone()).unwrap(), b"second");
}

#[test]
fn each_form_and_credential_has_a_key_of_its_own_up_to_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let ring = ring(dir.path(), "a");
    let id = |form: u16, cred: u8| {
        let mut f = [0; 16];
        f[..2].copy_from_slice(&form.to_be_bytes());
        ring.key_for(KeyName { form: Some(FormHash(f)), credential: Some(Credential([cred; 16])) }).unwrap().0
    };
    assert_eq!(id(1, 1), id(1, 1));
    assert_ne!(id(1, 1), id(2, 1));
    assert_ne!(id(1, 1), id(1, 2));
    let all: std::collections::HashSet<_> = (0..3000).map(|f| id(f, 1)).collect();
    assert!(all.len() <= 1026, "{}", all.len());
}

#[test]
fn keys_that_were_loaded_are_synced_once_before_what_they_seal_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (path, aside) = (dir.path().join("a"), dir.path().join("aside"));
    let one = ring(dir.path(), "a");
    let id = one.key_for(name(1)).unwrap().0;
    one.save().unwrap();

    let again = ring(dir.path(), "a");
    assert_eq!(again.key_for(name(1)).unwrap().0, id, "it is the same key");
    std::fs::rename(&path, &aside).unwrap();
    // Nothing that is written there can be synced.
    std::os::unix::fs::symlink("/dev/null", &path).unwrap();
    assert!(again.save().is_err() && again.save().is_err());
    std::fs::remove_file(&path).unwrap();
    std::fs::rename(&aside, &path).unwrap();
    again.save().unwrap();
    std::fs::remove_file(&path).unwrap();
    again.save().unwrap();
    assert!(!path.exists());
}
