//! Who may ask.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::refuse;

/// The token, and the names under which the API may be called.
#[derive(Clone)]
pub(crate) struct Guard {
    token: blake3::Hash,
    hosts: Vec<String>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// A fresh token: 32 random bytes, in hex.
pub(crate) fn new_token() -> String {
    let (a, b) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    let mut hasher = blake3::Hasher::new();
    hasher.update(a.as_bytes()).update(b.as_bytes());
    hasher.update(uuid::Uuid::new_v4().as_bytes());
    hasher.finalize().to_hex().to_string()
}

impl Guard {
    /// Takes this token, under loopback's names and these.
    pub(crate) fn new(token: &str, hosts: &[String]) -> Self {
        let mut all: Vec<String> = hosts.iter().map(|h| h.to_ascii_lowercase()).collect();
        all.extend(["localhost", "127.0.0.1", "[::1]"].map(str::to_owned));
        Self { token: blake3::hash(token.as_bytes()), hosts: all }
    }

    /// Whether a request with these headers may pass; the reason if not.
    fn judge(
        &self,
        peer: Option<IpAddr>,
        headers: &HeaderMap,
        authority: Option<&str>,
    ) -> Result<(), (StatusCode, &'static str)> {
        if !peer.is_some_and(|p| p.to_canonical().is_loopback()) {
            return Err((StatusCode::FORBIDDEN, "only this machine may ask"));
        }
        let host = authority.or_else(|| headers.get(header::HOST).and_then(|h| h.to_str().ok()));
        if !host.is_some_and(|h| self.knows(h)) {
            return Err((
                StatusCode::FORBIDDEN,
                "the Host is not this machine; add it to admin.hosts if it is meant",
            ));
        }
        if let Some(origin) = headers.get(header::ORIGIN) {
            let name = origin
                .to_str()
                .ok()
                .and_then(|o| o.strip_prefix("http://").or_else(|| o.strip_prefix("https://")));
            if !name.is_some_and(|n| self.knows(n)) {
                return Err((
                    StatusCode::FORBIDDEN,
                    "the Origin is not this machine; add it to admin.hosts if it is meant",
                ));
            }
        }
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|h| h.to_str().ok())
            .and_then(|h| h.strip_prefix("Bearer "))
            .map(|t| blake3::hash(t.trim().as_bytes()));
        // Hashes are compared in constant time.
        if given == Some(self.token) {
            Ok(())
        } else {
            Err((StatusCode::UNAUTHORIZED, "the token in the state folder (admin-token) is required"))
        }
    }

    fn knows(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port))
                if port.bytes().all(|b| b.is_ascii_digit())
                    && (!name.contains(':') || name.ends_with(']')) =>
            {
                name
            }
            _ => host,
        };
        self.hosts.iter().any(|h| h.eq_ignore_ascii_case(name))
    }
}

/// Lets a request through, or says why not.
pub(super) async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|c| c.0.ip());
    let authority = request.uri().authority().map(|a| a.as_str().to_owned());
    match guard.judge(peer, request.headers(), authority.as_deref()) {
        Ok(()) => next.run(request).await,
        Err((status, message)) => refuse(status, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: &str, origin: Option<&str>, token: &str) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            map.insert(header::ORIGIN, origin.parse().unwrap());
        }
        map.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        map
    }

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    #[test]
    fn only_loopback_with_its_own_name_and_token_passes() {
        let guard = Guard::new("secret", &["console.test".to_owned()]);
        let judge = |h: &HeaderMap| guard.judge(HERE, h, None).map_err(|e| e.0.as_u16());
        assert_eq!(judge(&headers("127.0.0.1:9", None, "secret")), Ok(()));
        assert_eq!(judge(&headers("[::1]:9", None, "secret")), Ok(()));
        assert_eq!(judge(&headers("console.test", Some("https://console.test"), "secret")), Ok(()));
        assert_eq!(judge(&headers("evil.test:9", None, "secret")), Err(403));
        assert_eq!(judge(&headers("localhost:9", Some("http://evil.test"), "secret")), Err(403));
        assert_eq!(judge(&headers("localhost:9", Some("null"), "secret")), Err(403));
        assert_eq!(judge(&headers("localhost:9", Some("http://localhost:9"), "secret")), Ok(()));
        assert_eq!(judge(&headers("localhost:9", None, "other")), Err(401));
        assert_eq!(judge(&HeaderMap::new()), Err(403));
        let far = Some("10.0.0.1".parse().unwrap());
        assert_eq!(
            guard.judge(far, &headers("localhost", None, "secret"), None).map_err(|e| e.0.as_u16()),
            Err(403)
        );
        assert!(guard.judge(None, &headers("localhost", None, "secret"), None).is_err());
    }

    #[test]
    fn tokens_differ_and_debug_hides_them() {
        let (a, b) = (new_token(), new_token());
        assert_ne!(a, b);
        assert_eq!(a.len(), 64);
        assert!(!format!("{:?}", Guard::new(&a, &[])).contains(&a));
    }
}
