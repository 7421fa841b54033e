use std::path::PathBuf;

use understudy_onnx::contract::ContractError;
use understudy_onnx::{GenerateError, RuntimeError};

use crate::Listen;

/// Why the engine does not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// No model was named.
    #[error("no model: name a chat model, an embedder, or both")]
    NoModel,
    /// A model's folder is refused.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The chat model does not load.
    #[error("chat model: {0}")]
    Chat(#[source] GenerateError),
    /// The embedder does not load.
    #[error("embedder: {0}")]
    Embedder(#[source] RuntimeError),
    /// The address or socket cannot be listened on.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// Where.
        listen: Listen,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Another engine has the socket.
    #[error("another process listens on `{}`; stop it or choose another socket", .0.display())]
    Taken(PathBuf),
    /// What is where the socket should be is none, and stays.
    #[error("`{}` is there and is no socket: name another place, or remove it", .0.display())]
    NoSocket(PathBuf),
    /// A model's thread ended; only a new process helps.
    #[error("the thread of the {0} ended unexpectedly")]
    ThreadGone(&'static str),
    /// A limit could not be set.
    #[error("cannot set {what}: {source}")]
    Limit {
        /// Which.
        what: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Callers are to be reviewed, and we are in no cluster.
    #[error(
        "callers cannot be reviewed: {0} is not there; engine.audience is for an engine in a Kubernetes pod with a service account"
    )]
    NoCluster(String),
    /// The API server's client could not be built.
    #[error("no client for the API server")]
    Client(#[source] reqwest::Error),
    /// The certificate cannot be shown.
    #[error("certificate {} or its key cannot be used", .path.display())]
    Certificate {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Serving broke off.
    #[error("serving: {0}")]
    Serve(#[source] std::io::Error),
}
