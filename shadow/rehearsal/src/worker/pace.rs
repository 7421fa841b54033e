//! How fast the worker may go: a share of one core's time, a total for
//! `rehearse --minutes`, and a pause while agents are waiting.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

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

/// How long a pause lasts before the load is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Seconds from which a trial is dear.
const DEAR: f64 = 0.05;

/// Weight of the newest measurement in a version's mean cost.
const NEWEST: f64 = 0.1;

/// The worker's pace. What it thins it thins before an answer is seen: the
/// share depends on what earlier trials cost, never on how they went.
#[derive(Clone)]
pub struct Pace {
    /// Share of the time that trials may take, 0 to 1.
    duty: f64,
    pause: Pause,
    /// When the work has to end, and how many calls are left until then.
    until: Option<(Instant, u64)>,
    /// Mean seconds of a version's trial.
    costs: HashMap<String, f64>,
    /// Time owed to the rest of the machine.
    owed: Duration,
    /// Share of calls on which dear versions are tried, because the worker is behind.
    thinned: f64,
}

impl std::fmt::Debug for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pace").field("duty", &self.duty).field("until", &self.until).finish_non_exhaustive()
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
            until: None,
            costs: HashMap::new(),
            owed: Duration::ZERO,
            thinned: 1.0,
        }
    }

    /// Ends the work after `total`, with `calls` to do until then: dear
    /// understudies get a share of the calls that fits.
    #[must_use]
    pub fn within(mut self, total: Duration, calls: u64) -> Self {
        self.until = Some((Instant::now() + total, calls));
        self
    }

    /// Time that went into something else does not count.
    pub fn stood_still(&mut self, spent: Duration) {
        if let Some((until, _)) = &mut self.until {
            *until += spent;
        }
    }

    /// Tries dear versions on this share of the calls only, because the worker is behind.
    pub fn thin(&mut self, share: f64) {
        self.thinned = share.clamp(0.0, 1.0);
    }

    /// One call fewer to do.
    pub fn one_done(&mut self) {
        if let Some((_, calls)) = &mut self.until {
            *calls = calls.saturating_sub(1);
        }
    }

    /// Whether the total is used up.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.until.is_some_and(|(end, _)| Instant::now() >= end)
    }

    /// The share of calls on which a version may be tried.
    #[must_use]
    pub fn share(&self, version: &str) -> f64 {
        let Some(cost) = self.costs.get(version) else {
            return 1.0;
        };
        let Some((end, calls)) = self.until else {
            if *cost <= DEAR || self.thinned >= 1.0 {
                return 1.0;
            }
            // An equal share of the time, not of the calls: or a version that
            // writes pages would leave nothing to the others.
            let dear = self.costs.values().copied().filter(|c| *c > DEAR);
            return self.thinned * dear.fold(*cost, f64::min) / cost;
        };
        let left = end.saturating_duration_since(Instant::now()).as_secs_f64();
        // Half is kept back: for the other versions, embedding and fitting.
        let fits = 0.5 * left / (cost * (calls.max(1) as f64));
        fits.clamp(0.0, 1.0)
    }

    /// A trial took this long.
    pub fn spent(&mut self, version: &str, took: Duration) {
        let seconds = took.as_secs_f64();
        self.costs
            .entry(version.to_owned())
            .and_modify(|mean| *mean += NEWEST * (seconds - *mean))
            .or_insert(seconds);
        self.owed += took.mul_f64(1.0 / self.duty - 1.0);
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
