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

mod graph;
mod settings;
mod stop;
mod vocabulary;

use std::sync::Arc;
use std::time::{Duration, Instant};

use llguidance::Matcher;
use understudy_call::{Declined, Finish, Message, Tool};

use self::graph::{Cache, Graph};
use self::settings::Settings;
use self::stop::Written;
use self::vocabulary::Vocabulary;
use crate::contract::ModelFolder;
use crate::grammar::{Compiler, Grammar, GrammarError};
use crate::runtime::{self, ExecutionProvider, LoadOptions, RuntimeError};
use crate::sampler::Sampler;
use crate::template::{ChatTemplate, TemplateError};

/// What is asked: the whole text that the model reads, template included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt(pub String);

/// How tokens are drawn, and when to stop.
#[derive(Debug, Clone)]
pub struct Decoding {
    /// Most tokens of the reply.
    pub max_tokens: usize,
    /// 0 is greedy.
    pub temperature: f32,
    /// Nucleus mass, 0 to 1.
    pub top_p: f32,
    /// Of the draw.
    pub seed: u64,
    /// Texts at which to stop; they are not part of the reply.
    pub stop: Vec<String>,
    /// What the reply may look like; `None` is any text.
    pub grammar: Option<Grammar>,
    /// Decline as soon as the confidence is below.
    pub bar: Option<f64>,
    /// Whether [`Generation::tokens`] is wanted.
    pub want_logprobs: bool,
}

impl Default for Decoding {
    fn default() -> Self {
        Self {
            max_tokens: 256,
            temperature: 0.0,
            top_p: 1.0,
            seed: 0,
            stop: Vec::new(),
            grammar: None,
            bar: None,
            want_logprobs: false,
        }
    }
}

/// A token of the reply.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenOut {
    /// Its id.
    pub id: u32,
    /// Its text; empty for special tokens, U+FFFD for a piece of a character.
    pub text: String,
    /// Natural logarithm of its probability under the model's own softmax;
    /// `None` for a forced token that was fed without a step of its own.
    pub logprob: Option<f64>,
    /// Whether the grammar left no other.
    pub forced: bool,
}

/// What came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// The reply's text, without special tokens and stop sequences.
    pub text: String,
    /// Its tokens, where wanted.
    pub tokens: Vec<TokenOut>,
    /// Why it ended: [`Finish::Stop`] or [`Finish::Length`].
    pub finish: Finish,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of them that were not computed anew.
    pub cached_tokens: usize,
    /// Tokens of the reply, forced ones and the end included.
    pub reply_tokens: usize,
    /// Sum of the log-probabilities of freely chosen tokens: the confidence.
    pub free_sum: f64,
    /// The least of them; 0 when there is none.
    pub free_min: f64,
    /// How many there are.
    pub free_count: usize,
    /// Time spent computing the prompt.
    pub prefill: Duration,
    /// Time spent computing the reply.
    pub decode: Duration,
}

/// Asked between any two steps of a run.
pub trait Control {
    /// Whether to go on.
    fn between_tokens(&self) -> Step;
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Go on.
    Go,
    /// Stop, for this reason.
    Stop(Declined),
}

/// Never stops.
impl Control for () {
    fn between_tokens(&self) -> Step {
        Step::Go
    }
}

/// Why there is no generation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// It was stopped, or fell below the bar.
    #[error("declined: {0}")]
    Declined(Declined),
    /// The prompt does not fit.
    #[error("prompt of {tokens} tokens leaves no room in a context of {context}")]
    TooLong {
        /// Of the prompt.
        tokens: usize,
        /// Of the model.
        context: usize,
    },
    /// The grammar cannot be kept to.
    #[error(transparent)]
    Grammar(#[from] GrammarError),
    /// The conversation cannot be written.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The tokenizer refused the text.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The grammar's automaton or the model failed on the way.
    #[error("generation broke off: {0}")]
    Broken(String),
    /// ONNX Runtime failed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

impl GenerateError {
    /// The reason in the words of a call that falls back.
    #[must_use]
    pub fn declined(&self) -> Declined {
        match self {
            Self::Declined(d) => *d,
            Self::TooLong { .. } => Declined::TooLong,
            Self::Grammar(_) | Self::Template(_) | Self::Tokenizer(_) | Self::Broken(_) => Declined::Invalid,
            Self::Runtime(_) => Declined::Unavailable,
        }
    }
}

/// A chat model, loaded.
pub struct Generator {
    graph: Graph,
    vocabulary: Arc<Vocabulary>,
    compiler: Compiler,
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
        f.debug_struct("Generator").field("provider", &self.provider).field("context", &self.context).finish_non_exhaustive()
    }
}

/// What writes and counts text for a model, cheap to clone and to share between
/// threads: the generator itself is one thread's.
#[derive(Clone)]
pub struct Voice {
    vocabulary: Arc<Vocabulary>,
    template: Option<Arc<ChatTemplate>>,
    context: usize,
}

impl std::fmt::Debug for Voice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Voice").field("context", &self.context).finish_non_exhaustive()
    }
}

impl Voice {
    /// As [`Generator::render_chat`].
    ///
    /// # Errors
    /// When the folder has no chat template, or the template refuses.
    pub fn render_chat(&self, messages: &[Message], tools: &[Tool]) -> Result<String, TemplateError> {
        match &self.template {
            Some(t) => t.render(messages, tools),
            None => Err(TemplateError::Syntax("the model's folder has none".to_owned())),
        }
    }

    /// Tokens of a text; 0 when the tokenizer refuses it.
    #[must_use]
    pub fn count_tokens(&self, text: &str) -> usize {
        self.vocabulary.encode(text).map_or(0, |ids| ids.len())
    }

    /// Most tokens of prompt and reply together.
    #[must_use]
    pub fn context(&self) -> usize {
        self.context
    }
}

/// One generation on its way. Dropping it loses its cache and nothing else.
pub struct Run {
    cache: Cache,
    /// Prompt and reply so far.
    tokens: Vec<u32>,
    prompt_tokens: usize,
    cached_tokens: usize,
    max_tokens: usize,
    matcher: Option<Matcher>,
    sampler: Sampler,
    bar: Option<f64>,
    written: Written,
    out: Option<Vec<TokenOut>>,
    free_sum: f64,
    free_min: f64,
    free_count: usize,
    finish: Option<Finish>,
    prefill: Duration,
    decode: Duration,
}

impl Run {
    /// Why it ended; `None` while it goes on.
    #[must_use]
    pub fn finish(&self) -> Option<&Finish> {
        self.finish.as_ref()
    }

    /// Tokens of the prompt that are still to be computed.
    #[must_use]
    pub fn prompt_left(&self) -> usize {
        self.prompt_tokens.saturating_sub(self.cache.tokens.len())
    }

    /// Tokens of the reply so far.
    #[must_use]
    pub fn reply_tokens(&self) -> usize {
        self.tokens.len().saturating_sub(self.prompt_tokens)
    }

    /// Takes a token into the reply. `true` when the run ends with it.
    fn write(&mut self, vocabulary: &Vocabulary, id: u32, logprob: Option<f64>, forced: bool) -> bool {
        self.tokens.push(id);
        let bytes = vocabulary.token_bytes(id);
        if let Some(out) = &mut self.out {
            out.push(TokenOut { id, text: String::from_utf8_lossy(bytes).into_owned(), logprob, forced });
        }
        if let (Some(p), false) = (logprob, forced) {
            self.free_sum += p;
            self.free_min = self.free_min.min(p);
            self.free_count += 1;
        }
        if self.written.push(bytes) || vocabulary.is_end(id) {
            self.finish = Some(Finish::Stop);
        } else if self.reply_tokens() >= self.max_tokens {
            self.finish = Some(Finish::Length);
        }
        self.finish.is_some()
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
        let names = folder.genai().ok_or_else(|| wrong("an embedder, and a generator is wanted".to_owned()))?.clone();
        let settings = Settings::read(folder.path());
        let vocabulary = Vocabulary::load(folder, &names.eos_tokens)?;
        let compiler = Compiler::new(&vocabulary::environment(&vocabulary))?;
        let template = match folder.chat_template().map_err(|e| wrong(e.to_string()))? {
            Some(source) => Some(Arc::new(ChatTemplate::new(&source, &settings.bos, &settings.eos)?)),
            None => None,
        };
        let (session, provider) = runtime::open(&folder.model_file(), opts)?;
        let context = names.context_length;
        let graph = Graph::new(session, provider, names, settings.shared_buffers)?;
        Ok(Self {
            graph,
            vocabulary,
            compiler,
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

    /// The part of it that writes and counts text, to be used beside it.
    #[must_use]
    pub fn voice(&self) -> Voice {
        Voice { vocabulary: Arc::clone(&self.vocabulary), template: self.template.clone(), context: self.context }
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
        let mut cache = self.take_cache(&tokens);
        // The last token is always fed: its logits choose the first of the reply.
        let known = common(&cache.tokens, &tokens).min(tokens.len() - 1);
        self.graph.truncate(&mut cache, known)?;
        self.graph.reserve(&mut cache, tokens.len() + max_tokens.min(RESERVED))?;
        let cached_tokens = cache.tokens.len();
        let mut run = Run {
            cache,
            prompt_tokens: tokens.len(),
            cached_tokens,
            tokens,
            max_tokens,
            matcher,
            sampler: Sampler::new(opts.temperature, opts.top_p, opts.seed),
            bar: opts.bar,
            written: Written::new(&opts.stop),
            out: opts.want_logprobs.then(Vec::new),
            free_sum: 0.0,
            free_min: 0.0,
            free_count: 0,
            finish: None,
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
        let prefilling = run.prompt_left() > 0;
        let fed = run.cache.tokens.len();
        let upto = run.tokens.len().min(fed.saturating_add(self.prefill_chunk));
        let last = upto == run.tokens.len();
        let next = run.tokens.get(fed..upto).unwrap_or_default();
        let fed = self.graph.feed(&mut run.cache, next, last.then_some(&mut self.logits));
        let result = match fed {
            Ok(()) if last => self.choose(run),
            Ok(()) => Ok(()),
            Err(e) => Err(e.into()),
        };
        let spent = began.elapsed();
        if prefilling { run.prefill += spent } else { run.decode += spent }
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
        let mask = match &mut run.matcher {
            Some(m) => Some(m.compute_mask_or_eos().map_err(|e| broken(&e))?),
            None => None,
        };
        let forced = mask.as_ref().is_some_and(|m| m.num_set() == 1);
        let drawn = run
            .sampler
            .draw(&self.logits, mask.as_ref())
            .ok_or_else(|| GenerateError::Broken("no token is allowed, or the logits are not numbers".to_owned()))?;
        if run.write(&self.vocabulary, drawn.id, Some(drawn.logprob), forced) {
            return self.check_bar(run);
        }
        self.check_bar(run)?;
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

    fn check_bar(&self, run: &Run) -> Result<(), GenerateError> {
        match run.bar {
            Some(bar) if run.free_sum < bar => Err(GenerateError::Declined(Declined::BelowBar)),
            _ => Ok(()),
        }
    }

    /// The idle cache that knows most of the prompt, else a new one while there
    /// is room, else the one that was used longest ago.
    fn take_cache(&mut self, tokens: &[u32]) -> Cache {
        let best = self.idle.iter().enumerate().map(|(i, c)| (common(&c.tokens, tokens), i)).max_by_key(|b| b.0);
        match best {
            Some((known, i)) if known >= WORTH_KEEPING => self.idle.remove(i),
            _ if self.idle.len() >= self.caches => self.idle.pop().unwrap_or_else(|| self.graph.empty()),
            _ => self.graph.empty(),
        }
    }

    fn keep(&mut self, cache: Cache) {
        self.idle.insert(0, cache);
        self.idle.truncate(self.caches);
    }
}

/// A cache is taken over only for a shared head of this many tokens: a
/// template's first words are shared by all prompts.
const WORTH_KEEPING: usize = 32;

/// Rows reserved for a reply before it begins; more are added when needed.
const RESERVED: usize = 512;

fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

#[cfg(test)]
mod tests;
