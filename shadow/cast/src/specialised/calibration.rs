//! From what the engine says of an answer to the odds that it agrees.
//!
//! ```text
//! confidence = a + b·Σ log p + c·min log p + d·similarity      (log-odds; b > 0, c ≥ 0)
//! ```
//!
//! The sum ranks answers well by itself; the least token tells an answer with
//! one doubtful word from one that is a little unsure of each; the similarity to
//! the parts of the training tells what the adapter has never seen, of which a
//! small model is as sure as of anything else. The weights are fitted on the
//! development rows, by folds of whole conversations, so that what is said of a
//! row comes from weights that have not seen it.

use std::collections::BTreeSet;

use linfa::Dataset;
use linfa::traits::Fit;
use linfa_logistic::LogisticRegression;
use ndarray::{Array1, Array2};
use serde::{Deserialize, Serialize};
use understudy_call::ConversationKey;

use crate::head::folds;

/// L2 penalty: four weights on hundreds of rows need little.
const PENALTY: f64 = 1.0;

/// What is known of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signals {
    /// Sum of the log-probabilities of the tokens that were chosen freely, at most 0.
    pub sum: f64,
    /// The least of them, at most 0.
    pub least: f64,
    /// Mean cosine to the nearest training parts.
    pub similarity: f64,
}

/// The weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Log-odds of an answer without any doubt at similarity 0.
    pub intercept: f64,
    /// A nat of the sum; above 0.
    pub sum: f64,
    /// A nat of the least token; at least 0.
    pub least: f64,
    /// A unit of similarity; at least 0.
    pub similarity: f64,
}

impl Default for Calibration {
    /// The sum alone, for want of rows to fit on.
    fn default() -> Self {
        Self { intercept: 0.0, sum: 1.0, least: 0.0, similarity: 0.0 }
    }
}

/// A development row's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// Whose errand it was.
    pub conversation: ConversationKey,
    /// What was known of the answer; `None` where there was none.
    pub signals: Option<Signals>,
    /// Whether it agreed with the provider's.
    pub agrees: bool,
    /// Its stratum.
    pub stratum: String,
}

impl Calibration {
    /// The confidence of an answer, in log-odds.
    #[must_use]
    pub fn confidence(&self, s: Signals) -> f64 {
        self.intercept + self.sum * s.sum + self.least * s.least + self.similarity * s.similarity
    }

    /// The least sum of log-probabilities that can still reach `bar`, whatever
    /// the least token turns out to be; above 0 where nothing can.
    #[must_use]
    pub fn least_sum(&self, bar: f64, similarity: f64) -> f64 {
        (bar - self.intercept - self.similarity * similarity) / self.sum
    }

    /// Fits the weights; `None` where the rows do not tell (all agree, none
    /// does, or the more sure the worse).
    #[must_use]
    pub fn fit(rows: &[&Judgement]) -> Option<Self> {
        // A weight of the wrong sign is chance, or a task on which the signal
        // misleads: without it, then.
        [[true, true, true], [true, false, true], [true, true, false], [true, false, false]]
            .iter()
            .find_map(|with| solve(rows, *with))
    }

    /// The confidence of each row by weights that have not seen its conversation.
    #[must_use]
    pub fn cross_fit(rows: &[Judgement]) -> Vec<Option<f64>> {
        let fold = |j: &Judgement| folds::of(j.conversation);
        let fits: Vec<Self> = (0..folds::FOLDS)
            .map(|f| {
                let others: Vec<&Judgement> = rows.iter().filter(|j| fold(j) != f).collect();
                Self::fit(&others).unwrap_or_default()
            })
            .collect();
        rows.iter()
            .map(|j| {
                let fit = usize::try_from(fold(j)).ok().and_then(|f| fits.get(f))?;
                j.signals.map(|s| fit.confidence(s))
            })
            .collect()
    }
}

fn solve(rows: &[&Judgement], with: [bool; 3]) -> Option<Calibration> {
    let known: Vec<(Signals, bool)> =
        rows.iter().filter_map(|j| j.signals.map(|s| (s, j.agrees))).filter(|(s, _)| s.is_finite()).collect();
    let outcomes: BTreeSet<bool> = known.iter().map(|(_, a)| *a).collect();
    if outcomes.len() < 2 {
        return None;
    }
    let width = with.iter().filter(|w| **w).count();
    let flat: Vec<f64> = known
        .iter()
        .flat_map(|(s, _)| {
            [s.sum, s.least, s.similarity].into_iter().zip(with).filter(|(_, w)| *w).map(|(x, _)| x)
        })
        .collect();
    let x = Array2::from_shape_vec((known.len(), width), flat).ok()?;
    let y = Array1::from_iter(known.iter().map(|(_, a)| *a));
    let fitted =
        LogisticRegression::default().alpha(PENALTY).max_iterations(200).fit(&Dataset::new(x, y)).ok()?;
    // Which of the two classes the weights speak for is the solver's choice.
    let sign = if fitted.labels().pos.class { 1.0 } else { -1.0 };
    let mut weights = fitted.params().iter().map(|w| w * sign);
    let mut next = |w: bool| if w { weights.next() } else { Some(0.0) };
    let made = Calibration {
        intercept: fitted.intercept() * sign,
        sum: next(with[0])?,
        least: next(with[1])?,
        similarity: next(with[2])?,
    };
    let usable = made.sum > 1e-3 && made.least >= 0.0 && made.similarity >= 0.0 && made.intercept.is_finite();
    usable.then_some(made)
}

impl Signals {
    fn is_finite(&self) -> bool {
        self.sum.is_finite() && self.least.is_finite() && self.similarity.is_finite()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_precision_loss, reason = "tests")]
    use super::*;
    use crate::testing::noise;

    /// Rows whose log-odds are 3 + sum + 2·similarity.
    fn rows(n: u64) -> Vec<Judgement> {
        (0..n)
            .map(|i| {
                let sum = -4.0 * f64::from(noise(i, 1)).abs();
                let similarity = 0.5 + 0.5 * f64::from(noise(i, 2));
                let odds = 1.0 + 1.5 * sum + 2.0 * similarity;
                let agrees = f64::from(noise(i, 3)) * 0.5 + 0.5 < 1.0 / (1.0 + (-odds).exp());
                let mut key = [0; 16];
                key[..8].copy_from_slice(&i.to_le_bytes());
                Judgement {
                    conversation: ConversationKey(key),
                    signals: Some(Signals { sum, least: sum / 2.0, similarity }),
                    agrees,
                    stratum: String::new(),
                }
            })
            .collect()
    }

    #[test]
    fn weights_come_near_those_that_made_the_rows() {
        let rows = rows(4_000);
        let made = Calibration::fit(&rows.iter().collect::<Vec<_>>()).unwrap();
        // Sum and least are the same thing here: together they are the 1.5.
        let nat = made.sum + made.least / 2.0;
        assert!((nat - 1.5).abs() < 0.2, "{made:?}");
        assert!((made.similarity - 2.0).abs() < 0.5, "{made:?}");
        assert!((made.intercept - 1.0).abs() < 0.4, "{made:?}");
    }

    #[test]
    fn a_bar_in_log_odds_becomes_a_bar_on_the_sum() {
        let c = Calibration { intercept: 1.0, sum: 2.0, least: 0.5, similarity: 3.0 };
        let sum = c.least_sum(2.0, 0.5);
        let at = |sum| c.confidence(Signals { sum, least: 0.0, similarity: 0.5 });
        assert!((at(sum) - 2.0).abs() < 1e-12);
        assert!(at(sum - 0.1) < 2.0);
        // With doubt in one token only less can be reached.
        assert!(c.confidence(Signals { sum, least: sum, similarity: 0.5 }) <= 2.0);
    }

    #[test]
    fn rows_that_all_agree_do_not_tell_and_the_sum_stands_alone() {
        let mut rows = rows(50);
        rows.iter_mut().for_each(|r| r.agrees = true);
        assert_eq!(Calibration::fit(&rows.iter().collect::<Vec<_>>()), None);
        let confidences = Calibration::cross_fit(&rows);
        assert_eq!(confidences[0], rows[0].signals.map(|s| s.sum));
    }

    #[test]
    fn the_more_sure_the_worse_is_no_calibration() {
        let mut rows = rows(400);
        rows.iter_mut().for_each(|r| r.agrees = r.signals.unwrap().sum < -2.0);
        assert_eq!(Calibration::fit(&rows.iter().collect::<Vec<_>>()), None);
    }
}
