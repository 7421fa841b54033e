//! The bench, for a moment: its figures are nobody's.

use std::time::Duration;

use understudy_gateway::Seams;
use understudy_gateway::bench::{Options, run};

use crate::support::key;

#[test]
fn it_says_how_far_it_is_from_the_start_to_the_end() {
    let options = Options {
        rounds: 1,
        calls: 10,
        connections: 1,
        load: Duration::from_millis(10),
        ..Options::default()
    };
    let mut told = Vec::new();
    let report = run(&options, Seams::pass_through(key()), None, |done, all| told.push((done, all))).unwrap();
    // Three ways, and a round before the one that counts.
    let wanted: Vec<(u64, u64)> = (0..=6).map(|done| (done, 6)).collect();
    assert_eq!(told, wanted);
    assert_eq!((report.rounds, report.refused), (1, None));
    assert!(report.calls > 0 && report.traced.is_none(), "{report:?}");
}
