//! Whom the rules let answer, and what becomes of whom they leave out.

use super::succession::a_successor_begins;
use super::*;

/// The same rules, with these who may answer.
fn come_under(play: &mut Play, models: &[&str]) -> Vec<Decision> {
    let models = models.iter().map(|m| (*m).to_owned()).collect();
    let rules = TaskPolicy { models, ..policy() };
    let seq = play.seq + 1;
    play.apply(&Event::Policy { policy: Box::new(rules), seq, afterwards: true })
}

#[test]
fn whom_the_rules_leave_out_is_taken_off_and_the_others_keep_what_they_have_earned() {
    let (mut play, first, second) = a_successor_begins();
    let before = play.ledger.view().entries;
    let decisions = come_under(&mut play, &[second.0.as_str()]);
    let path: Vec<_> = decisions.iter().map(|d| (d.from, d.to, d.why, d.understudy.clone())).collect();
    assert_eq!(
        path,
        [
            (Stage::Live, Stage::Shadowing, Why::Policy, Some(first)),
            (Stage::Shadowing, Stage::Canary { step: 0 }, Why::Evidence, Some(second)),
        ]
    );
    let view = play.ledger.view();
    assert_eq!((view.serving, view.successor), (Some(2), None));
    assert_eq!(view.entries[0].closed, Some(Closed::Policy));
    assert_eq!(view.entries[1], before[1]);
}

#[test]
fn a_successor_that_the_rules_leave_out_is_closed_alone_and_it_is_said() {
    let (mut play, first, _) = a_successor_begins();
    let decisions = come_under(&mut play, &[first.0.as_str()]);
    let said: Vec<_> = decisions.iter().map(|d| (d.from, d.to, d.why, d.entry)).collect();
    assert_eq!(said, [(Stage::Live, Stage::Live, Why::Policy, Some(2))]);
    let view = play.ledger.view();
    assert_eq!((view.stage, view.serving, view.successor), (Stage::Live, Some(1), None));
    assert_eq!(view.entries[1].closed, Some(Closed::Policy));
    assert_eq!(play.ledger.roster_task(&meta()).unwrap().successor, None);
}

#[test]
fn rules_that_leave_nobody_out_change_nothing_and_those_that_leave_all_out_take_the_task_back() {
    let (mut play, ..) = a_successor_begins();
    let before = play.ledger.view();
    assert_eq!(come_under(&mut play, &["head"]), []);
    let after = play.ledger.view();
    assert_eq!(
        (after.serving, &after.successor, &after.entries),
        (Some(1), &before.successor, &before.entries)
    );
    let decisions = come_under(&mut play, &["remote"]);
    assert_eq!(
        decisions.iter().map(|d| (d.to, d.why)).collect::<Vec<_>>(),
        [(Stage::Shadowing, Why::Policy)]
    );
    assert_eq!(play.ledger.roster_task(&meta()), None);
    assert!(play.ledger.view().entries.iter().all(|e| e.closed == Some(Closed::Policy)));
}

#[test]
fn a_pin_does_not_keep_whom_the_rules_leave_out() {
    let who = name("head-1");
    let mut play = Play::new(policy());
    play.reach_live(&who);
    play.operator(Action::Pin(true));
    let decisions = come_under(&mut play, &["prompted"]);
    assert_eq!(
        decisions.iter().map(|d| (d.to, d.why)).collect::<Vec<_>>(),
        [(Stage::Shadowing, Why::Policy)]
    );
    assert!(play.ledger.view().pinned && play.ledger.roster_task(&meta()).is_none());
}

#[test]
fn no_entry_opens_for_whom_the_rules_leave_out_until_they_let_it_in_again() {
    let who = name("head-1");
    let mut play = Play::new(policy());
    play.calls(450, Lane::Provider, &who);
    play.end();
    let offered = play.ledger.propose_entry(&who).unwrap();
    come_under(&mut play, &["prompted"]);
    assert_eq!(play.ledger.propose_entry(&who), None);
    // One that was offered before is numbered, and closed.
    play.apply(&Event::EntryOpened(offered));
    assert_eq!(play.ledger.view().entries[0].closed, Some(Closed::Policy));
    assert_eq!(play.ledger.open_understudies().count(), 0);
    assert_eq!(play.operator(Action::Promote), [], "nobody may serve");
    // Trials that were under way are no development either.
    play.calls(50, Lane::Provider, &who);
    play.end();
    assert_eq!(play.ledger.development(&who), (0, 300));

    come_under(&mut play, &[]);
    play.calls(300, Lane::Provider, &who);
    play.end();
    assert_eq!(play.open(&who).k, 2);
    assert_eq!(play.ledger.open_understudies().collect::<Vec<_>>(), [&who]);
}

#[test]
fn a_person_s_promotion_passes_over_whom_the_rules_leave_out() {
    let (first, second) = (name("head-1"), name("prompted-1"));
    let mut play = Play::new(policy());
    play.of_two(&first, &second, Stage::Shadowing, Lane::Provider, 600);
    play.open(&first);
    play.open(&second);
    // Of two that have bet on nothing yet, the later one would be promoted.
    assert_eq!(come_under(&mut play, &["head"]), []);
    let decisions = play.operator(Action::Promote);
    assert_eq!((decisions[0].to, decisions[0].understudy.clone()), (Stage::Canary { step: 0 }, Some(first)));
}
