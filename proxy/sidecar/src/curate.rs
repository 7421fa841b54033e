//! `understudy curate TASK`: a training set out of the running proxy's journal.
//!
//! The proxy owns the journal and gives the task's exchanges out page by page;
//! the work is done here, where it takes nothing from the agent's calls.

mod html;
mod table;

use std::collections::HashSet;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Value, json};
use understudy_call::Exchange;
use understudy_curriculum::{Curated, Refusal, Report, Rules, Split, curate, openai, parquet, parts};
use understudy_policy::TaskId;
use understudy_tasks::Task;

use crate::admin::client::{Client, segment};
use crate::admin::curriculum::{CurriculumPage, ExchangesPage};
use crate::config::Config;
use crate::console::{self, Out, runtime};
use crate::failure::{Exit, Failure};
use crate::specialise::{TrainingSet, can_cover};

/// Pages that may wait to be curated.
const AHEAD: usize = 2;

/// `understudy curate`
#[derive(Debug, Args)]
pub(crate) struct Curate {
    /// Its id, the beginning of it, or its name
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    task: String,
    /// Where the rows go; without it only the report is shown
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How they are written
    #[arg(long, value_enum, default_value_t = Format::Parts, requires = "out")]
    format: Format,
    /// Which of them; by default training and development rows, in OpenAI's format training rows
    #[arg(long, value_enum, requires = "out")]
    split: Option<Shown>,
    /// How the report is written
    #[arg(long, value_enum, default_value_t = Form::Text)]
    report: Form,
    /// Where the report goes; standard output without it
    #[arg(long, value_name = "FILE")]
    report_out: Option<PathBuf>,
    /// Keeps of a class at most so many times the median class's training rows
    #[arg(long, value_name = "TIMES")]
    class_cap: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The part alone, as JSON lines: what a training run reads
    Parts,
    /// OpenAI's fine-tuning format: whole chats, as JSON lines
    Openai,
    /// Columns
    Parquet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shown {
    Train,
    Development,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    Json,
    Html,
}

/// The report with what a reader wants to know beside it.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    report: &'a Report,
    /// Of the training and development rows.
    data_sha256: &'a str,
    personal_data: String,
    /// Why the rows cannot train an understudy.
    refused: Option<Value>,
}

impl<'a> Told<'a> {
    fn new(report: &'a Report, data_sha256: &'a str, refusal: Option<&Refusal>) -> Self {
        let refused = refusal.map(|r| json!({ "code": r.label(), "message": r.to_string() }));
        Self { report, data_sha256, personal_data: report.personal_data(), refused }
    }
}

/// Curates.
///
/// # Errors
/// When no proxy runs, it knows no such task, or the rows cannot train an
/// understudy: the report is shown all the same, and no rows are written.
pub(crate) fn main(config: &Config, args: &Curate, out: &Out) -> Result<Exit, Failure> {
    if args.format == Format::Parts && args.split.is_some() {
        return Err(Failure::Usage(
            "--split is for --format openai and parquet: a line of parts names its split".to_owned(),
        ));
    }
    check_class_cap(args.class_cap)?;
    for path in args.out.iter().chain(&args.report_out) {
        if path.exists() {
            return Err(Failure::Usage(format!("{} is there already and is left alone", path.display())));
        }
    }
    runtime()?.block_on(run(config, args, out))
}

async fn run(config: &Config, args: &Curate, out: &Out) -> Result<Exit, Failure> {
    let client = Client::find(&config.state)?;
    let source = Source::new(&client, &args.task).await?;
    let rules = Rules { class_cap: args.class_cap, ..source.rules() };
    let task = source.page.task.clone();
    let (mut curated, lost) = source.read(move |exchanges| Ok(curate(&task, exchanges, &rules))).await?;
    curated.report.redacted_share = source.page.redacted_share;
    if lost > 0 {
        curated.report.notes.push(format!("{lost} records of the journal are lost"));
    }
    let sum = parts::data_sha256(&curated).map_err(|e| Failure::Failed(e.to_string()))?;
    let refusal = curated.report.refusal();
    let told = Told::new(&curated.report, &sum, refusal.as_ref());
    let form = if out.json { Form::Json } else { args.report };
    let text = match form {
        Form::Text => table::report(&told),
        Form::Json => serde_json::to_string_pretty(&told).map_err(|e| Failure::Failed(e.to_string()))? + "\n",
        Form::Html => html::report(&told)?,
    };
    match &args.report_out {
        Some(path) => write_private(path, |sink| sink.write_all(text.as_bytes()))?,
        None => {
            console::say(&text)?;
        }
    }
    if let Some(refusal) = refusal {
        return Err(Failure::Unavailable(refusal.to_string()));
    }
    if let Some(path) = &args.out {
        source.note(&curated.report, &sum, args.format).await?;
        write(&source, curated, &sum, args, path).await?;
    }
    Ok(Exit::Done)
}

/// Looks whether a cap on classes is one.
///
/// # Errors
/// It is none.
pub(crate) fn check_class_cap(cap: Option<f64>) -> Result<(), Failure> {
    match cap.filter(|c| !(c.is_finite() && *c > 0.0)) {
        Some(cap) => Err(Failure::Usage(format!("--class-cap {cap} is not allowed: it is a number above 0"))),
        None => Ok(()),
    }
}

/// What a training set is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Bounds {
    /// The last record of the journal that is read; all of it without one.
    pub(crate) upto: Option<u64>,
    /// See [`Rules::class_cap`].
    pub(crate) class_cap: Option<f64>,
    /// Whether a set is refused of which too little can be answered to serve.
    pub(crate) only_to_serve: bool,
}

/// A task with its training set.
pub(crate) struct Taught {
    pub(crate) task: Task,
    pub(crate) set: TrainingSet,
    /// The last record of the journal that was read.
    pub(crate) upto: u64,
}

/// The task that a name or the beginning of an id means.
///
/// # Errors
/// There is none.
pub(crate) async fn id_of(client: &Client, task: &str) -> Result<TaskId, Failure> {
    Ok(Source::new(client, task).await?.page.task.id)
}

/// Curates a task for its training, within the bounds of that task; the audit log is
/// told.
///
/// # Errors
/// As [`main`].
pub(crate) async fn for_training(
    client: &Client,
    task: &str,
    bounds: &dyn Fn(TaskId) -> Bounds,
) -> Result<Taught, Failure> {
    let mut source = Source::new(client, task).await?;
    let Bounds { upto, class_cap, only_to_serve } = bounds(source.page.task.id);
    if let Some(upto) = upto {
        source.page.durable = source.page.durable.min(upto);
    }
    let rules = Rules { class_cap, ..source.rules() };
    let task = source.page.task.clone();
    let (curated, _) = source.read(move |exchanges| Ok(curate(&task, exchanges, &rules))).await?;
    let set = TrainingSet::of(&curated)?;
    match can_cover(&curated.report, source.page.least_coverage) {
        Err(why) if only_to_serve => return Err(why),
        // Whoever asks for it by hand may want the adapter for something else.
        Err(why) => tracing::warn!("the adapter will hardly serve: {why}"),
        Ok(()) => {}
    }
    source.note(&curated.report, &set.data_sha256, Format::Parts).await?;
    Ok(Taught { task: source.page.task.clone(), upto: source.page.durable, set })
}

/// Writes the rows.
async fn write(
    source: &Source<'_>,
    curated: Curated,
    sum: &str,
    args: &Curate,
    path: &Path,
) -> Result<(), Failure> {
    let wanted = |split: Split| match args.split {
        Some(Shown::Train) => split == Split::Train,
        Some(Shown::Development) => split == Split::Development,
        None => split == Split::Train || (split == Split::Development && args.format != Format::Openai),
    };
    match args.format {
        Format::Parts => write_private(path, |sink| parts::write(&curated, sum, sink)),
        Format::Parquet => write_private(path, |sink| parquet::write(&curated, sink, |r| wanted(r.split))),
        Format::Openai => {
            // Whole chats are not kept: the exchanges of the rows are read again.
            let rows: HashSet<u64> = curated.rows.iter().filter(|r| wanted(r.split)).map(|r| r.seq).collect();
            drop(curated);
            let path = path.to_path_buf();
            let (written, _) = source
                .read(move |exchanges| {
                    write_private(&path, |sink| {
                        let mut of_rows = exchanges.filter(|(seq, _)| rows.contains(seq));
                        of_rows.try_for_each(|(_, exchange)| openai::write_line(&exchange, sink))
                    })
                })
                .await?;
            Ok(written)
        }
    }
}

/// A task's exchanges in the running proxy.
struct Source<'a> {
    client: &'a Client,
    base: String,
    page: CurriculumPage,
}

impl<'a> Source<'a> {
    async fn new(client: &'a Client, task: &str) -> Result<Self, Failure> {
        let page: CurriculumPage = client.get(&format!("/v1/tasks/{}/curriculum", segment(task))).await?;
        let base = format!("/v1/tasks/{}", page.task.id);
        Ok(Self { client, base, page })
    }

    /// What may be learnt, and what may not.
    fn rules(&self) -> Rules {
        Rules {
            permitted: self.page.permitted.clone(),
            flagged: self.page.flagged.clone(),
            ..Rules::default()
        }
    }

    /// Reads all exchanges up to where the journal ended when this began, through
    /// `take` on a thread of its own; says how many records were lost, too.
    async fn read<T: Send + 'static>(
        &self,
        take: impl FnOnce(&mut dyn Iterator<Item = (u64, Exchange)>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<(T, u64), Failure> {
        let (pages, mut received) = tokio::sync::mpsc::channel::<ExchangesPage>(AHEAD);
        let until = self.page.durable;
        let taking = tokio::task::spawn_blocking(move || {
            let mut broken = None;
            let mut all = std::iter::from_fn(|| received.blocking_recv())
                .flat_map(|page| page.rows)
                .take_while(|(seq, _)| *seq <= until)
                .map_while(|(seq, row)| match serde_json::from_str(row.get()) {
                    Ok(exchange) => Some((seq, exchange)),
                    Err(error) => {
                        broken = Some(error);
                        None
                    }
                });
            let taken = take(&mut all);
            drop(all);
            match broken {
                Some(error) => Err(Failure::Admin(format!(
                    "something else than an exchange ({error}); is it another version?"
                ))),
                None => taken,
            }
        });
        let bar = console::bar(until, "{bar:32} {pos}/{len} records, {eta} left");
        let (mut from, mut lost) = (0, 0);
        loop {
            let body = json!({ "by": console::by(), "from": from });
            let page: ExchangesPage = self.client.post(&format!("{}/exchanges", self.base), &body).await?;
            lost += page.lost;
            let next = page.next.filter(|next| *next <= until);
            // Whoever takes them may have had enough: that is told below.
            let over = pages.send(page).await.is_err();
            match next {
                Some(next) if !over => from = next,
                _ => break,
            }
            bar.set_position(from);
        }
        drop(pages);
        bar.finish_and_clear();
        let taken = taking.await.map_err(|e| Failure::Failed(format!("the curation broke off: {e}")))??;
        Ok((taken, lost))
    }

    /// Tells the audit log what rows are about to be given out, and on whose word.
    async fn note(&self, report: &Report, sum: &str, format: Format) -> Result<(), Failure> {
        let body = json!({ "by": console::by(), "what": account(report, sum, format) });
        self.client.post::<()>(&format!("{}/curated", self.base), &body).await
    }
}

/// Which rows are given out, and on whose word, for the audit log.
pub(crate) fn account(report: &Report, sum: &str, format: Format) -> Value {
    let dropped: serde_json::Map<String, Value> =
        report.dropped.iter().map(|d| (d.reason.label().to_owned(), d.count.into())).collect();
    json!({
        "data_sha256": sum,
        "format": format.to_possible_value().map(|v| v.get_name().to_owned()),
        "exchanges": report.exchanges,
        "splits": report.splits,
        "dropped": dropped,
        "providers": report.providers,
    })
}

/// Writes a new file that only its owner reads; what could not be written whole
/// is taken away again.
fn write_private(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<std::fs::File>) -> io::Result<()>,
) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let blame = |source| Failure::File { path: path.to_path_buf(), source };
    let file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(blame)?;
    let mut sink = BufWriter::new(file);
    write(&mut sink).and_then(|()| sink.flush()).map_err(|error| {
        let _ = std::fs::remove_file(path);
        blame(error)
    })
}
