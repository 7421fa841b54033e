//! Training that begins by itself (`[specialise] auto`), one task at a time.
//!
//! A round is `understudy specialise` in a process of its own: it curates out of
//! the journal (what the task's calls fell back on, disagreed on and were audited
//! for since the last round is in there), trains, and hands the adapter to the
//! worker, which adopts it only where it is better on the same rows. A task's next
//! round comes when its calls have doubled. A round that was cut off, by the end of
//! the proxy or of itself, is gone on with from its checkpoint.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use understudy_call::UnderstudyId;
use understudy_cast::Kind;
use understudy_policy::TaskId;
use understudy_rehearsal::TaskReport;

use super::snapshot::Snapshot;
use super::told;
use crate::config::Config;
use crate::specialise::{can_gain, left_off};

/// Between looks at the tasks.
const LOOK: Duration = Duration::from_secs(5);
/// What a round in progress gets to keep its checkpoint when the proxy ends.
const END_WITHIN: Duration = Duration::from_secs(5);
/// The share of a task's exchanges that becomes training rows, at most.
const ROWS: f64 = 0.85;

/// Begins rounds until the proxy ends.
pub(super) struct Teacher {
    calls: u64,
    minutes: f64,
    config: Option<PathBuf>,
    state: PathBuf,
    shown: Arc<ArcSwap<Snapshot>>,
    /// Calls that a task had at its last round, whatever came of it.
    tried: HashMap<TaskId, u64>,
}

impl Teacher {
    /// `None` where it is off, or has nobody to learn from.
    pub(super) fn of(config: &Config, shown: Arc<ArcSwap<Snapshot>>) -> Option<Self> {
        if !config.specialise.auto || config.worker.frozen {
            return None;
        }
        if config.train.is_empty() {
            tracing::warn!(
                "specialise.auto is on, but no provider has train = true: say so under [providers.NAME] where its terms allow it"
            );
            return None;
        }
        Some(Self {
            calls: config.specialise.calls,
            minutes: config.specialise.minutes,
            config: config.file.clone(),
            state: config.state.clone(),
            shown,
            tried: HashMap::new(),
        })
    }

    pub(super) async fn run(mut self, ending: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                biased;
                () = told(ending.clone()) => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let shown = self.shown.load_full();
            let Some(task) = due(&shown.reports, self.calls, &self.tried) else { continue };
            self.tried.insert(task.task, task.tally.calls);
            tracing::info!(
                task = task.name,
                calls = task.tally.calls,
                minutes = self.minutes,
                "a round of training begins"
            );
            for resume in ways(left_off(&self.state, task.task)) {
                let mut round = match self.round(task.task, *resume) {
                    Ok(round) => round,
                    Err(error) => {
                        tracing::warn!(%error, "a round of training cannot be begun");
                        break;
                    }
                };
                let ended = tokio::select! {
                    biased;
                    () = told(ending.clone()) => return end(round).await,
                    ended = round.wait() => ended,
                };
                if *resume && !ended.as_ref().is_ok_and(ExitStatus::success) {
                    tracing::warn!(
                        task = task.name,
                        "a round cannot go on from its checkpoint: it begins anew"
                    );
                    continue;
                }
                tell(&task.name, ended);
                break;
            }
        }
    }

    /// What a person would type, in a process group of its own: a signal reaches
    /// the trainer too.
    fn round(&self, task: TaskId, resume: bool) -> std::io::Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        if let Some(file) = &self.config {
            command.arg("--config").arg(file);
        }
        command.arg("specialise").arg(task.to_string()).args(["--minutes", &self.minutes.to_string()]);
        if resume {
            command.arg("--resume");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0).kill_on_drop(true);
        command.spawn()
    }
}

/// How a round is tried, one after the other: with `--resume` where one was cut off.
/// What it left may no longer fit, and then nobody is there to say so.
fn ways(left_off: bool) -> &'static [bool] {
    if left_off { &[true, false] } else { &[false] }
}

fn tell(task: &str, ended: std::io::Result<ExitStatus>) {
    match ended {
        Ok(status) if status.success() => {
            tracing::info!(task, "a round of training ended; its adapter rehearses")
        }
        // Why, the round itself has said on standard error.
        Ok(status) => {
            tracing::warn!(task, %status, "a round of training brought no adapter; the next is due when the task's calls have doubled")
        }
        Err(error) => tracing::warn!(task, %error, "a round of training is lost"),
    }
}

async fn end(mut round: Child) {
    if let Some(pid) = round.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?)) {
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::TERM);
    }
    let _ = tokio::time::timeout(END_WITHIN, round.wait()).await;
}

/// The task whose turn it is: one that an adapter may win something of, or that one
/// serves, with `calls` recorded at least, and twice as many as at its last round.
fn due<'r>(reports: &'r [TaskReport], calls: u64, tried: &HashMap<TaskId, u64>) -> Option<&'r TaskReport> {
    let served_by_one = |r: &TaskReport| r.adoptions.iter().any(|a| a.understudy.is_some());
    // A version to come has a name that no list can have, so its kind has to be there.
    let specialised = UnderstudyId(Kind::Specialised.label().to_owned());
    let may_answer = |r: &TaskReport| r.evidence.permits(&specialised);
    let worth_it =
        |r: &&TaskReport| r.adopting.is_none() && may_answer(r) && (can_gain(r) || served_by_one(r));
    reports.iter().filter(worth_it).find(|r| {
        let taught = r.adoptions.iter().map(|a| (a.rows as f64 / ROWS) as u64);
        let last = taught.chain(tried.get(&r.task).copied()).max();
        r.tally.calls >= last.map_or(calls, |n| calls.max(2 * n))
    })
}

#[cfg(test)]
mod tests {
    use understudy_policy::{Audits, EntryView, Ledger, TaskPolicy};
    use understudy_rehearsal::worker::{Adoption, Tally};

    use super::*;

    fn report(n: u64, calls: u64, rows: &[u64]) -> TaskReport {
        let task = TaskId(n);
        let adoptions = rows.iter().map(|rows| Adoption {
            task,
            adapter: String::new(),
            rows: *rows,
            answered: 0,
            agreed: 0,
            understudy: None,
            round: None,
            reason: String::new(),
        });
        TaskReport {
            task,
            name: n.to_string(),
            model: String::new(),
            provider: String::new(),
            tally: Tally { calls, ..Tally::default() },
            evidence: Ledger::new(task, TaskPolicy::default()).view(),
            cast: Vec::new(),
            adoptions: adoptions.collect(),
            adopting: None,
            provider_p50_ms: None,
            understudy_p50_ms: None,
        }
    }

    #[test]
    fn a_round_is_due_after_enough_calls_and_again_when_they_have_doubled() {
        let none = HashMap::new();
        let due = |r: &TaskReport, tried: &HashMap<TaskId, u64>| {
            due(std::slice::from_ref(r), 1000, tried).is_some()
        };
        assert!(!due(&report(1, 999, &[]), &none));
        assert!(due(&report(1, 1000, &[]), &none));
        // Refused, or under way: not again at once.
        let tried = HashMap::from([(TaskId(1), 1000)]);
        assert!(!due(&report(1, 1999, &[]), &tried));
        assert!(due(&report(1, 2000, &[]), &tried));
        // After a restart the adapters tell.
        assert!(!due(&report(1, 1999, &[850]), &none));
        assert!(due(&report(1, 2000, &[850]), &none));
        let busy = TaskReport { adopting: Some((1, 9)), ..report(1, 2000, &[]) };
        assert!(!due(&busy, &none));
    }

    #[test]
    fn a_round_that_was_cut_off_is_gone_on_with_and_else_begun_anew() {
        assert_eq!(ways(true), [true, false]);
        assert_eq!(ways(false), [false]);
    }

    #[test]
    fn a_task_whose_calls_are_nearly_all_served_needs_no_adapter() {
        let served = |coverage: f64| {
            let mut r = report(1, 2000, &[]);
            r.evidence.serving = Some(1);
            r.evidence.entries = vec![entry(coverage)];
            due(std::slice::from_ref(&r), 1000, &HashMap::new()).is_some()
        };
        assert!(served(0.7));
        assert!(!served(0.95));
    }

    #[test]
    fn a_task_that_no_adapter_may_answer_needs_none() {
        let due = |models: &[&str]| {
            let mut r = report(1, 2000, &[]);
            r.evidence.models = models.iter().map(|m| (*m).to_owned()).collect();
            due(std::slice::from_ref(&r), 1000, &HashMap::new()).is_some()
        };
        assert!(due(&[]) && due(&["head", "specialised"]));
        assert!(!due(&["head"]) && !due(&["specialised-0123456789ab"]));
    }

    fn entry(coverage: f64) -> EntryView {
        let audits = Audits { conversations: 0, agreement: None, interval: (0.0, 1.0) };
        EntryView {
            k: 1,
            understudy: UnderstudyId("head".into()),
            bar: 0.0,
            after_seq: 0,
            alpha: 0.005,
            log_wealth: 6.0,
            log_threshold: 5.0,
            earned: Some(900),
            conversations: 300,
            agreement: Some(0.98),
            interval: (0.95, 1.0),
            coverage,
            calls: 400,
            taken: 300,
            calls_needed: None,
            strata: Vec::new(),
            audits,
            closed: None,
            by_operator: false,
        }
    }
}
