//! A real collector gets what the conventions promise, over both protocols,
//! and not a word of any call; and a collector that is away disturbs nobody.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::net::TcpListener;

use http::{HeaderMap, HeaderValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use serde_json::{Value, json};
use understudy_tests::collector::{Collector, Over, attribute, hex};
use understudy_tests::desk;
use understudy_tests::peer::{Agent, Answer, Peer};
use understudy_tests::process::wait_until;
use understudy_tests::proxy::{Home, PATIENCE, signal};
use understudy_tests::standin;

/// What no collector may ever see: it is in the system text, the question, a
/// tool, the reply and the key.
const CANARY: &str = "quetzal8812";
const KEY: &str = "sk-quetzal8812";

const CALLS: u64 = 8;
const PARENT: &str = "00f067aa0ba902b7";

/// The trace of the n-th call.
fn trace(n: u64) -> String {
    format!("4bf92f3577b34da6a3ce929d0e0e{n:04x}")
}

/// A call of one task, a different one each time; every other one is streamed.
fn question(n: u64) -> Value {
    let mut request = json!({"model": "gpt-4o-mini", "temperature": 0, "max_tokens": 90,
        "messages": [
            {"role": "system", "content": format!("You are the order desk of {CANARY} Ltd. Use a tool.")},
            {"role": "user", "content": format!("Where is my order A-{CANARY}{n}?")}],
        "tools": [{"type": "function", "function": {"name": "get_order_status",
            "description": format!("Looks up a status at {CANARY}"),
            "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}}}}]});
    if is_streamed(n) {
        request["stream"] = json!(true);
        request["stream_options"] = json!({"include_usage": true});
    }
    request
}

fn is_streamed(n: u64) -> bool {
    n % 2 == 1
}

/// Id, tokens and tool arguments of a reply, whole or streamed.
struct Reply {
    id: String,
    usage: Value,
    arguments: String,
}

impl Reply {
    fn of(answer: &Answer, n: u64) -> Self {
        let (parts, place): (Vec<Value>, _) = if is_streamed(n) {
            (answer.events().iter().filter_map(|e| serde_json::from_str(e).ok()).collect(), "delta")
        } else {
            (vec![answer.json()], "message")
        };
        let arguments = |part: &Value| {
            part["choices"][0][place]["tool_calls"][0]["function"]["arguments"].as_str().map(str::to_owned)
        };
        Self {
            id: parts[0]["id"].as_str().unwrap().to_owned(),
            usage: parts.iter().map(|p| &p["usage"]).find(|u| u.is_object()).unwrap().clone(),
            arguments: parts.iter().filter_map(arguments).collect(),
        }
    }
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|s| s.name == name).collect()
}

fn a_collector_gets_what_the_conventions_promise(protocol: &str, over: Over) {
    let provider = Peer::standin(standin::Config::default());
    let collector = Collector::start();
    // An understudy elsewhere needs no model here, so there are trials.
    let home = Home::new(
        &provider.url(),
        &format!(
            "[engine]\nenabled = false\n[worker]\nbusy_share = 1.0\n[policy]\nobserve_calls = 1\nfirst_fit = 2\n\
             [remote.second]\nbase_url = \"{}\"\nmodel = \"stand-in\"\nkey_env = \"SECOND_KEY\"\n\
             [telemetry]\nendpoint = \"{}\"\nprotocol = \"{protocol}\"\nevery = \"1s\"",
            provider.url(),
            collector.endpoint(),
        ),
    );
    let mut proxy = home.serve_with(&[("SECOND_KEY", KEY)]);
    let answers: Vec<Answer> = (0..CALLS)
        .map(|n| {
            let parent = format!("00-{}-{PARENT}-01", trace(n));
            let headers = HeaderMap::from_iter([(
                "traceparent".parse().unwrap(),
                HeaderValue::try_from(parent).unwrap(),
            )]);
            let answer = Agent::new(&proxy.url(), KEY).with_headers(headers).ask(&question(n));
            assert_eq!(answer.status, 200, "{answer:?}");
            assert!(Reply::of(&answer, n).arguments.contains(CANARY), "{answer:?}");
            answer
        })
        .collect();
    wait_until("every call was read by the worker", PATIENCE, || {
        named(&collector.spans(), "read record").len() as u64 == CALLS
    });
    proxy.signal("TERM");
    assert!(proxy.ended().success(), "{}", proxy.log());

    assert!(
        !collector.came().is_empty() && collector.came().iter().all(|o| *o == over),
        "{:?}",
        collector.came()
    );
    assert!(collector.holds("gpt-4o-mini"), "what was exported can be searched");
    assert!(!collector.holds(CANARY), "a call's content was exported: {:#?}", collector.spans());
    assert!(!proxy.log().contains(CANARY), "a call's content was logged: {}", proxy.log());
    for resource in collector.resources() {
        assert_eq!(attribute(&resource.attributes, "service.name").unwrap(), "understudy");
        assert!(attribute(&resource.attributes, "service.version").is_some(), "{resource:?}");
    }
    for (n, answer) in (0..).zip(&answers) {
        the_call_continues_its_trace(&collector, &provider, n, answer);
    }
    the_work_behind_has_spans_of_its_own(&collector);
    judgements_are_events_on_their_calls(&collector);
    calls_are_measured(&collector, &answers);
}

fn the_call_continues_its_trace(collector: &Collector, provider: &Peer, n: u64, answer: &Answer) {
    let spans = collector.spans();
    let of_trace: Vec<&Span> = spans.iter().filter(|s| hex(&s.trace_id) == trace(n)).collect();
    assert_eq!(of_trace.len(), 1, "call {n}: {of_trace:?}");
    let span = of_trace[0];
    assert_eq!(hex(&span.parent_span_id), PARENT);
    assert_eq!((span.name.as_str(), span.kind()), ("chat gpt-4o-mini", SpanKind::Client));
    assert_ne!(span.status.clone().unwrap_or_default().code(), StatusCode::Error);
    assert!(span.end_time_unix_nano > span.start_time_unix_nano);
    let Reply { id, usage, .. } = Reply::of(answer, n);
    for (name, value) in [
        ("gen_ai.operation.name", "chat".to_owned()),
        ("gen_ai.provider.name", "openai".to_owned()),
        ("gen_ai.request.model", "gpt-4o-mini".to_owned()),
        ("gen_ai.request.stream", is_streamed(n).to_string()),
        ("gen_ai.request.max_tokens", "90".to_owned()),
        ("gen_ai.request.temperature", "0".to_owned()),
        ("gen_ai.output.type", "text".to_owned()),
        ("gen_ai.response.id", id),
        ("gen_ai.response.model", "gpt-4o-mini".to_owned()),
        ("gen_ai.response.finish_reasons", "tool_calls".to_owned()),
        ("gen_ai.usage.input_tokens", usage["prompt_tokens"].to_string()),
        ("gen_ai.usage.output_tokens", usage["completion_tokens"].to_string()),
        ("gen_ai.usage.cache_read.input_tokens", "0".to_owned()),
        ("gen_ai.usage.reasoning.output_tokens", "0".to_owned()),
        ("server.address", provider.address.ip().to_string()),
        ("server.port", provider.address.port().to_string()),
        ("http.response.status_code", "200".to_owned()),
        ("understudy.lane", "provider".to_owned()),
    ] {
        assert_eq!(attribute(&span.attributes, name), Some(value), "{name} of call {n}: {span:?}");
    }
    let first = attribute(&span.attributes, "gen_ai.response.time_to_first_chunk").unwrap();
    assert!(first.parse::<f64>().unwrap() > 0.0, "{first}");
}

fn the_work_behind_has_spans_of_its_own(collector: &Collector) {
    let spans = collector.spans();
    for once in ["open journal", "restore ledgers", "close journal"] {
        assert_eq!(named(&spans, once).len(), 1, "{once}: {spans:#?}");
    }
    assert!(!named(&spans, "flush records").is_empty(), "{spans:#?}");

    let calls = named(&spans, "chat gpt-4o-mini");
    let readings = named(&spans, "read record");
    assert_eq!(readings.len() as u64, CALLS);
    for reading in &readings {
        assert_eq!(reading.links.len(), 1, "{reading:?}");
        let to = &reading.links[0];
        let call = calls.iter().find(|c| c.span_id == to.span_id).unwrap();
        assert_eq!(call.trace_id, to.trace_id);
        assert_ne!(call.trace_id, reading.trace_id, "the call's duration stays true");
    }
    let said: Vec<&str> = readings.iter().flat_map(|r| &r.events).map(|e| e.name.as_str()).collect();
    assert!(said.contains(&"new versions were made"), "{said:?}");

    let trials = named(&spans, "rehearse");
    assert!(!trials.is_empty(), "{spans:#?}");
    for trial in trials {
        let reading = readings.iter().find(|r| r.span_id == trial.parent_span_id).unwrap();
        assert_eq!((&reading.trace_id, trial.kind()), (&trial.trace_id, SpanKind::Internal));
        assert_eq!(reading.links[0].span_id, trial.links[0].span_id, "both link to the same call");
        assert_eq!(trial.events[0].name, "gen_ai.evaluation.result");
    }

    let decisions = named(&spans, "decide");
    assert!(!decisions.is_empty(), "{spans:#?}");
    let first = decisions[0];
    for (name, value) in [
        ("understudy.stage.before", "observing"),
        ("understudy.stage", "shadowing"),
        ("understudy.reason", "enough_calls"),
    ] {
        assert_eq!(attribute(&first.attributes, name).as_deref(), Some(value), "{first:?}");
    }
    assert!(first.parent_span_id.is_empty(), "{first:?}");
    let read = readings.iter().find(|r| r.links[0].span_id == first.links[0].span_id);
    assert!(read.is_some(), "it links to the call that brought it about: {first:?}");
}

fn judgements_are_events_on_their_calls(collector: &Collector) {
    let spans = collector.spans();
    let calls = named(&spans, "chat gpt-4o-mini");
    for event in collector.events() {
        assert_eq!(event.event_name, "gen_ai.evaluation.result");
        let call = calls.iter().find(|c| c.span_id == event.span_id);
        assert_eq!(call.map(|c| &c.trace_id), Some(&event.trace_id), "{event:?}");
        let told =
            |name: &str| attribute(&event.attributes, name).unwrap_or_else(|| panic!("{name}: {event:?}"));
        assert_eq!(told("gen_ai.evaluation.name"), "agreement");
        assert_eq!(told("gen_ai.evaluation.score.label"), "agrees");
        assert_eq!(told("gen_ai.evaluation.score.value"), "1");
        assert!(told("understudy.understudy").starts_with("remote"), "{event:?}");
    }
    assert_eq!(collector.events().len(), named(&spans, "rehearse").len());
}

fn calls_are_measured(collector: &Collector, answers: &[Answer]) {
    let metrics = collector.metrics();
    let data = |name: &str| {
        let found = metrics.iter().find(|m| m.name == name).unwrap_or_else(|| panic!("{name}: {metrics:#?}"));
        found.data.clone().unwrap()
    };
    for name in ["gen_ai.client.inference.duration", "gen_ai.client.inference.time_to_first_chunk"] {
        let Data::Histogram(histogram) = data(name) else { panic!("{name} is no histogram") };
        assert_eq!(histogram.data_points.iter().map(|p| p.count).sum::<u64>(), CALLS, "{name}");
        let attributes = &histogram.data_points[0].attributes;
        assert_eq!(attribute(attributes, "gen_ai.request.model").unwrap(), "gpt-4o-mini");
        assert_eq!(attribute(attributes, "gen_ai.provider.name").unwrap(), "openai");
    }
    // Only a stream has chunks after its first one; its events end with a mark that is none.
    let name = "gen_ai.client.inference.time_per_output_chunk";
    let later: usize = (0..)
        .zip(answers)
        .filter(|(n, _)| is_streamed(*n))
        .map(|(_, answer)| answer.events().len().saturating_sub(2))
        .sum();
    let Data::Histogram(chunks) = data(name) else { panic!("{name} is no histogram") };
    assert_eq!(chunks.data_points.iter().map(|p| p.count).sum::<u64>(), later as u64, "{name}");
    for name in ["gen_ai.client.inference.usage.input_tokens", "gen_ai.client.inference.usage.output_tokens"]
    {
        let Data::Sum(sum) = data(name) else { panic!("{name} is no sum") };
        assert!(sum.is_monotonic && !sum.data_points.is_empty(), "{name}: {sum:?}");
    }
}

#[test]
fn over_grpc() {
    a_collector_gets_what_the_conventions_promise("grpc", Over::Grpc);
}

#[test]
fn over_http() {
    a_collector_gets_what_the_conventions_promise("http/protobuf", Over::Http);
}

#[test]
fn older_tools_find_the_names_they_know_only_where_that_is_asked_for() {
    for old_names in [true, false] {
        let provider = Peer::standin(standin::Config::default());
        let collector = Collector::start();
        let home = Home::new(
            &provider.url(),
            &format!(
                "[engine]\nenabled = false\n[telemetry]\nendpoint = \"{}\"\nold_names = {old_names}",
                collector.endpoint()
            ),
        );
        let mut proxy = home.serve();
        assert_eq!(Agent::new(&proxy.url(), KEY).ask(&question(0)).status, 200);
        proxy.signal("TERM");
        assert!(proxy.ended().success(), "{}", proxy.log());

        let old_system = old_names.then_some("openai");
        let spans = collector.spans();
        let call = named(&spans, "chat gpt-4o-mini")[0];
        assert_eq!(attribute(&call.attributes, "gen_ai.provider.name").as_deref(), Some("openai"));
        assert_eq!(attribute(&call.attributes, "gen_ai.system").as_deref(), old_system);
        assert_eq!(collector.holds("gen_ai.system"), old_names);

        let metrics = collector.metrics();
        let found = |name: &str| metrics.iter().find(|m| m.name == name).and_then(|m| m.data.clone());
        assert!(found("gen_ai.client.inference.duration").is_some(), "{metrics:#?}");
        let old = found("gen_ai.client.operation.duration");
        assert_eq!(old.is_some(), old_names, "{metrics:#?}");
        if let Some(Data::Histogram(old)) = old {
            assert_eq!(old.data_points[0].count, 1);
            assert_eq!(attribute(&old.data_points[0].attributes, "gen_ai.system").as_deref(), old_system);
        }
    }
}

/// The real engine, with the embedder alone: it is told when it answers, and
/// when it is gone.
#[test]
fn the_lives_of_the_engine_are_spans() {
    let provider = Peer::standin(standin::Config::default());
    let collector = Collector::start();
    let home = Home::new(
        &provider.url(),
        &format!(
            "[model]\nchat = \"/nowhere\"\n[telemetry]\nendpoint = \"{}\"\nevery = \"1s\"",
            collector.endpoint()
        ),
    );
    let mut proxy = home.serve();
    let starts = || -> Vec<Span> {
        let spans = collector.spans();
        named(&spans, "start engine").into_iter().cloned().collect()
    };
    wait_until("the engine has started", PATIENCE, || !starts().is_empty());
    let start = starts().remove(0);
    assert_eq!(attribute(&start.attributes, "understudy.ready").as_deref(), Some("true"), "{}", proxy.log());
    signal(proxy.engine().expect("there is no engine"), "KILL");
    let lives = || -> Vec<Span> {
        let spans = collector.spans();
        named(&spans, "run engine").into_iter().cloned().collect()
    };
    wait_until("the engine's end was told", PATIENCE, || !lives().is_empty());
    let life = lives().remove(0);
    assert_eq!(life.span_id, start.parent_span_id);
    assert_eq!(life.status.clone().unwrap().code(), StatusCode::Error);
    let reason = attribute(&life.attributes, "understudy.reason").unwrap();
    assert!(reason.contains("signal: 9"), "{reason}");
    proxy.signal("TERM");
    assert!(proxy.ended().success(), "{}", proxy.log());
}

/// The calls are the provider's to the byte, and the proxy ends when it is told to.
fn nobody_is_disturbed(endpoint: &str, protocol: &str) {
    let provider = Peer::standin(standin::Config::default());
    let home = Home::new(
        &provider.url(),
        &format!(
            "[engine]\nenabled = false\n[telemetry]\nendpoint = \"{endpoint}\"\nprotocol = \"{protocol}\"\nevery = \"1s\""
        ),
    );
    let mut proxy = home.serve();
    let (direct, through) = (Agent::new(&provider.url(), KEY), Agent::new(&proxy.url(), KEY));
    for n in 0..CALLS {
        let (expected, got) = (direct.ask(&question(n)), through.ask(&question(n)));
        assert_eq!((got.status, &got.body), (expected.status, &expected.body), "{}", proxy.log());
    }
    let many = through.ask_all((0..100).map(desk::triage).collect(), 10);
    assert!(many.iter().all(|a| a.as_ref().is_ok_and(|a| a.status == 200)), "{}", proxy.log());
    proxy.signal("TERM");
    assert!(proxy.ended().success(), "{}", proxy.log());
    assert!(!proxy.log().contains(CANARY), "{}", proxy.log());
}

#[test]
fn a_collector_that_is_down_disturbs_nobody() {
    for protocol in ["grpc", "http/protobuf"] {
        // Bound once, so that nobody listens there now.
        let gone = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        nobody_is_disturbed(&format!("http://{gone}"), protocol);
    }
}

#[test]
fn a_collector_that_never_answers_disturbs_nobody() {
    for protocol in ["grpc", "http/protobuf"] {
        // Connections are taken by the kernel and never read from.
        let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        nobody_is_disturbed(&format!("http://{}", silent.local_addr().unwrap()), protocol);
    }
}
