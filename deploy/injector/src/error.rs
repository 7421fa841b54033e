//! What keeps the injector from serving.

use std::net::SocketAddr;

/// Why the injector does not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The settings' file.
    #[error("{path}: {why}")]
    Settings {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// No API server.
    #[error("no API server is known; outside a cluster, KUBECONFIG names a file that says which")]
    Cluster(#[source] kube::Error),
    /// An address could not be had.
    #[error("{address} could not be listened on")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// TLS could not be set up, or serving failed.
    #[error("serving failed")]
    Serve(#[source] std::io::Error),
}
