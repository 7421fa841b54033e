//! Which provider a call goes to, and under which path.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::Provider;
use crate::upstream::Upstream;

/// The providers, with the prefixes in the order in which they are tried.
#[derive(Debug)]
pub(crate) struct Routes {
    /// Longest prefix first.
    prefixes: Vec<(String, Arc<Upstream>)>,
    hosts: Vec<(String, Arc<Upstream>)>,
}

/// Where one call goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Route<'r> {
    pub(crate) upstream: &'r Arc<Upstream>,
    /// Bytes of the agent's path that the base URL's path replaces; `None`
    /// leaves the path as it is.
    pub(crate) strip: Option<usize>,
}

impl Routes {
    pub(crate) fn new<'p>(all: impl IntoIterator<Item = (&'p Provider, Arc<Upstream>)>) -> Self {
        let (mut prefixes, mut hosts) = (Vec::new(), Vec::new());
        for (provider, upstream) in all {
            prefixes.extend(provider.prefixes.iter().map(|p| (p.clone(), Arc::clone(&upstream))));
            hosts.extend(provider.hosts.iter().map(|h| (h.to_ascii_lowercase(), Arc::clone(&upstream))));
        }
        prefixes.sort_by_key(|(p, _)| std::cmp::Reverse(p.len()));
        Self { prefixes, hosts }
    }

    /// By host where one is named, else by the longest prefix.
    pub(crate) fn find(&self, host: Option<&[u8]>, path: &str) -> Option<Route<'_>> {
        if let Some((_, upstream)) = host.and_then(|h| {
            let h = without_port(h);
            self.hosts.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(h))
        }) {
            let own = self.prefixes.iter().find(|(p, u)| Arc::ptr_eq(u, upstream) && under(path, p));
            return Some(Route { upstream, strip: own.map(|(p, _)| strip_len(p)) });
        }
        let (prefix, upstream) = self.prefixes.iter().find(|(p, _)| under(path, p))?;
        Some(Route { upstream, strip: Some(strip_len(prefix)) })
    }

    /// Whether a Host header's value names a provider.
    pub(crate) fn is_host(&self, host: &[u8]) -> bool {
        let host = without_port(host);
        self.hosts.iter().any(|(name, _)| name.as_bytes().eq_ignore_ascii_case(host))
    }

    /// The prefixes, for the message that none fits.
    pub(crate) fn known(&self) -> String {
        let mut all: Vec<&str> = self.prefixes.iter().map(|(p, _)| p.as_str()).collect();
        all.sort_unstable();
        all.join(", ")
    }
}

/// The request target as the provider is to see it: path and query.
pub(crate) fn rewrite(target: &str, strip: Option<usize>, base: &str) -> String {
    let Some(n) = strip else { return target.to_owned() };
    let rest = target.get(n..).unwrap_or("");
    let mut out = String::with_capacity(base.len() + rest.len() + 1);
    out.push_str(base);
    if !rest.starts_with('/') && (base.is_empty() || !(rest.is_empty() || rest.starts_with('?'))) {
        out.push('/');
    }
    out.push_str(rest);
    out
}

/// Whether a prefix holds a path: `/v1` holds `/v1`, `/v1/x` and `/v1?q`, not `/v10`.
fn under(path: &str, prefix: &str) -> bool {
    if prefix == "/" {
        return path.starts_with('/');
    }
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
}

/// `/` holds everything and takes nothing away.
fn strip_len(prefix: &str) -> usize {
    if prefix == "/" { 0 } else { prefix.len() }
}

/// Whether a Host header's value is one that nobody can lead here from elsewhere: none,
/// an address, or a name that is always this machine (RFC 6761, 6.3).
pub(crate) fn is_local(host: &[u8]) -> bool {
    let host = without_port(host);
    let Ok(name) = std::str::from_utf8(host) else { return false };
    let name = name.trim_end_matches('.');
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let label = name.rsplit('.').next().unwrap_or_default();
    name.is_empty() || label.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

fn without_port(host: &[u8]) -> &[u8] {
    if host.first() == Some(&b'[') {
        let end = host.iter().position(|b| *b == b']').map_or(host.len(), |i| i + 1);
        return host.get(..end).unwrap_or(host);
    }
    let end = host.iter().position(|b| *b == b':').unwrap_or(host.len());
    host.get(..end).unwrap_or(host)
}

#[cfg(test)]
#[path = "route/tests.rs"]
mod tests;
