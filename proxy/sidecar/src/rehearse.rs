//! `understudy rehearse FILES…`: a verdict before installation.
//!
//! Recorded calls go into a sealed journal of their own and through the very
//! loop that live calls go through; the recorded reply is the examiner. Calls
//! with a mark that `--hold-out` names are kept away from all that: when the
//! rest has been rehearsed everything is frozen, and they measure it.

mod approval;
mod args;
mod caller;
mod clear;
mod engine;
mod held_out;
mod history;
mod import;
mod report;
mod specialised;
mod verdict;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use understudy_capture::{FileKey, Journal, JournalConfig, JournalError, KeyVault, Record};
use understudy_policy::{Approval, Stage};
use understudy_rehearsal::logs::{self, Halves, Log};
use understudy_rehearsal::{Mode, Outlets, Pace, Rehearsal};
use understudy_tasks::{Conversations, HashKey};

pub(crate) use args::Rehearse;
use caller::Caller;

use crate::config::Config;
use crate::console::{self, Out};
use crate::failure::{Exit, Failure, with_sources};
use crate::serve::{casting, recording, worker};
use crate::{state, telemetry};

/// Lines that could not be read and are named in the log; the others are counted.
const NAMED: usize = 10;

/// Rehearses recorded calls. What can be refused is refused before a log is read, which
/// may be long, and before anything of an earlier rehearsal goes.
///
/// # Errors
/// When the files cannot be read or the models are missing.
pub(crate) fn main(mut config: Config, args: Rehearse, out: &Out) -> Result<Exit, Failure> {
    telemetry::logs(&config.telemetry)?;
    specialised::permit(&config, &args)?;
    args.check(&config)?;
    engine::permit(&config)?;
    let secret = Caller::secret(&args)?;
    if args.fresh {
        clear::permit(&folder(&config, &args), &config)?;
    }
    // Recorded histories are the provider's own, so a task of several turns can
    // open its canary here and no more.
    for policy in std::iter::once(&mut config.policy).chain(config.tasks.values_mut()) {
        policy.multi_turn_max_stage = Stage::Canary { step: 0 };
        if args.approve {
            policy.approval = Approval::Never;
        }
    }
    let (log, held) = read(&args)?;
    for broken in log.broken.iter().take(NAMED) {
        tracing::warn!(file = %broken.path.display(), line = broken.line, why = broken.why, "a line was not read");
    }
    if log.halves != Halves::default() {
        tracing::warn!("{}", halves(log.halves));
    }
    if log.calls.is_empty() {
        let chosen = !(args.only.is_empty() && args.hold_out.is_empty());
        return Err(Failure::Usage(nothing_left(&log, chosen)));
    }
    if held.calls.is_empty() && !args.hold_out.is_empty() {
        return Err(Failure::Usage("no recorded call has the mark that --hold-out names".to_owned()));
    }
    console::runtime()?.block_on(rehearse(config, args, &secret, (log, held), out))
}

/// The calls to rehearse, and those that are held out.
fn read(args: &Rehearse) -> Result<(Log, Log), Failure> {
    type Marks = BTreeMap<String, String>;
    let has = |marks: &Marks, (key, value): &(String, String)| marks.get(key) == Some(value);
    let only = |marks: &Marks| args.only.iter().all(|mark| has(marks, mark));
    let held = |marks: &Marks| args.hold_out.iter().any(|mark| has(marks, mark));
    logs::read_apart(&args.files, &only, &held).map_err(|e| Failure::Usage(e.to_string()))
}

/// Why no call is left, of those that a person chose or of all.
fn nothing_left(log: &Log, chosen: bool) -> String {
    let mut why = Vec::new();
    if let Some(first) = log.broken.first() {
        why.push(format!(
            "{} lines could not be read, the first of them line {} of {}: {}",
            log.broken.len(),
            first.line,
            first.path.display(),
            first.why
        ));
    }
    if log.halves != Halves::default() {
        why.push(format!("{}: name the batch's input and its output file together", halves(log.halves)));
    }
    if chosen {
        why.push("look at --only and --hold-out".to_owned());
    }
    if why.is_empty() {
        why.push("the files hold no reply of a model".to_owned());
    }
    format!("no recorded call is left to rehearse: {}", why.join("; "))
}

/// Calls of a batch that are only half there, in words.
fn halves(halves: Halves) -> String {
    format!(
        "{} requests of a batch are without their response, {} responses without their request",
        halves.unanswered, halves.unasked
    )
}

async fn rehearse(
    config: Config,
    args: Rehearse,
    secret: &str,
    (log, mut held): (Log, Log),
    out: &Out,
) -> Result<Exit, Failure> {
    let dir = folder(&config, &args);
    state::make(&config.state)?;
    state::make(&dir)?;
    let own = dir.join("journal");
    let mut journals = vec![config.capture.journal.dir.as_path()];
    // With --fresh the rehearsal's own goes, whatever it was sealed with.
    journals.extend((!args.fresh).then_some(own.as_path()));
    let key =
        FileKey::for_journals(&config.key_file, &journals).map_err(|e| Failure::Failed(with_sources(&e)))?;
    let key = Arc::new(key);
    let hash_key = HashKey::new(key.hash_key());
    let caller = Caller::of(&args.provider, secret, &hash_key);
    let conversations = Conversations::new(hash_key.clone());
    let begin = || {
        let given = import::begins_the_same(&dir, &log, &caller)?;
        let journal = open(&config, &dir, Arc::<FileKey>::clone(&key), &conversations)?;
        import::is_its_own(&journal, &dir, &given, &log)?;
        Ok::<_, Failure>((given, journal))
    };
    // What an earlier rehearsal made goes last, when all stands that the new one needs.
    let begun = if args.fresh { None } else { Some(begin()?) };

    let (engine, socket) = engine::engine(&config, &dir).await?;
    // What remotes may spend in a day they may spend once, whoever asks them.
    let cast = match socket {
        Some(socket) => casting::cast(&config, &config.state, Some(socket))?,
        None => casting::without_an_engine(&config, &config.state),
    };
    let (given, journal) = match begun {
        Some(begun) => begun,
        None => {
            clear::clear(&dir, &config)?;
            begin()?
        }
    };
    let imported = import::import(&journal, (dir.as_path(), given), &log, &caller, &conversations)?;
    let mut rehearsal = Rehearsal::new(
        worker::settings(&config, Mode::Recorded),
        journal.clone(),
        cast,
        hash_key,
        worker::book(&config),
        Pace::free(),
        Outlets::default(),
    );
    let from = rehearsal.restore().await.map_err(|e| Failure::Failed(e.to_string()))?;
    let judged: u64 = rehearsal.reports().iter().map(|r| r.tally.calls).sum();
    let earlier = import::start(&dir, approval::is_given(&config), judged)?;
    let began = Instant::now();
    let plan = specialised::Plan::of(&config, &args, imported);
    let mut history = history::History::over(imported);
    let budget = Duration::from_secs_f64(args.minutes * 60.0);
    let rest = run(&mut rehearsal, &journal, (from, imported), budget, plan, &mut history).await?;
    let took = began.elapsed();
    // Whoever interrupts wants the end, and what is measured is of all train calls.
    let measured = if held.calls.is_empty() || rest.interrupted {
        None
    } else {
        held_out::keep_groups(&mut held, args.only.iter().chain(&args.hold_out));
        Some(held_out::measure(&mut rehearsal, &held, &caller, &conversations, budget).await?)
    };
    drop(engine);
    journal.close();
    let verdict = verdict::Verdict::of(&rehearsal, &config, &log, rest, took, args.approve, measured);
    let verdict = verdict::Verdict { history: history.looks(), earlier, ..verdict };
    // Shown whatever becomes of the report: it took minutes.
    let shown = out.show(&verdict, verdict::Verdict::table);
    if let Some(path) = &args.report {
        let text = serde_json::to_string_pretty(&verdict).map_err(|e| Failure::Failed(e.to_string()))?;
        report::write(path, &text)?;
    }
    shown
}

/// The rehearsal's own journal, opened; its writer learns `conversations`.
///
/// # Errors
/// Another process has it, or what the system says.
fn open(
    config: &Config,
    dir: &Path,
    key: Arc<FileKey>,
    conversations: &Conversations,
) -> Result<Journal, Failure> {
    Journal::open(journal_config(config, dir), key, recording::hooks(conversations)).map_err(|e| match e {
        JournalError::Owned { .. } => Failure::Temporary(with_sources(&e)),
        e => Failure::Failed(with_sources(&e)),
    })
}

/// What a run did not come to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rest {
    /// Calls left for the next one.
    calls: u64,
    /// Whether Ctrl-C ended it.
    interrupted: bool,
}

/// Goes through the journal from `from` on, which holds so many calls in all, until
/// its end, the end of the time, or Ctrl-C.
async fn run(
    rehearsal: &mut Rehearsal,
    journal: &Journal,
    (from, calls): (u64, u64),
    budget: Duration,
    mut plan: Option<specialised::Plan>,
    history: &mut history::History,
) -> Result<Rest, Failure> {
    let failed = |e: &dyn std::fmt::Display| Failure::Failed(e.to_string());
    let bar = console::bar(calls, "{bar:32} {pos}/{len} calls, {elapsed} so far, {eta} left {msg}");
    let mut told = std::pin::pin!(crate::serve::told_to_end()?);
    let mut cursor = journal.cursor(0);
    let mut done = 0;
    let (mut begun, mut interrupted, mut late) = (false, false, false);
    while let Some((seq, record)) = cursor.next().map_err(|e| failed(&e))? {
        if !matches!(record, Record::Exchange(_)) {
            continue;
        }
        if seq < from {
            done += 1;
            bar.set_position(done);
            continue;
        }
        if !begun {
            begun = true;
            rehearsal.pace().end_within(budget, calls.saturating_sub(done));
        }
        if let Some(due) = plan.take_if(|p| p.is_due(done, || rehearsal.reports())) {
            let began = Instant::now();
            tokio::select! {
                biased;
                () = &mut told => { interrupted = true; break }
                trained = due.carry_out(rehearsal, journal) => trained?,
            }
            rehearsal.pace().stood_still(began.elapsed());
        }
        if rehearsal.pace().is_over() {
            late = true;
            break;
        }
        tokio::select! {
            biased;
            () = &mut told => { interrupted = true; break }
            step = rehearsal.take(seq, record) => step.map_err(|e| failed(&e))?,
        }
        rehearsal.pace().one_done();
        done += 1;
        bar.set_position(done);
        history.pass(done, || rehearsal.reports());
    }
    if !interrupted && !late {
        rehearsal.end_of_file().await.map_err(|e| failed(&e))?;
    } else {
        rehearsal.flush().await.map_err(|e| failed(&e))?;
    }
    history.end(done, &rehearsal.reports());
    bar.finish_and_clear();
    Ok(Rest { calls: calls.saturating_sub(done), interrupted })
}

/// Where this rehearsal's journal is: named after the files, so that the same
/// command goes on where it was interrupted.
fn folder(config: &Config, args: &Rehearse) -> PathBuf {
    args.journal.clone().unwrap_or_else(|| {
        let mut h = blake3::Hasher::new();
        for file in &args.files {
            let whole = std::fs::canonicalize(file).unwrap_or_else(|_| file.clone());
            h.update(whole.as_os_str().as_encoded_bytes());
            h.update(&[0]);
        }
        for (k, v) in args.only.iter().chain(&args.hold_out) {
            h.update(k.as_bytes());
            h.update(v.as_bytes());
        }
        let name: String = h.finalize().to_hex().chars().take(12).collect();
        clear::rehearsals(config).join(name)
    })
}

/// The rehearsal's own journal. `capture.keep_bytes` is a proxy's, which has read its
/// oldest calls long before they go: here all are written before the first is read, so the
/// oldest would go unread, and nobody would know.
fn journal_config(config: &Config, dir: &Path) -> JournalConfig {
    let dir = dir.join("journal");
    JournalConfig { dir, nice: 0, keep_bytes: u64::MAX, ..config.capture.journal.clone() }
}

#[cfg(test)]
mod tests;
