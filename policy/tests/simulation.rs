//! The proof that the machine promotes only what it should, and sees it when
//! agreement falls. Seeds are printed; a run is a pure function of its seed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

use proptest::prelude::*;
use understudy_policy::{Event, Ledger, Stage, TaskId, TaskPolicy, Why, replay_order};

#[path = "simulation/world.rs"]
mod world;

use world::{Plan, World, policy};

const RUNS: u64 = 2_000;
/// 99 % limit of a binomial of 2,000 at .01.
const LIMIT: u32 = 31;

fn false_promotions(plan: &Plan, policy: &TaskPolicy, first_seed: u64, runs: u64, what: &str) -> u32 {
    let (mut promoted, mut entries, mut wrong, mut served, mut demoted) = (0, 0u64, 0, 0, 0);
    for seed in first_seed..first_seed + runs {
        let told = World::new(plan.clone(), policy.clone(), seed).run().told;
        promoted += u32::from(told.promoted > 0);
        entries += u64::from(told.entries);
        wrong += told.wrong_served;
        served += told.served;
        demoted +=
            u64::from(told.decisions.iter().any(|d| d.from > Stage::Shadowing && d.to == Stage::Shadowing));
    }
    println!(
        "seeds {first_seed}..{}: {what}: {promoted} of {runs} runs promoted falsely; {:.1} entries a run, \
         {demoted} runs demoted, {served} calls served by hand-promoted entries, {wrong} of the class that is always wrong",
        first_seed + runs,
        entries as f64 / runs as f64,
    );
    assert_eq!(wrong, 0, "a class that is always wrong is never served");
    promoted
}

#[test]
fn at_exactly_tau_clustered_conversations_promote_falsely_within_alpha() {
    let promoted = false_promotions(&Plan::null(), &policy(), 100_000, RUNS, "clustered, tau .95, alpha .01");
    assert!(promoted <= LIMIT, "{promoted}");
}

#[test]
fn at_exactly_tau_lone_calls_promote_falsely_within_alpha() {
    let promoted =
        false_promotions(&Plan::null().lone(), &policy(), 200_000, RUNS, "lone calls, tau .95, alpha .01");
    assert!(promoted <= LIMIT, "{promoted}");
}

#[test]
fn conversations_that_are_closed_between_their_turns_promote_falsely_within_alpha() {
    // So many agents talk at once that most turns come after the gap: were each a
    // conversation of its own, a third or more of such runs would promote.
    let plan = Plan {
        open: 240,
        turns: true,
        calls: 12_000,
        lengths: (40, 60),
        hard: 0.1,
        hard_agreement: 0.5,
        wrong_class: 0.0,
        understudies: 1,
        forced_from: Some(3_000),
        meddling: false,
        thinned: false,
        ..Plan::null()
    };
    let promoted = false_promotions(&plan, &policy(), 250_000, 500, "240 conversations at once, gap 60");
    assert!(promoted <= 11, "{promoted}"); // 99 % limit of a binomial of 500 at .01
}

#[test]
fn bars_by_learn_then_test_promote_falsely_within_alpha() {
    // A lax delta, so that bars are found on noise and entries are many.
    let plan = Plan { forced_from: None, wrong_class: 0.0, ..Plan::null().lone() };
    let lax = TaskPolicy { bar_delta: 0.9, dev_conversations: 100, ..policy() };
    let promoted = false_promotions(&plan, &lax, 300_000, 500, "bars by Learn then Test at delta .9");
    assert!(promoted <= 11, "{promoted}"); // 99 % limit of a binomial of 500 at .01
}

#[test]
fn a_true_98_is_promoted_and_its_fall_is_seen() {
    let seed = 400_000;
    let plan = Plan {
        calls: 80_000,
        lengths: (1, 1),
        hard: 0.0,
        agreement: 0.98,
        wrong_class: 0.0,
        understudies: 1,
        forced_from: None,
        meddling: false,
        thinned: false,
        falls: Some((2_000, 0.88)),
        ..Plan::null()
    };
    let (mut live, mut delays, mut early) = (Vec::new(), Vec::new(), 0);
    for seed in seed..seed + 60 {
        let told = World::new(plan.clone(), policy(), seed).run().told;
        live.extend(told.live_at);
        delays.extend(told.delay);
        early +=
            u32::from(told.delay.is_none() && told.decisions.iter().any(|d| d.why == Why::AuditsDisagree));
    }
    live.sort_unstable();
    delays.sort_unstable();
    println!(
        "seeds {seed}..{}: {} of 60 true .98 live, median after {} calls; {} falls to .88 seen, median after {} audited \
         conversations; {early} demoted before",
        seed + 60,
        live.len(),
        live[live.len() / 2],
        delays.len(),
        delays[delays.len() / 2],
    );
    assert!(live.len() >= 57, "{}", live.len());
    assert!(delays.len() >= 54 && delays[delays.len() / 2] <= 110, "{delays:?}");
}

fn events_of(seed: u64) -> (Vec<Event>, World) {
    // Loose enough for canary, live and demotion to be in reach of a short run.
    let plan = Plan {
        calls: 1_500,
        agreement: 0.93,
        lengths: (1, 4),
        forced_from: Some(100),
        understudies: 2,
        keep: true,
        ..Plan::null()
    };
    let loose = TaskPolicy { tau: 0.8, alpha: 0.2, step_conversations: 5, cusum_limit: 20.0, ..policy() };
    let mut world = World::new(plan, loose, seed).run();
    (std::mem::take(&mut world.told.events), world)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn restart_equals_replay(seed in 0u64..1_000_000, cut in 0.0..1.0f64) {
        let (events, world) = events_of(seed);
        prop_assert!(!world.told.decisions.is_empty());
        let cut = (cut * events.len() as f64) as usize;
        let policy = world.ledger.policy().clone();
        // From scratch, with a checkpoint in the middle that went through JSON.
        let mut ledger = Ledger::new(TaskId(seed), policy.clone());
        let mut decisions = Vec::new();
        for (i, event) in events.iter().enumerate() {
            if i == cut {
                ledger = serde_json::from_str(&serde_json::to_string(&ledger).unwrap()).unwrap();
            }
            // Events, too, are read back from a journal.
            let event: Event = serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap();
            decisions.extend(ledger.apply(&event));
        }
        prop_assert_eq!(&ledger, &world.ledger);
        prop_assert_eq!(&decisions, &world.told.decisions);
        // As a journal holds them: calls went on while the worker was behind.
        let (mut journal, later): (Vec<Event>, Vec<Event>) =
            events.into_iter().partition(|e| matches!(e, Event::Exchange(_)));
        journal.extend(later);
        replay_order(&mut journal);
        let mut replayed = Ledger::new(TaskId(seed), policy);
        for event in &journal {
            replayed.apply(event);
        }
        prop_assert_eq!(&replayed, &ledger);
    }
}
