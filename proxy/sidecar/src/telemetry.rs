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
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use opentelemetry::trace::TracerProvider as _;

use crate::config::{self, Config};
use crate::failure::Failure;
use spans::{Emitter, Servers, Told};

/// Calls and trials that may wait to become spans; beyond it they are dropped and counted.
const QUEUE: usize = 1024;

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
    /// Starts it and logging, inside a Tokio runtime; `None` where no endpoint
    /// is configured, and then there are only logs.
    ///
    /// # Errors
    /// When the endpoint or the log's directives make no sense.
    pub(crate) fn start(config: &Config) -> Result<Option<Self>, Failure> {
        let telemetry = &config.telemetry;
        let Some(endpoint) = &telemetry.endpoint else {
            return subscriber::install(telemetry, None).map(|()| None);
        };
        let providers = otlp::providers(telemetry, endpoint)
            .map_err(|e| Failure::Failed(format!("telemetry to {endpoint} cannot be set up: {e}")))?;
        subscriber::install(telemetry, Some(providers.traces.tracer("understudy")))?;
        let (sender, receiver) = sync_channel(QUEUE);
        let (servers, old_names) = (Servers::of(&config.gateway.providers), telemetry.old_names);
        let thread = std::thread::Builder::new()
            .name("telemetry".into())
            .spawn(move || work(receiver, &providers, servers, old_names))
            .map_err(|e| Failure::Failed(format!("cannot start a thread: {e}")))?;
        let outward = Outward { sender, dropped: Arc::default() };
        Ok(Some(Self { outward, thread: Some(thread) }))
    }

    /// A handle to tell with.
    pub(crate) fn outward(&self) -> Outward {
        self.outward.clone()
    }
}

fn work(receiver: Receiver<Told>, providers: &otlp::Providers, servers: Servers, old_names: bool) {
    let mut emitter = Emitter::new(providers, servers, old_names);
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
