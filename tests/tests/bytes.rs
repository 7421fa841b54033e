//! An agent gets the provider's own bytes: the same script on the official
//! SDKs, with and without the proxy, prints the same digests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use understudy_tests::peer::Peer;
use understudy_tests::proxy::{Home, said};
use understudy_tests::standin;

/// An SDK's script, and what it needs to run.
struct Script {
    program: OsString,
    file: PathBuf,
    env: Vec<(&'static str, OsString)>,
}

impl Script {
    fn python() -> Option<Self> {
        let program = wanted("UNDERSTUDY_PYTHON", "tests/agents/bytes.py")?;
        Some(Self { program, file: agent("bytes.py"), env: Vec::new() })
    }

    fn node() -> Option<Self> {
        let modules = wanted("UNDERSTUDY_NODE_MODULES", "tests/agents/bytes.mjs")?;
        Some(Self {
            program: "node".into(),
            file: agent("bytes.mjs"),
            env: vec![("UNDERSTUDY_NODE_MODULES", modules)],
        })
    }

    /// Its output, run by `command`; without one by itself.
    fn printed(&self, under: Option<Command>, base_url: Option<&str>) -> String {
        let mut command = match under {
            Some(mut command) => {
                command.arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        command
            .arg(&self.file)
            .env("OPENAI_API_KEY", "sk-stand-in")
            .env("NO_PROXY", "127.0.0.1")
            .stdin(Stdio::null());
        command.envs(self.env.iter().cloned());
        match base_url {
            Some(url) => command.env("OPENAI_BASE_URL", url),
            None => command.env_remove("OPENAI_BASE_URL"),
        };
        let out = command.output().unwrap();
        assert!(out.status.success(), "{}", said(&out));
        String::from_utf8(out.stdout).unwrap()
    }
}

fn agent(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("agents").join(name)
}

fn wanted(variable: &str, what: &str) -> Option<OsString> {
    let value = std::env::var_os(variable).filter(|v| !v.is_empty());
    if value.is_none() {
        eprintln!("skipped: {what}: {variable} is unset (scripts/test.sh sets it)");
    }
    value
}

/// No small model: what is compared here is the way through.
const NOBODY_REHEARSES: &str = "[engine]\nenabled = false\n";

/// By itself, through a running proxy, under `understudy run` with a proxy of
/// its own, and under `run` beside a running one.
fn the_same_everywhere(script: &Script, least_lines: usize) {
    let provider = Peer::standin(standin::Config::default());
    let direct = script.printed(None, Some(&provider.url()));
    assert!(direct.lines().count() >= least_lines, "the script said too little: {direct}");

    let home = Home::new(&provider.url(), NOBODY_REHEARSES);
    let under = || Some(home.command(["run", "--quiet", "--"]));
    assert_eq!(script.printed(under(), None), direct, "under run, with a proxy of its own");

    let proxy = home.serve();
    assert_eq!(script.printed(None, Some(&proxy.url())), direct, "through a running proxy");
    assert_eq!(script.printed(under(), None), direct, "under run, beside a running proxy");

    let journal = home.json(["journal", "stats"]);
    assert!(journal["records"].as_u64().unwrap() > 0, "the calls went past the proxy: {journal}");
}

#[test]
fn python() {
    let Some(script) = Script::python() else { return };
    the_same_everywhere(&script, 20);
}

#[test]
fn node() {
    let Some(script) = Script::node() else { return };
    the_same_everywhere(&script, 9);
}
