//! `understudy journal`: asked of the running proxy, which owns the journal.

use std::io::{IsTerminal as _, Write as _};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Subcommand;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use understudy_call::ExchangeId;

use crate::admin::client::Client;
use crate::admin::flags::{Flag, Flagged, Flagging};
use crate::admin::pages::{ExportPage, JournalPage, TAIL};
use crate::config::Config;
use crate::console::{self, Out, runtime};
use crate::failure::{Exit, Failure};
use crate::tables;

/// `understudy journal`
#[derive(Debug, Subcommand)]
pub(crate) enum Journal {
    /// Volumes, bytes, records, drops
    Stats,
    /// The latest records, without content
    Tail {
        /// How many, 10000 at most
        #[arg(long, short = 'n', default_value = "20")]
        last: NonZeroUsize,
    },
    /// Leaves exchanges out of every training set; without any it lists those that are
    Flag {
        /// Their ids, as `journal tail` and `export` show them
        #[arg(value_parser = exchange_id)]
        exchanges: Vec<ExchangeId>,
        /// Why, for whoever asks later
        #[arg(long, value_name = "TEXT", requires = "exchanges")]
        why: Option<String>,
        /// Takes their flags away
        #[arg(long, requires = "exchanges")]
        away: bool,
    },
    /// Writes exchanges as JSON lines, content included: an auditor's act, and audited
    Export {
        /// Where to; standard output without it
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// The first sequence number
        #[arg(long, default_value_t = 0)]
        from: u64,
    },
}

/// Exchanges asked for at once.
const PAGE: usize = 200;

fn exchange_id(text: &str) -> Result<ExchangeId, String> {
    text.parse().map_err(|_| "an exchange's id has 32 hexadecimal digits".to_owned())
}

/// Does it.
///
/// # Errors
/// When no proxy runs, or it refuses.
pub(crate) fn main(config: &Config, what: Journal, out: &Out) -> Result<Exit, Failure> {
    if let Journal::Tail { last } = &what
        && last.get() > TAIL
    {
        return Err(Failure::Usage(format!(
            "--last {last} is not allowed: {TAIL} at most; `journal export --from` reads all there is"
        )));
    }
    runtime()?.block_on(async {
        let client = Client::find(&config.state)?;
        match what {
            Journal::Stats => {
                out.show(&client.get::<JournalPage>("/v1/journal/stats").await?, tables::journal)
            }
            Journal::Tail { last } => {
                let rows: Vec<Value> = client.get(&format!("/v1/journal/tail?last={last}")).await?;
                out.show(&rows, |rows| tail(rows))
            }
            Journal::Export { output, from } => export(&client, output.as_deref(), from, out).await,
            Journal::Flag { exchanges, .. } if exchanges.is_empty() => {
                out.show(&client.get::<Vec<Flag>>("/v1/flags").await?, |all| flags(all))
            }
            Journal::Flag { exchanges, why, away } => {
                let (by, why) = (console::by(), why.unwrap_or_default());
                let body = json!(Flagging { exchanges, by, why, away });
                let done: Flagged = client.post("/v1/flags", &body).await?;
                out.show(&done, |d| {
                    format!("{} exchanges are flagged: no training set has them\n", d.flagged)
                })
            }
        }
    })
}

async fn export(
    client: &Client,
    output: Option<&std::path::Path>,
    mut from: u64,
    out: &Out,
) -> Result<Exit, Failure> {
    let blame = |source| Failure::File {
        path: output.map_or_else(|| "standard output".into(), std::path::Path::to_path_buf),
        source,
    };
    let mut sink: Box<dyn std::io::Write> = match output {
        Some(path) => {
            use std::os::unix::fs::OpenOptionsExt as _;
            let file =
                std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(
                    |error| match error.kind() {
                        std::io::ErrorKind::AlreadyExists => Failure::Usage(format!(
                            "{} is there already and is left alone; name another file",
                            path.display()
                        )),
                        _ => blame(error),
                    },
                )?;
            Box::new(std::io::BufWriter::new(file))
        }
        None => Box::new(std::io::stdout().lock()),
    };
    let bar = progress(client, output, from, out).await;
    let by = console::by();
    let (mut written, mut lost, began) = (0usize, 0, from);
    loop {
        let body = json!({ "from": from, "limit": PAGE, "by": by });
        let page: ExportPage = match client.post("/v1/journal/export", &body).await {
            Ok(page) => page,
            Err(error) if written > 0 => return Err(cut(&error, written)),
            Err(error) => {
                // It was made here, and while it stands the next try is refused.
                if let Some(path) = output {
                    let _ = std::fs::remove_file(path);
                }
                return Err(error);
            }
        };
        lost += page.lost;
        written += page.rows.len();
        for row in &page.rows {
            if let Err(error) = writeln!(sink, "{row}") {
                return if error.kind() == std::io::ErrorKind::BrokenPipe {
                    Ok(Exit::Done)
                } else {
                    Err(blame(error))
                };
            }
        }
        match page.next {
            Some(next) => from = next,
            None => break,
        }
        bar.set_position(from.saturating_sub(began));
    }
    bar.finish_and_clear();
    sink.flush().map_err(blame)?;
    whole(lost)
}

/// How far the export is, in records of the journal. Where the rows themselves go to
/// the terminal, they show it.
async fn progress(client: &Client, output: Option<&std::path::Path>, from: u64, out: &Out) -> ProgressBar {
    if output.is_none() && std::io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let durable = client.get::<JournalPage>("/v1/journal/stats").await.map_or(from, |page| page.durable);
    out.bar(durable.saturating_sub(from), "{bar:32} {pos}/{len} records, {eta} left")
}

/// The export broke off.
fn cut(error: &Failure, written: usize) -> Failure {
    Failure::Failed(format!("{error}; the export is cut off after {written} exchanges"))
}

/// Done, unless records are missing.
fn whole(lost: u64) -> Result<Exit, Failure> {
    match lost {
        0 => Ok(Exit::Done),
        n => Err(Failure::Failed(format!(
            "the export is not whole: {n} records of the journal are lost; what could be read was written"
        ))),
    }
}

fn flags(all: &[Flag]) -> String {
    if all.is_empty() {
        return "no exchange is flagged\n".to_owned();
    }
    let mut t = tables::table(&["exchange", "at", "by", "why"]);
    for flag in all {
        t.add_row(vec![flag.exchange.to_string(), flag.at.clone(), flag.by.clone(), flag.why.clone()]);
    }
    format!("{t}\n")
}

fn tail(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "nothing is recorded yet\n".to_owned();
    }
    let mut t =
        tables::table(&["at", "record", "exchange", "about", "lane", "answered by", "status", "took"]);
    for row in rows {
        let text = |pointer: &str| match row.pointer(pointer) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(s)) => s.clone(),
            Some(Value::Object(o)) => {
                o.values().next().and_then(Value::as_str).unwrap_or_default().to_owned()
            }
            Some(other) => other.to_string(),
        };
        let about = ["/about", "/meta/provider", "/trial/understudy", "/decision/why", "/entry/understudy"]
            .iter()
            .map(|p| text(p))
            .find(|s| !s.is_empty())
            .unwrap_or_default();
        let ms = row
            .pointer("/meta/timings/total")
            .and_then(|d| Some(d.get("secs")?.as_f64()? * 1e3 + d.get("nanos")?.as_f64()? / 1e6));
        t.add_row(vec![
            tables::right(text("/seq")),
            comfy_table::Cell::new(text("/kind")),
            comfy_table::Cell::new(text("/id")),
            comfy_table::Cell::new(about),
            comfy_table::Cell::new(text("/meta/lane")),
            comfy_table::Cell::new(text("/meta/answered_by")),
            tables::right(text("/meta/status")),
            tables::right(tables::millis(ms)),
        ]);
    }
    format!("{t}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_that_lacks_records_fails_and_says_how_many() {
        assert_eq!(whole(0).unwrap(), Exit::Done);
        let failure = whole(7).unwrap_err();
        assert_eq!(failure.exit(), Exit::Failed);
        assert!(failure.to_string().contains("7 records"), "{failure}");
        let failure = cut(&Failure::Admin("no".to_owned()), 200);
        assert_eq!(failure.exit(), Exit::Failed);
        assert!(failure.to_string().contains("cut off after 200"), "{failure}");
    }
}
