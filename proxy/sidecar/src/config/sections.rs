//! Every key, once: name, kind, default, text.

mod calls;
mod outward;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use understudy_policy::TaskPolicy;

use super::kinds::{duration, path, url};
use super::written::{Section, Written};
use super::{Config, PolicySource, policy, prices};
use calls::{capture, gateway, provider, providers};
use outward::{admin, metrics, telemetry};
use work::{engine, model, remote, remotes, specialise, worker};

/// The sections in the order of the document.
pub(super) const TITLES: &[(&str, &str)] = &[
    ("state", "Folders."),
    ("gateway", "How calls come in, and how long anything may take."),
    (
        "providers.NAME",
        "Where calls go. `openai` (paths under `/v1`, `/openai/v1` and `/openai`), `anthropic` (`/anthropic`) and \
         `google` (`/google`) are built in, with their own addresses, and may be changed here; any other name is a \
         provider of your own. A call goes to the provider whose host it names, else to the one with the longest \
         matching prefix, whose place the base URL's path takes.",
    ),
    ("providers.NAME.prices.NAME", "What a model of this provider costs; the second NAME is the model's."),
    ("capture", "What is recorded, and how much of it is kept."),
    ("keys", "The key that seals the journal. Without a key nothing is recorded, and calls still flow."),
    ("engine", "The process in which small models run."),
    ("model", "The small models."),
    ("worker", "The rehearsal in the background."),
    ("specialise", "Training that begins by itself. By hand it is `understudy specialise TASK`."),
    ("policy", "When a task is promoted and demoted. The unit of evidence is the conversation."),
    (
        "tasks.NAME",
        "The same keys for one task, by its name or id; what is not written comes from `[policy]`.",
    ),
    (
        "remote.NAME",
        "An understudy behind any OpenAI-compatible server, the provider's own smaller model included.",
    ),
    (
        "telemetry",
        "Logs, and traces, metrics and events over OTLP. Prompts and replies never enter any of them.",
    ),
    (
        "admin",
        "The API that the command line uses, on loopback, with a token in the state folder (mode 0600).",
    ),
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
    for problem in gateway.problems().into_iter().filter(|p| !written.is_blamed(&p.key)) {
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
    let (admin, metrics) = (admin(&written.section("admin")), metrics(&written.section("metrics")));
    let mut taken = gateway.listen.clone();
    let own = metrics.listen.filter(|_| metrics.enabled);
    for (key, address) in [("admin.listen", admin.listen), ("metrics.listen", own)] {
        let Some(address) = address.filter(|a| a.port() != 0) else { continue };
        if taken.contains(&address) {
            written.blame(key, address.to_string(), "another listener of this configuration has the address");
        }
        taken.push(address);
    }
    let config = Config {
        file,
        gateway,
        drain,
        train: providers.train,
        capture,
        key_file: written
            .section("keys")
            .optional("file", path(), "A file of 64 hexadecimal digits, which are 32 random bytes, made with mode 0600 on the first run; by default `key` in the state folder. Lose it and the journal is lost: it is then not opened, nor is a new key made, until its folder has been moved aside.")
            .unwrap_or_else(|| state.join("key")),
        engine: engine(&written.section("engine"), &cache),
        model: model(&written.section("model"), &cache),
        worker: worker(&written.section("worker")),
        specialise: specialise(&written.section("specialise")),
        policy: base,
        policy_source: policy_source(&written.section("policy")),
        tasks,
        remotes: remotes(written, &providers.prices),
        telemetry: telemetry(&written.section("telemetry")),
        admin,
        metrics,
        prices: providers.prices,
        state,
        cache,
    };
    let remotes = config.remotes.iter().filter_map(|r| r.key_env.as_ref());
    config.engine.key_env.iter().chain(remotes).for_each(|name| written.names_variable(name));
    config
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

/// Where policies come from in a cluster.
fn policy_source(s: &Section<'_>) -> Option<PolicySource> {
    let address = s.optional("source", url(), "In a cluster: the injector's URL, `https://injector.namespace.svc`, from which policies come that are laid over this configuration. The injector writes it into each sidecar.");
    let token_file =
        s.optional("token_file", path(), "The pod's token for it, which is read again while it changes.");
    let ca_file =
        s.optional("ca_file", path(), "The authority whose certificate it shows, PEM; read again likewise.");
    let max_age = s.get("max_age", duration(S(1)..=S(365 * 86_400)), "\"1d\"", "How long what it told last goes on holding while it does not answer; then the configuration alone holds.");
    address.map(|url| PolicySource { url, token_file, ca_file, max_age })
}

fn folders(s: &Section<'_>) -> (PathBuf, PathBuf) {
    let home = |key: &str, variable: &str, below: &str| {
        let own = std::env::var_os(variable).map(PathBuf::from).filter(|p| p.is_absolute());
        let found = own.or_else(|| Some(super::home_folder()?.join(below)));
        if found.is_none() {
            // A folder that everybody may write to would do for neither keys nor models.
            s.blame(key, "", format!("is required where neither ${variable} nor $HOME is an absolute path"));
        }
        found.unwrap_or_default().join("understudy")
    };
    let state = s.optional("dir", path(), "Journal, key, admin token and the engine's socket; by default `understudy` in `$XDG_STATE_HOME` (`~/.local/state`).");
    let cache = s.optional("cache", path(), "Models and ONNX Runtime, which can be fetched again; by default `$UNDERSTUDY_CACHE`, else `understudy` in `$XDG_CACHE_HOME` (`~/.cache`).");
    (
        state.unwrap_or_else(|| home("dir", "XDG_STATE_HOME", ".local/state")),
        cache
            .or_else(|| std::env::var_os("UNDERSTUDY_CACHE").map(PathBuf::from))
            .unwrap_or_else(|| home("cache", "XDG_CACHE_HOME", ".cache")),
    )
}
