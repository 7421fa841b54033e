//! Configuration is two types: what was [`Written`] (a file and the
//! environment) and what it means ([`Config`]). Each key is declared once, in
//! [`sections`], with its kind, default and text; that declaration reads it,
//! checks it, gives it its variable and writes its line in
//! `docs/configuration.md`. All mistakes come back together.

mod document;
mod kinds;
mod nearest;
mod policy;
mod prices;
mod sections;
#[cfg(test)]
mod tests;
mod written;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use document::document;
pub(crate) use kinds::show_bytes;
pub(crate) use nearest::nearest;
pub(crate) use prices::{Price, Prices};
use understudy_capture::JournalConfig;
use understudy_gateway::GatewayConfig;
use understudy_onnx::ExecutionProvider;
use understudy_policy::TaskPolicy;
use understudy_tasks::Sharing;
pub(crate) use written::Mistake;
use written::Written;

/// What is logged where nobody says otherwise. ONNX Runtime tells thousands of lines
/// at `info`; pingora calls it an error when another call was faster to take a pooled
/// connection, and what really fails to connect is told by the gateway.
pub(crate) const DEFAULT_LOG: &str = "info,ort=warn,pingora_core::connectors=off";

/// The longest training, or rehearsal: a week.
pub(crate) const MOST_MINUTES: f64 = 10_080.0;

/// What the configuration means.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The file that was read, if any.
    pub(crate) file: Option<PathBuf>,
    /// Where the process keeps what it must not lose.
    pub(crate) state: PathBuf,
    /// Where it keeps what it can fetch again.
    pub(crate) cache: PathBuf,
    /// How calls come in, and where they go.
    pub(crate) gateway: GatewayConfig,
    /// How long calls in flight may take when the process is told to end.
    pub(crate) drain: Duration,
    /// The providers on whose replies a model may be trained, and by which terms.
    pub(crate) train: BTreeMap<String, Option<String>>,
    /// What is recorded.
    pub(crate) capture: Capture,
    /// The key-encryption key's file.
    pub(crate) key_file: PathBuf,
    /// The small model's process.
    pub(crate) engine: Engine,
    /// The small models' folders.
    pub(crate) model: Model,
    /// The background rehearsal.
    pub(crate) worker: Worker,
    /// Training that begins by itself.
    pub(crate) specialise: Specialise,
    /// The rules of promotion.
    pub(crate) policy: TaskPolicy,
    /// Where more of them come from, in a cluster.
    pub(crate) policy_source: Option<PolicySource>,
    /// Where tasks differ from them, by name or id.
    pub(crate) tasks: BTreeMap<String, TaskPolicy>,
    /// Understudies behind an OpenAI-compatible address.
    pub(crate) remotes: Vec<Remote>,
    /// Logs, traces and metrics outwards.
    pub(crate) telemetry: Telemetry,
    /// The admin API.
    pub(crate) admin: Admin,
    /// Prometheus, health and readiness.
    pub(crate) metrics: Metrics,
    /// What models cost.
    pub(crate) prices: Prices,
}

/// `[capture]`
#[derive(Debug, Clone)]
pub(crate) struct Capture {
    pub(crate) enabled: bool,
    /// Whether that is so because the state folder cannot be had.
    pub(crate) without_state: bool,
    pub(crate) journal: JournalConfig,
}

/// `[engine]`
#[derive(Debug, Clone, Default)]
pub(crate) struct Engine {
    pub(crate) enabled: bool,
    pub(crate) address: Option<String>,
    pub(crate) key_env: Option<String>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) tls_cert: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) audience: Option<String>,
    pub(crate) access: Option<understudy_engine::Access>,
    pub(crate) threads: u64,
    pub(crate) execution_providers: Vec<ExecutionProvider>,
    pub(crate) queue: u64,
    pub(crate) memory_limit: u64,
    pub(crate) nice: u64,
    pub(crate) hung_after: Duration,
    pub(crate) restart_pause_max: Duration,
    pub(crate) library: Option<PathBuf>,
}

/// `[model]`
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) chat: PathBuf,
    pub(crate) embed: PathBuf,
    pub(crate) allow_non_commercial: bool,
}

/// The injector of a cluster, in `[policy]`.
#[derive(Debug, Clone, Default)]
pub(crate) struct PolicySource {
    pub(crate) url: String,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) max_age: Duration,
}

/// `[worker]`
#[derive(Debug, Clone, Default)]
pub(crate) struct Worker {
    pub(crate) enabled: bool,
    pub(crate) busy_share: f64,
    pub(crate) pause_above: u64,
    pub(crate) trial_deadline: Duration,
    pub(crate) examples: u64,
    pub(crate) budget_ms: Option<f64>,
    pub(crate) frozen: bool,
    pub(crate) reading_tools: Vec<String>,
    pub(crate) acting_tools: Vec<String>,
    pub(crate) shared: Sharing,
}

/// `[specialise]`
#[derive(Debug, Clone, Default)]
pub(crate) struct Specialise {
    pub(crate) auto: bool,
    pub(crate) calls: u64,
    pub(crate) minutes: f64,
    pub(crate) class_cap: Option<f64>,
}

/// `[remote.NAME]`
#[derive(Debug, Clone, Default)]
pub(crate) struct Remote {
    pub(crate) name: String,
    pub(crate) base_url: String,
    pub(crate) model: String,
    pub(crate) key_env: Option<String>,
    pub(crate) logprobs: bool,
    pub(crate) budget_usd: f64,
    pub(crate) budget_tokens: u64,
}

/// `[telemetry]`
#[derive(Debug, Clone, Default)]
pub(crate) struct Telemetry {
    pub(crate) log: String,
    pub(crate) json: bool,
    pub(crate) endpoint: Option<String>,
    pub(crate) http: bool,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) signals: Vec<String>,
    pub(crate) sample: f64,
    pub(crate) old_names: bool,
    pub(crate) every: Duration,
}

/// `[admin]`
#[derive(Debug, Clone, Default)]
pub(crate) struct Admin {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) hosts: Vec<String>,
}

/// `[metrics]`
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    pub(crate) enabled: bool,
    pub(crate) listen: Option<SocketAddr>,
}

/// The user's home folder. A relative one would be another in each working folder.
fn home_folder() -> Option<PathBuf> {
    std::env::var_os("HOME").map(PathBuf::from).filter(|p| p.is_absolute())
}

/// The file that is read when none is named: `understudy.toml` in the user's
/// own configuration folder, and never one in the working folder, which may
/// belong to whoever wrote the agent.
pub(crate) fn default_file() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let base = base.or_else(|| Some(home_folder()?.join(".config")))?;
    let file = base.join("understudy").join("understudy.toml");
    file.is_file().then_some(file)
}

/// Reads the named file, else the default one, else nothing, and the process's environment.
///
/// # Errors
/// Every mistake, together.
pub(crate) fn load(file: Option<&Path>) -> Result<Config, Vec<Mistake>> {
    let file = file.map(Path::to_path_buf).or_else(default_file);
    let text = match &file {
        Some(path) => std::fs::read_to_string(path).map_err(|error| {
            vec![Mistake {
                key: path.display().to_string(),
                value: String::new(),
                rule: format!("cannot be read: {error}"),
            }]
        })?,
        None => String::new(),
    };
    parse(&text, file, readable(std::env::vars_os())?)
}

/// The variables that are text. The agent's own may be anything; of ours one that
/// is not is a mistake.
fn readable(
    all: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, Vec<Mistake>> {
    let (mut found, mut mistakes) = (Vec::new(), Vec::new());
    for (name, value) in all {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => found.push((name, value)),
            Err(value) if name.starts_with("UNDERSTUDY_") => mistakes.push(Mistake {
                key: name,
                value: value.to_string_lossy().into_owned(),
                rule: "is not UTF-8".to_owned(),
            }),
            Err(_) => {}
        }
    }
    if mistakes.is_empty() { Ok(found) } else { Err(mistakes) }
}

/// What a file's text and these variables mean.
///
/// # Errors
/// Every mistake, together.
pub(crate) fn parse(
    text: &str,
    file: Option<PathBuf>,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, Vec<Mistake>> {
    let written = Written::new(text, file.as_deref(), env);
    let config = sections::read(&written, file);
    let mistakes = written.finish();
    if mistakes.is_empty() { Ok(config) } else { Err(mistakes) }
}
