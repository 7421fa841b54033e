mod retire;

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, TryLockError, Weak};
use std::time::Duration;

use super::{Volume, VolumeName, lock};
use crate::cursor::GapWhy;
use crate::error::IoContext;
use crate::stats::Counters;
use crate::{JournalError, KeyVault};

/// The row of volumes, oldest first: which there are, and the open ones.
pub(crate) struct Shelf {
    volumes: PathBuf,
    keys: PathBuf,
    aside: PathBuf,
    vault: Arc<dyn KeyVault>,
    counters: Arc<Counters>,
    row: Mutex<Row>,
    /// How many volumes there were, and their size, when somebody last saw the row.
    seen: Mutex<(u64, u64)>,
}

#[derive(Default)]
struct Row {
    slots: Vec<Slot>,
    /// First sequence numbers of the volumes that were moved aside.
    aside: Vec<u64>,
    /// Below this, records were dropped to keep the journal's size.
    floor: u64,
}

struct Slot {
    name: VolumeName,
    open: Weak<Volume>,
    bytes: u64,
    /// How often it failed by itself, opened anew in between.
    failures: u32,
    /// It failed while it was written, and is read only. Known to this process alone: one
    /// that ends before the next volume is durable leaves it to its successor as the
    /// newest, which goes on with it.
    is_spoilt: bool,
}

/// Where a sequence number is.
pub(crate) enum Place {
    /// In this volume, if anywhere; the next volume begins at `until`.
    In { volume: Arc<Volume>, until: Option<u64>, otherwise: GapWhy },
    /// Nowhere; the next volume begins at `until`.
    Nowhere { until: Option<u64>, why: GapWhy },
}

impl Shelf {
    pub(crate) fn open(
        root: &Path,
        floor: u64,
        vault: Arc<dyn KeyVault>,
        counters: Arc<Counters>,
    ) -> Result<Self, JournalError> {
        let [volumes, keys, aside] = ["volumes", "keys", "aside"].map(|n| root.join(n));
        for dir in [&volumes, &keys, &aside] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).during("make the folder", dir)?;
        }
        let (row, seen) = (Mutex::default(), Mutex::default());
        let shelf = Self { volumes, keys, aside, vault, counters, row, seen };
        let slots = shelf
            .finish_retiring(floor)?
            .into_iter()
            .map(|name| Slot {
                bytes: bytes_under(&shelf.volumes.join(name.as_str())),
                open: Weak::new(),
                failures: 0,
                is_spoilt: false,
                name,
            })
            .collect();
        let aside = names_in(&shelf.aside)?.into_iter().map(|n| n.first).collect();
        let row = Row { slots, aside, floor };
        *lock(&shelf.seen) = row.size();
        *lock(&shelf.row) = row;
        Ok(shelf)
    }

    /// The newest volume, to be written on; `None` when there is none, when it was
    /// [`Shelf::spoilt`], or when it does not open, in which case it has been moved aside.
    pub(crate) fn newest(&self) -> Result<Option<Arc<Volume>>, JournalError> {
        let mut row = lock(&self.row);
        loop {
            let Some(at) = row.slots.len().checked_sub(1) else { return Ok(None) };
            if row.slots.get(at).is_some_and(|s| s.is_spoilt) {
                return Ok(None);
            }
            let aside = row.aside.len();
            let opened = self.open_slot(&mut row, at)?;
            if opened.is_some() || row.aside.len() > aside {
                return Ok(opened);
            }
            // One that was never used is gone: the one before it is the newest.
        }
    }

    /// First numbers of the newest volume in the row and of the newest aside.
    pub(crate) fn newest_firsts(&self) -> (Option<u64>, Option<u64>) {
        let row = lock(&self.row);
        (row.slots.last().map(|s| s.name.first), row.aside.iter().max().copied())
    }

    /// Begins a volume.
    pub(crate) fn begin(&self, first: u64) -> Result<Arc<Volume>, JournalError> {
        let mut row = lock(&self.row);
        // Of one that failed before anything in it was durable, the number is given again.
        while let Some(slot) = row.slots.last().filter(|s| s.is_spoilt && s.name.first >= first) {
            self.remove(&slot.name)?;
            row.slots.pop();
        }
        let name = VolumeName::new(first)?;
        let dir = self.volumes.join(name.as_str());
        fs::DirBuilder::new().mode(0o700).create(&dir).during("make the volume", &dir)?;
        let made = Volume::open(&self.volumes, &self.keys, &name, Arc::clone(&self.vault)).and_then(|v| {
            sync_folder(&dir)?;
            sync_folder(&self.volumes)?;
            Ok(Arc::new(v))
        });
        match made {
            Ok(volume) => {
                let open = Arc::downgrade(&volume);
                row.slots.push(Slot { name, open, bytes: 0, failures: 0, is_spoilt: false });
                Ok(volume)
            }
            Err(e) => {
                // Nothing was in it.
                fs::remove_dir_all(&dir).ok();
                Err(e)
            }
        }
    }

    pub(crate) fn find(&self, seq: u64) -> Result<Place, JournalError> {
        let mut row = lock(&self.row);
        loop {
            let next = row.slots.partition_point(|s| s.name.first <= seq);
            let until = row.slots.get(next).map(|s| s.name.first);
            let Some(at) = next.checked_sub(1) else {
                let why = if seq < row.floor { GapWhy::Retired } else { row.why_gone(0, seq) };
                return Ok(Place::Nowhere { until, why });
            };
            if let Some(volume) = self.open_slot(&mut row, at)? {
                let otherwise = row.why_gone(volume.name().first, seq);
                return Ok(Place::In { volume, until, otherwise });
            }
        }
    }

    /// Sees to a volume that failed while it was used: it is opened anew next time,
    /// and moved aside when it fails by itself again.
    pub(crate) fn failed(&self, volume: &Volume) -> Result<(), JournalError> {
        let mut row = lock(&self.row);
        let Some(at) = row.slots.iter().position(|s| &s.name == volume.name()) else { return Ok(()) };
        let Some(slot) = row.slots.get_mut(at) else { return Ok(()) };
        if !std::ptr::eq(slot.open.as_ptr(), volume) {
            // Another reader saw to it already.
            return Ok(());
        }
        slot.open = Weak::new();
        slot.failures += u32::from(volume.is_damaged());
        if slot.failures > 1 { self.move_aside(&mut row, at) } else { Ok(()) }
    }

    /// Sees to a volume that failed while it was written. This process writes it no more,
    /// opened anew or not: Linux tells of a write that failed once, and takes it for done
    /// then. Nothing of it is on the disk: where the process ends before the next volume is
    /// durable, the one after it goes on with the old one, as far as that can be read.
    pub(crate) fn spoilt(&self, volume: &Volume) -> Result<(), JournalError> {
        let mut row = lock(&self.row);
        if let Some(slot) = row.slots.iter_mut().find(|s| &s.name == volume.name()) {
            slot.is_spoilt = true;
        }
        drop(row);
        self.failed(volume)
    }

    /// First numbers of the volumes, newest first.
    pub(crate) fn firsts(&self) -> Vec<u64> {
        lock(&self.row).slots.iter().rev().map(|s| s.name.first).collect()
    }

    /// How many volumes, and their size. While a volume is opened or removed it is as it
    /// was last seen: who only asks for it does not wait for a disk.
    pub(crate) fn size(&self) -> (u64, u64) {
        let row = match self.row.try_lock() {
            Ok(row) => row,
            Err(TryLockError::Poisoned(row)) => row.into_inner(),
            Err(TryLockError::WouldBlock) => return *lock(&self.seen),
        };
        let size = row.size();
        *lock(&self.seen) = size;
        size
    }

    fn open_slot(&self, row: &mut Row, at: usize) -> Result<Option<Arc<Volume>>, JournalError> {
        let Some(slot) = row.slots.get_mut(at) else { return Ok(None) };
        // One that failed too: whoever uses it finds out, and says so.
        if let Some(open) = slot.open.upgrade() {
            return Ok(Some(open));
        }
        let name = slot.name.clone();
        // Where a database is missing, sled would make an empty one and say nothing.
        let complete = self.volumes.join(name.as_str()).join("db").is_file();
        if !complete {
            // Where the folder of all is away, as when a disk is, none of them is gone.
            fs::metadata(&self.volumes).during("look into", &self.volumes)?;
        }
        let opened = if complete { self.open_patiently(&name) } else { Err(None) };
        match opened {
            Ok(volume) => {
                slot.open = Arc::downgrade(&volume);
                Ok(Some(volume))
            }
            Err(Some(e)) if !matches!(e, JournalError::Volume { .. }) => Err(e),
            Err(_) if self.was_never_used(row, at)? => {
                let dir = self.volumes.join(name.as_str());
                tracing::info!(volume = name.as_str(), "volume removed: it was begun and never used");
                fs::remove_dir_all(&dir).during("remove", &dir)?;
                row.slots.remove(at);
                sync_folder(&self.volumes)?;
                Ok(None)
            }
            Err(problem) => {
                let said = problem.map_or_else(|| "its database is missing".to_owned(), |e| e.to_string());
                tracing::warn!(volume = name.as_str(), problem = said, "volume moved aside");
                self.move_aside(row, at)?;
                Ok(None)
            }
        }
    }

    /// Whether a volume was killed while it was begun: the newest, alone without
    /// keys. A volume's keys are on the disk before its first record, so nothing of
    /// it was ever durable; where others lack theirs too, it is the keys that are gone.
    fn was_never_used(&self, row: &Row, at: usize) -> Result<bool, JournalError> {
        if at + 1 != row.slots.len() {
            return Ok(false);
        }
        for (i, slot) in row.slots.iter().enumerate() {
            let keys = self.keys.join(slot.name.as_str());
            if keys.try_exists().during("look for", &keys)? == (i == at) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// sled lets go of its lock a little after the last handle is dropped.
    fn open_patiently(&self, name: &VolumeName) -> Result<Arc<Volume>, Option<JournalError>> {
        const TRIES: u32 = 200;
        let mut tries = 0;
        loop {
            match Volume::open(&self.volumes, &self.keys, name, Arc::clone(&self.vault)) {
                Ok(v) => return Ok(Arc::new(v)),
                Err(JournalError::Io { source, .. })
                    if source.to_string().contains("could not acquire lock") && tries < TRIES =>
                {
                    tries += 1;
                    std::thread::park_timeout(Duration::from_millis(10));
                }
                Err(e) => return Err(Some(e)),
            }
        }
    }

    fn move_aside(&self, row: &mut Row, at: usize) -> Result<(), JournalError> {
        let Some(slot) = row.slots.get(at) else { return Ok(()) };
        let from = self.volumes.join(slot.name.as_str());
        if from.exists() {
            fs::rename(&from, self.aside.join(slot.name.as_str())).during("move aside", &from)?;
        }
        let slot = row.slots.remove(at);
        row.aside.push(slot.name.first);
        self.counters.set_aside.fetch_add(1, Relaxed);
        sync_folder(&self.volumes)?;
        sync_folder(&self.aside)
    }
}

impl Row {
    /// How many volumes, and their size.
    fn size(&self) -> (u64, u64) {
        let bytes = |s: &Slot| s.open.upgrade().map_or(s.bytes, |v| s.bytes.max(v.log_bytes()));
        (self.slots.len() as u64, self.slots.iter().map(bytes).sum())
    }

    /// Why a number after the volume that begins at `after` is not in it.
    fn why_gone(&self, after: u64, seq: u64) -> GapWhy {
        if self.aside.iter().any(|first| (after..=seq).contains(first)) {
            GapWhy::SetAside
        } else {
            GapWhy::Missing
        }
    }
}

fn names_in(dir: &Path) -> Result<Vec<VolumeName>, JournalError> {
    let mut names: Vec<VolumeName> = fs::read_dir(dir)
        .during("list", dir)?
        .filter_map(|e| VolumeName::parse(e.ok()?.file_name().to_str()?))
        .collect();
    names.sort();
    Ok(names)
}

pub(crate) fn sync_folder(dir: &Path) -> Result<(), JournalError> {
    File::open(dir).and_then(|f| f.sync_all()).during("sync", dir)
}

fn bytes_under(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .filter_map(|e| {
            let e = e.ok()?;
            let m = e.metadata().ok()?;
            Some(if m.is_dir() { bytes_under(&e.path()) } else { m.len() })
        })
        .sum()
}

#[cfg(test)]
mod tests;
