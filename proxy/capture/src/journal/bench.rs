//! What a call costs the writer, step by step, in processor time: the machine may
//! be busy with something else meanwhile, and a step's share shows what to change.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use understudy_call::Exchange;

use super::intake::{Intake, Printed};
use crate::redact::Redactor;
use crate::stats::Counters;
use crate::volume::{Pack, Shelf, Value};
use crate::{Captured, Hooks, JournalError, KeyVault, Record};

/// Calls that go through a step together, so that reading the clock costs nothing.
/// They share a commit, and so packs, as about as many do under load.
const TOGETHER: usize = 128;

/// One step's cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// What is done.
    pub name: &'static str,
    /// Processor time a call.
    pub cpu: Duration,
    /// Bytes a call after it; 0 where that says nothing.
    pub bytes: usize,
}

/// Takes these calls through the writer's steps, `rounds` times, into a volume of
/// its own under `dir`. `cpu` is the clock of this thread's processor time.
///
/// # Errors
/// When the folder cannot be written.
pub fn steps(
    dir: &Path,
    vault: &Arc<dyn KeyVault>,
    hooks: &Hooks,
    calls: &[Captured],
    rounds: usize,
    cpu: &dyn Fn() -> Duration,
) -> Result<Vec<Step>, JournalError> {
    const NAMES: [&str; 7] = ["read", "fingerprint", "redact", "encode", "seal", "put", "commit"];
    let counters = Arc::new(Counters::default());
    let intake = Intake {
        hooks: hooks.clone(),
        redactor: Some(Redactor::new(vault.hash_key())),
        body_limit: usize::MAX,
    };
    let shelf = Shelf::open(dir, 0, Arc::clone(vault), Arc::clone(&counters))?;
    let volume = shelf.begin(1)?;
    let mut pack = Pack::new()?;
    let mut spent = [Duration::ZERO; NAMES.len()];
    let (mut encoded, mut stored, mut seq) = (0, 0, 0);
    for _ in 0..rounds {
        for some in calls.chunks(TOGETHER) {
            let mut lap = Lap { cpu, spent: spent.iter_mut(), since: Duration::ZERO };
            let copies = some.to_vec();
            lap.start();
            let mut read: Vec<Exchange> = copies.into_iter().map(|c| intake.read(c, &counters)).collect();
            lap.end();
            read.iter_mut().for_each(|ex| intake.print(ex, Printed::Not, &counters));
            lap.end();
            read.iter_mut().for_each(|ex| intake.redact(ex, &counters));
            lap.end();
            let records: Vec<Record> = read.into_iter().map(Record::Exchange).collect();
            lap.start();
            let mut plain = Vec::with_capacity(records.len());
            for record in &records {
                let mut bytes = Vec::with_capacity(4096);
                ciborium::into_writer(record, &mut bytes).map_err(|e| JournalError::Record(e.to_string()))?;
                plain.push(bytes);
            }
            lap.end();
            encoded += plain.iter().map(Vec::len).sum::<usize>();
            lap.start();
            let mut sealed: Vec<Value> = Vec::new();
            for (record, plain) in records.iter().zip(&plain) {
                seq += 1;
                pack.add(&volume.ring, record.key_name(), seq, plain)?;
                sealed.extend(pack.take_ready());
            }
            // A commit would do it first, and it is no part of what is called commit here.
            pack.close(&volume.ring)?;
            sealed.extend(pack.take_ready());
            lap.end();
            for value in &sealed {
                volume.put_value(value)?;
            }
            lap.end();
            stored += sealed.iter().map(|value| value.bytes.len()).sum::<usize>();
            lap.start();
            volume.commit()?;
            lap.end();
        }
    }
    let n = u32::try_from(seq).unwrap_or(u32::MAX).max(1);
    let bytes = |name| match name {
        "encode" => encoded / n as usize,
        "seal" => stored / n as usize,
        "commit" => usize::try_from(volume.log_bytes()).unwrap_or_default() / n as usize,
        _ => 0,
    };
    Ok(NAMES
        .into_iter()
        .zip(spent)
        .map(|(name, cpu)| Step { name, cpu: cpu / n, bytes: bytes(name) })
        .collect())
}

/// Adds the time of one step after the other to its sum.
struct Lap<'a> {
    cpu: &'a dyn Fn() -> Duration,
    spent: std::slice::IterMut<'a, Duration>,
    since: Duration,
}

impl Lap<'_> {
    fn start(&mut self) {
        self.since = (self.cpu)();
    }

    fn end(&mut self) {
        let now = (self.cpu)();
        if let Some(step) = self.spent.next() {
            *step += now.saturating_sub(self.since);
        }
        self.since = (self.cpu)();
    }
}
