//! The life of the process.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use kube::Client;

use crate::error::ServeError;
use crate::service::Service;
use crate::settings::File;
use crate::{keeper, pods, policies, resources, routes, understudies};

/// How long kept connections have to be given up with an answer, before they are closed.
/// For some seconds reviews may still be sent here: a `preStop` hook that sleeps would do
/// for them, but Kubernetes 1.29 refuses it.
const LEAVE: Duration = Duration::from_secs(5);

/// How long reviews in progress may go on: an API server waits three seconds.
const DRAIN: Duration = Duration::from_secs(4);

/// Where the injector listens, and as whom it signs the lease.
#[derive(Debug, Clone)]
pub struct Places {
    /// The webhook, over TLS.
    pub webhook: SocketAddr,
    /// Health and metrics.
    pub health: SocketAddr,
    /// This replica's name.
    pub me: String,
}

/// Serves until `shutdown`.
///
/// # Errors
/// [`ServeError`], before it listens or when a listener ends.
pub async fn serve(
    file: File,
    places: Places,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let client = Client::try_default().await.map_err(ServeError::Cluster)?;
    let service = Arc::new(Service::new(file.injection, &file.controller.namespace, client));
    let bind = |address: SocketAddr| {
        let bound = TcpListener::bind(address).and_then(|l| l.set_nonblocking(true).map(|()| l));
        bound.map_err(|source| ServeError::Listen { address, source })
    };
    let (webhook, health) = (bind(places.webhook)?, bind(places.health)?);
    let shown = provisional().await?;
    let handle = Handle::new();
    let reviewing = axum_server::from_tcp_rustls(webhook, shown.clone())
        .map_err(ServeError::Serve)?
        .handle(handle.clone())
        .serve(routes::webhook(Arc::clone(&service)).into_make_service());
    let telling = axum_server::from_tcp(health)
        .map_err(ServeError::Serve)?
        .serve(routes::health(Arc::clone(&service)).into_make_service());
    let me = places.me.clone();
    let keeping = keeper::keep(Arc::clone(&service), file.controller, places.me, shown);
    let watching = pods::watch(Arc::clone(&service));
    let looking = async {
        if service.settings.policies.is_none() {
            return std::future::pending().await;
        }
        let client = || service.client.clone();
        tokio::select! {
            () = resources::watch(client(), &service.policies) => {}
            () = resources::watch(client(), &service.understudies) => {}
            () = policies::status::write(Arc::clone(&service), me) => {}
            () = understudies::status::write(Arc::clone(&service)) => {}
        }
    };
    let stopping = async {
        shutdown.await;
        service.take_leave();
        tokio::time::sleep(LEAVE).await;
        service.policies.end();
        handle.graceful_shutdown(Some(DRAIN));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        served = reviewing => served.map_err(ServeError::Serve),
        served = telling => served.map_err(ServeError::Serve),
        () = keeping => Ok(()),
        () = watching => Ok(()),
        () = looking => Ok(()),
        () = stopping => Ok(()),
    }
}

/// What is shown until there is a certificate: nobody trusts it, and readiness says no.
async fn provisional() -> Result<RustlsConfig, ServeError> {
    let failed = |e: rcgen::Error| ServeError::Serve(std::io::Error::other(e));
    let made = rcgen::generate_simple_self_signed(vec!["provisional.invalid".to_owned()]).map_err(failed)?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    RustlsConfig::from_pem(certificate.into_bytes(), key.into_bytes()).await.map_err(ServeError::Serve)
}
