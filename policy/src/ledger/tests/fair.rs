//! Which calls are a fair draw of a task: for another entry, for its strata, for the arms.

use super::succession::a_successor_begins;
use super::*;

#[test]
fn in_conversations_of_several_turns_a_served_one_is_no_evidence_for_another() {
    let (first, second) = (name("head-1"), name("head-2"));
    let mut play = Play::new(policy());
    play.reach_live(&first);
    for turn in 0..1500u64 {
        play.seq += 1;
        let (seq, conversation) = (play.seq, 100_000 + turn / 3);
        let later_turn = turn % 3 > 0;
        play.apply(&Event::Exchange(ExchangeSeen { later_turn, ..seen(seq, conversation, Lane::Audit) }));
        play.apply(&Event::Trial(trial(seq, conversation, &second, TrialKind::Shadow, true)));
    }
    play.end();
    assert!(play.ledger.view().multi_turn);
    assert_eq!(play.ledger.development(&second).0, 0);
}

#[test]
fn what_another_entry_declined_does_not_judge_a_stratum() {
    let (mut play, _, second) = a_successor_begins();
    let k = play.ledger.view().entries.len() as u32;
    // Fewer than would cost the first one its place.
    for _ in 0..150 {
        play.seq += 1;
        let seq = play.seq;
        play.apply(&Event::Exchange(seen(seq, seq, Lane::Understudy)));
        play.apply(&served(seq, 1, Some(Declined::BelowBar), false));
        play.apply(&Event::Trial(trial(seq, seq, &second, TrialKind::Shadow, false)));
    }
    play.end();
    let view = play.ledger.view();
    let entry = view.entries.iter().find(|e| e.k == k).unwrap();
    assert_eq!(entry.closed, None);
    assert!(entry.strata.iter().all(|s| s.standing != Standing::Weak), "{:?}", entry.strata);
}

#[test]
fn a_call_of_the_control_group_that_could_not_be_answered_is_in_neither_arm() {
    let who = name("head-1");
    let mut play = Play::new(policy());
    play.reach_live(&who);
    for _ in 0..3000 {
        play.seq += 1;
        let seq = play.seq;
        play.apply(&Event::Exchange(ExchangeSeen { eligible: false, ..seen(seq, seq, Lane::Control) }));
        play.seq += 1;
        let seq = play.seq;
        let troubled = seq.is_multiple_of(4);
        play.apply(&Event::Exchange(ExchangeSeen {
            troubled,
            total_ms: None,
            ..seen(seq, seq, Lane::Understudy)
        }));
    }
    assert_eq!(play.ledger.stage(), Stage::Live);
}

#[test]
fn calls_that_the_understudy_declined_are_no_evidence_for_another() {
    let (first, second) = (name("head-1"), name("head-2"));
    let mut play = Play::new(policy());
    play.reach_live(&first);
    for _ in 0..500 {
        play.seq += 1;
        let seq = play.seq;
        play.apply(&Event::Exchange(seen(seq, seq, Lane::Understudy)));
        play.apply(&Event::Trial(trial(seq, seq, &second, TrialKind::Shadow, true)));
    }
    play.end();
    assert_eq!(play.ledger.development(&second).0, 0);
}
