//! The thread that owns the embedder.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;
use understudy_call::{Declined, Priority};
use understudy_onnx::contract::ModelFolder;
use understudy_onnx::{LoadOptions, SentenceEmbedder};

use crate::EngineError;
use crate::owner::{Hold, StepClock};
use crate::queue::Queue;

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
    pub(crate) clock: StepClock,
}

impl Hold for Embed {
    type Model = SentenceEmbedder;
    type Job = Job;
    const THREAD: &'static str = "embedding";
    const WHAT: &'static str = "embedder";

    fn load(
        folder: &ModelFolder,
        opts: &LoadOptions,
        bound: usize,
    ) -> Result<(Self, Self::Model), EngineError> {
        let mut model = SentenceEmbedder::load(folder, opts).map_err(EngineError::Embedder)?;
        model.embed(&["warm".to_owned()]).map_err(EngineError::Embedder)?;
        let embed = Self {
            name: {
                let manifest = folder.manifest();
                let mark = manifest.embedding.as_ref().map(|e| e.mark());
                format!("{}{}", manifest.name, mark.unwrap_or_default())
            },
            hash: folder.hash().to_owned(),
            provider: model.execution_provider(),
            queue: Queue::new(bound),
            clock: StepClock::new(),
        };
        Ok((embed, model))
    }

    fn queue(&self) -> &Queue<Job> {
        &self.queue
    }

    fn run(&self, model: &mut SentenceEmbedder, priority: Priority, job: Job) {
        let result = self.compute(model, priority, &job);
        self.clock.idle();
        self.queue.done(priority);
        let _ = job.answer.send(result);
    }
}

impl Embed {
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
            self.clock.begin();
            let vectors = model.embed(texts).map_err(|e| {
                tracing::warn!(error = %e, "embedding failed");
                Declined::Unavailable
            })?;
            done.vectors.extend(vectors);
        }
        Ok(done)
    }
}
