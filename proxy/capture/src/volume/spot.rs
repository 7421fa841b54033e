//! Where the bytes of a number are: under keys of its own, a frame each, or in a pack
//! that begins with it or before it.

use std::iter::once;

use sled::{Db, IVec};

use super::LEN;
use super::pack::Packed;
use crate::seal::{MAX_RECORD, Unopened};

pub(super) enum Spot {
    /// In the pack that begins with this number.
    Pack(u64, IVec),
    /// Under keys of its own; the last of them, and what it holds.
    Own(IVec, IVec),
    Nowhere,
}

impl Spot {
    pub(super) fn of(db: &Db, seq: u64) -> sled::Result<Self> {
        // One search finds either: the last key that is not beyond the number's own.
        let Some((k, v)) = db.get_lt(key(seq, u32::MAX))? else { return Ok(Self::Nowhere) };
        if let Some((first, pack)) = pack_at(&k, &v)
            && seq.checked_sub(first).is_some_and(|at| at < pack.span())
        {
            return Ok(Self::Pack(first, v));
        }
        Ok(if seq_of(&k) == Some(seq) { Self::Own(k, v) } else { Self::Nowhere })
    }

    /// The number's bytes; `None` where there are none.
    pub(super) fn sealed(self, db: &Db, seq: u64) -> sled::Result<Option<Result<Vec<u8>, Unopened>>> {
        Ok(match self {
            Self::Nowhere => None,
            Self::Pack(first, value) => {
                let member = Packed::of(&value).and_then(|pack| pack.member(seq.checked_sub(first)?));
                Some(member.map(<[u8]>::to_vec).ok_or(Unopened::Damaged))
            }
            // The only one: there is nothing to look for.
            Self::Own(k, v) if k.as_ref() == key(seq, 0) => Some(joined(seq, once(Ok((k, v))))?),
            Self::Own(..) => Some(joined(seq, db.scan_prefix(seq.to_be_bytes()))?),
        })
    }

    /// Takes out the number and, of a pack, those after it. A damaged pack goes whole:
    /// there is no saying where one of its members ends.
    pub(super) fn remove(self, db: &Db, seq: u64) -> sled::Result<()> {
        match self {
            Self::Nowhere => {}
            Self::Pack(first, value) => {
                let rest = Packed::of(&value).and_then(|pack| pack.before(seq.checked_sub(first)?));
                match rest {
                    Some(rest) => db.insert(key(first, 0), rest)?,
                    None => db.remove(key(first, 0))?,
                };
            }
            Self::Own(..) => {
                for entry in db.scan_prefix(seq.to_be_bytes()) {
                    db.remove(entry?.0)?;
                }
            }
        }
        Ok(())
    }
}

/// The last number that is in this entry.
pub(super) fn last_of(k: &[u8], v: &[u8]) -> Option<u64> {
    match pack_at(k, v) {
        Some((first, pack)) => Some(first.saturating_add(pack.span() - 1)),
        None => seq_of(k),
    }
}

/// The pack in this entry, with its first number. A record's later frames may begin with
/// any bytes, so only under the first key of a number is there a pack.
fn pack_at<'v>(k: &[u8], v: &'v [u8]) -> Option<(u64, Packed<'v>)> {
    let first = seq_of(k).filter(|first| k == key(*first, 0))?;
    Some((first, Packed::of(v)?))
}

/// A record's frames, put together.
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
            want = Some(u32::from_be_bytes(*len) as usize);
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
