//! What the outside sees.

use std::path::PathBuf;

use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use super::S;
use crate::config::kinds::{address, duration, flag, number, one_of, path, some_of, text, texts, url};
use crate::config::written::Section;
use crate::config::{Admin, DEFAULT_LOG, Metrics, Telemetry};

pub(super) fn telemetry(s: &Section<'_>) -> Telemetry {
    let log = s.get(
        "log",
        text(),
        &format!("{DEFAULT_LOG:?}"),
        "What is logged to standard error: a level, or directives such as `info,understudy_gateway=debug`.",
    );
    if let Err(why) = EnvFilter::try_new(&log) {
        s.blame("log", &log, format!("must be a level or directives: {why}"));
    }
    // Read as a target, it would leave nothing to be logged.
    let no_level = |d: &&str| !d.contains(['=', '[']) && d.parse::<LevelFilter>().is_err();
    if let Some(word) = log.split(',').map(str::trim).filter(|d| !d.is_empty()).find(no_level) {
        s.blame("log", &log, format!("{word} is no level (off, error, warn, info, debug, trace); a target has one, as in {word}=debug"));
    }
    Telemetry {
        log,
        json: s.get("format", one_of(&["text", "json"]), "\"text\"", "For people or for programs.") == "json",
        endpoint: s
            .optional("endpoint", url(), "Where traces, metrics and events go over OTLP; by default `$OTEL_EXPORTER_OTLP_ENDPOINT`, else nowhere. Headers that it wants, such as a key, are taken from `$OTEL_EXPORTER_OTLP_HEADERS` (`name=value,…`).")
            .or_else(standard_endpoint),
        http: match s.optional("protocol", one_of(&["grpc", "http/protobuf"]), "`grpc` or `http/protobuf`; by default `$OTEL_EXPORTER_OTLP_PROTOCOL`, else grpc.") {
            Some(protocol) => protocol != "grpc",
            None => std::env::var("OTEL_EXPORTER_OTLP_PROTOCOL").is_ok_and(|p| p == "http/protobuf"),
        },
        ca_file: s
            .optional("ca_file", path(), "Certificates in PEM that are trusted there, in place of the system's; by default `$OTEL_EXPORTER_OTLP_CERTIFICATE`.")
            .or_else(standard_authority),
        signals: s.get("signals", some_of(&["traces", "metrics", "logs"]), "[\"traces\", \"metrics\", \"logs\"]", "What is sent there. Jaeger takes traces only, and refuses the others again and again."),
        sample: s.get("sample", number(0.0..=1.0), "1.0", "The share of traces that begin here which are kept, beside all with a fallback, a demotion or an error; one that the agent began follows the agent's choice."),
        old_names: s.get("old_names", flag(), "false", "Adds the names that older tools know (`gen_ai.system`, `gen_ai.client.operation.duration`)."),
        every: s.get("every", duration(S(1)..=S(3600)), "\"15s\"", "How often metrics are sent."),
    }
}

/// What OpenTelemetry's own variables say: every program in a pod may have them, so
/// none of their values is a mistake of ours.
fn standard_endpoint() -> Option<String> {
    let said = std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok()?;
    let insecure = std::env::var("OTEL_EXPORTER_OTLP_INSECURE").is_ok_and(|v| v.eq_ignore_ascii_case("true"));
    endpoint(&said, insecure)
}

/// Whom its variables trust.
fn standard_authority() -> Option<PathBuf> {
    std::env::var_os("OTEL_EXPORTER_OTLP_CERTIFICATE").filter(|file| !file.is_empty()).map(PathBuf::from)
}

/// The URL that such an endpoint means. One without a scheme is behind TLS, unless it is
/// said to be insecure; or it is on this machine, where nobody has a certificate.
fn endpoint(said: &str, insecure: bool) -> Option<String> {
    let said = said.trim().trim_end_matches('/');
    if said.is_empty() || said.contains("://") {
        return (!said.is_empty()).then(|| said.to_owned());
    }
    let plain = format!("http://{said}");
    let on_this_machine = reqwest::Url::parse(&plain).is_ok_and(|url| {
        let host = url.host_str().unwrap_or_default();
        host == "localhost" || host == "[::1]" || host.starts_with("127.")
    });
    Some(if insecure || on_this_machine { plain } else { format!("https://{said}") })
}

pub(super) fn admin(s: &Section<'_>) -> Admin {
    let listen = s.get(
        "listen",
        address(),
        "\"127.0.0.1:0\"",
        "Where it listens, on loopback only; the command line finds the port in the state folder.",
    );
    if let Some(address) = listen.filter(|a| !a.ip().is_loopback()) {
        s.blame("listen", address.to_string(), "must be loopback: the admin API is never exposed");
    }
    Admin {
        listen,
        hosts: s.get(
            "hosts",
            texts(),
            "[]",
            "Names, beside loopback's own, that a request's Host and Origin may carry.",
        ),
    }
}

pub(super) fn metrics(s: &Section<'_>) -> Metrics {
    Metrics {
        enabled: s.get("enabled", flag(), "true", "Serves them."),
        listen: s.get(
            "listen",
            address(),
            "\"127.0.0.1:4143\"",
            "Where; a pod's scraper needs 0.0.0.0, which is safe here.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_of_opentelemetrys_own_variable_needs_no_scheme_and_may_end_in_a_slash() {
        for (said, insecure, meant) in [
            ("http://collector:4318/", false, Some("http://collector:4318")),
            ("https://collector.test/otlp//", true, Some("https://collector.test/otlp")),
            ("localhost:4317", false, Some("http://localhost:4317")),
            ("127.0.0.1:4317/", false, Some("http://127.0.0.1:4317")),
            ("[::1]:4317", false, Some("http://[::1]:4317")),
            ("collector.test:4317", false, Some("https://collector.test:4317")),
            ("collector.test:4317", true, Some("http://collector.test:4317")),
            ("localhost.test", false, Some("https://localhost.test")),
            (" ", false, None),
            ("/", false, None),
        ] {
            assert_eq!(endpoint(said, insecure).as_deref(), meant, "{said}");
        }
    }
}
