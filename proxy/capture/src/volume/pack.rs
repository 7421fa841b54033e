//! A pack: several records in one value. An insert costs sled about the same whatever
//! its size, since it copies the leaf's lists each time, and zstd and the cipher cost a
//! short record more than its bytes do. Under load many records wait for the same commit,
//! so those of a key are compressed and sealed as one, a *block*, and what came together
//! goes in together.
//!
//! ```text
//! length of the rest, highest bit set  numbers  standing  member of each number  [length  member] …
//! 4, big endian                        1        1         1 each                 4        …
//! ```
//!
//! It stands under the key of its first number, and the others follow one by one. A
//! member is a sealed record of one number, or a block of several, whose plain text is a
//! row of records with their lengths. The length that begins a record of frames never has
//! that bit, so the first four bytes of a value say which of the two it is. A pack longer
//! than a frame goes on in frames as a record does. `standing` is how many of its numbers
//! are still its own: what was never durable is taken out from the end.

use super::{FRAME, LEN};
use crate::JournalError;
use crate::seal::{KeyId, KeyName, KeyRing, Sealer};

/// Marks a pack: far above the length of any record.
pub(super) const PACKED: u32 = 1 << 31;
/// Numbers and standing.
const HEAD: usize = 2;
/// Records of a pack at most: what a damaged one may cost.
const MOST: usize = 64;
/// Bytes of a record that goes into a block, before compression. One that is longer
/// takes so long by itself that the company saves little.
const SHORT: usize = 8 << 10;
/// Bytes of the blocks of a pack, before compression: what is decompressed to read one
/// of their records. They make a value of a frame or two, as a rule.
const OPEN: usize = 64 << 10;

/// What goes into the database under the keys of a number.
pub(crate) struct Value {
    pub(super) seq: u64,
    pub(super) is_pack: bool,
    pub(crate) bytes: Vec<u8>,
}

/// The pack that is being filled: nothing of it is in the database yet.
pub(crate) struct Pack {
    sealer: Sealer,
    first: u64,
    /// Which member each number is in.
    member_of: Vec<u8>,
    members: Vec<Member>,
    /// Bytes of the members that are sealed.
    sealed: usize,
    /// And of those that are not.
    open: usize,
    /// What is to be put next, in order.
    ready: Vec<Value>,
}

struct Member {
    /// Whose key it is sealed with; several names may share one.
    id: KeyId,
    name: KeyName,
    numbers: Vec<u64>,
    is_open: bool,
    /// Records with their lengths while it is open; then sealed.
    bytes: Vec<u8>,
}

impl Pack {
    pub(crate) fn new() -> Result<Self, JournalError> {
        Ok(Self {
            sealer: Sealer::new()?,
            first: 0,
            member_of: Vec::new(),
            members: Vec::new(),
            sealed: 0,
            open: 0,
            ready: Vec::new(),
        })
    }

    /// Takes in the record of the next number. What has become ready by it is to be put
    /// into the database ([`Pack::take_ready`]), before anything that comes later.
    ///
    /// # Errors
    /// [`JournalError::Record`] where only this record cannot be written. After any other
    /// the pack is to forget what it holds.
    pub(crate) fn add(
        &mut self,
        ring: &KeyRing,
        name: KeyName,
        seq: u64,
        plain: &[u8],
    ) -> Result<(), JournalError> {
        let follows = self.first.checked_add(self.member_of.len() as u64) == Some(seq);
        if !follows || self.member_of.len() >= MOST || self.sealed >= FRAME || self.open >= OPEN {
            self.close(ring)?;
        }
        let (id, _) = ring.key_for(name)?;
        let block = self.members.iter().position(|m| m.is_open && m.id == id);
        let held = block.and_then(|at| self.members.get(at)).map_or(0, |m| m.numbers.len());
        let primed = self.sealer.primes(ring, id, held + 1);
        if primed && plain.len() <= SHORT {
            self.join(block, (id, name), seq, plain);
            return Ok(());
        }
        if !primed {
            // This record will be a primer, in the place of another one perhaps, and what
            // is in the blocks came before it.
            self.seal_blocks(ring)?;
        }
        let sealed = self.sealer.seal(ring, name, seq, plain)?;
        let alone = LEN + sealed.len() > FRAME;
        if alone || self.sealed + LEN + sealed.len() > FRAME {
            self.close(ring)?;
        }
        if alone {
            self.ready.push(Value { seq, is_pack: false, bytes: sealed });
        } else {
            self.sealed += LEN + sealed.len();
            self.begin_member(Member { id, name, numbers: vec![seq], is_open: false, bytes: sealed });
        }
        Ok(())
    }

    /// Makes what it holds ready, and begins anew.
    ///
    /// # Errors
    /// It is to forget what it holds then.
    pub(crate) fn close(&mut self, ring: &KeyRing) -> Result<(), JournalError> {
        self.seal_blocks(ring)?;
        let (seq, numbers) = (self.first, self.member_of.len());
        match self.members.as_mut_slice() {
            [] => return Ok(()),
            // As a record of one frame always was.
            [only] if numbers == 1 => {
                let bytes = std::mem::take(&mut only.bytes);
                self.ready.push(Value { seq, is_pack: false, bytes });
            }
            members => {
                let numbers = u8::try_from(numbers).unwrap_or(u8::MAX);
                let mut bytes = Vec::with_capacity(HEAD + self.member_of.len() + self.sealed);
                bytes.extend_from_slice(&[numbers, numbers]);
                bytes.extend_from_slice(&self.member_of);
                for member in members {
                    bytes.extend_from_slice(&length(&member.bytes));
                    bytes.extend_from_slice(&member.bytes);
                }
                self.ready.push(Value { seq, is_pack: true, bytes });
            }
        }
        self.empty();
        Ok(())
    }

    /// What is to be put into the database now, in order.
    pub(crate) fn take_ready(&mut self) -> impl Iterator<Item = Value> + use<> {
        std::mem::take(&mut self.ready).into_iter()
    }

    /// Forgets what it holds, and the primers: what was sealed last may not have been
    /// written.
    pub(crate) fn forget(&mut self) {
        self.sealer.forget();
        self.ready.clear();
        self.empty();
    }

    fn empty(&mut self) {
        self.member_of.clear();
        self.members.clear();
        (self.sealed, self.open) = (0, 0);
    }

    fn join(&mut self, block: Option<usize>, (id, name): (KeyId, KeyName), seq: u64, plain: &[u8]) {
        self.open += LEN + plain.len();
        if let Some(at) = block
            && let Some(member) = self.members.get_mut(at)
        {
            member.take(seq, plain);
            self.member_of.push(u8::try_from(at).unwrap_or(u8::MAX));
            return;
        }
        let mut member = Member { id, name, numbers: Vec::new(), is_open: true, bytes: Vec::new() };
        member.take(seq, plain);
        self.begin_member(member);
    }

    fn begin_member(&mut self, member: Member) {
        if self.member_of.is_empty() {
            self.first = member.numbers.first().copied().unwrap_or_default();
        }
        self.member_of.push(u8::try_from(self.members.len()).unwrap_or(u8::MAX));
        self.members.push(member);
    }

    fn seal_blocks(&mut self, ring: &KeyRing) -> Result<(), JournalError> {
        for member in self.members.iter_mut().filter(|m| m.is_open) {
            let sealed = match *member.numbers.as_slice() {
                [seq] => {
                    self.sealer.seal(ring, member.name, seq, member.bytes.get(LEN..).unwrap_or_default())
                }
                _ => self.sealer.seal_block(ring, member.name, &member.numbers, &member.bytes),
            };
            member.bytes = sealed.map_err(|e| of_many(ring, e))?;
            member.is_open = false;
            self.sealed += LEN + member.bytes.len();
        }
        self.open = 0;
        Ok(())
    }
}

impl Member {
    fn take(&mut self, seq: u64, plain: &[u8]) {
        self.numbers.push(seq);
        self.bytes.extend_from_slice(&length(plain));
        self.bytes.extend_from_slice(plain);
    }
}

/// An error that costs more than one record.
fn of_many(ring: &KeyRing, e: JournalError) -> JournalError {
    match e {
        JournalError::Record(problem) => JournalError::Volume { volume: ring.volume().to_owned(), problem },
        other => other,
    }
}

/// Of a record before compression, or of what was made of at most [`MOST`] short ones.
#[expect(clippy::cast_possible_truncation, reason = "no record has more than 64 MiB")]
fn length(bytes: &[u8]) -> [u8; LEN] {
    (bytes.len() as u32).to_be_bytes()
}

/// How many numbers a value stands for, by its first frame; `None` where it is no pack.
/// As many as it says, where it says of each which member it is in, and never none.
pub(super) fn span(frame: &[u8]) -> Option<u64> {
    let (word, rest) = frame.split_first_chunk::<LEN>()?;
    if u32::from_be_bytes(*word) & PACKED == 0 {
        return None;
    }
    let [numbers, standing, map @ ..] = rest else { return Some(1) };
    Some((*numbers.min(standing) as usize).min(map.len()).max(1) as u64)
}

/// The first frame of a pack of which only so many numbers are still its own; `None`
/// where none would be.
pub(super) fn shortened(frame: &[u8], standing: u64) -> Option<Vec<u8>> {
    let standing = u8::try_from(standing).ok().filter(|n| *n > 0)?;
    let mut frame = frame.to_vec();
    *frame.get_mut(LEN + 1)? = standing;
    Some(frame)
}

/// A member of a pack, and the numbers that it holds.
pub(super) struct Found<'p> {
    pub(super) sealed: &'p [u8],
    pub(super) numbers: Vec<u64>,
    /// How many of them, from the first on, are still the pack's own.
    pub(super) standing: usize,
}

/// The member that a number is in, `at` places after the first; `None` where there is
/// none, or where lengths and counts do not add up: then nobody can say what is whose.
pub(super) fn member(pack: &[u8], first: u64, at: u64) -> Option<Found<'_>> {
    let ([numbers, standing], rest) = pack.split_first_chunk::<HEAD>()?;
    let (map, members) = rest.split_at_checked(usize::from(*numbers))?;
    let at = usize::try_from(at).ok().filter(|at| *at < usize::from(*standing))?;
    let wanted = *map.get(at)?;
    let sealed = nth(members, usize::from(*map.iter().max()?) + 1, usize::from(wanted))?;
    let is_in = |member: &&u8| **member == wanted;
    let numbers = (first..).zip(map).filter(|(_, member)| is_in(member)).map(|(seq, _)| seq).collect();
    let standing = map.iter().take(usize::from(*standing)).filter(is_in).count();
    Some(Found { sealed, numbers, standing })
}

/// One of a row of so many with their lengths, as the members of a pack are and the
/// records of an opened block; `None` as for [`member`].
pub(super) fn nth(row: &[u8], count: usize, at: usize) -> Option<&[u8]> {
    let (mut rest, mut found) = (row, None);
    for i in 0..count {
        let (len, after) = rest.split_first_chunk::<LEN>()?;
        let (one, after) = after.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        if i == at {
            found = Some(one);
        }
        rest = after;
    }
    found.filter(|_| rest.is_empty())
}
