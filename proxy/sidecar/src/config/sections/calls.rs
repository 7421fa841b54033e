//! How calls come in, where they go, and what is recorded of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use understudy_capture::JournalConfig;
use understudy_gateway::{GatewayConfig, Limits, Provider};

use super::S;
use crate::config::kinds::{addresses, bytes, duration, flag, path, prefixes, text, texts, url, whole};
use crate::config::written::{Section, Written};
use crate::config::{Capture, Prices};

/// Limits and addresses; the providers come from their own sections.
pub(super) fn gateway(s: &Section<'_>) -> (GatewayConfig, Duration) {
    let listen = s.get(
        "listen",
        addresses(),
        "[\"127.0.0.1:4141\"]",
        "Where agents connect; port 0 takes a free one.",
    );
    let exposed = s.get("exposed", flag(), "false", "Allows an address that is not loopback. Whoever reaches it can spend whatever key they bring, and nothing else; still, put it behind something.");
    for address in listen.iter().filter(|a| !a.ip().is_loopback() && !exposed) {
        s.blame("listen", address.to_string(), "is not loopback: write exposed = true if that is meant");
    }
    let ms = Duration::from_millis;
    let wait = || duration(ms(1)..=S(86_400));
    let limits = Limits {
        request_body: s.get("request_body", bytes(1 << 10..=1 << 40), "\"1 GiB\"", "The largest request body. Bodies stream and are not held, so this only stops a runaway: OpenAI takes files of 512 MiB."),
        request_head: size(s.get("request_head", bytes(1 << 10..=1 << 20), "\"64 KiB\"", "The largest request head; keys, traces and cookies fit many times over.")),
        connections: size(s.get("connections", whole(1..=1_000_000), "4096", "Connections from agents at once; one more is answered 503.")),
        connect: s.get("connect", wait(), "\"10s\"", "To connect to a provider, TLS included; the SDKs give up after 5 to 10 s."),
        provider_read: s.get("provider_read", wait(), "\"1h\"", "The longest silence of a provider within a call, the first byte included. Longer than the SDKs wait: an agent that gives up hangs up, which ends the call."),
        provider_write: s.get("provider_write", wait(), "\"60s\"", "For a provider to take bytes that are offered to it."),
        provider_idle: s.get("provider_idle", wait(), "\"50s\"", "How long an unused connection to a provider is kept; under the provider's own limit, since a call sent on a dead one cannot be repeated."),
        provider_pool: size(s.get("provider_pool", whole(1..=100_000), "512", "Unused connections that are kept.")),
        agent_head: s.get("agent_head", wait(), "\"30s\"", "For an agent to send a request's head."),
        agent_read: s.get("agent_read", wait(), "\"60s\"", "Between two reads of a request's body."),
        agent_write: s.get("agent_write", wait(), "\"10m\"", "For an agent to take bytes that are there."),
        agent_idle: s.get("agent_idle", wait(), "\"5m\"", "How long an agent's unused connection is kept; over the SDKs' own pools, so that they close first."),
        ..Limits::default()
    };
    let config = GatewayConfig {
        listen,
        limits,
        threads: size(s.get(
            "threads",
            whole(0..=256),
            "0",
            "Threads that carry calls; 0 takes one a core, at most four.",
        )),
        conversation_header: s.get(
            "conversation_header",
            text(),
            "\"x-understudy-conversation\"",
            "The request header that names the conversation, where the agent sends one.",
        ),
        ask_threads: size(s.get(
            "ask_threads",
            whole(1..=64),
            "1",
            "Threads that wait for understudies and ask the provider in audits.",
        )),
        audits: size(s.get(
            "audits",
            whole(1..=10_000),
            "16",
            "Audits under way at once; one more is dropped and counted.",
        )),
        ..GatewayConfig::default()
    };
    (
        config,
        s.get(
            "drain",
            duration(S(0)..=S(3600)),
            "\"30s\"",
            "How long calls in flight may take when the process is told to end.",
        ),
    )
}

/// A size that fits this machine.
pub(in crate::config) fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

pub(super) const PROVIDER_KEYS: &[&str] =
    &["base_url", "prefixes", "hosts", "ca_file", "http2", "train", "train_terms"];

/// Name, base URL, prefixes, host.
pub(super) type BuiltIn = (&'static str, &'static str, &'static str, &'static str);

pub(super) const BUILT_IN: &[BuiltIn] = &[
    ("openai", "https://api.openai.com/v1", "[\"/v1\", \"/openai/v1\", \"/openai\"]", "[\"api.openai.com\"]"),
    ("anthropic", "https://api.anthropic.com", "[\"/anthropic\"]", "[\"api.anthropic.com\"]"),
    (
        "google",
        "https://generativelanguage.googleapis.com",
        "[\"/google\"]",
        "[\"generativelanguage.googleapis.com\"]",
    ),
];

/// What the providers' sections mean.
pub(super) struct Providers {
    pub(super) all: Vec<Provider>,
    pub(super) train: BTreeMap<String, Option<String>>,
    pub(super) prices: Prices,
}

pub(super) fn providers(written: &Written) -> Providers {
    let mut names = written.names("providers", PROVIDER_KEYS);
    names.extend(BUILT_IN.iter().map(|b| b.0.to_owned()));
    let mut found = Providers { all: Vec::new(), train: BTreeMap::new(), prices: Prices::listed() };
    for name in names {
        let section = written.named("providers", &name);
        let (provider, train, terms) = provider(&name, &section, BUILT_IN.iter().find(|b| b.0 == name));
        found.prices.read(&name, &section);
        if train {
            found.train.insert(name, terms);
        }
        found.all.push(provider);
    }
    found
}

/// One provider, whether its replies may be trained on, and by which terms.
pub(super) fn provider(
    name: &str,
    s: &Section<'_>,
    built_in: Option<&BuiltIn>,
) -> (Provider, bool, Option<String>) {
    let about_url = "Where its API lives, as its SDK's base URL has it; it takes the prefix's place.";
    let base_url = match built_in {
        Some(b) => s.get("base_url", url(), &format!("{:?}", b.1), about_url),
        None => s.required("base_url", url(), about_url),
    };
    let own_prefix = format!("[\"/{name}\"]");
    let prefixes = s.get(
        "prefixes",
        prefixes(),
        built_in.map_or(own_prefix.as_str(), |b| b.2),
        "Paths that mean this provider; the longest wins.",
    );
    let hosts = s.get(
        "hosts",
        texts(),
        built_in.map_or("[]", |b| b.3),
        "Values of the Host header that mean this provider, before any prefix.",
    );
    let ca_file = s.optional(
        "ca_file",
        path(),
        "Certificates in PEM to trust beside the system's, for this provider only.",
    );
    if let Some(file) = ca_file.as_deref().filter(|f| !f.is_file()) {
        s.blame("ca_file", file.display().to_string(), "no such file");
    }
    let http2 = s.get("http2", flag(), "true", "Speaks HTTP/2 where the provider offers it.");
    let train = s.get("train", flag(), "false", "Permits training a model on this provider's replies. Its terms may forbid that, so only you can say.");
    let terms = s.optional("train_terms", text(), "The terms that this rests on, in your words: kept in the audit log and with every model that is trained.");
    (Provider { name: name.to_owned(), base_url, prefixes, hosts, ca_file, http2 }, train, terms)
}

pub(super) fn capture(s: &Section<'_>, state: &Path) -> Capture {
    let enabled = s.get("enabled", flag(), "true", "Records calls. Without it nothing rehearses.");
    let mut journal = JournalConfig {
        dir: s
            .optional(
                "dir",
                path(),
                "The journal; by default `journal` in the state folder. One process owns it.",
            )
            .unwrap_or_else(|| state.join("journal")),
        volume_bytes: s.get(
            "volume_bytes",
            bytes(1 << 20..=1 << 36),
            "\"64 MiB\"",
            "The size at which the next volume begins; small enough that one opens in under a second.",
        ),
        keep_bytes: s.get(
            "keep_bytes",
            bytes(1 << 20..=1 << 46),
            "\"4 GiB\"",
            "The size of the whole journal; beyond it the oldest volumes go.",
        ),
        queue_bytes: size(s.get(
            "queue_bytes",
            bytes(1 << 16..=1 << 34),
            "\"8 MiB\"",
            "What may wait to be written. When it is full, exchanges are dropped and counted, never a call.",
        )),
        body_limit: size(s.get(
            "body_limit",
            bytes(1 << 10..=1 << 30),
            "\"4 MiB\"",
            "The largest body that is recorded whole; larger ones are recorded as sizes and timings.",
        )),
        commit_every: s.get(
            "commit_every",
            duration(Duration::from_millis(1)..=S(60)),
            "\"100ms\"",
            "The longest time between an exchange and its fsync.",
        ),
        commit_bytes: size(s.get(
            "commit_bytes",
            bytes(1 << 10..=1 << 30),
            "\"1 MiB\"",
            "A group that is larger is written at once.",
        )),
        redact: s.get(
            "redact",
            flag(),
            "true",
            "Replaces personal data and secrets by stand-ins before anything is written.",
        ),
        free_floor_bytes: s.get(
            "free_floor_bytes",
            bytes(0..=1 << 40),
            "\"32 MiB\"",
            "Nothing is recorded while the disk has less room than this.",
        ),
        ..JournalConfig::default()
    };
    // Only what was chosen can be wrong: the default volume gives way to a small journal.
    if s.raw("volume_bytes").is_none() && journal.keep_bytes < journal.volume_bytes {
        journal.volume_bytes = (journal.keep_bytes / 8).max(1 << 20);
    }
    if journal.keep_bytes < journal.volume_bytes {
        s.blame("keep_bytes", journal.keep_bytes.to_string(), "must be at least capture.volume_bytes");
    }
    Capture { enabled, without_state: false, journal }
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    #[test]
    fn a_small_journal_has_small_volumes_and_one_that_was_chosen_must_fit() {
        let sizes = |text: &str| {
            let journal = parse(text, None, []).map(|config| config.capture.journal);
            journal.map(|j| (j.keep_bytes >> 20, j.volume_bytes >> 20))
        };
        assert_eq!(sizes(""), Ok((4096, 64)));
        assert_eq!(sizes("[capture]\nkeep_bytes = \"64 MiB\"\n"), Ok((64, 64)));
        assert_eq!(sizes("[capture]\nkeep_bytes = \"48 MiB\"\n"), Ok((48, 6)));
        assert_eq!(sizes("[capture]\nkeep_bytes = \"1 MiB\"\n"), Ok((1, 1)));
        let said = sizes("[capture]\nkeep_bytes = \"48 MiB\"\nvolume_bytes = \"64 MiB\"\n").unwrap_err();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].to_string().contains("must be at least capture.volume_bytes"), "{said:?}");
    }
}
