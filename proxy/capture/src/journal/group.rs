use std::sync::mpsc::SyncSender;
use std::time::Instant;

use crate::{Captured, JournalError, Record};

/// Tells an append that it is durable, and up to which number, or why it is not.
pub(super) type Ack = SyncSender<Result<u64, JournalError>>;

/// What the writer is given.
pub(super) enum Entry {
    Call(Box<Captured>),
    Append { records: Vec<Record>, ack: Ack },
    Close,
}

/// What waits for the next commit.
#[derive(Default)]
pub(super) struct Group {
    pub(super) acks: Vec<Ack>,
    /// Calls that were offered; they count as dropped where the commit fails.
    pub(super) calls: u64,
    pub(super) records: u64,
    /// Sealed.
    pub(super) bytes: usize,
    /// When the first of them came.
    pub(super) since: Option<Instant>,
}
