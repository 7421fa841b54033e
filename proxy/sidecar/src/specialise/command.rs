//! `understudy specialise TASK`: from the running proxy's journal to an adapter
//! that answers its development rows.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::Environment;
use crate::admin::client::Client;
use crate::admin::pages::Acted;
use crate::cli::{self, Out, runtime};
use crate::config::Config;
use crate::curate;
use crate::failure::{Exit, Failure};

/// `understudy specialise`
#[derive(Debug, Args)]
pub(crate) struct Specialise {
    /// Its id, the beginning of it, or its name
    #[arg(required_unless_present = "prepare")]
    task: Option<String>,
    /// The training's whole budget of time
    #[arg(long, default_value_t = 30.0, value_name = "MINUTES")]
    minutes: f64,
    /// Goes on from the checkpoint of a run that was interrupted
    #[arg(long)]
    resume: bool,
    /// Only makes the environment that training needs
    #[arg(long, conflicts_with_all = ["task", "minutes", "resume"])]
    prepare: bool,
}

/// What came of it.
#[derive(Serialize)]
struct Trained {
    task: String,
    adapter: String,
    train: u64,
    development: u64,
    seconds: u64,
    data_sha256: String,
}

/// Curates, trains, and hands the adapter to the running proxy.
///
/// # Errors
/// The curation's or the trainer's refusal with its remedy; no running proxy.
pub(crate) fn main(config: &Config, args: &Specialise, out: &Out) -> Result<Exit, Failure> {
    // Clap has one or the other.
    let Some(task) = &args.task else {
        let python = environment(config)?.python;
        return out.show(&json!({ "python": python }), |_| {
            format!("the training environment is there: {}\n", python.display())
        });
    };
    if !(args.minutes >= 1.0 && args.minutes.is_finite()) {
        return Err(Failure::Usage(format!("--minutes {} is not allowed: it is at least 1", args.minutes)));
    }
    let began = std::time::Instant::now();
    let (trained, acted) = runtime()?.block_on(run(config, task, args))?;
    let trained = Trained { seconds: began.elapsed().as_secs(), ..trained };
    out.show(&trained, |t| {
        format!(
            "adapter {} of {} training and {} development rows, in {}\n{}\
             `understudy task understudies {}` shows what becomes of it\n",
            t.adapter,
            t.train,
            t.development,
            humantime::format_duration(Duration::from_secs(t.seconds)),
            acted.line(),
            t.task
        )
    })
}

fn environment(config: &Config) -> Result<Environment, Failure> {
    Environment::make(&config.cache, &|line| tracing::info!("{line}"))
}

async fn run(config: &Config, task: &str, args: &Specialise) -> Result<(Trained, Acted), Failure> {
    let client = Client::find(&config.state)?;
    let (task, set) = curate::for_training(&client, task).await?;
    let environment = environment(config)?;
    let how = (args.minutes, args.resume);
    let adapter = super::adapter(config, &environment, task.id, set.rows, how).await?;
    let path = format!("/v1/tasks/{}/adopt", task.id);
    let acted: Acted = client.post(&path, &json!({ "adapter": adapter, "by": cli::by() })).await?;
    let trained = Trained {
        task: task.name,
        adapter,
        train: set.train,
        development: set.development,
        seconds: 0,
        data_sha256: set.data_sha256,
    };
    Ok((trained, acted))
}
