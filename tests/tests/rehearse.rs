//! `understudy rehearse FILES…` reaches the verdict that live traffic would
//! have reached, from logs alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use understudy_tests::peer::{Agent, Peer};
use understudy_tests::process::{Owned, wait_until};
use understudy_tests::proxy::{Home, LOOSE, PATIENCE, files, said, signal};
use understudy_tests::{desk, standin};

const LONG: Duration = Duration::from_secs(600);

fn home() -> Home {
    // No provider: nothing is ever asked of it.
    Home::new("http://127.0.0.1:9/v1", LOOSE)
}

/// So many triage tickets, and an open question after every `every`.
fn write(path: &Path, tickets: usize, every: usize) {
    let mut text = String::new();
    for n in 0..tickets {
        writeln!(text, "{}", standin::recorded(&desk::triage(n))).unwrap();
        if n % every == 0 {
            writeln!(text, "{}", standin::recorded(&desk::reason(n / every))).unwrap();
        }
    }
    std::fs::write(path, text).unwrap();
}

fn rehearse(home: &Home, log: &Path) -> Command {
    let mut command = home.command(["rehearse", "--json", "--minutes", "3"]);
    command.arg(log);
    command
}

/// The verdict, when the same command has been given until nothing is left.
fn verdict(home: &Home, log: &Path) -> Value {
    let mut left = u64::MAX;
    loop {
        let out = rehearse(home, log).output().unwrap();
        assert!(out.status.success(), "{}", said(&out));
        let verdict: Value = serde_json::from_slice(&out.stdout).unwrap();
        let still = verdict["left"].as_u64().unwrap();
        if still == 0 {
            return verdict;
        }
        assert!(still < left, "it does not go on: {still} left of {left}");
        left = still;
    }
}

/// The line of the task whose name has the word.
fn task<'a>(verdict: &'a Value, word: &str) -> &'a Value {
    let all = verdict["tasks"].as_array().unwrap();
    all.iter()
        .find(|t| t["name"].as_str().unwrap().contains(word))
        .unwrap_or_else(|| panic!("no {word}: {all:?}"))
}

#[test]
fn what_goes_live_in_traffic_is_ready_in_its_logs_and_what_does_not_is_not() {
    let home = home();
    let log = home.path("calls.jsonl");
    write(&log, 1_400, 70);
    let verdict = verdict(&home, &log);
    let (triage, reason) = (task(&verdict, "triage"), task(&verdict, "planner"));
    eprintln!("triage {triage}\nreason {reason}");
    assert_eq!(triage["stage"], "live", "{triage}");
    assert!(matches!(reason["stage"].as_str(), Some("observing" | "shadowing")), "{reason}");
    assert_eq!((&triage["calls"], &reason["calls"]), (&json!(1_400), &json!(20)));
    assert!(triage["agreement"]["mean"].as_f64().unwrap() > 0.9, "{triage}");
    let of_triage = verdict["decisions"].as_array().unwrap().iter().filter(|d| d["task"] == triage["id"]);
    let ways: Vec<&str> = of_triage.map(|d| d["to"].as_str().unwrap()).collect();
    // The same as in `main_job.rs`, where the same questions come as calls.
    assert_eq!(ways, ["shadowing", "canary 1", "live"]);
    assert_eq!((&verdict["left"], &verdict["broken"]), (&json!(0), &json!(0)));
}

#[test]
fn broken_lines_are_counted_and_the_rest_is_read() {
    let home = home();
    let log = home.path("calls.jsonl");
    // The very first call failed.
    let failed = json!({"request": desk::triage(9), "response": null});
    let whole = standin::recorded(&desk::triage(1));
    let text = format!(
        "{failed}\n{whole}\n{{\"request\": \n{}\n\nnot json\n{{\"request\": {{}}}}\n{}\n",
        standin::recorded(&desk::triage(2)),
        standin::recorded(&desk::triage(3))
    );
    std::fs::write(&log, text).unwrap();
    let out = rehearse(&home, &log).output().unwrap();
    assert!(out.status.success(), "{}", said(&out));
    let verdict: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&verdict["read"], &verdict["broken"]), (&json!(3), &json!(4)));
    assert_eq!(task(&verdict, "triage")["calls"], 3);
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    for place in ["line=1", "line=3", "line=6", "line=7"] {
        assert!(text.contains(place), "{place} is not named: {text}");
    }
}

#[test]
fn a_file_of_broken_lines_says_so_before_anything_else() {
    let home = home();
    let log = home.path("calls.jsonl");
    std::fs::write(&log, "{\"request\": {}, \"response\": {}}\n".repeat(3)).unwrap();
    let out = rehearse(&home, &log).output().unwrap();
    assert_eq!(out.status.code(), Some(64), "{}", said(&out));
    let text = said(&out);
    assert!(text.contains("3 lines could not be read, the first of them line 1"), "{text}");
    assert!(!text.contains("--only"), "{text}");
}

#[test]
fn a_file_that_was_changed_is_not_taken_for_the_one_that_was_rehearsed() {
    let home = home();
    let log = home.path("calls.jsonl");
    write(&log, 3, 1_000);
    let before = verdict(&home, &log);
    assert_eq!((&before["read"], &task(&before, "triage")["calls"]), (&json!(4), &json!(3)));
    // It has grown, which is no change.
    let grown = std::fs::read_to_string(&log).unwrap() + &standin::recorded(&desk::triage(77)) + "\n";
    std::fs::write(&log, &grown).unwrap();
    assert_eq!(task(&verdict(&home, &log), "triage")["calls"], 4);
    // Another file in its place.
    let other: String = grown.lines().rev().map(|l| format!("{l}\n")).collect();
    std::fs::write(&log, other).unwrap();
    let out = rehearse(&home, &log).output().unwrap();
    assert_eq!(out.status.code(), Some(64), "{}", said(&out));
    assert!(said(&out).contains("--fresh"), "{}", said(&out));
    let out = rehearse(&home, &log).arg("--fresh").output().unwrap();
    assert!(out.status.success(), "{}", said(&out));
    let verdict: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(task(&verdict, "triage")["calls"], 4);
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn a_fresh_start_that_is_refused_takes_nothing_away() {
    let home = home();
    let log = home.path("calls.jsonl");
    write(&log, 3, 1_000);
    assert_eq!(verdict(&home, &log)["read"], 4);
    // The first command of all made these, with calls in them.
    let rehearsals = home.state().join("rehearsals");
    assert_eq!((mode(&home.state()), mode(&rehearsals)), (0o700, 0o700));
    let kept = || {
        let made = |f: &PathBuf| f.ends_with("db") || f.ends_with("given.json");
        let mut all: Vec<PathBuf> = files(&rehearsals).into_iter().filter(made).collect();
        all.sort();
        all
    };
    let before = kept();
    assert!(before.len() > 1, "{before:?}");
    let broken = home.path("broken");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join("understudy.toml"), "no model").unwrap();
    let (broken, missing) = (broken.to_str().unwrap(), home.path("missing"));
    for (more, embed, code, word) in [
        (&["--credential-env", "NO_SUCH_KEY"][..], None, 64, "NO_SUCH_KEY"),
        (&[], Some(missing.to_str().unwrap()), 69, "model pull"),
        (&[], Some(broken), 69, "model check"),
    ] {
        let mut command = rehearse(&home, &log);
        command.arg("--fresh").args(more).envs(embed.map(|to| ("UNDERSTUDY_MODEL_EMBED", to)));
        let out = command.output().unwrap();
        assert_eq!(out.status.code(), Some(code), "{}", said(&out));
        assert!(said(&out).contains(word), "{}", said(&out));
        assert_eq!(kept(), before, "{word}");
    }
    let out = rehearse(&home, &log).arg("--fresh").output().unwrap();
    assert!(out.status.success(), "{}", said(&out));
}

#[test]
fn approval_that_is_given_later_says_what_was_judged_without_it() {
    let home = home();
    let log = home.path("calls.jsonl");
    write(&log, 3, 1_000);
    assert_eq!(verdict(&home, &log)["earlier"], json!({"unapproved": 0, "approved": 0}));
    let later = |more: &[&str]| {
        let out = home.command(["rehearse"]).arg(&log).args(more).output().unwrap();
        assert!(out.status.success(), "{}", said(&out));
        said(&out)
    };
    let text = later(&["--approve"]);
    assert!(
        text.contains("4 calls were judged before approval was given: --fresh judges all with it"),
        "{text}"
    );
    let text = later(&["--approve", "--fresh"]);
    assert!(text.contains("(--approve)") && !text.contains("were judged"), "{text}");
    let text = later(&[]);
    assert!(text.contains("4 calls were judged with approval taken as given"), "{text}");
}

#[test]
fn held_out_calls_of_a_pipe_are_reported_without_their_content() {
    let home = home();
    let (log, report) = (home.path("calls.jsonl"), home.path("verdict.json"));
    let mut text = String::new();
    for n in 0..40 {
        let mut line: Value = serde_json::from_str(&standin::recorded(&desk::triage(n))).unwrap();
        line["split"] = json!(if n % 2 == 0 { "train" } else { "test" });
        line["solved"] = json!(n % 3 == 0);
        line["prompt"] = json!(format!("{} {}", "please ".repeat(10), n % 4));
        line["user_email"] = json!(format!("user{n}@example.com"));
        writeln!(text, "{line}").unwrap();
    }
    std::fs::write(&log, text).unwrap();
    let mut cat = Owned(Command::new("cat").arg(&log).stdout(Stdio::piped()).spawn().unwrap());
    let mut command = rehearse(&home, Path::new("/dev/stdin"));
    command.args(["--hold-out", "split=test", "--report"]).arg(&report);
    let out = command.stdin(cat.0.stdout.take().unwrap()).output().unwrap();
    assert!(out.status.success(), "{}", said(&out));
    assert_eq!(mode(&report), 0o600);
    let text = std::fs::read_to_string(&report).unwrap();
    assert!(!text.contains("@example.com") && !text.contains("please please"), "{text}");
    let verdict: Value = serde_json::from_str(&text).unwrap();
    let held = &verdict["held_out"][0];
    assert_eq!((&verdict["read"], &held["calls"]), (&json!(20), &json!(20)));
    for asked in held["asked"].as_array().unwrap() {
        let marks: Vec<&String> = asked["marks"].as_object().unwrap().keys().collect();
        assert_eq!(marks, ["solved", "split"], "{asked}");
    }
    assert!(held["asked"].as_array().is_some_and(|all| !all.is_empty()), "{held}");
    assert!(held["by_mark"].get("solved=true").is_some(), "{held}");
}

#[test]
fn an_interrupted_rehearsal_goes_on_from_there() {
    let home = home();
    let log = home.path("calls.jsonl");
    write(&log, 160, 1_000);
    let child = rehearse(&home, &log).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut child = Owned(child);
    // It catches Ctrl-C once it goes through the calls.
    let catches = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let mask = status.lines().find_map(|l| l.strip_prefix("SigCgt:")).unwrap_or("0").trim().to_owned();
        u64::from_str_radix(&mask, 16).is_ok_and(|m| m & 2 != 0)
    };
    wait_until("the rehearsal is under way", LONG, || {
        catches(child.0.id()) || child.0.try_wait().unwrap().is_some()
    });
    signal(child.0.id(), "INT");
    let mut status = None;
    wait_until("it has ended", LONG, || {
        status = child.0.try_wait().unwrap();
        status.is_some()
    });
    let first = status.unwrap();
    assert_eq!(first.code(), Some(0), "Ctrl-C is an end like any other");
    let verdict = verdict(&home, &log);
    eprintln!("the interrupted run ended with {first}; the second found {} left", verdict["left"]);
    assert_eq!((&verdict["left"], &verdict["read"]), (&json!(0), &json!(161)));
    assert_eq!(task(&verdict, "triage")["calls"], 160, "calls were lost or read twice");

    // A third run has nothing to do and says the same.
    let again = self::verdict(&home, &log);
    assert_eq!(task(&again, "triage"), task(&verdict, "triage"));
    assert_eq!(again["decisions"], verdict["decisions"]);
}

#[test]
fn a_file_that_is_no_log_is_refused_by_name() {
    let home = home();
    for (name, text) in [
        ("notes.txt", "Dear diary,\n"),
        ("other.jsonl", "{\"level\": \"info\", \"msg\": \"started\"}\n"),
        ("empty.jsonl", ""),
    ] {
        let path = home.path(name);
        std::fs::write(&path, text).unwrap();
        let out = rehearse(&home, &path).output().unwrap();
        assert_eq!(out.status.code(), Some(64), "{}", said(&out));
        assert!(said(&out).contains(name), "{}", said(&out));
    }
    let out = rehearse(&home, &home.path("missing.jsonl")).output().unwrap();
    assert_eq!(out.status.code(), Some(64), "{}", said(&out));
    assert!(said(&out).contains("missing.jsonl"), "{}", said(&out));
}

#[test]
fn a_rehearsal_that_may_not_train_is_refused_before_anything_is_read() {
    let home = home();
    let missing = home.path("missing.jsonl");
    let train = || {
        let mut command = home.command(["rehearse", "--specialise", "5"]);
        command.arg(&missing);
        command
    };
    let out = train().output().unwrap();
    assert_eq!(out.status.code(), Some(69), "{}", said(&out));
    assert!(said(&out).contains("providers.openai.train = true"), "{}", said(&out));
    // Permitted, it gets as far as the file.
    let out = train().env("UNDERSTUDY_PROVIDERS_OPENAI_TRAIN", "true").output().unwrap();
    assert_eq!(out.status.code(), Some(64), "{}", said(&out));
    assert!(said(&out).contains("missing.jsonl"), "{}", said(&out));
}

/// How many calls a stand-in was asked.
fn asked(peer: &Peer) -> u64 {
    let mut stream = TcpStream::connect(peer.address).unwrap();
    stream.write_all(b"GET /stats HTTP/1.1\r\nhost: stand-in\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let body = text.split("\r\n\r\n").nth(1).unwrap();
    serde_json::from_str::<Value>(body).unwrap()["calls"].as_u64().unwrap()
}

#[test]
fn with_the_engine_off_a_remote_rehearses_and_no_model_is_needed() {
    let off = "[engine]\nenabled = false\n[model]\nchat = \"/nowhere\"\nembed = \"/nowhere\"\n";
    let home = Home::new("http://127.0.0.1:9/v1", &format!("{LOOSE}{off}"));
    let log = home.path("calls.jsonl");
    write(&log, 120, 1_000);
    let out = rehearse(&home, &log).output().unwrap();
    assert_eq!(out.status.code(), Some(69), "{}", said(&out));
    assert!(said(&out).contains("engine.enabled is false, and there is neither"), "{}", said(&out));

    let small = Peer::standin(standin::Config::default());
    let address = format!("base_url = \"{}\"\nmodel = \"mini\"\nkey_env = \"SMALL_KEY\"", small.url());
    home.add(&format!("[remote.small]\n{address}\n"));
    let with_key = || {
        let mut command = rehearse(&home, &log);
        command.env("SMALL_KEY", "sk-small");
        command
    };
    let out = with_key().output().unwrap();
    assert!(out.status.success(), "{}", said(&out));
    let verdict: Value = serde_json::from_slice(&out.stdout).unwrap();
    let reports = verdict["reports"].as_array().unwrap();
    let triage = reports.iter().find(|r| r["name"].as_str().unwrap().contains("triage")).unwrap();
    let kinds: Vec<&Value> = triage["cast"].as_array().unwrap().iter().map(|m| &m[1]).collect();
    assert_eq!(kinds, [&json!("remote")], "{triage}");
    assert!(asked(&small) > 0, "{triage}");
    assert!(!said(&out).contains("embedded"), "{}", said(&out));

    let out = with_key().args(["--specialise", "5"]).output().unwrap();
    assert_eq!(out.status.code(), Some(64), "{}", said(&out));
    assert!(said(&out).contains("engine.enabled is false"), "{}", said(&out));
}

#[test]
fn what_a_proxy_has_recorded_is_rehearsed_on_another_machine() {
    const CALLS: usize = 40;
    let provider = Peer::standin(standin::Config::default());
    let there = Home::new(&provider.url(), "[engine]\nenabled = false\n");
    let proxy = there.serve();
    let agent = Agent::new(&proxy.url(), "sk-stand-in");
    for n in 0..CALLS {
        assert_eq!(agent.ask(&desk::triage(n)).status, 200);
    }
    let recorded = || said(&there.output(["journal", "export"])).matches("\"exchange\":").count();
    wait_until("the calls are recorded", PATIENCE, || recorded() == CALLS);
    let here = home();
    let file = here.path("export.jsonl");
    let out = there.output(["journal", "export", "-o", file.to_str().unwrap()]);
    assert!(out.status.success(), "{}", said(&out));
    let verdict = verdict(&here, &file);
    assert_eq!(task(&verdict, "triage")["calls"], CALLS, "{verdict:#}");
}
