//! Every key, once: name, kind, default, text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use understudy_capture::JournalConfig;
use understudy_gateway::{GatewayConfig, Limits, Provider};
use understudy_policy::TaskPolicy;

use super::kinds::{
    address, addresses, bytes, duration, flag, number, one_of, path, prefixes, text, texts, url, whole,
};
use super::written::{Section, Written};
use super::{
    Admin, Capture, Config, Engine, Metrics, Model, Prices, Remote, Telemetry, Worker, policy, prices,
};

/// The sections in the order of the document.
pub(super) const TITLES: &[(&str, &str)] = &[
    ("state", "Folders."),
    ("gateway", "How calls come in, and how long anything may take."),
    (
        "providers.NAME",
        "Where calls go. `openai`, `anthropic` and `google` are built in and may be changed here; any other name is a \
         provider of your own. A call goes to the provider whose host it names, else to the one with the longest \
         matching prefix (which is cut off), else to `openai`.",
    ),
    ("providers.NAME.prices.NAME", "What a model of this provider costs; the second NAME is the model's."),
    ("capture", "What is recorded, and how much of it is kept."),
    ("keys", "The key that seals the journal. Without a key nothing is recorded, and calls still flow."),
    ("engine", "The process in which small models run."),
    ("model", "The small models."),
    ("worker", "The rehearsal in the background."),
    ("policy", "When a task is promoted and demoted. The unit of evidence is the conversation."),
    ("tasks.NAME", "The same keys for one task, by its name or id; what is not written comes from `[policy]`."),
    ("remote.NAME", "An understudy behind any OpenAI-compatible server, the provider's own smaller model included."),
    ("telemetry", "Logs, and traces and metrics over OTLP. Prompts and replies never enter either."),
    ("admin", "The API that the command line uses, on loopback, with a token in the state folder (mode 0600)."),
    ("metrics", "Prometheus text at /metrics, with /healthz and /readyz. No content, no token."),
];

const S: fn(u64) -> Duration = Duration::from_secs;

/// Reads everything.
pub(super) fn read(written: &Written, file: Option<PathBuf>) -> Config {
    let (state, cache) = folders(&written.section("state"));
    let (mut gateway, drain) = gateway(&written.section("gateway"));
    let providers = providers(written);
    gateway.providers = providers.all;
    let capture = capture(&written.section("capture"), &state);
    gateway.limits.capture_body = capture.journal.body_limit;
    for problem in gateway.problems() {
        written.blame(problem.key, problem.value, problem.rule);
    }
    let base = task_policy(written, &written.section("policy"), "policy", &TaskPolicy::default());
    let keys = policy::keys(&base);
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut tasks = BTreeMap::new();
    for name in written.names("tasks", &keys) {
        let own = task_policy(written, &written.named("tasks", &name), &format!("tasks.{name}"), &base);
        tasks.insert(name, own);
    }
    Config {
        file,
        gateway,
        drain,
        train: providers.train,
        capture,
        key_file: written
            .section("keys")
            .optional("file", path(), "A file of 32 random bytes, made with mode 0600 on the first run; by default `key` in the state folder. Lose it and the journal is lost.")
            .unwrap_or_else(|| state.join("key")),
        engine: engine(&written.section("engine"), &cache),
        model: model(&written.section("model"), &cache),
        worker: worker(&written.section("worker")),
        policy: base,
        tasks,
        remotes: written.names("remote", REMOTE_KEYS).iter().map(|n| remote(n, &written.named("remote", n))).collect(),
        telemetry: telemetry(&written.section("telemetry")),
        admin: admin(&written.section("admin")),
        metrics: metrics(&written.section("metrics")),
        prices: providers.prices,
        state,
        cache,
    }
}

/// Lists the sections whose names are free. What is required is blamed for
/// being absent; whoever writes the document does not ask.
pub(super) fn explain_named(written: &Written) {
    let providers = written.named("providers", "NAME");
    provider("NAME", &providers, None);
    prices::one(&providers.inner("prices", "MODEL"));
    remote("NAME", &written.named("remote", "NAME"));
    policy::overlay(&written.named("tasks", "NAME"), &TaskPolicy::default());
}

/// The rules of promotion that a section makes of others.
fn task_policy(written: &Written, section: &Section<'_>, name: &str, base: &TaskPolicy) -> TaskPolicy {
    let found = policy::overlay(section, base);
    for (key, problem) in found.validate() {
        written.blame(format!("{name}.{key}"), "", problem);
    }
    found
}

fn folders(s: &Section<'_>) -> (PathBuf, PathBuf) {
    let home = |variable: &str, below: &str| {
        let own = std::env::var_os(variable).map(PathBuf::from).filter(|p| p.is_absolute());
        own.or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(below)))
            .unwrap_or_else(std::env::temp_dir)
            .join("understudy")
    };
    let state = s.optional("dir", path(), "Journal, key, admin token and the engine's socket; by default `understudy` in `$XDG_STATE_HOME` (`~/.local/state`).");
    let cache = s.optional("cache", path(), "Models and ONNX Runtime, which can be fetched again; by default `$UNDERSTUDY_CACHE`, else `understudy` in `$XDG_CACHE_HOME` (`~/.cache`).");
    (
        state.unwrap_or_else(|| home("XDG_STATE_HOME", ".local/state")),
        cache
            .or_else(|| std::env::var_os("UNDERSTUDY_CACHE").map(PathBuf::from))
            .unwrap_or_else(|| home("XDG_CACHE_HOME", ".cache")),
    )
}

/// Limits and addresses; the providers come from their own sections.
fn gateway(s: &Section<'_>) -> (GatewayConfig, Duration) {
    let listen = s.get("listen", addresses(), "[\"127.0.0.1:4141\"]", "Where agents connect; port 0 takes a free one.");
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
        provider_read: s.get("provider_read", wait(), "\"10m\"", "The longest silence of a provider within a call, the first byte included; the SDKs wait as long."),
        provider_write: s.get("provider_write", wait(), "\"60s\"", "For a provider to take bytes that are offered to it."),
        provider_idle: s.get("provider_idle", wait(), "\"50s\"", "How long an unused connection to a provider is kept; under the provider's own limit, since a call sent on a dead one cannot be repeated."),
        provider_pool: size(s.get("provider_pool", whole(1..=100_000), "512", "Unused connections that are kept.")),
        agent_head: s.get("agent_head", wait(), "\"30s\"", "For an agent to send a request's head."),
        agent_read: s.get("agent_read", wait(), "\"60s\"", "Between two reads of a request's body."),
        agent_write: s.get("agent_write", wait(), "\"10m\"", "For an agent to take bytes; as long as a provider may pause."),
        agent_idle: s.get("agent_idle", wait(), "\"5m\"", "How long an agent's unused connection is kept; over the SDKs' own pools, so that they close first."),
        ..Limits::default()
    };
    let config = GatewayConfig {
        listen,
        limits,
        threads: size(s.get("threads", whole(0..=256), "0", "Threads that carry calls; 0 takes one a core, at most four.")),
        conversation_header: s.get("conversation_header", text(), "\"x-understudy-conversation\"", "The request header that names the conversation, where the agent sends one."),
        ask_threads: size(s.get("ask_threads", whole(1..=64), "1", "Threads that wait for understudies and ask the provider in audits.")),
        audits: size(s.get("audits", whole(1..=10_000), "16", "Audits under way at once; one more is dropped and counted.")),
        ..GatewayConfig::default()
    };
    (config, s.get("drain", duration(S(0)..=S(3600)), "\"30s\"", "How long calls in flight may take when the process is told to end."))
}

/// A size that fits this machine.
fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

const PROVIDER_KEYS: &[&str] = &["base_url", "prefixes", "hosts", "ca_file", "http2", "train"];

/// Name, base URL, prefixes, host.
type BuiltIn = (&'static str, &'static str, &'static str, &'static str);

const BUILT_IN: &[BuiltIn] = &[
    ("openai", "https://api.openai.com/v1", "[\"/v1\", \"/openai/v1\", \"/openai\"]", "[\"api.openai.com\"]"),
    ("anthropic", "https://api.anthropic.com", "[\"/anthropic\"]", "[\"api.anthropic.com\"]"),
    ("google", "https://generativelanguage.googleapis.com", "[\"/google\"]", "[\"generativelanguage.googleapis.com\"]"),
];

/// What the providers' sections mean.
struct Providers {
    all: Vec<Provider>,
    train: BTreeSet<String>,
    prices: Prices,
}

fn providers(written: &Written) -> Providers {
    let mut names = written.names("providers", PROVIDER_KEYS);
    names.extend(BUILT_IN.iter().map(|b| b.0.to_owned()));
    let mut found = Providers { all: Vec::new(), train: BTreeSet::new(), prices: Prices::listed() };
    for name in names {
        let section = written.named("providers", &name);
        let (provider, train) = provider(&name, &section, BUILT_IN.iter().find(|b| b.0 == name));
        found.prices.read(&name, &section);
        if train {
            found.train.insert(name);
        }
        found.all.push(provider);
    }
    found
}

/// One provider, and whether its replies may be trained on.
fn provider(name: &str, s: &Section<'_>, built_in: Option<&BuiltIn>) -> (Provider, bool) {
    let about_url = "Where its API lives, as its SDK's base URL has it; it takes the prefix's place.";
    let base_url = match built_in {
        Some(b) => s.get("base_url", url(), &format!("{:?}", b.1), about_url),
        None => s.required("base_url", url(), about_url),
    };
    let own_prefix = format!("[\"/{name}\"]");
    let prefixes = s.get("prefixes", prefixes(), built_in.map_or(own_prefix.as_str(), |b| b.2), "Paths that mean this provider; the longest wins.");
    let hosts = s.get("hosts", texts(), built_in.map_or("[]", |b| b.3), "Values of the Host header that mean this provider, before any prefix.");
    let ca_file = s.optional("ca_file", path(), "Certificates in PEM to trust beside the system's, for this provider only.");
    if let Some(file) = ca_file.as_deref().filter(|f| !f.is_file()) {
        s.blame("ca_file", file.display().to_string(), "no such file");
    }
    let http2 = s.get("http2", flag(), "true", "Speaks HTTP/2 where the provider offers it.");
    let train = s.get("train", flag(), "false", "Permits training a model on this provider's replies. Its terms may forbid that, so only you can say.");
    (Provider { name: name.to_owned(), base_url, prefixes, hosts, ca_file, http2 }, train)
}

fn capture(s: &Section<'_>, state: &Path) -> Capture {
    let enabled = s.get("enabled", flag(), "true", "Records calls. Without it nothing rehearses.");
    let journal = JournalConfig {
        dir: s.optional("dir", path(), "The journal; by default `journal` in the state folder. One process owns it.").unwrap_or_else(|| state.join("journal")),
        volume_bytes: s.get("volume_bytes", bytes(1 << 20..=1 << 36), "\"64 MiB\"", "The size at which the next volume begins; small enough that one opens in under a second."),
        keep_bytes: s.get("keep_bytes", bytes(1 << 20..=1 << 46), "\"4 GiB\"", "The size of the whole journal; beyond it the oldest volumes go."),
        queue_bytes: size(s.get("queue_bytes", bytes(1 << 16..=1 << 34), "\"8 MiB\"", "What may wait to be written. When it is full, exchanges are dropped and counted, never a call.")),
        body_limit: size(s.get("body_limit", bytes(1 << 10..=1 << 30), "\"4 MiB\"", "The largest body that is recorded whole; larger ones are recorded as sizes and timings.")),
        commit_every: s.get("commit_every", duration(Duration::from_millis(1)..=S(60)), "\"100ms\"", "The longest time between an exchange and its fsync."),
        commit_bytes: size(s.get("commit_bytes", bytes(1 << 10..=1 << 30), "\"1 MiB\"", "A group that is larger is written at once.")),
        redact: s.get("redact", flag(), "true", "Replaces personal data and secrets by stand-ins before anything is written."),
        free_floor_bytes: s.get("free_floor_bytes", bytes(0..=1 << 40), "\"32 MiB\"", "Nothing is recorded while the disk has less room than this."),
        ..JournalConfig::default()
    };
    if journal.keep_bytes < journal.volume_bytes {
        s.blame("keep_bytes", journal.keep_bytes.to_string(), "must be at least capture.volume_bytes");
    }
    Capture { enabled, journal }
}

fn engine(s: &Section<'_>, cache: &Path) -> Engine {
    Engine {
        enabled: s.get("enabled", flag(), "true", "Runs small models. Without it only repeats and remote understudies rehearse."),
        address: s.optional("address", url(), "An engine elsewhere (`understudy engine --listen`); by default a child process on a Unix socket."),
        key_env: s.optional("key_env", text(), "The variable that holds that engine's key."),
        threads: s.get("threads", whole(0..=256), "0", "Threads of the engine; 0 takes the machine's cores, less one where there are more than two."),
        queue: s.get("queue", whole(1..=10_000), "8", "Calls that may wait for the model; more are declined as busy."),
        memory_limit: s.get("memory_limit", bytes(1 << 27..=1 << 42), "\"4 GiB\"", "Memory of the engine process; beyond it the engine fails and is started again, and calls go to the provider."),
        nice: s.get("nice", whole(0..=19), "5", "How far the engine gives way to the agent's own processes."),
        hung_after: s.get("hung_after", duration(S(1)..=S(3600)), "\"30s\"", "An engine that does not answer its health check for this long is killed and started again."),
        library: s
            .optional("library", path(), "ONNX Runtime's shared library; by default `$ORT_DYLIB_PATH`, else the newest under `onnxruntime` in the cache.")
            .or_else(|| std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from))
            .or_else(|| newest_library(&cache.join("onnxruntime"))),
    }
}

/// `VERSION/libonnxruntime.so` of the greatest version.
fn newest_library(dir: &Path) -> Option<PathBuf> {
    let number = |name: &str| name.split('.').map(|n| n.parse::<u32>().ok()).collect::<Option<Vec<_>>>();
    std::fs::read_dir(dir)
        .ok()?
        .flatten()
        .filter_map(|e| Some((number(e.file_name().to_str()?)?, e.path().join("libonnxruntime.so"))))
        .filter(|(_, library)| library.is_file())
        .max()
        .map(|(_, library)| library)
}

fn model(s: &Section<'_>, cache: &Path) -> Model {
    let models = cache.join("models");
    Model {
        chat: s.optional("chat", path(), "The language model's folder; by default `models/smollm2-135m-instruct` in the cache, where `understudy model pull` puts it.").unwrap_or_else(|| models.join("smollm2-135m-instruct")),
        embed: s.optional("embed", path(), "The embedder's folder; by default `models/minilm-l6-v2` in the cache.").unwrap_or_else(|| models.join("minilm-l6-v2")),
        allow_non_commercial: s.get("allow_non_commercial", flag(), "false", "Permits a model whose licence forbids commercial use, or does not say."),
    }
}

fn worker(s: &Section<'_>) -> Worker {
    Worker {
        enabled: s.get("enabled", flag(), "true", "Rehearses captured calls."),
        concurrency: s.get("concurrency", whole(1..=64), "1", "Trials at once."),
        busy_share: s.get("busy_share", number(0.01..=1.0), "0.5", "The share of time that trials may take."),
        pause_above: s.get("pause_above", whole(1..=100_000), "8", "Calls in flight at which rehearsal pauses."),
        trial_deadline: s.get("trial_deadline", duration(Duration::from_millis(100)..=S(600)), "\"30s\"", "The time one trial may take."),
        examples: s.get("examples", whole(0..=64), "4", "Earlier exchanges that a prompted understudy is shown."),
        budget_ms: s.optional("budget_ms", number(1.0..=600_000.0), "Milliseconds that an understudy has for a live call; by default the provider's own median for the task."),
        frozen: s.get("frozen", flag(), "false", "Serves on the evidence that the journal holds and learns nothing more: for measuring."),
    }
}

const REMOTE_KEYS: &[&str] = &["base_url", "model", "key_env", "ca_file", "budget_usd", "budget_calls", "tasks"];

fn remote(name: &str, s: &Section<'_>) -> Remote {
    Remote {
        name: name.to_owned(),
        base_url: s.required("base_url", url(), "Its address, with the version (`https://host/v1`)."),
        model: s.required("model", text(), "The model's name there."),
        key_env: s.optional("key_env", text(), "The variable that holds its key; the key itself is never written in a file."),
        ca_file: s.optional("ca_file", path(), "Certificates in PEM beside the system's roots."),
        budget_usd: s.get("budget_usd", number(0.0..=1e6), "0", "US dollars a day, by the price of its model; 0 means no limit in money."),
        budget_calls: s.get("budget_calls", whole(0..=1_000_000_000), "1000", "Calls a day; beyond it the understudy declines (`budget`)."),
        tasks: s.get("tasks", texts(), "[]", "The tasks it may learn, by name or id; none named means all."),
    }
}

fn telemetry(s: &Section<'_>) -> Telemetry {
    Telemetry {
        log: s.get("log", text(), "\"info\"", "What is logged to standard error: a level, or directives such as `info,understudy_gateway=debug`."),
        json: s.get("format", one_of(&["text", "json"]), "\"text\"", "For people or for programs.") == "json",
        endpoint: s
            .optional("endpoint", url(), "Where traces and metrics go over OTLP; by default `$OTEL_EXPORTER_OTLP_ENDPOINT`, else nowhere.")
            .or_else(|| std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok().filter(|e| !e.is_empty())),
        http: match s.optional("protocol", one_of(&["grpc", "http/protobuf"]), "`grpc` or `http/protobuf`; by default `$OTEL_EXPORTER_OTLP_PROTOCOL`, else grpc.") {
            Some(protocol) => protocol != "grpc",
            None => std::env::var("OTEL_EXPORTER_OTLP_PROTOCOL").is_ok_and(|p| p == "http/protobuf"),
        },
        sample: s.get("sample", number(0.0..=1.0), "1.0", "The share of traces that begin here which are kept; one that the agent began follows the agent's choice."),
        old_names: s.get("old_names", flag(), "false", "Adds the names that older tools know (`gen_ai.system`, `gen_ai.client.operation.duration`)."),
        every: s.get("every", duration(S(1)..=S(3600)), "\"15s\"", "How often metrics are sent."),
    }
}

fn admin(s: &Section<'_>) -> Admin {
    let listen = s.get("listen", address(), "\"127.0.0.1:0\"", "Where it listens, on loopback only; the command line finds the port in the state folder.");
    if let Some(address) = listen.filter(|a| !a.ip().is_loopback()) {
        s.blame("listen", address.to_string(), "must be loopback: the admin API is never exposed");
    }
    Admin {
        listen,
        hosts: s.get("hosts", texts(), "[]", "Names, beside loopback's own, that a request's Host and Origin may carry."),
    }
}

fn metrics(s: &Section<'_>) -> Metrics {
    Metrics {
        enabled: s.get("enabled", flag(), "true", "Serves them."),
        listen: s.get("listen", address(), "\"127.0.0.1:4143\"", "Where; a pod's scraper needs 0.0.0.0, which is safe here."),
    }
}
