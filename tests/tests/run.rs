//! `understudy run` beside others: whose proxy a command's calls go through, and
//! what is left when a proxy ends, well or not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use understudy_tests::desk;
use understudy_tests::peer::{Agent, Peer};
use understudy_tests::process::{Owned, start, wait_until};
use understudy_tests::proxy::{Home, PATIENCE, said};
use understudy_tests::standin;

const NOBODY_REHEARSES: &str = "[engine]\nenabled = false\n";

/// A command under `run` that says where its calls go, and stays until its input ends.
struct Command {
    child: Owned,
    url: String,
    log: std::path::PathBuf,
}

impl Command {
    fn run(home: &Home, name: &str) -> Self {
        Self::with(home, name, &[], &[])
    }

    /// The same, with flags of `run` and variables of the user's.
    fn with(home: &Home, name: &str, flags: &[&str], variables: &[(&str, String)]) -> Self {
        let log = home.path(name);
        let says = ["--", "sh", "-c", "echo \"$OPENAI_BASE_URL\"; cat"];
        let mut command = home.command([&["run"], flags, &says].concat());
        command
            .envs(variables.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::piped())
            .stderr(File::create(&log).unwrap());
        let (child, url) =
            start(&mut command, PATIENCE, |line| line.starts_with("http").then(|| line.to_owned()));
        Self { child, url, log }
    }

    /// Asks as the command would.
    fn ask(&self, n: usize) {
        let answer = Agent::new(&self.url, "sk-stand-in").ask(&desk::triage(n));
        assert_eq!((answer.status, answer.by()), (200, None), "{answer:?}");
    }

    /// Ends the command; what was said to its user meanwhile.
    fn end(mut self) -> String {
        drop(self.child.0.stdin.take());
        let mut status = None;
        wait_until("the command has ended", PATIENCE, || {
            status = self.child.0.try_wait().unwrap();
            status.is_some()
        });
        let text = std::fs::read_to_string(&self.log).unwrap();
        assert!(status.unwrap().success(), "{text}");
        text
    }
}

/// Exchanges in the journal.
fn recorded(home: &Home) -> usize {
    said(&home.output(["journal", "export"])).matches("\"exchange\":").count()
}

#[test]
fn a_second_run_outlives_the_proxy_of_the_first() {
    let provider = Peer::standin(standin::Config::default());
    let home = Home::new(&provider.url(), NOBODY_REHEARSES);
    let announced = home.state().join("running.json");
    let first = Command::run(&home, "first.log");
    let before =
        (std::fs::read(&announced).unwrap(), std::fs::read(home.state().join("admin-token")).unwrap());
    let second = Command::run(&home, "second.log");
    let after =
        (std::fs::read(&announced).unwrap(), std::fs::read(home.state().join("admin-token")).unwrap());
    assert_eq!(before, after, "the second disturbed the first");
    first.ask(1);
    second.ask(2);
    let out = home.output(["serve"]);
    assert_eq!(out.status.code(), Some(75), "{}", said(&out));
    // Only the first's call is in the journal.
    wait_until("the first's call is recorded", PATIENCE, || recorded(&home) > 0);
    assert_eq!(recorded(&home), 1);

    let text = first.end();
    assert!(!text.contains("not recorded"), "{text}");
    assert!(!announced.exists(), "it is still announced");
    second.ask(3);
    // Whoever comes now may have the journal, and serves those after it.
    let proxy = home.serve();
    let third = Command::run(&home, "third.log");
    assert_eq!(third.url, proxy.url());
    third.ask(4);
    second.ask(5);
    let text = second.end();
    assert!(text.contains("not recorded") && text.contains("understudy serve"), "{text}");
    let text = third.end();
    assert!(!text.contains("not recorded"), "{text}");
}

#[test]
fn a_run_that_starts_while_a_proxy_ends_has_its_journal_after_it() {
    let delay = Duration::from_secs(1);
    let provider = Peer::standin(standin::Config { delay, ..standin::Config::default() });
    let home = Home::new(&provider.url(), NOBODY_REHEARSES);
    let proxy = home.serve();
    let announced = home.state().join("running.json");
    let agent = Agent::new(&proxy.url(), "sk-stand-in");
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| agent.ask(&desk::triage(1)).status);
        wait_until("its call is with the provider", PATIENCE, || {
            let mut stream = TcpStream::connect(provider.address).unwrap();
            stream.write_all(b"GET /stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
            let mut stats = String::new();
            stream.read_to_string(&mut stats).unwrap();
            stats.contains("\"calls\":1")
        });
        proxy.signal("TERM");
        wait_until("it takes no more calls", PATIENCE, || !announced.exists());
        let command = Command::run(&home, "meanwhile.log");
        assert_eq!(asking.join().unwrap(), 200);
        command.ask(2);
        wait_until("both calls are recorded", PATIENCE, || recorded(&home) == 2);
        let text = command.end();
        assert!(!text.contains("not recorded") && !text.contains("nothing is recorded"), "{text}");
    });
}

#[test]
fn a_proxy_that_was_killed_is_nobody_whoever_has_its_number_now() {
    let provider = Peer::standin(standin::Config::default());
    let home = Home::new(&provider.url(), NOBODY_REHEARSES);
    let mut killed = home.serve();
    killed.signal("KILL");
    let _ = killed.ended();
    // Its number is given to somebody else: to this test.
    let file = home.state().join("running.json");
    let mut left: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    left["pid"] = json!(std::process::id());
    std::fs::write(&file, left.to_string()).unwrap();
    let out = home.output(["tasks"]);
    assert_eq!(out.status.code(), Some(69), "{}", said(&out));
    let proxy = home.serve();
    let answer = Agent::new(&proxy.url(), "sk-stand-in").ask(&desk::triage(1));
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn with_chain_the_agents_own_gateway_stays_in_the_way() {
    let own = Peer::standin(standin::Config::default());
    // The one that is configured is not there: a call that goes to it fails.
    let home = Home::new("http://127.0.0.1:9/v1", NOBODY_REHEARSES);
    let run = |args: &[&str]| {
        let mut command =
            home.command([&["run"], args, &["--", "sh", "-c", "echo \"$OPENAI_BASE_URL\""]].concat());
        command.env("OPENAI_BASE_URL", own.url()).output().unwrap()
    };
    let alone = run(&[]);
    assert!(alone.stdout.starts_with(own.url().as_bytes()), "{}", said(&alone));
    let text = String::from_utf8_lossy(&alone.stderr);
    assert!(text.contains("left alone") && text.contains("--chain"), "{text}");

    let chained = Command::with(&home, "chained.log", &["--chain"], &[("OPENAI_BASE_URL", own.url())]);
    assert_ne!(chained.url, own.url());
    chained.ask(1);
    wait_until("its call is recorded", PATIENCE, || recorded(&home) == 1);
    let _ = chained.end();
    // Where a proxy runs already, its providers are its own.
    let _proxy = home.serve();
    let refused = run(&["--chain"]);
    assert_eq!(refused.status.code(), Some(64), "{}", said(&refused));
    assert!(said(&refused).contains("base_url"), "{}", said(&refused));
}

#[test]
fn a_base_url_in_the_agents_env_file_is_left_alone() {
    let home = Home::new("http://127.0.0.1:9/v1", NOBODY_REHEARSES);
    std::fs::write(home.path(".env"), "export OPENAI_BASE_URL='http://own.test/v1' # ours\n").unwrap();
    let says = ["run", "--", "sh", "-c", "echo \"[$OPENAI_BASE_URL]\""];
    let ran = home.command(says.to_vec()).current_dir(home.path("")).output().unwrap();
    // Not set by us, so whatever reads the file finds its own.
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), "[]", "{}", said(&ran));
    let text = String::from_utf8_lossy(&ran.stderr);
    assert!(text.contains("http://own.test/v1 in ") && text.contains("left alone"), "{text}");
}
