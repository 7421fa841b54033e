//! Training that begins by itself (`[specialise] auto`), one task at a time.
//!
//! A round is `understudy specialise` in a process of its own: it curates out of
//! the journal (what the task's calls fell back on, disagreed on and were audited
//! for since the last round is in there), trains, and hands the adapter to the
//! worker, which adopts it only where it is better on the same rows. A task's next
//! round comes when its calls have doubled since the last, whatever came of that;
//! [`Rounds`] remembers it beyond a restart. A round that was cut off, by the end of
//! the proxy or of itself, is gone on with from its checkpoint.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use understudy_call::UnderstudyId;
use understudy_cast::Kind;
use understudy_policy::TaskId;
use understudy_rehearsal::TaskReport;

use super::casting;
use super::snapshot::Snapshot;
use super::told;
use crate::config::Config;
use crate::failure::{Exit, Failure};
use crate::outlived::ends_with_us;
use crate::specialise::{can_gain, in_training, left_off};
use crate::state;

/// Between looks at the tasks.
const LOOK: Duration = Duration::from_secs(5);
/// What a round in progress gets to keep its checkpoint when the proxy ends.
const END_WITHIN: Duration = Duration::from_secs(35);
/// The share of a task's exchanges that becomes training rows, at most.
const ROWS: f64 = 0.85;

/// Begins rounds until the proxy ends.
pub(super) struct Teacher {
    calls: u64,
    minutes: f64,
    config: Option<PathBuf>,
    state: PathBuf,
    shown: Arc<ArcSwap<Snapshot>>,
    rounds: Rounds,
}

/// A task's last round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Round {
    /// The task's calls when it began.
    calls: u64,
    /// How often it was begun and came to no end: the proxy was killed meanwhile.
    #[serde(default)]
    killed: u32,
    /// Whether it could not go on from its checkpoint, for a reason that may pass: the next
    /// one does not try that again.
    #[serde(default)]
    stuck: bool,
    /// Whether it is gone on with, though the calls have not doubled.
    #[serde(skip)]
    goes_on: bool,
}

/// The tasks' last rounds, kept in the state folder. An adapter's rows tell too little:
/// duplicates, conflicts and served calls are left out, and a refused round has none.
struct Rounds {
    file: PathBuf,
    of: BTreeMap<TaskId, Round>,
}

impl Teacher {
    /// `None` where it is off, has nobody to learn from, or nobody to answer with what is learnt.
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
        if casting::is_off(config) {
            tracing::warn!(
                "specialise.auto is on, but the engine is off, and nobody could answer with an adapter: no round begins"
            );
            return None;
        }
        Some(Self {
            calls: config.specialise.calls,
            minutes: config.specialise.minutes,
            config: config.file.clone(),
            state: config.state.clone(),
            shown,
            rounds: Rounds::read(&config.state),
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
            let due = due(&shown.reports, self.calls, &|task| self.rounds.last(task));
            // What trains it already is a person's, or a round that outlived its proxy: after that.
            let Some(task) = due.filter(|r| !in_training(&self.state, r.task)) else { continue };
            let before = self.rounds.begin(task.task, task.tally.calls);
            tracing::info!(
                task = task.name,
                calls = task.tally.calls,
                minutes = self.minutes,
                "a round of training begins"
            );
            let mut is_taken = false;
            let is_stuck = before.is_some_and(|r| r.stuck);
            for resume in ways(left_off(&self.state, task.task) && !is_stuck) {
                let mut round = match self.round(task.task, *resume) {
                    Ok(round) => round,
                    Err(error) => {
                        tracing::warn!(%error, "a round of training cannot be begun");
                        break;
                    }
                };
                let ended = tokio::select! {
                    biased;
                    () = told(ending.clone()) => {
                        self.rounds.take_back(task.task, before);
                        return end(round).await;
                    }
                    ended = round.wait() => ended,
                };
                is_taken = ended.as_ref().is_ok_and(was_taken);
                if is_taken {
                    tracing::info!(
                        task = task.name,
                        "somebody else trains the task: its round comes after that"
                    );
                    break;
                }
                // After any other failure, of memory say, its checkpoint is as good as before.
                if *resume && ended.as_ref().is_ok_and(is_unfit) {
                    tracing::warn!(
                        task = task.name,
                        "a round cannot go on from its checkpoint: it begins anew"
                    );
                    continue;
                }
                if *resume && !ended.as_ref().is_ok_and(ExitStatus::success) {
                    self.rounds.stick(task.task);
                }
                tell(&task.name, ended);
                break;
            }
            if is_taken {
                self.rounds.take_back(task.task, before);
            } else {
                self.rounds.end(task.task);
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
        command.args(["specialise", "--round", &task.to_string(), "--minutes", &self.minutes.to_string()]);
        if resume {
            command.arg("--resume");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0).kill_on_drop(true);
        // One that nobody is left to wait for would train on, beside the next proxy's.
        ends_with_us(command.as_std_mut(), libc::SIGTERM);
        command.spawn()
    }
}

impl Rounds {
    /// What is kept in a state folder; nothing where that cannot be read.
    fn read(folder: &Path) -> Self {
        let file = folder.join("rounds.json");
        let kept: Result<BTreeMap<TaskId, Round>, String> = state::read_json(&file);
        let mut of = kept.unwrap_or_else(|problem| {
            tracing::warn!(problem, "when tasks were trained last is not known");
            BTreeMap::new()
        });
        for (task, round) in &mut of {
            // Once, for it may be the round itself that the proxy was killed for: both
            // share a container's memory.
            round.goes_on = round.killed == 1 && left_off(folder, *task);
        }
        Self { file, of }
    }

    /// The calls that a task had at its last round, unless that is to be gone on with.
    fn last(&self, task: TaskId) -> Option<u64> {
        self.of.get(&task).filter(|r| !r.goes_on).map(|r| r.calls)
    }

    /// One begins. Gives what was kept before.
    fn begin(&mut self, task: TaskId, calls: u64) -> Option<Round> {
        let before = self.of.get(&task).copied();
        let killed = before.map_or(0, |r| r.killed).saturating_add(1);
        self.of.insert(task, Round { calls, killed, stuck: false, goes_on: false });
        self.write();
        before
    }

    /// It could not go on from its checkpoint.
    fn stick(&mut self, task: TaskId) {
        if let Some(round) = self.of.get_mut(&task) {
            round.stuck = true;
        }
    }

    /// It came to its end, whatever that is.
    fn end(&mut self, task: TaskId) {
        if let Some(round) = self.of.get_mut(&task) {
            round.killed = 0;
        }
        self.write();
    }

    /// It ends with the proxy, and is due when that is back.
    fn take_back(&mut self, task: TaskId, before: Option<Round>) {
        match before {
            Some(before) => self.of.insert(task, before),
            None => self.of.remove(&task),
        };
        self.write();
    }

    fn write(&self) {
        let text = serde_json::to_vec(&self.of).map_err(|e| Failure::Failed(e.to_string()));
        if let Err(error) = text.and_then(|text| state::write_private(&self.file, &text)) {
            tracing::warn!(%error, "rounds of training are not kept: after a restart they may begin again");
        }
    }
}

/// How a round is tried, one after the other: with `--resume` where one was cut off.
/// What it left may no longer fit, and then nobody is there to say so.
fn ways(left_off: bool) -> &'static [bool] {
    if left_off { &[true, false] } else { &[false] }
}

/// Whether it was not begun, since another process trains the task.
fn was_taken(ended: &ExitStatus) -> bool {
    ended.code() == Some(i32::from(Exit::Temporary.code()))
}

/// Whether what it should have gone on from does not fit.
fn is_unfit(ended: &ExitStatus) -> bool {
    ended.code() == Some(i32::from(Exit::Unfit.code()))
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
/// serves, with `calls` recorded at least, and twice as many as at its last round
/// (`last`; an adapter that a person had trained tells by its rows).
fn due<'r>(
    reports: &'r [TaskReport],
    calls: u64,
    last: &dyn Fn(TaskId) -> Option<u64>,
) -> Option<&'r TaskReport> {
    let served_by_one = |r: &TaskReport| r.adoptions.iter().any(|a| a.understudy.is_some());
    // A version to come has a name that no list can have, so its kind has to be there.
    let specialised = UnderstudyId(Kind::Specialised.label().to_owned());
    let may_answer = |r: &TaskReport| r.evidence.permits(&specialised);
    let worth_it =
        |r: &&TaskReport| r.adopting.is_none() && may_answer(r) && (can_gain(r) || served_by_one(r));
    reports.iter().filter(worth_it).find(|r| {
        let taught = r.adoptions.iter().map(|a| (a.rows as f64 / ROWS) as u64);
        let last = taught.chain(last(r.task)).max();
        r.tally.calls >= last.map_or(calls, |n| calls.max(2 * n))
    })
}

#[cfg(test)]
mod tests;
