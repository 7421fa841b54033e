//! The thread that owns the chat model.
//!
//! It takes asks from its queue, live ones first. Between any two steps of a
//! shadow run it looks for a live ask; if there is one, the shadow run keeps its
//! key-value cache, waits, and goes on afterwards, its deadline moved by as much.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use understudy_call::{Declined, Priority};
use understudy_onnx::contract::{ModelFolder, NonCommercial};
use understudy_onnx::{AdapterSlots, Decoding, Generation, Generator, LoadOptions, Prompt, Run, Voice};

use crate::queue::{Queue, wait_for};
use crate::speed::Speed;
use crate::{EngineConfig, EngineError};

/// One ask, as it waits.
pub(crate) struct Job {
    pub(crate) prompt: Prompt,
    pub(crate) decoding: Decoding,
    pub(crate) form: u64,
    pub(crate) queued: Instant,
    pub(crate) deadline: Instant,
    pub(crate) cancelled: Arc<AtomicBool>,
    pub(crate) answer: oneshot::Sender<Result<Done, Declined>>,
}

/// What came of it.
pub(crate) struct Done {
    pub(crate) generation: Generation,
    pub(crate) queued: Duration,
}

/// The HTTP side's hold on the thread.
pub(crate) struct Chat {
    pub(crate) name: String,
    pub(crate) hash: String,
    pub(crate) provider: &'static str,
    pub(crate) voice: Voice,
    /// Where the model takes adapters, if it does.
    pub(crate) slots: Option<Arc<AdapterSlots>>,
    pub(crate) speed: Speed,
    pub(crate) queue: Queue<Job>,
    /// When the step in progress began, in milliseconds since `started`; 0 when idle.
    step_began: AtomicU64,
    started: Instant,
}

impl Chat {
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
        let spawned = std::thread::Builder::new().name("generation".to_owned()).spawn(move || {
            let _alive = alive;
            let loaded = crate::limits::lower_priority(nice)
                .and_then(|()| Generator::load(&folder, &opts).map_err(EngineError::Chat))
                .and_then(|mut model| {
                    let speed = Speed::default();
                    warm_up(&mut model, &speed).map_err(EngineError::Chat)?;
                    Ok((model, speed))
                });
            let (mut model, speed) = match loaded {
                Ok(l) => l,
                Err(e) => {
                    let _ = ready.send(Err(e));
                    return;
                }
            };
            let chat = Arc::new(Self {
                name: folder.manifest().name.clone(),
                hash: folder.hash().to_owned(),
                provider: model.execution_provider(),
                voice: model.voice(),
                slots: model.adapter_slots().ok(),
                speed,
                queue: Queue::new(bound),
                step_began: AtomicU64::new(0),
                started: Instant::now(),
            });
            let closing = AbortOnDrop(Arc::clone(&chat));
            let _ = ready.send(Ok(Arc::clone(&chat)));
            while let Some((priority, job)) = chat.queue.pop() {
                chat.run(&mut model, priority, job);
            }
            drop(closing);
        });
        spawned.map_err(EngineError::Serve)?;
        match loaded.recv() {
            Ok(Ok(chat)) => Ok((chat, gone)),
            Ok(Err(e)) => Err(e),
            Err(_) => Err(EngineError::ThreadGone("chat model")),
        }
    }

    /// Refuses what the queue cannot take or finish in time.
    pub(crate) fn try_ask(&self, priority: Priority, time: Duration, job: Job) -> Result<(), Declined> {
        let wait = wait_for(self.queue.load().ahead_of(priority), self.speed.mean());
        if wait > time {
            return Err(Declined::TooSlow);
        }
        self.queue.try_push(priority, job)
    }

    /// How long the step in progress has taken; zero when idle. One that takes
    /// seconds hangs.
    pub(crate) fn step_age(&self) -> Duration {
        match self.step_began.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            ms => self.started.elapsed().saturating_sub(Duration::from_millis(ms)),
        }
    }

    fn run(&self, model: &mut Generator, priority: Priority, job: Job) {
        let Job { prompt, decoding, form, queued, deadline, cancelled, answer } = job;
        let waited = queued.elapsed();
        let mut state = Watch { deadline, cancelled: &cancelled };
        let result = self.drive(model, priority, &prompt, &decoding, form, &mut state);
        self.step_began.store(0, Ordering::Relaxed);
        self.queue.done(priority);
        // Whoever asked may be gone; then nobody reads it.
        let _ = answer.send(result.map(|generation| Done { generation, queued: waited }));
    }

    fn drive(
        &self,
        model: &mut Generator,
        priority: Priority,
        prompt: &Prompt,
        decoding: &Decoding,
        form: u64,
        watch: &mut Watch<'_>,
    ) -> Result<Generation, Declined> {
        watch.check()?;
        let mut run = model.begin(prompt, decoding).map_err(|e| refused(&e))?;
        if Instant::now() + self.speed.expect(form, run.prompt_left()) > watch.deadline {
            model.abandon(run);
            return Err(Declined::TooSlow);
        }
        while run.finish().is_none() {
            if priority == Priority::Shadow {
                self.give_way(model, watch);
            }
            let stepped = watch.check().and_then(|()| self.step(model, &mut run));
            if let Err(why) = stepped {
                model.abandon(run);
                return Err(why);
            }
        }
        let generation = model.finish(run);
        let computed = generation.prompt_tokens - generation.cached_tokens.min(generation.prompt_tokens);
        self.speed.learn(form, computed, generation.prefill, generation.reply_tokens, generation.decode);
        Ok(generation)
    }

    fn step(&self, model: &mut Generator, run: &mut Run) -> Result<(), Declined> {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.step_began.store(now.max(1), Ordering::Relaxed);
        model.step(run).map_err(|e| refused(&e))
    }

    fn give_way(&self, model: &mut Generator, watch: &mut Watch<'_>) {
        let began = Instant::now();
        let mut gave = false;
        while let Some(live) = self.queue.try_pop_live() {
            gave = true;
            self.run(model, Priority::Live, live);
        }
        if gave {
            watch.deadline += began.elapsed();
        }
    }
}

/// What ends a run from outside.
struct Watch<'a> {
    deadline: Instant,
    cancelled: &'a AtomicBool,
}

impl Watch<'_> {
    fn check(&self) -> Result<(), Declined> {
        if self.cancelled.load(Ordering::Relaxed) {
            Err(Declined::Cancelled)
        } else if Instant::now() >= self.deadline {
            Err(Declined::TooSlow)
        } else {
            Ok(())
        }
    }
}

/// A thread that panics leaves nobody waiting.
struct AbortOnDrop(Arc<Chat>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.queue.abort();
    }
}

fn refused(e: &understudy_onnx::GenerateError) -> Declined {
    let why = e.declined();
    if !matches!(why, Declined::BelowBar) {
        tracing::debug!(reason = why.label(), error = %e, "generation declined");
    }
    why
}

/// Measures the speeds, and pays for what ONNX Runtime does on a first run.
fn warm_up(model: &mut Generator, speed: &Speed) -> Result<(), understudy_onnx::GenerateError> {
    let prompt = Prompt("one two three four five six seven eight nine ten ".repeat(8));
    let decoding = Decoding { max_tokens: 8, ..Decoding::default() };
    model.generate(&prompt, &decoding, &())?;
    let prompt = Prompt("ten nine eight seven six five four three two one ".repeat(8));
    let g = model.generate(&prompt, &decoding, &())?;
    speed.learn(0, g.prompt_tokens - g.cached_tokens, g.prefill, g.reply_tokens, g.decode);
    Ok(())
}
