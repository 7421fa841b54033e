//! A pack: several sealed records in one value. An insert costs sled about the same
//! whatever its size, since it copies the leaf's lists each time, and under load many
//! records wait for the same commit; so they go in together.
//!
//! ```text
//! count, highest bit set  [length         sealed record] …
//! 4, big endian            4, big endian  …
//! ```
//!
//! It stands under the key of its first record, and the others' numbers follow one by
//! one. The length that begins a record of frames never has that bit, so the first four
//! bytes of a value say which of the two it is.

use super::{FRAME, LEN};

/// Marks a pack: far above the length of any record.
pub(super) const PACKED: u32 = 1 << 31;
const HEAD: usize = 4;

/// The pack that is being filled: nothing of it is in the database yet.
#[derive(Default)]
pub(super) struct Pack {
    first: u64,
    count: u32,
    /// Its value; the buffer serves one pack after the other.
    bytes: Vec<u8>,
}

/// A pack as it was read.
pub(super) struct Packed<'v> {
    count: u32,
    members: &'v [u8],
}

impl Pack {
    /// Takes a record in; `false` where it does not fit, or is not the next in order.
    pub(super) fn try_add(&mut self, seq: u64, sealed: &[u8]) -> bool {
        if self.count == 0 {
            self.first = seq;
            self.bytes.clear();
            self.bytes.extend_from_slice(&PACKED.to_be_bytes());
        }
        let follows = self.first.checked_add(u64::from(self.count)) == Some(seq);
        let fits = self.bytes.len() + LEN + sealed.len() <= FRAME;
        let len = u32::try_from(sealed.len()).ok().filter(|_| follows && fits);
        let Some(len) = len else { return false };
        self.bytes.extend_from_slice(&len.to_be_bytes());
        self.bytes.extend_from_slice(sealed);
        self.count += 1;
        true
    }

    /// The number of its key, and its value; `None` where it is empty. A record alone
    /// is its length and its bytes, as a record of one frame always was.
    pub(super) fn value(&mut self) -> Option<(u64, &[u8])> {
        let value = match self.count {
            0 => return None,
            1 => self.bytes.get(HEAD..)?,
            n => {
                *self.bytes.first_chunk_mut::<HEAD>()? = (PACKED | n).to_be_bytes();
                self.bytes.as_slice()
            }
        };
        Some((self.first, value))
    }

    pub(super) fn clear(&mut self) {
        self.count = 0;
    }
}

impl<'v> Packed<'v> {
    /// `None` where the value is a record's first frame.
    pub(super) fn of(value: &'v [u8]) -> Option<Self> {
        let (head, members) = value.split_first_chunk::<HEAD>()?;
        let head = u32::from_be_bytes(*head);
        (head & PACKED != 0).then_some(Self { count: head & !PACKED, members })
    }

    /// How many numbers it stands for: as many as it says, where its bytes could hold
    /// their lengths, and never none.
    pub(super) fn span(&self) -> u64 {
        let most = (self.members.len() / LEN) as u64;
        u64::from(self.count).min(most).max(1)
    }

    /// The member at this place, from 0; `None` where there is none, or where count and
    /// lengths do not add up: then nobody can say what is whose.
    pub(super) fn member(&self, at: u64) -> Option<&'v [u8]> {
        let (mut rest, mut found) = (self.members, None);
        for i in 0..u64::from(self.count) {
            let (member, after) = split(rest)?;
            if i == at {
                found = Some(member);
            }
            rest = after;
        }
        found.filter(|_| rest.is_empty())
    }

    /// The value of a pack of the members before this one; `None` where there are none,
    /// or as for [`Packed::member`].
    pub(super) fn before(&self, at: u64) -> Option<Vec<u8>> {
        self.member(at)?;
        let count = u32::try_from(at).ok().filter(|n| *n > 0)?;
        let mut rest = self.members;
        for _ in 0..count {
            rest = split(rest)?.1;
        }
        let kept = self.members.get(..self.members.len() - rest.len())?;
        Some([(PACKED | count).to_be_bytes().as_slice(), kept].concat())
    }
}

/// The first member of these, and what comes after it.
fn split(members: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = members.split_first_chunk::<LEN>()?;
    rest.split_at_checked(u32::from_be_bytes(*len) as usize)
}
