use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::owner::{Head, Mark, own};
use crate::error::IoContext;
use crate::seal::{Witness, witness};
use crate::stats::Counters;
use crate::volume::{Shelf, Volume, VolumeName, lock};
use crate::{DropReason, JournalConfig, JournalError, KeyVault};

/// What the writer, the handles and the cursors see together.
pub(crate) struct Shared {
    pub(crate) config: JournalConfig,
    pub(crate) shelf: Shelf,
    pub(crate) counters: Arc<Counters>,
    /// Bytes of calls that wait.
    pub(super) queued: AtomicUsize,
    /// The writer was woken and has not looked yet.
    pub(super) woken: AtomicBool,
    pub(super) closing: AtomicBool,
    pub(super) checkpoint: Mutex<Option<Arc<dyn Fn() -> Value + Send + Sync>>>,
    pub(super) head: Head,
    /// What the head said; `None` where it said nothing.
    pub(super) mark_at_open: Option<Mark>,
    /// As configured; apart, so that a test can fill the disk and free it.
    pub(super) free_floor: AtomicU64,
    /// The volume being written.
    pub(super) writing: Mutex<Option<VolumeName>>,
    durable: AtomicU64,
    told: Mutex<()>,
    tell: Condvar,
    /// 0, or one more than the place of the reason in [`DropReason::ALL`].
    blocked: AtomicU8,
    owner: Mutex<Option<File>>,
}

/// What becomes of a volume that failed while it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// It is the one being written: the writer replaces it at its next look.
    WriterWillSee,
    /// It is opened anew, or was moved aside.
    SeenTo,
}

impl Shared {
    pub(super) fn open(
        config: JournalConfig,
        keys: &dyn KeyVault,
        vault: Arc<dyn KeyVault>,
    ) -> Result<Self, JournalError> {
        let dir = &config.dir;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).during("make the folder", dir)?;
        let owner = own(dir)?;
        // Before anything else is made, written or taken out.
        if witness(dir, keys)? == Witness::Other {
            return Err(JournalError::OtherKey { dir: dir.clone() });
        }
        let (head, mark) = Head::open(dir, &keys.hash_key())?;
        let counters = Arc::new(Counters::default());
        let floor = mark.map_or(0, |m| m.floor);
        let shelf = Shelf::open(dir, floor, vault, Arc::clone(&counters))?;
        Ok(Self {
            shelf,
            counters,
            queued: AtomicUsize::new(0),
            woken: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            checkpoint: Mutex::new(None),
            head,
            mark_at_open: mark,
            free_floor: AtomicU64::new(config.free_floor_bytes),
            writing: Mutex::new(None),
            durable: AtomicU64::new(0),
            told: Mutex::new(()),
            tell: Condvar::new(),
            blocked: AtomicU8::new(0),
            owner: Mutex::new(Some(owner)),
            config,
        })
    }

    pub(crate) fn durable_seq(&self) -> u64 {
        self.durable.load(Acquire)
    }

    pub(super) fn set_durable(&self, seq: u64) {
        self.durable.store(seq, Release);
        drop(lock(&self.told));
        self.tell.notify_all();
    }

    pub(super) fn wait_beyond(&self, seq: u64, timeout: Duration) -> bool {
        let told = lock(&self.told);
        let waited =
            self.tell.wait_timeout_while(told, timeout, |()| self.durable_seq() <= seq && !self.is_closed());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.durable_seq() > seq
    }

    pub(super) fn blocked(&self) -> Option<DropReason> {
        let at = usize::from(self.blocked.load(Acquire)).checked_sub(1)?;
        DropReason::ALL.get(at).copied()
    }

    pub(super) fn set_blocked(&self, why: Option<DropReason>) {
        self.blocked.store(why.map_or(0, |w| w as u8 + 1), Release);
    }

    /// A cursor found this volume's database failing. The writer sees to its own.
    pub(crate) fn replace_failed(&self, volume: &Volume) -> Result<Failed, JournalError> {
        if lock(&self.writing).as_ref() == Some(volume.name()) {
            return Ok(Failed::WriterWillSee);
        }
        self.shelf.failed(volume)?;
        Ok(Failed::SeenTo)
    }

    /// After the writer has ended: another process may own the journal.
    pub(super) fn let_go(&self) {
        drop(lock(&self.told));
        self.tell.notify_all();
        lock(&self.owner).take();
    }
}
