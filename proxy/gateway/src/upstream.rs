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

/// How long they serve like that. After an idle hour the provider may be elsewhere,
/// and an agent without us would ask; so the next call waits for the answer.
const ADDRESSES_KEPT: Duration = Duration::from_secs(300);

/// Between two look-ups, however many calls cannot be connected.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(1);

/// For a look-up that a call waits for.
const LOOK_UP: Duration = Duration::from_secs(5);

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

#[derive(Debug)]
struct Found {
    addresses: Vec<SocketAddr>,
    /// When they were found.
    when: Instant,
    /// When the last look-up ended, whatever came of it.
    tried: Instant,
}

/// What is done about the addresses before one of them is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Nothing.
    No,
    /// They serve while new ones are looked up.
    Aside,
    /// They are looked up first.
    First,
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

    /// The address in use did not answer: the next try takes another, and looks the name
    /// up before: a provider that was started anew may be elsewhere.
    pub(crate) fn move_on(&self) {
        self.at.fetch_add(1, Ordering::Relaxed);
        self.doubted.store(true, Ordering::Release);
    }

    async fn address(self: &Arc<Self>, now: Instant) -> Result<SocketAddr> {
        let found = self.found.load_full();
        match self.look(&found, now) {
            Look::No => {}
            Look::Aside => self.renew_aside(now),
            // In a box of its own, since most calls look nothing up.
            Look::First => {
                Box::pin(self.renew(now)).await?;
                return self.pick(&self.found.load()).ok_or_else(|| self.unknown("no address"));
            }
        }
        self.pick(&found).ok_or_else(|| self.unknown("no address"))
    }

    fn look(&self, found: &Found, now: Instant) -> Look {
        let age = now.saturating_duration_since(found.when);
        let tried = now.saturating_duration_since(found.tried);
        let doubted = self.doubted.load(Ordering::Acquire) && tried >= LOOK_UP_AGAIN;
        // Where look-ups fail while calls flow, no call waits for the next of them.
        let old = age >= ADDRESSES_KEPT && tried >= ADDRESSES_FRESH;
        if found.addresses.is_empty() || doubted || old {
            Look::First
        } else if age >= ADDRESSES_FRESH && tried >= LOOK_UP_AGAIN {
            Look::Aside
        } else {
            Look::No
        }
    }

    fn renew_aside(self: &Arc<Self>, now: Instant) {
        if self.looking.swap(true, Ordering::AcqRel) {
            return;
        }
        let me = Arc::clone(self);
        tokio::spawn(async move {
            // There are old ones, so it does not fail.
            let _ = me.renew(now).await;
            me.looking.store(false, Ordering::Release);
        });
    }

    /// Looks the name up for who came at this time. The old addresses stay where it cannot
    /// be done; it fails where there are none.
    async fn renew(&self, came: Instant) -> Result<()> {
        let _asking = self.asking.lock().await;
        let old = self.found.load_full();
        if old.tried >= came {
            // Another's look-up ended while this call waited for its turn.
            return Ok(());
        }
        // Before it begins: what cannot be connected to from now on is in doubt again.
        let mut doubt = Doubt::take(&self.doubted);
        let asked = self.look_up().await;
        doubt.settle();
        let now = Instant::now();
        let (found, failed) = match asked {
            Ok(addresses) => (Found { addresses, when: now, tried: now }, None),
            Err(e) => (Found { addresses: old.addresses.clone(), when: old.when, tried: now }, Some(e)),
        };
        let none = found.addresses.is_empty();
        self.found.store(Arc::new(found));
        match failed {
            Some(e) if none => Err(e),
            Some(e) => {
                tracing::warn!(provider = %self.name, error = %e, "keeping the provider's old addresses");
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn pick(&self, found: &Found) -> Option<SocketAddr> {
        let n = found.addresses.len();
        found.addresses.get(self.at.load(Ordering::Relaxed).checked_rem(n)?).copied()
    }

    async fn look_up(&self) -> Result<Vec<SocketAddr>> {
        let asked = tokio::net::lookup_host((self.origin.host.as_str(), self.origin.port));
        let addresses: Vec<SocketAddr> = match tokio::time::timeout(LOOK_UP, asked).await {
            Ok(Ok(all)) => all.collect(),
            Ok(Err(e)) => return Err(self.unknown(&e.to_string())),
            Err(_) => return Err(self.unknown("no answer in time")),
        };
        if addresses.is_empty() {
            return Err(self.unknown("no address"));
        }
        Ok(addresses)
    }

    fn unknown(&self, why: &str) -> Box<Error> {
        Error::explain(ErrorType::ConnectNoRoute, format!("looking up {}: {why}", self.origin.host)).into_up()
    }
}

/// The doubt about the addresses while they are looked up. It is put back where the
/// look-up is given up before it has come back, as when the agent that waits for it hangs
/// up: nothing was learnt then, and the next call must ask again.
struct Doubt<'u> {
    doubted: &'u AtomicBool,
    /// Whether there is one to put back.
    was: bool,
}

impl<'u> Doubt<'u> {
    fn take(doubted: &'u AtomicBool) -> Self {
        Self { doubted, was: doubted.swap(false, Ordering::AcqRel) }
    }

    /// The look-up has come back.
    fn settle(&mut self) {
        self.was = false;
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if self.was {
            self.doubted.store(true, Ordering::Release);
        }
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
