//! Which volume is written, and from which number on.

use std::sync::Arc;

use super::super::end::{Durable, end_of};
use super::super::owner::Mark;
use super::Writer;
use crate::volume::{Volume, lock};
use crate::{JournalError, Record};

/// Numbers left out when neither the newest volume nor the head can say how far it
/// went: more than one volume can hold.
const UNKNOWN: u64 = 1 << 32;

impl Writer {
    /// The volume to write: the open one, or the next where that one is full.
    pub(super) fn ready(&mut self) -> Result<Arc<Volume>, JournalError> {
        if let Some(volume) = &self.volume {
            // Asked once a group: it costs a system call.
            if self.group.records > 0 || volume.log_bytes() < self.shared.config.volume_bytes {
                return Ok(Arc::clone(volume));
            }
            // The last of the old one is durable before the first of the new one is.
            self.commit();
            if self.volume.is_some() {
                self.volume = None;
                return self.begin();
            }
        }
        self.enough_space(0)?;
        self.take_up(Durable::Exactly(self.shared.durable_seq()), 2)?;
        let volume = match self.volume.clone() {
            Some(v) if v.name().first == self.next_seq => self.checkpoint(v)?,
            Some(v) => v,
            None => self.begin()?,
        };
        self.shared.set_blocked(None);
        (self.retry, self.failure) = (None, None);
        Ok(volume)
    }

    fn begin(&mut self) -> Result<Arc<Volume>, JournalError> {
        let volume = self.shared.shelf.begin(self.next_seq)?;
        *lock(&self.shared.writing) = Some(volume.name().clone());
        self.volume = Some(Arc::clone(&volume));
        let (head, durable) = (&self.shared.head, self.shared.durable_seq());
        let promise = |floor| head.write_through(Mark { durable, floor });
        match self.shared.shelf.retire(self.shared.config.keep_bytes, promise) {
            Ok(floor) => self.floor = floor.max(self.floor),
            Err(e) => tracing::warn!(error = %e, "an old volume was not removed"),
        }
        self.checkpoint(volume)
    }

    fn checkpoint(&mut self, volume: Arc<Volume>) -> Result<Arc<Volume>, JournalError> {
        let ask = lock(&self.shared.checkpoint).clone();
        let state = ask
            .and_then(|f| std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| f())).ok())
            .unwrap_or(serde_json::Value::Null);
        self.put(&volume, &Record::Checkpoint(state))?;
        Ok(volume)
    }

    /// Takes up the newest volume where it ends, or leaves `volume` empty when there
    /// is none that opens.
    pub(super) fn take_up(&mut self, durable: Durable, tries: u32) -> Result<(), JournalError> {
        let mut last = durable.known().unwrap_or(0);
        let newest = self.shared.shelf.newest()?;
        let (_, aside) = self.shared.shelf.newest_firsts();
        // One older than a volume moved aside is not gone on with: its successor is
        // gone, and a new one begins with a checkpoint. Of two with the same number, the
        // one aside held nothing durable, and the other took its place: only where this
        // process knows the end exactly may a new one begin where the one aside did.
        let opened = match newest.filter(|v| aside.is_none_or(|a| a <= v.name().first)) {
            Some(volume) => match end_of(&volume, durable) {
                Ok(end) => {
                    last = last.max(end.unwrap_or(volume.name().first.saturating_sub(1)));
                    Some(volume)
                }
                Err(e) => {
                    tracing::warn!(volume = volume.name().as_str(), error = %e, "volume failed");
                    match durable {
                        Durable::Exactly(_) => self.shared.shelf.spoilt(&volume)?,
                        // Once more; then it is moved aside, or the disk refuses.
                        _ => self.shared.shelf.failed(&volume)?,
                    }
                    drop(volume);
                    return if again_worth(&e) && tries > 0 {
                        self.take_up(durable, tries - 1)
                    } else {
                        Err(e)
                    };
                }
            },
            None => None,
        };
        // The head is exact after a kill. After a power cut it may be older, or say nothing:
        // that is sure only where the volume began after what it tells. Who wrote the volume
        // itself needs no head.
        if opened.is_none() && !matches!(durable, Durable::Exactly(_)) {
            let (newest, aside) = self.shared.shelf.newest_firsts();
            let known = newest.max(aside).unwrap_or(0);
            if known > last {
                last = known.saturating_add(UNKNOWN);
            }
        }
        *lock(&self.shared.writing) = opened.as_ref().map(|v| v.name().clone());
        self.volume = opened;
        self.next_seq = last + 1;
        self.shared.set_durable(last);
        Ok(())
    }
}

/// A volume that is damaged is moved aside at its second failure, and the next try finds another.
fn again_worth(e: &JournalError) -> bool {
    matches!(e, JournalError::Volume { .. })
}
