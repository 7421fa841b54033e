//! The loop without a hand: a task's calls are recorded, a first round trains an
//! adapter on them, the task goes on, its calls double, a second round trains on
//! all of them, and is adopted only where it is better on the same rows. The
//! trainer is the real one, so this runs where its environment is
//! (`make test-specialise`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use understudy_tests::desk;
use understudy_tests::peer::{Agent, Peer};
use understudy_tests::process::{Owned, wait_until};
use understudy_tests::proxy::{Home, Proxy, said, signal};
use understudy_tests::standin;

/// Five minutes of training, and as many again for the environment and the
/// development rows, on a machine under load.
const ROUND: Duration = Duration::from_secs(1_200);

fn ask(proxy: &Proxy, calls: std::ops::Range<usize>) {
    let agent = Agent::new(&proxy.url(), "sk-stand-in");
    for answer in agent.ask_all(calls.map(desk::look_up).collect(), 4) {
        assert_eq!(answer.unwrap().status, 200);
    }
}

/// The specialised versions, those that were kept beside among them.
fn specialised(home: &Home, id: &str) -> Vec<Value> {
    let rows = home.json(["task", "understudies", id]);
    let settled = |r: &&Value| r["kind"] == "specialised" && r["name"] != "adapter";
    rows.as_array().unwrap().iter().filter(settled).cloned().collect()
}

/// The cards of the adapters, the smaller training first.
fn cards(home: &Home) -> Vec<Value> {
    let folders = std::fs::read_dir(home.state().join("adapters")).unwrap();
    let read = |e: std::fs::DirEntry| std::fs::read(e.path().join("card.json")).ok();
    let cards = folders.filter_map(|e| read(e.unwrap()));
    let mut cards: Vec<Value> = cards.map(|c| serde_json::from_slice(&c).unwrap()).collect();
    cards.sort_by_key(|c| c["data"]["rows"]["train"].as_u64());
    cards
}

fn taught(card: &Value) -> BTreeSet<&str> {
    card["data"]["exchanges"]["train"].as_array().unwrap().iter().map(|i| i.as_str().unwrap()).collect()
}

/// Whether base and adapter answered the same rows, and the adapter the held ones.
fn is_measured(card: &Value) -> bool {
    let rows = |who: &str| card["metrics"][who]["rows"].as_u64();
    let compared = card["metrics"]["compared"]["exchanges"].as_array().map(Vec::len);
    rows("base").is_some_and(|n| n > 0 && compared == Some(n as usize))
        && rows("base") == rows("specialised")
        && rows("held") > Some(0)
}

#[test]
#[ignore = "trains for ten minutes in the training environment: make test-specialise"]
fn two_rounds_train_by_themselves_and_the_second_is_judged_on_the_firsts_rows() {
    let provider = Peer::standin(standin::Config::default());
    let more = "[specialise]\nauto = true\ncalls = 200\nminutes = 5\n[policy]\nfirst_fit = 100000";
    let home = Home::with_provider(&provider.url(), "train = true", more);
    let proxy = home.serve();
    ask(&proxy, 0..240);
    let id = home.task_of(240);
    wait_until("the first round's adapter came in", ROUND, || specialised(&home, &id).len() == 1);
    let first = specialised(&home, &id)[0].clone();
    assert!(first["curve"].as_array().is_some_and(|c| !c.is_empty()), "it has answered: {first}");

    // The first version rehearses on what comes now; the second learns from it.
    ask(&proxy, 240..520);
    wait_until("the second round's adapter was judged", ROUND, || specialised(&home, &id).len() == 2);
    let rows = specialised(&home, &id);
    let second = rows.iter().find(|r| r["name"] != first["name"]).unwrap();
    let log = proxy.log();
    let came: Vec<&str> = log.lines().filter(|l| l.contains("an adapter came in")).collect();
    assert_eq!(came.len(), 2, "{log}");
    assert!(came[0].contains("the task's first"), "{}", came[0]);
    let better = came[1].contains("better: of the conversations in which it differs");
    let beside = came[1].contains("kept beside: of the conversations in which it differs");
    assert!(better != beside, "{}", came[1]);
    assert_eq!(second["name"].as_str().unwrap().starts_with("adapter "), beside, "{second}");
    assert_eq!(log.matches("a round of training begins").count(), 2, "{log}");

    // Each learnt something, the second from more, and neither from its own examination.
    let cards = cards(&home);
    assert_eq!(cards.len(), 2);
    for card in &cards {
        let share = |who: &str| card["metrics"][who]["agreement"].as_f64().unwrap();
        assert!(share("specialised") > share("base"), "{}", card["metrics"]);
        assert!(is_measured(card), "{}", card["metrics"]);
        let development = card["data"]["exchanges"]["development"].as_array().unwrap();
        let learnt = taught(card);
        assert!(development.iter().all(|d| !learnt.contains(d.as_str().unwrap())));
    }
    let (before, after) = (taught(&cards[0]), taught(&cards[1]));
    assert!(after.len() > before.len() + 100, "{} {}", before.len(), after.len());
    assert!(before.is_subset(&after), "what was learnt once stays in the training part");
}

#[test]
#[ignore = "trains for some minutes in the training environment: make test-specialise"]
fn a_training_that_was_cut_off_goes_on_with_the_rows_that_it_had() {
    let provider = Peer::standin(standin::Config::default());
    let home = Home::with_provider(&provider.url(), "train = true", "[policy]\nfirst_fit = 100000");
    let proxy = home.serve();
    ask(&proxy, 0..240);
    let id = home.task_of(240);
    let log = home.path("specialise.log");
    let mut command = home.command(["specialise", &id, "--minutes", "3"]);
    let child = command.stdout(Stdio::null()).stderr(File::create(&log).unwrap()).spawn().unwrap();
    let mut child = Owned(child);
    let text = || std::fs::read_to_string(&log).unwrap();
    wait_until("it has learnt something", ROUND, || text().contains("development rows agree"));
    signal(child.0.id(), "TERM");
    let mut status = None;
    wait_until("it has kept its checkpoint and ended", ROUND, || {
        status = child.0.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(1), "{}", text());
    assert!(text().contains("--resume goes on from there"), "{}", text());
    let folder = home.state().join("training").join(&id);
    assert!(folder.join("checkpoint.safetensors").is_file());
    let kept: Value = serde_json::from_slice(&std::fs::read(folder.join("run.json")).unwrap()).unwrap();

    // More was recorded since, of which its rows must not be made.
    ask(&proxy, 240..300);
    let _ = home.task_of(300);
    let out = home.output(["specialise", &id, "--minutes", "3", "--resume"]);
    assert!(out.status.success(), "{}", said(&out));
    assert!(said(&out).contains("held rows, which nothing had looked at"), "{}", said(&out));
    assert!(!said(&out).contains("begins anew"), "{}", said(&out));
    let cards = cards(&home);
    let [card] = cards.as_slice() else { panic!("{cards:?}") };
    assert_eq!(card["data"]["sha256"], kept["data_sha256"]);
    // The bare base is looked at when a training begins: the checkpoint has kept it.
    assert!(is_measured(card), "{}", card["metrics"]);
    let held = card["data"]["exchanges"]["held"].as_array().unwrap();
    assert!(!held.is_empty() && held.iter().all(|h| !taught(card).contains(h.as_str().unwrap())));
    assert!(!folder.exists());
}
