//! The real binary as a child process, killed on drop.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The binary under test: `UNDERSTUDY_BIN`, or the one beside the test binary.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("UNDERSTUDY_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(|deps| deps.parent()).unwrap().join("understudy");
    assert!(path.exists(), "{} is missing: run 'make build' first", path.display());
    path
}

/// A child that does not outlive its test.
#[derive(Debug)]
pub struct Owned(pub Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a command and waits for the first line of its output that `wanted` takes.
///
/// # Panics
/// It ends, or the deadline passes, before such a line.
pub fn start<T: Send + 'static>(
    command: &mut Command,
    deadline: Duration,
    wanted: impl Fn(&str) -> Option<T> + Send + 'static,
) -> (Owned, T) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let out = child.stdout.take().unwrap();
    let owned = Owned(child);
    let (found, got) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // Reads on to the end, so that the child never blocks on a full pipe.
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if let Some(value) = wanted(&line) {
                let _ = found.send(value);
            }
        }
    });
    let value = got.recv_timeout(deadline).expect("the process did not say what was awaited");
    (owned, value)
}

/// Waits until the condition holds.
///
/// # Panics
/// The deadline passes first.
pub fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !condition() {
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
