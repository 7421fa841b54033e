use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use understudy_onnx::ExecutionProvider;

/// Where the engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A socket of mode 0600 in the file system.
    Unix(PathBuf),
    /// An address; port 0 takes any.
    Tcp(SocketAddr),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

/// An engine as access rules of a Kubernetes cluster name it: `engines.understudy.dev`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The namespace that the right is given in.
    pub namespace: String,
    /// The engine's name.
    pub name: String,
}

/// What the engine is to be. At least one model is needed.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Where it listens.
    pub listen: Listen,
    /// For an address: certificate and key that it shows, PEM files that may change.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Answers only callers whose token the cluster's API server finds to be for this
    /// audience; `None` answers whoever reaches it.
    pub audience: Option<String>,
    /// Of those callers, only whose account may `use` this engine; `None` takes all.
    pub access: Option<Access>,
    /// Folder of the chat model.
    pub chat_model: Option<PathBuf>,
    /// Folder whose subfolders are adapters of the chat model, by name. They are
    /// read when they are first asked for, and may come and go meanwhile.
    pub adapters: Option<PathBuf>,
    /// Folder of the embedder.
    pub embed_model: Option<PathBuf>,
    /// Threads inside an operator; 0 is one a core.
    pub threads: usize,
    /// What models compute on, the best first; the first that works is taken, and
    /// without one that does the engine does not start.
    pub execution_providers: Vec<ExecutionProvider>,
    /// Most asks that wait, for each model and priority; more are refused as busy.
    pub queue: usize,
    /// Most bytes of private memory (`RLIMIT_DATA`); an allocation past it fails
    /// and ends the process, which its parent starts again.
    pub memory_limit: Option<u64>,
    /// Nice level of the model's threads, 0 to 19.
    pub nice: i32,
    /// ONNX Runtime's shared library; `None` is `ORT_DYLIB_PATH`.
    pub library: Option<PathBuf>,
    /// Whether a model whose licence forbids commercial use is accepted.
    pub allow_non_commercial: bool,
    /// Time for an ask that names no deadline.
    pub default_deadline: Duration,
    /// How long asks in progress may go on after the shutdown.
    pub drain: Duration,
}

impl EngineConfig {
    /// Defaults for one place to listen; the models are still to be named.
    #[must_use]
    pub fn new(listen: Listen) -> Self {
        Self {
            listen,
            tls: None,
            audience: None,
            access: None,
            chat_model: None,
            adapters: None,
            embed_model: None,
            threads: 0,
            execution_providers: ExecutionProvider::ORDER.to_vec(),
            // A queue longer than this waits seconds on two cores.
            queue: 32,
            memory_limit: None,
            nice: 0,
            library: None,
            allow_non_commercial: false,
            default_deadline: Duration::from_secs(60),
            drain: Duration::from_secs(5),
        }
    }
}
