use crate::JournalError;
use crate::seal::Unopened;
use crate::volume::Volume;

/// Where the durable records of a journal end, as far as that is known.
#[derive(Debug, Clone, Copy)]
pub(super) enum Durable {
    Unknown,
    /// Another process said so; it may have been ended before it could say more.
    AtLeast(u64),
    /// This process did, and whoever wrote what comes after was told that it failed.
    Exactly(u64),
}

impl Durable {
    pub(super) fn known(self) -> Option<u64> {
        match self {
            Self::Unknown => None,
            Self::AtLeast(seq) | Self::Exactly(seq) => Some(seq),
        }
    }
}

/// The last record that stays. What comes after it was being written when the process
/// ended, and was never reported durable: it is taken out, and its number used again.
///
/// Of a record whose key cannot be had nobody can say whether it is whole, and the key
/// may come back. It goes only where what was promised is known to end before it and
/// its key is on no line: keys are on the disk before what they seal is reported.
pub(super) fn end_of(volume: &Volume, durable: Durable) -> Result<Option<u64>, JournalError> {
    loop {
        let Some(last) = volume.last_seq()? else { return Ok(None) };
        if durable.known().is_some_and(|promised| last <= promised) {
            return Ok(Some(last));
        }
        if !matches!(durable, Durable::Exactly(_)) {
            match volume.flaw(last)? {
                Some(Unopened::Damaged) => {}
                Some(Unopened::KeyGone) if durable.known().is_some() => {}
                None | Some(Unopened::KeyGone | Unopened::KeyForeign) => return Ok(Some(last)),
            }
        }
        volume.remove(last)?;
    }
}
