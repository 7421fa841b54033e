//! The phases of a call, in pingora's order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::header;
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::{HttpPeer, Peer as _};
use pingora_error::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use understudy_call::{ConversationKey, Dialect, FormHash, Request};

use crate::GatewayConfig;
use crate::audit::Audits;
use crate::call::{self, Broke, Call, Way};
use crate::config::Limits;
use crate::cork::{self, Socket};
use crate::credential;
use crate::fault::{self, Refusal};
use crate::head;
use crate::repeats::Repeats;
use crate::resend;
use crate::route::{self, Routes};
use crate::seams::Seams;
use crate::standing::Standings;
use crate::wire::Wire;

/// Other addresses of a provider that are tried when one cannot be connected to.
/// No byte of the request has been sent then.
const CONNECTS: usize = 3;

pub(crate) struct Gateway {
    pub(crate) routes: Routes,
    pub(crate) limits: Limits,
    pub(crate) seams: Seams,
    pub(crate) conversation_header: String,
    /// Whether it is reached from this machine alone.
    loopback: bool,
    pub(crate) standings: Arc<Standings>,
    pub(crate) repeats: Repeats,
    pub(crate) audits: Audits,
    /// Where understudies are waited for.
    pub(crate) aside: tokio::runtime::Handle,
}

impl Gateway {
    pub(crate) fn new(
        cfg: &GatewayConfig,
        routes: Routes,
        seams: Seams,
        aside: tokio::runtime::Handle,
    ) -> Self {
        let standings = Arc::default();
        Self {
            routes,
            limits: cfg.limits.clone(),
            conversation_header: cfg.conversation_header.to_ascii_lowercase(),
            loopback: cfg.listen.iter().all(|address| address.ip().is_loopback()),
            repeats: Repeats::default(),
            audits: Audits::new(cfg, &seams, Arc::clone(&standings), aside.clone()),
            seams,
            standings,
            aside,
        }
    }

    /// Finds the call's provider, or says why there is none.
    fn set_out(&self, session: &Session, call: &mut Call) -> Result<(), Refusal> {
        if self.loopback {
            head::from_here(session, &self.routes)?;
        }
        let head = session.req_header();
        let target = head::target(head)?;
        let host = head.headers.get(header::HOST).map(http::HeaderValue::as_bytes);
        let Some(found) = self.routes.find(host, target) else {
            return Err(Refusal::agent(
                404,
                "no_provider",
                format!("no provider is configured for this path; the prefixes are {}", self.routes.known()),
            ));
        };
        call.way = Some(Way {
            upstream: Arc::clone(found.upstream),
            target: route::rewrite(target, found.strip, found.upstream.base_path()),
        });
        call.dialect = understudy_dialect::of_path(head.method.as_str(), target);
        call.credential = credential::of(&self.seams.hash_key, found.upstream.name(), &head.headers, target);
        let text = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        call.explicit_conversation = text(&self.conversation_header);
        call.traceparent = text("traceparent");
        // Only a dialect that is decoded has its bodies kept; the rest is metadata.
        call.keep = (self.seams.recorder.is_some() && call.dialect == Dialect::OpenaiChat)
            .then_some(self.limits.capture_body);
        Ok(())
    }

    async fn refuse(&self, session: &mut Session, call: &mut Call, refusal: &Refusal) -> Result<()> {
        self.seams.counters.add_fault(refusal.fault);
        call.seen.status = refusal.status;
        call.broke = Some(Broke { label: refusal.kind, truncation: understudy_call::Truncation::ClientGone });
        fault::write(session, call.dialect, refusal).await
    }
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Call;

    fn new_ctx(&self) -> Call {
        Call::new()
    }

    /// None: nothing is compressed or changed on the way.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, call: &mut Call) -> Result<()> {
        call.flight = Some(self.seams.counters.enter());
        if let Some(wire) = wire(session) {
            wire.head_done();
        }
        // An agent need not wait for one answer before it sends the next call.
        session.set_pipelining_enabled(true);
        session.set_read_timeout(Some(self.limits.agent_read));
        session.set_write_timeout(Some(self.limits.agent_write));
        if session.get_keepalive().is_some() {
            session.set_keepalive(Some(self.limits.agent_idle.as_secs().max(1)));
        }
        // An Upgrade that is not a WebSocket is ignored, as RFC 9110, 7.8 allows;
        // some clients offer h2c on every request.
        let head = session.req_header_mut();
        let foreign = head
            .headers
            .get(header::UPGRADE)
            .is_some_and(|v| !v.as_bytes().eq_ignore_ascii_case(b"websocket"));
        if foreign {
            head.remove_header(&header::UPGRADE);
        }
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, call: &mut Call) -> Result<bool> {
        let checked = head::well_framed(session, &self.limits).and_then(|()| self.set_out(session, call));
        // Both in a box of their own: what most calls do not need would make the
        // state of every call's phase larger, and with it each call slower.
        if let Err(refusal) = checked {
            Box::pin(self.refuse(session, call, &refusal)).await?;
            return Ok(true);
        }
        if !self.serves(call) {
            return Ok(false);
        }
        Box::pin(self.try_answer(session, call)).await
    }

    async fn upstream_peer(&self, session: &mut Session, call: &mut Call) -> Result<Box<HttpPeer>> {
        let Some(way) = &call.way else {
            return Err(Error::explain(pingora_error::ErrorType::InternalError, "a call without a provider")
                .into_in());
        };
        // From HTTP/2, pingora makes chunks of a reply whatever `response_filter` says.
        way.upstream.peer(session.is_upgrade_req() || head::is_http_1_0(session)).await
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        _: bool,
        _: &HttpPeer,
        socket: Socket,
        _: Option<&Digest>,
        call: &mut Call,
    ) -> Result<()> {
        call.socket = Some(socket);
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        head: &mut RequestHeader,
        call: &mut Call,
    ) -> Result<()> {
        if let Some(way) = &call.way {
            if head.raw_path() != way.target.as_bytes() {
                head.set_raw_path(way.target.as_bytes())?;
            }
            head.insert_header(header::HOST, way.upstream.host_header())?;
        }
        head::tell_trace(head, self.seams.trace.as_ref(), call)?;
        // A call that is alone gains nothing: its head wakes the provider while the body
        // is still on its way. Where several are under way, time of the processor counts.
        if let Some(socket) = call.socket.filter(|_| head.version == http::Version::HTTP_11)
            && self.seams.counters.in_flight() > 1
        {
            cork::hold(socket);
        }
        // A 100 that comes over HTTP/2 is not passed on, so the agent would wait for
        // one in vain; one over HTTP/1.1 is.
        if head.version == http::Version::HTTP_2 && head.headers.contains_key(header::EXPECT) {
            head.remove_header(&header::EXPECT);
            Box::pin(head::go_on(session)).await?;
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        call: &mut Call,
    ) -> Result<()> {
        if let Some(chunk) = body {
            call.request.note(chunk, call.keep);
            if call.request.passed() > self.limits.request_body {
                return Err(fault::too_large(self.limits.request_body));
            }
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        call: &mut Call,
    ) -> Result<()> {
        if fault::interim(head.status) {
            return Ok(());
        }
        if head.status == http::StatusCode::SWITCHING_PROTOCOLS {
            // What the agent sends now is no body that must come in time: it may listen
            // for hours. The provider's silence stays bounded (`provider_read`).
            session.set_read_timeout(None);
        }
        if head::is_http_1_0(session) && head.headers.contains_key(header::TRANSFER_ENCODING) {
            // pingora then writes the body as it is, until it closes the connection.
            head.remove_header(&header::TRANSFER_ENCODING);
            session.set_keepalive(None);
        }
        if let Some(wire) = wire(session) {
            wire.date(date_line(head));
        }
        call.seen.status = head.status.as_u16();
        let text = |name| head.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        call.seen.content_type = text(header::CONTENT_TYPE);
        call.seen.encoding = text(header::CONTENT_ENCODING);
        call.seen.headers = call::kept_headers(&head.headers);
        if call.dialect != Dialect::Other {
            self.standings.note(call.credential, call.seen.status, &head.headers, Instant::now());
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        call: &mut Call,
    ) -> Result<Option<Duration>> {
        if let Some(chunk) = body.as_ref().filter(|c| !c.is_empty()) {
            if call.seen.first_byte.is_none() {
                call.seen.first_byte = Some(call.started.elapsed());
            }
            call.reply.note(chunk, call.keep);
        }
        Ok(None)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        peer: &HttpPeer,
        call: &mut Call,
        mut e: Box<Error>,
    ) -> Box<Error> {
        call.connects += 1;
        if let (Some(way), Some(failed)) = (&call.way, peer.address().as_inet()) {
            way.upstream.move_on(*failed);
        }
        e.set_retry(call.connects < CONNECTS && !matches!(e.etype(), pingora_error::ErrorType::InvalidCert));
        e
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut e: Box<Error>,
        call: &mut Call,
        reused: bool,
    ) -> Box<Error> {
        let again = resend::decide(session, call, &e, reused);
        e.set_retry(again);
        e
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, call: &mut Call) -> FailToProxy {
        let provider = call.way.as_ref().map_or("", |w| w.upstream.name());
        let refusal = fault::refusal(e, provider, self.limits.request_body);
        let closed = FailToProxy { error_code: 0, can_reuse_downstream: false };
        let stalled = matches!(e.etype(), pingora_error::ErrorType::WriteTimedout);
        if refusal.is_none() && !stalled && call.is_told() {
            return closed;
        }
        call.broke = Some(fault::broke(e, refusal.as_ref()));
        tracing::warn!(
            provider,
            error = e.etype().as_str(),
            source = e.esource().as_str(),
            fault = refusal.as_ref().map_or("agent", |r| r.fault.label()),
            "a call broke off"
        );
        let Some(refusal) = refusal else { return closed };
        // Once the reply's head is out there is nothing to say but to close.
        if !fault::unanswered(session) {
            fault::close(session, self.limits.agent_write).await;
            return closed;
        }
        self.seams.counters.add_fault(refusal.fault);
        call.seen.status = refusal.status;
        if let Err(gone) = fault::write(session, call.dialect, &refusal).await {
            tracing::debug!(error = gone.etype().as_str(), "the agent did not take the error");
        }
        FailToProxy { error_code: refusal.status, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, e: Option<&Error>, call: &mut Call) {
        if let Some(wire) = wire(session) {
            wire.reply_done();
        }
        if let Some(e) = e.filter(|_| call.broke.is_none() && !call.is_told()) {
            call.broke = Some(fault::broke(e, None));
        }
        self.seams.counters.add_call();
        self.ended(call);
    }

    /// Without the query, which may carry a key.
    fn request_summary(&self, session: &Session, _: &Call) -> String {
        let head = session.req_header();
        format!("{} {}", head.method, head.uri.path())
    }

    /// Said by `fail_to_proxy`, without the request's bytes.
    fn suppress_error_log(&self, _: &Session, _: &Call, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Call, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }
}

impl Gateway {
    /// The key of the conversation that the agent's header names. No form enters it, so it
    /// is known of a call that was not read, too.
    fn named(&self, call: &Call) -> Option<ConversationKey> {
        let (id, unread) = (call.explicit_conversation.as_deref()?, Request::default());
        Some(self.seams.conversations.of(call.credential, FormHash([0; 16]), Some(id), &unread).conversation)
    }

    /// Records the call and tells telemetry. Nothing here can fail the call: it is over.
    fn ended(&self, call: &mut Call) {
        if call.conversation.is_none() {
            call.conversation = self.named(call);
        }
        let meta = call.metadata();
        let seen = call.seen(meta);
        (self.seams.on_call)(&seen);
        if call.audited {
            return;
        }
        if let Some(recorder) = &self.seams.recorder
            && !recorder.offer(call.recorded(seen.meta))
        {
            self.seams.counters.add_offer_refused();
        }
    }
}

/// The provider's Date as it was spelt.
fn date_line(head: &ResponseHeader) -> Option<Vec<u8>> {
    let value = head.headers.get(header::DATE)?;
    let spelt = head.case_header_iter().find(|(name, _)| name.as_slice().eq_ignore_ascii_case(b"date"));
    let name = spelt.map_or(&b"date"[..], |(name, _)| name.as_slice());
    Some([name, b": ", value.as_bytes()].concat())
}

/// The agent's connection, where it is one of ours.
fn wire(session: &Session) -> Option<&Wire> {
    session.as_downstream().stream()?.as_any().downcast_ref()
}
