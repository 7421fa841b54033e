//! One provider as pingora connects to it: address, name, certificates.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::HeaderValue;
use pingora_core::protocols::tls::CaType;
use pingora_core::protocols::{ALPN, TcpKeepalive};
use pingora_core::tls::{CertificateDer, RootCertStore, load_native_certs};
use pingora_core::upstreams::peer::{HttpPeer, PeerOptions};
use pingora_core::utils::tls::{WrappedX509, parse_x509};
use pingora_error::Result;
use rustls::pki_types::pem::PemObject;

use crate::GatewayError;
use crate::config::{Limits, Origin, Provider};
use addresses::Found;

mod addresses;

/// How long a connection may be silent before it is probed. A model may think for
/// minutes without a byte; what stands between (NAT, load balancers) forgets a
/// connection that is silent for four to six, and nobody is told.
const PROBE_AFTER: Duration = Duration::from_secs(15);

/// Between two probes that nobody answers.
const PROBE_EVERY: Duration = Duration::from_secs(10);

/// Probes in a row that nobody answers until the connection counts as dead. Linux
/// counts by `unheard` instead, which leaves room for three and more.
const PROBES: usize = 3;

/// How long, at least, what we sent may go unacknowledged. While it does, Linux sends no
/// probes, and it would go on for a quarter of an hour: on HTTP/2 every call of the
/// provider's waits behind that one dead connection. With it set, a silent connection ends
/// by it, too, so it is longer than the wait for a probe with two more: one lost packet
/// ends no call. HTTP/2 is not pinged besides: pingora would end a connection with all its
/// calls after five seconds without an answer, which a slow uplink or a change of Wi-Fi
/// takes.
#[cfg(target_os = "linux")]
const UNHEARD: Duration = Duration::from_secs(45);

/// By how much it is longer than a provider may take to take bytes, so that such a wait
/// ends by the limit that is set for it.
#[cfg(target_os = "linux")]
const UNHEARD_BEYOND: Duration = Duration::from_secs(5);

/// The longest that is asked of Linux, which counts milliseconds in 31 bits.
#[cfg(target_os = "linux")]
const UNHEARD_MOST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Streams on one HTTP/2 connection; what servers commonly allow.
const H2_STREAMS: usize = 100;

/// What a stream may have sent that its agent has not taken: more than most answers in text,
/// and so much in a round trip is faster than any model writes. With a hundred agents that
/// do not read it is what a sidecar has memory for.
const H2_STREAM_WINDOW: u32 = 512 << 10;

/// The same of a connection: over what all its streams may have, or one agent that does not
/// read would hold up the others, as with pingora's 8 MiB for both. Unused it takes no memory.
const H2_CONNECTION_WINDOW: u32 = 64 << 20;

#[derive(Debug)]
pub(crate) struct Upstream {
    name: String,
    origin: Origin,
    host_header: HeaderValue,
    options: PeerOptions,
    fixed: Option<SocketAddr>,
    found: ArcSwap<Found>,
    /// Whether a look-up beside the calls is under way.
    looking: AtomicBool,
    /// Held during a look-up, so that who comes meanwhile waits for its outcome.
    asking: tokio::sync::Mutex<()>,
    /// Whether an address could not be connected to since the last look-up.
    doubted: AtomicBool,
    /// Which of the addresses is used; moves on when one does not answer.
    at: AtomicUsize,
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
        options.tcp_keepalive = Some(TcpKeepalive {
            idle: PROBE_AFTER,
            interval: PROBE_EVERY,
            count: PROBES,
            #[cfg(target_os = "linux")]
            user_timeout: unheard(limits.provider_write),
        });
        options.max_h2_streams = H2_STREAMS;
        options.h2_stream_window_size = Some(H2_STREAM_WINDOW);
        options.h2_connection_window_size = Some(H2_CONNECTION_WINDOW);
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
        let now = Instant::now();
        Ok(Self {
            name: provider.name.clone(),
            origin,
            host_header,
            options,
            fixed,
            found: ArcSwap::from_pointee(Found { addresses: Vec::new(), when: now, tried: now }),
            looking: AtomicBool::new(false),
            asking: tokio::sync::Mutex::new(()),
            doubted: AtomicBool::new(false),
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

    /// The peer to connect to; `h1` where it must be over HTTP/1.1, as for an upgrade.
    pub(crate) async fn peer(self: &Arc<Self>, h1: bool) -> Result<Box<HttpPeer>> {
        let address = match self.fixed {
            Some(address) => address,
            None => self.address(Instant::now()).await?,
        };
        // The name is never empty for TLS (`Origin::parse` refuses addresses):
        // pingora takes an empty one as "do not verify".
        let sni = if self.origin.tls { self.origin.host.clone() } else { String::new() };
        let mut peer = HttpPeer::new(address, self.origin.tls, sni);
        peer.options = self.options.clone();
        if h1 {
            peer.options.alpn = ALPN::H1;
        }
        Ok(Box::new(peer))
    }

    /// The peer over HTTP/1.1, whatever the provider speaks besides.
    pub(crate) async fn peer_h1(self: &Arc<Self>) -> Result<Box<HttpPeer>> {
        self.peer(true).await
    }
}

/// How long what we sent may go unacknowledged, where a provider may be this long about
/// taking bytes. A full window at its end counts as unheard for Linux, so the limit on
/// writing would otherwise be cut short.
#[cfg(target_os = "linux")]
fn unheard(write: Duration) -> Duration {
    write.saturating_add(UNHEARD_BEYOND).clamp(UNHEARD, UNHEARD_MOST)
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
#[path = "upstream/tests.rs"]
mod tests;
