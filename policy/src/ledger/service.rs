//! What is kept while an entry serves: audits, steps, budgets, latency, arms.

use serde::{Deserialize, Serialize};
use understudy_call::{Declined, Lane};

use crate::betting::Outcomes;
use crate::cusum::{ArmsCompared, EDetector};
use crate::exact::{Recent, door};
use crate::{ExchangeSeen, ServedSeen, TaskPolicy, Why, interval};

/// Calls over which latencies are averaged.
pub(crate) const LATENCY_WINDOW: u32 = 200;
/// Asked calls over which budgets and served coverage are counted.
const BUDGET_WINDOW: u32 = 500;
/// Calls before a mean latency is worth looking at.
pub(crate) const LATENCY_MIN: u64 = 50;
/// Asked calls before served coverage is worth looking at.
const COVERAGE_MIN: u64 = 200;
/// A task that serves is given up for coverage only clearly under the minimum,
/// so that it does not come and go at the border.
const COVERAGE_SLACK: f64 = 0.75;
/// A budget is spent when so few overruns would be this unlikely within it: one
/// bad answer at the very start spends nothing, five of five do.
const BUDGET_LEVEL: f64 = 0.001;
/// A canary step asks for a detector at most at this share of its limit, or at
/// most at this multiple of where it rests while everything agrees: with a
/// strict τ or a low limit it rests above that share.
const QUIET: f64 = 0.1;
const RESTING: f64 = 2.0;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Service {
    pub(crate) k: u32,
    /// The canary step of a successor; of an entry that serves alone the task's
    /// stage says it.
    pub(crate) step: u8,
    /// Conversations that began later are this entry's own.
    pub(crate) since: u64,
    /// The same for the present step.
    pub(crate) step_since: u64,
    pub(crate) step_audits: Outcomes,
    pub(crate) detector: EDetector,
    trouble: ArmsCompared,
    length: ArmsCompared,
    pub(crate) live_served: u64,
    answered: Recent,
    invalid: Recent,
    late: Recent,
    pub(crate) excess_ms: Recent,
    alarm: Option<Why>,
}

impl Service {
    pub(crate) fn begin(k: u32, seq: u64, policy: &TaskPolicy) -> Self {
        Self {
            k,
            step: 0,
            since: seq,
            step_since: seq,
            step_audits: Outcomes::default(),
            detector: EDetector::new(policy.tau),
            trouble: ArmsCompared::new(policy.control_margin),
            length: ArmsCompared::new(policy.control_margin),
            live_served: 0,
            answered: Recent::new(BUDGET_WINDOW),
            invalid: Recent::new(BUDGET_WINDOW),
            late: Recent::new(BUDGET_WINDOW),
            excess_ms: Recent::new(LATENCY_WINDOW),
            alarm: None,
        }
    }

    pub(crate) fn step(&mut self, seq: u64) {
        self.step_since = seq;
        self.step_audits = Outcomes::default();
    }

    /// How much longer the agent waited than it would have for the provider. A
    /// declined or audited call says so itself; for a served one that was not
    /// audited the provider's mean stands in.
    pub(crate) fn exchange(&mut self, seen: &ExchangeSeen, live: bool, provider_ms: Option<f64>) {
        if !matches!(seen.lane, Lane::Understudy | Lane::Audit) || seen.seq <= self.since {
            return;
        }
        if live && seen.answered_by_understudy {
            self.live_served += 1;
        }
        let without =
            seen.provider_ms.map(door).or(if seen.answered_by_understudy { provider_ms } else { None });
        if let (Some(total), Some(without)) = (seen.total_ms, without) {
            self.excess_ms.push(door(total) - without);
        }
    }

    pub(crate) fn served(&mut self, seen: &ServedSeen, policy: &TaskPolicy) {
        if seen.k != self.k {
            return;
        }
        let share = |yes: bool| f64::from(u8::from(yes));
        // Whoever could not be asked shows nothing of how much it takes: an engine that
        // is down or full, a day's budget that is spent.
        if !seen.declined.is_some_and(Declined::is_unasked) {
            self.answered.push(share(seen.declined.is_none() && !seen.invalid));
        }
        self.invalid.push(share(seen.invalid));
        self.late.push(share(seen.late));
        if seen.invalid && spent(&self.invalid, policy.invalid_budget) {
            self.alarm = self.alarm.or(Some(Why::InvalidBudget));
        }
        if seen.late && spent(&self.late, policy.late_budget) {
            self.alarm = self.alarm.or(Some(Why::LateBudget));
        }
    }

    pub(crate) fn audit(&mut self, mean: f64, of_this_step: bool) {
        self.detector.feed(mean);
        if of_this_step {
            self.step_audits.push(mean);
        }
    }

    /// Compares the arms: trouble in a conversation, and its length, which
    /// grows when wrong answers make the agent ask again.
    pub(crate) fn arms(&mut self, served: bool, troubled: bool, calls: u32) {
        let trouble = f64::from(u8::from(troubled));
        // Half of the scale at ten calls; a share in [0, 1) as the bets need it.
        let length = f64::from(calls) / (f64::from(calls) + 10.0);
        if served {
            self.trouble.feed_served(trouble);
            self.length.feed_served(length);
        } else {
            self.trouble.feed_control(trouble);
            self.length.feed_control(length);
        }
    }

    /// What speaks for taking the entry off, if anything does.
    pub(crate) fn alarm(&self, policy: &TaskPolicy, provider_ms: Option<f64>) -> Option<Why> {
        if self.alarm.is_some() {
            return self.alarm;
        }
        if self.detector.value() >= policy.cusum_limit {
            return Some(Why::AuditsDisagree);
        }
        if self.trouble.value().max(self.length.value()) >= policy.cusum_limit {
            return Some(Why::Control);
        }
        if let (Some(excess), Some(provider)) = (self.excess_ms.mean(), provider_ms)
            && self.excess_ms.count() >= LATENCY_MIN
            && excess > policy.latency_excess * provider
        {
            return Some(Why::Latency);
        }
        if self.answered_share().is_some_and(|c| c < COVERAGE_SLACK * policy.min_coverage) {
            return Some(Why::Coverage);
        }
        None
    }

    pub(crate) fn answered_share(&self) -> Option<f64> {
        if self.answered.count() >= COVERAGE_MIN { self.answered.mean() } else { None }
    }

    /// Whether enough audited conversations of this step went well.
    pub(crate) fn has_earned_its_step(&self, policy: &TaskPolicy) -> bool {
        self.step_audits.count() >= u64::from(policy.step_conversations) && self.quiet(policy)
    }

    fn quiet(&self, policy: &TaskPolicy) -> bool {
        self.detector.value() < (QUIET * policy.cusum_limit).max(RESTING * self.detector.rest())
    }

    pub(crate) fn shares(&self) -> [(&'static str, Option<f64>); 3] {
        [("answered", self.answered.mean()), ("invalid", self.invalid.mean()), ("late", self.late.mean())]
    }

    pub(crate) fn arms_means(&self) -> (Option<f64>, Option<f64>) {
        self.trouble.means()
    }
}

fn spent(share: &Recent, budget: f64) -> bool {
    let n = share.effective();
    let overruns = share.mean().unwrap_or(0.0) * n;
    overruns > budget * n && interval::binomial_tail(overruns, n, budget) < BUDGET_LEVEL
}
