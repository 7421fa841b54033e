//! Recorded calls into the rehearsal's journal: those that it does not have yet. How
//! many it has is no proof that they are these, so what it was given is kept as a
//! hash beside it.

#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use understudy_capture::{Journal, Record};
use understudy_rehearsal::logs::{Log, LoggedCall};
use understudy_tasks::{Conversations, HashKey};

use super::Caller;
use crate::failure::Failure;
use crate::state;

/// Tells what the rehearsal in its folder was given, and so that the folder is one.
pub(super) const GIVEN: &str = "given.json";

/// Exchanges that are appended together.
const GROUP: usize = 512;

/// The calls that a rehearsal's journal was given, or is about to be given.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Given {
    /// How many.
    calls: usize,
    /// BLAKE3 over them in their order, and over whose they are.
    hash: String,
}

impl Given {
    /// Kept once it is sure that the rehearsal begins: one that was refused binds nobody.
    pub(super) fn keep(&self, dir: &Path) -> Result<(), Failure> {
        let text = serde_json::to_vec(self).map_err(|e| Failure::Failed(e.to_string()))?;
        state::write_private(&dir.join(GIVEN), &text)
    }
}

/// What a rehearsal is given now. Refuses calls whose beginning is not what it was given
/// before; a folder from before this was kept is taken on trust.
///
/// # Errors
/// That they differ, with what to do about it.
pub(super) fn begins_the_same(dir: &Path, log: &Log, caller: &Caller) -> Result<Given, Failure> {
    let failed = |e: serde_json::Error| Failure::Failed(e.to_string());
    let file = dir.join(GIVEN);
    let before: Option<Given> = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let known = before.as_ref().map_or(0, |b| b.calls);
    let (beginning, whole) = hashes(&log.calls, known, caller).map_err(failed)?;
    if before.is_some_and(|b| beginning.as_ref() != Some(&b.hash)) {
        return Err(Failure::Usage(format!(
            "what was rehearsed in {} was not the beginning of these calls: a file was changed, or --provider or \
             --credential-env; --journal FOLDER keeps both, and --fresh starts over where the folder is a \
             rehearsal's alone",
            dir.display()
        )));
    }
    Ok(Given { calls: log.calls.len(), hash: whole })
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
        let LoggedCall { request, reply, at_ms, took, conversation, status, id, marks: _ } = call;
        serde_json::to_writer(&mut hash, &(request, reply, at_ms, took, conversation, status, id))?;
    }
    let whole = hash.finalize();
    let beginning = beginning.or((first == calls.len()).then_some(whole));
    Ok((beginning.map(|b| b.to_hex().to_string()), whole.to_hex().to_string()))
}

/// Appends what the journal does not have yet; returns how many it has then. Its writer
/// learns `conversations` from what it is given; from what it has they are learnt here, so
/// that calls belong where they would in one run.
///
/// # Errors
/// What the journal says.
pub(super) fn import(
    journal: &Journal,
    log: &Log,
    caller: &Caller,
    conversations: &Conversations,
) -> Result<u64, Failure> {
    let failed = |e: &dyn std::fmt::Display| Failure::Failed(e.to_string());
    let mut there = 0usize;
    let mut cursor = journal.cursor(0);
    while let Some((_, record)) = cursor.next().map_err(|e| failed(&e))? {
        there += usize::from(matches!(record, Record::Exchange(_)));
    }
    for call in log.calls.iter().take(there) {
        caller.belongs(call, conversations);
    }
    // The writer's fingerprint names form and conversation again, so this key only has
    // to make ids, and what is learnt here of openings is forgotten.
    let ids = Conversations::new(HashKey::new([0; 32]));
    let rest = log.calls.get(there.min(log.calls.len())..).unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    for (group, calls) in rest.chunks(GROUP).enumerate() {
        let exchanges = calls
            .iter()
            .enumerate()
            .map(|(i, call)| caller.exchange((there + group * GROUP + i) as u64 + (now << 32), call, &ids))
            .collect();
        journal.append_exchanges(exchanges).map_err(|e| failed(&e))?;
    }
    Ok(log.calls.len().max(there) as u64)
}
