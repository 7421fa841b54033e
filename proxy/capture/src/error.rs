use std::io;
use std::path::PathBuf;

use crate::DropReason;

/// Why the journal cannot do what was asked. It never becomes an agent's error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another process has it.
    #[error("the journal in {} is owned by process {pid}: wait until that process ends, or stop it", dir.display())]
    Owned {
        /// The journal's folder.
        dir: PathBuf,
        /// The owner's process id, as it wrote it.
        pid: String,
    },
    /// The file system refused.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// It was sealed with another key. Nothing of it was touched.
    #[error("the journal in {} was sealed with another key: put that key file back, or move the journal's folder aside to begin a new one", dir.display())]
    OtherKey {
        /// The journal's folder.
        dir: PathBuf,
    },
    /// A key cannot be had.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A volume's database failed.
    #[error("volume {volume} failed: {problem}")]
    Volume {
        /// The volume.
        volume: String,
        /// In the database's words, without content.
        problem: String,
    },
    /// The disk has less free space than the journal leaves alone.
    #[error("the disk under {} has {free} bytes free, and the journal leaves {floor} alone: free some space", dir.display())]
    DiskFull {
        /// The journal's folder.
        dir: PathBuf,
        /// Bytes free.
        free: u64,
        /// Bytes to be left free.
        floor: u64,
    },
    /// A record does not turn into bytes, or is larger than a record may be.
    #[error("a record cannot be written: {0}")]
    Record(String),
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

impl JournalError {
    /// What it is counted as, where it costs a call's record.
    pub(crate) fn drop_reason(&self) -> DropReason {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        match self {
            Self::DiskFull { .. } => DropReason::DiskFull,
            Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded) => {
                DropReason::DiskFull
            }
            Self::Volume { problem, .. } if problem.contains("No space left") => DropReason::DiskFull,
            Self::Key(_) | Self::OtherKey { .. } => DropReason::Key,
            Self::Record(_) => DropReason::Malformed,
            Self::Closed => DropReason::Closed,
            _ => DropReason::Disk,
        }
    }

    /// The same for another caller.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::DiskFull { dir, free, floor } => {
                Self::DiskFull { dir: dir.clone(), free: *free, floor: *floor }
            }
            Self::Io { what, path, source } => {
                Self::Io { what, path: path.clone(), source: source.kind().into() }
            }
            Self::Volume { volume, problem } => {
                Self::Volume { volume: volume.clone(), problem: problem.clone() }
            }
            other => Self::Record(other.to_string()),
        }
    }
}

/// Why a key cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key file is open to others.
    #[error("key file {} has mode {mode:04o}, so others may read it: chmod 600 it, and make a new key if it may have been copied", path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file is not one.
    #[error("key file {} is not a key: it has {len} bytes where 64 hexadecimal digits are expected", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// Its length.
        len: usize,
    },
    /// The key file is not there, and a journal is that needs it.
    #[error("key file {} is missing, and the journal in {} was sealed with one: put the key file back, or move the journal's folder aside to begin a new one", path.display(), journal.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The journal's folder.
        journal: PathBuf,
    },
    /// The key file cannot be read or made.
    #[error("cannot {what} key file {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The system gives no random numbers, or the cipher refused.
    #[error("the cryptographic library refused")]
    Crypto,
    /// A wrapped key was not made by this vault, or it was changed.
    #[error("a data key does not unwrap: it belongs to another key, or it was changed")]
    Foreign,
    /// A vault elsewhere cannot be reached or refused.
    #[error("key vault unavailable: {0}")]
    Unavailable(String),
}

pub(crate) trait IoContext<T> {
    /// Says what was tried, on which path.
    fn during(self, what: &'static str, path: &std::path::Path) -> Result<T, JournalError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn during(self, what: &'static str, path: &std::path::Path) -> Result<T, JournalError> {
        self.map_err(|source| JournalError::Io { what, path: path.to_owned(), source })
    }
}
