//! The real binary with a home of its own: a configuration and a state folder
//! in a temporary folder, and every port free.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Owned, binary, wait_until};

/// How long a machine under load may take for what takes a moment.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Rules of promotion that are looser than the defaults, so that a task goes
/// live in minutes. The last open section is `[policy]`.
pub const LOOSE: &str = "
[policy]
tau = 0.90
alpha = 0.05
steps = [0.5]
step_conversations = 10
first_fit = 60
dev_conversations = 40
stratum_min = 6
observe_calls = 10
conversation_gap = 20
audit_first = 100
audit_first_share = 0.5
audit_share = 0.25
cusum_limit = 200
min_coverage = 0.1
";

/// What goes on from [`LOOSE`] where the provider takes no time: on a busy machine an
/// understudy may be slower.
pub const PATIENT: &str = "latency_excess = 1000000\n[worker]\nbudget_ms = 30000\nbusy_share = 1.0\n";

/// Where one understudy keeps everything.
#[derive(Debug)]
pub struct Home {
    dir: TempDir,
}

impl Home {
    /// A home whose `openai` is at `provider`. `more` is appended to the
    /// configuration, whose last open section is `[state]`.
    #[must_use]
    pub fn new(provider: &str, more: &str) -> Self {
        Self::with_provider(provider, "", more)
    }

    /// The same, with further keys of the provider.
    #[must_use]
    pub fn with_provider(provider: &str, keys: &str, more: &str) -> Self {
        Self::written(&format!(
            "[providers.openai]\nbase_url = \"{provider}\"\n{keys}\n[gateway]\nlisten = [\"127.0.0.1:0\"]\n\
             [metrics]\nlisten = \"127.0.0.1:0\"\n{more}\n"
        ))
    }

    /// A home with this configuration and nothing else.
    #[must_use]
    pub fn written(configuration: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("understudy.toml"), configuration).unwrap();
        Self { dir }
    }

    /// Appends to the configuration, for the next start.
    pub fn add(&self, more: &str) {
        let mut file = File::options().append(true).open(self.path("understudy.toml")).unwrap();
        writeln!(file, "{more}").unwrap();
    }

    /// The state folder.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// A file beside the configuration.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The binary in this home.
    #[must_use]
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(binary());
        command.args(args).env("UNDERSTUDY_CONFIG", self.path("understudy.toml"));
        command.env("UNDERSTUDY_STATE_DIR", self.state()).env("NO_COLOR", "1").stdin(Stdio::null());
        for name in [
            "OPENAI_BASE_URL",
            "OPENAI_API_BASE",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "OTEL_SERVICE_NAME",
        ] {
            command.env_remove(name);
        }
        command
    }

    /// Runs a command to its end.
    #[must_use]
    pub fn output<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.command(args).output().unwrap()
    }

    /// What a command that must succeed prints as JSON.
    #[must_use]
    pub fn json<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Value {
        let out = self.command(args).arg("--json").output().unwrap();
        assert!(out.status.success(), "{}", said(&out));
        serde_json::from_slice(&out.stdout).unwrap()
    }

    /// The id of the task of so many calls, once the worker has met them all.
    #[must_use]
    pub fn task_of(&self, calls: usize) -> String {
        let mut id = String::new();
        wait_until("the worker has met all calls", PATIENCE, || {
            let tasks = self.json(["tasks"]);
            let Some(task) = tasks.as_array().unwrap().iter().find(|t| t["calls"] == calls) else {
                return false;
            };
            id = task["id"].as_str().unwrap().to_owned();
            true
        });
        id
    }

    /// Starts the proxy and waits until it takes calls.
    #[must_use]
    pub fn serve(&self) -> Proxy {
        self.serve_with(&[])
    }

    /// The same, with these variables in its environment.
    #[must_use]
    pub fn serve_with(&self, variables: &[(&str, &str)]) -> Proxy {
        let log = self.path("serve.log");
        let child = self
            .command(["serve"])
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut child = Owned(child);
        let running = self.state().join("running.json");
        let mut found = None;
        wait_until("the proxy takes calls", PATIENCE, || {
            if let Some(status) = child.0.try_wait().unwrap() {
                panic!("the proxy ended with {status}: {}", std::fs::read_to_string(&log).unwrap());
            }
            let said = std::fs::read(&running).ok().and_then(|t| serde_json::from_slice::<Value>(&t).ok());
            found = said.filter(|r| r["pid"] == child.0.id());
            found.is_some()
        });
        let running = found.unwrap();
        let address = |of: &str| running[of].as_str().unwrap_or_default().to_owned();
        Proxy { child, address: address("gateway"), metrics: address("metrics"), log }
    }
}

/// Everything a command said.
#[must_use]
pub fn said(out: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", out.status, text(&out.stdout), text(&out.stderr))
}

/// A proxy that takes calls, killed on drop.
#[derive(Debug)]
pub struct Proxy {
    child: Owned,
    address: String,
    metrics: String,
    log: PathBuf,
}

impl Proxy {
    /// Its address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The base URL for an OpenAI SDK.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// A number of its metrics, by its name with its labels; 0 for one that it does not have.
    #[must_use]
    pub fn metric(&self, name: &str) -> f64 {
        let mut stream = TcpStream::connect(&self.metrics).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.lines().find_map(|l| l.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0.0)
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        signal(self.child.0.id(), name);
    }

    /// Waits for its end.
    #[must_use]
    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the proxy has ended", PATIENCE, || {
            status = self.child.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// The process of its engine, if there is one now.
    #[must_use]
    pub fn engine(&self) -> Option<u32> {
        let parent = self.child.0.id();
        let children = |task: PathBuf| std::fs::read_to_string(task.join("children")).unwrap_or_default();
        let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).ok()?;
        let all: String = tasks.flatten().map(|t| children(t.path())).collect();
        all.split_whitespace().filter_map(|p| p.parse().ok()).find(|p| {
            let line = std::fs::read(format!("/proc/{p}/cmdline")).unwrap_or_default();
            line.split(|b| *b == 0).any(|arg| arg == b"engine")
        })
    }
}

/// Sends a signal by its name.
pub fn signal(pid: u32, name: &str) {
    // The shell's own: not every machine has the program.
    let _ = Command::new("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", name, &pid.to_string()])
        .stderr(Stdio::null())
        .status();
}

/// Every file below a folder.
#[must_use]
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_path_buf()];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(next).unwrap().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => left.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}
