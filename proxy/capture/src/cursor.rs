use std::sync::Arc;

use crate::journal::{Failed, Shared};
use crate::seal::Unopened;
use crate::volume::{Content, Place, Volume};
use crate::{JournalError, Record};

/// Records that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
    /// Why.
    pub why: GapWhy,
}

/// Why records are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GapWhy {
    /// Dropped to keep the journal's size: no loss.
    Retired,
    /// Their volume did not open and was moved aside.
    SetAside,
    /// Their place is empty though they were durable.
    Missing,
    /// What is in their place is not them.
    Damaged,
    /// Their key is gone, or is another vault's.
    KeyGone,
}

impl GapWhy {
    /// The name used in counters.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Retired => "retired",
            Self::SetAside => "set_aside",
            Self::Missing => "missing",
            Self::Damaged => "damaged",
            Self::KeyGone => "key_gone",
        }
    }
}

/// Reads the journal's durable records in order, while the writer writes. What is
/// not there is passed over and reported by [`Cursor::gaps`]; no record is ever
/// given under another's number.
pub struct Cursor {
    shared: Arc<Shared>,
    next: u64,
    at: Option<At>,
    gaps: Vec<Gap>,
}

struct At {
    volume: Arc<Volume>,
    until: Option<u64>,
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor").field("next", &self.next).field("gaps", &self.gaps).finish_non_exhaustive()
    }
}

impl Cursor {
    pub(crate) fn new(shared: Arc<Shared>, from_seq: u64) -> Self {
        Self { shared, next: from_seq.max(1), at: None, gaps: Vec::new() }
    }

    /// The next record with its number; `None` when everything durable was read.
    ///
    /// Reads the disk, so call it off an async thread.
    ///
    /// # Errors
    /// When the journal is closed, or the file system refuses. Damage is no error but a gap.
    #[expect(clippy::should_implement_trait, reason = "it may fail, and go on after None")]
    pub fn next(&mut self) -> Result<Option<(u64, Record)>, JournalError> {
        loop {
            if self.shared.is_closed() {
                return Err(JournalError::Closed);
            }
            let durable = self.shared.durable_seq();
            if self.next > durable {
                return Ok(None);
            }
            let Some(volume) = self.volume(durable)? else { continue };
            let seq = self.next;
            match volume.read(seq) {
                Ok(Content::Record(plain)) => match ciborium::from_reader(plain.as_slice()) {
                    Ok(record) => {
                        self.next += 1;
                        return Ok(Some((seq, record)));
                    }
                    // Whole, but written by a version that this one does not know.
                    Err(_) => self.skip(seq, GapWhy::Damaged),
                },
                Ok(Content::Bad(Unopened::Damaged)) => self.skip(seq, GapWhy::Damaged),
                Ok(Content::Bad(Unopened::KeyGone | Unopened::KeyForeign)) => self.skip(seq, GapWhy::KeyGone),
                Ok(Content::Missing) => match volume.next_after(seq) {
                    Ok(found) => self.pass_over(found, durable)?,
                    Err(_) => {
                        if self.give_up(&volume)? == Failed::WriterWillSee {
                            return Ok(None);
                        }
                    }
                },
                Err(_) => {
                    if self.give_up(&volume)? == Failed::WriterWillSee {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// What was not there so far, in order.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// The number that [`Cursor::next`] looks for next.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// The volume of the next number; `None` when it is nowhere and was passed over.
    fn volume(&mut self, durable: u64) -> Result<Option<Arc<Volume>>, JournalError> {
        if let Some(at) = &self.at
            && self.next >= at.volume.name().first
            && at.until.is_some_and(|u| self.next < u)
        {
            return Ok(Some(Arc::clone(&at.volume)));
        }
        self.at = None;
        match self.shared.shelf.find(self.next)? {
            Place::In { volume, until, .. } => {
                self.at = Some(At { volume: Arc::clone(&volume), until });
                Ok(Some(volume))
            }
            Place::Nowhere { until, why } => {
                self.skip_to(until.unwrap_or(durable + 1).min(durable + 1), why);
                Ok(None)
            }
        }
    }

    /// Nothing is in the next place of its volume, and the volume goes on at `found`.
    fn pass_over(&mut self, found: Option<u64>, durable: u64) -> Result<(), JournalError> {
        match self.shared.shelf.find(self.next)? {
            // Looked up again: the row may have grown since.
            Place::In { until, otherwise, .. } => {
                let end = durable + 1;
                let to = found.unwrap_or(end).min(until.unwrap_or(end)).min(end);
                self.skip_to(to, otherwise);
            }
            Place::Nowhere { until, why } => self.skip_to(until.unwrap_or(durable + 1).min(durable + 1), why),
        }
        Ok(())
    }

    /// The database failed while it was read: the writer replaces its own, the others are moved aside here.
    fn give_up(&mut self, volume: &Volume) -> Result<Failed, JournalError> {
        self.at = None;
        self.shared.replace_failed(volume)
    }

    fn skip(&mut self, seq: u64, why: GapWhy) {
        self.skip_to(seq + 1, why);
    }

    fn skip_to(&mut self, to: u64, why: GapWhy) {
        let from = self.next;
        // Always a step, so that reading ends.
        let to = to.max(from + 1);
        self.next = to;
        if why != GapWhy::Retired {
            self.shared.counters.lost(from, to - 1);
        }
        match self.gaps.last_mut() {
            Some(g) if g.why == why && g.to + 1 == from => g.to = to - 1,
            _ => self.gaps.push(Gap { from, to: to - 1, why }),
        }
    }
}
