//! Generation: a prompt in, tokens out, with how sure the model was of each.
//!
//! A [`Run`] is one generation, taken step by step, so that whoever drives it can
//! let another go first between any two steps: [`Generator::begin`],
//! [`Generator::step`] until it is done, [`Generator::finish`].
//! [`Generator::generate`] does all three under a [`Control`].
//!
//! A step computes either a chunk of the prompt or one token. Tokens that the
//! grammar forces are fed together with the one that was chosen. Each run has a
//! key-value cache; a cache remembers its last tokens, so a prompt that begins
//! like an earlier one is computed only from where they part.
//!
//! Confidence is the sum of the log-probabilities, under the model's own softmax
//! before the grammar's mask, of the tokens that were chosen freely: where more
//! than one was allowed.

mod current;
mod decoding;
mod graph;
mod run;
mod settings;
mod stop;
mod vocabulary;
mod voice;

use std::sync::Arc;
use std::time::{Duration, Instant};

use understudy_call::{Finish, Message, Tool};

pub use self::decoding::{Control, Decoding, GenerateError, Generation, Prompt, Step, TokenOut};
use self::graph::{Cache, Graph};
pub use self::run::Run;
use self::settings::Settings;
use self::stop::Written;
use self::vocabulary::Vocabulary;
pub use self::voice::Voice;
use crate::adapter::{AdapterError, AdapterSlots};
use crate::contract::ModelFolder;
use crate::grammar::{Compiler, Grammar};
use crate::runtime::{self, ExecutionProvider, LoadOptions, RuntimeError};
use crate::sampler::{self, Sampler};
use crate::template::{ChatTemplate, TemplateError};

/// A chat model, loaded.
pub struct Generator {
    graph: Graph,
    vocabulary: Arc<Vocabulary>,
    compiler: Compiler,
    slots: Result<Arc<AdapterSlots>, String>,
    template: Option<Arc<ChatTemplate>>,
    provider: ExecutionProvider,
    context: usize,
    prefill_chunk: usize,
    caches: usize,
    /// Not in use, the last used first.
    idle: Vec<Cache>,
    logits: Vec<f32>,
}

impl std::fmt::Debug for Generator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generator")
            .field("provider", &self.provider)
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

impl Generator {
    /// Loads the model of a folder.
    ///
    /// # Errors
    /// When ONNX Runtime, the graph, the tokenizer or the template will not load;
    /// the message names the file and the remedy.
    pub fn load(folder: &ModelFolder, opts: &LoadOptions) -> Result<Self, GenerateError> {
        let wrong = |problem: String| RuntimeError::Folder { folder: folder.path().to_path_buf(), problem };
        let names =
            folder.genai().ok_or_else(|| wrong("an embedder, and a generator is wanted".to_owned()))?.clone();
        let settings = Settings::read(folder.path());
        let vocabulary = Vocabulary::load(folder, &names.eos_tokens)?;
        let compiler = Compiler::new(&vocabulary::environment(&vocabulary))?;
        let template = match folder.chat_template().map_err(|e| wrong(e.to_string()))? {
            Some(source) => {
                let (bos, eos) = (&settings.bos, &settings.eos);
                Some(Arc::new(ChatTemplate::guarded(&source, bos, eos, &vocabulary.added())?))
            }
            None => None,
        };
        let (session, provider) = runtime::open(&folder.model_file(), opts)?;
        let context = names.context_length;
        let manifest = folder.manifest();
        let halves = manifest.weights.as_ref().is_none_or(|w| w.half_attention);
        if provider != ExecutionProvider::Cpu && !halves {
            tracing::warn!(
                model = manifest.name,
                "attention runs on the CPU: the GPU's kernel takes 16 bits, which `understudy model pull --gpu` writes"
            );
        }
        let slots =
            AdapterSlots::of(&session, &names, manifest, &settings.bos, &settings.eos, vocabulary.added());
        let graph = Graph::new(session, provider, names, settings.shared_buffers)?;
        Ok(Self {
            graph,
            vocabulary,
            compiler,
            slots: slots.map(Arc::new).ok_or_else(|| manifest.name.clone()),
            template,
            provider,
            context,
            prefill_chunk: opts.prefill_chunk.max(1),
            caches: opts.caches.max(1),
            idle: Vec::new(),
            logits: Vec::new(),
        })
    }

    /// The execution provider that was got.
    #[must_use]
    pub fn execution_provider(&self) -> &'static str {
        self.provider.label()
    }

    /// Most tokens of prompt and reply together.
    #[must_use]
    pub fn context(&self) -> usize {
        self.context
    }

    /// Where this model takes adapters: what [`crate::Adapter::load`] wants.
    ///
    /// # Errors
    /// [`AdapterError::NoSlots`] when its graph was exported without.
    pub fn adapter_slots(&self) -> Result<Arc<AdapterSlots>, AdapterError> {
        self.slots.clone().map_err(AdapterError::NoSlots)
    }

    /// The part of it that writes and counts text, to be used beside it.
    #[must_use]
    pub fn voice(&self) -> Voice {
        Voice {
            vocabulary: Arc::clone(&self.vocabulary),
            template: self.template.clone(),
            context: self.context,
        }
    }

    /// Tokens of a text; 0 when the tokenizer refuses it.
    #[must_use]
    pub fn count_tokens(&self, text: &str) -> usize {
        self.vocabulary.encode(text).map_or(0, |ids| ids.len())
    }

    /// Writes a conversation in the model's own words, up to where its reply begins.
    ///
    /// # Errors
    /// When the folder has no chat template, or the template refuses.
    pub fn render_chat(&self, messages: &[Message], tools: &[Tool]) -> Result<String, TemplateError> {
        self.voice().render_chat(messages, tools)
    }

    /// Generates to the end, or until `control` says to stop.
    ///
    /// # Errors
    /// [`GenerateError`].
    pub fn generate(
        &mut self,
        prompt: &Prompt,
        opts: &Decoding,
        control: &dyn Control,
    ) -> Result<Generation, GenerateError> {
        let mut run = self.begin(prompt, opts)?;
        while run.finish().is_none() {
            if let Step::Stop(why) = control.between_tokens() {
                self.abandon(run);
                return Err(GenerateError::Declined(why));
            }
            if let Err(e) = self.step(&mut run) {
                self.abandon(run);
                return Err(e);
            }
        }
        Ok(self.finish(run))
    }

    /// Prepares a run: tokens, grammar, and the idle cache that knows most of the
    /// prompt. Computes nothing yet.
    ///
    /// # Errors
    /// When the prompt does not fit or the grammar cannot be kept to.
    pub fn begin(&mut self, prompt: &Prompt, opts: &Decoding) -> Result<Run, GenerateError> {
        let tokens = self.vocabulary.encode(&prompt.0).map_err(GenerateError::Tokenizer)?;
        if tokens.is_empty() || tokens.len() >= self.context {
            return Err(GenerateError::TooLong { tokens: tokens.len(), context: self.context });
        }
        let matcher = match &opts.grammar {
            Some(g) => self.compiler.matcher(g)?,
            None => None,
        };
        let max_tokens = opts.max_tokens.max(1).min(self.context - tokens.len());
        let adapter = opts.adapter.clone();
        if let Some(a) = adapter.as_deref().filter(|a| !self.slots.as_ref().is_ok_and(|s| a.fits(s))) {
            return Err(GenerateError::OtherModel(a.name().to_owned()));
        }
        let whose = adapter.as_ref().map(|a| a.id());
        let mut cache = self.take_cache(whose, &tokens);
        self.graph.hand(&mut cache, whose)?;
        let known = common(&cache.tokens, &tokens).min(tokens.len().saturating_sub(FED_ANEW));
        self.graph.truncate(&mut cache, known)?;
        self.graph.reserve(&mut cache, tokens.len() + max_tokens.min(RESERVED))?;
        let cached_tokens = cache.tokens.len();
        let mut run = Run {
            cache,
            adapter,
            prompt_tokens: tokens.len(),
            cached_tokens,
            tokens,
            max_tokens,
            matcher,
            or_nothing: opts.grammar.as_ref().is_some_and(Grammar::allows_nothing),
            sampler: Sampler::new(opts.temperature, opts.top_p, opts.seed),
            bar: opts.bar,
            written: Written::new(&opts.stop),
            out: opts.want_logprobs.then(Vec::new),
            free_sum: 0.0,
            free_min: 0.0,
            free_count: 0,
            finish: None,
            at_stop: false,
            prefill: Duration::ZERO,
            decode: Duration::ZERO,
        };
        self.force(&mut run)?;
        Ok(run)
    }

    /// Computes the next chunk of the prompt, or the next token of the reply.
    ///
    /// # Errors
    /// When the confidence falls below the bar, or something breaks.
    pub fn step(&mut self, run: &mut Run) -> Result<(), GenerateError> {
        if run.finish.is_some() {
            return Ok(());
        }
        let began = Instant::now();
        // Before what is left is counted: off the CPU a cache that grows forgets,
        // and all of it is computed again.
        self.graph.reserve(&mut run.cache, run.tokens.len())?;
        let prefilling = run.prompt_left() > 0;
        let fed = run.cache.tokens.len();
        let left = run.tokens.len() - fed.min(run.tokens.len());
        let last = left <= self.prefill_chunk.saturating_add(FED_ANEW);
        let upto = if last { run.tokens.len() } else { fed + self.prefill_chunk };
        let next = run.tokens.get(fed..upto).unwrap_or_default();
        let fed =
            self.graph.feed(&mut run.cache, run.adapter.as_deref(), next, last.then_some(&mut self.logits));
        let result = match fed {
            Ok(()) if last => self.choose(run),
            Ok(()) => Ok(()),
            Err(e) => Err(e.into()),
        };
        let spent = began.elapsed();
        if prefilling {
            run.prefill += spent
        } else {
            run.decode += spent
        }
        result
    }

    /// Ends a run, and keeps its cache.
    pub fn finish(&mut self, run: Run) -> Generation {
        let reply_tokens = run.reply_tokens();
        let Run { cache, prompt_tokens, cached_tokens, written, out, .. } = run;
        self.keep(cache);
        Generation {
            text: written.text(),
            tokens: out.unwrap_or_default(),
            finish: run.finish.unwrap_or(Finish::Length),
            at_stop: run.at_stop,
            prompt_tokens,
            cached_tokens,
            reply_tokens,
            free_sum: run.free_sum,
            free_min: run.free_min,
            free_count: run.free_count,
            prefill: run.prefill,
            decode: run.decode,
        }
    }

    /// Gives a run up, and keeps what its cache knows.
    pub fn abandon(&mut self, run: Run) {
        self.keep(run.cache);
    }

    fn choose(&mut self, run: &mut Run) -> Result<(), GenerateError> {
        let broken = |e: &dyn std::fmt::Display| GenerateError::Broken(e.to_string());
        let mut mask = match &mut run.matcher {
            Some(m) => Some(m.compute_mask_or_eos().map_err(|e| broken(&e))?),
            None => None,
        };
        if let Some(mask) = mask.as_mut().filter(|_| run.or_nothing && run.reply_tokens() == 0) {
            sampler::unless_likely(self.vocabulary.ends(), SURELY_NOTHING, &self.logits, mask);
        }
        let forced = mask.as_ref().is_some_and(|m| m.num_set() == 1);
        let drawn = run.sampler.draw(&self.logits, mask.as_ref()).ok_or_else(|| {
            GenerateError::Broken("no token is allowed, or the logits are not numbers".to_owned())
        })?;
        if run.write(&self.vocabulary, drawn.id, Some(drawn.logprob), forced) {
            return run.check_bar();
        }
        run.check_bar()?;
        if let Some(m) = &mut run.matcher {
            m.consume_token(drawn.id).map_err(|e| broken(&e))?;
        }
        self.force(run)
    }

    /// Takes the tokens that the grammar forces next, without a step each.
    fn force(&mut self, run: &mut Run) -> Result<(), GenerateError> {
        let Some(mut matcher) = run.matcher.take() else { return Ok(()) };
        if !matcher.is_stopped() {
            for id in matcher.consume_ff_tokens() {
                if run.write(&self.vocabulary, id, None, true) {
                    break;
                }
            }
        }
        if let Some(problem) = matcher.get_error() {
            return Err(GenerateError::Broken(problem));
        }
        if matcher.is_stopped() && run.finish.is_none() {
            run.finish = Some(Finish::Stop);
        }
        run.matcher = Some(matcher);
        Ok(())
    }

    /// The idle cache of this adapter that knows most of the prompt, else a new
    /// one while there is room, else the one that was used longest ago.
    fn take_cache(&mut self, whose: Option<u64>, tokens: &[u32]) -> Cache {
        let own = self.idle.iter().enumerate().filter(|(_, c)| c.adapter == whose);
        let best = own.map(|(i, c)| (common(&c.tokens, tokens), i)).max_by_key(|b| b.0);
        match best {
            Some((known, i)) if known >= WORTH_KEEPING => self.idle.remove(i),
            _ if self.idle.len() >= self.caches => self.idle.pop().unwrap_or_else(|| self.graph.empty()),
            _ => self.graph.empty(),
        }
    }

    fn keep(&mut self, mut cache: Cache) {
        self.graph.rest(&mut cache);
        self.idle.insert(0, cache);
        self.idle.truncate(self.caches);
    }
}

/// How probable it has to be that a reply is nothing, for it to be nothing. Where most calls
/// are another's to answer, "nothing" is the likeliest beginning long before a model can tell
/// which: an adapter that was so trained for 24 minutes said it of 169 of 199 look-ups. Below
/// this it writes what is likeliest of the rest, and its confidence tells how likely that was.
const SURELY_NOTHING: f64 = 0.9;

/// Tokens at a prompt's end that are always computed, and together: kernels for
/// one row round otherwise than those for many, and a reply should not depend on
/// what a cache happened to know. The last one must be fed in any case, since its
/// logits choose the first of the reply.
const FED_ANEW: usize = 8;

/// A cache is taken over only for a shared head of this many tokens: a
/// template's first words are shared by all prompts.
const WORTH_KEEPING: usize = 32;

/// Rows reserved for a reply before it begins; more are added when needed.
const RESERVED: usize = 512;

fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

#[cfg(test)]
mod adapter_tests;
#[cfg(test)]
mod tests;
