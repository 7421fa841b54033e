//! Logs to standard error; traces and metrics over OTLP where an endpoint is
//! configured, with the GenAI names of OpenTelemetry's semantic conventions
//! (in development; as of `reference/statistics.md`, November 2026).
//!
//! A provider's call is a CLIENT span, an understudy's an INTERNAL one; a
//! shadow trial is a trace of its own with a link to the call. The id of a
//! call's span follows from the exchange's id, so that a trial made an hour
//! and a restart later still finds it. Content never leaves.

mod attributes;
pub(crate) mod ids;
mod otlp;
pub(crate) mod spans;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::Telemetry;
use crate::failure::Failure;
use spans::{Emitter, Told};

/// Calls and trials that may wait to become spans; beyond it they are dropped and counted.
const QUEUE: usize = 1024;

/// Starts logging; a second time it changes nothing.
///
/// # Errors
/// When the directives make no sense.
pub(crate) fn logs(config: &Telemetry) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&config.log).map_err(|e| {
        Failure::Config(vec![crate::config::Mistake {
            key: "telemetry.log".into(),
            value: config.log.clone(),
            rule: format!("must be a level or directives: {e}"),
        }])
    })?;
    let colour = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    let _ = if config.json { builder.json().finish().try_init() } else { builder.finish().try_init() };
    Ok(())
}

/// Takes what is to become spans and metrics; never waits.
#[derive(Clone)]
pub(crate) struct Outward {
    sender: SyncSender<Told>,
    dropped: Arc<AtomicU64>,
}

impl std::fmt::Debug for Outward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outward").field("dropped", &self.dropped).finish_non_exhaustive()
    }
}

impl Outward {
    /// Tells, or drops and counts.
    pub(crate) fn tell(&self, told: Told) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.sender.try_send(told) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The thread that makes spans; dropped, it sends what it has.
pub(crate) struct Exporting {
    outward: Outward,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Exporting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporting").finish_non_exhaustive()
    }
}

impl Exporting {
    /// Starts it, inside a Tokio runtime; `None` where no endpoint is configured.
    ///
    /// # Errors
    /// When the endpoint makes no sense.
    pub(crate) fn start(config: &Telemetry) -> Result<Option<Self>, Failure> {
        let Some(endpoint) = &config.endpoint else { return Ok(None) };
        let providers = otlp::providers(config, endpoint)
            .map_err(|e| Failure::Failed(format!("telemetry to {endpoint} cannot be set up: {e}")))?;
        let (sender, receiver) = sync_channel(QUEUE);
        let old_names = config.old_names;
        let thread = std::thread::Builder::new()
            .name("telemetry".into())
            .spawn(move || work(receiver, &providers, old_names))
            .map_err(|e| Failure::Failed(format!("cannot start a thread: {e}")))?;
        let outward = Outward { sender, dropped: Arc::default() };
        Ok(Some(Self { outward, thread: Some(thread) }))
    }

    /// A handle to tell with.
    pub(crate) fn outward(&self) -> Outward {
        self.outward.clone()
    }
}

fn work(receiver: Receiver<Told>, providers: &otlp::Providers, old_names: bool) {
    let mut emitter = Emitter::new(&providers.traces, &providers.metrics, old_names);
    while let Ok(told) = receiver.recv() {
        if matches!(told, Told::End) {
            break;
        }
        emitter.take(told);
    }
    emitter.finish();
    providers.end();
}

impl Drop for Exporting {
    fn drop(&mut self) {
        // The queue may be full: the thread is reading, so this comes to an end.
        let _ = self.outward.sender.send(Told::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
