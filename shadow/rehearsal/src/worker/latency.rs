//! The median of the latest latencies.

use std::collections::VecDeque;

/// Latencies whose median is taken.
const LATEST: usize = 201;

#[derive(Debug, Default)]
pub(super) struct Latencies(VecDeque<f64>);

impl Latencies {
    pub(super) fn push(&mut self, ms: f64) {
        if self.0.len() == LATEST {
            self.0.pop_front();
        }
        self.0.push_back(ms);
    }

    pub(super) fn median(&self) -> Option<f64> {
        let mut all: Vec<f64> = self.0.iter().copied().collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied()
    }
}
