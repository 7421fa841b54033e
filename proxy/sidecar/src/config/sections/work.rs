//! The small models, where they run, and who else may learn a task.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::S;
use crate::config::kinds::{
    access, bytes, duration, engine_address, execution_providers, flag, number, path, sharing, text, texts,
    url, whole,
};
use crate::config::written::{Section, Written};
use crate::config::{Engine, MOST_MINUTES, Model, Prices, Remote, Specialise, Worker};

pub(super) fn engine(s: &Section<'_>, cache: &Path) -> Engine {
    let found = keys(s, cache);
    if found.tls_cert.is_some() != found.tls_key.is_some() {
        let (given, missing) =
            if found.tls_cert.is_some() { ("tls_cert", "tls_key") } else { ("tls_key", "tls_cert") };
        s.blame(given, "given".to_owned(), format!("needs {missing} beside it"));
    }
    if let (Some(access), None) = (&found.access, &found.audience) {
        let given = format!("{}/{}", access.namespace, access.name);
        s.blame("access", given, "needs audience beside it: whose token is not reviewed has no account");
    }
    if found.token_file.is_some() && found.key_env.is_some() {
        s.blame("token_file", "given".to_owned(), "contradicts key_env: keep one of them");
    }
    found
}

fn keys(s: &Section<'_>, cache: &Path) -> Engine {
    Engine {
        enabled: s.get("enabled", flag(), "true", "Runs small models in a child process, where there is no `address`. Without either only remote understudies rehearse; all others need the embedder."),
        address: s.optional("address", engine_address(), "An engine elsewhere (`understudy engine --listen`); by default a child process on a Unix socket."),
        key_env: s.optional("key_env", text(), "The variable that holds that engine's key."),
        token_file: s.optional("token_file", path(), "The file with the token that says to that engine who we are, such as a pod's; read again while it changes. Instead of `key_env`."),
        ca_file: s.optional("ca_file", path(), "The file with the one certificate authority (PEM) whose certificate that engine may show; read again while it changes. By default the system's."),
        tls_cert: s.optional("tls_cert", path(), "For `understudy engine --listen`: the certificate (PEM) that it shows; read again while it changes. Without it the engine speaks plain HTTP."),
        tls_key: s.optional("tls_key", path(), "The certificate's key (PEM)."),
        audience: s.optional("audience", text(), "For `understudy engine --listen` in a Kubernetes cluster: only callers with a token for this audience are answered; the API server reviews it. Without it whoever reaches the address is answered."),
        access: s.optional("access", access(), "With `audience`: only callers whose account may `use` this one of `engines.understudy.dev` are answered, as the cluster's access rules (RBAC) have it."),
        threads: s.get("threads", whole(0..=256), "0", "Threads of the engine; 0 takes the machine's cores, less one where there are more than two."),
        execution_providers: s.get("execution_providers", execution_providers(), "[\"tensorrt\", \"cuda\", \"cpu\"]", "What models compute on: the first of these that works. The engine's `/healthz` and `understudy model check` say which one that was. TensorRT and CUDA need the GPU build of ONNX Runtime (`library`) and NVIDIA's own libraries; what TensorRT cannot compute goes to CUDA. Without `cpu` an engine that finds no GPU does not start: it says why each was not to be had, and the provider answers."),
        queue: s.get("queue", whole(1..=10_000), "8", "Calls that may wait for the model; more are declined as busy."),
        memory_limit: s.get("memory_limit", bytes(1 << 27..=1 << 42), "\"4 GiB\"", "Memory of the engine process; beyond it the engine fails and is started again, and calls go to the provider."),
        nice: s.get("nice", whole(0..=19), "5", "How far the engine gives way to the agent's own processes."),
        hung_after: s.get("hung_after", duration(S(1)..=S(3600)), "\"30s\"", "An engine that does not answer its health check for this long, or one of whose models does not end a step, is killed and started again."),
        restart_pause_max: s.get("restart_pause_max", duration(Duration::from_millis(250)..=S(3600)), "\"16s\"", "An engine that ended is started again after a quarter of a second; the pause doubles with each failure within a minute, up to this."),
        library: s
            .optional("library", path(), "ONNX Runtime's shared library; by default `$ORT_DYLIB_PATH`, else the newest under `onnxruntime` in the cache.")
            .or_else(|| std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from))
            .or_else(|| newest_library(&cache.join("onnxruntime"))),
    }
}

/// `VERSION/libonnxruntime.so` of the greatest version.
pub(super) fn newest_library(dir: &Path) -> Option<PathBuf> {
    let number = |name: &str| name.split('.').map(|n| n.parse::<u32>().ok()).collect::<Option<Vec<_>>>();
    std::fs::read_dir(dir)
        .ok()?
        .flatten()
        .filter_map(|e| Some((number(e.file_name().to_str()?)?, e.path().join("libonnxruntime.so"))))
        .filter(|(_, library)| library.is_file())
        .max()
        .map(|(_, library)| library)
}

pub(super) fn model(s: &Section<'_>, cache: &Path) -> Model {
    let models = cache.join("models");
    Model {
        chat: s.optional("chat", path(), "The language model's folder; by default `models/smollm2-135m-instruct` in the cache, where `understudy model pull` puts it.").unwrap_or_else(|| models.join("smollm2-135m-instruct")),
        embed: s.optional("embed", path(), "The embedder's folder; by default `models/minilm-l6-v2` in the cache.").unwrap_or_else(|| models.join("minilm-l6-v2")),
        allow_non_commercial: s.get("allow_non_commercial", flag(), "false", "Permits a model whose licence forbids commercial use, or does not say."),
    }
}

pub(super) fn worker(s: &Section<'_>) -> Worker {
    Worker {
        enabled: s.get("enabled", flag(), "true", "Rehearses captured calls."),
        busy_share: s.get("busy_share", number(0.01..=1.0), "0.5", "The share of time that trials may take."),
        pause_above: s.get("pause_above", whole(1..=100_000), "256", "Calls in flight at which rehearsal pauses. Waiting for a provider costs nothing, and the worker has low priority anyhow: this is for crowds."),
        trial_deadline: s.get("trial_deadline", duration(Duration::from_millis(100)..=S(600)), "\"30s\"", "The time one trial may take."),
        examples: s.get("examples", whole(0..=64), "4", "Earlier exchanges that a prompted understudy is shown."),
        budget_ms: s.optional("budget_ms", number(1.0..=600_000.0), "Milliseconds that an understudy has for a live call; by default the provider's own median for the task."),
        frozen: s.get("frozen", flag(), "false", "Serves on the evidence that the journal holds and learns nothing more: for measuring."),
        reading_tools: s.get("reading_tools", texts(), "[]", "Tools that only look something up, by name, against the guess."),
        acting_tools: s.get("acting_tools", texts(), "[]", "Tools that change something, by name, against the guess."),
        shared: s.get("shared", sharing(), "[]", "Tasks that are one whoever calls, by their form (`understudy task show` prints it): for one agent with several keys or providers, or keys that change between its conversations. Its understudies then learn from what all of them sent, and answer all of them: share only among callers who may see each other's calls. It is a new task: evidence, name and rules of its own begin anew."),
    }
}

pub(super) fn specialise(s: &Section<'_>) -> Specialise {
    Specialise {
        auto: s.get("auto", flag(), "false", "Trains an adapter for each task of which a tenth of the calls or more is still to be won, and anew when its calls have doubled. Needs a provider with `train = true`, Python 3.11 and, once, 7 GB of disk; takes what the machine's other work leaves."),
        calls: s.get("calls", whole(50..=100_000_000), "1000", "Calls of a task before its first round."),
        minutes: s.get("minutes", number(1.0..=MOST_MINUTES), "45", "The time of one round."),
        class_cap: s.optional("class_cap", number(0.01..=1000.0), "Keeps of a tool or a label at most so many times the rows that the median one has; all of them without it."),
    }
}

const REMOTE_KEYS: &[&str] = &["base_url", "model", "key_env", "logprobs", "budget_usd", "budget_tokens"];

pub(super) fn remotes(written: &Written, prices: &Prices) -> Vec<Remote> {
    let names = written.names("remote", REMOTE_KEYS);
    let read = |name: &String| {
        let section = written.named("remote", name);
        let found = remote(name, &section);
        // What nobody can count is no limit, and a limit was asked for.
        if found.budget_usd > 0.0 && !found.model.is_empty() && prices.at_most(name, &found.model).is_none() {
            let rule = format!(
                "needs a price for {}: write [providers.openai.prices.\"{}\"], or limit budget_tokens instead",
                found.model, found.model
            );
            section.blame("budget_usd", found.budget_usd.to_string(), rule);
        }
        found
    };
    names.iter().map(read).collect()
}

pub(super) fn remote(name: &str, s: &Section<'_>) -> Remote {
    Remote {
        name: name.to_owned(),
        base_url: s.required("base_url", url(), "Its address, with the version (`https://host/v1`)."),
        model: s.required("model", text(), "The model's name there."),
        key_env: s.optional("key_env", text(), "The variable that holds its key; the key itself is never written in a file."),
        logprobs: s.get("logprobs", flag(), "false", "Whether it gives log-probabilities; without them it has no reserve: it takes every call of its task, or none."),
        budget_usd: s.get("budget_usd", number(0.0..=1e6), "0", "US dollars a day, by the price of its model, which must be known (`[providers.NAME.prices.NAME]`); 0 means no limit in money."),
        budget_tokens: s.get("budget_tokens", whole(0..=1_000_000_000_000), "1000000", "Tokens a day, both ways; beyond it the understudy declines (`budget`). 0 means no limit."),
    }
}
