use super::*;

/// The first is live and takes two calls of three; the second, which takes all,
/// has earned its evidence.
pub(super) fn a_successor_begins() -> (Play, UnderstudyId, UnderstudyId) {
    let (first, second) = (name("head-1"), name("head-2"));
    let mut play = Play::new(policy());
    let both = |play: &mut Play, lane, n| play.of_two(&first, &second, Stage::Live, lane, n);
    both(&mut play, Lane::Provider, 600);
    play.open(&first);
    both(&mut play, Lane::Provider, 400);
    audits(&mut play, &first, 30, true);
    audits(&mut play, &first, 30, true);
    assert_eq!(play.ledger.stage(), Stage::Live);
    both(&mut play, Lane::Control, 400);
    play.open(&second);
    both(&mut play, Lane::Control, 400);
    (play, first, second)
}

fn audits(play: &mut Play, who: &UnderstudyId, n: u32, agree: bool) {
    for _ in 0..n {
        play.call(Lane::Audit, who, agree);
    }
    play.end();
}

fn who_serves(play: &Play) -> (Option<u32>, Option<(u32, f64)>) {
    let roster = play.ledger.roster_task(&meta());
    (roster.as_ref().map(|r| r.entries[0].k), roster.and_then(|r| r.successor).map(|s| (s.entry.k, s.share)))
}

#[test]
fn a_successor_takes_the_place_through_all_steps_while_the_first_goes_on() {
    let (mut play, _, second) = a_successor_begins();
    assert_eq!(play.decisions.last().unwrap().why, Why::Successor);
    assert_eq!(who_serves(&play), (Some(1), Some((2, 0.1))));
    audits(&mut play, &second, 30, true);
    assert_eq!(play.decisions.last().unwrap().why, Why::StepEarned);
    assert_eq!(who_serves(&play), (Some(1), Some((2, 0.5))));
    audits(&mut play, &second, 30, true);
    assert_eq!(play.decisions.last().unwrap().why, Why::Succeeds);
    assert_eq!(who_serves(&play), (Some(2), None));
    let view = play.ledger.view();
    assert_eq!((view.stage, view.entries[0].closed), (Stage::Live, Some(Closed::Replaced)));
    assert!(play.decisions.iter().filter(|d| d.why > Why::Evidence).all(|d| d.to != Stage::Shadowing));
}

#[test]
fn a_successor_that_disagrees_is_closed_alone() {
    let (mut play, first, second) = a_successor_begins();
    audits(&mut play, &second, 200, false);
    let last = play.decisions.last().unwrap();
    assert_eq!((last.why, last.entry, last.to), (Why::AuditsDisagree, Some(2), Stage::Live));
    assert_eq!(who_serves(&play), (Some(1), None));
    assert_eq!(play.ledger.view().entries[1].closed, Some(Closed::Demoted));
    assert!(play.ledger.is_cooling());
    // And the first is still examined.
    audits(&mut play, &first, 200, false);
    assert_eq!(play.ledger.stage(), Stage::Shadowing);
}

#[test]
fn the_live_one_s_fall_takes_the_successor_with_it() {
    let (mut play, first, _) = a_successor_begins();
    audits(&mut play, &first, 200, false);
    assert_eq!((play.ledger.stage(), who_serves(&play)), (Stage::Shadowing, (None, None)));
    assert!(play.ledger.view().entries.iter().all(|e| e.closed == Some(Closed::Demoted)));
}

#[test]
fn a_lost_successor_leaves_the_live_one_alone() {
    let (mut play, _, second) = a_successor_begins();
    let seq = play.seq;
    play.apply(&Event::VersionGone { understudy: second, seq });
    assert_eq!((play.ledger.stage(), who_serves(&play)), (Stage::Live, (Some(1), None)));
}
