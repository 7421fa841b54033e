//! What a child does whose parent is gone: a training that nobody waits for would go on
//! for its hour, and an engine for ever.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Sends a command this signal when we have ended: however that was, a `kill -9` among it.
/// The kernel does so when the thread that started it is gone, so that has to be one that
/// lives as long as we do: a runtime's own is, one for blocking work is not.
#[expect(unsafe_code, reason = "prctl(2) must run between fork and exec")]
pub(crate) fn ends_with_us(command: &mut Command, signal: libc::c_int) -> &mut Command {
    // SAFETY: prctl is async-signal-safe and takes plain integers.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, signal) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn a_command_is_told_to_end_when_who_started_it_is_gone() {
        // A thread is enough of a parent to be gone.
        let start = || ends_with_us(Command::new("sleep").arg("1000"), libc::SIGTERM).spawn().unwrap();
        let started = std::thread::spawn(start);
        let mut child = started.join().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
    }
}
