//! Letting go of what is too old, so that a kill at any moment of it is no loss.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::sync::atomic::Ordering::Relaxed;

use super::{Shelf, bytes_under, names_in};
use crate::JournalError;
use crate::error::IoContext;
use crate::volume::{VolumeName, lock};

impl Shelf {
    /// Drops the oldest until the rest fits, the newest never; what stands aside goes
    /// first. Before anything goes, `promise` makes the new floor durable: a kill leaves a
    /// volume half gone, and whoever opens the journal next must know that it is no loss.
    pub(crate) fn retire(
        &self,
        keep_bytes: u64,
        promise: impl FnOnce(u64) -> Result<(), JournalError>,
    ) -> Result<u64, JournalError> {
        let mut row = lock(&self.row);
        let newest = row.slots.len().saturating_sub(1);
        for slot in row.slots.iter_mut().skip(newest.saturating_sub(1)) {
            slot.bytes = bytes_under(&self.volumes.join(slot.name.as_str()));
        }
        let mut total: u64 = row.slots.iter().map(|s| s.bytes).sum::<u64>() + bytes_under(&self.aside);
        let mut old = Vec::new();
        for name in names_in(&self.aside)? {
            if total <= keep_bytes {
                break;
            }
            total = total.saturating_sub(bytes_under(&self.aside.join(name.as_str())));
            old.push(name);
        }
        let (mut retired, mut floor) = (0usize, row.floor);
        for (slot, next) in row.slots.iter().zip(row.slots.iter().skip(1)) {
            if total <= keep_bytes {
                break;
            }
            total = total.saturating_sub(slot.bytes);
            old.push(slot.name.clone());
            (retired, floor) = (retired + 1, next.name.first);
        }
        if old.is_empty() {
            return Ok(floor);
        }
        promise(floor)?;
        row.floor = floor;
        row.slots.drain(..retired);
        self.counters.retired.fetch_add(retired as u64, Relaxed);
        self.remove_all(&old);
        Ok(floor)
    }

    /// Ends a retirement that was cut short. The floor is where a volume began, so what
    /// begins below it ends below it. Gives the volumes that stay, the newest among them
    /// whatever the floor says.
    pub(super) fn finish_retiring(&self, floor: u64) -> Result<Vec<VolumeName>, JournalError> {
        let mut stay = names_in(&self.volumes)?;
        let newest = stay.last().cloned();
        let is_old = |name: &VolumeName| name.first < floor && Some(name) != newest.as_ref();
        let mut old: BTreeSet<VolumeName> = BTreeSet::new();
        for folder in [&self.volumes, &self.aside, &self.keys] {
            old.extend(names_in(folder)?.into_iter().filter(&is_old));
        }
        stay.retain(|name| !old.contains(name));
        // Told one by one: whoever misses a volume finds out here where it went.
        for name in &old {
            tracing::info!(volume = name.as_str(), floor, "volume removed: it is below the floor");
        }
        self.remove_all(&old);
        Ok(stay)
    }

    /// Removes volumes of which nothing is asked any more. What stays now goes when the
    /// journal is opened again.
    fn remove_all<'n>(&self, names: impl IntoIterator<Item = &'n VolumeName>) {
        for name in names {
            if let Err(e) = self.remove(name) {
                tracing::warn!(volume = name.as_str(), error = %e, "an old volume was not removed");
            }
        }
    }

    /// Removes a volume, or what is left of one, wherever it stands.
    pub(super) fn remove(&self, name: &VolumeName) -> Result<(), JournalError> {
        // The keys first: without them nothing of the volume can be read.
        let keys = self.keys.join(name.as_str());
        if_there(fs::remove_file(&keys)).during("remove", &keys)?;
        for folder in [&self.volumes, &self.aside] {
            let dir = folder.join(name.as_str());
            if_there(fs::remove_dir_all(&dir)).during("remove", &dir)?;
        }
        Ok(())
    }
}

/// What is gone already need not be removed.
fn if_there(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
