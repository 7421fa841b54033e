//! OTLP over gRPC or HTTP.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
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
use crate::failure::with_sources;

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
    pub(super) fn new(config: &Telemetry, endpoint: &str) -> Result<Self, Problem> {
        let over_tls = endpoint.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
        let authority = config.ca_file.as_deref().filter(|_| over_tls).map(read_authority).transpose()?;
        if config.http {
            Self::over_http(endpoint, authority.as_deref())
        } else {
            Self::over_grpc(endpoint, over_tls, authority.as_deref())
        }
    }

    fn over_http(endpoint: &str, authority: Option<&[u8]>) -> Result<Self, Problem> {
        let mut client = reqwest::Client::builder().timeout(TIMEOUT);
        if let Some(pem) = authority {
            client = client.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem)?);
        }
        let http = Http {
            handle: tokio::runtime::Handle::try_current()?,
            client: client.build()?,
            told: Arc::default(),
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

    fn over_grpc(endpoint: &str, over_tls: bool, authority: Option<&[u8]>) -> Result<Self, Problem> {
        // The exporters' own TLS trusts nobody: whom it is to trust has to be named.
        let tls = over_tls.then(|| match authority {
            Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
            None => ClientTlsConfig::new().with_enabled_roots(),
        });
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

/// The certificates of a file, as they are written in it.
fn read_authority(file: &Path) -> Result<Vec<u8>, Problem> {
    let pem = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    if reqwest::Certificate::from_pem_bundle(&pem)?.is_empty() {
        return Err(format!("{} has no certificate in PEM", file.display()).into());
    }
    Ok(pem)
}

/// Sets them up, inside a Tokio runtime.
///
/// # Errors
/// Why they cannot be had.
pub(super) fn providers(config: &Telemetry, endpoint: &str) -> Result<Providers, Problem> {
    let Exporters { spans, metrics, logs } = Exporters::new(config, endpoint)?;
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
    /// Why the last request had no answer; nothing where it had one.
    told: Arc<Mutex<String>>,
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
        let (client, told) = (self.client.clone(), Arc::clone(&self.told));
        let sending = self.handle.spawn(async move {
            // A URL may have a password in it: no error names it.
            let reply = client.execute(request.try_into()?).await.map_err(reqwest::Error::without_url)?;
            let mut response = Response::builder().status(reply.status());
            for (name, value) in reply.headers() {
                response = response.header(name, value);
            }
            let body = reply.bytes().await.map_err(reqwest::Error::without_url)?;
            Ok::<_, HttpError>(response.body(body)?)
        });
        Box::pin(async move {
            let answer = sending.await?;
            tell(&told, answer.as_ref().err());
            answer
        })
    }
}

/// Logs why there was no answer, which the exporters keep to themselves: once, until there
/// is one or another reason, for each export is tried several times.
fn tell(told: &Mutex<String>, failed: Option<&HttpError>) {
    let why = failed.map(|error| with_sources(&**error)).unwrap_or_default();
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    if !why.is_empty() && *told != why {
        tracing::warn!(problem = why, "the collector does not answer");
    }
    *told = why;
}
