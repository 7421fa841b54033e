//! What happened, told as spans, metrics and events.

mod decided;
mod instruments;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, SystemTime};

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{
    Event, Link, Span as _, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _,
    TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::logs::SdkLogger;
use opentelemetry_sdk::trace::SdkTracer;
use understudy_call::{AnsweredBy, Dialect, Lane, Truncation};
use understudy_gateway::{CallSeen, Provider, Recorded};

use super::attributes::{
    chunks, of_reply, of_request, old_system, operation, read_reply, read_request, whole,
};
use super::ids;
use super::otlp::Providers;
pub(crate) use decided::DecisionSeen;
use instruments::Instruments;

/// What telemetry is told.
#[derive(Debug)]
pub(crate) enum Told {
    /// A call ended.
    Call(Box<CallSeen>),
    /// Its bodies, to read model, usage and finish reasons from.
    Bodies(Box<Recorded>),
    /// A trial ended.
    Trial(Box<TrialSeen>),
    /// A task moved, or waits for a person.
    Decision(Box<DecisionSeen>),
    /// No more will come.
    End,
}

impl Told {
    /// Bytes of bodies in it.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Bodies(bodies) => bytes_of(bodies),
            Self::Call(_) | Self::Trial(_) | Self::Decision(_) | Self::End => 0,
        }
    }
}

/// What telemetry needs of a trial.
#[derive(Debug, Clone)]
pub(crate) struct TrialSeen {
    /// The span of the captured call.
    pub(crate) call: SpanContext,
    /// The worker's span in which it was made; not valid where there is none.
    pub(crate) within: SpanContext,
    pub(crate) task: String,
    pub(crate) understudy: String,
    /// 0 to 1; `None` when the understudy declined.
    pub(crate) score: Option<f64>,
    pub(crate) agrees: bool,
    /// Why it declined.
    pub(crate) why: Option<&'static str>,
    /// Whether it was a served call that the provider answered too.
    pub(crate) audit: bool,
    pub(crate) started: SystemTime,
    pub(crate) spent: Duration,
}

/// Host and port of each provider, by its name.
#[derive(Debug, Default)]
pub(super) struct Servers(HashMap<String, (String, i64)>);

impl Servers {
    /// As configured.
    pub(super) fn of(providers: &[Provider]) -> Self {
        let place = |p: &Provider| {
            let url = reqwest::Url::parse(&p.base_url).ok()?;
            let place = (url.host_str()?.to_owned(), i64::from(url.port_or_known_default()?));
            Some((p.name.clone(), place))
        };
        Self(providers.iter().filter_map(place).collect())
    }
}

/// The event that tells how an answer was judged.
const EVALUATION: &str = "gen_ai.evaluation.result";

/// Halves of calls that wait for their other half …
const WAITING: usize = 256;

/// … and the bytes of those that are bodies.
const WAITING_BYTES: usize = 16 << 20;

/// Makes spans, metrics and events.
pub(super) struct Emitter {
    tracer: SdkTracer,
    logger: SdkLogger,
    servers: Servers,
    old_names: bool,
    instruments: Instruments,
    bodies: VecDeque<Recorded>,
    calls: VecDeque<CallSeen>,
}

impl Emitter {
    pub(super) fn new(providers: &Providers, servers: Servers, old_names: bool) -> Self {
        Self {
            tracer: providers.traces.tracer("understudy"),
            logger: providers.logs.logger("understudy"),
            servers,
            old_names,
            instruments: Instruments::new(&providers.metrics.meter("understudy"), old_names),
            bodies: VecDeque::new(),
            calls: VecDeque::new(),
        }
    }

    pub(super) fn take(&mut self, told: Told) {
        match told {
            Told::Call(call) => {
                // Those of an audited call come when the provider has answered, too late.
                let have_bodies = call.meta.dialect == Dialect::OpenaiChat && call.meta.lane != Lane::Audit;
                match position(&self.bodies, |b| b.id == call.id).and_then(|i| self.bodies.remove(i)) {
                    Some(bodies) => self.call(&call, Some(&bodies)),
                    None if have_bodies => {
                        self.calls.push_back(*call);
                        if self.calls.len() > WAITING
                            && let Some(oldest) = self.calls.pop_front()
                        {
                            self.call(&oldest, None);
                        }
                    }
                    None => self.call(&call, None),
                }
            }
            Told::Bodies(bodies) if bodies.meta.lane == Lane::Audit => {}
            Told::Bodies(bodies) => {
                match position(&self.calls, |c| c.id == bodies.id).and_then(|i| self.calls.remove(i)) {
                    Some(call) => self.call(&call, Some(&bodies)),
                    None => {
                        self.bodies.push_back(*bodies);
                        let mut bytes: usize = self.bodies.iter().map(bytes_of).sum();
                        while self.bodies.len() > WAITING || bytes > WAITING_BYTES {
                            let Some(oldest) = self.bodies.pop_front() else { break };
                            bytes = bytes.saturating_sub(bytes_of(&oldest));
                        }
                    }
                }
            }
            Told::Trial(trial) => self.trial(&trial),
            Told::Decision(decision) => self.decided(*decision),
            Told::End => {}
        }
    }

    /// Emits what still waits for bodies.
    pub(super) fn finish(&mut self) {
        while let Some(call) = self.calls.pop_front() {
            self.call(&call, None);
        }
    }

    fn call(&mut self, call: &CallSeen, bodies: Option<&Recorded>) {
        let meta = &call.meta;
        let request = bodies.and_then(|b| read_request(meta.dialect, b));
        let reply = bodies.and_then(|b| read_reply(meta.dialect, meta.status, b));
        let model = request.as_ref().map(|r| r.model.clone()).or_else(|| call.model.clone());
        let operation = operation(meta.dialect);
        let name = model.as_ref().map_or_else(|| operation.to_owned(), |m| format!("{operation} {m}"));
        let local = matches!(meta.answered_by, AnsweredBy::Understudy(_));

        let mut shared = vec![
            KeyValue::new("gen_ai.operation.name", operation),
            KeyValue::new(
                "gen_ai.provider.name",
                if local { "understudy".to_owned() } else { meta.provider.clone() },
            ),
        ];
        if let Some(model) = &model {
            shared.push(KeyValue::new("gen_ai.request.model", model.clone()));
        }
        if let Some((host, port)) = self.servers.0.get(&meta.provider).filter(|_| !local) {
            shared.push(KeyValue::new("server.address", host.clone()));
            shared.push(KeyValue::new("server.port", *port));
        }
        let failed =
            call.error.map(str::to_owned).or_else(|| (meta.status >= 400).then(|| meta.status.to_string()));
        if let Some(kind) = &failed {
            shared.push(KeyValue::new("error.type", kind.clone()));
        }
        let mut attributes = shared.clone();
        if self.old_names {
            attributes.extend(old_system(&shared));
        }
        attributes.push(KeyValue::new("http.response.status_code", i64::from(meta.status)));
        attributes.push(KeyValue::new("understudy.lane", meta.lane.label()));
        if let Some((task, stage)) = call.task {
            attributes.push(KeyValue::new("understudy.task", task.to_string()));
            attributes.push(KeyValue::new("understudy.stage", stage.label()));
        }
        if let Some(why) = call.fallback {
            attributes.push(KeyValue::new("understudy.fallback", why));
            self.instruments.fallbacks.add(1, &[KeyValue::new("understudy.reason", why)]);
        }
        if let AnsweredBy::Understudy(id) = &meta.answered_by {
            attributes.push(KeyValue::new("understudy.understudy", id.0.clone()));
        }
        // The agent chose the id, which may hold anything, an address say: its keyed hash goes.
        if let Some(key) = meta.conversation.filter(|_| meta.explicit_conversation.is_some()) {
            attributes.push(KeyValue::new("gen_ai.conversation.id", key.to_string()));
        }
        if let Some(request) = &request {
            attributes.extend(of_request(request));
        }
        if let Some(reply) = &reply {
            attributes.extend(of_reply(reply));
        }
        if let Some(first) = meta.timings.first_byte {
            attributes.push(KeyValue::new("gen_ai.response.time_to_first_chunk", first.as_secs_f64()));
        }
        // Of a stream that was not kept whole nobody knows how many chunks it had.
        let kept = bodies.filter(|_| meta.truncation == Truncation::Whole);
        self.instruments.took(&meta.timings, kept.map_or(0, chunks), &shared);
        let usage = reply.as_ref().and_then(|r| r.usage).or(call.usage);
        if let Some(usage) = usage {
            self.instruments.used(&usage, &shared);
            attributes.push(KeyValue::new("gen_ai.usage.input_tokens", whole(usage.input_tokens)));
            attributes.push(KeyValue::new("gen_ai.usage.output_tokens", whole(usage.output_tokens)));
            attributes.push(KeyValue::new(
                "gen_ai.usage.cache_read.input_tokens",
                whole(usage.cached_input_tokens),
            ));
            attributes
                .push(KeyValue::new("gen_ai.usage.reasoning.output_tokens", whole(usage.reasoning_tokens)));
        }

        let start = SystemTime::UNIX_EPOCH
            + Duration::from_millis(u64::try_from(meta.timings.started_unix_ms).unwrap_or(0));
        let end = start + meta.timings.total.unwrap_or_default();
        let parent = call
            .traceparent
            .as_deref()
            .and_then(ids::parse_traceparent)
            .map_or_else(Context::new, |agent| Context::new().with_remote_span_context(agent));
        ids::announce(call.id);
        let mut span = self
            .tracer
            .span_builder(name)
            .with_kind(if local { SpanKind::Internal } else { SpanKind::Client })
            .with_start_time(start)
            .with_attributes(attributes)
            .start_with_context(&self.tracer, &parent);
        ids::forget();
        if let Some(kind) = failed {
            span.set_status(Status::error(kind));
        }
        span.end_with_timestamp(end);
    }

    fn trial(&mut self, trial: &TrialSeen) {
        let label = match trial.score {
            None => "declined",
            Some(_) if trial.agrees => "agrees",
            Some(_) => "differs",
        };
        let counted =
            [KeyValue::new("understudy.task", trial.task.clone()), KeyValue::new("understudy.label", label)];
        let counter = if trial.audit { &self.instruments.audits } else { &self.instruments.trials };
        counter.add(1, &counted);
        let mut attributes = vec![
            KeyValue::new("gen_ai.operation.name", "chat"),
            KeyValue::new("gen_ai.provider.name", "understudy"),
            KeyValue::new("understudy.task", trial.task.clone()),
            KeyValue::new("understudy.understudy", trial.understudy.clone()),
            KeyValue::new("understudy.lane", "shadow"),
        ];
        let old = self.old_names.then(|| old_system(&attributes)).flatten();
        attributes.extend(old);
        let end = trial.started + trial.spent;
        let mut judged = vec![
            KeyValue::new("gen_ai.evaluation.name", "agreement"),
            KeyValue::new("gen_ai.evaluation.score.label", label),
        ];
        if let Some(score) = trial.score {
            judged.push(KeyValue::new("gen_ai.evaluation.score.value", score));
        }
        if let Some(why) = trial.why {
            judged.push(KeyValue::new("gen_ai.evaluation.explanation", why));
        }
        self.evaluated(trial, end, judged.clone());
        if trial.audit {
            // The answer has its span: it was the call.
            return;
        }
        let mut parent = Context::new();
        if trial.within.is_valid() {
            parent = parent.with_remote_span_context(trial.within.clone());
        }
        let mut span = self
            .tracer
            .span_builder("rehearse")
            .with_kind(SpanKind::Internal)
            .with_start_time(trial.started)
            .with_attributes(attributes)
            .with_links(vec![Link::new(
                trial.call.clone(),
                vec![KeyValue::new("understudy.link", "call")],
                0,
            )])
            .with_events(vec![Event::new(EVALUATION, end, judged, 0)])
            .start_with_context(&self.tracer, &parent);
        span.end_with_timestamp(end);
    }

    /// The same judgement as an event of its own, on the trace of the call: so
    /// the convention has it, and so it is found where the call's span is no
    /// more to be changed.
    fn evaluated(&self, trial: &TrialSeen, at: SystemTime, judged: Vec<KeyValue>) {
        let mut event = self.logger.create_log_record();
        event.set_event_name(EVALUATION);
        event.set_timestamp(at);
        event.set_severity_number(Severity::Info);
        event.set_trace_context(trial.call.trace_id(), trial.call.span_id(), Some(trial.call.trace_flags()));
        event.add_attribute("understudy.task", trial.task.clone());
        event.add_attribute("understudy.understudy", trial.understudy.clone());
        for KeyValue { key, value, .. } in judged {
            event.add_attribute(key, any(value));
        }
        self.logger.emit(event);
    }
}

/// A span's value as a log record has it.
fn any(value: Value) -> AnyValue {
    match value {
        Value::Bool(b) => b.into(),
        Value::I64(n) => n.into(),
        Value::F64(n) => n.into(),
        other => other.as_str().into_owned().into(),
    }
}

fn bytes_of(bodies: &Recorded) -> usize {
    bodies.request.iter().chain(&bodies.reply).map(|b| b.len()).sum()
}

fn position<T>(queue: &VecDeque<T>, is: impl Fn(&T) -> bool) -> Option<usize> {
    queue.iter().position(is)
}
