//! A thread of its own for each model: it loads the model, owns it, and
//! answers what its queue gives it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use understudy_call::Priority;
use understudy_onnx::LoadOptions;
use understudy_onnx::contract::{ModelFolder, NonCommercial};

use crate::queue::Queue;
use crate::{EngineConfig, EngineError};

/// What the HTTP side holds of a model; the model itself stays in its thread.
pub(crate) trait Hold: Send + Sync + Sized + 'static {
    type Model;
    type Job: Send;
    /// The thread's name.
    const THREAD: &'static str;
    /// The model's, for messages.
    const WHAT: &'static str;

    /// Loads the model, in its thread, and runs it once. `bound` is the queue's.
    fn load(
        folder: &ModelFolder,
        opts: &LoadOptions,
        bound: usize,
    ) -> Result<(Self, Self::Model), EngineError>;

    fn queue(&self) -> &Queue<Self::Job>;

    /// Answers one ask.
    fn run(&self, model: &mut Self::Model, priority: Priority, job: Self::Job);
}

/// Loads a model in a thread of its own. The receiver is closed when the thread
/// ends.
pub(crate) fn start<H: Hold>(
    cfg: &EngineConfig,
    folder: &Path,
) -> Result<(Arc<H>, oneshot::Receiver<()>), EngineError> {
    let folder = ModelFolder::open_with(folder, NonCommercial::allowed(cfg.allow_non_commercial))?;
    let opts = LoadOptions {
        threads: cfg.threads,
        providers: cfg.execution_providers.clone(),
        library: cfg.library.clone(),
        ..LoadOptions::default()
    };
    let (ready, loaded) = std::sync::mpsc::channel();
    let (alive, gone) = oneshot::channel::<()>();
    let (bound, nice) = (cfg.queue, cfg.nice);
    let spawned = std::thread::Builder::new().name(H::THREAD.to_owned()).spawn(move || {
        let _alive = alive;
        // A file that is not the pinned one would answer under the pinned one's name.
        let loaded = crate::limits::lower_priority(nice)
            .and_then(|()| Ok(folder.check()?))
            .and_then(|()| H::load(&folder, &opts, bound));
        let (hold, mut model) = match loaded {
            Ok((hold, model)) => (Arc::new(hold), model),
            Err(e) => {
                let _ = ready.send(Err(e));
                return;
            }
        };
        let closing = AbortOnDrop(Arc::clone(&hold));
        let _ = ready.send(Ok(Arc::clone(&hold)));
        while let Some((priority, job)) = hold.queue().pop() {
            hold.run(&mut model, priority, job);
        }
        drop(closing);
    });
    spawned.map_err(EngineError::Serve)?;
    match loaded.recv() {
        Ok(Ok(hold)) => Ok((hold, gone)),
        Ok(Err(e)) => Err(e),
        Err(_) => Err(EngineError::ThreadGone(H::WHAT)),
    }
}

/// How long the step in progress has taken, for whoever watches from outside: a
/// model that hangs holds its thread, and the HTTP side goes on as if nothing were.
#[derive(Debug)]
pub(crate) struct StepClock {
    born: Instant,
    /// Milliseconds since then at which the step began; 0 when idle.
    began: AtomicU64,
}

impl StepClock {
    pub(crate) fn new() -> Self {
        Self { born: Instant::now(), began: AtomicU64::new(0) }
    }

    pub(crate) fn begin(&self) {
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.began.store(now.max(1), Ordering::Relaxed);
    }

    pub(crate) fn idle(&self) {
        self.began.store(0, Ordering::Relaxed);
    }

    /// Zero when idle.
    pub(crate) fn age(&self) -> Duration {
        match self.began.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            ms => self.born.elapsed().saturating_sub(Duration::from_millis(ms)),
        }
    }
}

/// A thread that panics leaves nobody waiting.
struct AbortOnDrop<H: Hold>(Arc<H>);

impl<H: Hold> Drop for AbortOnDrop<H> {
    fn drop(&mut self) {
        self.0.queue().abort();
    }
}
