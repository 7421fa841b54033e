//! The engine as a child that is looked after.
//!
//! The child is this same binary. It answers on a Unix socket in the state
//! folder, gives way to the agent (nice), is killed when it hangs or takes
//! more memory than it may, started again with a growing pause, and dies with
//! us. Meanwhile every call goes to the provider.

mod health;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};
use tokio::sync::watch;
use tracing::{Instrument as _, Span};

use crate::config::Config;
use crate::failure::Failure;
use crate::outlived::ends_with_us;
use crate::state;
use crate::telemetry::own;

/// Between two looks at an engine that starts: every call meanwhile goes to the
/// provider.
const STARTING: Duration = Duration::from_millis(100);

/// Bytes of a Unix socket's path (`sun_path`, less the zero at its end).
const LONGEST_SOCKET: usize = 107;

/// How the engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Health {
    /// It loads its models.
    Starting,
    /// It answers; what it said of itself.
    Ready(serde_json::Value),
    /// It is not there, for this reason, and will be tried again.
    Down(String),
}

impl Health {
    /// For people.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Starting => "starting".into(),
            Self::Ready(said) => {
                let provider = said.get("execution_provider").and_then(|p| p.as_str()).unwrap_or("?");
                format!("ready on {provider}")
            }
            Self::Down(why) => format!("down: {why}"),
        }
    }
}

/// What to run and what it may take.
#[derive(Debug, Clone)]
pub(crate) struct Care {
    /// The program and its arguments.
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<std::ffi::OsString>,
    /// Where it answers.
    pub(crate) socket: PathBuf,
    pub(crate) nice: u64,
    pub(crate) memory_limit: u64,
    /// How long it may not answer.
    pub(crate) hung_after: Duration,
    /// Between two looks at it.
    pub(crate) every: Duration,
    /// The first pause before it is started again, which doubles …
    pub(crate) pause: Duration,
    /// … up to this.
    pub(crate) pause_max: Duration,
}

impl Care {
    /// The configured engine as our child.
    ///
    /// # Errors
    /// When we cannot find ourselves.
    pub(crate) fn of(config: &Config) -> Result<Self, Failure> {
        let program =
            std::env::current_exe().map_err(|e| Failure::Failed(format!("cannot find this program: {e}")))?;
        let socket = state::engine_socket(&config.state);
        let mut args = vec!["engine".into(), "--socket".into(), socket.clone().into_os_string()];
        if let Some(file) = &config.file {
            args.splice(0..0, ["--config".into(), file.clone().into_os_string()]);
        }
        Ok(Self {
            program,
            args,
            socket,
            nice: config.engine.nice,
            memory_limit: config.engine.memory_limit,
            hung_after: config.engine.hung_after,
            every: Duration::from_secs(1),
            pause: Duration::from_millis(250),
            pause_max: config.engine.restart_pause_max,
        })
    }
}

impl Care {
    /// The same engine on another socket.
    pub(crate) fn at(mut self, socket: PathBuf) -> Self {
        for arg in &mut self.args {
            if *arg == *self.socket.as_os_str() {
                *arg = socket.clone().into_os_string();
            }
        }
        self.socket = socket;
        self
    }
}

/// An engine that is looked after, until dropped.
#[derive(Debug)]
pub(crate) struct Supervised {
    health: watch::Receiver<Health>,
    counts: Arc<Mutex<Counts>>,
    end: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// What happened to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Times it was started.
    pub(crate) starts: u64,
    /// Times it hung and was killed.
    pub(crate) hung: u64,
    /// Times it took too much memory and was killed.
    pub(crate) memory: u64,
}

impl Supervised {
    /// Starts it, on a thread of its own that lives as long as we do: the
    /// child dies with the thread that made it (`PR_SET_PDEATHSIG`).
    ///
    /// # Errors
    /// When its socket's path is longer than the system takes, or there is no thread to
    /// be had.
    pub(crate) fn start(care: Care) -> Result<Self, Failure> {
        let length = care.socket.as_os_str().len();
        if length > LONGEST_SOCKET {
            return Err(Failure::Usage(format!(
                "the path of the engine's socket, {}, has {length} bytes, and the system takes {LONGEST_SOCKET}: \
                 choose a shorter folder",
                care.socket.display()
            )));
        }
        let (say, health) = watch::channel(Health::Starting);
        let (end, ending) = watch::channel(false);
        let counts = Arc::new(Mutex::new(Counts::default()));
        let theirs = Arc::clone(&counts);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Failure::Failed(format!("cannot start threads: {e}")))?;
        let thread = std::thread::Builder::new()
            .name("engine-care".into())
            .spawn(move || runtime.block_on(look_after(&care, &say, &theirs, ending)))
            .map_err(|e| Failure::Failed(format!("cannot start a thread: {e}")))?;
        Ok(Self { health, counts, end, thread: Some(thread) })
    }

    /// How it is, now and from now on.
    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// What happened to it.
    pub(crate) fn counts(&self) -> Arc<Mutex<Counts>> {
        Arc::clone(&self.counts)
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.end.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn count(counts: &Mutex<Counts>, change: impl FnOnce(&mut Counts)) {
    change(&mut counts.lock().unwrap_or_else(PoisonError::into_inner));
}

async fn look_after(
    care: &Care,
    say: &watch::Sender<Health>,
    counts: &Mutex<Counts>,
    mut ending: watch::Receiver<bool>,
) {
    let mut failures = 0u32;
    while !*ending.borrow() {
        say.send_replace(Health::Starting);
        count(counts, |c| c.starts += 1);
        let born = Instant::now();
        let span = own::run_engine();
        let why = live(care, say, counts, &mut ending).instrument(span.clone()).await;
        span.record("understudy.reason", why.as_str());
        if *ending.borrow() {
            break;
        }
        own::failed(&span);
        drop(span);
        failures = if born.elapsed() > Duration::from_secs(60) { 0 } else { failures.saturating_add(1) };
        let pause =
            care.pause.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1))).min(care.pause_max);
        tracing::warn!(
            why,
            again_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "the engine is down; calls go to the provider"
        );
        say.send_replace(Health::Down(why));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = ending.wait_for(|e| *e) => {}
        }
    }
    let _ = std::fs::remove_file(&care.socket);
}

/// One life of the child; why it ended.
async fn live(
    care: &Care,
    say: &watch::Sender<Health>,
    counts: &Mutex<Counts>,
    ending: &mut watch::Receiver<bool>,
) -> String {
    // Within its life, and told as soon as it answers: a life may last for days.
    let starting = own::start_engine();
    let mut child = match spawn(care) {
        Ok(child) => child,
        Err(error) => return format!("cannot be started: {error}"),
    };
    let why = tokio::select! {
        why = watch_over(care, &mut child, say, counts, starting) => why,
        _ = ending.wait_for(|e| *e) => "we end".to_owned(),
    };
    let _ = child.start_kill();
    let _ = child.wait().await;
    why
}

/// Looks at the child until it is gone or has to go; why.
async fn watch_over(
    care: &Care,
    child: &mut Child,
    say: &watch::Sender<Health>,
    counts: &Mutex<Counts>,
    starting: Span,
) -> String {
    let asking = match health::Asking::new(&care.socket) {
        Ok(asking) => asking,
        Err(error) => return error,
    };
    let mut seen = Instant::now();
    let (mut ready, mut starting) = (false, Some(starting));
    loop {
        tokio::select! {
            ended = child.wait() => return ended.map_or_else(|e| format!("was lost: {e}"), |s| format!("ended: {s}")),
            () = tokio::time::sleep(if ready { care.every } else { care.every.min(STARTING) }) => {}
        }
        if let Some(bytes) = child.id().and_then(health::anonymous_memory).filter(|b| *b > care.memory_limit)
        {
            count(counts, |c| c.memory += 1);
            return format!(
                "took {} of memory, of {} that it may (engine.memory_limit)",
                crate::config::show_bytes(bytes),
                crate::config::show_bytes(care.memory_limit)
            );
        }
        match asking.ask(care.hung_after).await {
            // It answers as long as it lives, but a model that hangs holds its own thread.
            Some(said) if health::longest_step(&said) > care.hung_after => {
                count(counts, |c| c.hung += 1);
                return format!(
                    "a step of a model has not ended in {} s (engine.hung_after)",
                    care.hung_after.as_secs()
                );
            }
            Some(said) => {
                seen = Instant::now();
                if !ready {
                    ready = true;
                    if let Some(starting) = starting.take() {
                        starting.record("understudy.ready", true);
                    }
                    tracing::info!("the engine is ready");
                }
                say.send_if_modified(|now| {
                    let next = Health::Ready(said);
                    let changed = *now != next;
                    *now = next;
                    changed
                });
            }
            // Loading a model takes longer than any answer.
            None if seen.elapsed() > care.hung_after * if ready { 1 } else { 4 } => {
                count(counts, |c| c.hung += 1);
                return format!("did not answer for {} s (engine.hung_after)", care.hung_after.as_secs());
            }
            None => {}
        }
    }
}

#[expect(unsafe_code, reason = "setpriority(2) must run between fork and exec")]
fn spawn(care: &Care) -> std::io::Result<Child> {
    let _ = std::fs::remove_file(&care.socket);
    let mut command = Command::new(&care.program);
    command.args(&care.args).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    // Its own group, so that a Ctrl-C that is meant for us does not end it first.
    command.process_group(0);
    let nice = i32::try_from(care.nice).unwrap_or(19);
    ends_with_us(command.as_std_mut(), libc::SIGKILL);
    // SAFETY: it is async-signal-safe and takes plain integers.
    unsafe {
        command.pre_exec(move || {
            libc::setpriority(libc::PRIO_PROCESS, 0, nice);
            Ok(())
        });
    }
    let child = command.spawn()?;
    if let Some(pid) = child.id() {
        // The kernel, short of memory, takes the engine before the agent.
        let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), "500");
    }
    Ok(child)
}
