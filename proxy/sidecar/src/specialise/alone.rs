//! One training of a task at a time: two would write the same files, and the second one
//! would begin by removing what the first has learnt.
//!
//! It is a lock on a file beside the training's folder, which itself becomes an adapter's
//! or goes. The trainer holds it, too ([`Alone::held_by`]), so it ends with the last process
//! that writes there, however each of them ends, and a round of training that outlives its
//! proxy keeps the next proxy's away.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use understudy_policy::TaskId;

use super::kept;
use crate::failure::Failure;
use crate::state;

/// The right to train a task.
#[derive(Debug)]
pub(crate) struct Alone {
    pub(super) task: TaskId,
    // Locked while it is open, here or in the trainer.
    lock: File,
}

fn file(dir: &Path, task: TaskId) -> PathBuf {
    kept::folder(dir, task).with_extension("lock")
}

impl Alone {
    /// Takes it, in a state folder.
    ///
    /// # Errors
    /// Another process has it, with what to do about that; or what the system says.
    pub(crate) fn take(dir: &Path, task: TaskId) -> Result<Self, Failure> {
        let path = file(dir, task);
        state::make(path.parent().unwrap_or(dir))?;
        let Some(mut lock) = state::try_lock(&path, state::LOOKS)? else {
            let who = state::read_process(&path).map_or_else(String::new, |pid| format!(" (process {pid})"));
            return Err(Failure::Temporary(format!(
                "task {task} is being trained already{who}, by hand or as a round of specialise.auto: wait for the \
                 end of that training, or end it with SIGTERM, on which it keeps its checkpoint, and go on from \
                 there with --resume"
            )));
        };
        state::write_process(&mut lock);
        Ok(Self { task, lock })
    }

    /// Has a command hold it, too, until that ends.
    #[expect(unsafe_code, reason = "fcntl(2) must run between fork and exec")]
    pub(super) fn held_by<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let lock = self.lock.as_raw_fd();
        // SAFETY: fcntl is async-signal-safe and takes plain integers; who spawns the
        // command has us, and with us the file, open.
        unsafe {
            command.pre_exec(move || {
                if libc::fcntl(lock, libc::F_SETFD, 0) == -1 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            })
        }
    }
}

/// Whether a process trains the task now.
pub(crate) fn in_training(dir: &Path, task: TaskId) -> bool {
    understudy_capture::is_locked(&file(dir, task))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_trained_by_one_at_a_time_and_who_comes_second_is_told_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (TaskId(1), TaskId(2));
        assert!(!in_training(dir.path(), one));
        let alone = Alone::take(dir.path(), one).unwrap();
        assert!(in_training(dir.path(), one) && !in_training(dir.path(), other));
        let _beside = Alone::take(dir.path(), other).unwrap();
        let refused = Alone::take(dir.path(), one).unwrap_err();
        assert!(matches!(refused, Failure::Temporary(_)), "{refused}");
        let said = refused.to_string();
        assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
        assert!(said.contains(&one.to_string()) && said.contains("--resume"), "{said}");
        // The training's folder comes and goes; whoever looks takes it from nobody.
        std::fs::create_dir_all(kept::folder(dir.path(), one)).unwrap();
        std::fs::remove_dir_all(kept::folder(dir.path(), one)).unwrap();
        assert!(Alone::take(dir.path(), one).is_err());
        // A trainer that outlives whoever started it still has it.
        let mut trainer = alone.held_by(Command::new("sleep").arg("1000")).spawn().unwrap();
        drop(alone);
        assert!(in_training(dir.path(), one));
        trainer.kill().unwrap();
        trainer.wait().unwrap();
        assert!(!in_training(dir.path(), one));
        assert!(Alone::take(dir.path(), one).is_ok());
    }
}
