#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use understudy_call::{
    AnsweredBy, Credential, Dialect, ExchangeId, Lane, Metadata, Sizes, Timings, Truncation, UnderstudyId,
};
use understudy_gateway::{CallSeen, Recorded};

use super::spans::{Emitter, Told, TrialSeen};
use super::{ids, otlp};
use crate::config::Telemetry;

const AGENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn meta() -> Metadata {
    Metadata {
        provider: "openai".into(),
        dialect: Dialect::OpenaiChat,
        credential: Credential([0; 16]),
        form: None,
        conversation: None,
        lane: Lane::Provider,
        answered_by: AnsweredBy::Provider,
        status: 200,
        timings: Timings {
            started_unix_ms: 1_700_000_000_000,
            first_byte: Some(Duration::from_millis(200)),
            total: Some(Duration::from_millis(800)),
            understudy: None,
        },
        sizes: Sizes::default(),
        truncation: Truncation::Whole,
        headers: Vec::new(),
        explicit_conversation: None,
        asked: None,
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
        target: "POST /v1/chat/completions".into(),
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

/// Keeps spans in memory.
#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

fn emit(told: Vec<Told>) -> Vec<SpanData> {
    let exporter = Kept::default();
    let config = Telemetry { sample: 1.0, ..Telemetry::default() };
    let traces: SdkTracerProvider = otlp::tracer(&config, |b| b.with_simple_exporter(exporter.clone()));
    let metrics = SdkMeterProvider::default();
    let mut emitter = Emitter::new(&traces, &metrics, false);
    for one in told {
        emitter.take(one);
    }
    emitter.finish();
    std::mem::take(&mut *exporter.0.lock().unwrap())
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
}

#[test]
fn a_call_that_failed_says_so() {
    let mut call = seen(1, None);
    call.meta.status = 503;
    let spans = emit(vec![Told::Call(Box::new(call))]);
    assert_eq!(spans[0].status, Status::error("503"));
    assert_eq!(attribute(&spans[0], "error.type").unwrap(), "503");
}

#[test]
fn a_trial_is_a_trace_of_its_own_that_links_to_its_call() {
    for traceparent in [None, Some(AGENT)] {
        let trial = TrialSeen {
            exchange: ExchangeId([9; 16]),
            traceparent: traceparent.map(str::to_owned),
            task: "00c0ffee00c0ffee".into(),
            task_name: "look up".into(),
            understudy: "prompted-0123".into(),
            model: "smollm2".into(),
            score: Some(0.5),
            agrees: false,
            why: Some("argument differs".into()),
            started: SystemTime::now(),
            spent: Duration::from_millis(3),
        };
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
