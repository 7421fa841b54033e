//! OTLP over gRPC or HTTP.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{
    LogExporter, MetricExporter, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
    WithTonicConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{SdkTracerProvider, TracerProviderBuilder};

use super::ids::Ids;
use super::sampling::sampler;
use crate::config::Telemetry;

/// How long one export may take; a collector that is away must not hold up the end.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where spans, metrics and events go.
pub(super) struct Providers {
    pub(super) traces: SdkTracerProvider,
    pub(super) metrics: SdkMeterProvider,
    pub(super) logs: SdkLoggerProvider,
}

impl Providers {
    /// Sends what is left, all at once: a collector that is away takes one
    /// timeout of the end and not three.
    pub(super) fn end(&self) {
        let tell = |done: OTelSdkResult| {
            if let Err(problem) = done {
                tracing::warn!(%problem, "telemetry that was left could not be sent");
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| tell(self.metrics.shutdown_with_timeout(TIMEOUT)));
            scope.spawn(|| tell(self.logs.shutdown_with_timeout(TIMEOUT)));
            tell(self.traces.shutdown_with_timeout(TIMEOUT));
        });
    }
}

/// Why there is no way to a collector.
pub(super) type Problem = Box<dyn std::error::Error + Send + Sync>;

/// What sends the three signals.
pub(super) struct Exporters {
    spans: SpanExporter,
    metrics: MetricExporter,
    logs: LogExporter,
}

impl Exporters {
    /// Makes them, inside a Tokio runtime; nobody is called yet.
    ///
    /// # Errors
    /// Why they cannot be had.
    pub(super) fn new(http: bool, endpoint: &str) -> Result<Self, Problem> {
        if http { Self::over_http(endpoint) } else { Self::over_grpc(endpoint) }
    }

    fn over_http(endpoint: &str) -> Result<Self, Problem> {
        let http = Http {
            handle: tokio::runtime::Handle::try_current()?,
            client: reqwest::Client::builder().timeout(TIMEOUT).build()?,
        };
        macro_rules! exporter {
            ($kind:ident, $path:literal) => {
                $kind::builder()
                    .with_http()
                    .with_http_client(http.clone())
                    .with_protocol(Protocol::HttpBinary)
                    .with_endpoint(format!("{endpoint}{}", $path))
                    .with_timeout(TIMEOUT)
                    .build()?
            };
        }
        Ok(Self {
            spans: exporter!(SpanExporter, "/v1/traces"),
            metrics: exporter!(MetricExporter, "/v1/metrics"),
            logs: exporter!(LogExporter, "/v1/logs"),
        })
    }

    fn over_grpc(endpoint: &str) -> Result<Self, Problem> {
        // The exporters' own TLS trusts nobody: the system's roots have to be named.
        let over_tls = endpoint.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
        let tls = over_tls.then(|| ClientTlsConfig::new().with_enabled_roots());
        macro_rules! exporter {
            ($kind:ident) => {{
                // Named, or a variable of the agent's could ask this one for HTTP.
                let builder = $kind::builder().with_tonic().with_protocol(Protocol::Grpc);
                let builder = builder.with_endpoint(endpoint).with_timeout(TIMEOUT);
                match &tls {
                    Some(tls) => builder.with_tls_config(tls.clone()).build()?,
                    None => builder.build()?,
                }
            }};
        }
        Ok(Self {
            spans: exporter!(SpanExporter),
            metrics: exporter!(MetricExporter),
            logs: exporter!(LogExporter),
        })
    }
}

/// Sets them up, inside a Tokio runtime.
///
/// # Errors
/// Why they cannot be had.
pub(super) fn providers(config: &Telemetry, endpoint: &str) -> Result<Providers, Problem> {
    let Exporters { spans, metrics, logs } = Exporters::new(config.http, endpoint)?;
    let sends = |signal: &str| config.signals.iter().any(|s| s == signal);
    let mut measures = SdkMeterProvider::builder().with_resource(resource());
    if sends("metrics") {
        measures = measures.with_reader(PeriodicReader::builder(metrics).with_interval(config.every).build());
    }
    let mut events = SdkLoggerProvider::builder().with_resource(resource());
    if sends("logs") {
        events = events.with_batch_exporter(logs);
    }
    let traces = |builder: TracerProviderBuilder| {
        if sends("traces") { builder.with_batch_exporter(spans) } else { builder }
    };
    Ok(Providers { traces: tracer(config, traces), metrics: measures.build(), logs: events.build() })
}

/// A tracer provider with our ids and our sampling.
pub(super) fn tracer(
    config: &Telemetry,
    exporter: impl FnOnce(TracerProviderBuilder) -> TracerProviderBuilder,
) -> SdkTracerProvider {
    exporter(SdkTracerProvider::builder())
        .with_resource(resource())
        .with_sampler(sampler(config.sample))
        .with_id_generator(Ids::default())
        .build()
}

fn resource() -> Resource {
    // `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` are read by the builder and win.
    let named = std::env::var_os("OTEL_SERVICE_NAME").is_some();
    let builder =
        Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if named { builder.build() } else { builder.with_service_name("understudy").build() }
}

/// Sends on the process's runtime, whatever thread asks.
#[derive(Debug, Clone)]
struct Http {
    handle: tokio::runtime::Handle,
    client: reqwest::Client,
}

impl HttpClient for Http {
    fn send_bytes<'s, 'f>(
        &'s self,
        request: Request<Bytes>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        let client = self.client.clone();
        let sending = self.handle.spawn(async move {
            let reply = client.execute(request.try_into()?).await?;
            let mut response = Response::builder().status(reply.status());
            for (name, value) in reply.headers() {
                response = response.header(name, value);
            }
            let body = reply.bytes().await?;
            Ok::<_, HttpError>(response.body(body)?)
        });
        Box::pin(async move { sending.await? })
    }
}
