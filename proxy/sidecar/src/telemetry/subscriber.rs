//! Where the program's own `tracing` goes: events to standard error, and, where
//! OTLP is on, spans with the events in them to the collector.
//!
//! Our spans are for OTLP alone. Without it every filter refuses them when it
//! first sees them, and `tracing` remembers that for each place in the code: a
//! span then costs one comparison. Log lines never carry them.

use opentelemetry_sdk::trace::SdkTracer;
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterFn, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Mistake, Telemetry};
use crate::failure::Failure;

/// How every target of ours begins; a collector gets nothing of what libraries
/// say, the exporter's own included.
const OURS: &str = "understudy";

/// Fields that hold the text of an error. It may quote what could not be read,
/// so an event with one of them stays in the log.
const TEXTS: [&str; 2] = ["error", "problem"];

/// Becomes the process's subscriber; a second time it changes nothing.
///
/// # Errors
/// When the directives make no sense.
pub(super) fn install(config: &Telemetry, spans: Option<SdkTracer>) -> Result<(), Failure> {
    let _ = tracing_subscriber::registry().with(spans.map(exported)).with(lines(config)?).try_init();
    Ok(())
}

/// The log.
///
/// # Errors
/// When the directives make no sense.
pub(super) fn lines<S>(config: &Telemetry) -> Result<impl Layer<S> + use<S>, Failure>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    use tracing_subscriber::filter::FilterExt as _;

    let wanted = EnvFilter::try_new(&config.log).map_err(|e| {
        Failure::Config(vec![Mistake {
            key: "telemetry.log".into(),
            value: config.log.clone(),
            rule: format!("must be a level or directives: {e}"),
        }])
    })?;
    let colour = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour);
    let lines = if config.json { lines.json().boxed() } else { lines.boxed() };
    // With a hint, so that the directives' own level still keeps the rest away early.
    let not_our_spans = filter_fn(|m| !(m.is_span() && is_ours(m))).with_max_level_hint(LevelFilter::TRACE);
    Ok(lines.with_filter(wanted.and(not_our_spans)))
}

/// Our spans, and the events in them, as spans of OpenTelemetry.
pub(super) fn exported<S>(tracer: SdkTracer) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let wanted: FilterFn = filter_fn(|m| is_ours(m) && !m.fields().iter().any(|f| TEXTS.contains(&f.name())));
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(wanted.with_max_level_hint(LevelFilter::INFO))
}

fn is_ours(of: &Metadata<'_>) -> bool {
    of.target().starts_with(OURS)
}
