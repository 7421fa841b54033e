//! Logs to standard error; traces, metrics and events over OTLP where an
//! endpoint is configured, with the GenAI names of OpenTelemetry's semantic
//! conventions (in development; as of `reference/statistics.md`, November 2026).
//!
//! A provider's call is a CLIENT span, an understudy's an INTERNAL one. Both
//! are made after the call, out of its measured times, so that nothing is added
//! to it ([`spans`]). What the proxy does by itself (reading a record, a trial,
//! looking after the engine) are `tracing` spans, which a layer exports
//! ([`own`], [`subscriber`]); what is done for a call has a link to the call.
//! The id of a call's span follows from the exchange's id, so that a trial made
//! an hour and a restart later still finds it. Content never leaves.

mod attributes;
pub(crate) mod ids;
mod otlp;
pub(crate) mod own;
pub(crate) mod sampling;
pub(crate) mod spans;
mod subscriber;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use opentelemetry::trace::TracerProvider as _;

use crate::config::{self, Config};
use crate::failure::{Failure, with_sources};
use spans::{Emitter, Servers, Told};

/// Calls and trials that may wait to become spans; beyond it they are dropped and counted.
const QUEUE: usize = 1024;

/// Bytes of bodies that may wait likewise: a call may have megabytes of them, so that
/// their number alone bounds nothing.
const QUEUE_BYTES: usize = 32 << 20;

/// Starts logging, for what does not serve; a second time it changes nothing.
///
/// # Errors
/// When the directives make no sense.
pub(crate) fn logs(config: &config::Telemetry) -> Result<(), Failure> {
    subscriber::install(config, None)
}

/// Takes what is to become spans and metrics; never waits.
#[derive(Clone)]
pub(crate) struct Outward {
    sender: SyncSender<Told>,
    /// Bytes of bodies that wait.
    held: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
}

impl std::fmt::Debug for Outward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outward").field("dropped", &self.dropped).finish_non_exhaustive()
    }
}

impl Outward {
    /// A queue, and its other end.
    fn new() -> (Self, Taken) {
        let (sender, receiver) = sync_channel(QUEUE);
        let held = Arc::default();
        (Self { sender, held: Arc::clone(&held), dropped: Arc::default() }, Taken { receiver, held })
    }

    /// Tells, or drops and counts.
    pub(crate) fn tell(&self, told: Told) {
        let bytes = told.bytes();
        let held = self.held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let taken = held <= QUEUE_BYTES && self.sender.try_send(told).is_ok();
        if !taken {
            self.held.fetch_sub(bytes, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The end of the queue where things are taken out.
struct Taken {
    receiver: Receiver<Told>,
    held: Arc<AtomicUsize>,
}

impl Taken {
    /// The next, once there is one; `None` when no more will come.
    fn take(&self) -> Option<Told> {
        let told = self.receiver.recv().ok().filter(|told| !matches!(told, Told::End))?;
        self.held.fetch_sub(told.bytes(), Ordering::Relaxed);
        Some(told)
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
    /// Starts it and logging, inside a Tokio runtime; `None` where no endpoint is
    /// configured, or none can be had, and then there are only logs: an agent's calls
    /// do not wait for a collector.
    ///
    /// # Errors
    /// When the log's directives make no sense.
    pub(crate) fn start(config: &Config) -> Result<Option<Self>, Failure> {
        let telemetry = &config.telemetry;
        let (providers, problem) = match set_up(telemetry) {
            Ok(providers) => (providers, None),
            Err(problem) => (None, Some(problem)),
        };
        subscriber::install(telemetry, providers.as_ref().map(|p| p.traces.tracer("understudy")))?;
        if let Some(problem) = problem {
            tracing::error!(problem, "telemetry cannot be set up; calls flow without it");
        }
        let Some(providers) = providers else { return Ok(None) };
        let (outward, taken) = Outward::new();
        let (servers, old_names) = (Servers::of(&config.gateway.providers), telemetry.old_names);
        let thread = std::thread::Builder::new()
            .name("telemetry".into())
            .spawn(move || work(&taken, &providers, servers, old_names));
        match thread {
            Ok(thread) => Ok(Some(Self { outward, thread: Some(thread) })),
            Err(error) => {
                tracing::error!(%error, "there is no thread for telemetry; calls flow without it");
                Ok(None)
            }
        }
    }

    /// A handle to tell with.
    pub(crate) fn outward(&self) -> Outward {
        self.outward.clone()
    }
}

/// The way to the configured collector; nothing where none is configured.
fn set_up(telemetry: &config::Telemetry) -> Result<Option<otlp::Providers>, String> {
    let Some(endpoint) = &telemetry.endpoint else { return Ok(None) };
    otlp::providers(telemetry, endpoint).map(Some).map_err(|problem| with_sources(&*problem))
}

/// Why there is no way to the configured collector, if there is none. Inside a Tokio
/// runtime; nobody is called.
pub(crate) fn problem(telemetry: &config::Telemetry) -> Option<String> {
    let endpoint = telemetry.endpoint.as_deref()?;
    otlp::Exporters::new(telemetry, endpoint).err().map(|problem| with_sources(&*problem))
}

fn work(taken: &Taken, providers: &otlp::Providers, servers: Servers, old_names: bool) {
    let mut emitter = Emitter::new(providers, servers, old_names);
    while let Some(told) = taken.take() {
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
