//! `understudy specialise TASK`: from the running proxy's journal to an adapter
//! that answers its development rows.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::kept::{self, Kept, Start};
use super::{Alone, Environment, How, Metrics, options};
use crate::admin::client::Client;
use crate::admin::pages::{Acted, TaskPage};
use crate::config::{Config, MOST_MINUTES};
use crate::console::{self, Out, runtime};
use crate::curate::{self, Bounds, Taught};
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
    /// Goes on from the checkpoint of a run that was interrupted, with the calls that it had; without this such a checkpoint goes
    #[arg(long)]
    resume: bool,
    /// Keeps of a class (the tools that a reply calls, or a short reply) at most so many times the median class's training rows; without it what specialise.class_cap says, or with --resume what it was
    #[arg(long, value_name = "TIMES")]
    class_cap: Option<f64>,
    /// A round of `specialise.auto`: a task that no adapter could serve is refused
    #[arg(long, hide = true)]
    round: bool,
    /// Only makes the environment that training needs
    #[arg(long, conflicts_with_all = ["task", "minutes", "resume", "class_cap", "options"])]
    prepare: bool,
    /// Options of the trainer, as they are: --drop-long leaves rows out that are longer than --context TOKENS, fewer --micro-tokens take less memory, a lower --rate is steadier; --rank, --alpha, --rate-ratio, --batch, --epochs, --steps, --distil, --vary, --seed, --threads, --device, --precision, --checkpoint-seconds, --min-rows and --min-development are the others
    #[arg(last = true, value_name = "OPTION")]
    options: Vec<String>,
}

impl Specialise {
    /// Of what the rows are made: as they were, where a training goes on, but for what
    /// is asked now; else as the configuration has it.
    fn bounds(&self, kept: Option<&Kept>, configured: Option<f64>) -> Bounds {
        let class_cap = kept.map_or(configured, |k| k.class_cap);
        Bounds {
            upto: kept.map(|k| k.upto),
            class_cap: self.class_cap.or(class_cap),
            // What was begun is gone on with, whatever has come since.
            only_to_serve: self.round && kept.is_none(),
        }
    }
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
    metrics: Metrics,
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
    if !(1.0..=MOST_MINUTES).contains(&args.minutes) {
        return Err(Failure::Usage(format!(
            "--minutes {} is not allowed: it is 1 to {MOST_MINUTES}",
            args.minutes
        )));
    }
    curate::check_class_cap(args.class_cap)?;
    options::check(&args.options)?;
    let began = std::time::Instant::now();
    let (trained, acted) = runtime()?.block_on(run(config, task, args))?;
    let trained = Trained { seconds: began.elapsed().as_secs(), ..trained };
    out.show(&trained, |t| {
        let mut metrics = t.metrics.lines().join("\n");
        if !metrics.is_empty() {
            metrics.push('\n');
        }
        format!(
            "adapter {} of {} training and {} development rows, in {}\n{metrics}{}\
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
    let id = curate::id_of(&client, task).await?;
    // Before its rows are made: how it begins follows from what the last training left.
    let alone = Alone::take(&config.state, id)?;
    let (Taught { task, set, upto }, start) = taught(config, &client, &id.to_string(), args).await?;
    let page: TaskPage = client.get(&format!("/v1/tasks/{}", task.id)).await?;
    let environment = environment(config)?;
    let how = How {
        minutes: args.minutes,
        resume: start == Start::Resumed,
        upto,
        options: &args.options,
        prompted: super::prompted(&page.understudies),
    };
    let (train, development, data_sha256) = (set.train, set.development, set.data_sha256.clone());
    let super::Adapter { name: adapter, metrics } =
        super::adapter(config, &environment, &alone, set, how).await?;
    drop(alone);
    let path = format!("/v1/tasks/{}/adopt", task.id);
    let acted: Acted = client.post(&path, &json!({ "adapter": adapter, "by": console::by() })).await?;
    let trained = Trained { task: task.name, adapter, train, development, seconds: 0, data_sha256, metrics };
    Ok((trained, acted))
}

/// The task's rows, and how its training begins: one that is resumed gets the rows
/// that it had, where they can still be made.
async fn taught(
    config: &Config,
    client: &Client,
    task: &str,
    args: &Specialise,
) -> Result<(Taught, Start), Failure> {
    let resume = args.resume;
    let kept = |id| resume.then(|| Kept::of(&config.state, id)).flatten();
    let bounds = |id| args.bounds(kept(id).as_ref(), config.specialise.class_cap);
    let first = match curate::for_training(client, task, &bounds).await {
        // Too little is left of what the checkpoint was made for.
        Err(Failure::Unavailable(_)) if resume => None,
        first => Some(first?),
    };
    let start = first.as_ref().map_or(Start::OtherRows, |t| {
        let checkpoint = kept::left_off(&config.state, t.task.id);
        Start::of(resume, checkpoint, kept(t.task.id).as_ref(), &t.set.data_sha256)
    });
    let taught = match first {
        Some(taught) if start != Start::OtherRows => taught,
        _ => {
            let anew = |id| Bounds { upto: None, only_to_serve: args.round, ..bounds(id) };
            curate::for_training(client, task, &anew).await?
        }
    };
    if let Some(said) = start.said() {
        tracing::warn!("{said}");
    }
    Ok((taught, start))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        asked: Specialise,
    }

    fn asked(words: &str) -> Result<Specialise, clap::Error> {
        Line::try_parse_from(words.split(' ')).map(|l| l.asked)
    }

    #[test]
    fn options_of_the_trainer_stand_after_two_dashes() {
        let it = asked("specialise triage --minutes 5 -- --rate 1e-4 --drop-long").unwrap();
        assert_eq!(it.options, ["--rate", "1e-4", "--drop-long"]);
        assert!(!it.resume && it.task.as_deref() == Some("triage"));
        assert!(asked("specialise triage --drop-long").is_err());
        assert!(asked("specialise --prepare -- --drop-long").is_err());
        assert!(asked("specialise --prepare").unwrap().options.is_empty());
    }

    #[test]
    fn classes_are_capped_when_asked_for_and_stay_so_when_a_training_goes_on() {
        let kept = Kept { upto: 70, data_sha256: String::new(), class_cap: Some(2.0) };
        let plain = asked("specialise triage").unwrap();
        assert_eq!(plain.bounds(None, None), Bounds::default());
        let capped_at = |upto, cap| Bounds { upto, class_cap: Some(cap), only_to_serve: false };
        assert_eq!(plain.bounds(None, Some(3.0)), capped_at(None, 3.0));
        assert_eq!(plain.bounds(Some(&kept), Some(3.0)), capped_at(Some(70), 2.0));
        let round = asked("specialise triage --round").unwrap();
        assert!(round.bounds(None, None).only_to_serve && !round.bounds(Some(&kept), None).only_to_serve);
        let capped = asked("specialise triage --class-cap 1.5").unwrap();
        assert_eq!(capped.bounds(None, Some(3.0)), capped_at(None, 1.5));
        assert_eq!(capped.bounds(Some(&kept), Some(3.0)), capped_at(Some(70), 1.5));
        for none in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let why = curate::check_class_cap(Some(none)).unwrap_err();
            assert!(matches!(why, Failure::Usage(_)) && why.to_string().contains("--class-cap"), "{why}");
        }
        assert!(curate::check_class_cap(None).is_ok() && curate::check_class_cap(Some(0.5)).is_ok());
        assert!(asked("specialise --prepare --class-cap 2").is_err());
    }

    #[test]
    fn help_names_every_option_that_passes_to_the_trainer() {
        let trainer = include_str!("../../../../deploy/specialise/understudy_specialise/options.py");
        let named = trainer.split("add_argument(").skip(1).filter_map(|rest| rest.split('"').nth(1));
        let command = Line::command();
        let help = command.get_arguments().find(|a| a.get_id() == "options").unwrap().get_help().unwrap();
        let help = help.to_string();
        let (passes, ours): (Vec<&str>, Vec<&str>) =
            named.partition(|name| options::check(&[(*name).to_owned()]).is_ok());
        for name in &passes {
            assert!(
                help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|w| w == *name),
                "{name}"
            );
        }
        assert!(passes.len() > 10 && ours.len() == 7, "{passes:?} {ours:?}");
    }
}
