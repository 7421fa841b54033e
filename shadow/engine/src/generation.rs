//! The thread that owns the chat model.
//!
//! It takes asks from its queue, live ones first. Between any two steps of a
//! shadow run it looks for a live ask; if there is one, the shadow run keeps its
//! key-value cache, waits, and goes on afterwards, its deadline moved by as much.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use understudy_call::{Declined, Priority};
use understudy_onnx::contract::ModelFolder;
use understudy_onnx::{AdapterSlots, Decoding, Generation, Generator, LoadOptions, Prompt, Run, Voice};

use crate::EngineError;
use crate::owner::{Hold, StepClock};
use crate::queue::{Queue, wait_for};
use crate::speed::Speed;

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
    pub(crate) clock: StepClock,
}

impl Hold for Chat {
    type Model = Generator;
    type Job = Job;
    const THREAD: &'static str = "generation";
    const WHAT: &'static str = "chat model";

    fn load(
        folder: &ModelFolder,
        opts: &LoadOptions,
        bound: usize,
    ) -> Result<(Self, Self::Model), EngineError> {
        let mut model = Generator::load(folder, opts).map_err(EngineError::Chat)?;
        let speed = Speed::default();
        warm_up(&mut model, &speed).map_err(EngineError::Chat)?;
        let chat = Self {
            name: folder.manifest().name.clone(),
            hash: folder.hash().to_owned(),
            provider: model.execution_provider(),
            voice: model.voice(),
            slots: model.adapter_slots().ok(),
            speed,
            queue: Queue::new(bound),
            clock: StepClock::new(),
        };
        Ok((chat, model))
    }

    fn queue(&self) -> &Queue<Job> {
        &self.queue
    }

    fn run(&self, model: &mut Generator, priority: Priority, job: Job) {
        let Job { prompt, decoding, form, queued, deadline, cancelled, answer } = job;
        let waited = queued.elapsed();
        let mut state = Watch { deadline, cancelled: &cancelled };
        let result = self.drive(model, priority, &prompt, &decoding, form, &mut state);
        self.clock.idle();
        self.queue.done(priority);
        // Whoever asked may be gone; then nobody reads it.
        let _ = answer.send(result.map(|generation| Done { generation, queued: waited }));
    }
}

impl Chat {
    /// Refuses what the queue cannot take or finish in time.
    pub(crate) fn try_ask(&self, priority: Priority, time: Duration, job: Job) -> Result<(), Declined> {
        let wait = wait_for(self.queue.load().ahead_of(priority), self.speed.mean());
        if wait > time {
            return Err(Declined::TooSlow);
        }
        self.queue.try_push(priority, job)
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
        // Whoever waited in the queue for all of its time has not begun.
        watch.check().map_err(|why| if why == Declined::Late { Declined::TooSlow } else { why })?;
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
        self.clock.begin();
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
            Err(Declined::Late)
        } else {
            Ok(())
        }
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
