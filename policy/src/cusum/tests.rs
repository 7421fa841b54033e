#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

fn coin(rng: &mut ChaCha8Rng, p: f64) -> f64 {
    f64::from(u8::from(rng.random::<f64>() < p))
}

/// Audits until the drop is seen, and false alarms before it.
fn drop_seen(rng: &mut ChaCha8Rng, limit: f64, mut feed: impl FnMut(f64) -> f64) -> (u32, u32) {
    let mut false_alarms = 0;
    for _ in 0..2000 {
        false_alarms += u32::from(feed(coin(rng, 0.98)) >= limit);
    }
    let mut delay = 0;
    loop {
        delay += 1;
        if feed(coin(rng, 0.88)) >= limit || delay == 10_000 {
            return (delay, u32::from(false_alarms > 0));
        }
    }
}

#[test]
fn detectors_compared() {
    let seed = 31;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let median = |mut delays: Vec<u32>| {
        delays.sort_unstable();
        delays[delays.len() / 2]
    };
    let mut cusum = Vec::new();
    let mut shiryaev = Vec::new();
    let mut false_alarms = 0;
    for _ in 0..401 {
        let mut k = ECusum::new(0.95);
        cusum.push(
            drop_seen(&mut rng, 1000.0, |x| {
                k.feed(x);
                k.value()
            })
            .0,
        );
        let mut m = EDetector::new(0.95);
        let (delay, early) = drop_seen(&mut rng, 1000.0, |x| {
            m.feed(x);
            m.value()
        });
        shiryaev.push(delay);
        false_alarms += early;
    }
    let (cusum, shiryaev) = (median(cusum), median(shiryaev));
    println!(
        "seed {seed}: .98 to .88 after 2000 good audits, limit 1000: e-CUSUM median {cusum}, \
              Shiryaev-Roberts median {shiryaev}, {false_alarms} false alarms in 401 x 2000 good audits"
    );
    assert!(shiryaev <= 87, "{shiryaev}");
    assert!(cusum > shiryaev);
    assert!(false_alarms <= 6, "{false_alarms}");
}

#[test]
fn false_alarms_come_at_most_once_in_limit_audits_at_exactly_tau() {
    let seed = 32;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let runs = 400;
    let mut total = 0u64;
    for _ in 0..runs {
        let mut m = EDetector::new(0.95);
        while m.value() < 1000.0 {
            m.feed(coin(&mut rng, 0.95));
        }
        total += m.count();
    }
    let mean = total as f64 / f64::from(runs);
    println!("seed {seed}: mean audits to a false alarm at exactly tau {mean:.0}");
    // The mean of 400 runs has a standard error of about 50.
    assert!(mean > 870.0, "{mean}");
}

#[test]
fn arms_alike_are_quiet_and_a_worse_arm_is_seen() {
    let seed = 33;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut alike = ArmsCompared::new(0.05);
    let mut worse = ArmsCompared::new(0.05);
    let mut seen = None;
    for i in 0..2000 {
        for _ in 0..19 {
            alike.feed_served(coin(&mut rng, 0.10));
            worse.feed_served(coin(&mut rng, 0.40));
        }
        alike.feed_control(coin(&mut rng, 0.10));
        worse.feed_control(coin(&mut rng, 0.10));
        assert!(alike.value() < 1000.0);
        if worse.value() >= 1000.0 && seen.is_none() {
            seen = Some(i);
        }
    }
    println!("seed {seed}: an arm with .40 trouble against .10 is seen after {seen:?} control conversations");
    assert!(seen.is_some_and(|i| i < 200), "{seen:?}");
}
