//! How much room a pod's journal has, and the sidecar's variables that keep it there.
//!
//! The kubelet evicts a pod whose emptyDir grows past its limit, and on a disk that is
//! full a journal stops recording for good. So it keeps itself to three quarters of its
//! room. It lets its oldest volumes go when a new one begins, and grows by one until
//! then: a volume is an eighth of what is kept at most. The rest is for what else lies
//! there.

#[cfg(test)]
mod tests;

use crate::Settings;
use crate::ask::{Ask, JournalPlace};
use crate::quantity::{bytes, configured};

/// The least room: with less, a few large calls would be all that is kept.
pub(crate) const LEAST: &str = "64Mi";

/// The most that the configuration takes for `capture.keep_bytes`.
const MOST: u64 = 1 << 46;

/// The configuration's own `capture.volume_bytes`.
const VOLUME: u64 = 64 << 20;

/// The configuration's own `capture.free_floor_bytes`.
const FLOOR: u64 = 32 << 20;

/// How much room a journal has, where that is known.
pub(crate) fn size<'a>(ask: &'a Ask, settings: &'a Settings) -> Option<&'a str> {
    let own = ask.journal_size.as_deref();
    match ask.journal {
        JournalPlace::Empty => Some(own.unwrap_or(&settings.journal_size)),
        JournalPlace::Claim(_) | JournalPlace::Volume(_) => own,
    }
}

/// The room of a journal that has too little.
pub(crate) fn too_small(ask: &Ask, settings: &Settings) -> Option<String> {
    let size = size(ask, settings)?;
    (bytes(size) < bytes(LEAST)).then(|| size.to_owned())
}

/// The variables that keep a journal within its room, in bytes.
pub(crate) fn variables(ask: &Ask, settings: &Settings) -> Vec<(&'static str, u64)> {
    let Some(room) = size(ask, settings).and_then(bytes) else { return Vec::new() };
    let (volume, floor) = ("UNDERSTUDY_CAPTURE_VOLUME_BYTES", "UNDERSTUDY_CAPTURE_FREE_FLOOR_BYTES");
    let keep = (room / 4 * 3).min(MOST);
    // One that only the pod knows, from a Secret say, is taken for the configuration's
    // own: a sidecar whose volume is larger than its journal would not start.
    let chosen = settings.plain(volume).and_then(configured).unwrap_or(VOLUME);
    let mut all = vec![("UNDERSTUDY_CAPTURE_KEEP_BYTES", keep), (volume, chosen.min(keep / 8))];
    // What is to stay free of a disk that is no larger than this must leave the journal
    // what it keeps: it would stop before its oldest goes. An emptyDir's is the node's.
    if ask.journal != JournalPlace::Empty && !settings.sets(floor) && room / 16 < FLOOR {
        all.push((floor, room / 16));
    }
    all
}
