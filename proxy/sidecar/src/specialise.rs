//! Specialised understudies: curated rows to a trainer, an adapter back, the
//! adapter to the worker.
//!
//! The trainer is Python (PEFT) in a process of its own, in an environment that
//! is made when it is first wanted; nothing else needs it. Rows go to it over a
//! pipe, so that nothing lies on the disk in the clear.

mod command;
mod environment;
mod lesson;
mod trainer;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub(crate) use command::{Specialise, main};
pub(crate) use environment::Environment;
pub(crate) use lesson::{Exchanged, lesson};
pub(crate) use trainer::{Training, install, train};
use understudy_curriculum::{Curated, Permission, Rules, Split, parts};
use understudy_onnx::contract::ModelFolder;
use understudy_onnx::export;

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
pub(crate) fn base(config: &Config) -> Result<(PathBuf, String), Failure> {
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

/// The rules under which a task's exchanges become rows.
pub(crate) fn rules(providers: impl IntoIterator<Item = String>, permission: &Permission) -> Rules {
    let permitted: BTreeMap<String, Permission> =
        providers.into_iter().map(|p| (p, permission.clone())).collect();
    Rules { permitted, ..Rules::default() }
}

/// The rows as the trainer reads them, or why there are too few.
///
/// # Errors
/// The refusal in words.
pub(crate) fn rows(curated: &Curated) -> Result<Vec<u8>, Failure> {
    let count = |split| curated.of(split).count();
    let (train, development) = (count(Split::Train), count(Split::Development));
    if train < curated.report.rules.least_rows || development == 0 {
        return Err(Failure::Failed(format!(
            "{}: {train} training and {development} development rows of {} exchanges, and {} are needed; \
             record more calls, or see why the others are left out with 'understudy curate'",
            curated.report.name, curated.report.exchanges, curated.report.rules.least_rows
        )));
    }
    let mut rows = Vec::new();
    parts::write(curated, &mut rows).map_err(|e| Failure::Failed(e.to_string()))?;
    Ok(rows)
}
