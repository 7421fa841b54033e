//! Prints the figures of the whole machine: false promotions at exactly τ, time
//! to promotion, delay to demotion.
//!
//! `cargo run --release -p understudy-policy --example simulate [RUNS]`
#![allow(clippy::indexing_slicing, clippy::print_stdout, reason = "an example")]

use understudy_policy::betting;

#[path = "../tests/simulation/world.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod world;

use world::{Plan, World, policy};

fn median(mut values: Vec<u64>) -> String {
    values.sort_unstable();
    values.get(values.len() / 2).map_or_else(|| "-".to_owned(), u64::to_string)
}

fn main() {
    let runs = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(200u64);
    println!("tau .95, alpha .01, {runs} runs a line\n");
    println!("| at exactly tau | entries a run | false promotions | of the wrong class served |");
    println!("| --- | --- | --- | --- |");
    for (what, plan) in [("clustered, 10 to 30 calls", Plan::null()), ("lone calls", Plan::null().lone())] {
        let told: Vec<_> =
            (0..runs).map(|seed| World::new(plan.clone(), policy(), seed).run().told).collect();
        let entries = told.iter().map(|t| f64::from(t.entries)).sum::<f64>() / runs as f64;
        let promoted = told.iter().filter(|t| t.promoted > 0).count();
        let wrong: u64 = told.iter().map(|t| t.wrong_served).sum();
        println!("| {what} | {entries:.1} | {promoted} | {wrong} |");
    }
    println!(
        "\n| true agreement | oracle conversations | canary at call | live at call | audits to see .88 |"
    );
    println!("| --- | --- | --- | --- | --- |");
    for agreement in [0.97, 0.98, 0.99] {
        let plan = Plan {
            calls: 60_000,
            agreement,
            wrong_class: 0.0,
            understudies: 1,
            forced_from: None,
            meddling: false,
            falls: Some((2_000, 0.88)),
            ..Plan::null().lone()
        };
        let told: Vec<_> =
            (0..runs.min(40)).map(|seed| World::new(plan.clone(), policy(), seed).run().told).collect();
        println!(
            "| {agreement} | {:.0} | {} | {} | {} |",
            betting::oracle_conversations(agreement, 0.95, 0.01).unwrap_or(f64::NAN),
            median(told.iter().filter_map(|t| t.canary_at).collect()),
            median(told.iter().filter_map(|t| t.live_at).collect()),
            median(told.iter().filter_map(|t| t.delay).collect()),
        );
    }
}
