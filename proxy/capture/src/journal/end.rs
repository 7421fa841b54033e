use crate::JournalError;
use crate::seal::Unopened;
use crate::volume::Volume;

/// The last record that stays. What comes after it was being written when the process
/// ended, and was never reported durable: it is taken out, and its number used again.
///
/// Of a record whose key cannot be had nobody can say whether it is whole, and the key
/// may come back. It goes only where what was promised is known to end before it and
/// its key is on no line: keys are on the disk before what they seal is reported.
pub(super) fn end_of(volume: &Volume, durable: Option<u64>) -> Result<Option<u64>, JournalError> {
    loop {
        let Some(last) = volume.last_seq()? else { return Ok(None) };
        if durable.is_some_and(|promised| last <= promised) {
            return Ok(Some(last));
        }
        match volume.flaw(last)? {
            Some(Unopened::Damaged) => {}
            Some(Unopened::KeyGone) if durable.is_some() => {}
            None | Some(Unopened::KeyGone | Unopened::KeyForeign) => return Ok(Some(last)),
        }
        volume.remove(last)?;
    }
}
