//! The routes, and the life of the process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::adapters::Adapters;
use crate::callers::{self, Callers};
use crate::certificate::Certificate;
use crate::embedding::Embed;
use crate::generation::Chat;
use crate::listen::{self, Bound};
use crate::metrics::metrics;
use crate::refusal::unknown;
use crate::shared::Engine;
use crate::{EngineConfig, EngineError, chat, embeddings, owner};

/// Longest body: far more text than the context of a small model.
const MOST_BYTES: usize = 8 << 20;

/// The header of every response that says which models the engine has.
const MODELS: &str = "x-understudy-models";

/// Loads the models, listens, and serves until `shutdown`.
///
/// # Errors
/// [`EngineError`]: before it listens when a model does not load, and later when
/// a model's thread ends.
pub async fn serve(cfg: EngineConfig, shutdown: impl Future<Output = ()> + Send) -> Result<(), EngineError> {
    start(cfg).await?.run(shutdown).await
}

/// An engine whose models are loaded and whose socket is bound: callers may
/// connect, and are answered once it runs.
pub struct Started {
    engine: Arc<Engine>,
    bound: Bound,
    certificate: Option<Certificate>,
    callers: Option<Arc<Callers>>,
    gone: BoxFuture<'static, &'static str>,
    drain: Duration,
}

/// Loads the models and binds the socket.
///
/// # Errors
/// [`EngineError`] when a limit, a model or the socket is refused.
pub async fn start(cfg: EngineConfig) -> Result<Started, EngineError> {
    if let Some(bytes) = cfg.memory_limit {
        crate::limits::limit_memory(bytes)?;
    }
    // What is wrong with these is said before minutes of loading.
    let of_cluster = |audience: &str| Callers::of_cluster(audience, cfg.access.clone());
    let callers = cfg.audience.as_deref().map(of_cluster).transpose()?.map(Arc::new);
    let certificate = match cfg.tls.clone() {
        Some(files) => Some(Certificate::read(files).await?),
        None => None,
    };
    let (engine, gone) = load(&cfg).await?;
    let bound = listen::bind(&cfg.listen).await?;
    Ok(Started { engine, bound, certificate, callers, gone, drain: cfg.drain })
}

impl Started {
    /// The address, for a listener on one.
    #[must_use]
    pub fn addr(&self) -> Option<SocketAddr> {
        match &self.bound {
            Bound::Tcp(l) => l.local_addr().ok(),
            Bound::Unix(..) => None,
        }
    }

    /// Serves until `shutdown`, then until what is in progress is done or the
    /// time to drain is over.
    ///
    /// # Errors
    /// [`EngineError::ThreadGone`], [`EngineError::Serve`].
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), EngineError> {
        let Self { engine, bound, certificate, callers, gone, drain } = self;
        let (stop, stopped) = oneshot::channel::<()>();
        let until = async move {
            let _ = stopped.await;
        };
        let mut app = router(Arc::clone(&engine));
        if let Some(callers) = callers {
            app = app.layer(from_fn_with_state(callers, callers::check));
        }
        // The socket's file goes when the serving has ended.
        let (mut serving, _file) = match (bound, certificate) {
            (Bound::Tcp(l), Some(certificate)) => {
                (tokio::spawn(over_tls(l, certificate, app, until, drain)), None)
            }
            (Bound::Tcp(l), None) => {
                (tokio::spawn(async move { axum::serve(l, app).with_graceful_shutdown(until).await }), None)
            }
            (Bound::Unix(l, file), _) => (
                tokio::spawn(async move { axum::serve(l, app).with_graceful_shutdown(until).await }),
                Some(file),
            ),
        };
        let ended = tokio::select! {
            () = shutdown => None,
            which = gone => Some(Err(EngineError::ThreadGone(which))),
            served = &mut serving => Some(joined(served)),
        };
        if let Some(ended) = ended {
            serving.abort();
            return ended;
        }
        let _ = stop.send(());
        let drained = tokio::time::timeout(drain, &mut serving).await;
        if let Some(c) = &engine.chat {
            c.queue.abort();
        }
        if let Some(e) = &engine.embed {
            e.queue.abort();
        }
        match drained {
            Ok(served) => joined(served),
            Err(_) => {
                serving.abort();
                Ok(())
            }
        }
    }
}

impl std::fmt::Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Started").field("addr", &self.addr()).finish_non_exhaustive()
    }
}

async fn over_tls(
    listener: tokio::net::TcpListener,
    certificate: Certificate,
    app: Router,
    until: impl Future<Output = ()>,
    drain: Duration,
) -> std::io::Result<()> {
    let handle = axum_server::Handle::new();
    let server = axum_server::from_tcp_rustls(listener.into_std()?, certificate.shown.clone())?;
    let serving = server.handle(handle.clone()).serve(app.into_make_service());
    let stopping = async {
        until.await;
        handle.graceful_shutdown(Some(drain));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        served = serving => served,
        () = certificate.follow() => Ok(()),
        () = stopping => Ok(()),
    }
}

fn joined(served: Result<std::io::Result<()>, tokio::task::JoinError>) -> Result<(), EngineError> {
    match served {
        Ok(r) => r.map_err(EngineError::Serve),
        Err(e) => Err(EngineError::Serve(std::io::Error::other(e))),
    }
}

async fn load(cfg: &EngineConfig) -> Result<(Arc<Engine>, BoxFuture<'static, &'static str>), EngineError> {
    if cfg.chat_model.is_none() && cfg.embed_model.is_none() {
        return Err(EngineError::NoModel);
    }
    let owned = cfg.clone();
    let loading = tokio::task::spawn_blocking(move || {
        let chat = owned.chat_model.as_deref().map(|f| owner::start::<Chat>(&owned, f)).transpose()?;
        let embed = owned.embed_model.as_deref().map(|f| owner::start::<Embed>(&owned, f)).transpose()?;
        Ok::<_, EngineError>((chat, embed))
    });
    let (chat, embed) = loading.await.map_err(|e| EngineError::Serve(std::io::Error::other(e)))??;
    let (chat, chat_gone) = chat.unzip();
    let (embed, embed_gone) = embed.unzip();
    let adapters = chat.as_ref().zip(cfg.adapters.clone()).map(|(c, folder)| match &c.slots {
        Some(slots) => Ok(Arc::new(Adapters::new(folder, Arc::clone(slots)))),
        None => {
            tracing::warn!(model = c.name, "its graph takes no adapters; pull it again with this version");
            Err(())
        }
    });
    let engine = Engine::new(chat, embed, adapters, cfg.default_deadline);
    let gone = async move {
        tokio::select! {
            () = ended(chat_gone) => "chat model",
            () = ended(embed_gone) => "embedder",
        }
    };
    Ok((Arc::new(engine), Box::pin(gone)))
}

async fn ended(gone: Option<oneshot::Receiver<()>>) {
    match gone {
        Some(r) => {
            let _ = r.await;
        }
        None => std::future::pending().await,
    }
}

fn router(engine: Arc<Engine>) -> Router {
    let mark = engine.mark();
    let marked = move |mut response: Response| {
        if let Some(mark) = &mark {
            response.headers_mut().insert(MODELS, mark.clone());
        }
        std::future::ready(response)
    };
    Router::new()
        .route("/v1/chat/completions", post(chat::completions))
        .route("/v1/embeddings", post(embeddings::embeddings))
        .route("/v1/models", get(models))
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .fallback(|| async { unknown("no such path; see /v1/models") })
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .layer(map_response(marked))
        .with_state(engine)
}

async fn models(State(engine): State<Arc<Engine>>) -> Json<Value> {
    let chat = engine.chat.as_ref().map(|c| (&c.name, &c.hash));
    let embed = engine.embed.as_ref().map(|e| (&e.name, &e.hash));
    let data: Vec<Value> = [chat, embed]
        .into_iter()
        .flatten()
        .map(|(name, hash)| json!({"id": name, "object": "model", "created": 0, "owned_by": "understudy", "hash": hash}))
        .collect();
    Json(json!({"object": "list", "data": data}))
}

async fn health(State(engine): State<Arc<Engine>>) -> Json<Value> {
    let chat = engine.chat.as_ref().map(|c| {
        let (load, (prefill, decode)) = (c.queue.load(), c.speed.tokens_per_second());
        json!({
            "id": c.name, "hash": c.hash, "execution_provider": c.provider, "context": c.voice.context(),
            "queue": queue_value(load),
            "tokens_per_second": {"prefill": prefill, "decode": decode},
            "mean_ms": c.speed.mean().as_millis() as u64,
            "step_ms": c.clock.age().as_millis() as u64,
        })
    });
    let embed = engine.embed.as_ref().map(|e| {
        json!({
            "id": e.name, "hash": e.hash, "execution_provider": e.provider, "queue": queue_value(e.queue.load()),
            "step_ms": e.clock.age().as_millis() as u64,
        })
    });
    let adapters = engine.adapters.as_ref().and_then(|a| a.as_ref().ok()).map(|a| {
        let value = |a: crate::adapters::Listed| {
            json!({"name": a.name, "sha256": a.sha256, "rank": a.rank, "bytes": a.bytes})
        };
        a.list().into_iter().map(value).collect::<Vec<_>>()
    });
    let provider = engine.chat.as_ref().map(|c| c.provider).or(engine.embed.as_ref().map(|e| e.provider));
    Json(json!({
        "status": "ok",
        "models": {"chat": chat, "embed": embed},
        "adapters": adapters,
        "execution_provider": provider,
        "declined": engine.declined(),
    }))
}

fn queue_value(load: crate::queue::Load) -> Value {
    json!({
        "live": load.live, "shadow": load.shadow,
        "running_live": load.running_live, "running_shadow": load.running_shadow,
    })
}
