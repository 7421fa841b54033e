//! Sealing: zstd, then AES-256-GCM under a data key of the volume, the form and
//! the credential. The header names the key, and the volume's name and the
//! sequence number are associated data, so that a record opens in its own place only.
//!
//! ```text
//! version  key id  length before compression  [primer's number, its mark]  nonce  ciphertext and tag
//! 1        8       4, big endian              8, big endian; 8             12     …, 16
//! ```
//!
//! Calls of one form say most of the same each time, so all but a few records are
//! compressed against an earlier one of the same key, their primer (version 2).
//! A primer itself stands alone (version 1).

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

    pub(crate) fn seal(
        &mut self,
        ring: &KeyRing,
        name: KeyName,
        seq: u64,
        plain: &[u8],
    ) -> Result<Vec<u8>, JournalError> {
        let raw_len =
            u32::try_from(plain.len()).ok().filter(|_| plain.len() <= MAX_RECORD).ok_or_else(|| {
                JournalError::Record(format!("it has {} bytes, {MAX_RECORD} are allowed", plain.len()))
            })?;
        let (id, key) = ring.key_for(name)?;
        self.body.clear();
        self.body.reserve(zstd_safe::compress_bound(plain.len()));
        let primer = self.primers.of(ring.volume(), id);
        let by = primer.as_ref().map(|(by, _)| *by);
        let compressed = match primer {
            Some((_, dictionary)) => self.zstd.compress_using_cdict(&mut self.body, plain, dictionary),
            None => self.zstd.compress(&mut self.body, plain, LEVEL),
        };
        compressed.map_err(|_| JournalError::Record("it does not compress".to_owned()))?;
        let nonce = key
            .seal_in_place_append_tag(
                Aad::from(associated(ring.volume(), seq, id, raw_len, by)),
                &mut self.body,
            )
            .map_err(|_| KeyError::Crypto)?;
        let mut out = Vec::with_capacity(HEADER + NAMED + NONCE + self.body.len());
        out.push(if by.is_some() { PRIMED } else { ALONE });
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
        if by.is_none()
            && let Some(mark) = mark(&out)
        {
            self.primers.keep(id, PrimedBy { seq, mark }, plain);
        }
        Ok(out)
    }
}

/// The header of a sealed record, and what follows it.
struct Header {
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
            PRIMED => {
                let (seq, after) = rest.split_first_chunk_mut::<8>()?;
                let (mark, after) = after.split_first_chunk_mut::<8>()?;
                rest = after;
                Some(PrimedBy { seq: u64::from_be_bytes(*seq), mark: *mark })
            }
            _ => return None,
        };
        let (nonce, body) = rest.split_first_chunk_mut::<NONCE>()?;
        let id = [i0, i1, i2, i3, i4, i5, i6, i7];
        Some((Self { id, raw_len: u32::from_be_bytes([l0, l1, l2, l3]), by, nonce: *nonce }, body))
    }
}

/// Opens what [`Sealer::seal`] made for this volume and this sequence number.
/// `primer` gives the record of a number of the same volume, as a primer.
pub(crate) fn open(
    ring: &KeyRing,
    seq: u64,
    sealed: &mut [u8],
    primer: impl FnOnce(u64) -> Option<Arc<Primer>>,
) -> Result<Vec<u8>, Unopened> {
    let (header, body) = Header::of(sealed).ok_or(Unopened::Damaged)?;
    let plain = decrypted(ring, seq, &header, body)?;
    let cap = usize::try_from(header.raw_len).ok().filter(|n| *n <= MAX_RECORD).ok_or(Unopened::Damaged)?;
    let Some(by) = header.by else {
        return zstd::bulk::decompress(plain, cap).map_err(|_| Unopened::Damaged);
    };
    // Only what came before it, or two records could wait for each other.
    let found = if by.seq < seq { primer(by.seq) } else { None };
    let found = found.ok_or(Unopened::Damaged)?;
    found.decompress(header.id, by, plain, cap).ok_or(Unopened::Damaged)
}

/// Opens a record that stands alone, as a primer of others.
pub(crate) fn open_primer(ring: &KeyRing, seq: u64, sealed: &mut [u8]) -> Option<Primer> {
    let id = Header::of(sealed).filter(|(header, _)| header.by.is_none())?.0.id;
    let mark = mark(sealed)?;
    let plain = open(ring, seq, sealed, |_| None).ok()?;
    Primer::of(id, mark, &plain)
}

/// Whether it is what was sealed for this place, whatever its primer has become.
///
/// # Errors
/// Why it is not, or why nobody can say.
pub(crate) fn intact(ring: &KeyRing, seq: u64, sealed: &mut [u8]) -> Result<(), Unopened> {
    let (header, body) = Header::of(sealed).ok_or(Unopened::Damaged)?;
    decrypted(ring, seq, &header, body).map(|_| ())
}

fn decrypted<'b>(
    ring: &KeyRing,
    seq: u64,
    header: &Header,
    body: &'b mut [u8],
) -> Result<&'b [u8], Unopened> {
    let key = ring.key(header.id)?;
    let with = associated(ring.volume(), seq, header.id, header.raw_len, header.by);
    let plain = key.open_in_place(Nonce::assume_unique_for_key(header.nonce), Aad::from(with), body);
    plain.map(|p| &*p).map_err(|_| Unopened::Damaged)
}

fn associated(volume: &str, seq: u64, id: KeyId, raw_len: u32, by: Option<PrimedBy>) -> Vec<u8> {
    let mut a = Vec::with_capacity(96);
    a.extend_from_slice(if by.is_some() { b"understudy record 2 " } else { b"understudy record 1 " });
    a.extend_from_slice(volume.as_bytes());
    a.extend_from_slice(&seq.to_be_bytes());
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
