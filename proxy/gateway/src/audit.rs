//! A call that an understudy has answered, put to the provider too: the same
//! head and body, on a connection of its own, after the agent has its answer.
//! What comes back is recorded beside the understudy's reply and goes nowhere else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header;
use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::Connector;
use pingora_error::Result;
use pingora_http::RequestHeader;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use understudy_call::{Lane, Metadata, Truncation};

use crate::call::{self, Call};
use crate::config::GatewayConfig;
use crate::head;
use crate::seams::{Seams, Trace};
use crate::standing::Standings;
use crate::tap::Tap;
use crate::upstream::Upstream;
use crate::{Counters, Recorded, Recorder};

/// The longest audit. Nobody waits for it, so none hangs up, and it holds a place.
const LONGEST: Duration = Duration::from_secs(600);

pub(crate) struct Audits {
    connector: Arc<Connector>,
    room: Arc<Semaphore>,
    most: usize,
    limit: Duration,
    keep: usize,
    recorder: Option<Arc<dyn Recorder>>,
    counters: Arc<Counters>,
    trace: Option<Trace>,
    standings: Arc<Standings>,
    aside: Handle,
}

impl Audits {
    pub(crate) fn new(cfg: &GatewayConfig, seams: &Seams, standings: Arc<Standings>, aside: Handle) -> Self {
        Self {
            connector: Arc::new(Connector::new(Some(ConnectorOptions::new(cfg.audits)))),
            room: Arc::new(Semaphore::new(cfg.audits)),
            most: cfg.audits,
            limit: cfg.limits.provider_read.min(LONGEST),
            keep: cfg.limits.capture_body,
            recorder: seams.recorder.clone(),
            counters: Arc::clone(&seams.counters),
            trace: seams.trace.clone(),
            standings,
            aside,
        }
    }

    pub(crate) fn room(&self) -> (Arc<Semaphore>, usize) {
        (Arc::clone(&self.room), self.most)
    }

    /// Starts the audit of a call that was just answered. Where there is no room for
    /// it, the call counts as one that was only served.
    pub(crate) fn send(&self, head: &RequestHeader, call: &mut Call, body: Bytes) {
        let (Some(way), Some(recorder)) = (&call.way, &self.recorder) else {
            call.lane = Lane::Understudy;
            return;
        };
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            self.counters.add_audit_dropped();
            call.lane = Lane::Understudy;
            return;
        };
        let upstream = Arc::clone(&way.upstream);
        let sent = as_sent(head, &upstream, &way.target).and_then(|mut head| {
            head::tell_trace(&mut head, self.trace.as_ref(), call)?;
            Ok(head)
        });
        let Ok(head) = sent else {
            self.counters.add_audit_dropped();
            call.lane = Lane::Understudy;
            return;
        };
        let meta = call.metadata();
        let audit = Audit {
            upstream,
            connector: Arc::clone(&self.connector),
            head,
            body,
            limit: self.limit,
            keep: self.keep,
            recorder: Arc::clone(recorder),
            counters: Arc::clone(&self.counters),
            standings: Arc::clone(&self.standings),
            recorded: call.copied(meta),
        };
        call.audited = true;
        self.aside.spawn(async move {
            let _place = place;
            audit.run().await;
        });
    }
}

/// One audit under way.
struct Audit {
    upstream: Arc<Upstream>,
    connector: Arc<Connector>,
    head: RequestHeader,
    body: Bytes,
    limit: Duration,
    keep: usize,
    recorder: Arc<dyn Recorder>,
    counters: Arc<Counters>,
    standings: Arc<Standings>,
    recorded: Recorded,
}

impl Audit {
    async fn run(mut self) {
        let started = Instant::now();
        // Bodies are shared, so this copies no bytes.
        let served = self.recorded.clone();
        let asked = tokio::time::timeout(self.limit, self.ask(started)).await;
        let failed = match &asked {
            Ok(Ok(())) => self.no_reference(),
            Ok(Err(e)) => Some(e.etype().as_str().to_owned()),
            Err(_) => Some("too slow".to_owned()),
        };
        let recorded = match failed {
            None => {
                self.counters.add_audit();
                self.recorded
            }
            Some(error) => {
                tracing::warn!(provider = self.upstream.name(), error, "an audit failed");
                self.counters.add_audit_dropped();
                // It was served, and that is all that is known.
                Recorded { meta: Metadata { lane: Lane::Understudy, ..served.meta }, ..served }
            }
        };
        if !self.recorder.offer(recorded) {
            self.counters.add_offer_refused();
        }
    }

    /// Why what came back says nothing of the understudy, if so: a provider in
    /// trouble is not one that disagrees.
    fn no_reference(&self) -> Option<String> {
        let meta = &self.recorded.meta;
        if !(200..300).contains(&meta.status) {
            return Some(format!("status {}", meta.status));
        }
        (meta.truncation != Truncation::Whole).then(|| "its reply is too large".to_owned())
    }

    /// Asks the provider; its status and bytes take the understudy's place in the
    /// record. The agent's times stay, and the provider's stand beside them.
    async fn ask(&mut self, started: Instant) -> Result<()> {
        let peer = self.upstream.peer_h1().await?;
        let (mut session, _) = self.connector.get_http_session(&*peer).await?;
        session.set_read_timeout(Some(self.limit));
        session.write_request_header(Box::new(self.head.clone())).await?;
        session.write_request_body(self.body.clone(), true).await?;
        session.finish_request_body().await?;
        session.read_response_header().await?;
        while session.response_header().is_some_and(|h| h.status.is_informational()) {
            session.read_response_header().await?;
        }
        let mut tap = Tap::default();
        while let Some(chunk) = session.read_response_body().await? {
            tap.note(&chunk, Some(self.keep));
        }
        if let Some(head) = session.response_header() {
            let text =
                |name| head.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
            let meta = &mut self.recorded.meta;
            meta.status = head.status.as_u16();
            meta.headers = call::kept_headers(&head.headers);
            meta.sizes.reply = tap.passed();
            meta.timings.audit = Some(started.elapsed());
            if tap.cut() {
                meta.truncation = Truncation::TooLarge;
            }
            self.standings.note(meta.credential, meta.status, &head.headers, Instant::now());
            self.recorded.reply_content_type = text(header::CONTENT_TYPE);
            self.recorded.reply_encoding = text(header::CONTENT_ENCODING);
            self.recorded.reply = tap.take();
        }
        let idle = peer.options.idle_timeout;
        self.connector.release_http_session(session, &*peer, idle).await;
        Ok(())
    }
}

/// The agent's head as the provider would have got it.
fn as_sent(head: &RequestHeader, upstream: &Upstream, target: &str) -> Result<RequestHeader> {
    let mut head = head.clone();
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "transfer-encoding",
    ] {
        head.remove_header(name);
    }
    head.set_version(http::Version::HTTP_11);
    head.set_raw_path(target.as_bytes())?;
    head.insert_header(header::HOST, upstream.host_header())?;
    Ok(head)
}
