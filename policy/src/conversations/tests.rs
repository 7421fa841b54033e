#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]
use super::*;

fn key(i: u8) -> ConversationKey {
    ConversationKey([i; 16])
}

fn call(seq: u64, repeats: bool) -> Call {
    Call { repeats, ..Call::untold(seq, Lane::Provider) }
}

fn trial(seq: u64) -> UnitTrial {
    UnitTrial { understudy: 0, kind: TrialKind::Shadow, seq, lane: Lane::Provider, answer: None }
}

#[test]
fn a_conversation_closes_after_the_gap_and_opens_anew() {
    let mut book = Conversations::new(10);
    book.call(key(1), call(1, false));
    book.call(key(2), call(5, false));
    book.call(key(1), call(8, false));
    assert!(book.close_silent(15).is_empty());
    let closed = book.close_silent(16);
    assert_eq!(closed.iter().map(|u| u.first_seq).collect::<Vec<_>>(), [5]);
    let closed = book.close_silent(19);
    assert_eq!(closed.iter().map(|u| (u.first_seq, u.calls)).collect::<Vec<_>>(), [(1, 2)]);
    book.call(key(1), call(19, false));
    assert_eq!(book.close_all().iter().map(|u| u.first_seq).collect::<Vec<_>>(), [19]);
}

#[test]
fn where_many_talk_at_once_the_gap_stretches_and_conversations_stay_whole() {
    // A hundred at once, in turn, five calls each: a hundred entries between two turns.
    let mut book = Conversations::new(10);
    let (mut seq, mut whole) = (0, Vec::new());
    for round in 0..30u64 {
        for turn in 0..5 {
            for agent in 0..100u64 {
                seq += 1;
                whole.extend(book.close_silent(seq).iter().map(|u| (u.first_seq, u.calls, u.continued)));
                let mut id = [0; 16];
                id[..8].copy_from_slice(&(round * 100 + agent).to_be_bytes());
                let later_turn = turn > 0;
                let call = Call { later_turn, ..Call::untold(seq, Lane::Provider) };
                book.call(ConversationKey(id), call);
            }
        }
    }
    let late: Vec<_> = whole.iter().filter(|(first, ..)| *first > 2_000).collect();
    assert!(late.len() > 1_000 && late.iter().all(|(_, calls, goes_on)| (*calls, *goes_on) == (5, false)));
}

#[test]
fn what_goes_on_from_a_closed_conversation_is_marked() {
    let mut book = Conversations::new(10);
    let mut goes_on = |seq: u64, later_turn: bool| {
        book.call(key(1), Call { later_turn, ..Call::untold(seq, Lane::Provider) });
        book.close_all().remove(0).continued
    };
    // It may have begun before anybody listened.
    assert!(!goes_on(100, true));
    assert!(goes_on(200, true));
    // The same words once more begin a new one.
    assert!(!goes_on(300, false));
    assert!(goes_on(400, true));
    for n in 0..CLOSED as u64 {
        book.call(ConversationKey([9; 16]), call(1_000 + n, false));
        book.close_all();
    }
    book.call(key(1), Call { later_turn: true, ..Call::untold(9_000, Lane::Provider) });
    assert!(!book.close_all()[0].continued, "only the latest are remembered");
}

#[test]
fn a_repeat_and_a_second_telling_are_no_new_evidence() {
    let mut book = Conversations::new(10);
    book.call(key(1), call(1, false));
    book.trial(key(1), trial(1));
    book.trial(key(1), trial(1));
    book.call(key(1), call(2, true));
    book.trial(key(1), trial(2));
    assert_eq!(book.close_all()[0].trials.len(), 1);
}

#[test]
fn declined_calls_of_a_served_conversation_are_no_fair_draw() {
    let mut book = Conversations::new(10);
    for (seq, lane) in [(1, Lane::Understudy), (2, Lane::Audit), (3, Lane::Provider)] {
        book.call(key(1), Call::untold(seq, lane));
        book.trial(key(1), trial(seq));
    }
    let unit = book.close_all().remove(0);
    let fair = |several_turns| -> Vec<u64> {
        unit.trials.iter().filter(|t| unit.fair(t, several_turns)).map(|t| t.seq).collect()
    };
    assert_eq!(fair(false), [2]);
    assert!(fair(true).is_empty());
}
