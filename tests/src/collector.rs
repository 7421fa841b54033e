//! A collector: takes OTLP on a free port, over gRPC and over HTTP with
//! protobuf, and keeps what it gets. Services and messages are OpenTelemetry's
//! own, so what it understands any collector does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::authority::Authority;
use crate::peer::Peer;

/// How something came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// gRPC.
    Grpc,
    /// HTTP with protobuf.
    Http,
}

#[derive(Debug, Default)]
struct Kept {
    traces: Vec<ExportTraceServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
    logs: Vec<ExportLogsServiceRequest>,
    came: Vec<Over>,
    /// Of every request, also of those that were turned away.
    headers: Vec<HeaderMap>,
    /// How often a request is turned away before it is taken.
    refusals: usize,
    /// How many requests came to each path.
    requests: HashMap<String, usize>,
}

/// What the services share.
#[derive(Debug, Clone, Default)]
struct Keeper(Arc<Mutex<Kept>>);

impl Keeper {
    fn keep<T>(&self, over: Over, one: T, to: impl FnOnce(&mut Kept) -> &mut Vec<T>) {
        let mut kept = self.0.lock().unwrap();
        kept.came.push(over);
        to(&mut kept).push(one);
    }

    /// Notes a request, and whether to turn it away. An exporter sends one request of a
    /// signal at a time, so that counting them is enough.
    fn turns_away(&self, request: &Request) -> bool {
        let mut kept = self.0.lock().unwrap();
        kept.headers.push(request.headers().clone());
        let rounds = kept.refusals + 1;
        let requests = kept.requests.entry(request.uri().path().to_owned()).or_default();
        *requests += 1;
        !requests.is_multiple_of(rounds)
    }

    fn posted<T: Message + Default, R: Message + Default>(
        &self,
        headers: &HeaderMap,
        body: Bytes,
        to: impl FnOnce(&mut Kept) -> &mut Vec<T>,
    ) -> Response {
        const PROTOBUF: &str = "application/x-protobuf";
        if headers.get(header::CONTENT_TYPE).is_none_or(|v| v != PROTOBUF) {
            return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
        }
        match T::decode(body) {
            Ok(one) => {
                self.keep(Over::Http, one, to);
                ([(header::CONTENT_TYPE, PROTOBUF)], R::default().encode_to_vec()).into_response()
            }
            Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
        }
    }

    /// The services, over either protocol.
    fn router(&self) -> Router {
        let grpc = tonic::service::Routes::new(TraceServiceServer::new(self.clone()))
            .add_service(MetricsServiceServer::new(self.clone()))
            .add_service(LogsServiceServer::new(self.clone()));
        let (traces, metrics, logs) = (self.clone(), self.clone(), self.clone());
        let http = Router::new()
            .route(
                "/v1/traces",
                post(async move |headers: HeaderMap, body: Bytes| {
                    traces.posted::<_, ExportTraceServiceResponse>(&headers, body, |k| &mut k.traces)
                }),
            )
            .route(
                "/v1/metrics",
                post(async move |headers: HeaderMap, body: Bytes| {
                    metrics.posted::<_, ExportMetricsServiceResponse>(&headers, body, |k| &mut k.metrics)
                }),
            )
            .route(
                "/v1/logs",
                post(async move |headers: HeaderMap, body: Bytes| {
                    logs.posted::<_, ExportLogsServiceResponse>(&headers, body, |k| &mut k.logs)
                }),
            );
        let served = grpc.into_axum_router().merge(http);
        served.layer(from_fn_with_state(self.clone(), door))
    }
}

type Exported<T> = Result<tonic::Response<T>, tonic::Status>;

#[tonic::async_trait]
impl TraceService for Keeper {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Exported<ExportTraceServiceResponse> {
        self.keep(Over::Grpc, request.into_inner(), |k| &mut k.traces);
        Ok(tonic::Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Keeper {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Exported<ExportMetricsServiceResponse> {
        self.keep(Over::Grpc, request.into_inner(), |k| &mut k.metrics);
        Ok(tonic::Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Keeper {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Exported<ExportLogsServiceResponse> {
        self.keep(Over::Grpc, request.into_inner(), |k| &mut k.logs);
        Ok(tonic::Response::new(Default::default()))
    }
}

/// What every request passes: a busy collector says so in the words of its protocol.
async fn door(State(keeper): State<Keeper>, request: Request, next: Next) -> Response {
    if !keeper.turns_away(&request) {
        return next.run(request).await;
    }
    let is_grpc = request.headers().get(header::CONTENT_TYPE).is_some_and(|v| v == "application/grpc");
    let _ = to_bytes(request.into_body(), usize::MAX).await;
    if is_grpc {
        tonic::Status::unavailable("busy").into_http()
    } else {
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    }
}

/// A collector, until dropped.
#[derive(Debug)]
pub struct Collector {
    keeper: Keeper,
    peer: Peer,
    scheme: &'static str,
}

impl Collector {
    /// Starts one.
    #[must_use]
    pub fn start() -> Self {
        Self::busy(0)
    }

    /// Starts one that turns each request away so many times before it takes it.
    #[must_use]
    pub fn busy(refusals: usize) -> Self {
        let keeper = Keeper(Arc::new(Mutex::new(Kept { refusals, ..Kept::default() })));
        Self { peer: Peer::new(keeper.router()), keeper, scheme: "http" }
    }

    /// Starts one behind TLS, with a certificate that the authority signed.
    #[must_use]
    pub fn behind_tls(authority: &Authority) -> Self {
        let keeper = Keeper::default();
        Self { peer: Peer::behind_tls(keeper.router(), authority), keeper, scheme: "https" }
    }

    /// What an exporter is given as its endpoint.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.peer.address)
    }

    /// How each request came.
    #[must_use]
    pub fn came(&self) -> Vec<Over> {
        self.keeper.0.lock().unwrap().came.clone()
    }

    /// The headers of every request, also of those that were turned away.
    #[must_use]
    pub fn headers(&self) -> Vec<HeaderMap> {
        self.keeper.0.lock().unwrap().headers.clone()
    }

    /// Every span so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        let kept = self.keeper.0.lock().unwrap();
        let scopes = kept.traces.iter().flat_map(|r| &r.resource_spans).flat_map(|r| &r.scope_spans);
        scopes.flat_map(|s| s.spans.clone()).collect()
    }

    /// Every log record so far.
    #[must_use]
    pub fn events(&self) -> Vec<LogRecord> {
        let kept = self.keeper.0.lock().unwrap();
        let scopes = kept.logs.iter().flat_map(|r| &r.resource_logs).flat_map(|r| &r.scope_logs);
        scopes.flat_map(|s| s.log_records.clone()).collect()
    }

    /// The metrics as they were last sent.
    #[must_use]
    pub fn metrics(&self) -> Vec<Metric> {
        let kept = self.keeper.0.lock().unwrap();
        let scopes = kept.metrics.last().into_iter().flat_map(|r| &r.resource_metrics);
        scopes.flat_map(|r| &r.scope_metrics).flat_map(|s| s.metrics.clone()).collect()
    }

    /// Who sent it, of every request.
    #[must_use]
    pub fn resources(&self) -> Vec<Resource> {
        let kept = self.keeper.0.lock().unwrap();
        let traces = kept.traces.iter().flat_map(|r| &r.resource_spans).map(|r| r.resource.clone());
        let metrics = kept.metrics.iter().flat_map(|r| &r.resource_metrics).map(|r| r.resource.clone());
        let logs = kept.logs.iter().flat_map(|r| &r.resource_logs).map(|r| r.resource.clone());
        traces.chain(metrics).chain(logs).map(Option::unwrap_or_default).collect()
    }

    /// Whether a text is anywhere in what came. Protobuf keeps texts as they are.
    #[must_use]
    pub fn holds(&self, text: &str) -> bool {
        let kept = self.keeper.0.lock().unwrap();
        let traces = kept.traces.iter().map(Message::encode_to_vec);
        let metrics = kept.metrics.iter().map(Message::encode_to_vec);
        let logs = kept.logs.iter().map(Message::encode_to_vec);
        let within = |bytes: Vec<u8>| bytes.windows(text.len()).any(|w| w == text.as_bytes());
        traces.chain(metrics).chain(logs).any(within)
    }
}

/// An attribute's value as text; several are joined by commas.
#[must_use]
pub fn attribute(of: &[KeyValue], name: &str) -> Option<String> {
    of.iter().find(|a| a.key == name).and_then(|a| a.value.as_ref()).map(text)
}

fn text(value: &AnyValue) -> String {
    match &value.value {
        Some(Value::StringValue(s)) => s.clone(),
        Some(Value::BoolValue(b)) => b.to_string(),
        Some(Value::IntValue(n)) => n.to_string(),
        Some(Value::DoubleValue(n)) => n.to_string(),
        Some(Value::ArrayValue(all)) => all.values.iter().map(text).collect::<Vec<_>>().join(","),
        other => format!("{other:?}"),
    }
}

/// An id as a `traceparent` has it.
#[must_use]
pub fn hex(id: &[u8]) -> String {
    id.iter().map(|b| format!("{b:02x}")).collect()
}
