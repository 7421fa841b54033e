//! Whether a training is at work on this machine for this state folder: it wants
//! every core, and an hour of trials can wait where an hour of training cannot
//! be had again.
//!
//! A training holds a shared lock on a file, so that it ends with the process
//! however that ends; the worker sees whether it could have the file alone.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

fn open(state: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(file(state))
}

fn file(state: &Path) -> PathBuf {
    state.join("training.lock")
}

/// Held by a training while it is at work.
#[derive(Debug)]
pub(crate) struct AtWork(#[expect(dead_code, reason = "the lock is the file's, and ends with it")] File);

impl AtWork {
    /// Says so from now on.
    pub(crate) fn begin(state: &Path) -> io::Result<Self> {
        let file = open(state)?;
        flock(&file, FlockOperation::LockShared)?;
        Ok(Self(file))
    }
}

/// Looks for trainings of a state folder.
#[derive(Debug)]
pub(crate) struct Watch(Option<File>);

impl Watch {
    /// One that never sees any where the folder cannot be written.
    pub(crate) fn new(state: &Path) -> Self {
        Self(open(state).ok())
    }

    /// Whether one is at work now.
    pub(crate) fn sees_one(&self) -> bool {
        let Some(file) = &self.0 else { return false };
        let alone = flock(file, FlockOperation::NonBlockingLockExclusive);
        if alone.is_ok() {
            let _ = flock(file, FlockOperation::Unlock);
        }
        alone == Err(rustix::io::Errno::WOULDBLOCK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_is_seen_while_it_is_at_work() {
        let state = tempfile::tempdir().unwrap();
        let watch = Watch::new(state.path());
        assert!(!watch.sees_one());
        let (one, two) = (AtWork::begin(state.path()).unwrap(), AtWork::begin(state.path()).unwrap());
        assert!(watch.sees_one());
        drop(one);
        assert!(watch.sees_one());
        drop(two);
        assert!(!watch.sees_one());
        assert!(!Watch::new(&state.path().join("gone")).sees_one());
    }
}
