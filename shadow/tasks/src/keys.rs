//! Keyed hashes: who called, which conversation, which call. The key is the
//! journal's, so that none of them can be found by trying values.

use std::io::Write;

use understudy_call::{ConversationKey, Credential, FormHash};
use understudy_policy::TaskId;

/// The key of every keyed hash in one installation.
#[derive(Clone)]
pub struct HashKey([u8; 32]);

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(…)")
    }
}

impl HashKey {
    /// Wraps 32 secret bytes.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// Who calls: a hash of the provider's configured name and the secret as it came.
    #[must_use]
    pub fn credential(&self, provider: &str, secret: &[u8]) -> Credential {
        let mut h = self.domain(b"credential");
        field(&mut h, provider.as_bytes());
        field(&mut h, secret);
        Credential(first16(&h))
    }

    /// The conversation of a call: the caller's own id where there is one, else the
    /// form with the text of the user message that names it, which
    /// [`crate::Conversations`] finds.
    #[must_use]
    pub(crate) fn conversation(
        &self,
        credential: Credential,
        form: FormHash,
        explicit: Option<&str>,
        named_by: &str,
    ) -> ConversationKey {
        let mut h = self.domain(b"conversation");
        field(&mut h, &credential.0);
        match explicit {
            Some(id) => {
                field(&mut h, b"explicit");
                field(&mut h, id.as_bytes());
            }
            None => {
                field(&mut h, &form.0);
                field(&mut h, named_by.as_bytes());
            }
        }
        ConversationKey(first16(&h))
    }

    /// A call's body: the same body hashes the same, which finds repeats and
    /// draws audits independently of any answer.
    #[must_use]
    pub fn call(&self, body: &[u8]) -> u64 {
        let mut h = self.domain(b"call");
        field(&mut h, body);
        first8(&h)
    }

    pub(crate) fn domain(&self, name: &[u8]) -> blake3::Hasher {
        let mut h = blake3::Hasher::new_keyed(&self.0);
        field(&mut h, name);
        h
    }
}

/// The task of a form under a credential, or of a form shared by all (`None`).
#[must_use]
pub fn task_id(form: FormHash, credential: Option<Credential>) -> TaskId {
    let mut h = blake3::Hasher::new();
    field(&mut h, b"task");
    field(&mut h, &form.0);
    match credential {
        Some(c) => field(&mut h, &c.0),
        None => field(&mut h, b"shared"),
    }
    TaskId(first8(&h))
}

/// Adds a field with its length, so that no two lists of fields hash alike: to a hasher,
/// or to what one gets in one piece.
pub(crate) fn field(out: &mut impl Write, bytes: &[u8]) {
    // Hashers and buffers take everything.
    let _ = out.write_all(&(bytes.len() as u64).to_le_bytes());
    let _ = out.write_all(bytes);
}

pub(crate) fn first16(h: &blake3::Hasher) -> [u8; 16] {
    let mut out = [0u8; 16];
    h.finalize_xof().fill(&mut out);
    out
}

pub(crate) fn first8(h: &blake3::Hasher) -> u64 {
    let mut out = [0u8; 8];
    h.finalize_xof().fill(&mut out);
    u64::from_le_bytes(out)
}
