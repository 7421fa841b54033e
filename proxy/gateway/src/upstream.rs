//! One provider as pingora connects to it: address, name, certificates.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::HeaderValue;
use pingora_core::protocols::tls::CaType;
use pingora_core::protocols::{ALPN, TcpKeepalive};
use pingora_core::tls::{CertificateDer, RootCertStore, load_native_certs};
use pingora_core::upstreams::peer::{HttpPeer, PeerOptions};
use pingora_core::utils::tls::{WrappedX509, parse_x509};
use pingora_error::{Error, ErrorType, Result};
use rustls::pki_types::pem::PemObject;

use crate::GatewayError;
use crate::config::{Limits, Origin, Provider};

/// How long looked-up addresses are taken as they are. After that the old ones
/// still serve while new ones are looked up, so that no call waits for DNS twice.
const ADDRESSES_FRESH: Duration = Duration::from_secs(30);

/// For the first look-up, which a call waits for.
const LOOK_UP: Duration = Duration::from_secs(5);

/// How long a connection may be silent before it is probed. A model may think for
/// minutes without a byte; what stands between (NAT, load balancers) forgets a
/// connection that is silent for four to six, and nobody is told.
const PROBE_AFTER: Duration = Duration::from_secs(60);

/// Between two probes that nobody answers.
const PROBE_EVERY: Duration = Duration::from_secs(15);

/// Probes in a row that nobody answers until the connection counts as dead.
const PROBES: usize = 5;

/// Streams on one HTTP/2 connection; what servers commonly allow.
const H2_STREAMS: usize = 100;

#[derive(Debug)]
pub(crate) struct Upstream {
    name: String,
    origin: Origin,
    host_header: HeaderValue,
    options: PeerOptions,
    fixed: Option<SocketAddr>,
    found: ArcSwap<Found>,
    looking: AtomicBool,
    /// Which of the addresses is used; moves on when one does not answer.
    at: AtomicUsize,
}

#[derive(Debug)]
struct Found {
    addresses: Vec<SocketAddr>,
    when: Instant,
}

impl PartialEq for Upstream {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Upstream {}

impl Upstream {
    /// `provider` must have passed [`crate::GatewayConfig::problems`].
    pub(crate) fn new(provider: &Provider, limits: &Limits) -> std::result::Result<Self, GatewayError> {
        let origin = Origin::parse(&provider.base_url).map_err(|rule| {
            GatewayError::Config(vec![crate::ConfigProblem {
                key: format!("providers.{}.base_url", provider.name),
                value: provider.base_url.clone(),
                rule: rule.to_owned(),
            }])
        })?;
        let mut options = PeerOptions::new();
        options.connection_timeout = Some(limits.connect);
        options.total_connection_timeout = Some(limits.connect);
        options.read_timeout = Some(limits.provider_read);
        options.write_timeout = Some(limits.provider_write);
        options.idle_timeout = Some(limits.provider_idle);
        options.tcp_keepalive = Some(probes());
        options.max_h2_streams = H2_STREAMS;
        options.alpn = if origin.tls && provider.http2 { ALPN::H2H1 } else { ALPN::H1 };
        if let Some(file) = &provider.ca_file {
            options.ca = Some(trusted(&provider.name, file)?);
        }
        let fixed = origin.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, origin.port));
        let host_header = HeaderValue::from_str(&origin.authority).map_err(|_| {
            GatewayError::Config(vec![crate::ConfigProblem {
                key: format!("providers.{}.base_url", provider.name),
                value: provider.base_url.clone(),
                rule: "the host has characters that no header can carry".to_owned(),
            }])
        })?;
        Ok(Self {
            name: provider.name.clone(),
            origin,
            host_header,
            options,
            fixed,
            found: ArcSwap::from_pointee(Found { addresses: Vec::new(), when: Instant::now() }),
            looking: AtomicBool::new(false),
            at: AtomicUsize::new(0),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn base_path(&self) -> &str {
        &self.origin.path
    }

    pub(crate) fn host_header(&self) -> &HeaderValue {
        &self.host_header
    }

    /// The peer to connect to. An upgrade needs HTTP/1.1.
    pub(crate) async fn peer(self: &Arc<Self>, upgrade: bool) -> Result<Box<HttpPeer>> {
        let address = self.address().await?;
        // The name is never empty for TLS (`Origin::parse` refuses addresses):
        // pingora takes an empty one as "do not verify".
        let sni = if self.origin.tls { self.origin.host.clone() } else { String::new() };
        let mut peer = HttpPeer::new(address, self.origin.tls, sni);
        peer.options = self.options.clone();
        if upgrade {
            peer.options.alpn = ALPN::H1;
        }
        Ok(Box::new(peer))
    }

    /// The peer over HTTP/1.1, whatever the provider speaks besides.
    pub(crate) async fn peer_h1(self: &Arc<Self>) -> Result<Box<HttpPeer>> {
        self.peer(true).await
    }

    /// The address in use did not answer: the next call takes another.
    pub(crate) fn move_on(&self) {
        self.at.fetch_add(1, Ordering::Relaxed);
    }

    async fn address(self: &Arc<Self>) -> Result<SocketAddr> {
        if let Some(address) = self.fixed {
            return Ok(address);
        }
        let found = self.found.load_full();
        if let Some(address) = self.pick(&found) {
            if found.when.elapsed() > ADDRESSES_FRESH && !self.looking.swap(true, Ordering::AcqRel) {
                let me = Arc::clone(self);
                tokio::spawn(async move {
                    if let Err(e) = me.look_up().await {
                        tracing::warn!(provider = %me.name, error = %e, "keeping the provider's old addresses");
                    }
                    me.looking.store(false, Ordering::Release);
                });
            }
            return Ok(address);
        }
        self.look_up().await?;
        self.pick(&self.found.load()).ok_or_else(|| self.unknown("no address"))
    }

    fn pick(&self, found: &Found) -> Option<SocketAddr> {
        let n = found.addresses.len();
        found.addresses.get(self.at.load(Ordering::Relaxed).checked_rem(n)?).copied()
    }

    async fn look_up(&self) -> Result<()> {
        let asked = tokio::net::lookup_host((self.origin.host.as_str(), self.origin.port));
        let addresses: Vec<SocketAddr> = match tokio::time::timeout(LOOK_UP, asked).await {
            Ok(Ok(all)) => all.collect(),
            Ok(Err(e)) => return Err(self.unknown(&e.to_string())),
            Err(_) => return Err(self.unknown("no answer in time")),
        };
        if addresses.is_empty() {
            return Err(self.unknown("no address"));
        }
        self.found.store(Arc::new(Found { addresses, when: Instant::now() }));
        Ok(())
    }

    fn unknown(&self, why: &str) -> Box<Error> {
        Error::explain(ErrorType::ConnectNoRoute, format!("looking up {}: {why}", self.origin.host)).into_up()
    }
}

fn probes() -> TcpKeepalive {
    TcpKeepalive {
        idle: PROBE_AFTER,
        interval: PROBE_EVERY,
        count: PROBES,
        // Zero is the system's own: how long sent bytes may go unacknowledged.
        #[cfg(target_os = "linux")]
        user_timeout: Duration::ZERO,
    }
}

/// The system's certificates and those of a file together: a private authority
/// is added to the public ones for this provider, and for no other.
fn trusted(provider: &str, file: &Path) -> std::result::Result<Arc<CaType>, GatewayError> {
    let problem = |problem: String| GatewayError::CaFile {
        provider: provider.to_owned(),
        path: file.display().to_string(),
        problem,
    };
    let own = CertificateDer::pem_file_iter(file)
        .map_err(|e| problem(e.to_string()))?
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| problem(e.to_string()))?;
    if own.is_empty() {
        return Err(problem("there is no certificate in it".to_owned()));
    }
    let mut roots = RootCertStore::empty();
    for cert in &own {
        roots.add(cert.clone()).map_err(|e| problem(e.to_string()))?;
    }
    let system = load_native_certs().map_err(|e| GatewayError::Roots(e.to_string()))?;
    // A certificate of the system that rustls does not take is left out, as
    // every TLS client does; one of the file is an error, above.
    let taken = system.into_iter().filter(|c| roots.add(c.clone()).is_ok()).chain(own);
    let wrapped: Vec<WrappedX509> = taken
        .filter_map(|cert| std::panic::catch_unwind(|| WrappedX509::new(cert.to_vec(), parse_x509)).ok())
        .collect();
    Ok(wrapped.into())
}

/// Reads the system's certificates as pingora will, which panics where it cannot.
pub(crate) fn system_roots() -> std::result::Result<(), GatewayError> {
    pingora_core::tls::load_platform_certs_incl_env_into_store(&mut RootCertStore::empty())
        .map_err(|e| GatewayError::Roots(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_that_is_silent_while_a_model_thinks_is_kept_alive() {
        let provider = Provider { base_url: "http://127.0.0.1:9/v1".to_owned(), ..Provider::openai() };
        let upstream = Arc::new(Upstream::new(&provider, &Limits::default()).unwrap());
        for upgrade in [false, true] {
            let peer = upstream.peer(upgrade).await.unwrap();
            let probed = peer.options.tcp_keepalive.as_ref().unwrap();
            // Azure's load balancers forget after four minutes, AWS's NAT after 350 s.
            assert!(probed.idle < Duration::from_secs(240) && probed.count > 1, "{probed}");
        }
    }
}
