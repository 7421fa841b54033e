//! A request's head: where it goes, and what is refused before anything is sent on.

use http::header;
use pingora_error::Result;
use pingora_http::RequestHeader;
use pingora_proxy::Session;

use crate::call::Call;
use crate::config::Limits;
use crate::fault::Refusal;
use crate::route::{self, Routes};
use crate::seams::Trace;

/// Path and query of the request, whatever form its target has.
pub(crate) fn target(head: &RequestHeader) -> Result<&str, Refusal> {
    let raw = std::str::from_utf8(head.raw_path())
        .map_err(|_| Refusal::agent(400, "malformed_request", "the request's path is not UTF-8"))?;
    if raw.starts_with('/') {
        return Ok(raw);
    }
    Ok(head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str))
}

/// Tells the provider whose child its span is (W3C Trace Context, 3.2 and 4.3).
pub(crate) fn tell_trace(head: &mut RequestHeader, trace: Option<&Trace>, call: &Call) -> Result<()> {
    let Some(trace) = trace else { return Ok(()) };
    let context = trace(call.id, call.traceparent.as_deref());
    head.insert_header("traceparent", context.traceparent)?;
    if !context.continued {
        // It belongs to a trace that ends here.
        head.remove_header("tracestate");
    }
    Ok(())
}

/// Whether the agent speaks HTTP/1.0, which knows no chunks: its replies end with the
/// connection where their length is not said.
pub(crate) fn is_http_1_0(session: &Session) -> bool {
    session.req_header().version == http::Version::HTTP_10
}

/// Refuses what a page in a browser sends here under a name of its own, which it has led to
/// this machine (DNS rebinding): it would spend the owner's money, and read what is said.
/// Where no TLS is, such a page's requests have no `Sec-Fetch-Site`; their `Origin` is then
/// the very name they were sent to, or `null`. No SDK sends either; some libraries of
/// WebSockets do send such an `Origin`.
pub(crate) fn from_here(session: &Session, routes: &Routes) -> Result<(), Refusal> {
    let headers = &session.req_header().headers;
    let host = headers.get(header::HOST).map(http::HeaderValue::as_bytes).unwrap_or_default();
    let own_page = || {
        let Some(origin) = headers.get(header::ORIGIN).map(http::HeaderValue::as_bytes) else { return false };
        let name = [&b"http://"[..], b"https://"].iter().find_map(|scheme| origin.strip_prefix(*scheme));
        !session.is_upgrade_req() && (origin == b"null" || name.is_some_and(|n| n.eq_ignore_ascii_case(host)))
    };
    if (headers.contains_key("sec-fetch-site") || own_page())
        && !route::is_local(host)
        && !routes.is_host(host)
    {
        return Err(Refusal::agent(
            421,
            "misdirected_request",
            "a browser sent this request for another host; if that is meant, use localhost or 127.0.0.1 as the host, or add the host to the provider's `hosts`",
        ));
    }
    Ok(())
}

/// Refuses what two readers could take in two ways, before anything is sent on.
pub(crate) fn well_framed(session: &Session, limits: &Limits) -> Result<(), Refusal> {
    let head = session.req_header();
    if let Some(h1) = session.as_downstream().as_http1() {
        let raw = h1.get_headers_raw_bytes();
        if raw.len() > limits.request_head {
            return Err(Refusal::agent(
                431,
                "request_head_too_large",
                format!(
                    "the request's head is over the limit of {} bytes (gateway.request_head)",
                    limits.request_head
                ),
            ));
        }
        // pingora drops Content-Length when both are there; we refuse, since
        // one of the two is not what the sender meant (RFC 9112, 6.1).
        if head.headers.contains_key(header::TRANSFER_ENCODING) && has_content_length(&raw) {
            return Err(Refusal::agent(
                400,
                "malformed_request",
                "a request cannot carry both content-length and transfer-encoding",
            ));
        }
    }
    let said = head
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse::<u64>().ok());
    if said.is_some_and(|n| n > limits.request_body) {
        return Err(Refusal::agent(
            413,
            "request_too_large",
            format!(
                "the request's body is over the limit of {} bytes (gateway.request_body)",
                limits.request_body
            ),
        ));
    }
    Ok(())
}

fn has_content_length(raw_head: &[u8]) -> bool {
    raw_head.split(|b| *b == b'\n').skip(1).any(|line| {
        let name = line.split(|b| *b == b':').next().unwrap_or_default();
        // A reader that allows a space before the colon would take it for one.
        name.trim_ascii_end().eq_ignore_ascii_case(b"content-length")
    })
}

/// Answers the 100 that an agent waits for before it sends its body, once a call.
pub(crate) async fn go_on(session: &mut Session) -> Result<()> {
    let head = session.req_header();
    let waits = head.version == http::Version::HTTP_11
        && head
            .headers
            .get(header::EXPECT)
            .is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if waits {
        session.as_downstream_mut().write_continue_response().await.map_err(|e| e.into_down())?;
    }
    Ok(())
}
