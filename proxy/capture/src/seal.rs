//! Sealing: zstd, then AES-256-GCM under a data key of the volume, the form and
//! the credential. The header names the key, and the volume's name and the
//! sequence numbers are associated data, so that a record opens in its own place only.
//!
//! ```text
//! version  key id  length before compression  [primer's number, its mark]  nonce  ciphertext and tag
//! 1        8       4, big endian              8, big endian; 8             12     …, 16
//! ```
//!
//! Calls of one form say most of the same each time, so all but a few records are
//! compressed against an earlier one of the same key, their primer (version 2).
//! A primer itself stands alone (version 1). Several short ones of a key that came
//! together are sealed as one, a block (version 3, primed too): a record costs zstd and
//! the cipher more than its bytes do.

mod primer;
mod ring;
mod witness;

use std::sync::Arc;

use aws_lc_rs::aead::{Aad, Nonce};
use zstd::zstd_safe::{self, CCtx};

pub(crate) use primer::Primer;
use primer::Primers;
pub(crate) use ring::{KeyName, KeyRing};
pub(crate) use witness::{Witness, any_key_in, witness};

use crate::{JournalError, KeyError};

const ALONE: u8 = 1;
const PRIMED: u8 = 2;
const BLOCK: u8 = 3;
const KEY_ID: usize = 8;
const HEADER: usize = 1 + KEY_ID + 4;
const NONCE: usize = 12;
/// A primer's number and mark.
const NAMED: usize = 8 + 8;

/// No record is larger than this before compression: far above two bodies at
/// their limit, and a bound on what opening one may allocate.
pub(crate) const MAX_RECORD: usize = 64 << 20;

/// Level 1 is several times faster than the default and loses some 10 % on JSON.
const LEVEL: i32 = 1;

/// Buffers grow with a record; those of a usual one are kept.
pub(crate) const KEPT: usize = 256 << 10;

pub(crate) type KeyId = [u8; KEY_ID];

/// Why a sealed record does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unopened {
    /// Its bytes are not a record, or not the one of this place.
    Damaged,
    /// Its key is not there: it was destroyed, or was never written.
    KeyGone,
    /// Its key is there and does not unwrap: another key-encryption key wrapped it,
    /// or the vault is away.
    KeyForeign,
}

/// What a record was compressed against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PrimedBy {
    /// The number of a record of the same volume and key, before this one.
    seq: u64,
    /// Its own: a number may be given twice after a failure.
    mark: Mark,
}

/// The beginning of a sealed record's tag: another for every sealing, and nothing
/// to guess a content by.
type Mark = [u8; 8];

fn mark(sealed: &[u8]) -> Option<Mark> {
    let [.., a, b, c, d, e, f, g, h, _, _, _, _, _, _, _, _] = *sealed else { return None };
    Some([a, b, c, d, e, f, g, h])
}

pub(crate) struct Sealer {
    zstd: CCtx<'static>,
    body: Vec<u8>,
    primers: Primers,
}

impl Sealer {
    pub(crate) fn new() -> Result<Self, JournalError> {
        let zstd = CCtx::try_create().ok_or_else(|| JournalError::Record("no memory for zstd".to_owned()))?;
        Ok(Self { zstd, body: Vec::new(), primers: Primers::default() })
    }

    /// Forgets the primers: what was sealed last may not have been written.
    pub(crate) fn forget(&mut self) {
        self.primers = Primers::default();
    }

    /// Whether a primer of this key is held that may prime so many more.
    pub(crate) fn primes(&mut self, ring: &KeyRing, id: KeyId, records: usize) -> bool {
        self.primers.is_ready(ring.volume(), id, records)
    }

    /// Seals the record of this number. It may become the primer of those to come.
    pub(crate) fn seal(
        &mut self,
        ring: &KeyRing,
        name: KeyName,
        seq: u64,
        plain: &[u8],
    ) -> Result<Vec<u8>, JournalError> {
        self.seal_block(ring, name, &[seq], plain)
    }

    /// Seals the plain text of several records as one, of a key for which
    /// [`Sealer::primes`].
    pub(crate) fn seal_block(
        &mut self,
        ring: &KeyRing,
        name: KeyName,
        numbers: &[u64],
        plain: &[u8],
    ) -> Result<Vec<u8>, JournalError> {
        let raw_len =
            u32::try_from(plain.len()).ok().filter(|_| plain.len() <= MAX_RECORD).ok_or_else(|| {
                JournalError::Record(format!("it has {} bytes, {MAX_RECORD} are allowed", plain.len()))
            })?;
        let (id, key) = ring.key_for(name)?;
        self.body.clear();
        self.body.reserve(zstd_safe::compress_bound(plain.len()));
        let primer = self.primers.of(ring.volume(), id, numbers.len());
        let by = primer.as_ref().map(|(by, _)| *by);
        let version = match (numbers, by) {
            ([_], None) => ALONE,
            ([_], Some(_)) => PRIMED,
            (_, Some(_)) => BLOCK,
            (_, None) => return Err(JournalError::Record("its block has no primer".to_owned())),
        };
        let compressed = match primer {
            Some((_, dictionary)) => self.zstd.compress_using_cdict(&mut self.body, plain, dictionary),
            None => self.zstd.compress(&mut self.body, plain, LEVEL),
        };
        compressed.map_err(|_| JournalError::Record("it does not compress".to_owned()))?;
        let nonce = key
            .seal_in_place_append_tag(
                Aad::from(associated(ring.volume(), numbers, version, id, raw_len, by)),
                &mut self.body,
            )
            .map_err(|_| KeyError::Crypto)?;
        let mut out = Vec::with_capacity(HEADER + NAMED + NONCE + self.body.len());
        out.push(version);
        out.extend_from_slice(&id);
        out.extend_from_slice(&raw_len.to_be_bytes());
        if let Some(by) = by {
            out.extend_from_slice(&by.seq.to_be_bytes());
            out.extend_from_slice(&by.mark);
        }
        out.extend_from_slice(nonce.as_ref());
        out.extend_from_slice(&self.body);
        self.body.clear();
        self.body.shrink_to(KEPT);
        if let (&[seq], None) = (numbers, by)
            && let Some(mark) = mark(&out)
        {
            self.primers.keep(id, PrimedBy { seq, mark }, plain);
        }
        Ok(out)
    }
}

/// The header of a sealed record, and what follows it.
struct Header {
    version: u8,
    id: KeyId,
    raw_len: u32,
    by: Option<PrimedBy>,
    nonce: [u8; NONCE],
}

impl Header {
    fn of(sealed: &mut [u8]) -> Option<(Self, &mut [u8])> {
        let (header, mut rest) = sealed.split_first_chunk_mut::<HEADER>()?;
        let [version, i0, i1, i2, i3, i4, i5, i6, i7, l0, l1, l2, l3] = *header;
        let by = match version {
            ALONE => None,
            PRIMED | BLOCK => {
                let (seq, after) = rest.split_first_chunk_mut::<8>()?;
                let (mark, after) = after.split_first_chunk_mut::<8>()?;
                rest = after;
                Some(PrimedBy { seq: u64::from_be_bytes(*seq), mark: *mark })
            }
            _ => return None,
        };
        let (nonce, body) = rest.split_first_chunk_mut::<NONCE>()?;
        let id = [i0, i1, i2, i3, i4, i5, i6, i7];
        Some((Self { version, id, raw_len: u32::from_be_bytes([l0, l1, l2, l3]), by, nonce: *nonce }, body))
    }
}

/// Opens what a [`Sealer`] made for this volume and these numbers: one, or a block's.
/// `primer` gives the record of a number of the same volume, as a primer.
pub(crate) fn open(
    ring: &KeyRing,
    numbers: &[u64],
    sealed: &mut [u8],
    primer: impl FnOnce(u64) -> Option<Arc<Primer>>,
) -> Result<Vec<u8>, Unopened> {
    let (header, body) = Header::of(sealed).ok_or(Unopened::Damaged)?;
    let plain = decrypted(ring, numbers, &header, body)?;
    let cap = usize::try_from(header.raw_len).ok().filter(|n| *n <= MAX_RECORD).ok_or(Unopened::Damaged)?;
    let Some(by) = header.by else {
        return zstd::bulk::decompress(plain, cap).map_err(|_| Unopened::Damaged);
    };
    // Only what came before it, or two records could wait for each other.
    let earlier = numbers.first().is_some_and(|first| by.seq < *first);
    let found = if earlier { primer(by.seq) } else { None };
    let found = found.ok_or(Unopened::Damaged)?;
    found.decompress(header.id, by, plain, cap).ok_or(Unopened::Damaged)
}

/// Opens a record that stands alone, as a primer of others.
pub(crate) fn open_primer(ring: &KeyRing, seq: u64, sealed: &mut [u8]) -> Option<Primer> {
    let id = Header::of(sealed).filter(|(header, _)| header.by.is_none())?.0.id;
    let mark = mark(sealed)?;
    let plain = open(ring, &[seq], sealed, |_| None).ok()?;
    Primer::of(id, mark, &plain)
}

/// Whether it is what was sealed for this place, whatever its primer has become.
///
/// # Errors
/// Why it is not, or why nobody can say.
pub(crate) fn intact(ring: &KeyRing, numbers: &[u64], sealed: &mut [u8]) -> Result<(), Unopened> {
    let (header, body) = Header::of(sealed).ok_or(Unopened::Damaged)?;
    decrypted(ring, numbers, &header, body).map(|_| ())
}

fn decrypted<'b>(
    ring: &KeyRing,
    numbers: &[u64],
    header: &Header,
    body: &'b mut [u8],
) -> Result<&'b [u8], Unopened> {
    if (header.version == BLOCK) != (numbers.len() > 1) {
        return Err(Unopened::Damaged);
    }
    let key = ring.key(header.id)?;
    let with = associated(ring.volume(), numbers, header.version, header.id, header.raw_len, header.by);
    let plain = key.open_in_place(Nonce::assume_unique_for_key(header.nonce), Aad::from(with), body);
    plain.map(|p| &*p).map_err(|_| Unopened::Damaged)
}

/// All of it but the numbers is of one length in a version, so no two lists of fields
/// are the same bytes.
fn associated(
    volume: &str,
    numbers: &[u64],
    version: u8,
    id: KeyId,
    raw_len: u32,
    by: Option<PrimedBy>,
) -> Vec<u8> {
    let mut a = Vec::with_capacity(96 + 8 * numbers.len());
    a.extend_from_slice(match version {
        ALONE => b"understudy record 1 ",
        PRIMED => b"understudy record 2 ",
        _ => b"understudy record 3 ",
    });
    a.extend_from_slice(volume.as_bytes());
    for seq in numbers {
        a.extend_from_slice(&seq.to_be_bytes());
    }
    a.extend_from_slice(&id);
    a.extend_from_slice(&raw_len.to_be_bytes());
    if let Some(by) = by {
        a.extend_from_slice(&by.seq.to_be_bytes());
        a.extend_from_slice(&by.mark);
    }
    a
}

#[cfg(test)]
mod tests;
