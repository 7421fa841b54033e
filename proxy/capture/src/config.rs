use std::path::PathBuf;
use std::time::Duration;

/// How the journal is kept.
#[derive(Debug, Clone)]
pub struct JournalConfig {
    /// The folder; made with mode 0700 where it is missing.
    pub dir: PathBuf,
    /// A volume that has grown to this size is closed and the next begins. Small
    /// enough that opening one (sled reads its whole log) takes under a second.
    pub volume_bytes: u64,
    /// The oldest volumes are dropped once all of them together are larger than this.
    pub keep_bytes: u64,
    /// Most bytes of calls that wait for the writer; beyond it they are dropped and counted.
    pub queue_bytes: usize,
    /// Larger bodies are not kept: the call is recorded as metadata, truncated `TooLarge`.
    pub body_limit: usize,
    /// What was offered is durable at the latest after this time, when the disk keeps up.
    pub commit_every: Duration,
    /// Or as soon as this many sealed bytes wait for a commit.
    pub commit_bytes: usize,
    /// Whether personal data is replaced before anything is written.
    pub redact: bool,
    /// Nothing is written while the disk has less free space than this: sled does
    /// not reopen on a full disk, so the journal stops before sled sees one.
    pub free_floor_bytes: u64,
    /// How long the writer leaves a failing disk alone before it tries again.
    pub retry_after: Duration,
    /// Added to the writer thread's niceness, 0 to 19.
    pub nice: u8,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("journal"),
            volume_bytes: 64 << 20,
            keep_bytes: 4 << 30,
            queue_bytes: 8 << 20,
            body_limit: 4 << 20,
            commit_every: Duration::from_millis(100),
            commit_bytes: 1 << 20,
            redact: true,
            free_floor_bytes: 32 << 20,
            retry_after: Duration::from_millis(500),
            nice: 10,
        }
    }
}
