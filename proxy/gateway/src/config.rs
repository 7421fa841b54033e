use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use serde::{Deserialize, Serialize};

use crate::ConfigProblem;

/// What the gateway listens on, where it sends calls, and how much it lets through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// Addresses to listen on; port 0 takes any free one. Loopback by default:
    /// whoever reaches this port spends the owner's money.
    pub listen: Vec<SocketAddr>,
    /// Where calls go.
    pub providers: Vec<Provider>,
    /// What is let through.
    pub limits: Limits,
    /// Threads that carry calls; 0 takes one a core, at most four. Each has its
    /// own queue: without work stealing pingora is faster at this size.
    pub threads: usize,
    /// Request header that names the conversation, where the agent sends one.
    pub conversation_header: String,
    /// Threads that wait for understudies and ask the provider in audits, so
    /// that neither holds up a call that only passes through.
    pub ask_threads: usize,
    /// Audits under way at once; one more is dropped and counted. Each holds a
    /// request and a reply in memory and a connection to the provider.
    pub audits: usize,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 4141))],
            providers: vec![Provider::openai(), Provider::anthropic()],
            limits: Limits::default(),
            threads: 0,
            conversation_header: "x-understudy-conversation".to_owned(),
            ask_threads: 1,
            audits: 16,
        }
    }
}

/// One provider: a base URL, and which calls go there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Its name in records, labels and credential hashes.
    pub name: String,
    /// Where it is: scheme, host, and the path that takes a prefix's place.
    pub base_url: String,
    /// Path prefixes whose calls go there; the longest wins. The prefix is
    /// replaced by the base URL's path, the rest and the query are kept. `/`
    /// takes every call that nothing else takes.
    #[serde(default)]
    pub prefixes: Vec<String>,
    /// Values of the Host header whose calls go there, before any prefix.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Certificates (PEM) to trust besides the system's, for this provider only.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Whether HTTP/2 is offered to a TLS provider; HTTP/1.1 always is.
    #[serde(default = "yes")]
    pub http2: bool,
}

fn yes() -> bool {
    true
}

impl Provider {
    /// OpenAI. Its SDKs' base URL ends in `/v1`.
    #[must_use]
    pub fn openai() -> Self {
        Self {
            name: "openai".to_owned(),
            base_url: "https://api.openai.com/v1".to_owned(),
            prefixes: vec!["/v1".to_owned(), "/openai/v1".to_owned(), "/openai".to_owned()],
            hosts: vec!["api.openai.com".to_owned()],
            ca_file: None,
            http2: true,
        }
    }

    /// Anthropic. Its SDKs' base URL has no `/v1`.
    #[must_use]
    pub fn anthropic() -> Self {
        Self {
            name: "anthropic".to_owned(),
            base_url: "https://api.anthropic.com".to_owned(),
            prefixes: vec!["/anthropic".to_owned()],
            hosts: vec!["api.anthropic.com".to_owned()],
            ca_file: None,
            http2: true,
        }
    }
}

/// What is let through, each with its reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a request's body. Bodies stream and are not held, so this only
    /// stops a runaway: OpenAI takes files of 512 MiB, twice that is room.
    pub request_body: u64,
    /// Bytes of a request's head. Keys, traces and cookies fit many times over.
    pub request_head: usize,
    /// Connections from agents at once; one more is answered 503. An agent holds
    /// a handful; this keeps file descriptors for the providers and the journal.
    pub connections: usize,
    /// To connect to a provider, TLS included. SDKs give up after 5 to 10 s.
    #[serde(with = "seconds")]
    pub connect: Duration,
    /// Between two reads from a provider, the wait for the first byte included.
    /// A reasoning call may take longer than the SDKs' ten minutes, and an agent
    /// that was told to wait does: giving up sooner would be ours. An agent that
    /// gives up hangs up, which ends the call, and a provider that is gone is
    /// found within a minute, or 15 s after `provider_write` where that is later
    /// (`upstream`).
    #[serde(with = "seconds")]
    pub provider_read: Duration,
    /// For a provider to take bytes that are offered to it.
    #[serde(with = "seconds")]
    pub provider_write: Duration,
    /// How long an unused connection to a provider is kept. Under the provider's
    /// own (60 s and more): a POST that meets a closed connection is not retried.
    #[serde(with = "seconds")]
    pub provider_idle: Duration,
    /// Unused connections kept for providers. Too few halve the throughput.
    pub provider_pool: usize,
    /// For an agent to send a request's head, from its first byte.
    #[serde(with = "seconds")]
    pub agent_head: Duration,
    /// Between two reads of a request's body.
    #[serde(with = "seconds")]
    pub agent_read: Duration,
    /// For an agent to take bytes that are offered to it. One that is alive reads.
    #[serde(with = "seconds")]
    pub agent_write: Duration,
    /// How long an agent's unused connection is kept. Over the SDKs' own pools
    /// (seconds), so that they close first and no request meets a closed one.
    #[serde(with = "seconds")]
    pub agent_idle: Duration,
    /// Bytes of one body kept for the journal; a longer one is recorded as cut.
    pub capture_body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_body: 1 << 30,
            request_head: 64 << 10,
            connections: 4096,
            connect: Duration::from_secs(10),
            provider_read: Duration::from_secs(3600),
            provider_write: Duration::from_secs(60),
            provider_idle: Duration::from_secs(50),
            provider_pool: 512,
            agent_head: Duration::from_secs(30),
            agent_read: Duration::from_secs(60),
            agent_write: Duration::from_secs(600),
            agent_idle: Duration::from_secs(300),
            capture_body: 4 << 20,
        }
    }
}

mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(d.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        let secs = f64::deserialize(d)?;
        Duration::try_from_secs_f64(secs).map_err(serde::de::Error::custom)
    }
}

impl GatewayConfig {
    /// Every mistake at once; none when the gateway could start with it.
    #[must_use]
    pub fn problems(&self) -> Vec<ConfigProblem> {
        let mut found = Vec::new();
        let mut wrong = |key: String, value: String, rule: &str| {
            found.push(ConfigProblem { key, value, rule: rule.to_owned() });
        };
        if self.listen.is_empty() {
            wrong("gateway.listen".to_owned(), "[]".to_owned(), "at least one address is needed");
        }
        for (i, address) in self.listen.iter().enumerate() {
            if address.port() != 0 && self.listen.iter().take(i).any(|other| other == address) {
                wrong("gateway.listen".to_owned(), address.to_string(), "the address is there twice");
            }
        }
        if self.providers.is_empty() {
            wrong("gateway.providers".to_owned(), "[]".to_owned(), "at least one provider is needed");
        }
        let mut prefixes: BTreeMap<&str, &str> = BTreeMap::new();
        let mut names: Vec<&str> = Vec::new();
        for p in &self.providers {
            let key = |field: &str| format!("providers.{}.{field}", p.name);
            if p.name.is_empty()
                || !p.name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
            {
                wrong(key("name"), p.name.clone(), "a name of letters, digits, `-`, `_`, `.` is needed");
            }
            if names.contains(&p.name.as_str()) {
                wrong(key("name"), p.name.clone(), "two providers have this name");
            }
            names.push(&p.name);
            if let Err(rule) = Origin::parse(&p.base_url) {
                wrong(key("base_url"), p.base_url.clone(), rule);
            }
            if p.prefixes.is_empty() && p.hosts.is_empty() {
                wrong(
                    key("prefixes"),
                    "[]".to_owned(),
                    "no call would go to this provider; give it a prefix or a host",
                );
            }
            for prefix in &p.prefixes {
                if !prefix.starts_with('/')
                    || (prefix.len() > 1 && prefix.ends_with('/'))
                    || prefix.contains(['?', '#', ' '])
                {
                    wrong(
                        key("prefixes"),
                        prefix.clone(),
                        "a prefix begins with `/`, does not end with one, and is only a path",
                    );
                }
                if let Some(other) = prefixes.insert(prefix, &p.name) {
                    let rule = if other == p.name {
                        "the prefix is there twice".to_owned()
                    } else {
                        format!("`{other}` has this prefix, too; give one of them another")
                    };
                    wrong(key("prefixes"), prefix.clone(), &rule);
                }
            }
        }
        for (key, value) in [
            ("connect", self.limits.connect),
            ("provider_read", self.limits.provider_read),
            ("provider_write", self.limits.provider_write),
            ("provider_idle", self.limits.provider_idle),
            ("agent_head", self.limits.agent_head),
            ("agent_read", self.limits.agent_read),
            ("agent_write", self.limits.agent_write),
            ("agent_idle", self.limits.agent_idle),
        ] {
            if value < Duration::from_millis(1) {
                wrong(format!("gateway.{key}"), format!("{value:?}"), "a time above zero is needed");
            }
        }
        if self.limits.request_body == 0 || self.limits.request_head < 1024 || self.limits.connections == 0 {
            wrong(
                "gateway".to_owned(),
                format!(
                    "request_body {}, request_head {}, connections {}",
                    self.limits.request_body, self.limits.request_head, self.limits.connections
                ),
                "bodies and connections need room, a head at least 1024 bytes",
            );
        }
        found
    }
}

/// A base URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) tls: bool,
    /// Host name or address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Value of the Host header.
    pub(crate) authority: String,
    /// Path without a final slash; empty for none.
    pub(crate) path: String,
}

/// Whether a provider can have this base URL.
///
/// # Errors
/// The rule that it breaks.
pub fn check_base_url(url: &str) -> Result<(), &'static str> {
    Origin::parse(url).map(|_| ())
}

impl Origin {
    pub(crate) fn parse(url: &str) -> Result<Self, &'static str> {
        let uri: Uri = url.trim().parse().map_err(|_| "not a URL; write it as https://host/path")?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("the scheme must be http or https"),
        };
        let authority = uri.authority().ok_or("a host is needed")?;
        if authority.as_str().contains('@') {
            return Err("credentials do not belong in a URL; the agent sends its own");
        }
        if uri.query().is_some() {
            return Err("a base URL has no query");
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err("a host is needed");
        }
        if tls && host.parse::<std::net::IpAddr>().is_ok() {
            return Err(
                "an https provider needs a host name: a certificate cannot be checked against an address",
            );
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self {
            tls,
            host,
            port,
            authority: authority.as_str().to_owned(),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}
