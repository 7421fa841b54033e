use std::time::Instant;

use super::writer::Ack;

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
