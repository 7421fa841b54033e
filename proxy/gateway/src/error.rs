use std::net::SocketAddr;

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// The configuration does not make sense; all mistakes at once.
    #[error("gateway configuration: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Config(Vec<ConfigProblem>),
    /// Another process has the port.
    #[error(
        "cannot listen on {address}: the port is taken; stop the other process, or choose another address (gateway.listen; port 0 takes any free one)"
    )]
    PortTaken {
        /// The address wanted.
        address: SocketAddr,
    },
    /// The address cannot be listened on for another reason.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address wanted.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The system's certificates cannot be read.
    #[error("cannot read the system's certificates: {0}; install ca-certificates, or set SSL_CERT_FILE")]
    Roots(String),
    /// A provider's certificate file cannot be read.
    #[error("cannot read the certificates of provider `{provider}` in {path}: {problem}")]
    CaFile {
        /// The provider's configured name.
        provider: String,
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A thread or its runtime could not be started.
    #[error("cannot start the gateway's threads")]
    Threads(#[source] std::io::Error),
}

/// One mistake in the configuration: where, what was written, which rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {value}: {rule}")]
pub struct ConfigProblem {
    /// The key.
    pub key: String,
    /// What was written.
    pub value: String,
    /// The rule.
    pub rule: String,
}
