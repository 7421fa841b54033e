//! How fast the worker may go: a share of one core's time, a total for
//! `rehearse --minutes`, and a pause while agents are waiting.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

mod plan;

use plan::Plan;

/// Says whether the worker should wait, because agents do.
pub type Pause = Arc<dyn Fn() -> bool + Send + Sync>;

/// What to do with a trial while agents crowd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crowded {
    /// It waits, and the journal with it.
    Wait,
    /// It is left out, and the journal is read on.
    GoOn,
}

/// What a version wants its trials for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// To find out whether it is any good.
    Development,
    /// It has a bar, and gathers the evidence that it needs to serve.
    Evidence,
    /// It serves: whether it may go on is to be seen.
    Serving,
}

impl Claim {
    /// How much of the time it gets, where there is not enough for all. A version
    /// with a bar is the nearest to saving anything, and one that serves must not
    /// wait for those that may never.
    pub(super) fn weight(self) -> f64 {
        match self {
            Self::Development => 1.0,
            Self::Evidence => 4.0,
            Self::Serving => 16.0,
        }
    }
}

/// How long a pause lasts before the load is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Seconds from which a trial is dear.
const DEAR: f64 = 0.05;

/// Weight of the newest measurement in a version's mean cost.
const NEWEST: f64 = 0.1;

/// The worker's pace. What it thins it thins before an answer is seen: the
/// shares of a call are asked for together, and depend on what the trials of earlier
/// calls cost and on what the versions had come to by then.
#[derive(Clone)]
pub struct Pace {
    /// Share of the time that trials may take, 0 to 1.
    duty: f64,
    pause: Pause,
    /// Where the work has to end at some time: how it is shared until then.
    plan: Option<Plan>,
    /// Mean seconds of a version's trial, where it has not.
    costs: HashMap<String, f64>,
    /// Time owed to the rest of the machine.
    owed: Duration,
    /// Share of calls on which dear versions are tried, because the worker is behind.
    thinned: f64,
}

impl std::fmt::Debug for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pace").field("duty", &self.duty).field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl Pace {
    /// As fast as it goes, for tests and for `rehearse` without a limit.
    #[must_use]
    pub fn free() -> Self {
        Self::new(1.0, Arc::new(|| false))
    }

    /// A share of the time, with a pause while `pause` says so.
    #[must_use]
    pub fn new(duty: f64, pause: Pause) -> Self {
        Self {
            duty: duty.clamp(0.01, 1.0),
            pause,
            plan: None,
            costs: HashMap::new(),
            owed: Duration::ZERO,
            thinned: 1.0,
        }
    }

    /// Ends the work `total` from now, with `calls` to do until then: understudies
    /// get a share of the calls that fits.
    pub fn end_within(&mut self, total: Duration, calls: u64) {
        self.plan = Some(Plan::new(total, calls));
    }

    /// Time that went into something else does not count.
    pub fn stood_still(&mut self, spent: Duration) {
        if let Some(plan) = &mut self.plan {
            plan.stood_still(spent);
        }
    }

    /// Tries dear versions on this share of the calls only, because the worker is behind.
    pub fn thin(&mut self, share: f64) {
        self.thinned = share.clamp(0.0, 1.0);
    }

    /// One call fewer to do.
    pub fn one_done(&mut self) {
        if let Some(plan) = &mut self.plan {
            plan.one_done();
        }
    }

    /// Whether the total is used up.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.plan.as_ref().is_some_and(Plan::is_over)
    }

    /// The share of calls on which a version may be tried; asked at each of them.
    pub(super) fn share(&mut self, version: &str, claim: Claim) -> f64 {
        if let Some(plan) = &mut self.plan {
            return plan.share(version, claim);
        }
        let Some(cost) = self.costs.get(version).filter(|c| **c > DEAR && self.thinned < 1.0) else {
            return 1.0;
        };
        // An equal share of the time, not of the calls: or a version that
        // writes pages would leave nothing to the others.
        let dear = self.costs.values().copied().filter(|c| *c > DEAR);
        (self.thinned * claim.weight() * dear.fold(*cost, f64::min) / cost).min(1.0)
    }

    /// A trial took this long.
    pub(super) fn spent(&mut self, version: &str, took: Duration) {
        self.owed += took.mul_f64(1.0 / self.duty - 1.0);
        if let Some(plan) = &mut self.plan {
            plan.spent(version, took);
            return;
        }
        let seconds = took.as_secs_f64();
        self.costs
            .entry(version.to_owned())
            .and_modify(|mean| *mean += NEWEST * (seconds - *mean))
            .or_insert(seconds);
    }

    /// Waits for what is owed, and while agents crowd as `crowded` says; `false`
    /// where the turn is left out.
    pub async fn turn(&mut self, crowded: Crowded) -> bool {
        let owed = std::mem::take(&mut self.owed);
        if !owed.is_zero() {
            tokio::time::sleep(owed).await;
        }
        while (self.pause)() {
            if crowded == Crowded::GoOn {
                return false;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        true
    }
}
