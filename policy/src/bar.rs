//! The choice of a bar of confidence, on development conversations.
//!
//! Agreement among accepted calls is not monotone in the bar, so conformal risk
//! control does not apply. Learn then Test (Angelopoulos et al., arXiv
//! 2110.01052) does: over a grid fixed beforehand, each bar is a hypothesis
//! "mean agreement above it is at most τ"; with a p-value for each and
//! Bonferroni's correction, every bar that is kept exceeds τ with probability at
//! least 1 − δ. Of those kept, the one of the largest coverage that stays
//! within half of the permitted disagreement is taken: the test alone has a
//! margin while development is small (with 150 accepted conversations it keeps
//! none under 149/150), but after some thousands it would keep .957, and an
//! entry at .957 needs more than ten thousand conversations to prove .95.
//!
//! A dev set may be asked again as it grows. That loosens δ, which costs wasted
//! entries, never false promotions: what a bar is worth is proved by its entry
//! on later conversations.

use serde::{Deserialize, Serialize};

use crate::{betting, interval};

/// Shares of the development calls that a bar lets pass, for development that
/// can tell no more apart: every bar that is asked about costs a share of δ.
pub const COARSE: &[f64] = &[1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.25];

/// The same for development that can: a step that is too coarse costs coverage for good.
pub const FINE: &[f64] = &[
    1.0, 0.975, 0.95, 0.925, 0.9, 0.875, 0.85, 0.825, 0.8, 0.775, 0.75, 0.725, 0.7, 0.675, 0.65, 0.625, 0.6,
    0.575, 0.55, 0.525, 0.5, 0.475, 0.45, 0.425, 0.4, 0.375, 0.35, 0.325, 0.3, 0.275, 0.25,
];

/// The grid for so many development conversations. It depends on nothing else.
#[must_use]
pub fn grid(conversations: u32) -> &'static [f64] {
    if conversations < 1_000 { COARSE } else { FINE }
}

/// Share of the permitted disagreement that a bar aims to stay within. At τ
/// itself an entry would prove nothing for ten thousand conversations, and one
/// that serves would trip over its audits every now and then.
const AIM: f64 = 0.5;

/// What is asked of a bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Agreement that must be exceeded.
    pub tau: f64,
    /// Permitted chance that the bar does not.
    pub delta: f64,
    /// Coverage under which it is of no use.
    pub least_coverage: f64,
    /// Whether only bars that keep well clear of τ are of use.
    pub aim_only: bool,
}

/// One judged development call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DevCall {
    /// Its conversation, numbered in any way.
    pub conversation: u32,
    /// How sure the understudy was; `None` when it declined by itself.
    pub confidence: Option<f64>,
    /// Whether it agreed.
    pub agrees: bool,
    /// The stratum, numbered in any way.
    pub stratum: u16,
}

/// A bar and what development promises of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bar {
    /// From which confidence on a call is taken.
    pub bar: f64,
    /// Share of the calls that it takes.
    pub coverage: f64,
    /// Mean agreement over conversations among those.
    pub agreement: f64,
    /// Conversations with a taken call.
    pub conversations: u32,
}

/// Chooses among the bars whose agreement exceeds τ, at familywise error δ over
/// `grid`: the one of the largest coverage that stays within half of the
/// permitted disagreement; where there is none, the one that will have proved
/// itself after the fewest calls. `None`: nothing is shown to exceed τ.
#[must_use]
pub fn choose(dev: &[DevCall], rules: &Rules, grid: &[f64]) -> Option<Bar> {
    let tau = rules.tau;
    let bars = bars(dev, grid);
    // How many bars there are depends on the confidences alone, never on what agreed.
    let level = rules.delta / bars.len().max(1) as f64;
    let aim = 1.0 - AIM * (1.0 - tau);
    let kept: Vec<Bar> = bars
        .into_iter()
        .map(|bar| figures(dev, bar))
        .filter(|(bar, sum, all_or_nothing)| {
            p_value(*sum, f64::from(bar.conversations), tau, *all_or_nothing) <= level
        })
        .map(|(bar, ..)| bar)
        .filter(|bar| bar.coverage >= rules.least_coverage)
        .collect();
    let clear = kept.iter().filter(|b| b.agreement >= aim).max_by(|a, b| a.coverage.total_cmp(&b.coverage));
    if rules.aim_only {
        return clear.copied();
    }
    let speed = |b: &Bar| betting::divergence(b.agreement, tau) * b.coverage;
    clear.or_else(|| kept.iter().max_by(|a, b| speed(a).total_cmp(&speed(b)))).copied()
}

/// Whether no bar of the grid can be hoped to exceed τ: a dozen conversations have
/// been judged, and each bar has its one-sided 99 % bound under it, the strict ones
/// by what few conversations they take. What this leaves out only saves time, it
/// promotes nobody.
#[must_use]
pub fn is_out_of_reach(dev: &[DevCall], tau: f64, grid: &[f64]) -> bool {
    const SEEN: u32 = 12;
    // Asked at every call: most versions are in reach by the first bar already.
    let mut figures = bars(dev, grid).into_iter().map(|bar| figures(dev, bar));
    let under = |(bar, sum, _): (Bar, f64, bool)| {
        interval::upper_is_under(sum, f64::from(bar.conversations), 0.99, tau)
    };
    let Some(widest) = figures.next() else {
        // It never answered.
        return dev.iter().map(|c| c.conversation).collect::<std::collections::BTreeSet<_>>().len()
            >= SEEN as usize;
    };
    widest.0.conversations >= SEEN && under(widest) && figures.all(under)
}

/// Every different bar of the grid, the most permissive first.
fn bars(dev: &[DevCall], grid: &[f64]) -> Vec<f64> {
    let mut confidences: Vec<f64> = dev.iter().filter_map(|c| c.confidence).collect();
    confidences.sort_by(|a, b| b.total_cmp(a));
    let mut found = Vec::with_capacity(grid.len());
    for share in grid {
        let rank = (share * dev.len() as f64).ceil() as usize;
        // A share that the understudy's own declines leave out of reach is the
        // same as everything that it answers.
        found.extend(confidences.get(rank.clamp(1, confidences.len().max(1)) - 1));
    }
    found.dedup();
    found
}

/// A bar with its figures, without a test. The second value is the sum of the
/// conversation means, the third whether each is 0 or 1.
fn figures(dev: &[DevCall], bar: f64) -> (Bar, f64, bool) {
    let mut units: std::collections::BTreeMap<u32, (u32, u32)> = std::collections::BTreeMap::new();
    let mut taken = 0u32;
    for call in dev.iter().filter(|c| c.confidence.is_some_and(|x| x >= bar)) {
        let unit = units.entry(call.conversation).or_default();
        unit.0 += u32::from(call.agrees);
        unit.1 += 1;
        taken += 1;
    }
    let sum: f64 = units.values().map(|(agrees, n)| f64::from(*agrees) / f64::from(*n)).sum();
    let all_or_nothing = units.values().all(|(agrees, n)| *agrees == 0 || agrees == n);
    let n = units.len() as u32;
    let bar = Bar {
        bar,
        coverage: f64::from(taken) / dev.len().max(1) as f64,
        agreement: if n == 0 { 0.0 } else { sum / f64::from(n) },
        conversations: n,
    };
    (bar, sum, all_or_nothing)
}

/// A p-value of "the mean is at most τ" after n outcomes in [0, 1]: the exact
/// binomial tail where all are 0 or 1, else the smaller of Hoeffding's and
/// Bentkus' bounds (Bates et al. 2021, arXiv 2101.02703).
fn p_value(sum: f64, n: f64, tau: f64, all_or_nothing: bool) -> f64 {
    if n == 0.0 {
        return 1.0;
    }
    if all_or_nothing {
        return interval::binomial_tail(sum.round(), n, tau);
    }
    let mean = sum / n;
    let hoeffding = if mean <= tau { 1.0 } else { (-n * betting::divergence(mean, tau)).exp() };
    let bentkus = std::f64::consts::E * interval::binomial_tail((sum + 1e-9).floor(), n, tau);
    hoeffding.min(bentkus).min(1.0)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::print_stdout,
        reason = "tests"
    )]
    use rand::{Rng, SeedableRng};

    use super::*;

    fn choose(dev: &[DevCall], tau: f64, delta: f64, grid: &[f64]) -> Option<Bar> {
        super::choose(dev, &Rules { tau, delta, least_coverage: 0.0, aim_only: false }, grid)
    }

    fn dev(rng: &mut impl Rng, n: u32, agreement: impl Fn(f64) -> f64) -> Vec<DevCall> {
        (0..n)
            .map(|conversation| {
                let confidence: f64 = rng.random();
                let agrees = rng.random::<f64>() < agreement(confidence);
                DevCall { conversation, confidence: Some(confidence), agrees, stratum: 0 }
            })
            .collect()
    }

    #[test]
    fn a_bar_is_kept_falsely_at_most_delta_of_the_time() {
        let seed = 11;
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let kept =
            (0..1000).filter(|_| choose(&dev(&mut rng, 600, |_| 0.95), 0.95, 0.05, COARSE).is_some()).count();
        println!("seed {seed}: kept at exactly tau {kept} of 1000");
        assert!(kept <= 67, "{kept}"); // 50 expected at most; the 99 % limit
    }

    #[test]
    fn the_bar_finds_where_agreement_begins() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(12);
        let bar =
            choose(&dev(&mut rng, 1000, |c| if c > 0.4 { 0.995 } else { 0.6 }), 0.95, 0.05, COARSE).unwrap();
        assert!((0.45..=0.70).contains(&bar.coverage), "{bar:?}");
        assert!(bar.agreement > 0.97, "{bar:?}");
    }

    #[test]
    fn agreement_need_not_be_monotone() {
        // Most sure and wrong: the strictest bars are the worst ones.
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(13);
        let bar =
            choose(&dev(&mut rng, 3000, |c| if c > 0.97 { 0.3 } else { 1.0 }), 0.95, 0.05, COARSE).unwrap();
        assert!(bar.coverage > 0.9, "{bar:?}");
    }

    #[test]
    fn declines_count_against_coverage_and_nothing_comes_of_nothing() {
        assert_eq!(choose(&[], 0.95, 0.05, COARSE), None);
        let mut calls: Vec<_> = (0..400)
            .map(|conversation| DevCall { conversation, confidence: Some(0.9), agrees: true, stratum: 0 })
            .collect();
        calls.extend((400..800).map(|conversation| DevCall {
            conversation,
            confidence: None,
            agrees: false,
            stratum: 0,
        }));
        let bar = choose(&calls, 0.95, 0.05, COARSE).unwrap();
        assert!((bar.coverage - 0.5).abs() < 1e-9, "{bar:?}");
    }

    #[test]
    fn who_is_always_wrong_is_soon_out_of_reach_and_who_may_be_right_is_not() {
        let calls = |n: u32, right: u32| -> Vec<DevCall> {
            (0..n)
                .map(|conversation| {
                    let agrees = conversation < right;
                    let confidence = Some(1.0 - f64::from(conversation) / f64::from(n));
                    DevCall { conversation, confidence, agrees, stratum: 0 }
                })
                .collect()
        };
        assert!(!is_out_of_reach(&calls(11, 0), 0.95, COARSE));
        assert!(is_out_of_reach(&calls(12, 0), 0.95, COARSE));
        let declined = |n: u32| -> Vec<DevCall> {
            calls(n, 0).into_iter().map(|c| DevCall { confidence: None, ..c }).collect()
        };
        assert!(!is_out_of_reach(&declined(11), 0.95, COARSE));
        assert!(is_out_of_reach(&declined(12), 0.95, COARSE));
        // Sure and right on a quarter of them: a bar may still be found there, however
        // few there are yet.
        assert!(!is_out_of_reach(&calls(60, 16), 0.95, COARSE));
        assert!(!is_out_of_reach(&calls(12, 3), 0.95, COARSE));
        assert!(!is_out_of_reach(&calls(12, 8), 0.95, COARSE));
        assert!(!is_out_of_reach(&calls(300, 290), 0.95, COARSE));
    }

    #[test]
    fn clustered_conversations_count_once() {
        // 60 conversations of 20 calls, four of them wholly wrong: 56/60 shows nothing at .95,
        // though 1,120 of 1,200 calls might be taken to.
        let calls: Vec<_> = (0..1200)
            .map(|i| DevCall { conversation: i / 20, confidence: Some(1.0), agrees: i >= 80, stratum: 0 })
            .collect();
        assert_eq!(choose(&calls, 0.9, 0.05, COARSE), None);
    }
}
