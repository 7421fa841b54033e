//! The command: its signals and its exit code.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;
use crate::serve::was_told;
use crate::{core_files, library};

/// Runs the command to its end, passing on what we are sent.
///
/// Ctrl-C reaches the command from the terminal by itself, as it is in the
/// same process group; so an interrupt is passed on only when no terminal
/// would have done so.
///
/// # Errors
/// When there is no such command.
pub(super) async fn run(command: &[OsString], set: &BTreeMap<String, String>) -> Result<u8, Failure> {
    let Some((program, args)) = command.split_first() else {
        return Err(Failure::Usage("a command is required after --".to_owned()));
    };
    let from_terminal = in_foreground();
    let kinds = [
        (SignalKind::terminate(), libc::SIGTERM, false),
        (SignalKind::hangup(), libc::SIGHUP, false),
        (SignalKind::user_defined1(), libc::SIGUSR1, false),
        (SignalKind::user_defined2(), libc::SIGUSR2, false),
        (SignalKind::interrupt(), libc::SIGINT, from_terminal),
        (SignalKind::quit(), libc::SIGQUIT, from_terminal),
    ];
    let (sender, mut received) = tokio::sync::mpsc::channel::<i32>(16);
    let mut watchers = tokio::task::JoinSet::new();
    for (kind, number, terminal_does) in kinds {
        let mut stream = signal(kind).map_err(|e| Failure::Failed(format!("cannot watch signals: {e}")))?;
        let sender = sender.clone();
        watchers.spawn(async move {
            while stream.recv().await.is_some() {
                // Once the command has ended, the next of them does not wait for us.
                was_told(number);
                if !terminal_does && sender.send(number).await.is_err() {
                    break;
                }
            }
        });
    }
    let mut child = core_files::as_before(library::as_before(Command::new(program).args(args)).envs(set))
        .spawn()
        .map_err(|e| {
            let name = program.to_string_lossy();
            match e.kind() {
                std::io::ErrorKind::NotFound => Failure::Unavailable(format!("there is no command {name}")),
                _ => Failure::Unavailable(format!("{name} cannot be run: {e}")),
            }
        })?;
    loop {
        tokio::select! {
            ended = child.wait() => return ended.map(code).map_err(|e| Failure::Failed(format!("the command was lost: {e}"))),
            Some(number) = received.recv() => {
                if let Some(pid) = child.id().and_then(|p| i32::try_from(p).ok()) {
                    pass_on(pid, number);
                }
            }
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(1);
    u8::try_from(code & 0xff).unwrap_or(1)
}

#[expect(unsafe_code, reason = "kill(2) has no safe form in std")]
fn pass_on(pid: i32, number: i32) {
    // SAFETY: kill takes two integers; the child has not been waited for, so its id is still its own.
    unsafe {
        libc::kill(pid, number);
    }
}

/// Whether we are in the foreground of a terminal, which then signals the command itself.
#[expect(unsafe_code, reason = "tcgetpgrp(3) and getpgrp(2) have no safe form in std")]
fn in_foreground() -> bool {
    use std::os::fd::AsRawFd as _;
    let Ok(terminal) = std::fs::File::open("/dev/tty") else { return false };
    // SAFETY: both take or return plain integers; the descriptor is open for the call.
    unsafe { libc::tcgetpgrp(terminal.as_raw_fd()) == libc::getpgrp() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Vec<OsString> {
        ["sh", "-c", script].map(OsString::from).to_vec()
    }

    #[tokio::test]
    async fn the_commands_exit_code_is_ours() {
        assert_eq!(run(&sh("exit 7"), &BTreeMap::new()).await.unwrap(), 7);
        assert_eq!(run(&sh("exit 0"), &BTreeMap::new()).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_command_that_a_signal_ended_gives_128_and_the_signal() {
        assert_eq!(run(&sh("kill -TERM $$"), &BTreeMap::new()).await.unwrap(), 143);
    }

    #[tokio::test]
    async fn the_command_sees_its_variables() {
        let set = BTreeMap::from([("OPENAI_BASE_URL".to_owned(), "http://here".to_owned())]);
        assert_eq!(run(&sh("test \"$OPENAI_BASE_URL\" = http://here"), &set).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_command_that_is_not_there_is_named() {
        let missing = [OsString::from("no-such-command-here")];
        assert!(
            run(&missing, &BTreeMap::new()).await.unwrap_err().to_string().contains("no-such-command-here")
        );
    }

    #[tokio::test]
    async fn a_signal_to_us_reaches_the_command() {
        // The command asks its parent, this process, for SIGUSR1, and waits for it.
        let command = sh("trap 'exit 9' USR1; kill -USR1 $PPID; while :; do :; done");
        assert_eq!(run(&command, &BTreeMap::new()).await.unwrap(), 9);
    }
}
