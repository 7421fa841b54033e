pub mod bench;
mod end;
mod group;
mod intake;
mod owner;
mod shared;
mod space;
mod writer;

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use serde_json::Value;
use understudy_call::Exchange;

pub use owner::{is_locked, is_owned};
pub(crate) use shared::{Failed, Shared};

use crate::error::IoContext;
use crate::volume::{Content, Place, lock};
use crate::{
    Captured, Cursor, DropReason, Hooks, JournalConfig, JournalError, KeyVault, Offered, Record, Stats,
};
use group::Entry;
use writer::Writer;

/// The journal: one process owns it, one thread writes it, many read it. Clones
/// are handles to the same journal; the last one dropped closes it.
#[derive(Clone)]
pub struct Journal {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    queue: Sender<Entry>,
    writer: Thread,
    join: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("dir", &self.handle.shared.config.dir).finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens the journal, or makes it, and starts its writer. A newest volume that
    /// does not open is moved aside, and counted, and is no error.
    ///
    /// # Errors
    /// When another process owns it, when it was sealed with another key
    /// ([`JournalError::OtherKey`]), or when the folder cannot be made or read.
    pub fn open(config: JournalConfig, vault: Arc<dyn KeyVault>, hooks: Hooks) -> Result<Self, JournalError> {
        let shared = Arc::new(Shared::open(config, &*vault, Arc::clone(&vault))?);
        let (queue, entries) = channel();
        let writer = Writer::new(Arc::clone(&shared), entries, hooks, vault.hash_key())?;
        let join = std::thread::Builder::new()
            .name("understudy-journal".to_owned())
            .spawn(move || writer.run())
            .during("start the writer of", &shared.config.dir)?;
        let handle = Handle { shared, queue, writer: join.thread().clone(), join: Mutex::new(Some(join)) };
        Ok(Self { handle: Arc::new(handle) })
    }

    /// Offers a call. Never waits: it is taken, or dropped and counted. The writer is
    /// not woken, for that costs ten times the rest; it looks by itself every few
    /// milliseconds, and only a queue that is half full wakes it early.
    pub fn offer(&self, call: Captured) -> Offered {
        let shared = &self.handle.shared;
        let refuse = |why| {
            shared.counters.drop_one(why);
            Offered::Dropped(why)
        };
        if shared.is_closed() {
            return refuse(DropReason::Closed);
        }
        if let Some(why) = shared.blocked() {
            return refuse(why);
        }
        let weight = call.weight();
        let queued = shared.queued.fetch_add(weight, AcqRel).saturating_add(weight);
        if queued > shared.config.queue_bytes {
            shared.queued.fetch_sub(weight, AcqRel);
            return refuse(DropReason::QueueFull);
        }
        if self.handle.queue.send(Entry::Call(Box::new(call))).is_err() {
            shared.queued.fetch_sub(weight, AcqRel);
            return refuse(DropReason::Closed);
        }
        if queued > shared.config.queue_bytes / 2 && !shared.woken.swap(true, AcqRel) {
            self.handle.writer.unpark();
        }
        Offered::Taken
    }

    /// Appends records and waits until they, and everything offered before them, are
    /// durable. With no records it only waits. Returns the last durable number.
    ///
    /// # Errors
    /// When the disk or a key fails: whether the records survive is then unknown.
    pub fn append(&self, records: Vec<Record>) -> Result<u64, JournalError> {
        let (ack, done) = sync_channel(1);
        if self.handle.shared.is_closed() {
            return Err(JournalError::Closed);
        }
        self.handle.queue.send(Entry::Append { records, ack }).map_err(|_| JournalError::Closed)?;
        self.handle.writer.unpark();
        done.recv().map_err(|_| JournalError::Closed)?
    }

    /// Appends exchanges that are parsed already (from logs): fingerprinted, redacted
    /// and sealed as offered calls are, and durable on return.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn append_exchanges(&self, exchanges: Vec<Exchange>) -> Result<u64, JournalError> {
        self.append(exchanges.into_iter().map(Record::Exchange).collect())
    }

    /// A cursor whose first record is this one, or the first after it that there is.
    #[must_use]
    pub fn cursor(&self, from_seq: u64) -> Cursor {
        Cursor::new(Arc::clone(&self.handle.shared), from_seq)
    }

    /// The first number of the oldest volume; `None` before the first.
    #[must_use]
    pub fn oldest_seq(&self) -> Option<u64> {
        self.handle.shared.shelf.firsts().last().copied()
    }

    /// The newest checkpoint that says something, with its number.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn last_checkpoint(&self) -> Result<Option<(u64, Value)>, JournalError> {
        for first in self.handle.shared.shelf.firsts() {
            let Place::In { volume, .. } = self.handle.shared.shelf.find(first)? else { continue };
            if first <= self.durable_seq()
                && let Ok(Content::Record(plain)) = volume.read(first)
                && let Ok(Record::Checkpoint(value)) = ciborium::from_reader(plain.as_slice())
                && !value.is_null()
            {
                return Ok(Some((first, value)));
            }
        }
        Ok(None)
    }

    /// Waits until there are durable records after this number; `false` when the time is up.
    #[must_use]
    pub fn wait_beyond(&self, seq: u64, timeout: Duration) -> bool {
        self.handle.shared.wait_beyond(seq, timeout)
    }

    /// The last durable number; 0 before the first.
    #[must_use]
    pub fn durable_seq(&self) -> u64 {
        self.handle.shared.durable_seq()
    }

    /// What it has done, and how large it is.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.handle.shared.stats()
    }

    /// Calls dropped since it was opened, by reason.
    #[must_use]
    pub fn drops(&self) -> Vec<(DropReason, u64)> {
        self.handle.shared.counters.drops()
    }

    /// Sets what is asked for the checkpoint at the beginning of each new volume. It is
    /// called on the writer's thread: it must not append, nor wait for one who does.
    /// It should say up to which number its state was folded.
    pub fn set_checkpoint(&self, f: Arc<dyn Fn() -> Value + Send + Sync>) {
        *lock(&self.handle.shared.checkpoint) = Some(f);
    }

    /// Writes what was offered, and lets go of the journal. Offers from now on are
    /// dropped, cursors end with [`JournalError::Closed`].
    pub fn close(&self) {
        self.handle.close();
    }
}

impl Handle {
    fn close(&self) {
        self.shared.closing.store(true, Release);
        if self.queue.send(Entry::Close).is_ok() {
            self.writer.unpark();
        }
        if let Some(join) = lock(&self.join).take()
            && join.join().is_err()
        {
            tracing::error!("the journal's writer panicked");
        }
        self.shared.let_go();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    pub(crate) fn is_closed(&self) -> bool {
        self.closing.load(Acquire)
    }

    fn stats(&self) -> Stats {
        let c = &self.counters;
        let (volumes, bytes) = self.shelf.size();
        Stats {
            exchanges: c.exchanges.load(Relaxed),
            redacted: c.redacted.load(Relaxed),
            with_content: c.with_content.load(Relaxed),
            unparsed: c.unparsed.load(Relaxed),
            hook_panics: c.hook_panics.load(Relaxed),
            records: c.records.load(Relaxed),
            commits: c.commits.load(Relaxed),
            dropped: c.drops().iter().map(|(_, n)| n).sum(),
            queued_bytes: self.queued.load(Relaxed) as u64,
            set_aside: c.set_aside.load(Relaxed),
            retired: c.retired.load(Relaxed),
            lost: c.lost_total(),
            volumes,
            bytes,
            durable_seq: self.durable_seq(),
        }
    }
}

#[cfg(test)]
mod tests;
