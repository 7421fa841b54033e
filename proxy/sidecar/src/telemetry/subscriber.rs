//! Where the program's own `tracing` goes: events to standard error, and, where
//! OTLP is on, spans with the events in them to the collector.
//!
//! Our spans are for OTLP alone. Without it every filter refuses them when it
//! first sees them, and `tracing` remembers that for each place in the code: a
//! span then costs one comparison. Log lines never carry them.
//!
//! What libraries say below `info` is never logged, whatever the directives ask for:
//! pingora's and h2's debug lines show heads with their keys, and bodies.

use opentelemetry_sdk::trace::SdkTracer;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
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
    let fit = filter_fn(is_fit_for_the_log).with_max_level_hint(LevelFilter::TRACE);
    Ok(lines.with_filter(wanted.and(fit)))
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

fn is_fit_for_the_log(of: &Metadata<'_>) -> bool {
    if is_ours(of) { !of.is_span() } else { *of.level() <= Level::INFO }
}

fn is_ours(of: &Metadata<'_>) -> bool {
    of.target().starts_with(OURS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libraries_say_below_info_is_not_logged_whatever_is_asked_for() {
        for log in ["debug", "trace", "info,pingora_core=trace,h2=debug,hyper=debug,rustls=trace"] {
            let config = Telemetry { log: log.into(), ..Telemetry::default() };
            let lines = tracing_subscriber::registry().with(lines(&config).unwrap());
            tracing::subscriber::with_default(lines, || {
                assert!(
                    !tracing::enabled!(target: "pingora_core::protocols::http::v1::client", Level::DEBUG)
                );
                assert!(!tracing::enabled!(target: "pingora_proxy::proxy_h1", Level::TRACE));
                assert!(!tracing::enabled!(target: "h2::codec::framed_write", Level::DEBUG));
                assert!(!tracing::enabled!(target: "hyper::proto::h1::io", Level::DEBUG));
                assert!(!tracing::enabled!(target: "rustls::client::hs", Level::TRACE));
                // The bridge's own target, of what `log` carries.
                assert!(!tracing::enabled!(target: "log", Level::DEBUG));
                assert!(tracing::enabled!(target: "pingora_core::server", Level::INFO), "{log}");
            });
        }
    }

    #[test]
    fn our_own_debug_lines_are_logged_where_they_are_asked_for() {
        let config = Telemetry { log: "debug".into(), ..Telemetry::default() };
        let lines = tracing_subscriber::registry().with(lines(&config).unwrap());
        tracing::subscriber::with_default(lines, || {
            assert!(tracing::enabled!(target: "understudy_gateway::proxy", Level::DEBUG));
            assert!(!tracing::enabled!(target: "understudy_gateway::proxy", Level::TRACE));
        });
    }
}
