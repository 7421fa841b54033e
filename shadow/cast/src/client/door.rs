//! The way to the engine: its address, and the token and the certificate authority,
//! which a cluster renews in their files while we run.
//!
//! Behind an address there may be several engines, and a connection leads to one of them
//! for as long as it is used. So the door is opened anew now and then: engines that came
//! since get their share of the questions.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{CONNECT, EngineAddr};
use crate::error::CastError;
use crate::wire::{Came, Lost};

/// Between two looks at the files. A token of the kubelet's is renewed when a fifth of
/// its time is left, minutes before it ends.
const LOOK: Duration = Duration::from_secs(10);

/// A token that stood in its file so short a time ago has not run out since.
const RENEWED: Duration = Duration::from_secs(60);

/// How long connections are used. An engine that an autoscaler added has its share soon
/// after, and a handshake in a minute costs nothing.
const OPEN: Duration = Duration::from_secs(60);

/// What a question goes through; one that is under way keeps its own.
#[derive(Debug, Clone)]
pub struct Way {
    /// The client, which trusts whom the door was told to.
    pub http: reqwest::Client,
    /// The token to show, as it is now.
    pub key: Option<Arc<str>>,
}

/// What became of a token that was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Showed {
    /// The engine knows it, whatever it said.
    Taken,
    /// It is not genuine, or no more.
    Refused,
    /// Nobody said: there may have been no time to have it reviewed.
    Nothing,
}

impl Showed {
    /// What an answer shows, or that there was none.
    pub(crate) fn of(came: &Result<Came, Lost>) -> Self {
        match came {
            Ok(came) if matches!(came.status, 401 | 403) => Self::Refused,
            Ok(came) if came.status < 500 => Self::Taken,
            _ => Self::Nothing,
        }
    }
}

/// Opens the way to an address, and again when a file has changed.
pub struct Door {
    addr: EngineAddr,
    /// Whether a connection is used for a time only.
    shares: bool,
    open: Mutex<Open>,
}

struct Open {
    way: Way,
    /// The token of before, until the engine has taken the one that it shows now.
    before: Option<Arc<str>>,
    authority: Option<Vec<u8>>,
    looked: Instant,
    /// Look before the next question, whenever that is.
    look_now: bool,
    opened: Instant,
}

impl Door {
    /// Reads the files of a pod's address, where they are there already.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn new(addr: EngineAddr) -> Result<Self, CastError> {
        let authority = addr.authority();
        let way = Way { http: client(&addr, authority.as_deref())?, key: addr.key() };
        let now = Instant::now();
        let open = Open { way, before: None, authority, looked: now, look_now: false, opened: now };
        // Behind a socket on this machine there is one engine.
        let shares = !matches!(addr, EngineAddr::Unix(_));
        Ok(Self { addr, shares, open: Mutex::new(open) })
    }

    /// The same with a connection that is kept, as for who is told something each time and
    /// would be counted with all that heard it.
    #[must_use]
    pub fn kept(self) -> Self {
        Self { shares: false, ..self }
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
        self.way_at(Instant::now())
    }

    fn way_at(&self, now: Instant) -> Way {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let since = |then: Instant| now.saturating_duration_since(then);
        if matches!(self.addr, EngineAddr::Pod { .. }) && (open.look_now || since(open.looked) >= LOOK) {
            self.look(&mut open, now);
        }
        if self.shares && since(open.opened) >= OPEN {
            let authority = open.authority.clone();
            self.reopen(&mut open, authority, now);
        }
        open.way.clone()
    }

    /// What a question showed of the token that it bore.
    pub fn settle(&self, way: &Way, showed: Showed) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.way.key != way.key {
            return;
        }
        match showed {
            Showed::Taken => open.before = None,
            // An engine that cannot have it reviewed knows the one of before, which has time
            // left when it is renewed. The next look tries the new one again.
            Showed::Nothing => open.way.key = open.before.take().or(open.way.key.take()),
            Showed::Refused => open.look_now = true,
        }
    }

    fn look(&self, open: &mut Open, now: Instant) {
        // After a pause the one of before may be long over.
        let goes_on = now.saturating_duration_since(open.looked) < RENEWED;
        (open.looked, open.look_now) = (now, false);
        // A file that cannot be read for a moment takes nothing away.
        let key = self.addr.key().or_else(|| open.way.key.clone());
        if key != open.way.key {
            open.before = std::mem::replace(&mut open.way.key, key).filter(|_| goes_on);
        }
        let authority = self.addr.authority();
        if authority != open.authority {
            self.reopen(open, authority, now);
        }
    }

    /// Has the next question make a connection of its own.
    fn reopen(&self, open: &mut Open, authority: Option<Vec<u8>>, now: Instant) {
        open.opened = now;
        match client(&self.addr, authority.as_deref()) {
            Ok(http) => (open.way.http, open.authority) = (http, authority),
            // The old one may still do.
            Err(e) => {
                tracing::warn!(error = &e as &dyn std::error::Error, "the way to the engine stays as it was");
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
mod tests;
