//! The signals that tell the process to end. The first is obeyed in good order. A later
//! one ends the process at once: whoever gives it no longer waits. What was durable
//! stays durable, and the engine dies with us; all else is as after a `kill -9`.
//!
//! One that comes within a second is the same word again: Ctrl-C reaches everyone in
//! front of a terminal, and `npm` and others hand it on as well.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::failure::Failure;

/// Whether somebody was told to end, the process or the command that it runs. Signals
/// are the whole process's, and so is this.
static TOLD: AtomicBool = AtomicBool::new(false);

/// In which a signal is the one before it once more.
const SAME: Duration = Duration::from_secs(1);

/// Notes that one was, by this signal, if it is one that tells to end.
pub(crate) fn was_told(number: i32) {
    if matches!(number, libc::SIGTERM | libc::SIGINT | libc::SIGHUP) {
        TOLD.store(true, Ordering::Release);
    }
}

/// Ends when the process is told to, by SIGTERM, by Ctrl-C, or by its terminal, which was
/// closed.
///
/// # Errors
/// When signals cannot be watched.
pub(crate) fn told_to_end() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let blame = |e: std::io::Error| Failure::Failed(format!("cannot watch signals: {e}"));
    let mut signals = Signals::watch().map_err(blame)?;
    Ok(async move { was_told(signals.next().await) })
}

/// From now on the process ends at once when it is told to once more. One that runs a
/// command, and ends since that has ended, may not have been told at all.
pub(super) fn insist() -> Option<JoinHandle<()>> {
    Some(tokio::spawn(end_at_once(Signals::watch().ok()?)))
}

async fn end_at_once(mut signals: Signals) {
    let mut told = TOLD.load(Ordering::Acquire).then(Instant::now);
    loop {
        let number = signals.next().await;
        if told.get_or_insert_with(Instant::now).elapsed() >= SAME {
            tracing::warn!(signal = number, "told to end once more: the process ends at once");
            exit(128 + number);
        }
    }
}

/// The signals from now on.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` where whoever started us wants us to outlive the terminal, as `nohup` does.
    hangup: Option<Signal>,
}

impl Signals {
    fn watch() -> std::io::Result<Self> {
        // Asked before a handler is there.
        let hangup = (!is_ignored(libc::SIGHUP)).then(|| signal(SignalKind::hangup())).transpose()?;
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup,
        })
    }

    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => libc::SIGTERM,
            _ = self.interrupt.recv() => libc::SIGINT,
            Some(_) = async { self.hangup.as_mut()?.recv().await } => libc::SIGHUP,
        }
    }
}

#[expect(unsafe_code, reason = "sigaction(2) has no safe form that only asks")]
fn is_ignored(number: i32) -> bool {
    // SAFETY: without an action to set it writes a plain struct of ours and reads nothing;
    // all zeros are one.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(number, std::ptr::null(), &raw mut now) == 0 && now.sa_sigaction == libc::SIG_IGN
    }
}

#[expect(unsafe_code, reason = "_exit(2) has no safe form in std")]
fn exit(code: i32) -> ! {
    // SAFETY: it takes an integer and does not return. That destructors and exit
    // handlers do not run is what is asked for: one of them may be what is waited for.
    unsafe { libc::_exit(code) }
}
