//! `understudy engine`: the small models over an OpenAI-compatible API.

use std::io::ErrorKind::AddrInUse;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use understudy_engine::{EngineConfig, EngineError, Listen};

use crate::config::Config;
use crate::console::runtime;
use crate::failure::{Exit, Failure, with_sources};
use crate::state;

/// `understudy engine`
#[derive(Debug, Args)]
pub(crate) struct Engine {
    /// Listens on an address, for other machines
    #[arg(long, value_name = "ADDRESS", conflicts_with = "socket")]
    pub(crate) listen: Option<SocketAddr>,
    /// Listens on a Unix socket
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

/// Serves them.
///
/// # Errors
/// When the models are missing or refused, or the place to listen is taken.
pub(crate) fn main(config: &Config, args: Engine) -> Result<Exit, Failure> {
    let listen = match (args.listen, args.socket) {
        (Some(address), _) => Listen::Tcp(address),
        (None, Some(socket)) => Listen::Unix(socket),
        (None, None) => Listen::Unix(state::engine_socket(&config.state)),
    };
    let cfg = engine_config(config, listen)?;
    runtime()?.block_on(async move {
        let end = crate::serve::told_to_end()?;
        let engine = understudy_engine::start(cfg).await.map_err(failed)?;
        if let Some(address) = engine.addr() {
            tracing::info!(%address, "the engine listens");
        }
        engine.run(end).await.map_err(failed)?;
        Ok(Exit::Done)
    })
}

fn failed(e: EngineError) -> Failure {
    match e {
        EngineError::Listen { listen: Listen::Tcp(address), source } if source.kind() == AddrInUse => {
            Failure::PortTaken { what: "the engine", address, key: "--listen" }
        }
        EngineError::Taken(_) => Failure::Temporary(e.to_string()),
        EngineError::NoSocket(_) => Failure::Usage(e.to_string()),
        e => Failure::Unavailable(with_sources(&e)),
    }
}

fn engine_config(config: &Config, listen: Listen) -> Result<EngineConfig, Failure> {
    let there = |path: &PathBuf| path.join("understudy.toml").is_file().then(|| path.clone());
    let (engine, model) = (&config.engine, &config.model);
    let (chat, embed) = (there(&model.chat), there(&model.embed));
    if chat.is_none() && embed.is_none() {
        return Err(Failure::Unavailable(format!(
            "there is no model in {} nor in {}; fetch them with `understudy model pull`",
            model.chat.display(),
            model.embed.display()
        )));
    }
    Ok(EngineConfig {
        chat_model: chat,
        embed_model: embed,
        threads: usize::try_from(engine.threads).unwrap_or(0),
        execution_providers: engine.execution_providers.clone(),
        queue: usize::try_from(engine.queue).unwrap_or(1),
        memory_limit: Some(engine.memory_limit),
        library: engine.library.clone(),
        allow_non_commercial: model.allow_non_commercial,
        adapters: Some(crate::specialise::adapters(config)),
        tls: engine.tls_cert.clone().zip(engine.tls_key.clone()),
        audience: engine.audience.clone(),
        access: engine.access.clone(),
        ..EngineConfig::new(listen)
    })
}
