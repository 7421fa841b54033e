use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use opentelemetry::logs::AnyValue;
use opentelemetry::trace::{SpanContext, SpanKind, Status, TraceContextExt as _, TracerProvider as _};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter, SdkLogRecord, SdkLoggerProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tracing_subscriber::layer::SubscriberExt as _;
use understudy_call::{AnsweredBy, Credential, Dialect, ExchangeId, Lane, Metadata, Timings, UnderstudyId};
use understudy_gateway::{CallSeen, Recorded, TraceContext};

use super::otlp::{self, Providers};
use super::spans::{Emitter, Servers, Told, TrialSeen};
use super::{ids, own, sampling, subscriber};
use crate::config::Telemetry;

mod content;
mod decisions;
mod outward;

const AGENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn meta() -> Metadata {
    Metadata {
        timings: Timings {
            started_unix_ms: 1_700_000_000_000,
            first_byte: Some(Duration::from_millis(200)),
            total: Some(Duration::from_millis(800)),
            understudy: None,
            audit: None,
        },
        ..Metadata::answered("openai", Dialect::OpenaiChat, Credential([0; 16]))
    }
}

fn seen(id: u8, traceparent: Option<&str>) -> CallSeen {
    CallSeen {
        id: ExchangeId([id; 16]),
        meta: meta(),
        task: None,
        fallback: None,
        declined: Vec::new(),
        model: None,
        usage: None,
        traceparent: traceparent.map(str::to_owned),
        error: None,
    }
}

fn bodies(id: u8) -> Recorded {
    let request =
        r#"{"model":"gpt-4o","messages":[{"role":"user","content":"a secret question"}],"max_tokens":9}"#;
    let reply = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o-2024-08-06","choices":[{"index":0,"message":{"role":"assistant","content":"a secret answer"},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15}}"#;
    Recorded {
        id: ExchangeId([id; 16]),
        meta: meta(),
        request: vec![Bytes::from(request)],
        reply: vec![Bytes::from(reply)],
        reply_content_type: "application/json".into(),
        reply_encoding: String::new(),
        understudy_reply: None,
    }
}

/// Keeps spans and events in memory.
#[derive(Debug, Clone, Default)]
struct Kept {
    spans: Arc<Mutex<Vec<SpanData>>>,
    events: Arc<Mutex<Vec<SdkLogRecord>>>,
}

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.spans.lock().unwrap().extend(batch);
        Ok(())
    }
}

impl LogExporter for Kept {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        self.events.lock().unwrap().extend(batch.iter().map(|(record, _)| record.clone()));
        Ok(())
    }
}

impl Kept {
    fn providers(&self, sample: f64) -> Providers {
        let config = Telemetry { sample, ..Telemetry::default() };
        Providers {
            traces: otlp::tracer(&config, |b| b.with_simple_exporter(self.clone())),
            metrics: SdkMeterProvider::default(),
            logs: SdkLoggerProvider::builder().with_simple_exporter(self.clone()).build(),
        }
    }

    fn spans(&self) -> Vec<SpanData> {
        std::mem::take(&mut *self.spans.lock().unwrap())
    }
}

fn emit_all(told: Vec<Told>) -> (Vec<SpanData>, Vec<SdkLogRecord>) {
    emit_a_share(1.0, told)
}

fn emit_a_share(share: f64, told: Vec<Told>) -> (Vec<SpanData>, Vec<SdkLogRecord>) {
    let kept = Kept::default();
    let openai = understudy_gateway::Provider {
        base_url: "https://api.example/v1".into(),
        ..understudy_gateway::Provider::openai()
    };
    let mut emitter = Emitter::new(&kept.providers(share), Servers::of(&[openai]), false);
    for one in told {
        emitter.take(one);
    }
    emitter.finish();
    let events = std::mem::take(&mut *kept.events.lock().unwrap());
    (kept.spans(), events)
}

fn emit(told: Vec<Told>) -> Vec<SpanData> {
    emit_all(told).0
}

fn attribute(span: &SpanData, name: &str) -> Option<String> {
    span.attributes.iter().find(|a| a.key.as_str() == name).map(|a| a.value.to_string())
}

#[test]
fn a_providers_call_is_a_client_span_that_continues_the_agents_trace() {
    for told in [
        vec![Told::Bodies(Box::new(bodies(7))), Told::Call(Box::new(seen(7, Some(AGENT))))],
        vec![Told::Call(Box::new(seen(7, Some(AGENT)))), Told::Bodies(Box::new(bodies(7)))],
    ] {
        let spans = emit(told);
        let span = &spans[0];
        assert_eq!(spans.len(), 1);
        assert_eq!((span.name.as_ref(), &span.span_kind), ("chat gpt-4o", &SpanKind::Client));
        assert_eq!(span.span_context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(span.parent_span_id.to_string(), "00f067aa0ba902b7");
        assert_eq!(attribute(span, "gen_ai.provider.name").unwrap(), "openai");
        assert_eq!(attribute(span, "gen_ai.response.model").unwrap(), "gpt-4o-2024-08-06");
        assert_eq!(attribute(span, "gen_ai.usage.input_tokens").unwrap(), "12");
        assert_eq!(attribute(span, "gen_ai.request.max_tokens").unwrap(), "9");
        assert_eq!(attribute(span, "server.address").unwrap(), "api.example");
        assert_eq!(attribute(span, "server.port").unwrap(), "443");
        assert_eq!(span.end_time.duration_since(span.start_time).unwrap(), Duration::from_millis(800));
        assert!(!format!("{span:?}").contains("secret"), "content never enters a span");
    }
}

#[test]
fn an_understudys_call_is_an_internal_span() {
    let mut call = seen(1, None);
    call.meta.answered_by = AnsweredBy::Understudy(UnderstudyId("head-0123".into()));
    call.meta.dialect = Dialect::Other;
    let spans = emit(vec![Told::Call(Box::new(call))]);
    assert_eq!(spans[0].span_kind, SpanKind::Internal);
    assert_eq!(attribute(&spans[0], "understudy.understudy").unwrap(), "head-0123");
    assert_eq!(attribute(&spans[0], "server.address"), None);
}

#[test]
fn a_call_that_failed_says_so() {
    let mut call = seen(1, None);
    call.meta.status = 503;
    let spans = emit(vec![Told::Call(Box::new(call))]);
    assert_eq!(spans[0].status, Status::error("503"));
    assert_eq!(attribute(&spans[0], "error.type").unwrap(), "503");
}

fn trial(call: SpanContext, within: SpanContext) -> TrialSeen {
    TrialSeen {
        call,
        within,
        task: "00c0ffee00c0ffee".into(),
        understudy: "prompted-0123".into(),
        score: Some(0.5),
        agrees: false,
        why: None,
        audit: false,
        started: SystemTime::now(),
        spent: Duration::from_millis(3),
    }
}

#[test]
fn a_compressed_reply_is_read_too() {
    use std::io::Write as _;
    let mut bodies = bodies(7);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&bodies.reply.concat()).unwrap();
    bodies.reply = vec![Bytes::from(gzip.finish().unwrap())];
    bodies.reply_encoding = "gzip".into();
    let spans = emit(vec![Told::Bodies(Box::new(bodies)), Told::Call(Box::new(seen(7, None)))]);
    assert_eq!(attribute(&spans[0], "gen_ai.usage.output_tokens").unwrap(), "3");
}

#[test]
fn an_audited_call_is_told_at_once_and_its_judgement_when_it_comes() {
    let mut call = seen(9, Some(AGENT));
    call.meta.lane = Lane::Audit;
    call.meta.answered_by = AnsweredBy::Understudy(UnderstudyId("head-0123".into()));
    let mut examined = bodies(9);
    examined.meta = call.meta.clone();
    let within = ids::context_of(ExchangeId([9; 16]), Some(AGENT));
    let judged = TrialSeen { audit: true, ..trial(within.clone(), SpanContext::NONE) };
    let kept = Kept::default();
    let mut emitter = Emitter::new(&kept.providers(1.0), Servers::default(), false);
    emitter.take(Told::Call(Box::new(call)));
    assert_eq!(kept.spans().len(), 1);
    emitter.take(Told::Bodies(Box::new(examined)));
    emitter.take(Told::Trial(Box::new(judged)));
    emitter.finish();
    let events = std::mem::take(&mut *kept.events.lock().unwrap());
    assert_eq!((kept.spans().len(), events.len()), (0, 1), "the answer has its span: it was the call");
    assert_eq!(events[0].trace_context().unwrap().span_id, within.span_id());
}

#[test]
fn a_trial_is_apart_from_its_call_and_links_to_it() {
    for traceparent in [None, Some(AGENT)] {
        let call = ids::context_of(ExchangeId([9; 16]), traceparent);
        let trial = trial(call, SpanContext::NONE);
        let spans = emit(vec![Told::Call(Box::new(seen(9, traceparent))), Told::Trial(Box::new(trial))]);
        let (trial, call) = (&spans[0], &spans[1]);
        assert_eq!(trial.span_kind, SpanKind::Internal);
        assert_ne!(trial.span_context.trace_id(), call.span_context.trace_id());
        let link = &trial.links.links[0].span_context;
        assert_eq!(
            (link.trace_id(), link.span_id()),
            (call.span_context.trace_id(), call.span_context.span_id())
        );
        let event = &trial.events.events[0];
        assert_eq!(event.name, "gen_ai.evaluation.result");
        assert!(event.attributes.iter().any(|a| a.key.as_str() == "gen_ai.evaluation.score.value"));
    }
}

#[test]
fn a_judgement_is_an_event_on_the_trace_of_its_call() {
    let call = ids::context_of(ExchangeId([9; 16]), Some(AGENT));
    let (_, events) = emit_all(vec![Told::Trial(Box::new(trial(call.clone(), SpanContext::NONE)))]);
    let event = &events[0];
    assert_eq!((events.len(), event.event_name()), (1, Some("gen_ai.evaluation.result")));
    let at = event.trace_context().unwrap();
    assert_eq!((at.trace_id, at.span_id), (call.trace_id(), call.span_id()));
    let told = |name: &str| {
        event.attributes_iter().find(|(key, _)| key.as_str() == name).map(|(_, value)| value.clone())
    };
    assert_eq!(told("gen_ai.evaluation.name"), Some(AnyValue::from("agreement")));
    assert_eq!(told("gen_ai.evaluation.score.value"), Some(AnyValue::Double(0.5)));
    assert_eq!(told("gen_ai.evaluation.score.label"), Some(AnyValue::from("differs")));
}

#[test]
fn a_trial_is_a_child_of_the_reading_that_made_it() {
    let kept = Kept::default();
    let providers = kept.providers(1.0);
    let layer = subscriber::exported(providers.traces.tracer("understudy"));
    let call = ids::context_of(ExchangeId([9; 16]), Some(AGENT));
    let within = tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        own::read_record(7, call.clone())
            .in_scope(|| opentelemetry::Context::current().span().span_context().clone())
    });
    let mut emitter = Emitter::new(&providers, Servers::default(), false);
    emitter.take(Told::Trial(Box::new(trial(call.clone(), within))));
    let spans = kept.spans();
    let (reading, trial) = (&spans[0], &spans[1]);
    assert_eq!((reading.name.as_ref(), trial.name.as_ref()), ("read record", "rehearse"));
    assert_eq!(reading.links.links[0].span_context.span_id(), call.span_id());
    assert_eq!(attribute(reading, "understudy.seq").unwrap(), "7");
    assert_eq!(trial.parent_span_id, reading.span_context.span_id());
    assert_eq!(trial.span_context.trace_id(), reading.span_context.trace_id());
}

#[test]
fn only_our_own_spans_and_events_are_exported_and_no_text_of_an_error() {
    let kept = Kept::default();
    let layer = subscriber::exported(kept.providers(1.0).traces.tracer("understudy"));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        let _reading = own::read_record(7, ids::context_of(ExchangeId([9; 16]), None)).entered();
        tracing::info!(versions = 2, "new versions were made");
        tracing::warn!(error = "a secret answer", "this text is for the log");
        tracing::info!(target: "h2", "a library speaks");
        let _library = tracing::info_span!(target: "h2", "a library works").entered();
        let _faint = tracing::debug_span!("too much").entered();
    });
    let spans = kept.spans();
    assert_eq!(spans.len(), 1, "{spans:?}");
    let said: Vec<&str> = spans[0].events.iter().map(|e| e.name.as_ref()).collect();
    assert_eq!(said, ["new versions were made"]);
    assert!(!format!("{spans:?}").contains("secret"));
}

#[test]
fn without_a_collector_our_spans_are_not_even_made() {
    let config = Telemetry { log: "trace".into(), ..Telemetry::default() };
    let log = tracing_subscriber::registry().with(subscriber::lines(&config).unwrap());
    tracing::subscriber::with_default(log, || {
        assert!(own::flush_records().is_disabled());
        assert!(tracing::enabled!(tracing::Level::INFO), "events are logged all the same");
    });
}

#[test]
fn a_span_of_something_that_failed_says_so() {
    let kept = Kept::default();
    let layer = subscriber::exported(kept.providers(1.0).traces.tracer("understudy"));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let failing = own::within(own::flush_records(), async { Err::<(), _>("a secret") });
        assert!(runtime.block_on(failing).is_err());
    });
    assert_eq!(kept.spans()[0].status, Status::error(""));
}

#[test]
fn only_a_sound_traceparent_is_continued() {
    assert!(ids::parse_traceparent(AGENT).is_some());
    for bad in [
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
    ] {
        assert!(ids::parse_traceparent(bad).is_none(), "{bad:?}");
    }
}

#[test]
fn a_provider_is_told_the_span_of_its_call() {
    let told = |agent: Option<&str>, share| sampling::outgoing(ExchangeId([7; 16]), agent, share);
    let span = ids::context_of(ExchangeId([7; 16]), None).span_id();
    let others = "4bf92f3577b34da6a3ce929d0e0e4736";
    // The agent's trace and its choice, whatever share is kept here.
    for flags in ["00", "01"] {
        let agent = format!("00-{others}-00f067aa0ba902b7-{flags}");
        let traceparent = format!("00-{others}-{span}-{flags}");
        assert_eq!(told(Some(&agent), 0.0), TraceContext { traceparent, continued: true });
    }
    // A trace that begins here.
    let own = "07".repeat(16);
    for (share, flags) in [(0.0, "00"), (1.0, "01")] {
        for agent in [None, Some("nonsense")] {
            let traceparent = format!("00-{own}-{span}-{flags}");
            assert_eq!(told(agent, share), TraceContext { traceparent, continued: false });
        }
    }
}

#[test]
fn what_went_otherwise_is_kept_whatever_the_share_and_an_agents_choice_is_followed() {
    let fell_back = CallSeen { fallback: Some("declined"), ..seen(2, None) };
    let failed = CallSeen { error: Some("provider_unreachable"), ..seen(3, None) };
    let refused = CallSeen { meta: Metadata { status: 429, ..meta() }, ..seen(4, None) };
    let not_kept = AGENT.replace("-01", "-00");
    let calls = [
        (seen(1, None), false),
        (fell_back, true),
        (failed, true),
        (refused, true),
        (seen(5, Some(AGENT)), true),
        (CallSeen { fallback: Some("declined"), ..seen(6, Some(&not_kept)) }, false),
    ];
    for (call, wanted) in calls {
        let id = call.id;
        let exemplar = sampling::exemplar(&call, 0.0);
        assert_eq!(exemplar.is_some(), wanted, "{call:?}");
        assert_eq!(sampling::exemplar(&call, 1.0).is_some(), wanted || id == ExchangeId([1; 16]));
        // Without its bodies a call waits for the end.
        let (spans, _) = emit_a_share(0.0, vec![Told::Call(Box::new(call))]);
        let traces: Vec<_> = spans.iter().map(|s| s.span_context.trace_id().to_string()).collect();
        assert_eq!(traces, exemplar.into_iter().collect::<Vec<_>>());
    }
}
