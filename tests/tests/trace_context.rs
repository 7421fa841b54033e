//! A provider that traces finds its spans below the call's own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use http::{HeaderMap, HeaderName, HeaderValue};
use understudy_tests::collector::{Collector, hex};
use understudy_tests::desk;
use understudy_tests::peer::{Agent, Peer};
use understudy_tests::process::wait_until;
use understudy_tests::proxy::{Home, PATIENCE};
use understudy_tests::standin;

const KEY: &str = "sk-stand-in";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const AGENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const STATE: &str = "congo=t61rcWkgMzE";

/// `traceparent` and `tracestate` of each call, as they came.
type Seen = Arc<Mutex<Vec<(Option<String>, Option<String>)>>>;

/// A provider that notes what it is told of traces.
fn provider() -> (Peer, Seen) {
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    let noting = from_fn(move |request: Request, next: Next| {
        let text = |name: &str| request.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        noted.lock().unwrap().push((text("traceparent"), text("tracestate")));
        next.run(request)
    });
    (Peer::new(standin::router(standin::Config::default()).layer(noting)), seen)
}

/// What the provider sees of one call with these headers.
fn told(
    url: &str,
    seen: &Seen,
    headers: &[(&'static str, &'static str)],
) -> (Option<String>, Option<String>) {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    let headers: HeaderMap = headers.iter().map(pair).collect();
    let answer = Agent::new(url, KEY).with_headers(headers).ask(&desk::triage(1));
    assert_eq!(answer.status, 200, "{answer:?}");
    seen.lock().unwrap().pop().unwrap()
}

#[test]
fn the_providers_spans_are_children_of_the_calls() {
    let (provider, seen) = provider();
    let collector = Collector::start();
    let more = format!("[engine]\nenabled = false\n[telemetry]\nendpoint = \"{}\"", collector.endpoint());
    let home = Home::new(&provider.url(), &more);
    let mut proxy = home.serve();
    let of_an_agent = told(&proxy.url(), &seen, &[("traceparent", AGENT), ("tracestate", STATE)]);
    // A state without a trace is nobody's.
    let begun_here = told(&proxy.url(), &seen, &[("tracestate", STATE)]);
    proxy.signal("TERM");
    assert!(proxy.ended().success(), "{}", proxy.log());
    let calls = || collector.spans().into_iter().filter(|s| s.name.starts_with("chat ")).collect::<Vec<_>>();
    wait_until("both calls are exported", PATIENCE, || calls().len() == 2);

    let calls = calls();
    let (agents, own): (Vec<_>, Vec<_>) = calls.iter().partition(|s| hex(&s.trace_id) == TRACE);
    let named = |span: &opentelemetry_proto::tonic::trace::v1::Span| {
        Some(format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id)))
    };
    assert_eq!(of_an_agent, (named(agents[0]), Some(STATE.to_owned())));
    assert_eq!(begun_here, (named(own[0]), None));
}

#[test]
fn without_a_collector_an_agents_trace_passes_as_it_is() {
    let (provider, seen) = provider();
    let home = Home::new(&provider.url(), "[engine]\nenabled = false");
    let proxy = home.serve();
    let sent = told(&proxy.url(), &seen, &[("traceparent", AGENT), ("tracestate", STATE)]);
    assert_eq!(sent, (Some(AGENT.to_owned()), Some(STATE.to_owned())));
    assert_eq!(told(&proxy.url(), &seen, &[]), (None, None));
}
