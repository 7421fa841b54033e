#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_record_opens_to_what_was_sealed(plain in prop::collection::vec(any::<u8>(), 0..20_000), seq: u64, n: u8) {
        let dir = tempfile::tempdir().unwrap();
        let ring = ring(dir.path(), "v");
        let mut sealed = Sealer::new().unwrap().seal(&ring, name(n), seq, &plain).unwrap();
        prop_assert_eq!(open(&ring, seq, &mut sealed).unwrap(), plain);
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
        prop_assert!(open(&ring, seq, &mut changed).is_err());
        let mut cut = sealed[..i].to_vec();
        prop_assert!(open(&ring, seq, &mut cut).is_err());
    }
}

#[test]
fn a_record_opens_in_its_own_place_only() {
    let dir = tempfile::tempdir().unwrap();
    let a = ring(dir.path(), "a");
    let sealed = Sealer::new().unwrap().seal(&a, name(1), 7, b"part").unwrap();
    a.save().unwrap();
    assert_eq!(open(&a, 8, &mut sealed.clone()), Err(Unopened::Damaged));
    std::fs::copy(dir.path().join("a"), dir.path().join("b")).unwrap();
    let b = ring(dir.path(), "b");
    assert_eq!(open(&b, 7, &mut sealed.clone()), Err(Unopened::Damaged));
    assert_eq!(open(&a, 7, &mut sealed.clone()).unwrap(), b"part");
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
    assert_eq!(open(&again, 1, &mut first.clone()).unwrap(), b"first");
    assert_eq!(open(&again, 2, &mut second.clone()), Err(Unopened::KeyGone));
    let third = sealer.seal(&again, name(2), 3, b"third").unwrap();
    again.save().unwrap();
    let last = ring(dir.path(), "a");
    assert_eq!(open(&last, 3, &mut third.clone()).unwrap(), b"third");
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
