//! Bets against "the mean is at most τ", and the interval that they imply.
//!
//! A gambler with one unit of wealth bets on each outcome x in [0, 1] before it
//! is seen: wealth × (1 + λ(x − τ)). If the true (conditional) mean never
//! exceeds τ, wealth is a nonnegative supermartingale, and by Ville's
//! inequality it ever reaches 1/α with probability at most α, whenever anyone
//! looks (Waudby-Smith and Ramdas 2024, arXiv 2010.09686).
//!
//! The bets are a fixed mixture over [`FRACTIONS`]: λ = f/τ is the bet that is
//! best for 0/1 outcomes whose mean lies the fraction f of the way from τ to 1.
//! A mixture needs no tuning and no memory, does not depend on the order of the
//! outcomes, and costs at most ln 6 over the best of its bets.

use serde::{Deserialize, Serialize};

/// How far from τ towards 1 each bet of the mixture expects the mean to lie.
/// Below 1, so that wealth stays positive.
pub const FRACTIONS: [f64; 6] = [0.1, 0.2, 0.4, 0.6, 0.8, 0.95];

/// Wealth against "the mean of outcomes in [0, 1] is at most τ".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BettingProcess {
    #[serde(with = "crate::exact")]
    tau: f64,
    /// Logarithm of the wealth of each bet.
    #[serde(with = "crate::exact::array")]
    log_wealths: [f64; FRACTIONS.len()],
    count: u64,
}

impl BettingProcess {
    /// Starts with a wealth of 1. `tau` lies strictly between 0 and 1.
    #[must_use]
    pub fn new(tau: f64) -> Self {
        Self { tau: tau.clamp(1e-6, 1.0 - 1e-6), log_wealths: [0.0; FRACTIONS.len()], count: 0 }
    }

    /// Takes one outcome in [0, 1]: the mean of one closed conversation.
    pub fn feed(&mut self, x: f64) {
        let x = x.clamp(0.0, 1.0);
        for (wealth, f) in self.log_wealths.iter_mut().zip(FRACTIONS) {
            *wealth += (f * (x / self.tau - 1.0)).ln_1p();
        }
        self.count += 1;
    }

    /// Natural logarithm of the wealth.
    #[must_use]
    pub fn log_wealth(&self) -> f64 {
        log_mean_exp(&self.log_wealths)
    }

    /// Outcomes taken so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether the wealth has reached 1/`alpha`. Valid for the first time at
    /// which it is asked and true; the caller latches it.
    #[must_use]
    pub fn reaches(&self, alpha: f64) -> bool {
        self.log_wealth() >= -alpha.ln()
    }
}

/// Share of the task's α that its k-th entry (from 1) gets: α/(k(k+1)), which
/// sums to α over all entries that there may ever be.
#[must_use]
pub fn alpha_of_entry(alpha: f64, k: u32) -> f64 {
    let k = f64::from(k.max(1));
    alpha / (k * (k + 1.0))
}

/// Kullback-Leibler divergence of a coin of mean `p` from one of mean `q`: the
/// growth rate of the best bet, in nats an outcome.
#[must_use]
pub fn divergence(p: f64, q: f64) -> f64 {
    let term = |a: f64, b: f64| if a <= 0.0 { 0.0 } else { a * (a / b).ln() };
    term(p, q) + term(1.0 - p, 1.0 - q)
}

/// Conversations that an oracle bet needs from wealth 1 to 1/`alpha`; `None`
/// when the mean does not exceed τ. A lower guide, not a promise.
#[must_use]
pub fn oracle_conversations(mean: f64, tau: f64, alpha: f64) -> Option<f64> {
    (mean > tau).then(|| -alpha.ln() / divergence(mean, tau))
}

const BINS: usize = 101;

/// Outcomes in [0, 1], counted by hundredths: what an interval needs.
/// The running sum is exact; only the interval sees the rounding.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Pairs of (hundredth, count), the hundredths that occurred only.
    counts: std::collections::BTreeMap<u8, u32>,
    #[serde(with = "crate::exact")]
    sum: f64,
    count: u64,
}

impl Outcomes {
    /// Takes one outcome.
    pub fn push(&mut self, x: f64) {
        let x = x.clamp(0.0, 1.0);
        let bin = (x * (BINS - 1) as f64).round() as u8;
        *self.counts.entry(bin).or_insert(0) += 1;
        self.sum += x;
        self.count += 1;
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their mean; `None` when there are none.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// The betting confidence interval of the mean at level `confidence`,
    /// two-sided, valid at any stopping time: the means that neither the
    /// gambler who bets upwards nor the one who bets downwards has refuted.
    #[must_use]
    pub fn interval(&self, confidence: f64) -> (f64, f64) {
        let limit = -((1.0 - confidence) / 2.0).ln();
        // Each bet falls in m (1 − f + f·x/m), so wealth does, and the first
        // mean not refuted is found by halving.
        let up = |m: f64| self.log_wealth_at(m, false) >= limit;
        let down = |m: f64| self.log_wealth_at(m, true) >= limit;
        (last_true(up), 1.0 - last_true(down))
    }

    fn log_wealth_at(&self, m: f64, mirrored: bool) -> f64 {
        let mut logs = [0.0; FRACTIONS.len()];
        for (log, f) in logs.iter_mut().zip(FRACTIONS) {
            for (bin, n) in &self.counts {
                let x = f64::from(*bin) / (BINS - 1) as f64;
                let x = if mirrored { 1.0 - x } else { x };
                *log += f64::from(*n) * (f * (x / m - 1.0)).ln_1p();
            }
        }
        log_mean_exp(&logs)
    }
}

/// The largest m in (0, 1) for which a predicate that falls from true to false holds.
fn last_true(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        if holds(middle) { low = middle } else { high = middle }
    }
    low
}

pub(crate) fn log_mean_exp(logs: &[f64]) -> f64 {
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !top.is_finite() {
        return top;
    }
    let sum: f64 = logs.iter().map(|l| (l - top).exp()).sum();
    top + (sum / logs.len() as f64).ln()
}

#[cfg(test)]
mod tests;
