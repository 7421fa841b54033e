use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::JournalError;
use crate::error::IoContext;
use crate::volume::sync_folder;

/// Takes the journal for this process: `lock` is locked while the file is open, so
/// the kernel lets go of it however the process ends.
pub(crate) fn own(dir: &Path) -> Result<File, JournalError> {
    let path = dir.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .during("open", &path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            file.read_to_string(&mut pid).ok();
            let pid = if pid.trim().is_empty() { "(unknown)".to_owned() } else { pid.trim().to_owned() };
            return Err(JournalError::Owned { dir: dir.to_owned(), pid });
        }
        Err(TryLockError::Error(e)) => return Err(e).during("lock", &path),
    }
    file.set_len(0).during("write", &path)?;
    file.rewind().during("write", &path)?;
    writeln!(file, "{}", std::process::id()).during("write", &path)?;
    Ok(file)
}

/// Whether a process has the journal in this folder open.
#[must_use]
pub fn is_owned(dir: &Path) -> bool {
    is_locked(&dir.join("lock"))
}

/// Whether a process holds the lock of this file. A shared lock asks, so that two who
/// only look are no owner to each other.
#[must_use]
pub fn is_locked(file: &Path) -> bool {
    File::open(file).is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// The `head` file: the last durable number and the number below which records were
/// retired, with a keyed check. It is written after each commit and synced only before
/// volumes are retired: it survives the process, and after a power cut it may be older,
/// never newer. So it tells when the end of the newest volume has been cut off. A damaged
/// one tells nothing, nor does an empty one: no commit, or a power cut soon after it.
pub(crate) struct Head {
    file: File,
    path: PathBuf,
    key: [u8; 32],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) durable: u64,
    pub(crate) floor: u64,
}

const MARK: usize = 16;
const CHECK: usize = 32;

impl Head {
    pub(crate) fn open(dir: &Path, hash_key: &[u8; 32]) -> Result<(Self, Option<Mark>), JournalError> {
        let path = dir.join("head");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .during("open", &path)?;
        let key = blake3::derive_key("understudy 2026-11 journal: head", hash_key);
        let mut bytes = [0u8; MARK + CHECK];
        let whole = file.read_exact_at(&mut bytes, 0).is_ok();
        let (mark, check) = bytes.split_at(MARK);
        let sound = whole && blake3::keyed_hash(&key, mark).as_bytes().as_slice() == check;
        let number =
            |at: usize| mark.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes);
        let mark = sound.then(|| Mark { durable: number(0), floor: number(8) });
        Ok((Self { file, path, key }, mark))
    }

    pub(crate) fn write(&self, mark: Mark) -> Result<(), JournalError> {
        let mut bytes = Vec::with_capacity(MARK + CHECK);
        bytes.extend_from_slice(&mark.durable.to_be_bytes());
        bytes.extend_from_slice(&mark.floor.to_be_bytes());
        let check = blake3::keyed_hash(&self.key, &bytes);
        bytes.extend_from_slice(check.as_bytes());
        self.file.write_all_at(&bytes, 0).during("write", &self.path)
    }

    /// The same, and a power cut does not undo it.
    pub(crate) fn write_through(&self, mark: Mark) -> Result<(), JournalError> {
        self.write(mark)?;
        self.file.sync_data().during("sync", &self.path)?;
        self.path.parent().map_or(Ok(()), sync_folder)
    }
}
