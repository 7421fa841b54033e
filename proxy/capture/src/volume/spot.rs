//! Where the bytes of a number are: under keys of its own, a frame each, or in a pack
//! that begins with it or before it.

use std::iter::once;

use sled::{Db, IVec};

use super::LEN;
use super::pack::{self, Found, PACKED};
use crate::seal::{MAX_RECORD, Unopened};

pub(super) enum Spot {
    /// In the pack that begins with this number; its first frame.
    Pack(u64, IVec),
    /// Under keys of its own; the last of them, and what it holds.
    Own(IVec, IVec),
    Nowhere,
}

/// The bytes in which a number is.
pub(super) struct Sealed {
    pub(super) bytes: Vec<u8>,
    /// The numbers that they hold, in order: it alone, or those of its block.
    pub(super) numbers: Vec<u64>,
    /// How many of them, from the first on, are still to be found there.
    pub(super) standing: usize,
}

impl Spot {
    pub(super) fn of(db: &Db, seq: u64) -> sled::Result<Self> {
        // One search finds either: the last key that is not beyond the number's own.
        let Some((k, v)) = db.get_lt(key(seq, u32::MAX))? else { return Ok(Self::Nowhere) };
        if let Some((first, frame, span)) = pack_at(db, &k, &v)?
            && seq.checked_sub(first).is_some_and(|at| at < span)
        {
            return Ok(Self::Pack(first, frame));
        }
        Ok(if seq_of(&k) == Some(seq) { Self::Own(k, v) } else { Self::Nowhere })
    }

    /// The number's bytes; `None` where there are none.
    pub(super) fn sealed(self, db: &Db, seq: u64) -> sled::Result<Option<Result<Sealed, Unopened>>> {
        let alone = |bytes| Sealed { bytes, numbers: vec![seq], standing: 1 };
        Ok(match self {
            Self::Nowhere => None,
            Self::Pack(first, frame) => {
                let whole = match joined(first, once(Ok((IVec::from(&key(first, 0)), frame))))? {
                    Err(_) => joined(first, db.scan_prefix(first.to_be_bytes()))?,
                    one => one,
                };
                Some(whole.and_then(|pack| {
                    let found =
                        pack::member(&pack, first, seq.saturating_sub(first)).ok_or(Unopened::Damaged)?;
                    let Found { sealed, numbers, standing } = found;
                    Ok(Sealed { bytes: sealed.to_vec(), numbers, standing })
                }))
            }
            // The only one: there is nothing to look for.
            Self::Own(k, v) if k.as_ref() == key(seq, 0) => Some(joined(seq, once(Ok((k, v))))?.map(alone)),
            Self::Own(..) => Some(joined(seq, db.scan_prefix(seq.to_be_bytes()))?.map(alone)),
        })
    }

    /// Takes out the number and, of a pack, those after it. A damaged pack goes whole:
    /// there is no saying where one of its members ends.
    pub(super) fn remove(self, db: &Db, seq: u64) -> sled::Result<()> {
        let whole = match &self {
            Self::Nowhere => return Ok(()),
            Self::Own(..) => seq,
            Self::Pack(first, _) => *first,
        };
        if let Self::Pack(first, frame) = self {
            let at = seq.saturating_sub(first);
            let rest = pack::shortened(&frame, at);
            let sound = matches!(Self::Pack(first, frame).sealed(db, seq)?, Some(Ok(_)));
            if let Some(rest) = rest.filter(|_| sound) {
                db.insert(key(first, 0), rest)?;
                return Ok(());
            }
        }
        for entry in db.scan_prefix(whole.to_be_bytes()) {
            db.remove(entry?.0)?;
        }
        Ok(())
    }
}

/// The last number that is in this entry.
pub(super) fn last_of(db: &Db, k: &IVec, v: &IVec) -> sled::Result<Option<u64>> {
    Ok(match pack_at(db, k, v)? {
        Some((first, _, span)) => Some(first.saturating_add(span - 1)),
        None => seq_of(k),
    })
}

/// The pack that this entry is a frame of: its first number, its first frame, and how
/// many numbers it stands for. Later frames may begin with any bytes, so only under the
/// first key of a number is it seen what it is.
fn pack_at(db: &Db, k: &IVec, v: &IVec) -> sled::Result<Option<(u64, IVec, u64)>> {
    let Some(first) = seq_of(k) else { return Ok(None) };
    let frame = if k.as_ref() == key(first, 0) { Some(v.clone()) } else { db.get(key(first, 0))? };
    Ok(frame.and_then(|frame| {
        let span = pack::span(&frame)?;
        Some((first, frame, span))
    }))
}

/// A record's or a pack's frames, put together.
fn joined(
    seq: u64,
    frames: impl Iterator<Item = sled::Result<(IVec, IVec)>>,
) -> sled::Result<Result<Vec<u8>, Unopened>> {
    let mut sealed: Vec<u8> = Vec::new();
    let mut want = None;
    for (i, entry) in (0u32..).zip(frames) {
        let (k, v) = entry?;
        if k.as_ref() != key(seq, i) {
            return Ok(Err(Unopened::Damaged));
        }
        let part: &[u8] = if i == 0 {
            let Some((len, part)) = v.split_first_chunk::<LEN>() else {
                return Ok(Err(Unopened::Damaged));
            };
            want = Some((u32::from_be_bytes(*len) & !PACKED) as usize);
            part
        } else {
            &v
        };
        sealed.extend_from_slice(part);
        if sealed.len() > 2 * MAX_RECORD {
            return Ok(Err(Unopened::Damaged));
        }
    }
    Ok(if want == Some(sealed.len()) { Ok(sealed) } else { Err(Unopened::Damaged) })
}

/// The key of a number's frame; a pack is under the first key of its first number.
pub(super) fn key(seq: u64, frame: u32) -> [u8; 12] {
    let mut k = [0; 12];
    let (a, b) = k.split_at_mut(8);
    a.copy_from_slice(&seq.to_be_bytes());
    b.copy_from_slice(&frame.to_be_bytes());
    k
}

pub(super) fn seq_of(key: &[u8]) -> Option<u64> {
    key.first_chunk::<8>().map(|b| u64::from_be_bytes(*b))
}
