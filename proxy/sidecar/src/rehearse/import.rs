//! Recorded calls into the rehearsal's journal: those that it was not given yet. How
//! many it has is no proof that they are these, so what it was given is kept as a
//! hash beside it, and so is how much of that has come in: what the journal still has
//! says too little, once it has lost some.

#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use understudy_call::Exchange;
use understudy_capture::{Journal, Record};
use understudy_rehearsal::logs::{Log, LoggedCall};
use understudy_tasks::{Conversations, HashKey};

use super::Caller;
use super::approval::{Earlier, Terms};
use crate::failure::Failure;
use crate::state;

/// Tells what the rehearsal in its folder was given, and so that the folder is one.
pub(super) const GIVEN: &str = "given.json";

/// Exchanges that are appended together.
const GROUP: usize = 512;

/// Of an exchange's number, what says which of the log's calls it is; above it stands when
/// it was imported.
const PLACE: u64 = 0xffff_ffff;

/// The calls that a rehearsal's journal was given, or is about to be given.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Given {
    /// How many.
    calls: usize,
    /// BLAKE3 over them in their order, and over whose they are.
    hash: String,
    /// How many of them are in the journal, or were; `None` from before this was kept.
    #[serde(default)]
    imported: Option<usize>,
    /// On which terms they were judged.
    #[serde(default)]
    pub(super) terms: Terms,
    /// Whether this was kept by an earlier run.
    #[serde(skip)]
    is_kept: bool,
}

/// Keeps that a run starts when so many calls have been judged, and says how many of them
/// were so on other terms.
///
/// # Errors
/// It cannot be kept.
pub(super) fn start(dir: &Path, approved: bool, judged: u64) -> Result<Earlier, Failure> {
    let Some(mut given) = Given::kept(dir) else { return Ok(Earlier::default()) };
    given.terms.start(approved, judged);
    given.keep(dir)?;
    Ok(given.terms.others(approved))
}

impl Given {
    /// What the rehearsal in this folder was given, where it says so.
    pub(super) fn kept(dir: &Path) -> Option<Self> {
        let given: Self = serde_json::from_slice(&std::fs::read(dir.join(GIVEN)).ok()?).ok()?;
        Some(Self { is_kept: true, ..given })
    }

    /// Kept once it is sure that the rehearsal begins: one that was refused binds nobody.
    pub(super) fn keep(&self, dir: &Path) -> Result<(), Failure> {
        let text = serde_json::to_vec(self).map_err(|e| Failure::Failed(e.to_string()))?;
        state::write_private(&dir.join(GIVEN), &text)
    }
}

/// What a rehearsal is given now. Refuses calls whose beginning is not what it was given
/// before.
///
/// # Errors
/// That they differ, with what to do about it.
pub(super) fn begins_the_same(dir: &Path, log: &Log, caller: &Caller) -> Result<Given, Failure> {
    let failed = |e: serde_json::Error| Failure::Failed(e.to_string());
    let before = Given::kept(dir);
    let known = before.as_ref().map_or(0, |b| b.calls);
    let imported = before.as_ref().and_then(|b| b.imported);
    let terms = before.as_ref().map_or_else(Terms::default, |b| b.terms);
    let is_kept = before.is_some();
    let (beginning, whole) = hashes(&log.calls, known, caller).map_err(failed)?;
    if before.is_some_and(|b| beginning.as_ref() != Some(&b.hash)) {
        return Err(Failure::Usage(format!(
            "what was rehearsed in {} was not the beginning of these calls: a file was changed, or --provider or \
             --credential-env; --journal FOLDER keeps both, and --fresh starts over where the folder is a \
             rehearsal's alone",
            dir.display()
        )));
    }
    Ok(Given { calls: log.calls.len(), hash: whole, imported, terms, is_kept })
}

/// Refuses a journal with something in it that no run of this rehearsal wrote: a proxy's,
/// or another rehearsal's. Each run keeps what it is given before it appends the first
/// call, so where nothing is kept only the calls' own ids can tell that they are its.
///
/// # Errors
/// It is another's, with what to do about it.
pub(super) fn is_its_own(journal: &Journal, dir: &Path, given: &Given, log: &Log) -> Result<(), Failure> {
    if given.is_kept || journal.durable_seq() == 0 {
        return Ok(());
    }
    let key = id_key();
    let mut cursor = journal.cursor(0);
    while let Some((_, record)) = cursor.next().map_err(|e| Failure::Failed(e.to_string()))? {
        if let Record::Exchange(exchange) = record
            && place_of(&exchange, log, &key).is_some()
        {
            return Ok(());
        }
    }
    Err(Failure::Usage(format!(
        "the journal in {} is not this rehearsal's; name another folder",
        dir.display()
    )))
}

/// The hash of the first so many calls, if there are as many, and of all.
fn hashes(
    calls: &[LoggedCall],
    first: usize,
    caller: &Caller,
) -> Result<(Option<String>, String), serde_json::Error> {
    let mut hash = blake3::Hasher::new();
    serde_json::to_writer(&mut hash, &(&caller.provider, &caller.credential))?;
    let mut beginning = None;
    for (i, call) in calls.iter().enumerate() {
        if i == first {
            beginning = Some(hash.finalize());
        }
        // All that decides the exchange; marks only choose the calls.
        let LoggedCall { request, reply, at_ms, took, conversation, status, id, stand_ins, marks: _ } = call;
        serde_json::to_writer(&mut hash, &(request, reply, at_ms, took, conversation, status, id))?;
        // Of a log that is no journal's the hash stays as it was.
        if !stand_ins.is_none() {
            serde_json::to_writer(&mut hash, stand_ins)?;
        }
    }
    let whole = hash.finalize();
    let beginning = beginning.or((first == calls.len()).then_some(whole));
    Ok((beginning.map(|b| b.to_hex().to_string()), whole.to_hex().to_string()))
}

/// The key that the ids of exchanges are made with: of no installation, so that what a
/// rehearsal wrote is known by them whoever reads it.
fn id_key() -> HashKey {
    HashKey::new([0; 32])
}

/// Which of the log's calls an exchange was made of: its id says so. Of none, where a
/// proxy recorded it that went on from this journal.
fn place_of(exchange: &Exchange, log: &Log, key: &HashKey) -> Option<usize> {
    let number = exchange.id.0.first_chunk::<8>().map(|order| u64::from_be_bytes(*order))?;
    let place = usize::try_from(number & PLACE).ok()?;
    let call = log.calls.get(place)?;
    (Caller::id(number, call, key) == exchange.id).then_some(place)
}

/// Appends what the journal was not given yet, and keeps beside it in `dir` how far that
/// came; returns how many calls it has then. Its writer learns `conversations` from what
/// it is given; from what it was given they are learnt here, so that calls belong where
/// they would in one run.
///
/// # Errors
/// What the journal says, or that the number cannot be kept.
pub(super) fn import(
    journal: &Journal,
    (dir, mut given): (&Path, Given),
    log: &Log,
    caller: &Caller,
    conversations: &Conversations,
) -> Result<u64, Failure> {
    let failed = |e: &dyn std::fmt::Display| Failure::Failed(e.to_string());
    // The writer's fingerprint names form and conversation again, so this key only has
    // to make ids, and what is learnt here of openings is forgotten.
    let ids = Conversations::new(id_key());
    let mut readable = 0usize;
    let mut last: Option<usize> = None;
    let mut cursor = journal.cursor(0);
    while let Some((_, record)) = cursor.next().map_err(|e| failed(&e))? {
        if let Record::Exchange(exchange) = record {
            readable += 1;
            last = last.max(place_of(&exchange, log, ids.key()).map(|place| place + 1));
        }
    }
    // The journal is ahead of the number where a kill came between an append and the
    // number's writing, and behind it where what came last is lost: the greater is right.
    // Both are silent only in a folder from before either was kept.
    let there = match given.imported.max(last) {
        // Another journal than the number is about: that one was removed.
        _ if journal.durable_seq() == 0 => 0,
        Some(there) => there,
        None => readable,
    };
    let there = there.min(log.calls.len());
    if readable < there {
        tracing::warn!(
            calls = there - readable,
            "calls that were imported are no longer in this rehearsal's journal, and are not rehearsed; --fresh \
             reads all of them again"
        );
    }
    given.imported = Some(there);
    given.keep(dir)?;
    for call in log.calls.iter().take(there) {
        caller.belongs(call, conversations);
    }
    let rest = log.calls.get(there..).unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    for (group, calls) in rest.chunks(GROUP).enumerate() {
        let first = there + group * GROUP;
        let exchanges = calls
            .iter()
            .enumerate()
            .map(|(i, call)| caller.exchange((first + i) as u64 + (now << PLACE.count_ones()), call, &ids))
            .collect();
        journal.append_exchanges(exchanges).map_err(|e| failed(&e))?;
        // After it, and so never too great.
        given.imported = Some(first + calls.len());
        given.keep(dir)?;
    }
    Ok((readable + rest.len()) as u64)
}
