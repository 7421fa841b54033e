//! The limits that we set ourselves, and how a command of the user's gets its own back.
//!
//! No core files of ours: one would put on the disk, in the clear, what is in memory,
//! prompts and keys among it. And as many open files as the connections that are promised
//! need: a call holds two, and the usual soft limit of 1,024 is for programs that still use
//! `select`. The agent under `understudy run` may be one, and keeps its own core files.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::process::Command;

/// The limits that we were started with.
static CORE: OnceLock<Rlimit> = OnceLock::new();
static OPEN_FILES: OnceLock<Rlimit> = OnceLock::new();

/// Open files that are asked for: far over 4,096 calls at once. Then what macOS gives,
/// which refuses more than its own limit.
const WANTED: [u64; 2] = [65_536, 10_240];

/// Writes none from now on, nor does a child of ours.
pub(crate) fn refuse() {
    let before = *CORE.get_or_init(|| getrlimit(Resource::Core));
    // The soft limit alone, so that a command can have its own back.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..before });
}

/// Lets this process open as many files as it may, within reason.
pub(crate) fn open_many() {
    let before = *OPEN_FILES.get_or_init(|| getrlimit(Resource::Nofile));
    for wanted in WANTED {
        let most = before.maximum.map_or(wanted, |most| most.min(wanted));
        // Where there is enough, or no limit, there is nothing to do.
        if before.current.is_none_or(|now| now >= most)
            || setrlimit(Resource::Nofile, Rlimit { current: Some(most), ..before }).is_ok()
        {
            return;
        }
    }
}

/// Gives a command the limits that it would have without us.
#[expect(unsafe_code, reason = "setrlimit(2) must run between fork and exec")]
pub(crate) fn as_before(command: &mut Command) -> &mut Command {
    let before = [(Resource::Core, CORE.get().copied()), (Resource::Nofile, OPEN_FILES.get().copied())];
    // SAFETY: setrlimit is async-signal-safe and takes plain integers.
    unsafe {
        command.pre_exec(move || {
            for (what, limit) in before {
                if let Some(limit) = limit {
                    // A command with our limits is better than none.
                    let _ = setrlimit(what, limit);
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new process's soft limit, as the kernel writes it.
    async fn limit_of(command: &mut Command, row: &str) -> String {
        let said = command.output().await.unwrap().stdout;
        let said = String::from_utf8(said).unwrap();
        let row = said.lines().find_map(|l| l.strip_prefix(row)).unwrap();
        row.split_whitespace().next().unwrap().to_owned()
    }

    fn look() -> Command {
        let mut command = Command::new("cat");
        command.arg("/proc/self/limits");
        command
    }

    fn written(limit: Option<u64>) -> String {
        limit.map_or_else(|| "unlimited".to_owned(), |n| n.to_string())
    }

    #[tokio::test]
    async fn we_write_no_core_files_and_the_command_does_as_without_us() {
        // As much as this machine lets us have, so that there is something to give back.
        let most = getrlimit(Resource::Core).maximum;
        setrlimit(Resource::Core, Rlimit { current: most, maximum: most }).unwrap();
        refuse();
        assert_eq!(getrlimit(Resource::Core), Rlimit { current: Some(0), maximum: most });
        let row = "Max core file size";
        assert_eq!(limit_of(&mut look(), row).await, "0");
        assert_eq!(limit_of(as_before(&mut look()), row).await, written(most));
    }

    #[tokio::test]
    async fn we_open_many_files_and_the_command_as_many_as_without_us() {
        let before = getrlimit(Resource::Nofile);
        open_many();
        let now = getrlimit(Resource::Nofile);
        assert_eq!(now.maximum, before.maximum);
        assert!(
            now.current.is_none_or(|n| n >= before.maximum.map_or(10_240, |most| most.min(10_240))),
            "{now:?}"
        );
        let row = "Max open files";
        assert_eq!(limit_of(&mut look(), row).await, written(now.current));
        assert_eq!(limit_of(as_before(&mut look()), row).await, written(before.current));
    }
}
