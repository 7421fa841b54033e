//! No core files of ours: one would put on the disk, in the clear, what is in memory,
//! prompts and keys among it. The agent under `understudy run` keeps its own.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::process::Command;

/// The limit that we were started with.
static BEFORE: OnceLock<Rlimit> = OnceLock::new();

/// Writes none from now on, nor does a child of ours.
pub(crate) fn refuse() {
    let before = *BEFORE.get_or_init(|| getrlimit(Resource::Core));
    // The soft limit alone, so that a command can have its own back.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..before });
}

/// Gives a command the limit that it would have without us.
#[expect(unsafe_code, reason = "setrlimit(2) must run between fork and exec")]
pub(crate) fn as_before(command: &mut Command) -> &mut Command {
    let Some(before) = BEFORE.get().copied() else { return command };
    // SAFETY: setrlimit is async-signal-safe and takes plain integers.
    unsafe {
        command.pre_exec(move || {
            // A command without core files is better than none.
            let _ = setrlimit(Resource::Core, before);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new process's soft limit, as the kernel writes it.
    async fn limit_of(command: &mut Command) -> String {
        let said = command.output().await.unwrap().stdout;
        let said = String::from_utf8(said).unwrap();
        let row = said.lines().find_map(|l| l.strip_prefix("Max core file size")).unwrap();
        row.split_whitespace().next().unwrap().to_owned()
    }

    #[tokio::test]
    async fn we_write_no_core_files_and_the_command_does_as_without_us() {
        // As much as this machine lets us have, so that there is something to give back.
        let most = getrlimit(Resource::Core).maximum;
        setrlimit(Resource::Core, Rlimit { current: most, maximum: most }).unwrap();
        refuse();
        assert_eq!(getrlimit(Resource::Core), Rlimit { current: Some(0), maximum: most });
        let look = || {
            let mut command = Command::new("cat");
            command.arg("/proc/self/limits");
            command
        };
        assert_eq!(limit_of(&mut look()).await, "0");
        let before = most.map_or_else(|| "unlimited".to_owned(), |n| n.to_string());
        assert_eq!(limit_of(as_before(&mut look())).await, before);
    }
}
