use std::path::Path;
use std::time::{Duration, Instant};

use crate::JournalError;
use crate::error::IoContext;

/// How long an answer about free space holds.
const HOLDS: Duration = Duration::from_millis(20);
/// And for how many bytes at most.
const MOST: u64 = 1 << 20;

/// Room that was found on the disk and may be written to without asking again: a
/// burst of records costs one system call, not one each.
#[derive(Default)]
pub(super) struct Space {
    found: Option<Found>,
}

struct Found {
    at: Instant,
    floor: u64,
    bytes: u64,
}

impl Space {
    /// Takes room for a record of `bytes`, which the database may write twice.
    ///
    /// # Errors
    /// Where that would leave less than `floor` free.
    pub(super) fn take(&mut self, dir: &Path, floor: u64, bytes: usize) -> Result<(), JournalError> {
        let wanted = 2 * bytes as u64;
        if let Some(found) = &mut self.found
            && found.floor == floor
            && found.at.elapsed() < HOLDS
            && let Some(left) = found.bytes.checked_sub(wanted)
        {
            found.bytes = left;
            return Ok(());
        }
        self.found = None;
        let stat = rustix::fs::statvfs(dir)
            .map_err(std::io::Error::from)
            .during("ask for the free space of", dir)?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let Some(left) = free.checked_sub(floor).and_then(|room| room.checked_sub(wanted)) else {
            return Err(JournalError::DiskFull { dir: dir.to_owned(), free, floor });
        };
        self.found = Some(Found { at: Instant::now(), floor, bytes: left.min(MOST) });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_refused_below_the_floor_and_a_floor_that_rises_holds_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut space = Space::default();
        space.take(dir.path(), 0, 1000).unwrap();
        let refused = space.take(dir.path(), u64::MAX, 1000);
        assert!(matches!(refused, Err(JournalError::DiskFull { floor: u64::MAX, .. })));
        space.take(dir.path(), 0, 1000).unwrap();
        // More than was found is asked for anew.
        space.take(dir.path(), 0, 2 << 20).unwrap();
        assert!(space.take(dir.path(), 0, usize::MAX >> 2).is_err());
    }
}
