//! Training within a rehearsal: once most calls have been read, every task that
//! nothing has won yet gets an adapter, and the calls that are left judge it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use understudy_capture::Journal;
use understudy_curriculum::{Permission, Rules, curate};
use understudy_policy::Stage;
use understudy_rehearsal::Rehearsal;
use understudy_tasks::Task;

use crate::cli::{self, Rehearse};
use crate::config::Config;
use crate::failure::Failure;
use crate::specialise::{self, Environment, Exchanged, TrainingSet, lesson};

/// Share of the calls after which training begins: what is left is evidence.
const AFTER: f64 = 0.8;

/// Calls that a task needs before its training is worth a thought.
const LEAST_CALLS: u64 = 500;

/// The plan of training; used up by the first who finds it due.
pub(super) struct Plan {
    minutes: f64,
    at: u64,
    provider: String,
    config: Config,
}

impl Plan {
    /// A plan, if the user wants training.
    pub(super) fn of(config: &Config, args: &Rehearse, calls: u64) -> Result<Option<Self>, Failure> {
        let Some(minutes) = args.specialise else { return Ok(None) };
        if !(minutes >= 1.0 && minutes.is_finite()) {
            return Err(Failure::Usage(format!(
                "--specialise {minutes} is not allowed: it is at least a minute"
            )));
        }
        Ok(Some(Self {
            minutes,
            at: (calls as f64 * AFTER) as u64,
            provider: args.provider.clone(),
            config: config.clone(),
        }))
    }

    /// Whether enough calls were read.
    pub(super) fn is_due(&self, done: u64) -> bool {
        done >= self.at
    }

    /// Trains every task that nothing has won, and takes the adapters in.
    pub(super) async fn carry_out(self, rehearsal: &mut Rehearsal, journal: &Journal) -> Result<(), Failure> {
        let tasks: Vec<Task> = rehearsal
            .reports()
            .into_iter()
            .filter(|r| matches!(r.evidence.stage, Stage::Observing | Stage::Shadowing))
            .filter(|r| r.tally.calls >= LEAST_CALLS)
            .filter_map(|r| rehearsal.book().task(r.task).cloned())
            .collect();
        if tasks.is_empty() {
            tracing::info!("no task is left to be trained");
            return Ok(());
        }
        let environment = Environment::make(&self.config.cache, &|line| tracing::info!("{line}"))?;
        let minutes = self.minutes / tasks.len() as f64;
        for task in tasks {
            // One task's refusal is not the others'.
            if let Err(why) = self.one(&environment, &task, minutes, rehearsal, journal).await {
                tracing::warn!(task = task.name, %why, "no adapter");
            }
        }
        while rehearsal.adopting().is_some() {
            rehearsal.adopt_next().await.map_err(|e| Failure::Failed(e.to_string()))?;
        }
        Ok(())
    }

    async fn one(
        &self,
        environment: &Environment,
        task: &Task,
        minutes: f64,
        rehearsal: &mut Rehearsal,
        journal: &Journal,
    ) -> Result<(), Failure> {
        let upto = rehearsal.folded();
        let permission = Permission {
            by: cli::by(),
            at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            terms: "the operator's own log, by --specialise".to_owned(),
        };
        let permitted = BTreeMap::from([(self.provider.clone(), permission)]);
        let rules = Rules { permitted, ..Rules::default() };
        let mut read = Exchanged::of(journal);
        let curated = curate(task, read.by_ref().take_while(|(seq, _)| *seq <= upto), &rules);
        read.whole()?;
        let set = TrainingSet::of(&curated)?;
        tracing::info!(task = task.name, rows = curated.rows.len(), minutes, "training an adapter");
        let name =
            specialise::adapter(&self.config, environment, task.id, set.rows, (minutes, false)).await?;
        let lesson = lesson(journal, &specialise::adapters(&self.config), &name)?;
        rehearsal
            .adopt(&task.id.to_string(), lesson)
            .await
            .map_err(|e| Failure::Failed(crate::engine_child::with_sources(&e)))
    }
}
