//! The thread that owns the embedder.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;
use understudy_call::{Declined, Priority};
use understudy_onnx::contract::{ModelFolder, NonCommercial};
use understudy_onnx::{LoadOptions, SentenceEmbedder};

use crate::queue::Queue;
use crate::{EngineConfig, EngineError};

/// Texts computed between two looks at the queue.
const AT_ONCE: usize = 32;

/// One ask, as it waits.
pub(crate) struct Job {
    pub(crate) texts: Vec<String>,
    pub(crate) cancelled: Arc<AtomicBool>,
    pub(crate) answer: oneshot::Sender<Result<Done, Declined>>,
}

/// What came of it.
pub(crate) struct Done {
    pub(crate) vectors: Vec<Vec<f32>>,
    pub(crate) tokens: usize,
}

/// The HTTP side's hold on the thread.
pub(crate) struct Embed {
    pub(crate) name: String,
    pub(crate) hash: String,
    pub(crate) provider: &'static str,
    pub(crate) queue: Queue<Job>,
}

impl Embed {
    /// Loads the model in a thread of its own. The receiver is closed when the
    /// thread ends.
    pub(crate) fn start(
        cfg: &EngineConfig,
        folder: &std::path::Path,
    ) -> Result<(Arc<Self>, oneshot::Receiver<()>), EngineError> {
        let terms = if cfg.allow_non_commercial { NonCommercial::Allowed } else { NonCommercial::Refused };
        let folder = ModelFolder::open_with(folder, terms)?;
        let opts =
            LoadOptions { threads: cfg.threads, library: cfg.library.clone(), ..LoadOptions::default() };
        let (ready, loaded) = std::sync::mpsc::channel();
        let (alive, gone) = oneshot::channel::<()>();
        let (bound, nice) = (cfg.queue, cfg.nice);
        let spawned = std::thread::Builder::new().name("embedding".to_owned()).spawn(move || {
            let _alive = alive;
            let loaded = crate::limits::lower_priority(nice)
                .and_then(|()| SentenceEmbedder::load(&folder, &opts).map_err(EngineError::Embedder))
                .and_then(|mut m| {
                    m.embed(&["warm".to_owned()]).map_err(EngineError::Embedder)?;
                    Ok(m)
                });
            let mut model = match loaded {
                Ok(m) => m,
                Err(e) => {
                    let _ = ready.send(Err(e));
                    return;
                }
            };
            let embed = Arc::new(Self {
                name: folder.manifest().name.clone(),
                hash: folder.hash().to_owned(),
                provider: model.execution_provider(),
                queue: Queue::new(bound),
            });
            let closing = AbortOnDrop(Arc::clone(&embed));
            let _ = ready.send(Ok(Arc::clone(&embed)));
            while let Some((priority, job)) = embed.queue.pop() {
                embed.run(&mut model, priority, job);
            }
            drop(closing);
        });
        spawned.map_err(EngineError::Serve)?;
        match loaded.recv() {
            Ok(Ok(embed)) => Ok((embed, gone)),
            Ok(Err(e)) => Err(e),
            Err(_) => Err(EngineError::ThreadGone("embedder")),
        }
    }

    fn run(&self, model: &mut SentenceEmbedder, priority: Priority, job: Job) {
        let result = self.compute(model, priority, &job);
        self.queue.done(priority);
        let _ = job.answer.send(result);
    }

    fn compute(&self, model: &mut SentenceEmbedder, priority: Priority, job: &Job) -> Result<Done, Declined> {
        let mut done = Done { vectors: Vec::with_capacity(job.texts.len()), tokens: 0 };
        for texts in job.texts.chunks(AT_ONCE) {
            if priority == Priority::Shadow {
                while let Some(live) = self.queue.try_pop_live() {
                    self.run(model, Priority::Live, live);
                }
            }
            if job.cancelled.load(Ordering::Relaxed) {
                return Err(Declined::Cancelled);
            }
            done.tokens += texts.iter().map(|t| model.count_tokens(t)).sum::<usize>();
            let vectors = model.embed(texts).map_err(|e| {
                tracing::warn!(error = %e, "embedding failed");
                Declined::Unavailable
            })?;
            done.vectors.extend(vectors);
        }
        Ok(done)
    }
}

/// A thread that panics leaves nobody waiting.
struct AbortOnDrop(Arc<Embed>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.queue.abort();
    }
}
