//! The way to the engine: its address, and the token and the certificate authority,
//! which a cluster renews in their files while we run.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{CONNECT, EngineAddr};
use crate::error::CastError;

/// Between two looks at the files. A token of the kubelet's is renewed when a fifth of
/// its time is left, minutes before it ends.
const LOOK: Duration = Duration::from_secs(10);

/// What a question goes through.
#[derive(Debug, Clone)]
pub struct Way {
    /// The client, which trusts whom the door was told to.
    pub http: reqwest::Client,
    /// The token to show, as it is now.
    pub key: Option<Arc<str>>,
}

/// Opens the way to an address, and again when a file has changed.
pub struct Door {
    addr: EngineAddr,
    open: Mutex<Open>,
}

struct Open {
    way: Way,
    authority: Option<Vec<u8>>,
    looked: Instant,
}

impl Door {
    /// Reads the files of a pod's address, where they are there already.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn new(addr: EngineAddr) -> Result<Self, CastError> {
        let authority = addr.authority();
        let way = Way { http: client(&addr, authority.as_deref())?, key: addr.key() };
        let open = Open { way, authority, looked: Instant::now() };
        Ok(Self { addr, open: Mutex::new(open) })
    }

    /// What stands before `/v1/…`.
    #[must_use]
    pub fn base(&self) -> &str {
        match &self.addr {
            #[cfg(unix)]
            EngineAddr::Unix(_) => "http://engine",
            #[cfg(not(unix))]
            EngineAddr::Unix(_) => "http://127.0.0.1:0",
            EngineAddr::Http(url, _) | EngineAddr::Pod { url, .. } => url.trim_end_matches('/'),
        }
    }

    /// The way as it is now.
    pub fn way(&self) -> Way {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(self.addr, EngineAddr::Pod { .. }) && open.looked.elapsed() >= LOOK {
            self.look(&mut open);
        }
        open.way.clone()
    }

    fn look(&self, open: &mut Open) {
        open.looked = Instant::now();
        open.way.key = self.addr.key();
        let authority = self.addr.authority();
        if authority == open.authority {
            return;
        }
        match client(&self.addr, authority.as_deref()) {
            Ok(http) => (open.way.http, open.authority) = (http, authority),
            // The old one may still do.
            Err(e) => {
                tracing::warn!(error = &e as &dyn std::error::Error, "the engine's authority is not used")
            }
        }
    }
}

impl EngineAddr {
    fn key(&self) -> Option<Arc<str>> {
        match self {
            Self::Unix(_) => None,
            Self::Http(_, key) => key.as_deref().map(Arc::from),
            Self::Pod { token_file, .. } => {
                let token = std::fs::read_to_string(token_file.as_ref()?).ok()?;
                Some(Arc::from(token.trim())).filter(|t: &Arc<str>| !t.is_empty())
            }
        }
    }

    fn authority(&self) -> Option<Vec<u8>> {
        std::fs::read(self.authority_file()?).ok()
    }

    /// Whose authority is named, and nobody else's, is to be trusted.
    fn authority_file(&self) -> Option<&Path> {
        match self {
            Self::Pod { ca_file, .. } => ca_file.as_ref().map(PathBuf::as_path),
            _ => None,
        }
    }
}

fn client(addr: &EngineAddr, authority: Option<&[u8]>) -> Result<reqwest::Client, CastError> {
    let mut build = reqwest::Client::builder().connect_timeout(CONNECT).no_proxy();
    #[cfg(unix)]
    if let EngineAddr::Unix(path) = addr {
        build = build.unix_socket(path.clone());
    }
    if addr.authority_file().is_some() {
        let trusted = reqwest::Certificate::from_pem_bundle(authority.unwrap_or_default());
        // A file that is not there yet vouches for nobody; it is looked for again.
        build = build.tls_certs_only(trusted.map_err(CastError::Client)?);
    }
    build.build().map_err(CastError::Client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_renewed_is_the_next_question_s_key() {
        let dir = tempfile::tempdir().unwrap();
        let (token, authority) = (dir.path().join("token"), dir.path().join("ca.crt"));
        let addr = EngineAddr::Pod {
            url: "https://engine.understudy.svc:8443/".into(),
            token_file: Some(token.clone()),
            ca_file: Some(authority),
        };
        // Neither file is there yet: the engine is not trusted, and nothing fails.
        let door = Door::new(addr).unwrap();
        assert_eq!((door.base(), door.way().key), ("https://engine.understudy.svc:8443", None));
        std::fs::write(&token, "first\n").unwrap();
        door.look(&mut door.open.lock().unwrap());
        assert_eq!(door.way().key.as_deref(), Some("first"));
        std::fs::write(&token, "second\n").unwrap();
        assert_eq!(door.way().key.as_deref(), Some("first"), "it is looked for now and then only");
        door.look(&mut door.open.lock().unwrap());
        assert_eq!(door.way().key.as_deref(), Some("second"));
    }
}
