//! Sealing: zstd, then AES-256-GCM under a data key of the volume, the form and
//! the credential. The header names the key, and the volume's name and the
//! sequence number are associated data, so that a record opens in its own place only.
//!
//! A sealed record: version 1 (1 byte), key id (8), length before compression
//! (4, big endian), nonce (12, random), ciphertext with its tag (16).

mod ring;

use aws_lc_rs::aead::{Aad, Nonce};

pub(crate) use ring::{KeyName, KeyRing};

use crate::{JournalError, KeyError};

const VERSION: u8 = 1;
const KEY_ID: usize = 8;
const HEADER: usize = 1 + KEY_ID + 4;
const NONCE: usize = 12;

/// No record is larger than this before compression: far above two bodies at
/// their limit, and a bound on what opening one may allocate.
pub(crate) const MAX_RECORD: usize = 64 << 20;

/// Level 1 is several times faster than the default and loses some 10 % on JSON.
const LEVEL: i32 = 1;

pub(crate) type KeyId = [u8; KEY_ID];

/// Why a sealed record does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unopened {
    /// Its bytes are not a record, or not the one of this place.
    Damaged,
    /// Its key was destroyed, or the vault does not have it.
    KeyGone,
}

pub(crate) struct Sealer {
    zstd: zstd::bulk::Compressor<'static>,
}

impl Sealer {
    pub(crate) fn new() -> Result<Self, JournalError> {
        let zstd = zstd::bulk::Compressor::new(LEVEL).map_err(|e| JournalError::Record(e.to_string()))?;
        Ok(Self { zstd })
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
        let mut body = self.zstd.compress(plain).map_err(|e| JournalError::Record(e.to_string()))?;
        let nonce = key
            .seal_in_place_append_tag(Aad::from(associated(ring.volume(), seq, id, raw_len)), &mut body)
            .map_err(|_| KeyError::Crypto)?;
        let mut out = Vec::with_capacity(HEADER + NONCE + body.len());
        out.push(VERSION);
        out.extend_from_slice(&id);
        out.extend_from_slice(&raw_len.to_be_bytes());
        out.extend_from_slice(nonce.as_ref());
        out.extend_from_slice(&body);
        Ok(out)
    }
}

/// Opens what [`Sealer::seal`] made for this volume and this sequence number.
pub(crate) fn open(ring: &KeyRing, seq: u64, sealed: &mut [u8]) -> Result<Vec<u8>, Unopened> {
    let (header, rest) = sealed.split_first_chunk_mut::<HEADER>().ok_or(Unopened::Damaged)?;
    let (nonce, body) = rest.split_first_chunk_mut::<NONCE>().ok_or(Unopened::Damaged)?;
    let [VERSION, i0, i1, i2, i3, i4, i5, i6, i7, l0, l1, l2, l3] = *header else {
        return Err(Unopened::Damaged);
    };
    let id = [i0, i1, i2, i3, i4, i5, i6, i7];
    let raw_len = u32::from_be_bytes([l0, l1, l2, l3]);
    let key = ring.key(id).ok_or(Unopened::KeyGone)?;
    let plain = key
        .open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(associated(ring.volume(), seq, id, raw_len)),
            body,
        )
        .map_err(|_| Unopened::Damaged)?;
    let cap = usize::try_from(raw_len).ok().filter(|n| *n <= MAX_RECORD).ok_or(Unopened::Damaged)?;
    zstd::bulk::decompress(plain, cap).map_err(|_| Unopened::Damaged)
}

fn associated(volume: &str, seq: u64, id: KeyId, raw_len: u32) -> Vec<u8> {
    let mut a = Vec::with_capacity(64);
    a.extend_from_slice(b"understudy record 1 ");
    a.extend_from_slice(volume.as_bytes());
    a.extend_from_slice(&seq.to_be_bytes());
    a.extend_from_slice(&id);
    a.extend_from_slice(&raw_len.to_be_bytes());
    a
}

#[cfg(test)]
mod tests;
