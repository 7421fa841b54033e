//! Texts that are said once are left to the provider.

use super::*;
use crate::{Refusal, parts};

/// Sixty conversations that call a tool, ask in the same words and end in words of
/// their own.
fn conversations() -> Vec<(u64, Exchange)> {
    let artist = |n: u64| format!("Band{n}x");
    (0..60)
        .flat_map(|n| {
            let asked = asks(&format!("please play something by {}", artist(n)));
            let said = |text: &str| Message::text_of(Role::Assistant, text);
            let told = format!("Now playing {} at volume {}.", artist(n), n % 11);
            let turns = [asked.clone(), vec![said(&told)], asks(&format!("and what of year {n}?"))].concat();
            // No two are alike, and nothing of them stands in the part.
            let own: String = (0..6)
                .map(|i| {
                    format!("w{}ord ", (b'a' + ((n * 7 + i * 13) % 26) as u8) as char)
                        .repeat(1 + (n as usize + i as usize) % 3)
                })
                .collect();
            [
                exchange(n * 10, n, asks(&format!("song {n} of {}", artist(n))), plays(&artist(n))),
                exchange(n * 10 + 1, n, asked, says(&told)),
                exchange(n * 10 + 2, n, turns, says(&format!("{own}.{n}"))),
            ]
        })
        .collect()
}

#[test]
fn what_follows_a_pattern_is_learnt_and_what_is_said_once_is_left() {
    let made = curated(conversations(), &all_train());
    for row in &made.rows {
        let own = row.seq % 10 == 2;
        assert_eq!(row.defers, own, "{}", row.reply);
    }
    let deferred = made.rows.iter().filter(|r| r.defers).count();
    assert!(deferred > 50 && made.rows.len() > 150, "{deferred} of {}", made.rows.len());
    let told = made.report.notes.iter().any(|n| n.starts_with(&format!("{deferred} training rows")));
    assert!(told, "{:?}", made.report.notes);
    assert_eq!(made.report.split(Split::Train).left, deferred as u64);
    let (rows, least) = (made.rows.len() - deferred, made.rows.len());
    let strict = Rules { least_rows: least, ..all_train() };
    let (rows, least) = (rows as u64, least as u64);
    assert_eq!(curated(conversations(), &strict).report.refusal(), Some(Refusal::TooFewRows { rows, least }));
    let mut lines = Vec::new();
    parts::write(&made, "", &mut lines).unwrap();
    let text = String::from_utf8(lines).unwrap();
    assert_eq!(text.matches(r#""defers":true"#).count(), deferred);
}

#[test]
fn a_task_that_never_calls_is_left_as_it_is() {
    let talk = (0..60).map(|n| {
        exchange(
            n,
            n,
            asks(&format!("what is {n}?")),
            says(&format!("it surely was {}", "x".repeat(n as usize + 1))),
        )
    });
    let made = curated(talk.collect(), &all_train());
    assert!(made.rows.iter().all(|r| !r.defers));
    assert_eq!((made.report.said_once, made.report.answerable()), (made.rows.len() as u64, 0.0));
    // Of the calls, not of the rows, of which one may stand for many.
    let talk = (0..60).map(|n| {
        let again = n.min(20);
        let reply = format!("it surely was {}", "x".repeat(again as usize + 1));
        exchange(n, n, asks(&format!("what is {again}?")), says(&reply))
    });
    let made = curated(talk.collect(), &all_train());
    assert_eq!((made.rows.len(), made.report.said_once), (21, 20));
    assert!((made.report.answerable() - 40.0 / 60.0).abs() < 1e-9, "{}", made.report.answerable());
    assert!(made.report.notes.iter().any(|n| n.ends_with("word by word")), "{:?}", made.report.notes);
    // As many, in words that come again.
    let said = (0..60).map(|n| exchange(n, n, asks(&format!("what is {n}?")), says(&format!("it is {n}"))));
    assert_eq!(curated(said.collect(), &all_train()).report.answerable(), 1.0);
    // Sentences of their own, and each is copied out of its part.
    let quoted = (0..60).map(|n| {
        let sentence = format!("the w{n}q met a z{n}k on the hill and left");
        exchange(
            n,
            n,
            asks(&format!("Quote what is said of z{n}k: first, {sentence}; then, nothing.")),
            says(&sentence),
        )
    });
    assert_eq!(curated(quoted.collect(), &all_train()).report.answerable(), 1.0);
}

#[test]
fn development_rows_are_marked_by_what_training_rows_said() {
    let rules = Rules { development: 0.3, held: 0.2, ..permitted() };
    let made = curated(conversations(), &rules);
    for split in [Split::Development, Split::Held] {
        assert!(made.of(split).any(|r| r.seq % 10 == 1 && !r.defers), "{split:?}");
        assert!(made.of(split).filter(|r| r.seq % 10 == 2).all(|r| r.defers), "{split:?}");
    }
}

#[test]
fn what_many_conversations_ask_and_are_told_alike_is_no_text_said_once() {
    // One row stands for the equal ones, whoever asked.
    let alike = (100..130).map(|n| exchange(n * 10, n, asks("hi"), says("Hello! How can I help?")));
    let made = curated(conversations().into_iter().chain(alike).collect(), &all_train());
    let hello = made.rows.iter().find(|r| r.reply.starts_with("Hello")).unwrap();
    assert!(hello.stands_for > 1 && !hello.defers, "{hello:?}");
}

#[test]
fn values_that_come_again_are_values_all_the_same() {
    let cities = ["Boston", "Denver", "Austin", "Lima", "Oslo", "Riga", "Turin"];
    let trips = (100..142).map(|n| {
        let (from, to) = (cities[n as usize % 7], cities[(n as usize / 7) % 6]);
        let told = format!("Your trip from {from} to {to} is booked: No. {n}.");
        exchange(n * 10, n, asks(&format!("trip {n} from {from} to {to}, please")), says(&told))
    });
    let made = curated(conversations().into_iter().chain(trips).collect(), &all_train());
    let trips: Vec<&Row> = made.rows.iter().filter(|r| r.reply.starts_with("Your trip")).collect();
    assert!(trips.len() > 30 && trips.iter().all(|r| !r.defers), "{}", trips.len());
}

#[test]
fn scripts_without_spaces_have_words_too() {
    let singers = ["周杰伦", "邓丽君", "王菲", "张学友", "林俊杰", "陈奕迅"];
    let songs = (100..130).map(|n| {
        let singer = format!("{}{}", singers[n as usize % 6], singers[(n as usize / 6) % 6]);
        exchange(
            n * 10,
            n,
            asks(&format!("第{n}首请播放{singer}的歌")),
            says(&format!("我已为您播放{singer}的歌。")),
        )
    });
    let made = curated(
        conversations().into_iter().chain(songs).collect(),
        &Rules { script_share: None, one_language: false, ..all_train() },
    );
    let songs: Vec<&Row> = made.rows.iter().filter(|r| r.reply.starts_with('我')).collect();
    assert!(songs.len() > 20 && songs.iter().all(|r| !r.defers), "{}", songs.len());
}

#[test]
fn fenced_json_is_judged_by_its_values_and_a_call_among_many_texts_changes_nothing() {
    let json = (100..130).map(|n| {
        exchange(
            n * 10,
            n,
            asks(&format!("describe {n}")),
            says(&format!("```json\n{{\"w{n}\": \"{}\"}}\n```", "z".repeat(n as usize - 90))),
        )
    });
    let made = curated(conversations().into_iter().chain(json).collect(), &all_train());
    assert!(made.rows.iter().filter(|r| r.reply.starts_with("```")).all(|r| !r.defers));
    let texts = conversations().into_iter().filter(|(seq, _)| seq % 10 == 2 || *seq == 0);
    assert!(curated(texts.collect(), &all_train()).rows.iter().all(|r| !r.defers));
}
