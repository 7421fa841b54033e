//! How much room a pod's journal has, and the sidecar's variables that keep it there.
//!
//! The kubelet evicts a pod whose emptyDir grows past its limit, and on a disk that is
//! full a journal stops recording for good. So it keeps itself to three quarters of its
//! room. It lets its oldest volumes go when a new one begins, and grows by one until
//! then: a volume is an eighth of what is kept at most. The rest is for what else lies
//! there.
//!
//! Where a container has a limit on what it writes to the node's disk, the kubelet holds
//! the pod's emptyDirs, too, against the sum of all such limits. So the sidecar brings one
//! for its journal: else the journal would eat what the agent was given.

#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::Settings;
use crate::ask::{Ask, ENGINE, JournalPlace, NAME};
use crate::quantity::{bytes, configured, value};

/// The least room: with less, a few large calls would be all that is kept.
pub(crate) const LEAST: &str = "64Mi";

/// The most that the configuration takes for `capture.keep_bytes`.
const MOST: u64 = 1 << 46;

/// The configuration's own `capture.volume_bytes`.
const VOLUME: u64 = 64 << 20;

/// The configuration's own `capture.free_floor_bytes`.
const FLOOR: u64 = 32 << 20;

/// What the sidecar writes beside its journal: its log, of which a kubelet keeps five
/// files of 10 MiB.
const LOG: u64 = 64 << 20;

const MIB: u64 = 1 << 20;

/// The most that one of the pod's own containers may write to the node's disk; `None`
/// where none of them has such a limit.
fn most_written(spec: &Value) -> Option<f64> {
    let all = ["containers", "initContainers"].into_iter().filter_map(|list| spec[list].as_array()).flatten();
    let own = all.filter(|c| c["name"] != NAME && c["name"] != ENGINE);
    let limits = own.map(|c| &c["resources"]["limits"]["ephemeral-storage"]).filter(|limit| !limit.is_null());
    // One in a form that we do not read, such as with an exponent, is taken for a large one.
    limits.map(|limit| value(limit).unwrap_or(f64::INFINITY)).max_by(f64::total_cmp)
}

/// With a smaller journal than the chart's where that one's limit would be above the pod's
/// largest: a LimitRange may allow no more, and would have the pod refused. What the pod
/// itself says of its journal holds.
pub(crate) fn fitted(mut ask: Ask, settings: &Settings, spec: &Value) -> Ask {
    let Some(most) = most_written(spec).map(|most| most as u64) else { return ask };
    let (chart, least) = (bytes(&settings.journal_size), bytes(LEAST).unwrap_or_default());
    let room = most.saturating_sub(LOG).max(least) / MIB;
    let is_less = chart.is_some_and(|chart| room < chart / MIB);
    if ask.journal == JournalPlace::Empty && ask.journal_size.is_none() && is_less {
        ask.journal_size = Some(format!("{room}Mi"));
    }
    ask
}

/// The sidecar's limit on what it writes to the node's disk, where it needs one: as much as
/// its journal and its log may come to. A claim is no part of that disk.
pub(crate) fn limit(ask: &Ask, settings: &Settings, spec: &Value) -> Option<String> {
    most_written(spec)?;
    let room = bytes(size(ask, settings)?).filter(|_| ask.journal == JournalPlace::Empty)?;
    Some(format!("{}Mi", room.saturating_add(LOG).div_ceil(MIB)))
}

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
