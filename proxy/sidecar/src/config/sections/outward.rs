//! What the outside sees.

use super::S;
use crate::config::kinds::{address, duration, flag, number, one_of, some_of, text, texts, url};
use crate::config::written::Section;
use crate::config::{Admin, DEFAULT_LOG, Metrics, Telemetry};

pub(super) fn telemetry(s: &Section<'_>) -> Telemetry {
    Telemetry {
        log: s.get("log", text(), &format!("{DEFAULT_LOG:?}"), "What is logged to standard error: a level, or directives such as `info,understudy_gateway=debug`."),
        json: s.get("format", one_of(&["text", "json"]), "\"text\"", "For people or for programs.") == "json",
        endpoint: s
            .optional("endpoint", url(), "Where traces, metrics and events go over OTLP; by default `$OTEL_EXPORTER_OTLP_ENDPOINT`, else nowhere.")
            .or_else(|| std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok().filter(|e| !e.is_empty())),
        http: match s.optional("protocol", one_of(&["grpc", "http/protobuf"]), "`grpc` or `http/protobuf`; by default `$OTEL_EXPORTER_OTLP_PROTOCOL`, else grpc.") {
            Some(protocol) => protocol != "grpc",
            None => std::env::var("OTEL_EXPORTER_OTLP_PROTOCOL").is_ok_and(|p| p == "http/protobuf"),
        },
        signals: s.get("signals", some_of(&["traces", "metrics", "logs"]), "[\"traces\", \"metrics\", \"logs\"]", "What is sent there. Jaeger takes traces only, and refuses the others again and again."),
        sample: s.get("sample", number(0.0..=1.0), "1.0", "The share of traces that begin here which are kept, beside all with a fallback or an error; one that the agent began follows the agent's choice."),
        old_names: s.get("old_names", flag(), "false", "Adds the names that older tools know (`gen_ai.system`, `gen_ai.client.operation.duration`)."),
        every: s.get("every", duration(S(1)..=S(3600)), "\"15s\"", "How often metrics are sent."),
    }
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
