#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]
use proptest::prelude::*;
use understudy_call::{Choice, Finish, Part, Reply, Request};

use super::{Difference, compare};
use crate::pairs::pairs;

#[test]
fn every_minimal_pair_is_judged_right() {
    let wrong: Vec<String> = pairs()
        .iter()
        .filter_map(|p| {
            let score = compare(&p.request, &p.reference, &p.answer);
            (score.agrees != p.should_agree).then(|| format!("{} / {}: {score:?}", p.scorer, p.kind))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn said(text: &str) -> Reply {
    let choice =
        Choice { content: vec![Part::Text(text.into())], finish: Some(Finish::Stop), ..Choice::default() };
    Reply { choices: vec![choice], ..Reply::default() }
}

#[test]
fn a_cut_reply_agrees_with_nothing() {
    let mut cut = said("hello");
    cut.choices[0].finish = Some(Finish::Length);
    let score = compare(&Request::default(), &said("hello"), &cut);
    assert_eq!((score.agrees, score.why), (false, Difference::NotWhole));
}

#[test]
fn a_reply_without_json_does_not_agree_with_json() {
    let score = compare(&Request::default(), &said("{\"a\": 1}"), &said("a is 1"));
    assert_eq!(score.why, Difference::NotJson);
}

proptest! {
    #[test]
    fn a_reply_agrees_with_itself(text in "\\PC{0,120}") {
        prop_assert!(compare(&Request::default(), &said(&text), &said(&text)).agrees);
    }

    #[test]
    fn agreement_is_symmetric(a in "[a-c 0-2.,]{0,12}", b in "[a-c 0-2.,]{0,12}") {
        let r = Request::default();
        prop_assert_eq!(compare(&r, &said(&a), &said(&b)).agrees, compare(&r, &said(&b), &said(&a)).agrees);
    }

    #[test]
    fn another_number_never_agrees(a in 0u32..10_000, b in 0u32..10_000, unit in "(euros|items|%|)") {
        prop_assume!(a != b);
        let r = Request::default();
        let agrees = compare(&r, &said(&format!("It is {a} {unit}.")), &said(&format!("It is {b} {unit}."))).agrees;
        prop_assert!(!agrees);
    }
}
