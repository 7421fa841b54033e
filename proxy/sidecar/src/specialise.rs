//! Specialised understudies: curated rows to a trainer, an adapter back, the
//! adapter to the worker.
//!
//! The trainer is Python (PEFT) in a process of its own, in an environment that
//! is made when it is first wanted; nothing else needs it. Rows go to it over a
//! pipe, so that nothing lies on the disk in the clear.

mod at_work;
mod command;
mod environment;
mod lesson;
mod trainer;

use std::path::PathBuf;

pub(crate) use at_work::{AtWork, Watch};
pub(crate) use command::{Specialise, main};
pub(crate) use environment::Environment;
pub(crate) use lesson::{Exchanged, lesson};
use trainer::{Training, install, train};
use understudy_curriculum::{Curated, Split, parts};
use understudy_onnx::contract::ModelFolder;
use understudy_onnx::export;
use understudy_policy::TaskId;

use crate::config::Config;
use crate::engine_child::with_sources;
use crate::failure::Failure;

/// Where the engine looks for adapters.
pub(crate) fn adapters(config: &Config) -> PathBuf {
    config.state.join("adapters")
}

/// The base's file and licence: what the configured chat model was made of.
///
/// # Errors
/// No model, or one that was not made of a file that we know.
fn base(config: &Config) -> Result<(PathBuf, String), Failure> {
    let missing = |e: &dyn std::error::Error| Failure::Unavailable(with_sources(e));
    let folder = ModelFolder::open(&config.model.chat).map_err(|e| missing(&e))?;
    let manifest = folder.manifest();
    let known = export::recipes().into_iter().find(|r| r.sha256 == manifest.source.sha256);
    let Some(recipe) = known else {
        return Err(Failure::Unavailable(format!(
            "no file to train on is known for {}: adapters can be trained for models of 'understudy model pull'",
            manifest.name
        )));
    };
    let models = config.model.chat.parent().unwrap_or(&config.model.chat);
    let gguf = export::source(&recipe, models, &config.cache.join("specialise")).map_err(|e| missing(&e))?;
    Ok((gguf, manifest.licence.name.clone()))
}

/// A set that a training run may have.
pub(crate) struct TrainingSet {
    /// The trainer's lines.
    pub(crate) rows: Vec<u8>,
    pub(crate) train: u64,
    pub(crate) development: u64,
    pub(crate) data_sha256: String,
}

impl TrainingSet {
    /// What was curated, as the trainer reads it.
    ///
    /// # Errors
    /// The curation's refusal.
    pub(crate) fn of(curated: &Curated) -> Result<Self, Failure> {
        let report = &curated.report;
        if let Some(refusal) = report.refusal() {
            return Err(Failure::Unavailable(refusal.to_string()));
        }
        let failed = |e: std::io::Error| Failure::Failed(e.to_string());
        let data_sha256 = parts::data_sha256(curated).map_err(failed)?;
        let mut rows = Vec::new();
        parts::write(curated, &data_sha256, &mut rows).map_err(failed)?;
        let count = |split| report.split(split).rows;
        Ok(Self { rows, train: count(Split::Train), development: count(Split::Development), data_sha256 })
    }
}

/// Trains an adapter for a task and puts it where the engine looks; returns its name.
///
/// # Errors
/// No base to train on, or the trainer's refusal with its remedy.
pub(crate) async fn adapter(
    config: &Config,
    environment: &Environment,
    task: TaskId,
    rows: Vec<u8>,
    (minutes, resume): (f64, bool),
) -> Result<String, Failure> {
    let (base, licence) = base(config)?;
    let out = config.state.join("training").join(task.to_string());
    let training = Training { base, licence, out, minutes, resume };
    // It is only for speed: a folder without locks trains beside trials.
    let at_work = AtWork::begin(&config.state).ok();
    let name = train(environment, &training, rows).await?;
    drop(at_work);
    install(&training.out, &adapters(config), &name)?;
    Ok(name)
}
