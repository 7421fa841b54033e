//! What a rehearsal is asked for.

use std::path::PathBuf;

use clap::Args;

use super::report;
use crate::config::{Config, MOST_MINUTES};
use crate::failure::Failure;

/// `understudy rehearse`
#[derive(Debug, Args)]
pub(crate) struct Rehearse {
    /// Recorded calls, as JSON lines: {"request", "response"}, the input and output files of OpenAI's Batch API together (of several batches one after the other), {"messages": […]} of fine-tuning files and stored completions, {"messages", "reply"} beside NAME.agent.json, or what `journal export` writes
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The budget of time; what was not rehearsed is said, and a second run goes on from there
    #[arg(long, default_value_t = 10.0, value_name = "MINUTES")]
    pub(crate) minutes: f64,
    /// Where the journal of this rehearsal is kept; by default beside the state, named after the files
    #[arg(long, value_name = "FOLDER")]
    pub(crate) journal: Option<PathBuf>,
    /// Starts over: what an earlier rehearsal made in its folder goes
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Takes approval of acting tools as given (the figures say so)
    #[arg(long)]
    pub(crate) approve: bool,
    /// Reads only calls whose line has this mark; may be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = mark)]
    pub(crate) only: Vec<(String, String)>,
    /// Keeps calls with this mark away from everything, and measures the frozen result on them
    #[arg(long, value_name = "KEY=VALUE", value_parser = mark)]
    pub(crate) hold_out: Vec<(String, String)>,
    /// Trains an adapter for each task of 500 calls or more of which a tenth or more is still to be won and `min_coverage` could be answered word by word, once two thirds of the calls are read, or later where 3,200 of its calls are still to come; the time for all of them. Needs providers.NAME.train = true for the --provider
    #[arg(long, value_name = "MINUTES")]
    pub(crate) specialise: Option<f64>,
    /// The provider that answered them
    #[arg(long, default_value = "openai", value_name = "NAME")]
    pub(crate) provider: String,
    /// Takes the calls as made with the key in this variable, so that `serve` can go on from their journal
    #[arg(long, value_name = "VARIABLE")]
    pub(crate) credential_env: Option<String>,
    /// Writes the whole verdict as JSON, too, for its owner alone to read. It has no text of a call; held-out ones are listed with their conversation's id and with those marks that many of them share
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

impl Rehearse {
    /// Refuses, before any work is done, what could not be carried out.
    ///
    /// # Errors
    /// The first thing that is wrong, with its value.
    pub(super) fn check(&self, config: &Config) -> Result<(), Failure> {
        if !(self.minutes > 0.0 && self.minutes <= MOST_MINUTES) {
            return Err(Failure::Usage(format!(
                "--minutes {} is not allowed: it is a number above 0 and at most {MOST_MINUTES}",
                self.minutes
            )));
        }
        if let Some(minutes) = self.specialise.filter(|m| !(1.0..=MOST_MINUTES).contains(m)) {
            return Err(Failure::Usage(format!(
                "--specialise {minutes} is not allowed: it is 1 to {MOST_MINUTES} minutes"
            )));
        }
        let providers: Vec<&str> = config.gateway.providers.iter().map(|p| p.name.as_str()).collect();
        if !providers.contains(&self.provider.as_str()) {
            return Err(Failure::Usage(format!(
                "--provider {}: no provider is called so; there are {}",
                self.provider,
                providers.join(", ")
            )));
        }
        self.report.as_deref().map_or(Ok(()), |path| report::check(path, &self.files))
    }
}

/// A mark of a line, as KEY=VALUE.
fn mark(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}
