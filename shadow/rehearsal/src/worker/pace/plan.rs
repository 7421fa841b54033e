//! How the time of a rehearsal is shared among the versions that want trials.
//!
//! In a log of several tasks one version's trial may cost a hundred times what
//! another's does, and versions come and go. A share of the calls that is the same
//! for all would give most of the time to the dearest; so the *time* is shared, and
//! a version that needs less than its part leaves the rest to the others:
//!
//! ```text
//! wants  = calls of its own still to come × seconds a trial
//! gets   = min(wants, weight × level), the level such that all of it is the time left
//! share  = gets / wants
//! ```
//!
//! The calls of its own still to come are told by how far apart the last ones were,
//! so a version that came late, or that nobody asks any more, counts for what it is.
//! The time left is without what each call costs whether or not it is tried
//! (reading, embedding, fitting), as measured so far.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{Claim, NEWEST};

/// Of the time left, what trials may plan with at least. What is measured of the
/// rest is at its worst in the beginning, when versions are made of few calls.
const LEAST: f64 = 0.25;

/// Of the time that seems free, what is planned with: trials become dearer as
/// replies and examples grow.
const PLANNED: f64 = 0.9;

/// What a version wants of the time.
#[derive(Debug, Clone)]
struct Want {
    claim: Claim,
    /// Mean seconds of a trial; `None` before the first.
    seconds: Option<f64>,
    /// Mean distance of its calls, in calls of the log.
    apart: f64,
    /// Its calls so far.
    calls: u32,
    /// Where the last of them was.
    last: u64,
}

/// The time of a rehearsal.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    began: Instant,
    until: Instant,
    /// Calls of the log still to come, and those that are done.
    left: u64,
    done: u64,
    /// Time that went into trials.
    tried: Duration,
    wants: HashMap<String, Want>,
}

impl Plan {
    pub(super) fn new(total: Duration, calls: u64) -> Self {
        let began = Instant::now();
        Self {
            began,
            until: began + total,
            left: calls,
            done: 0,
            tried: Duration::ZERO,
            wants: HashMap::new(),
        }
    }

    pub(super) fn stood_still(&mut self, spent: Duration) {
        self.began += spent;
        self.until += spent;
    }

    pub(super) fn one_done(&mut self) {
        self.left = self.left.saturating_sub(1);
        self.done += 1;
    }

    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    pub(super) fn spent(&mut self, version: &str, took: Duration) {
        self.tried += took;
        if let Some(want) = self.wants.get_mut(version) {
            let (new, mean) = (took.as_secs_f64(), want.seconds);
            want.seconds = Some(mean.map_or(new, |mean| mean + NEWEST * (new - mean)));
        }
    }

    /// The share of a version's calls on which it may be tried; this is one of them.
    pub(super) fn share(&mut self, version: &str, claim: Claim) -> f64 {
        let place = self.done;
        let want = self.wants.entry(version.to_owned()).or_insert(Want {
            claim,
            seconds: None,
            apart: 1.0,
            calls: 0,
            last: place,
        });
        if want.calls > 0 {
            // A plain mean at first: one far-off call is not the rule.
            let newest = NEWEST.max(1.0 / f64::from(want.calls));
            want.apart += newest * (place.saturating_sub(want.last).max(1) as f64 - want.apart);
        }
        want.calls += 1;
        (want.last, want.claim) = (place, claim);
        let Some(seconds) = want.seconds else { return 1.0 };
        let apart = want.apart;
        let wants = self.wanted(apart, place, seconds);
        if wants <= 0.0 {
            return 1.0;
        }
        (claim.weight() * self.level() / wants).min(1.0)
    }

    /// Seconds that a version's calls still to come would cost.
    fn wanted(&self, apart: f64, last: u64, seconds: f64) -> f64 {
        let apart = apart.max(self.done.saturating_sub(last) as f64).max(1.0);
        self.left as f64 / apart * seconds
    }

    /// Seconds that trials may have from now on.
    fn free(&self) -> f64 {
        let now = Instant::now();
        let left = self.until.saturating_duration_since(now).as_secs_f64();
        let other = now.saturating_duration_since(self.began).saturating_sub(self.tried).as_secs_f64();
        let each = other / self.done.max(1) as f64;
        (PLANNED * (left - each * self.left as f64)).max(LEAST * left)
    }

    /// Seconds for each unit of weight, such that what all get is the time that is free.
    fn level(&self) -> f64 {
        let mut wants: Vec<(f64, f64)> = self
            .wants
            .values()
            .filter_map(|w| Some((self.wanted(w.apart, w.last, w.seconds?), w.claim.weight())))
            .collect();
        wants.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
        let mut weights: f64 = wants.iter().map(|(_, weight)| weight).sum();
        let mut free = self.free();
        for (seconds, weight) in wants {
            let level = free / weights;
            if seconds > weight * level {
                return level;
            }
            free -= seconds;
            weights -= weight;
        }
        f64::INFINITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `calls` of a log of which each `every`-th is `version`'s, and tries what it may.
    fn read(plan: &mut Plan, calls: u64, versions: &[(&str, Claim, u64, f64)]) -> HashMap<String, Duration> {
        let mut got: HashMap<String, Duration> = HashMap::new();
        let mut owed: HashMap<&str, f64> = HashMap::new();
        for place in 0..calls {
            for (name, claim, _, seconds) in versions.iter().filter(|v| place % v.2 == 0) {
                let owed = owed.entry(*name).or_insert(1.0);
                *owed += plan.share(name, *claim);
                if *owed < 1.0 {
                    continue;
                }
                *owed -= 1.0;
                let took = Duration::from_secs_f64(*seconds);
                // Time passes without anybody waiting for it.
                plan.began -= took;
                plan.until -= took;
                plan.spent(name, took);
                *got.entry((*name).to_owned()).or_default() += took;
            }
            plan.one_done();
        }
        got
    }

    fn seconds(got: &HashMap<String, Duration>, name: &str) -> f64 {
        got.get(name).copied().unwrap_or_default().as_secs_f64()
    }

    #[test]
    fn time_is_shared_and_not_calls_and_who_needs_little_leaves_the_rest() {
        use Claim::Development;
        let mut plan = Plan::new(Duration::from_secs(1_000), 10_000);
        let got = read(
            &mut plan,
            10_000,
            &[
                ("small", Development, 10, 0.05),
                ("slow", Development, 10, 10.0),
                ("other", Development, 2, 1.0),
            ],
        );
        let (small, slow, other) = (seconds(&got, "small"), seconds(&got, "slow"), seconds(&got, "other"));
        assert!(small > 49.0, "all its thousand calls: {small}");
        assert!((0.8..1.25).contains(&(slow / other)), "{slow} and {other} of the same time");
        assert!((800.0..=1_020.0).contains(&(small + slow + other)), "{small} {slow} {other}");
    }

    #[test]
    fn evidence_goes_before_development() {
        let mut plan = Plan::new(Duration::from_secs(1_000), 10_000);
        let got = read(
            &mut plan,
            10_000,
            &[("entry", Claim::Evidence, 2, 1.0), ("new", Claim::Development, 2, 1.0)],
        );
        let ratio = seconds(&got, "entry") / seconds(&got, "new");
        assert!((3.0..5.0).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_version_that_is_asked_no_more_gives_its_time_back() {
        let mut plan = Plan::new(Duration::from_secs(1_000), 10_000);
        read(&mut plan, 2_000, &[("old", Claim::Development, 2, 1.0), ("kept", Claim::Development, 2, 1.0)]);
        let before = plan.share("kept", Claim::Development);
        read(&mut plan, 6_000, &[("kept", Claim::Development, 2, 1.0)]);
        let after = plan.share("kept", Claim::Development);
        assert!(after > 1.5 * before, "{before} and then {after}");
    }

    #[test]
    fn what_each_call_costs_anyway_is_left_out_of_the_plan() {
        let mut plan = Plan::new(Duration::from_secs(1_000), 1_000);
        // A tenth is read in 60 seconds without a trial: 540 of the 940 that are left go that way.
        plan.began -= Duration::from_secs(60);
        plan.until -= Duration::from_secs(60);
        for _ in 0..100 {
            plan.one_done();
        }
        let free = plan.free();
        assert!((free - 0.9 * 400.0).abs() < 5.0, "{free}");
    }
}
