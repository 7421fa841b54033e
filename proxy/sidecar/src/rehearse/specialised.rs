//! Training within a rehearsal: once most calls have been read, every task of
//! which much is still to be won gets an adapter, and the calls that are left
//! judge it. A second run of the same rehearsal takes what the first one has trained,
//! and goes on with what it had begun to train.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use understudy_capture::Journal;
use understudy_curriculum::{Curated, Rules, curate};
use understudy_rehearsal::worker::Adoption;
use understudy_rehearsal::{Rehearsal, RehearsalError, TaskReport};
use understudy_tasks::Task;

use super::Rehearse;
use crate::config::Config;
use crate::console;
use crate::curate::{Format, account};
use crate::failure::Failure;
use crate::serve::{casting, lessons, rows};
use crate::specialise::{self, Alone, Environment, Exchanged, How, Kept, Start, TrainingSet, draft};

/// Share of the calls after which training may begin: what is left is evidence.
const AFTER: f64 = 2.0 / 3.0;

/// Calls of a task that are evidence enough: a longer log gives the rest to training.
/// At the default target an adapter that agrees on .97 of the calls needs some three
/// thousand to earn its entry and the steps of its canary, whatever the log's length.
const ENOUGH: u64 = 3_200;

/// Calls that a task needs before its training is worth a thought.
const LEAST_CALLS: u64 = 500;

/// Between two looks at an engine that could not be asked.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Lets a rehearsal train on the replies of the log's provider.
///
/// # Errors
/// The operator has not permitted it, or has turned the engine off.
pub(super) fn permit(config: &Config, args: &Rehearse) -> Result<(), Failure> {
    let provider = &args.provider;
    if args.specialise.is_none() {
        return Ok(());
    }
    if casting::is_off(config) {
        return Err(Failure::Usage(
            "--specialise needs an engine that answers with the adapter: engine.enabled is false, and there is no \
             engine.address"
                .to_owned(),
        ));
    }
    if config.train.contains_key(provider) {
        return Ok(());
    }
    Err(Failure::Unavailable(format!(
        "training on the replies of {provider} is not permitted: if its terms allow it, set providers.{provider}.train = true, or leave out --specialise"
    )))
}

/// The plan of training; used up by the first who finds it due.
pub(super) struct Plan {
    minutes: f64,
    calls: u64,
    /// After how many calls, and whether that is for good.
    at: u64,
    settled: bool,
    config: Config,
}

impl Plan {
    /// A plan, if the user wants training.
    pub(super) fn of(config: &Config, args: &Rehearse, calls: u64) -> Option<Self> {
        let minutes = args.specialise?;
        let at = (calls as f64 * AFTER) as u64;
        Some(Self { minutes, calls, at, settled: false, config: config.clone() })
    }

    /// Whether enough calls were read. The tasks are looked at once, when it may be: a
    /// log that has more evidence to come than each of them needs is read on.
    pub(super) fn is_due(&mut self, done: u64, reports: impl FnOnce() -> Vec<TaskReport>) -> bool {
        if done >= self.at && !self.settled {
            self.settled = true;
            let adapters = specialise::adapters(&self.config);
            let wanted = |r: &&TaskReport| is_wanted(r, &adapters);
            let rarest = reports().iter().filter(wanted).map(|r| r.tally.calls).min();
            self.at = rarest.map_or(self.at, |rarest| self.at.max(latest(self.calls, done, rarest)));
        }
        done >= self.at
    }

    /// Trains every task of which much is to be won, and takes the adapters in; those
    /// first that an interrupted rehearsal had trained.
    pub(super) async fn carry_out(self, rehearsal: &mut Rehearsal, journal: &Journal) -> Result<(), Failure> {
        self.take_in(rehearsal, journal).await?;
        let adapters = specialise::adapters(&self.config);
        let mut tasks = Vec::new();
        for report in rehearsal.reports().into_iter().filter(|r| is_wanted(r, &adapters)) {
            let Some(task) = rehearsal.book().task(report.task).cloned() else { continue };
            // One task's refusal is not the others', and takes none of their time.
            match self.to_win(&task, &report, rehearsal, journal) {
                Ok(calls) => tasks.push((task, calls)),
                Err(why) => tracing::warn!(task = task.name, %why, "no adapter"),
            }
        }
        if tasks.is_empty() {
            tracing::info!("no task is left to be trained");
            return Ok(());
        }
        let environment = Environment::make(&self.config.cache, &|line| tracing::info!("{line}"))?;
        // Each has a share of the time as large as its share of the calls that could
        // still be won: an adapter is as good as the rows that it has read are many.
        let all: f64 = tasks.iter().map(|(_, calls)| calls).sum();
        for (task, calls) in tasks {
            let minutes = self.minutes * calls / all;
            if let Err(why) = self.one(&environment, &task, minutes, rehearsal, journal).await {
                tracing::warn!(task = task.name, %why, "no adapter");
            }
        }
        self.take_in(rehearsal, journal).await
    }

    /// How many of a task's calls an adapter could win: those that nobody serves and whose
    /// replies are no texts that nobody says again. Where these are too few for an entry,
    /// training would take the other tasks' time for nothing.
    fn to_win(
        &self,
        task: &Task,
        report: &TaskReport,
        rehearsal: &Rehearsal,
        journal: &Journal,
    ) -> Result<f64, Failure> {
        let calls = specialise::to_gain(report);
        // What was begun is gone on with, whatever has come since.
        if specialise::left_off(&self.config.state, task.id) {
            return Ok(calls);
        }
        let made =
            curated_upto(&self.config, task, rehearsal.folded(), self.config.specialise.class_cap, journal)?;
        specialise::trainable(&made.report)?;
        specialise::can_cover(&made.report, specialise::least_coverage(report))?;
        Ok(calls * made.report.answerable())
    }

    async fn one(
        &self,
        environment: &Environment,
        task: &Task,
        minutes: f64,
        rehearsal: &mut Rehearsal,
        journal: &Journal,
    ) -> Result<(), Failure> {
        let alone = Alone::take(&self.config.state, task.id)?;
        let report = rehearsal.reports().into_iter().find(|r| r.task == task.id);
        let prompted = report.and_then(|r| specialise::prompted(&rows::understudies(&r)));
        let mut goes_on = specialise::left_off(&self.config.state, task.id);
        let made = loop {
            let Taught { set, upto, start } =
                taught(&self.config, task, rehearsal.folded(), journal, goes_on)?;
            goes_on = start == Start::Resumed;
            tracing::info!(task = task.name, rows = set.train, minutes, goes_on, "training an adapter");
            let how = How { minutes, resume: goes_on, upto, prompted: prompted.clone(), ..How::default() };
            match specialise::adapter(&self.config, environment, &alone, set, how).await {
                // What was left may no longer fit, and nobody is there to be asked. After any
                // other failure it is as good as before, for the same command once more.
                Err(why @ Failure::Unfit(_)) if goes_on => {
                    tracing::warn!(task = task.name, %why, "the training cannot go on from its checkpoint: it begins anew");
                    goes_on = false;
                }
                made => break made?,
            }
        };
        for line in made.metrics.lines() {
            tracing::info!(task = task.name, "{line}");
        }
        rehearsal.order_adoption(&task.id.to_string(), &made.name, &console::by()).await.map_err(failed)
    }

    /// Brings every adapter that was ordered to its end.
    async fn take_in(&self, rehearsal: &mut Rehearsal, journal: &Journal) -> Result<(), Failure> {
        let adapters = specialise::adapters(&self.config);
        while rehearsal.is_adopting() {
            if let Some(due) = rehearsal.next_draft() {
                let drafted = draft(due, journal.clone(), adapters.clone()).await;
                rehearsal.drafted(drafted).await.map_err(failed)?;
            } else if !rehearsal.adopt_next().await.map_err(failed)? {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
        Ok(())
    }
}

/// After how many of a log's `calls` a task is left enough of its own as evidence, if it
/// goes on being as frequent as in the first `done` ones.
fn latest(calls: u64, done: u64, of_the_task: u64) -> u64 {
    calls.saturating_sub(ENOUGH.saturating_mul(done) / of_the_task.max(1))
}

/// Whether a task is to be trained. `adapters` is where those lie that there are.
fn is_wanted(report: &TaskReport, adapters: &Path) -> bool {
    let calls = |a: &Adoption| specialise::calls(adapters, &a.adapter).unwrap_or(a.rows);
    report.tally.calls >= LEAST_CALLS && specialise::can_gain(report) && !is_trained(report, calls)
}

/// Whether a task has an adapter of about as many calls, or one on its way: twice as many
/// are worth another hour. One that was kept beside counts, for another would be no
/// better; one that could not be taken in does not.
fn is_trained(report: &TaskReport, calls: impl Fn(&Adoption) -> u64) -> bool {
    let judged = |a: &&Adoption| a.understudy.is_some() || a.round.is_some();
    let is_enough = |a: &Adoption| report.tally.calls < calls(a).saturating_mul(2);
    report.adopting.is_some() || report.adoptions.iter().filter(judged).any(is_enough)
}

fn failed(e: RehearsalError) -> Failure {
    Failure::Failed(crate::failure::with_sources(&e))
}

/// A task's training set, and how its training begins.
struct Taught {
    set: TrainingSet,
    /// The last record of the journal that was read for it.
    upto: u64,
    start: Start,
}

/// The task's training set out of a rehearsal's journal up to `now`, of which the audit
/// log is told. A training that `goes_on` gets the rows that it had, where they can
/// still be made.
fn taught(
    config: &Config,
    task: &Task,
    now: u64,
    journal: &Journal,
    goes_on: bool,
) -> Result<Taught, Failure> {
    let class_cap = config.specialise.class_cap;
    let kept = goes_on.then(|| Kept::of(&config.state, task.id)).flatten();
    let (upto, cap) = kept.as_ref().map_or((now, class_cap), |k| (k.upto.min(now), k.class_cap));
    let first = match set_upto(config, task, upto, cap, journal) {
        // Too little is left of what the checkpoint was made for.
        Err(Failure::Unavailable(_)) if goes_on => None,
        first => Some(first?),
    };
    let of = |(set, _): &(TrainingSet, Value)| Start::of(goes_on, goes_on, kept.as_ref(), &set.data_sha256);
    let start = first.as_ref().map_or(Start::OtherRows, of);
    if let Some(said) = start.said() {
        tracing::warn!(task = task.name, "{said}");
    }
    let (upto, (set, what)) = match first {
        Some(first) if start != Start::OtherRows => (upto, first),
        _ => (now, set_upto(config, task, now, class_cap, journal)?),
    };
    lessons::note(journal, "curated", json!({ "task": task.id, "by": console::by(), "what": what }))
        .map_err(|e| Failure::Failed(e.to_string()))?;
    Ok(Taught { set, upto, start })
}

/// What is made of the records up to one of them.
fn curated_upto(
    config: &Config,
    task: &Task,
    upto: u64,
    class_cap: Option<f64>,
    journal: &Journal,
) -> Result<Curated, Failure> {
    let rules = Rules { permitted: lessons::permitted(config), class_cap, ..Rules::default() };
    let mut read = Exchanged::of(journal);
    let curated = curate(task, read.by_ref().take_while(|(seq, _)| *seq <= upto), &rules);
    read.whole()?;
    Ok(curated)
}

/// A training set of the records up to one of them, and its account.
fn set_upto(
    config: &Config,
    task: &Task,
    upto: u64,
    class_cap: Option<f64>,
    journal: &Journal,
) -> Result<(TrainingSet, Value), Failure> {
    let curated = curated_upto(config, task, upto, class_cap, journal)?;
    let set = TrainingSet::of(&curated)?;
    let what = account(&curated.report, &set.data_sha256, Format::Parts);
    Ok((set, what))
}

#[cfg(test)]
mod tests;
