//! What somebody tries who does not know the program yet, slips of the pen among it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use understudy_tests::desk;
use understudy_tests::peer::{Agent, Peer};
use understudy_tests::process::wait_until;
use understudy_tests::proxy::{Home, PATIENCE, said};
use understudy_tests::standin;

const NOBODY_REHEARSES: &str = "[engine]\nenabled = false\n";

/// Refused with this exit code, in words that have each of these.
fn refused(home: &Home, args: &[&str], code: i32, words: &[&str]) {
    let out = home.output(args);
    let text = said(&out);
    assert_eq!(out.status.code(), Some(code), "{args:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{args:?}: no {word} in: {text}");
    }
}

fn log(path: &Path, calls: usize) {
    let lines: Vec<String> = (0..calls).map(|n| standin::recorded(&desk::triage(n)).to_string()).collect();
    std::fs::write(path, lines.join("\n")).unwrap();
}

#[test]
fn the_engine_tells_nobody_that_it_runs() {
    let home = Home::written("");
    let cache = home.path("cache");
    std::fs::create_dir(&cache).unwrap();
    let mut check = home.command(["model", "check"]);
    if std::env::var_os("UNDERSTUDY_CACHE").is_none() {
        let own =
            std::env::var("XDG_CACHE_HOME").unwrap_or_else(|_| std::env::var("HOME").unwrap() + "/.cache");
        check.env("UNDERSTUDY_CACHE", Path::new(&own).join("understudy"));
    }
    let out = check.env("XDG_CACHE_HOME", &cache).output().unwrap();
    assert!(out.status.success(), "{}", said(&out));
    // Where ONNX Runtime keeps what it would send.
    let kept: Vec<_> = std::fs::read_dir(&cache).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(kept.is_empty(), "{kept:?}");
}

#[test]
fn a_file_where_the_engine_s_socket_should_be_stays() {
    let home = Home::written("");
    let file = home.path("precious.txt");
    std::fs::write(&file, "mine").unwrap();
    refused(&home, &["engine", "--socket", file.to_str().unwrap()], 64, &["precious.txt", "no socket"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn a_rehearsal_that_could_not_be_carried_out_is_refused_before_it_begins() {
    let home = Home::written("");
    let file = home.path("calls.jsonl");
    log(&file, 20);
    let file = file.to_str().unwrap();
    for (more, words) in [
        (&["--minutes", "99999"][..], &["--minutes", "99999", "10080"][..]),
        (&["--specialise", "1e300"], &["train"]),
        (&["--provider", "nosuch"], &["nosuch", "openai", "anthropic"]),
        (&["--hold-out", "split=test"], &["--hold-out"]),
        (&["--credential-env", "NO_SUCH_KEY"], &["--credential-env", "NO_SUCH_KEY"]),
        (&["--report", file], &["--report", "calls.jsonl", "name another file"]),
        (&["--report", "/tmp"], &["--report", "/tmp is a folder"]),
    ] {
        let code = if more[0] == "--specialise" { 69 } else { 64 };
        refused(&home, &[&["rehearse", file], more].concat(), code, words);
    }
    refused(&home, &["rehearse", file, "--report", "/nowhere/x.json"], 1, &["/nowhere/x.json"]);
    refused(&home, &["rehearse", "-"], 64, &["/dev/stdin"]);
    assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), 20);
    let broken = home.path("broken");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join("understudy.toml"), "no model").unwrap();
    let mut rehearse = home.command(["rehearse", file]);
    rehearse.env("UNDERSTUDY_MODEL_EMBED", &broken).env("UNDERSTUDY_MODEL_CHAT", &broken);
    let out = rehearse.output().unwrap();
    assert_eq!(out.status.code(), Some(69), "{}", said(&out));
    assert!(said(&out).contains("understudy model check"), "{}", said(&out));
    // What was refused binds nobody: the same file as another provider's.
    let out = rehearse.args(["--provider", "anthropic"]).output().unwrap();
    assert_eq!(out.status.code(), Some(69), "{}", said(&out));
}

#[test]
fn a_pipe_that_is_full_or_closed_is_no_panic() {
    let home = Home::written("");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let out = home.command(["completions", "bash"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    assert!(said(&home.output(["completions", "zsh"])).contains("understudy"));
}

#[test]
fn slips_of_the_pen_in_a_configuration_are_refused() {
    let home = Home::written("[telemetry]\nlog = \"wran\"\n");
    refused(&home, &["check"], 64, &["telemetry.log", "wran is no level"]);
    let home =
        Home::written("[gateway]\nlisten = [\"127.0.0.1:4999\"]\n[metrics]\nlisten = \"127.0.0.1:4999\"\n");
    refused(&home, &["check"], 64, &["metrics.listen", "127.0.0.1:4999"]);
    let home = Home::written("");
    let out = home.command(["check"]).env("UNDERSTUDY_GATWAY_LISTEN", "127.0.0.1:1").output().unwrap();
    assert_eq!(out.status.code(), Some(64), "{}", said(&out));
    assert!(said(&out).contains("did you mean UNDERSTUDY_GATEWAY_LISTEN"), "{}", said(&out));
    let home =
        Home::written("[providers.mine]\nbase_url = \"http://127.0.0.1:1\"\nprefixes = [\"/openai\"]\n");
    refused(&home, &["check"], 64, &["prefixes = /openai", "`mine` has this prefix, too"]);
    let out = Home::written("").command(["check"]).env("UNDERSTUDY_CONFIG", "").output().unwrap();
    assert!(out.status.success(), "an empty variable names no file: {}", said(&out));
    // A home that is not there is no reason to keep a key where everybody can write.
    let mut check = home.command(["check"]);
    check.env_remove("UNDERSTUDY_STATE_DIR").env_remove("UNDERSTUDY_CACHE").env_remove("XDG_STATE_HOME");
    let out = check.env_remove("XDG_CACHE_HOME").env("HOME", "").output().unwrap();
    assert_eq!(out.status.code(), Some(64), "{}", said(&out));
    assert!(said(&out).contains("state.dir") && said(&out).contains("$HOME"), "{}", said(&out));
}

#[test]
fn a_wrong_id_and_a_name_that_would_hide_another_task_are_refused() {
    let provider = Peer::standin(standin::Config::default());
    let home = Home::new(&provider.url(), NOBODY_REHEARSES);
    let mut proxy = home.serve();
    let agent = Agent::new(&proxy.url(), "sk-stand-in");
    for n in 0..3 {
        assert_eq!(agent.ask(&desk::triage(n)).status, 200);
        assert_eq!(agent.ask(&desk::reason(n)).status, 200);
    }
    let mut ids = Vec::new();
    wait_until("both tasks are met", PATIENCE, || {
        let tasks = home.json(["tasks"]);
        ids = tasks.as_array().unwrap().iter().map(|t| t["id"].as_str().unwrap().to_owned()).collect();
        ids.len() == 2
    });
    let nobody = "0".repeat(32);
    refused(&home, &["journal", "flag", &nobody], 1, &[&nobody, "nothing was flagged"]);
    refused(&home, &["journal", "flag", "5"], 64, &["32 hexadecimal digits"]);
    refused(&home, &["task", "show", ""], 64, &["a value is required for '<TASK>'"]);
    refused(&home, &["task", "adopt", &ids[0], &"0".repeat(16)], 1, &["there is no adapter 0000"]);
    refused(&home, &["journal", "tail", "-n", "0"], 64, &["--last"]);
    refused(&home, &["decisions", "-n", "0"], 64, &["--last"]);
    let file = home.path("export.jsonl");
    std::fs::write(&file, "mine").unwrap();
    refused(&home, &["journal", "export", "-o", file.to_str().unwrap()], 64, &["left alone", "another file"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    refused(&home, &["task", "name", &ids[0], "a\u{1b}[31mb"], 1, &["control characters"]);
    refused(&home, &["task", "name", &ids[0], &ids[1][..4]], 1, &[]);
    assert!(home.output(["task", "name", &ids[0], "queue"]).status.success());
    assert!(home.output(["task", "pin", "queue"]).status.success());
    assert!(home.output(["task", "pin", "queue", "--off"]).status.success());
    let why: Vec<String> =
        home.json(["decisions"]).as_array().unwrap().iter().map(|d| d["why"].to_string()).collect();
    assert_eq!(why, ["\"pinned\"", "\"unpinned\""]);
    // Its terminal is closed. Who runs these tests under `nohup` wants it to go on.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|l| l.strip_prefix("SigIgn:")).unwrap();
    proxy.signal("HUP");
    if u64::from_str_radix(ignored.trim(), 16).unwrap() & 1 == 1 {
        assert_eq!(agent.ask(&desk::triage(9)).status, 200);
        return;
    }
    assert_eq!(proxy.ended().code(), Some(0), "{}", proxy.log());
    assert!(proxy.log().contains("brought to their end"), "{}", proxy.log());
}

#[test]
fn an_engine_that_is_away_and_a_key_that_is_not_there_are_told() {
    let home = Home::new(
        "http://127.0.0.1:9/v1",
        "[engine]\naddress = \"http://127.0.0.1:1\"\nkey_env = \"NO_SUCH_KEY\"\n",
    );
    let proxy = home.serve();
    wait_until("both are told", PATIENCE, || {
        let log = proxy.log();
        log.contains("NO_SUCH_KEY") && log.contains("the engine cannot be reached")
    });
}
