//! Has agreement fallen to τ or below? Detectors over audited conversations.
//!
//! Both detectors here come from Shin, Ramdas and Rinaldo 2022 ("E-detectors",
//! arXiv 2203.03532). With x the mean of a conversation's audited calls and the
//! bet L = 1 + λ(τ − x), whose mean is at most 1 while agreement is at least τ:
//!
//! - [`ECusum`]: K ← max(K, 1)·L.
//! - [`EDetector`], the Shiryaev-Roberts form: M ← (M + 1)·L, the sum over all
//!   places where the change may have happened.
//!
//! Either one crosses `limit` on average no sooner than after `limit` audited
//! conversations while agreement is at least τ. The guarantee is the same, and
//! M ≥ K always, so M is never later. That matters: from .98 to .88 with τ .95
//! no bet grows faster than ln(1000)/KL(.88, .95) = 183 conversations to 1,000
//! from 1, and the e-CUSUM sees the drop after a median of about 170 at this λ,
//! the Shiryaev-Roberts form after about 70 (`detectors_compared` in the
//! tests), at 1 or 2 false alarms in a million good audits. The ledger uses M.

use serde::{Deserialize, Serialize};

use crate::betting::Outcomes;

/// λ = `BET`/τ: the best bet for 0/1 outcomes whose mean has fallen as far
/// below τ as τ lies below 1.
const BET: f64 = 1.0;

fn bet(tau: f64) -> f64 {
    // Under 1/(1 − τ) a bet stays positive at x = 1; half of it is room enough.
    (BET / tau).min(0.5 / (1.0 - tau).max(1e-9))
}

/// The e-CUSUM, K ← max(K, 1)·(1 + λ(τ − x)).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ECusum {
    #[serde(with = "crate::exact")]
    tau: f64,
    #[serde(with = "crate::exact")]
    lambda: f64,
    #[serde(with = "crate::exact")]
    value: f64,
    count: u64,
}

impl ECusum {
    /// Starts at 1.
    #[must_use]
    pub fn new(tau: f64) -> Self {
        Self::with_bet(tau, bet(tau))
    }

    /// Starts at 1 with a bet of one's own, under 1/(1 − τ).
    #[must_use]
    pub fn with_bet(tau: f64, lambda: f64) -> Self {
        Self { tau, lambda, value: 1.0, count: 0 }
    }

    /// Takes the mean of one conversation's audited calls.
    pub fn feed(&mut self, x: f64) {
        self.value = (self.value.max(1.0) * (1.0 + self.lambda * (self.tau - x.clamp(0.0, 1.0)))).min(1e300);
        self.count += 1;
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.value
    }
}

/// The Shiryaev-Roberts e-detector, M ← (M + 1)·(1 + λ(τ − x)).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EDetector {
    #[serde(with = "crate::exact")]
    tau: f64,
    #[serde(with = "crate::exact")]
    lambda: f64,
    #[serde(with = "crate::exact")]
    value: f64,
    count: u64,
}

impl EDetector {
    /// Starts at 0.
    #[must_use]
    pub fn new(tau: f64) -> Self {
        Self::with_bet(tau, bet(tau))
    }

    /// Starts at 0 with a bet of one's own, under 1/(1 − τ).
    #[must_use]
    pub fn with_bet(tau: f64, lambda: f64) -> Self {
        Self { tau, lambda, value: 0.0, count: 0 }
    }

    /// Takes the mean of one conversation's audited calls.
    pub fn feed(&mut self, x: f64) {
        self.value = ((self.value + 1.0) * (1.0 + self.lambda * (self.tau - x.clamp(0.0, 1.0)))).min(1e300);
        self.count += 1;
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.value
    }

    /// Where its value comes to rest while every conversation agrees.
    #[must_use]
    pub fn rest(&self) -> f64 {
        let fall = (self.lambda * (1.0 - self.tau)).max(1e-9);
        (1.0 - fall) / fall
    }

    /// Outcomes taken so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }
}

/// Is the served arm worse than the control arm by more than a margin?
///
/// One control conversation y is paired with the mean ȳ of the served ones that
/// closed since the last pair; both are rates of trouble in [0, 1]. While the
/// served arm is at most `margin` worse, 1 + λ(ȳ − y − margin) has mean at most
/// 1, so the same detector and the same guarantee apply, counted in pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmsCompared {
    #[serde(with = "crate::exact")]
    margin: f64,
    #[serde(with = "crate::exact")]
    value: f64,
    pairs: u64,
    #[serde(with = "crate::exact")]
    served_sum: f64,
    served_count: u64,
    served: Outcomes,
    control: Outcomes,
}

/// A bet for a difference of a quarter in rates whose pairs vary by about a
/// half; far under the 1/(1 + margin) at which wealth could reach 0.
const ARMS_BET: f64 = 0.4;

impl ArmsCompared {
    /// Starts at 0.
    #[must_use]
    pub fn new(margin: f64) -> Self {
        Self {
            margin,
            value: 0.0,
            pairs: 0,
            served_sum: 0.0,
            served_count: 0,
            served: Outcomes::default(),
            control: Outcomes::default(),
        }
    }

    /// Takes a served conversation's rate of trouble.
    pub fn feed_served(&mut self, y: f64) {
        self.served_sum += y;
        self.served_count += 1;
        self.served.push(y);
    }

    /// Takes a control conversation's rate of trouble; with no served one since
    /// the last pair it only counts towards the mean that is shown.
    pub fn feed_control(&mut self, y: f64) {
        self.control.push(y);
        if self.served_count == 0 {
            return;
        }
        let served = self.served_sum / self.served_count as f64;
        self.value = ((self.value + 1.0) * (1.0 + ARMS_BET * (served - y - self.margin))).min(1e300);
        self.pairs += 1;
        self.served_sum = 0.0;
        self.served_count = 0;
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.value
    }

    /// Mean rate of (served, control) conversations, where there are any.
    #[must_use]
    pub fn means(&self) -> (Option<f64>, Option<f64>) {
        (self.served.mean(), self.control.mean())
    }
}

#[cfg(test)]
mod tests;
