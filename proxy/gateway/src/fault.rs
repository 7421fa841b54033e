//! The one place where our causes become a reply to the agent, in its dialect,
//! saying whose fault it was.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use understudy_call::{Dialect, Truncation};

use crate::Fault;
use crate::call::Broke;

/// Names whose fault an error is, on the replies that the gateway itself writes.
const FAULT_HEADER: &str = "x-understudy-fault";

/// An error that the gateway answers with.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) fault: Fault,
    /// A short word for programs.
    pub(crate) kind: &'static str,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn agent(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, fault: Fault::Agent, kind, message: message.into() }
    }
}

/// Marks an error of ours that carries its own status.
pub(crate) fn too_large(limit: u64) -> Box<Error> {
    Error::explain(ErrorType::HTTPStatus(413), format!("the request's body is over {limit} bytes"))
        .into_down()
}

/// The agent did something else than wait for its answer.
pub(crate) fn agent_gone() -> Box<Error> {
    Error::explain(ErrorType::ConnectionClosed, "the agent did not wait for its answer").into_down()
}

/// What an error of pingora means to the agent; `None` when nobody is left to tell.
pub(crate) fn refusal(e: &Error, provider: &str, body_limit: u64) -> Option<Refusal> {
    use ErrorType::{
        ConnectNoRoute, ConnectRefused, ConnectTimedout, ConnectionClosed, HTTPStatus, InvalidCert,
        ReadError, ReadTimedout, TLSHandshakeFailure, TLSHandshakeTimedout, WriteError, WriteTimedout,
    };
    let provider_fault =
        |status, kind, message: String| Some(Refusal { status, fault: Fault::Provider, kind, message });
    match (e.esource(), e.etype()) {
        (_, HTTPStatus(413)) => Some(Refusal::agent(
            413,
            "request_too_large",
            format!("the request's body is over the limit of {body_limit} bytes (gateway.request_body)"),
        )),
        (ErrorSource::Upstream, ConnectTimedout | ReadTimedout | WriteTimedout | TLSHandshakeTimedout) => {
            provider_fault(504, "provider_timeout", format!("provider `{provider}` did not answer in time"))
        }
        (ErrorSource::Upstream, InvalidCert | TLSHandshakeFailure) => provider_fault(
            502,
            "provider_certificate",
            format!(
                "the certificate of provider `{provider}` could not be verified; for a private authority set its ca_file"
            ),
        ),
        (ErrorSource::Upstream, ConnectRefused | ConnectNoRoute) => {
            provider_fault(502, "provider_unreachable", format!("provider `{provider}` cannot be reached"))
        }
        (ErrorSource::Upstream, _) => provider_fault(
            502,
            "provider_failed",
            format!("provider `{provider}` broke off, or did not speak HTTP"),
        ),
        (ErrorSource::Downstream, WriteError | ReadError | ConnectionClosed | WriteTimedout) => None,
        (ErrorSource::Downstream, ReadTimedout) => {
            Some(Refusal::agent(408, "request_timeout", "the request's body did not arrive in time"))
        }
        (ErrorSource::Downstream, _) => {
            Some(Refusal::agent(400, "malformed_request", "the request is not valid HTTP"))
        }
        (ErrorSource::Internal | ErrorSource::Unset, _) => Some(Refusal {
            status: 500,
            fault: Fault::Us,
            kind: "understudy_error",
            message: "understudy failed to carry the call; its log says why".to_owned(),
        }),
    }
}

/// How the call broke off, for its record.
pub(crate) fn broke(e: &Error, refusal: Option<&Refusal>) -> Broke {
    let truncation = match e.esource() {
        ErrorSource::Upstream => Truncation::ProviderGone,
        _ => Truncation::ClientGone,
    };
    Broke { label: refusal.map_or("client_gone", |r| r.kind), truncation }
}

/// Whether a reply of this status only goes before one: a 100, a 103. A 101 is an
/// answer, though it is counted among them (RFC 9110, 15.2.2).
pub(crate) fn interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// Whether the agent has had no answer yet.
pub(crate) fn unanswered(session: &Session) -> bool {
    session.response_written().is_none_or(|head| interim(head.status))
}

/// Ends a connection whose reply broke off: the agent gets what came before, which the
/// connection may still hold (`wire`), and no end is made up.
pub(crate) async fn close(session: &mut Session, limit: Duration) {
    let _ = tokio::time::timeout(limit, session.as_downstream_mut().shutdown()).await;
}

/// Writes the refusal. The connection is closed after it: what the agent has
/// still to send is not read.
pub(crate) async fn write(session: &mut Session, dialect: Dialect, refusal: &Refusal) -> Result<()> {
    let body = Bytes::from(understudy_dialect::render_error(
        dialect,
        refusal.status,
        refusal.kind,
        &refusal.message,
    ));
    let mut head = ResponseHeader::build(refusal.status, Some(4))?;
    head.insert_header(http::header::CONTENT_TYPE, "application/json")?;
    head.insert_header(http::header::CONTENT_LENGTH, body.len())?;
    head.insert_header(FAULT_HEADER, refusal.fault.label())?;
    session.as_downstream_mut().write_error_response(head, body).await
}
