use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::volume::lock;

/// Why a call was not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DropReason {
    /// Too many bytes wait for the writer.
    QueueFull,
    /// The disk has too little free space.
    DiskFull,
    /// The disk, or the database on it, failed.
    Disk,
    /// No data key could be had.
    Key,
    /// It does not turn into a record.
    Malformed,
    /// The journal is closed.
    Closed,
}

impl DropReason {
    /// Every reason, in the order of its counter.
    pub const ALL: [Self; 6] =
        [Self::QueueFull, Self::DiskFull, Self::Disk, Self::Key, Self::Malformed, Self::Closed];

    /// The name used in counters.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::DiskFull => "disk_full",
            Self::Disk => "disk",
            Self::Key => "key",
            Self::Malformed => "malformed",
            Self::Closed => "closed",
        }
    }
}

/// What the journal has done since it was opened, and how large it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    /// Calls sealed.
    pub exchanges: u64,
    /// Of those with content, the ones that redaction changed.
    pub redacted: u64,
    /// Calls sealed with content (the others are metadata only).
    pub with_content: u64,
    /// Calls whose dialect is decoded but whose body did not parse.
    pub unparsed: u64,
    /// Hooks that panicked; the call was recorded without what they say.
    pub hook_panics: u64,
    /// Records of every kind made durable.
    pub records: u64,
    /// Group commits.
    pub commits: u64,
    /// Calls dropped, for whatever reason.
    pub dropped: u64,
    /// Bytes of calls that wait for the writer.
    pub queued_bytes: u64,
    /// Volumes that did not open, or failed, and were moved aside.
    pub set_aside: u64,
    /// Volumes dropped because the journal reached its size.
    pub retired: u64,
    /// Records that were durable once and cannot be read, found so far.
    pub lost: u64,
    /// Volumes in the row.
    pub volumes: u64,
    /// Their size on disk, as of the last roll-over or opening, plus what was written since.
    pub bytes: u64,
    /// The last durable sequence number; 0 before the first.
    pub durable_seq: u64,
}

impl Stats {
    /// The share of calls with content that redaction changed, 0 to 1; `None` before the first.
    #[must_use]
    pub fn redacted_share(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a share of counts far below 2^52")]
        (self.with_content > 0).then(|| self.redacted as f64 / self.with_content as f64)
    }
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) exchanges: AtomicU64,
    pub(crate) redacted: AtomicU64,
    pub(crate) with_content: AtomicU64,
    pub(crate) unparsed: AtomicU64,
    pub(crate) hook_panics: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) set_aside: AtomicU64,
    pub(crate) retired: AtomicU64,
    drops: [AtomicU64; DropReason::ALL.len()],
    lost: Mutex<Ranges>,
}

impl Counters {
    pub(crate) fn drop_one(&self, why: DropReason) {
        self.drop_many(why, 1);
    }

    pub(crate) fn drop_many(&self, why: DropReason, n: u64) {
        if let Some(c) = self.drops.get(why as usize) {
            c.fetch_add(n, Relaxed);
        }
    }

    pub(crate) fn drops(&self) -> Vec<(DropReason, u64)> {
        DropReason::ALL.into_iter().zip(&self.drops).map(|(why, n)| (why, n.load(Relaxed))).collect()
    }

    /// Several cursors find the same loss; it is counted once.
    pub(crate) fn lost(&self, from: u64, to: u64) {
        lock(&self.lost).insert(from, to);
    }

    pub(crate) fn lost_total(&self) -> u64 {
        lock(&self.lost).total
    }
}

/// Disjoint ranges of sequence numbers, both ends included.
#[derive(Default)]
pub(crate) struct Ranges {
    by_start: BTreeMap<u64, u64>,
    total: u64,
}

impl Ranges {
    pub(crate) fn insert(&mut self, from: u64, to: u64) {
        let (mut from, mut to) = (from, to);
        if to < from {
            return;
        }
        // Swallows every range that overlaps or touches the new one.
        while let Some((&a, &b)) = self.by_start.range(..=to.saturating_add(1)).next_back() {
            if b.saturating_add(1) < from {
                break;
            }
            self.by_start.remove(&a);
            self.total -= b - a + 1;
            from = from.min(a);
            to = to.max(b);
        }
        self.by_start.insert(from, to);
        self.total += to - from + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::Ranges;

    #[test]
    fn a_loss_found_twice_counts_once() {
        let mut r = Ranges::default();
        r.insert(5, 9);
        r.insert(7, 12);
        r.insert(1, 2);
        r.insert(20, 20);
        r.insert(3, 4);
        r.insert(9, 9);
        assert_eq!(r.total, 13);
        assert_eq!(r.by_start.len(), 2);
    }
}
