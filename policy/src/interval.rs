//! Exact intervals for shares, and intervals for means over conversations.
//!
//! Clopper and Pearson 1934, through the incomplete beta function: the upper
//! bound for k of n solves P(Bin(n, p) ≤ k) = 1 − confidence. A fractional k (a
//! sum of conversation means) is allowed: among outcomes in [0, 1] of one mean
//! the coin varies most, so the bound errs on the wide side.

/// Two-sided Clopper-Pearson interval of k successes in n.
#[must_use]
pub fn clopper_pearson(k: f64, n: f64, confidence: f64) -> (f64, f64) {
    let half = (1.0 + confidence) / 2.0;
    (lower(k, n, half), upper(k, n, half))
}

/// One-sided lower Clopper-Pearson bound.
#[must_use]
pub fn lower(k: f64, n: f64, confidence: f64) -> f64 {
    if k <= 0.0 || n <= 0.0 {
        return 0.0;
    }
    quantile(1.0 - confidence, k, n - k + 1.0)
}

/// One-sided upper Clopper-Pearson bound.
#[must_use]
pub fn upper(k: f64, n: f64, confidence: f64) -> f64 {
    if k >= n || n <= 0.0 {
        return 1.0;
    }
    quantile(confidence, k + 1.0, n - k)
}

/// Whether the one-sided upper bound of k in n lies under `p`: the same as
/// `upper(k, n, confidence) < p`, without searching for the bound.
#[must_use]
pub fn upper_is_under(k: f64, n: f64, confidence: f64, p: f64) -> bool {
    k < n && incomplete_beta(p, k + 1.0, n - k) > confidence
}

/// P(Bin(n, p) ≥ k), the exact p-value of "at most p" after k of n.
#[must_use]
pub fn binomial_tail(k: f64, n: f64, p: f64) -> f64 {
    if k <= 0.0 {
        return 1.0;
    }
    if k > n {
        return 0.0;
    }
    incomplete_beta(p, k, n - k + 1.0)
}

/// The interval that is shown beside a mean over conversations: Clopper-Pearson
/// where each conversation is wholly right or wrong, else the betting interval,
/// which assumes nothing but outcomes in [0, 1].
#[must_use]
pub fn of_means(means: &[f64], confidence: f64) -> Option<(f64, f64)> {
    if means.is_empty() {
        return None;
    }
    if means.iter().all(|x| *x == 0.0 || *x == 1.0) {
        return Some(clopper_pearson(means.iter().sum(), means.len() as f64, confidence));
    }
    let mut outcomes = crate::betting::Outcomes::default();
    for x in means {
        outcomes.push(*x);
    }
    Some(outcomes.interval(confidence))
}

/// Regularised incomplete beta function I_x(a, b), by the continued fraction of
/// DLMF 8.17.22 evaluated with Lentz's method.
#[must_use]
pub fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    // The fraction converges fast below the mean; above it the mirror does.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta_low(1.0 - x, b, a);
    }
    incomplete_beta_low(x, a, b)
}

fn incomplete_beta_low(x: f64, a: f64, b: f64) -> f64 {
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp() / a;
    let away = |v: f64| if v.abs() < 1e-300 { 1e-300 } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for i in 1..500 {
        let m = f64::from(i);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away(1.0 + even * d);
        c = away(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away(1.0 + odd * d);
        c = away(1.0 + odd / c);
        let step = d * c;
        fraction *= step;
        if (step - 1.0).abs() < 1e-14 {
            break;
        }
    }
    front * fraction
}

/// ln Γ(x) for x > 0: the recurrence up to 10, then Stirling's series (DLMF 5.11.1).
fn ln_gamma(mut x: f64) -> f64 {
    let mut shift = 0.0;
    while x < 10.0 {
        shift -= x.ln();
        x += 1.0;
    }
    let r = 1.0 / (x * x);
    let series =
        (1.0 / 12.0 + r * (-1.0 / 360.0 + r * (1.0 / 1260.0 + r * (-1.0 / 1680.0 + r / 1188.0)))) / x;
    shift + (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series
}

fn quantile(p: f64, a: f64, b: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if incomplete_beta(middle, a, b) < p { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests"
    )]
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn intervals_match_the_closed_forms() {
        // k = n: lower = (α/2)^(1/n); k = 0: upper = 1 − (α/2)^(1/n).
        let (low, high) = clopper_pearson(20.0, 20.0, 0.95);
        assert!(near(low, 0.025_f64.powf(1.0 / 20.0)) && high == 1.0, "{low} {high}");
        let (low, high) = clopper_pearson(0.0, 20.0, 0.95);
        assert!(low == 0.0 && near(high, 1.0 - 0.025_f64.powf(1.0 / 20.0)), "{low} {high}");
        // A bound is where the tail it is named after has its level.
        for (k, n) in [(1.0, 10.0), (47.0, 50.0), (480.0, 500.0), (3.0, 4000.0)] {
            let high = upper(k, n, 0.95);
            assert!(near(1.0 - binomial_tail(k + 1.0, n, high), 0.05), "{k} of {n}: {high}");
            let low = lower(k, n, 0.95);
            assert!(near(binomial_tail(k, n, low), 0.05), "{k} of {n}: {low}");
        }
    }

    #[test]
    fn tail_equals_the_sum_of_its_terms() {
        let n = 30;
        for k in 1..=n {
            let mut sum = 0.0;
            for i in k..=n {
                let mut choose = 1.0;
                for j in 0..i {
                    choose *= f64::from(n - j) / f64::from(j + 1);
                }
                sum += choose * 0.9_f64.powi(i) * 0.1_f64.powi(n - i);
            }
            let tail = binomial_tail(f64::from(k), f64::from(n), 0.9);
            assert!((tail - sum).abs() < 1e-9, "{k}: {tail} {sum}");
        }
    }

    #[test]
    fn upper_is_under_says_what_upper_says() {
        for n in [20.0, 50.0, 333.0] {
            for k in 0..=(n as u32) {
                let k = f64::from(k);
                assert_eq!(upper_is_under(k, n, 0.95, 0.95), upper(k, n, 0.95) < 0.95, "{k} of {n}");
            }
        }
    }

    #[test]
    fn means_of_clusters_get_the_betting_interval() {
        let binary = of_means(&[1.0, 1.0, 0.0, 1.0], 0.95).unwrap();
        assert_eq!(binary, clopper_pearson(3.0, 4.0, 0.95));
        let mixed = of_means(&[1.0, 0.9, 0.95, 0.97], 0.95).unwrap();
        assert!(mixed.0 < 0.95 && mixed.1 > 0.95);
        assert_eq!(of_means(&[], 0.95), None);
    }
}
