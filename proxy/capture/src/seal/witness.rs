//! Whether a key-encryption key is a journal's: the wrapped data keys say so. The
//! check of the `head` would say less, for a head that was damaged or never written
//! looks as it does under another key.

use std::fs;
use std::path::Path;

use super::ring::wrapped_in;
use crate::volume::VolumeName;
use crate::{JournalError, KeyError, KeyVault};

/// What the data keys of a journal say of a vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Witness {
    /// There are none: nothing was sealed yet, or the keys were destroyed, and then
    /// no vault opens anything.
    Silent,
    /// It wrapped at least one of them.
    Own,
    /// It wrapped none of them.
    Other,
}

/// Asks the data keys of the journal in this folder, the newest volume's first.
///
/// # Errors
/// When the vault is away.
pub(crate) fn witness(journal: &Path, vault: &dyn KeyVault) -> Result<Witness, JournalError> {
    let mut said = Witness::Silent;
    for key in wrapped_keys(journal) {
        match vault.unwrap(&key) {
            Ok(_) => return Ok(Witness::Own),
            Err(KeyError::Foreign) => said = Witness::Other,
            Err(e) => return Err(e.into()),
        }
    }
    Ok(said)
}

/// Whether the journal in this folder has any data key.
pub(crate) fn any_key_in(journal: &Path) -> bool {
    wrapped_keys(journal).next().is_some()
}

/// A file or a line that cannot be read says nothing.
fn wrapped_keys(journal: &Path) -> impl Iterator<Item = Vec<u8>> {
    let keys = journal.join("keys");
    let mut volumes: Vec<VolumeName> = fs::read_dir(&keys)
        .into_iter()
        .flatten()
        .filter_map(|e| VolumeName::parse(e.ok()?.file_name().to_str()?))
        .collect();
    volumes.sort();
    let files = volumes.into_iter().rev().filter_map(move |v| fs::read(keys.join(v.as_str())).ok());
    files.flat_map(|bytes| wrapped_in(&bytes))
}
