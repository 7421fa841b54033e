//! Specialised understudies: curated rows to a trainer, an adapter back, the
//! adapter to the worker.
//!
//! The trainer is Python (PEFT) in a process of its own, in an environment that
//! is made when it is first wanted; nothing else needs it. Rows go to it over a
//! pipe, so that nothing lies on the disk in the clear.

mod alone;
mod at_work;
mod card;
mod command;
mod drafts;
mod environment;
mod kept;
mod lesson;
mod options;
mod trainer;

use std::path::PathBuf;

pub(crate) use alone::{Alone, in_training};
pub(crate) use at_work::{AtWork, Watch};
pub(crate) use card::{Metrics, prompted};
pub(crate) use command::{Specialise, main};
pub(crate) use drafts::{Drafts, draft};
pub(crate) use environment::Environment;
pub(crate) use kept::{Kept, Start, left_off};
pub(crate) use lesson::{Exchanged, calls, known, lesson};
use serde_json::Value;
use trainer::{Training, install, train};
use understudy_call::ExchangeId;
use understudy_curriculum::{Curated, Report, Split, parts};
use understudy_onnx::contract::{ModelFolder, NonCommercial};
use understudy_onnx::export;
use understudy_rehearsal::TaskReport;

use crate::config::Config;
use crate::failure::{Failure, with_sources};

/// Where the engine looks for adapters.
pub(crate) fn adapters(config: &Config) -> PathBuf {
    config.state.join("adapters")
}

/// Coverage at which an adapter could add too little for its training.
const NEARLY_ALL: f64 = 0.9;

/// Whether an adapter may win something of a task: where nothing serves, or
/// where what serves leaves a tenth of the calls or more to the provider.
pub(crate) fn can_gain(report: &TaskReport) -> bool {
    served(report) < NEARLY_ALL
}

/// How many of a task's calls are still the provider's.
pub(crate) fn to_gain(report: &TaskReport) -> f64 {
    report.tally.calls as f64 * (1.0 - served(report))
}

/// The share of a task's calls that who serves it takes.
fn served(report: &TaskReport) -> f64 {
    report.evidence.service().map_or(0.0, |serving| serving.coverage)
}

/// The base's file and licence: what the configured chat model was made of.
///
/// # Errors
/// No model, or one that was not made of a file that we know.
fn base(config: &Config) -> Result<(PathBuf, String), Failure> {
    let missing = |e: &dyn std::error::Error| Failure::Unavailable(with_sources(e));
    let terms = NonCommercial::allowed(config.model.allow_non_commercial);
    let folder = ModelFolder::open_with(&config.model.chat, terms).map_err(|e| missing(&e))?;
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
    /// The trainer's lines, those of held rows last.
    pub(crate) rows: Vec<u8>,
    pub(crate) train: u64,
    pub(crate) development: u64,
    /// The calls of rows that nothing may look at before the last choice is made.
    pub(crate) held: Vec<ExchangeId>,
    pub(crate) data_sha256: String,
    /// The cap on its classes, if there was one.
    pub(crate) class_cap: Option<f64>,
}

impl TrainingSet {
    /// What was curated, as the trainer reads it.
    ///
    /// # Errors
    /// The curation's refusal.
    pub(crate) fn of(curated: &Curated) -> Result<Self, Failure> {
        let report = &curated.report;
        trainable(report)?;
        let failed = |e: std::io::Error| Failure::Failed(e.to_string());
        let data_sha256 = parts::data_sha256(curated).map_err(failed)?;
        let mut rows = Vec::new();
        parts::write_with_held(curated, &data_sha256, &mut rows).map_err(failed)?;
        let count = |split| report.split(split).rows;
        Ok(Self {
            rows,
            train: count(Split::Train),
            development: count(Split::Development),
            held: curated.of(Split::Held).map(|r| r.exchange).collect(),
            data_sha256,
            class_cap: report.rules.class_cap,
        })
    }
}

/// Whether rows can train an understudy.
///
/// # Errors
/// The curation's refusal.
pub(crate) fn trainable(report: &Report) -> Result<(), Failure> {
    report.refusal().map_or(Ok(()), |refusal| Err(Failure::Unavailable(refusal.to_string())))
}

/// The least share of its calls that an entry of a task takes. Of one that is served
/// any: its rows are what its understudy has left.
pub(crate) fn least_coverage(report: &TaskReport) -> f64 {
    let view = &report.evidence;
    if view.service().is_some() { 0.0 } else { view.min_coverage }
}

/// Whether enough calls could be answered for an entry that takes `least` of them.
///
/// # Errors
/// Too few: what an adapter learns of them would not serve.
pub(crate) fn can_cover(report: &Report, least: f64) -> Result<(), Failure> {
    let answerable = report.answerable();
    if answerable > 0.0 && answerable >= least {
        return Ok(());
    }
    Err(Failure::Unavailable(format!(
        "{:.1} % of the calls can be answered word by word, the others' replies are texts that follow no \
         pattern; an entry takes {:.1} % of them (min_coverage)",
        100.0 * answerable,
        100.0 * least
    )))
}

/// How a training is run.
#[derive(Default)]
pub(crate) struct How<'a> {
    /// Its whole budget of time.
    pub(crate) minutes: f64,
    /// Whether it goes on from the checkpoint that is there.
    pub(crate) resume: bool,
    /// The last record of the journal that was read for its rows.
    pub(crate) upto: u64,
    /// The trainer's own options.
    pub(crate) options: &'a [String],
    /// What the task's prompted version has come to, for the card.
    pub(crate) prompted: Option<Value>,
}

/// An adapter that was trained.
pub(crate) struct Adapter {
    pub(crate) name: String,
    /// How good it is.
    pub(crate) metrics: Metrics,
}

/// Trains an adapter for the task that nobody else trains meanwhile, and puts it where the
/// engine looks.
///
/// # Errors
/// No base to train on, or the trainer's refusal with its remedy.
pub(crate) async fn adapter(
    config: &Config,
    environment: &Environment,
    alone: &Alone,
    set: TrainingSet,
    how: How<'_>,
) -> Result<Adapter, Failure> {
    let (base, licence) = base(config)?;
    let out = kept::folder(&config.state, alone.task);
    if !how.resume && out.is_dir() {
        // What another training left would be taken for this one's.
        std::fs::remove_dir_all(&out).map_err(|source| Failure::File { path: out.clone(), source })?;
    }
    Kept { upto: how.upto, data_sha256: set.data_sha256, class_cap: set.class_cap }.write(&out)?;
    let training = Training {
        base,
        licence,
        accepts_licence: config.model.allow_non_commercial,
        out,
        minutes: how.minutes,
        resume: how.resume,
        options: how.options.to_vec(),
    };
    // It is only for speed: a folder without locks trains beside trials.
    let at_work = AtWork::begin(&config.state).ok();
    let name = train(environment, alone, &training, set.rows).await?;
    drop(at_work);
    let completed = card::complete(&training.out, &set.held, how.prompted.as_ref());
    let metrics = completed.unwrap_or_else(|error| {
        tracing::warn!(%error, "the adapter's card could not be completed");
        Metrics::default()
    });
    install(&training.out, &adapters(config), &name)?;
    Ok(Adapter { name, metrics })
}
