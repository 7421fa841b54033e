//! The engine: a child process behind a Unix socket, or any server that speaks
//! the OpenAI dialect with the engine's extension fields, behind a URL.
//!
//! | field of the request, under `understudy` | meaning |
//! | --- | --- |
//! | `deadline_ms` | past it the answer is worthless |
//! | `bar` | decline as soon as the confidence cannot reach it; null: answer anyway |
//! | `priority` | `live` before `shadow`, between tokens |
//! | `tools_in_prompt` | false: tools only constrain the reply, the messages already name them |
//! | `reply` | `tool_call`, `json` or `text`; null: what the request's tools and format allow |
//! | `adapter` | the adapter that is to answer, by name; null: the base model |
//! | `calls` | how it writes a tool call: `json`, or `line` where it has learnt that |
//!
//! A decline is a status of 409 or 429 with [`Declined::label`] as the error's code.
//!
//! *Which models answer.* An engine may come back with other models, or be another
//! one behind the same address, and a version made of the old ones must not be
//! answered by the new. Their names are read from `/healthz` once and forgotten
//! when the engine cannot be reached. Each answer bears the engine's mark
//! (`x-understudy-models`); one of another mark than the names' is thrown away.
//!
//! *Late or away.* A live question whose time is up says that its version is slow,
//! unless the engine does not answer its health check either: `client/pulse.rs`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use understudy_call::{CallText, Declined, Dialect, EmbedError, Embedder, Priority, Reply, Request};

use crate::error::CastError;
use crate::wire;

mod door;
mod names;
mod pulse;

pub use door::{Door, Showed, Way};
use names::{Known, Names};
use pulse::Pulse;

/// Time to get a connection. A socket on this machine takes microseconds, a
/// server in the cluster milliseconds; whoever takes longer is not there.
const CONNECT: Duration = Duration::from_millis(250);

/// What the way there and back may take on top of the deadline: the engine
/// keeps the deadline itself, and says so more precisely than a broken call.
const SLACK: Duration = Duration::from_millis(150);

/// Time for a batch of embeddings in the shadows.
const EMBED_SHADOW: Duration = Duration::from_secs(60);

/// Time for a single live embedding; it is milliseconds' work.
const EMBED_LIVE: Duration = Duration::from_secs(2);

/// Silence of a live embedding before it is asked whether the engine is there. The
/// embedding comes first, so most calls find out by it.
const EMBED_QUIET: Duration = Duration::from_millis(50);

/// One part in so many of a live question's time, in which it may be silent before the
/// same is asked: the others are enough to find that nobody is there.
const QUIET_PART: u32 = 4;

/// Where the engine is.
#[derive(Clone, PartialEq, Eq)]
pub enum EngineAddr {
    /// A Unix socket on this machine.
    Unix(PathBuf),
    /// The URL in front of `/v1/…`, and a key where it wants one.
    Http(String, Option<String>),
    /// An engine in the cluster that we are in.
    Pod {
        /// The URL in front of `/v1/…`.
        url: String,
        /// The token that says who we are; it may change and is read again.
        token_file: Option<PathBuf>,
        /// The one authority whose certificate the engine may show, PEM; likewise.
        ca_file: Option<PathBuf>,
    },
}

impl fmt::Debug for EngineAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => f.debug_tuple("Unix").field(path).finish(),
            Self::Http(url, _) => f.debug_tuple("Http").field(url).finish_non_exhaustive(),
            Self::Pod { url, .. } => f.debug_struct("Pod").field("url", url).finish_non_exhaustive(),
        }
    }
}

/// Which models the engine has: part of the version of whoever is built on them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct EngineModels {
    /// Name, hash and execution provider of the chat model; `None` where there is none.
    pub chat: Option<String>,
    /// Name and hash of the embedder.
    pub embed: Option<String>,
}

/// The form that a reply is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyShape {
    /// A call of a tool on offer.
    ToolCall,
    /// As the request's tools and format leave it, or nothing at all.
    OrNothing,
    /// JSON.
    Json,
    /// Any text.
    Text,
}

/// One question to the engine.
#[derive(Debug, Clone)]
pub struct ChatAsk {
    /// Messages, tools and format; sampling as the engine is to draw.
    pub request: Request,
    /// The form of the reply; `None` leaves it to the request's tools and format.
    pub shape: Option<ReplyShape>,
    /// The adapter that is to answer; `None` asks the base model.
    pub adapter: Option<String>,
    /// How the model writes a call; its text becomes a tool call either way.
    pub calls: CallText,
    /// Whole time until the answer.
    pub deadline: Duration,
    /// Least sum of log-probabilities; `None` wants the answer anyway.
    pub bar: Option<f64>,
    /// Whose turn it is.
    pub priority: Priority,
}

/// The engine's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatAnswer {
    /// The reply.
    pub reply: Reply,
    /// Sum of the log-probabilities of the tokens that were chosen freely,
    /// natural logarithm, at most 0; `None` from a server that gives none.
    pub confidence: Option<f64>,
    /// The least of them.
    pub min_logprob: Option<f64>,
    /// How many they were.
    pub free_tokens: u64,
}

/// A model that chats; the engine, or a stand-in in tests.
pub trait ChatModel: Send + Sync {
    /// The chat model's name, hash and execution provider, once known.
    fn model(&self) -> BoxFuture<'_, Option<String>>;

    /// Asks. Dropping the future cancels the work.
    fn chat(&self, ask: ChatAsk) -> BoxFuture<'_, Result<ChatAnswer, Declined>>;
}

/// A client of the engine, cheap to share.
pub struct EngineClient {
    door: Door,
    names: Arc<Names>,
    pulse: Arc<Pulse>,
}

impl fmt::Debug for EngineClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineClient")
            .field("base", &self.door.base())
            .field("models", &self.names.now().map(|k| k.models.clone()))
            .finish_non_exhaustive()
    }
}

impl EngineClient {
    /// A client; it connects when first asked.
    ///
    /// # Errors
    /// [`CastError::Client`] when TLS cannot be set up.
    pub fn new(addr: EngineAddr) -> Result<Self, CastError> {
        Ok(Self { door: Door::new(addr)?, names: Arc::default(), pulse: Arc::default() })
    }

    /// What the engine says of itself, as it says it.
    ///
    /// # Errors
    /// Why it did not.
    pub async fn health(&self) -> Result<Value, Declined> {
        Ok(self.look().await?.0)
    }

    /// Which models it has; asked once, and again after it could not be reached.
    pub async fn models(&self) -> Option<EngineModels> {
        Some(self.known().await?.models.clone())
    }

    /// Its health, and the mark that this answer bears.
    async fn look(&self) -> Result<(Value, Option<String>), Declined> {
        let way = self.door.way();
        let came = wire::get(&way.http, &self.url("/healthz"), way.key.as_deref(), EMBED_LIVE).await?;
        if came.status != 200 {
            return Err(wire::declined(&came));
        }
        self.pulse.heard();
        Ok((serde_json::from_slice(&came.body).map_err(|_| Declined::Invalid)?, came.models))
    }

    async fn known(&self) -> Option<Arc<Known>> {
        if let Some(known) = self.names.now() {
            return Some(known);
        }
        let since = self.names.times_lost();
        let (health, mark) = self.look().await.ok()?;
        self.names.keep(Known { models: names::read(&health)?, mark }, since)
    }

    /// Posts to the engine that these names are of; what another one answers is
    /// thrown away.
    async fn post(
        &self,
        path: &str,
        body: Vec<u8>,
        within: Duration,
        asked: &Known,
    ) -> Result<wire::Came, Declined> {
        let way = self.door.way();
        let came = wire::post(&way.http, &self.url(path), way.key.as_deref(), body, within).await;
        self.door.settle(&way, Showed::of(&came));
        let is_gone = match &came {
            Ok(came) if came.status == 200 => came.models != asked.mark,
            // Whoever stands before an engine that is gone says so with such a status.
            Ok(came) => came.status >= 500,
            Err(lost) => lost.why == Declined::Unavailable,
        };
        if is_gone {
            self.names.forget();
        } else if came.is_ok() {
            self.pulse.heard();
        }
        match came {
            Ok(came) if is_gone && came.status == 200 => {
                tracing::info!("the engine has other models than before: what it said is not used");
                Err(Declined::Unavailable)
            }
            Ok(came) => Ok(came),
            Err(lost) => Err(lost.why),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.door.base())
    }

    async fn ask(&self, ask: ChatAsk) -> Result<ChatAnswer, Declined> {
        let body = render(&ask).ok_or(Declined::Invalid)?;
        let (begun, within) = (Instant::now(), ask.deadline + SLACK);
        // An answer is worth nothing without the name of who gave it.
        let known = tokio::time::timeout(within, self.known()).await.map_err(|_| Declined::Late)?;
        let known = known.ok_or(Declined::Unavailable)?;
        let left = within.saturating_sub(begun.elapsed());
        let came = self.post("/v1/chat/completions", body, left, &known).await?;
        if came.status != 200 {
            return Err(wire::declined(&came));
        }
        answer(&came)
    }

    async fn embeddings(&self, texts: &[String], priority: Priority) -> Result<Vec<Vec<f32>>, EmbedError> {
        let away = |d: Declined| EmbedError::Unavailable(d.label().to_owned());
        // The vectors are worth nothing without the name of who made them.
        let Some(known) = self.known().await else {
            return Err(EmbedError::Unavailable("the engine does not say which models it has".to_owned()));
        };
        let body = json!({ "model": "", "input": texts, "encoding_format": "float", "understudy": { "priority": priority } });
        let within = if priority == Priority::Live { EMBED_LIVE } else { EMBED_SHADOW };
        let body = serde_json::to_vec(&body).map_err(|_| away(Declined::Invalid))?;
        let came = self.post("/v1/embeddings", body, within, &known).await.map_err(away)?;
        if came.status != 200 {
            return Err(away(wire::declined(&came)));
        }
        let mut vectors: Embeddings =
            serde_json::from_slice(&came.body).map_err(|_| away(Declined::Invalid))?;
        vectors.data.sort_by_key(|v| v.index);
        if vectors.data.len() != texts.len() || vectors.data.iter().any(|v| v.embedding.is_empty()) {
            return Err(EmbedError::Mismatch { wanted: texts.len(), got: vectors.data.len() });
        }
        Ok(vectors.data.into_iter().map(|v| unit(v.embedding)).collect())
    }
}

#[derive(Deserialize)]
struct Embeddings {
    data: Vec<Embedding>,
}

#[derive(Deserialize)]
struct Embedding {
    index: usize,
    embedding: Vec<f32>,
}

/// The vector at unit length; whoever answers may have left that out.
fn unit(mut v: Vec<f32>) -> Vec<f32> {
    let length = v.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        v.iter_mut().for_each(|x| *x /= length);
    }
    v
}

/// The request with the engine's fields, in the OpenAI dialect.
fn render(ask: &ChatAsk) -> Option<Vec<u8>> {
    let mut request = ask.request.clone();
    request.extra.insert(
        "understudy".to_owned(),
        json!({
            "deadline_ms": u64::try_from(ask.deadline.as_millis()).unwrap_or(u64::MAX),
            "bar": ask.bar,
            "priority": ask.priority,
            "tools_in_prompt": false,
            "reply": ask.shape,
            "adapter": ask.adapter,
        }),
    );
    // An engine elsewhere may be older than this field.
    if !ask.calls.is_usual()
        && let Some(ours) = request.extra.get_mut("understudy").and_then(Value::as_object_mut)
    {
        ours.insert("calls".to_owned(), json!(ask.calls));
    }
    understudy_dialect::render_request(Dialect::OpenaiChat, &request).ok()
}

fn answer(came: &wire::Came) -> Result<ChatAnswer, Declined> {
    let mut reply =
        understudy_dialect::parse_reply(Dialect::OpenaiChat, came.status, &came.content_type, &came.body)
            .map_err(|_| Declined::Invalid)?;
    if !reply.is_whole() {
        return Err(Declined::Invalid);
    }
    let ours = reply.extra.remove("understudy").unwrap_or(Value::Null);
    let number = |name: &str| ours.get(name).and_then(Value::as_f64).filter(|x| x.is_finite());
    let given: Vec<f64> = reply.choices.iter().flat_map(|c| &c.logprobs).map(|t| t.logprob).collect();
    // A server that is not our engine may give log-probabilities in OpenAI's way.
    let confidence = number("confidence").or_else(|| (!given.is_empty()).then(|| given.iter().sum()));
    Ok(ChatAnswer {
        confidence,
        min_logprob: number("min_logprob").or_else(|| given.iter().copied().reduce(f64::min)),
        free_tokens: ours.get("free_tokens").and_then(Value::as_u64).unwrap_or(given.len() as u64),
        reply,
    })
}

impl ChatModel for EngineClient {
    fn model(&self) -> BoxFuture<'_, Option<String>> {
        Box::pin(async move { self.models().await?.chat })
    }

    fn chat(&self, ask: ChatAsk) -> BoxFuture<'_, Result<ChatAnswer, Declined>> {
        Box::pin(async move {
            let (priority, quiet) = (ask.priority, ask.deadline / QUIET_PART);
            let asked = self.watched(priority, quiet, self.ask(ask)).await;
            asked.unwrap_or(Err(Declined::Unavailable))
        })
    }
}

impl Embedder for EngineClient {
    fn id(&self) -> String {
        self.names.now().and_then(|k| k.models.embed.clone()).unwrap_or_default()
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        priority: Priority,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>> {
        Box::pin(async move {
            let asked = self.watched(priority, EMBED_QUIET, self.embeddings(texts, priority)).await;
            asked.unwrap_or_else(|| {
                Err(EmbedError::Unavailable("the engine does not answer its health check".to_owned()))
            })
        })
    }
}

#[cfg(test)]
mod tests;
