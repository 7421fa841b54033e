use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::question::{jaccard, shingles};
use crate::{Reason, parts};

/// A call out of few questions, replies and conversations, so that everything
/// that may coincide does.
fn any_call() -> impl Strategy<Value = (usize, u64, usize, u8, bool)> {
    (0..40usize, 0..30u64, 0..4usize, 0..12u8, any::<bool>())
}

/// Four questions to a chain: the next one begins and ends two words later, which
/// makes a near duplicate of it (56 of 60 word 3-grams); the one after that is none.
fn question(n: usize) -> String {
    let from = (n / 4) * 100 + 2 * (n % 4);
    (from..from + 60).map(|i| format!("w{i}")).collect::<Vec<_>>().join(" ")
}

fn journal(calls: &[(usize, u64, usize, u8, bool)]) -> Vec<(u64, Exchange)> {
    calls
        .iter()
        .enumerate()
        .map(|(i, (asked, conversation, replied, fate, later))| {
            let mut turns = asks(&question(*asked));
            if *later {
                turns.push(Message::text_of(Role::Assistant, "which room?"));
                turns.push(Message::text_of(Role::User, "the kitchen"));
            }
            let call = exchange(i as u64 + 1, *conversation, turns, plays(&format!("a{replied}")));
            match fate {
                0 => by_understudy(call),
                1 => {
                    let (seq, mut e) = by_understudy(call);
                    e.understudy_reply = e.reply.clone();
                    (seq, e)
                }
                2 => {
                    let (seq, mut e) = call;
                    e.meta.status = 500;
                    (seq, e)
                }
                _ => call,
            }
        })
        .collect()
}

fn rules() -> Rules {
    Rules { development: 0.3, held: 0.2, ..permitted() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_conversation_and_no_question_is_in_two_parts(calls in prop::collection::vec(any_call(), 1..200)) {
        let made = curated(journal(&calls), &rules());
        let mut of: HashMap<ConversationKey, Split> = HashMap::new();
        let mut asked: HashMap<Vec<String>, Split> = HashMap::new();
        for row in &made.rows {
            prop_assert_eq!(*of.entry(row.conversation).or_insert(row.split), row.split);
            let question = row.messages.iter().map(Message::text).collect();
            prop_assert_eq!(*asked.entry(question).or_insert(row.split), row.split);
        }
    }

    #[test]
    fn no_two_rows_with_one_reply_are_nearly_the_same(calls in prop::collection::vec(any_call(), 1..200)) {
        let made = curated(journal(&calls), &rules());
        let grams: Vec<Vec<u64>> = made.rows.iter().map(|r| {
            shingles(&r.messages.iter().map(|m| (m.role, m.text())).collect::<Vec<_>>())
        }).collect();
        for (i, a) in made.rows.iter().enumerate() {
            for (j, b) in made.rows.iter().enumerate().skip(i + 1) {
                let near = jaccard(&grams[i], &grams[j]) >= 0.9;
                prop_assert!(!(near && a.reply == b.reply), "{:?} {:?}", a, b);
            }
        }
    }

    #[test]
    fn no_row_is_an_understudys_answer_or_comes_after_one(calls in prop::collection::vec(any_call(), 1..200)) {
        let journal = journal(&calls);
        let made = curated(journal.clone(), &rules());
        let mut served: HashMap<ConversationKey, u64> = HashMap::new();
        for (seq, e) in &journal {
            if matches!(e.meta.answered_by, AnsweredBy::Understudy(_)) {
                served.entry(e.meta.conversation.unwrap()).or_insert(*seq);
            }
        }
        let by_seq: HashMap<u64, &Exchange> = journal.iter().map(|(s, e)| (*s, e)).collect();
        for row in &made.rows {
            let e = by_seq[&row.seq];
            let audited = e.understudy_reply.is_some();
            prop_assert!(!matches!(e.meta.answered_by, AnsweredBy::Understudy(_)) || audited);
            if row.messages.len() > 1 {
                prop_assert!(served.get(&row.conversation).is_none_or(|first| row.seq < *first));
            }
            prop_assert_eq!(row.exchange, e.id);
        }
    }

    #[test]
    fn the_order_of_the_input_does_not_matter(
        (calls, order) in prop::collection::vec(any_call(), 1..120)
            .prop_flat_map(|c| { let n = c.len(); (Just(c), Just((0..n).collect::<Vec<_>>()).prop_shuffle()) })
    ) {
        let journal = journal(&calls);
        let shuffled: Vec<_> = order.iter().map(|i| journal[*i].clone()).collect();
        prop_assert_eq!(curated(journal, &rules()), curated(shuffled, &rules()));
    }

    #[test]
    fn what_comes_later_moves_no_question_to_another_part(
        calls in prop::collection::vec(any_call(), 2..200), cut in 0.1..0.9f64
    ) {
        // Without conflicts, which later replies decide.
        let calls: Vec<_> = calls.into_iter().map(|(a, c, _, _, l)| (a, c, 0, 9, l)).collect();
        let journal = journal(&calls);
        let early = curated(journal[..(journal.len() as f64 * cut) as usize].to_vec(), &rules());
        let late = curated(journal, &rules());
        let question = |r: &Row| r.messages.iter().map(Message::text).collect::<Vec<_>>();
        let now: HashMap<Vec<String>, Split> = late.rows.iter().map(|r| (question(r), r.split)).collect();
        for row in &early.rows {
            prop_assert!(now.get(&question(row)).is_none_or(|s| *s == row.split));
        }
    }
}

#[test]
fn of_many_conversations_each_part_gets_its_share() {
    let made = curated((1..4_001).map(usual).collect(), &permitted());
    let share = |s: Split| made.of(s).count() as f64 / made.rows.len() as f64;
    assert!((share(Split::Train) - 0.85).abs() < 0.02, "{}", share(Split::Train));
    assert!((share(Split::Development) - 0.10).abs() < 0.02, "{}", share(Split::Development));
    assert!((share(Split::Held) - 0.05).abs() < 0.02, "{}", share(Split::Held));
}

#[test]
fn nothing_of_a_held_conversation_is_shown_or_written() {
    let rules = Rules { development: 0.0, held: 1.0, ..permitted() };
    let mut calls: Vec<_> = (1..200).map(usual).collect();
    calls.extend(
        (1..50)
            .map(|n| exchange(300 + n, n, asks(&format!("please play song {n} by artist {n}")), plays("x"))),
    );
    calls.push(exchange(500, 500, asks("a secret"), Choice { finish: Some(Finish::Length), ..says("cut") }));
    let made = curated(calls, &rules);
    assert!(made.report.dropped.iter().all(|d| d.samples.is_empty()), "{:#?}", made.report.dropped);
    assert_eq!((made.report.classes.len(), made.report.characters.parts), (0, 0));
    let mut out = Vec::new();
    parts::write(&made, &parts::data_sha256(&made).unwrap(), &mut out).unwrap();
    assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 1, "the header alone");
}

#[test]
fn a_trainer_gets_held_rows_after_the_others_and_under_the_same_hash() {
    let made = curated((1..100).map(usual).collect(), &permitted());
    let sum = parts::data_sha256(&made).unwrap();
    let (mut open, mut all) = (Vec::new(), Vec::new());
    parts::write(&made, &sum, &mut open).unwrap();
    parts::write_with_held(&made, &sum, &mut all).unwrap();
    let held = all.strip_prefix(open.as_slice()).unwrap();
    let lines: Vec<Value> =
        held.split_inclusive(|b| *b == b'\n').map(|l| serde_json::from_slice(l).unwrap()).collect();
    assert!(!lines.is_empty() && lines.len() == made.of(Split::Held).count());
    for (line, row) in lines.iter().zip(made.of(Split::Held)) {
        assert_eq!((&line["split"], &line["id"]), (&json!("held"), &json!(row.exchange)));
    }
}

#[test]
fn the_rows_as_the_trainer_reads_them() {
    let made = curated((1..100).map(usual).collect(), &permitted());
    let mut out = Vec::new();
    parts::write(&made, &parts::data_sha256(&made).unwrap(), &mut out).unwrap();
    // The first conversation is a held one.
    let lines: Vec<&[u8]> = out.split_inclusive(|b| *b == b'\n').collect();
    let header: Value = serde_json::from_slice(lines[0]).unwrap();
    let row: Value = serde_json::from_slice(lines[1]).unwrap();
    assert_eq!((&header["task"], header["data_sha256"].as_str().unwrap().len()), (&json!("speaker"), 64));
    assert_eq!(header["curation"]["exchanges"], 99);
    assert_eq!(header["curation"]["providers"]["openai"][1]["by"], "the test");
    let names: Vec<&String> = row.as_object().unwrap().keys().collect();
    assert_eq!(names, ["id", "conversation", "split", "messages", "reply"]);
    assert_eq!(row["messages"], json!([{"role": "user", "content": "please play song 2 by artist 2"}]));
    assert_eq!(row["reply"], r#">play {"artist": "artist 2"}"#);
    let sum = sha2::Sha256::new_with(lines[1..].concat());
    assert_eq!(header["data_sha256"], sum);
    let splits: HashSet<String> = lines[1..]
        .iter()
        .map(|l| serde_json::from_slice::<Value>(l).unwrap()["split"].as_str().unwrap().to_owned())
        .collect();
    assert!(splits.iter().all(|s| s == "train" || s == "development"), "{splits:?}");
    assert_eq!(lines.len() - 1 + made.of(Split::Held).count(), made.rows.len());
    assert_eq!(made.report.count(Reason::ExactDuplicate), 0);
}

/// The hash of bytes in hexadecimal.
trait NewWith {
    fn new_with(bytes: Vec<u8>) -> String;
}

impl NewWith for sha2::Sha256 {
    fn new_with(bytes: Vec<u8>) -> String {
        use sha2::Digest as _;
        hex::encode(Self::digest(bytes))
    }
}
