//! What takes a task back, and what does not.

use super::*;

#[test]
fn audits_that_disagree_demote_and_everything_begins_anew_but_k() {
    let who = name("head-1");
    let mut play = Play::new(policy());
    play.reach_live(&who);
    let mut audits = 0;
    while play.ledger.stage() == Stage::Live {
        play.call(Lane::Audit, &who, audits % 3 != 0);
        audits += 1;
        play.end();
    }
    assert!(audits < 60, "{audits}");
    assert_eq!(play.decisions.last().unwrap().why, Why::AuditsDisagree);
    let view = play.ledger.view();
    assert_eq!(view.entries[0].closed, Some(Closed::Demoted));
    assert_eq!(view.cooldown_trials, 20);
    assert_eq!(play.ledger.roster_task(&meta()), None);
    // The second entry needs its own development and gets the smaller share.
    play.calls(300, Lane::Provider, &who);
    play.end();
    let opened = play.open(&who);
    assert_eq!(opened.k, 2);
    assert!((play.ledger.view().entries[1].alpha - 0.01 / 6.0).abs() < 1e-12);
}

#[test]
fn cooldown_counts_trials() {
    let who = name("head-1");
    let mut play = Play::new(TaskPolicy { cooldown_trials: 1000, ..policy() });
    play.reach_canary(&who);
    play.operator(Action::Demote);
    play.calls(900, Lane::Provider, &who);
    play.end();
    assert_eq!(play.ledger.propose_entry(&who), None);
    play.calls(100, Lane::Provider, &who);
    play.end();
    assert!(play.ledger.propose_entry(&who).is_some());
}

#[test]
fn invalid_and_late_answers_spend_their_budgets() {
    let who = name("head-1");
    for (late, why) in [(false, Why::InvalidBudget), (true, Why::LateBudget)] {
        let mut play = Play::new(policy());
        play.reach_live(&who);
        for i in 0..200 {
            let bad = i % 4 == 0;
            let declined = bad.then_some(if late { Declined::Late } else { Declined::Invalid });
            let seq = play.seq;
            play.apply(&served(seq, 1, declined, late && bad));
        }
        assert_eq!(play.ledger.stage(), Stage::Shadowing);
        assert_eq!(play.decisions.last().unwrap().why, why);
    }
    // Within budget nothing happens.
    let mut play = Play::new(policy());
    play.reach_live(&who);
    for i in 0..5000 {
        let seq = play.seq;
        play.apply(&served(seq, 1, (i % 40 == 0).then_some(Declined::Invalid), false));
    }
    assert_eq!(play.ledger.stage(), Stage::Live);
}

#[test]
fn calls_slower_than_the_providers_demote() {
    let who = name("head-1");
    let mut play = Play::new(policy());
    play.reach_live(&who);
    for _ in 0..100 {
        play.seq += 1;
        let seq = play.seq;
        // Declined after 100 ms, then the provider's own 800.
        play.apply(&Event::Exchange(ExchangeSeen {
            total_ms: Some(900.0),
            ..seen(seq, seq, Lane::Understudy)
        }));
    }
    assert_eq!(play.decisions.last().unwrap().why, Why::Latency);
}

#[test]
fn an_engine_that_is_down_demotes_nobody() {
    let who = name("head-1");
    let mut play = Play::new(policy());
    play.reach_live(&who);
    for _ in 0..1000 {
        let seq = play.seq;
        play.apply(&served(seq, 1, Some(Declined::Unavailable), false));
    }
    assert_eq!(play.ledger.stage(), Stage::Live);
}

#[test]
fn a_budget_that_is_spent_or_an_engine_that_is_full_demotes_nobody() {
    let who = name("remote-1");
    for why in [Declined::Budget, Declined::Busy, Declined::Cancelled] {
        let mut play = Play::new(policy());
        play.reach_live(&who);
        for _ in 0..1000 {
            let seq = play.seq;
            play.apply(&served(seq, 1, Some(why), false));
        }
        assert_eq!(play.ledger.stage(), Stage::Live, "{why:?}");
    }
}

#[test]
fn coverage_that_fell_away_demotes() {
    let who = name("head-1");
    let mut play = Play::new(policy());
    play.reach_live(&who);
    for i in 0..1000 {
        let seq = play.seq;
        play.apply(&served(seq, 1, (i % 10 != 0).then_some(Declined::BelowBar), false));
    }
    assert_eq!(play.decisions.last().unwrap().why, Why::Coverage);
}

#[test]
fn a_served_arm_in_trouble_is_demoted_though_its_calls_agree() {
    let who = name("head-1");
    let mut play = Play::new(policy());
    play.reach_live(&who);
    for i in 0..8000u64 {
        play.seq += 1;
        let seq = play.seq;
        let control = i.is_multiple_of(20);
        let lane = if control { Lane::Control } else { Lane::Understudy };
        let e = ExchangeSeen {
            troubled: !control && i.is_multiple_of(2),
            total_ms: None,
            ..seen(seq, seq, lane)
        };
        play.apply(&Event::Exchange(e));
        if play.ledger.stage() != Stage::Live {
            break;
        }
    }
    assert_eq!(play.decisions.last().unwrap().why, Why::Control);
}
